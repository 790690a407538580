package record_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/keytrail/keytrail/record"
)

// readAll reads a file and tells it in short lines: the event ID of a record,
// "bad N: text" for a RecordError, and how it ended if not with io.EOF.
func readAll(t testing.TB, src io.Reader) []string {
	t.Helper()
	var got []string
	r := record.NewReader(src)
	for n := 1; ; n++ {
		rec, err := r.Next()
		var bad *record.RecordError
		switch {
		case err == io.EOF:
			return got
		case errors.As(err, &bad):
			if bad.Number != n || r.Number() != n {
				t.Errorf("record %d has number %d, and the reader says %d", n, bad.Number, r.Number())
			}
			got = append(got, fmt.Sprintf("bad %d at %d: %q", bad.Number, bad.Offset, bad.Raw))
		case err != nil:
			got = append(got, "ended: "+err.Error())
			if _, again := r.Next(); again == nil || again.Error() != err.Error() {
				t.Errorf("after %v, Next says %v", err, again)
			}
			if r.Number() != n-1 {
				t.Errorf("the file ended after %d records, and the reader says %d", n-1, r.Number())
			}
			return got
		default:
			if r.Number() != n {
				t.Errorf("record %d: the reader says %d", n, r.Number())
			}
			got = append(got, rec.GetEventId())
		}
	}
}

