package transcript

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/keytrail/keytrail/filter"
)

// maxLine is the longest line: a header with the longest filter, in which
// everything is escaped, twice.
const maxLine = 16*filter.MaxBytes + 64<<10

// errLong ends the reading of a file with a line that nobody has written.
var errLong = fmt.Errorf("a line is longer than %d bytes", maxLine)

// magic is what every transcript begins with.
const magic = `{"keytrail_transcript":`

// errForeign: what is there was not written by this package.
var errForeign = errors.New("it is not a transcript")

// ErrEmpty: the file has no header yet. Nothing was recorded.
var ErrEmpty = errors.New("it is empty")

// Reader reads a transcript. Its memory is bounded by the longest line.
type Reader struct {
	// Header is the first line.
	Header Header

	lines  *bufio.Reader
	filter *filter.Filter // that of the header
	line   int            // the number of the last line read, from 1
	end    int64          // the offset after that line
	torn   bool
}

// NewReader reads the header. It returns an error that wraps [ErrEmpty] if there is none.
func NewReader(r io.Reader) (*Reader, error) {
	t := &Reader{lines: bufio.NewReaderSize(r, 64<<10)}
	line, err := t.next()
	if errors.Is(err, io.EOF) {
		if n := min(len(line), len(magic)); string(line[:n]) != magic[:n] {
			return nil, errForeign
		}
		return nil, ErrEmpty
	}
	if err == nil {
		t.Header, err = parseHeader(line)
	}
	if err == nil {
		t.filter, err = filter.Compile(t.Header.Filter.Filter)
	}
	if err != nil {
		return nil, t.at(err)
	}
	return t, nil
}

// Next returns the next event, [io.EOF] after the last one. An error names the
// line.
func (t *Reader) Next() (Event, error) {
	line, err := t.next()
	if err != nil {
		if errors.Is(err, io.EOF) {
			return Event{}, io.EOF
		}
		return Event{}, t.at(err)
	}
	e, err := parseEvent(line)
	if err != nil {
		return Event{}, t.at(err)
	}
	return e, nil
}

// Torn says, after the last event, whether something follows it that was not
// written to its end.
func (t *Reader) Torn() bool { return t.torn }

// Line is the number of the line that was read last; the header is 1.
func (t *Reader) Line() int { return t.line }

func (t *Reader) at(err error) error { return fmt.Errorf("line %d: %w", max(t.line, 1), err) }

// next reads a line that has its line feed. With [io.EOF] it returns what is
// left.
func (t *Reader) next() ([]byte, error) {
	var long []byte
	for {
		part, err := t.lines.ReadSlice('\n')
		if len(long)+len(part) > maxLine {
			t.line++
			return nil, errLong
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			long = append(long, part...)
			continue
		case errors.Is(err, io.EOF):
			t.torn = len(long)+len(part) > 0
			return append(long, part...), io.EOF
		case err != nil:
			return nil, err
		}
		if long != nil {
			part = append(long, part...)
		}
		t.line++
		t.end += int64(len(part))
		return bytes.TrimSuffix(part, []byte("\n")), nil
	}
}
