package transcript

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/internal/sample"
)

// readAll reads all events, and whether the last line was torn.
func readAll(text []byte) (h Header, events []Event, torn bool, err error) {
	r, err := NewReader(bytes.NewReader(text))
	if err != nil {
		return h, nil, false, err
	}
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return r.Header, events, r.Torn(), nil
		}
		if err != nil {
			return h, nil, false, err
		}
		events = append(events, e)
	}
}

// write writes one event of each kind.
func write(t testing.TB, w *Writer) {
	t.Helper()
	missing := uint64(3)
	for _, err := range []error{
		w.Stream(Start{Now: true}),
		w.Checkpoint(&keytrailv1.Checkpoint{Cursor: "kt1a", AtHead: true}),
		w.Record("kt1b", sample.New(sample.Config{Seed: 1}).Next()),
		w.Gap(&keytrailv1.Gap{AfterCursor: "kt1b", Cursor: "kt1c", Reason: keytrailv1.GapReason_GAP_REASON_TRIMMED, Records: &missing}),
		w.FilterChanged(&keytrailv1.FilterChanged{Cursor: "kt1d", Revision: 1}, &keytrailv1.Filter{Where: "event = Encrypt"}, "event = Encrypt"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestTorn cuts a transcript at each byte: what was whole is there, and a
// writer goes on after it.
func TestTorn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "transcript")
	w, held, err := Open(path)
	if err != nil || held != nil {
		t.Fatal(held, err)
	}
	if err := w.Begin(Header{Start: Start{Now: true}, Bus: "bus"}); err != nil {
		t.Fatal(err)
	}
	write(t, w)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, whole, _, err := readAll(text)
	if err != nil || len(whole) != 5 {
		t.Fatal(whole, err)
	}
	for n := range len(text) + 1 {
		if err := os.WriteFile(path, text[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		lines := bytes.Count(text[:n], []byte("\n"))
		w, held, err := Open(path)
		if err != nil || (held == nil) != (lines == 0) {
			t.Fatalf("%d bytes: %v, %v", n, held, err)
		}
		if held == nil {
			if err := w.Begin(Header{Start: Start{Now: true}}); err != nil {
				t.Fatal(err)
			}
		} else {
			want, filter := "", ""
			for _, e := range whole[:lines-1] {
				want = e.Cursor
				if e.Kind == Filter {
					filter = e.Filter.GetWhere()
				}
			}
			if held.Cursor != want || held.Filter.GetWhere() != filter {
				t.Fatalf("%d bytes: goes on from %q with %q, want %q and %q", n, held.Cursor, held.Filter.GetWhere(), want, filter)
			}
		}
		write(t, w)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		again, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, events, torn, err := readAll(again)
		if err != nil || torn || len(events) != max(lines-1, 0)+5 {
			t.Fatalf("%d bytes: %d events, torn %v, %v", n, len(events), torn, err)
		}
	}
}

const head = `{"keytrail_transcript":1,"filter":{},"start":{"now":true}}` + "\n"

var readerTests = []struct {
	name, text, want string // the error; "" for none
}{
	{"nothing", "", "empty"},
	{"half a header", head[:20], "empty"},
	{"a header", head, ""},
	{"another file", "hello", "not a transcript"},
	{"other JSON", "{}\n", "keytrail_transcript is missing"},
	{"a newer format", `{"keytrail_transcript":2}` + "\n", "its format is 2"},
	{"a faulty filter", `{"keytrail_transcript":1,"filter":{"where":"x ="},"start":{"now":true}}` + "\n", "line 1"},
	{"no start", `{"keytrail_transcript":1,"filter":{}}` + "\n", "start"},
	{"two starts", `{"keytrail_transcript":1,"filter":{},"start":{"now":true,"after":"kt1"}}` + "\n", "start"},
	{"an event", head + `{"kind":"checkpoint","cursor":"kt1"}` + "\n", ""},
	{"a torn event", head + `{"kind":"checkp`, ""},
	{"damage", head + "\x00\x00\n", "line 2"},
	{"an empty line", head + "\n", "line 2"},
	{"another kind", head + `{"kind":"rumour","cursor":"kt1"}` + "\n", "line 2: kind"},
	{"no cursor", head + `{"kind":"checkpoint"}` + "\n", "cursor"},
	{"a stream with a cursor", head + `{"kind":"stream","cursor":"kt1","start":{"now":true}}` + "\n", "cursor"},
	{"no hash", head + `{"kind":"record","cursor":"kt1"}` + "\n", "hash"},
	{"half a gap", head + `{"kind":"gap","cursor":"kt1"}` + "\n", "after"},
	{"no filter", head + `{"kind":"filter","cursor":"kt1"}` + "\n", "filter"},
	{"a long cursor", head + `{"kind":"checkpoint","cursor":"` + strings.Repeat("k", maxCursorBytes+1) + `"}` + "\n", "too long"},
	{"a long line", head + `{"kind":"` + strings.Repeat("k", maxLine) + `"}` + "\n", "longer than"},
	{"a long end", head + strings.Repeat("k", maxLine+1), "longer than"},
}

func TestReader(t *testing.T) {
	for _, tt := range readerTests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, _, err := readAll([]byte(tt.text))
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// FuzzReader: what is read is written as it was, and nothing panics in reading
// or in checking.
func FuzzReader(f *testing.F) {
	log := logOf(50, 20)
	for _, tt := range readerTests {
		if len(tt.text) < 4096 {
			f.Add([]byte(tt.text))
		}
	}
	f.Add(log.record(f, "", 0, 50, script{checkpoints: []int{3}, streams: []int{7}, changes: map[int]string{30: narrow}}).bytes(f))
	f.Fuzz(func(t *testing.T, text []byte) {
		h, events, _, err := readAll(text)
		if err != nil {
			return
		}
		if _, err := Check(t.Context(), log, []File{fileOf("fuzzed", text)}); err != nil {
			t.Fatal(err)
		}
		again := (&tape{h, events}).bytes(t)
		_, other, _, err := readAll(again)
		if err != nil {
			t.Fatalf("%v\n%s", err, again)
		}
		if !slices.EqualFunc(events, other, func(a, b Event) bool {
			return a.Kind == b.Kind && a.Cursor == b.Cursor && a.Hash == b.Hash && a.EventID == b.EventID && a.After == b.After
		}) {
			t.Fatalf("%v\n%v", events, other)
		}
	})
}