var readerTests = []struct {
	name, text string
	want       []string
}{
	{"nothing", "", nil},
	{"white space", " \n\t\r\n", nil},
	{"byte order mark only", "\ufeff", nil},
	{"one", `{"eventID":"a"}`, []string{"a"}},
	{"one, with a byte order mark", "\ufeff" + `{"eventID":"a"}`, []string{"a"}},
	{"one, indented", "{\n  \"eventID\": \"a\",\n  \"userIdentity\": {\n  }\n}\n", []string{"a"}},
	{"lines", "{\"eventID\":\"a\"}\n{\"eventID\":\"b\"}\r\n\n{\"eventID\":\"c\"}", []string{"a", "b", "c"}},
	{"concatenated", `{"eventID":"a"}{"eventID":"b"} {"eventID":"c"}`, []string{"a", "b", "c"}},
	{"Records", `{"Records":[{"eventID":"a"},{"eventID":"b"}]}`, []string{"a", "b"}},
	{"Records, indented", "{\n \"Records\" : [\n {\n\"eventID\":\"a\"}\n ,\n {\"eventID\":\"b\"}\n ]\n}\n", []string{"a", "b"}},
	{"no Records", `{"Records":[]}`, nil},
	{"members before Records", `{"x":{"Records":[1]},"y":[{}],"Records":[{"eventID":"a"}]}`, []string{"a"}},
	{"members after Records", `{"Records":[{"eventID":"a"}],"x":{"y":[1]} , "z" : 5}`, []string{"a"}},
	{"name in escapes", `{"\u0052ecords":[{"eventID":"a"}]}`, []string{"a"}},
	{"two files in one", "{\"Records\":[{\"eventID\":\"a\"}]}\n{\"Records\":[{\"eventID\":\"b\"}]}{\"eventID\":\"c\"}", []string{"a", "b", "c"}},
	{"a record with a member Records", `{"eventID":"a","Records":[{"eventID":"b"}]}`, []string{"a"}},

	{"a bad line first", "{\"eventID\":}\n{\"eventID\":\"b\"}\n", []string{`bad 1 at 0: "{\"eventID\":}"`, "b"}},
	{"a bad line", "{\"eventID\":\"a\"}\n{\"eventID\" \"x\"}\n{\"eventID\":\"c\"}\n", []string{"a", `bad 2 at 16: "{\"eventID\" \"x\"}"`, "c"}},
	{"a line cut in a string", "{\"eventID\":\"a\"}\n{\"eventID\":\"x\n{\"eventID\":\"c\"}\n", []string{"a", `bad 2 at 16: "{\"eventID\":\"x"`, "c"}},
	{"a line cut before a value", "{\"eventID\":\n{\"eventID\":\"b\"}\n{\"eventID\":\"c\"}\n", []string{`bad 1 at 0: "{\"eventID\":"`, "b", "c"}},
	{"a line cut before the last value", "{\"eventID\":\n{\"eventID\":\"b\"}\n", []string{`bad 1 at 0: "{\"eventID\":"`, "b"}},
	{"a line cut in a list", "{\"resources\":[\r\n{\"eventID\":\"b\"}\r\n", []string{`bad 1 at 0: "{\"resources\":["`, "b"}},
	{"a line of other text", "{\"eventID\":\"a\"}\noops\nagain {\n{\"eventID\":\"c\"}\n", []string{"a", `bad 2 at 16: "oops\nagain {"`, "c"}},
	{"a line of another value", "{\"eventID\":\"a\"}\n5\n[1, 2]\nnull\n{\"eventID\":\"c\"}\n", []string{"a", `bad 2 at 16: "5"`, `bad 3 at 18: "[1, 2]"`, `bad 4 at 25: "null"`, "c"}},
	{"a bad line last", "{\"eventID\":\"a\"}\n{\"eventID\" \"x\"}", []string{"a", `bad 2 at 16: "{\"eventID\" \"x\"}"`}},
	{"a number last", "{\"eventID\":\"a\"}\n12", []string{"a", `bad 2 at 16: "12"`}},
	{"a duplicate", "{\"eventID\":\"a\",\"eventID\":\"b\"} {\"eventID\":\"c\"}", []string{`bad 1 at 0: "{\"eventID\":\"a\",\"eventID\":\"b\"}"`, "c"}},
	{"not UTF-8", "{\"eventID\":\"\xff\"}{\"eventID\":\"c\"}", []string{`bad 1 at 0: "{\"eventID\":\"\xff\"}"`, "c"}},
	{"a digest", `{"awsAccountId":"1","logFiles":[]}{"eventID":"c"}`, []string{`bad 1 at 0: "{\"awsAccountId\":\"1\",\"logFiles\":[]}"`, "c"}},
	{"Records that are none", `{"Records":null}{"eventID":"c"}`, []string{`bad 1 at 0: "{\"Records\":null}"`, "c"}},
	{"a record known by a null", `{"eventName":null}`, []string{""}},

	{"elements that are no objects", `{"Records":[1,{"eventID":"b"},null,"x",[{}],12]}`,
		[]string{`bad 1 at 12: "1"`, "b", `bad 3 at 30: "null"`, `bad 4 at 35: "\"x\""`, `bad 5 at 39: "[{}]"`, `bad 6 at 44: "12"`}},
	{"an element that is no record", `{"Records":[{},{"eventID":"b"}]}`, []string{`bad 1 at 12: "{}"`, "b"}},
	{"an element with a duplicate", `{"Records":[{"x":1,"x":2},{"eventID":"b"}]}`, []string{`bad 1 at 12: "{\"x\":1,\"x\":2}"`, "b"}},
	{"a bad element", `{"Records":[{"eventID":"a"},{"eventID":}, {"eventID":"c"}]}`, []string{"a", "ended: record: in record 2, at byte 39: not JSON: invalid character '}' at start of value"}},
	{"no comma", `{"Records":[{"eventID":"a"}{"eventID":"b"}]}`, []string{"a", "ended: record: in record 2, at byte 27: not JSON: '{' where a comma or ] should be"}},
	{"one comma too many", `{"Records":[{"eventID":"a"},]}`, []string{"a", "ended: record: in record 2, at byte 28: not JSON: invalid character ']' at start of value"}},
	{"cut off in a list", `{"Records":[{"eventID":"a"},{"even`, []string{"a", "ended: record: the file is cut off after record 1, in the text from byte 28: unexpected EOF"}},
	{"cut off between elements", `{"Records":[{"eventID":"a"} `, []string{"a", "ended: record: the file is cut off after record 1, in the text from byte 28: unexpected EOF"}},
	{"cut off after a comma", `{"Records":[{"eventID":"a"},`, []string{"a", "ended: record: the file is cut off after record 1, in the text from byte 28: unexpected EOF"}},
	{"cut off after the list", `{"Records":[{"eventID":"a"}]`, []string{"a", "ended: record: the file is cut off after record 1, in the text from byte 28: unexpected EOF"}},
	{"cut off in a member after the list", `{"Records":[],"x":[1`, []string{"ended: record: the file is cut off after record 0, in the text from byte 18: unexpected EOF"}},
	{"a second Records", `{"Records":[{"eventID":"a"}],"Records":[{"eventID":"b"}]}`, []string{"a", "ended: record: in record 2, at byte 29: a second member Records"}},
	{"bad text after the list, near the end", "{\"Records\":[{\"eventID\":\"a\"}],\"xyz\x01\"}", []string{"a", "ended: record: in record 2, at byte 29: not JSON: a bad member after Records"}},
	{"bad text with a long character", "{\"Records\":[å", []string{"ended: record: in record 1, at byte 12: not JSON: invalid character 'å' at start of value"}},
	{"a bad member after the list", `{"Records":[],5:6}`, []string{"ended: record: in record 1, at byte 14: not JSON: a bad member after Records"}},
	{"cut off", `{"eventID":"a"}{"eventID":"b"`, []string{"a", "ended: record: the file is cut off after record 1, in the text from byte 15: unexpected EOF"}},
	{"cut off in a string", "{\"eventID\":\"a\"}\n{\"eventID\":\"b", []string{"a", "ended: record: the file is cut off after record 1, in the text from byte 16: unexpected EOF"}},
	{"cut off in the first", `{`, []string{"ended: record: the file is cut off after record 0, in the text from byte 0: unexpected EOF"}},

	{"HTML", "<html>\n{\"eventID\":\"b\"}", []string{`ended: record: not a CloudTrail file: it begins with '<', not with {`}},
	{"array", `[1,2]`, []string{`ended: record: not a CloudTrail file: it is a JSON array, not {"Records": [...]} or objects`}},
	{"binary", "\x7fELF", []string{`ended: record: not a CloudTrail file: it begins with '\x7f', not with {`}},
	{"UTF-16", "\xff\xfe{\x00", []string{`ended: record: not a CloudTrail file: it begins like UTF-16; convert it to UTF-8`}},
}

