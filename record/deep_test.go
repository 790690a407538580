package record_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/keytrail/keytrail/record"
)

// TestUnclosedLines: many lines that never close what they open, in a file that
// took minutes when each was read to the end of the window. The test's own
// time limit is what would fail.
func TestUnclosedLines(t *testing.T) {
	const n = 20_000
	good := "{" + minimal + "}"
	for _, line := range []string{`{"x":[`, `{"eventID":"a","b":[`, `{"a":1,"b":[1,` + strings.Repeat(" ", 80)} {
		r := record.NewReader(strings.NewReader(strings.Repeat(line+"\n", n) + good + "\n"))
		bad, read := 0, 0
		for {
			rec, err := r.Next()
			var one *record.RecordError
			if errors.Is(err, io.EOF) {
				break
			}
			switch {
			case errors.As(err, &one):
				bad++
			case err != nil:
				t.Fatalf("%q: after %d bad lines: %v", line, bad, err)
			case rec.GetEventId() == "1":
				read++
			}
		}
		if bad != n || read != 1 {
			t.Errorf("%q: %d bad lines and %d records, want %d and 1", line, bad, read, n)
		}
	}
}

// TestDeepRecord: a record that nests too deep is named, and those after it
// come.
func TestDeepRecord(t *testing.T) {
	good := "{" + minimal + "}"
	deep := "{" + minimal + `,"requestParameters":{"a":` + strings.Repeat("[", 200) + `"]}"` + strings.Repeat("]", 200) + "}}"
	for name, text := range map[string]string{
		"lines": good + "\n" + deep + "\n" + good, "in a row": good + deep + good, "last": good + "\n" + good + "\n" + deep,
		"a list": `{"Records":[` + good + "," + deep + "," + good + "]}",
	} {
		r := record.NewReader(strings.NewReader(text))
		bad, read := 0, 0
		for {
			_, err := r.Next()
			var one *record.RecordError
			if errors.Is(err, io.EOF) {
				break
			}
			switch {
			case errors.As(err, &one):
				bad++
			case err != nil:
				t.Fatalf("%s: %v", name, err)
			default:
				read++
			}
		}
		if bad != 1 || read != 2 {
			t.Errorf("%s: %d bad and %d good records, want 1 and 2", name, bad, read)
		}
	}
}
