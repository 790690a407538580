package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

// awkward is a record that only a lossless path brings back.
const awkward = `{"eventID":"awkward","eventName":"Decrypt","eventSource":"kms.amazonaws.com","eventTime":"2026-01-05T08:00:00.5Z",
	"readOnly":"true","errorMessage":null,"unknownMember":{"n":1.000000000000000000001,"big":123456789012345678901234567890},
	"userAgent":"\u001b[31m\u009b31m\u007f\u202e\u2028","requestParameters":{"a":[],"b":null,"c":"</x>"},"resources":[],"tlsDetails":{}}`

func value(t *testing.T, text string) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v: %q", err, text)
	}
	return v
}

func TestJSONRoundTrip(t *testing.T) {
	b := startBus(t)
	odd, err := record.FromJSON([]byte(awkward))
	if err != nil {
		t.Fatal(err)
	}
	records := append(samples(1, 200), odd)
	b.publish(t, records...)
	stdout, stderr := b.tail(t, statusOK, "--from", "earliest", "--until-idle", "0s")

	got := make(map[string]any)
	for line := range strings.Lines(stdout) {
		v := value(t, line)
		got[v.(map[string]any)["eventID"].(string)] = v
		if strings.ContainsAny(line, "\u009b\x7f\u202e") {
			t.Errorf("a terminal escape in %q", line)
		}
	}
	if len(got) != len(records) {
		t.Errorf("%d records, want %d", len(got), len(records))
	}
	for _, r := range records {
		text, err := record.AppendJSON(nil, r)
		if err != nil {
			t.Fatal(err)
		}
		if want := value(t, string(text)); !reflect.DeepEqual(got[r.GetEventId()], want) {
			t.Errorf("got  %v\nwant %v", got[r.GetEventId()], want)
		}
	}
	if !reflect.DeepEqual(got["awkward"], value(t, awkward)) {
		t.Errorf("got  %v\nwant %v", got["awkward"], value(t, awkward))
	}
	if !strings.HasPrefix(stderr, "subscriber: resume with --from kt1") {
		t.Errorf("stderr: %s", stderr)
	}
}

func TestFilterFlags(t *testing.T) {
	b := startBus(t)
	records := samples(2, 400)
	b.publish(t, records...)
	headers := make([]record.Header, len(records))
	for i, r := range records {
		headers[i] = record.HeaderOf(r)
	}
	first := slices.IndexFunc(headers, func(h record.Header) bool { return len(h.Keys) == 1 })
	key, account, region := headers[first].Keys[0], headers[first].Account, headers[first].Region
	hasKey := func(h *record.Header) bool { return slices.Contains(h.Keys, key) }
	all := func(*record.Header) bool { return true }

	tests := []struct {
		flags []string
		want  func(*record.Header) bool
	}{
		{nil, all},
		{[]string{"--key", key}, hasKey},
		{[]string{"--key", record.KeyID(key)}, hasKey},
		{[]string{"--key", "*"}, func(h *record.Header) bool { return len(h.Keys) > 0 }},
		{[]string{"--event", "Decrypt"}, func(h *record.Header) bool { return h.EventName == "Decrypt" }},
		{[]string{"--event", "Decrypt", "--event", "Generate*"}, func(h *record.Header) bool {
			return h.EventName == "Decrypt" || strings.HasPrefix(h.EventName, "Generate")
		}},
		{[]string{"--account", account}, func(h *record.Header) bool { return h.Account == account }},
		{[]string{"--region", region}, func(h *record.Header) bool { return h.Region == region }},
		{[]string{"--read-only"}, func(h *record.Header) bool { return h.ReadOnly }},
		{[]string{"--read-only=false"}, func(h *record.Header) bool { return !h.ReadOnly }},
		{[]string{"--failed"}, func(h *record.Header) bool { return h.Failed() }},
		{[]string{"--failed=false"}, func(h *record.Header) bool { return !h.Failed() }},
		{[]string{"--not-key", key}, func(h *record.Header) bool { return !hasKey(h) }},
		{[]string{"--not-event", "Decrypt,Encrypt"}, func(h *record.Header) bool { return h.EventName != "Decrypt" && h.EventName != "Encrypt" }},
		{[]string{"--not-account", account}, func(h *record.Header) bool { return h.Account != account }},
		{[]string{"--not-region", region}, func(h *record.Header) bool { return h.Region != region }},
		{[]string{"--not-read-only"}, func(h *record.Header) bool { return !h.ReadOnly }},
		{[]string{"--not-failed"}, func(h *record.Header) bool { return !h.Failed() }},
		{[]string{"--event", "Decrypt", "--account", account}, func(h *record.Header) bool { return h.EventName == "Decrypt" && h.Account == account }},
		{[]string{"--account", account, "--not-event", "Decrypt", "--not-failed"}, func(h *record.Header) bool {
			return h.Account == account && h.EventName != "Decrypt" && !h.Failed()
		}},
		// Either of two --not flags drops a record: they do not narrow each other.
		{[]string{"--not-region", region, "--not-read-only"}, func(h *record.Header) bool { return h.Region != region && !h.ReadOnly }},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.flags, " "), func(t *testing.T) {
			stdout, _ := b.tail(t, statusOK, append(tt.flags, "--from", "earliest", "--until-idle", "0s")...)
			var want []string
			for i := range headers {
				if tt.want(&headers[i]) {
					want = append(want, headers[i].EventID)
				}
			}
			if len(want) == 0 {
				t.Fatal("the samples hold no such record")
			}
			got := eventIDs(t, stdout)
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%d records, want %d", len(got), len(want))
			}
		})
	}
}