func TestReader(t *testing.T) {
	for _, tt := range readerTests {
		t.Run(tt.name, func(t *testing.T) {
			for _, src := range []struct {
				name string
				r    io.Reader
			}{
				{"at once", strings.NewReader(tt.text)},
				{"byte by byte", iotest.OneByteReader(strings.NewReader(tt.text))},
				{"with EOF at once", iotest.DataErrReader(strings.NewReader(tt.text))},
				{"compressed", bytes.NewReader(zip(tt.text))},
			} {
				if got := readAll(t, src.r); !slices.Equal(got, tt.want) {
					t.Errorf("%s: read\n%q\nwant\n%q", src.name, got, tt.want)
				}
			}
		})
	}
}

// zip compresses each part into a gzip member of its own.
func zip(parts ...string) []byte {
	var b bytes.Buffer
	for _, p := range parts {
		z := gzip.NewWriter(&b)
		io.WriteString(z, p)
		z.Close()
	}
	return b.Bytes()
}

func TestReaderGzipMembers(t *testing.T) {
	got := readAll(t, bytes.NewReader(zip("{\"eventID\":\"a\"}\n{\"even", "tID\":\"b\"}\n")))
	if want := []string{"a", "b"}; !slices.Equal(got, want) {
		t.Errorf("read %q, want %q", got, want)
	}
}

func TestReaderBadGzip(t *testing.T) {
	whole := zip(strings.Repeat("{\"eventID\":\"a\"}\n", 3))
	for _, tt := range []struct {
		name    string
		file    []byte
		records int
		want    string
	}{
		{"cut off", whole[:len(whole)-4], 3, "bad gzip: unexpected EOF"},
		{"no header", whole[:5], 0, "bad gzip"},
		{"checksum", append(slices.Clone(whole[:len(whole)-8]), 0, 0, 0, 0, 48, 0, 0, 0), 3, "bad gzip: gzip: invalid checksum"},
		{"text after it", append(slices.Clone(whole), "garbage after it"...), 3, "bad gzip: gzip: invalid header"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := readAll(t, bytes.NewReader(tt.file))
			if len(got) != tt.records+1 || !strings.Contains(got[len(got)-1], tt.want) {
				t.Errorf("read %q, want %d records and an end with %q", got, tt.records, tt.want)
			}
		})
	}
}

func TestReaderSourceFails(t *testing.T) {
	broken := errors.New("disk on fire")
	for _, text := range []string{"{\"eventID\":\"a\"}\n", "{\"eventID\":\"a\"}\n{\"ev", `{"Records":[{"eventID":"a"}`, "\n"} {
		r := record.NewReader(io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken)))
		var err error
		for err == nil {
			_, err = r.Next()
		}
		if !errors.Is(err, broken) {
			t.Errorf("%q, then a failure: %v, want the failure", text, err)
		}
	}
	r := record.NewReader(stuck{})
	if _, err := r.Next(); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a source that gives nothing: %v, want io.ErrNoProgress", err)
	}
}

// stuck gives nothing, for ever.
type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

func TestReaderErrors(t *testing.T) {
	for _, tt := range []struct {
		text string
		want error
	}{
		{`{"x":1}`, record.ErrNotRecord},
		{`{"Records":[5]}`, record.ErrNotObject},
		{`<`, record.ErrNotCloudTrail},
		{`{"eventID":"`, io.ErrUnexpectedEOF},
	} {
		if _, err := record.NewReader(strings.NewReader(tt.text)).Next(); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.text, err, tt.want)
		}
	}
	_, err := record.NewReader(strings.NewReader(`{"Records":[{"eventID":1,"eventID":2}]}`)).Next()
	if want := "record 1, at byte 25: duplicate object member name"; err == nil || err.Error() != want {
		t.Errorf("a duplicate: %v, want %s", err, want)
	}
}

