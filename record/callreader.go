package record

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// LineError says what is wrong with one line of a file. Those after it can
// still be read.
type LineError struct {
	// Line counts from 1, blank lines included.
	Line int
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }
func (e *LineError) Unwrap() error { return e.Err }

// CallReader reads calls from JSON lines: one object a line, in the form of
// [CallFromJSON], plain or compressed with gzip. It holds about one line in
// memory, and reads only as far as it must, so it can follow a pipe.
type CallReader struct {
	in     *input
	opened bool
	line   int
	err    error // ended the file; sticky
}

// NewCallReader returns a CallReader of r, which it does not close.
func NewCallReader(r io.Reader) *CallReader { return &CallReader{in: &input{src: r}} }

// Line returns the line of the call, or bad line, that Next returned last.
func (r *CallReader) Line() int { return r.line }

// Next returns the next call. At the end of the file it returns [io.EOF]. A
// [*LineError] concerns one line: call Next again for those after it. Any other
// error ends the file.
func (r *CallReader) Next() (*keytrailv1.Call, error) {
	if !r.opened {
		r.opened = true
		r.in.open()
	}
	for r.err == nil {
		text, err := r.nextLine()
		switch {
		case errors.Is(err, ErrTooLong):
			return nil, &LineError{r.line, err}
		case err != nil:
			r.err = err
			return nil, err
		case len(trimSpace(text)) == 0:
			continue
		}
		c, err := CallFromJSON(text)
		if err != nil {
			return nil, &LineError{r.line, err}
		}
		return c, nil
	}
	return nil, r.err
}

// nextLine passes a line and returns it. It fails with [ErrTooLong] after a
// line that is longer than [MaxTextBytes].
func (r *CallReader) nextLine() ([]byte, error) {
	long, from := false, 0
	for {
		text := r.in.unread()
		if i := bytes.IndexByte(text[from:], '\n'); i >= 0 {
			r.line++
			r.in.advance(from + i + 1)
			if long || from+i > MaxTextBytes {
				return nil, ErrTooLong
			}
			return text[:from+i], nil
		}
		if from = len(text); from > MaxTextBytes {
			r.in.advance(from)
			long, from = true, 0
		}
		if r.in.read() {
			continue
		}
		if r.in.err != io.EOF {
			return nil, fmt.Errorf("record: can't read on after line %d: %w", r.line, r.in.err)
		}
		text = r.in.unread()
		r.in.advance(len(text))
		switch {
		case long:
			r.line++
			return nil, ErrTooLong
		case len(text) == 0:
			return nil, io.EOF
		}
		r.line++
		return text, nil
	}
}