func TestFrom(t *testing.T) {
	b := startBus(t)
	before, after := samples(3, 5), samples(4, 5)
	cursors := b.publishInOrder(t, before...)
	between := time.Now()
	b.publishInOrder(t, after...)
	all := append(ids(before), ids(after)...)

	tests := []struct {
		from string
		want []string
	}{
		{"earliest", all},
		{"now", nil},
		{"1h", all},
		{"2d", all},
		{between.Add(-time.Hour).UTC().Format(time.RFC3339), all},
		{between.Format(time.RFC3339Nano), ids(after)},
		{between.Add(-24 * time.Hour).UTC().Format(time.DateOnly), all},
		{cursors[2], all[3:]},
		{cursors[4], ids(after)},
	}
	for _, tt := range tests {
		t.Run(tt.from, func(t *testing.T) {
			stdout, _ := b.tail(t, statusOK, "--from", tt.from, "--until-idle", "0s")
			if got := eventIDs(t, stdout); !slices.Equal(got, tt.want) {
				t.Errorf("got %v\nwant %v", got, tt.want)
			}
		})
	}
}

// TestNow: without --from, what was stored before is not printed, and what
// comes after is, at once.
func TestNow(t *testing.T) {
	b := startBus(t)
	old := samples(5, 3)
	b.publish(t, old...)
	r := startProgram(t, b.args())
	// Nothing says when the stream has begun, so publish until one is seen.
	fresh := samples(6, 10_000)
	for i := 0; r.out.String() == ""; i++ {
		b.publish(t, fresh[i])
	}
	r.cancel()
	r.wait(t, statusOK)
	for _, id := range eventIDs(t, r.out.String()) {
		if slices.Contains(ids(old), id) {
			t.Errorf("%s was stored before", id)
		}
	}
}

func TestMax(t *testing.T) {
	b := startBus(t)
	records := ofOneKey(samples(7, 50))
	b.publish(t, records...)
	stdout, stderr := b.tail(t, statusOK, "--from", "earliest", "--max", "20")
	if got := eventIDs(t, stdout); !slices.Equal(got, ids(records)[:20]) {
		t.Errorf("got %d records", len(got))
	}
	// The position is after the last one that was printed, not the last one
	// that was read.
	stdout, _ = b.tail(t, statusOK, "--from", position(t, stderr), "--until-idle", "0s")
	if got := eventIDs(t, stdout); !slices.Equal(got, ids(records)[20:]) {
		t.Errorf("got %d records after the first 20", len(got))
	}
}

// position is the cursor that the command gave at its end.
func position(t *testing.T, stderr string) string {
	t.Helper()
	_, cursor, ok := strings.Cut(stderr, "--from kt1")
	if !ok {
		t.Fatalf("no position: %s", stderr)
	}
	cursor, _, _ = strings.Cut(cursor, "\n")
	return "kt1" + cursor
}

func TestUntilIdle(t *testing.T) {
	b := startBus(t)
	first, second := samples(8, 3), samples(9, 3)
	b.publish(t, first...)
	const idle = 2 * time.Second
	r := startProgram(t, b.args("--from", "earliest", "--until-idle", idle.String()))
	r.out.waitLines(t, 3)
	last := time.Now() // or a little later: a record can be printed before publish returns
	b.publish(t, second...)
	r.out.waitLines(t, 6)
	r.wait(t, statusOK)
	if took := time.Since(last); took < idle {
		t.Errorf("ended %s after the last record", took)
	}
	if got, want := len(eventIDs(t, r.out.String())), 6; got != want {
		t.Errorf("%d records, want %d", got, want)
	}
}