// TestReaderLongRecords: a record over the limit is an error of its own, the
// ones after it are read.
func TestReaderLongRecords(t *testing.T) {
	recordOf := func(id string, size int) string {
		head := `{"eventID":"` + id + `","x":["`
		return head + strings.Repeat("y", size-len(head)-3) + `"]}`
	}
	good := `{"eventID":"good"}`
	for _, size := range []int{record.MaxTextBytes, record.MaxTextBytes + 1, 3 * record.MaxTextBytes, 10 * record.MaxTextBytes} {
		long := recordOf("long", size)
		middle := "long"
		if size > record.MaxTextBytes {
			middle = "bad 2"
		}
		for _, tt := range []struct{ name, text string }{
			{"lines", good + "\n" + long + "\n" + good + "\n"},
			{"concatenated", good + long + good},
			{"Records", `{"Records":[` + good + "," + long + "," + good + `]}`},
		} {
			got := readAll(t, strings.NewReader(tt.text))
			if len(got) != 3 || got[0] != "good" || !strings.HasPrefix(got[1], middle) || got[2] != "good" {
				t.Errorf("%s with %d bytes in the middle: %.100q", tt.name, size, got)
			}
			if size > record.MaxTextBytes && len(got) > 1 && !strings.HasSuffix(got[1], `""`) {
				t.Errorf("%s with %d bytes in the middle: kept the text", tt.name, size)
			}
		}
		cut := good + "\n" + long[:len(long)-1]
		got := readAll(t, strings.NewReader(cut))
		if last := got[len(got)-1]; !strings.Contains(last, "cut off after record") {
			t.Errorf("cut off in %d bytes: %.200q", size, last)
		}
		cut = good + "\n" + long[:len(long)-1] + "\n" + good
		if got = readAll(t, strings.NewReader(cut)); len(got) != 3 || got[2] != "good" {
			t.Errorf("cut off in %d bytes, then a line: %.100q", size, got)
		}
		cut = good + "\n" + long[:len(long)-3] + "\n" + good
		if got = readAll(t, strings.NewReader(cut)); len(got) != 3 || got[2] != "good" {
			t.Errorf("cut off in a string after %d bytes, then a line: %.100q", size, got)
		}
	}
	quoted := `{"eventID":"x","x":"` + strings.Repeat(`}\"{]\\`, record.MaxTextBytes) + `"}`
	if got := readAll(t, strings.NewReader(quoted+good)); len(got) != 2 || got[1] != "good" {
		t.Errorf("brackets and quotes in a long string: %.100q", got)
	}
	broken := `{"Records":[{"x":"` + strings.Repeat("y", 3*record.MaxTextBytes) + "\n\"}," + good + "]}"
	if got := readAll(t, strings.NewReader(broken)); len(got) != 2 || !strings.Contains(got[1], "a line ends in a string") {
		t.Errorf("a line that ends in a long string, in a list: %.200q", got)
	}
	r := record.NewReader(strings.NewReader(recordOf("long", record.MaxTextBytes+1)))
	if _, err := r.Next(); !errors.Is(err, record.ErrTooLong) {
		t.Errorf("a long record: %v, want ErrTooLong", err)
	}
}

// TestReaderBadText: text without end that is no record takes no memory, and
// the records after it are found.
func TestReaderBadText(t *testing.T) {
	text := "{\"eventID\":\"a\"}\n" + strings.Repeat("garbage\n", record.MaxTextBytes) + "{\"eventID\":\"b\"}\n"
	got := readAll(t, strings.NewReader(text))
	if want := []string{"a", `bad 2 at 16: ""`, "b"}; !slices.Equal(got, want) {
		t.Errorf("read %.200q, want %q", got, want)
	}
}

// TestReaderFollows: a record comes out as soon as it is there, whatever the
// pieces that it comes in. A pipe that gives no more just now would block.
func TestReaderFollows(t *testing.T) {
	src := new(pieces)
	r := record.NewReader(src)
	for i := range 10 {
		line := fmt.Sprintf("{\"eventID\":\"%d\",\"userAgent\":%q}\n", i, strings.Repeat("x", 1000*i))
		src.give(line[:len(line)-5], line[len(line)-5:])
		rec, err := r.Next()
		if err != nil || rec.GetEventId() != fmt.Sprint(i) {
			t.Fatalf("record %d: %v, %v", i, rec.GetEventId(), err)
		}
	}
}