func TestCheckpoint(t *testing.T) {
	b := startBus(t)
	records := ofOneKey(samples(10, 100))
	b.publish(t, records[:60]...)
	file := filepath.Join(t.TempDir(), "position")

	first, stderr := b.tail(t, statusOK, "--from", "earliest", "--checkpoint", file, "--max", "37")
	if !strings.Contains(stderr, "resume with --checkpoint "+file+", or --from kt1") {
		t.Errorf("stderr: %s", stderr)
	}
	b.publish(t, records[60:]...)
	second, stderr := b.tail(t, statusOK, "--from", "earliest", "--checkpoint", file, "--until-idle", "0s")
	if !strings.Contains(stderr, "--from is ignored") {
		t.Errorf("stderr: %s", stderr)
	}
	if got := eventIDs(t, first+second); !slices.Equal(got, ids(records)) {
		t.Errorf("the two runs gave %d records, not each of %d once and in order", len(got), len(records))
	}
	third, _ := b.tail(t, statusOK, "--checkpoint", file, "--until-idle", "0s")
	if third != "" {
		t.Errorf("repeated: %s", third)
	}
}

func TestCheckpointFileIsChecked(t *testing.T) {
	file := filepath.Join(t.TempDir(), "position")
	if err := os.WriteFile(file, []byte("not a cursor\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stderr := run(t, statusError, "tail", "--checkpoint", file)
	if !strings.Contains(stderr, "does not hold a cursor") {
		t.Errorf("stderr: %s", stderr)
	}
}

func TestFormats(t *testing.T) {
	b := startBus(t)
	r := samples(11, 1)[0]
	r.EventTime = timestamppb.New(time.Date(2026, 1, 5, 8, 0, 0, 0, time.UTC))
	r.UserIdentity = &keytrailv1.UserIdentity{UserName: new("mallory\x1b[2J")}
	b.publish(t, r)
	args := func(more ...string) []string {
		return append([]string{"tail", "--bus", b.addr, "--from", "earliest", "--until-idle", "0s"}, more...)
	}

	oneline, _ := run(t, statusOK, args()...)
	if !strings.HasPrefix(oneline, "2026-01-05T08:00:00Z  ok ") || strings.Count(oneline, "\n") != 1 || !strings.Contains(oneline, `mallory\x1b[2J`) {
		t.Errorf("oneline: %q", oneline)
	}
	table, _ := run(t, statusOK, args("-o", "table")...)
	if header, line, _ := strings.Cut(table, "\n"); !strings.HasPrefix(header, "TIME ") || line != oneline {
		t.Errorf("table: %q", table)
	}
	painted, _ := run(t, statusOK, args("--color", "always")...)
	if !strings.HasPrefix(painted, "\x1b[") {
		t.Errorf("painted: %q", painted)
	}
	t.Run("environment", func(t *testing.T) {
		t.Setenv("KEYTRAIL_BUS", b.addr)
		t.Setenv("KEYTRAIL_OUTPUT", "table")
		t.Setenv("KEYTRAIL_FROM", "earliest")
		t.Setenv("KEYTRAIL_EVENT", "None,"+r.GetEventName())
		stdout, _ := run(t, statusOK, "tail", "--until-idle", "0s")
		if stdout != table {
			t.Errorf("got %q", stdout)
		}
	})
}

func TestParseStart(t *testing.T) {
	now := time.Date(2026, 1, 5, 8, 0, 0, 0, time.UTC)
	tests := []struct{ from, want string }{
		{"", "now"},
		{"now", "now"},
		{"earliest", "earliest"},
		{"kt1abc", `after "kt1abc"`},
		{"2026-01-04T08:00:00+01:00", "at 2026-01-04T08:00:00+01:00"},
		{"2026-01-04", "at 2026-01-04T00:00:00Z"},
		{"90m", "at 2026-01-05T06:30:00Z"},
		{"1d12h", "at 2026-01-03T20:00:00Z"},
		{"2d", "at 2026-01-03T08:00:00Z"},
		{"2026-01-05T08:00:30Z", "at 2026-01-05T08:00:30Z"}, // clocks differ a little
		{"2026-01-05T08:02:00Z", ""},
		{"yesterday", ""},
		{"-1h", ""},
		{"+1h", ""},
		{"d", ""},
		{"1d-1h", ""},
		{"99999999d", ""},
		{"2026-01-04 08:00", ""},
	}
	for _, tt := range tests {
		t.Run(tt.from, func(t *testing.T) {
			got, err := parseStart(tt.from, now)
			if tt.want == "" {
				if err == nil {
					t.Errorf("got %s, want an error", got)
				}
			} else if err != nil || got.String() != tt.want {
				t.Errorf("got %s, %v; want %s", got, err, tt.want)
			}
		})
	}
}