// pieces gives what it was given, and fails when asked for more.
type pieces struct{ left []string }

func (p *pieces) give(s ...string) { p.left = append(p.left, s...) }

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, errors.New("would block")
	}
	n := copy(b, p.left[0])
	if p.left[0] = p.left[0][n:]; p.left[0] == "" {
		p.left = p.left[1:]
	}
	return n, nil
}

// endless gives the same records n times, after a head and before a tail.
func endless(head, text, tail string, n int) io.Reader {
	return io.MultiReader(strings.NewReader(head), &repeat{text: text, n: n}, strings.NewReader(tail))
}

type repeat struct {
	text string
	n    int
	rest string
}

func (r *repeat) Read(p []byte) (int, error) {
	if r.rest == "" {
		if r.n == 0 {
			return 0, io.EOF
		}
		r.n--
		r.rest = r.text
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// TestReaderMemory reads files that are far larger than what it may hold.
func TestReaderMemory(t *testing.T) {
	const records, most = 200_000, 32 << 20
	short := `{"eventID":"a","requestParameters":{"keyId":"` + keyA + `"}}`
	for _, tt := range []struct {
		name string
		src  io.Reader
	}{
		{"lines", endless("", short+"\n", "", records)},
		{"Records", endless(`{"Records":[`+short, ","+short, "]}", records-1)},
	} {
		r := record.NewReader(tt.src)
		var m runtime.MemStats
		for n := 1; ; n++ {
			_, err := r.Next()
			if err == io.EOF {
				if n != records+1 {
					t.Errorf("%s: read %d records, want %d", tt.name, n-1, records)
				}
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			if n%20_000 == 0 {
				runtime.GC()
				if runtime.ReadMemStats(&m); m.HeapAlloc > most {
					t.Fatalf("%s: %d bytes in use after %d records, want %d at most", tt.name, m.HeapAlloc, n, most)
				}
			}
		}
	}
}

// FuzzReader: arbitrary files end, whatever the pieces that they come in, with
// the same result.
func FuzzReader(f *testing.F) {
	for _, tt := range readerTests {
		f.Add([]byte(tt.text))
	}
	f.Add(zip(`{"eventID":"a"}`))
	f.Fuzz(func(t *testing.T, file []byte) {
		want := readAll(t, bytes.NewReader(file))
		for name, src := range map[string]io.Reader{
			"byte by byte":            iotest.OneByteReader(bytes.NewReader(file)),
			"with its end":            iotest.DataErrReader(bytes.NewReader(file)),
			"with its end, in pieces": iotest.DataErrReader(iotest.HalfReader(bytes.NewReader(file))),
		} {
			if got := readAll(t, src); !slices.Equal(got, want) {
				t.Errorf("%s, read\n%q\nat once\n%q", name, got, want)
			}
		}
		if len(want) > len(file)+1 {
			t.Errorf("read %d records from %d bytes", len(want), len(file))
		}
	})
}

// FuzzReaderShapes: records written in any shape of file read back the same.
func FuzzReaderShapes(f *testing.F) {
	for i, tt := range samples {
		f.Add([]byte(tt.json), []byte(samples[(i+1)%len(samples)].json))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var texts []string
		for _, text := range [][]byte{a, b} {
			r, err := record.FromJSON(text)
			if err != nil {
				return
			}
			r.EventId = new("id") // so that it is a record
			r.Verbatim = nil
			out, err := record.AppendJSON(nil, r)
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, string(out))
		}
		texts = append(texts, texts[0])
		for _, shape := range []string{
			strings.Join(texts, "\n") + "\n",
			strings.Join(texts, ""),
			`{"Records":[` + strings.Join(texts, ",") + `]}`,
			`{"x":[{}],"Records" : [ ` + strings.Join(texts, " , ") + ` ] , "y":1}`,
		} {
			for _, file := range [][]byte{[]byte(shape), zip(shape), zip(shape[:len(shape)/2], shape[len(shape)/2:])} {
				r := record.NewReader(bytes.NewReader(file))
				for _, text := range texts {
					rec, err := r.Next()
					if err != nil {
						t.Fatalf("%v in %s", err, shape)
					}
					if out, err := record.AppendJSON(nil, rec); err != nil || string(out) != text {
						t.Fatalf("read %s, %v, want %s", out, err, text)
					}
				}
				if rec, err := r.Next(); err != io.EOF {
					t.Fatalf("at the end: %v, %v", rec, err)
				}
			}
		}
	})
}
