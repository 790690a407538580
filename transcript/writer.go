package transcript

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// Writer writes a transcript. It is for one goroutine, and for one Writer a
// file at a time. After an error it is of no more use.
type Writer struct {
	file *os.File
	buf  *bufio.Writer
}

// Resume is what a file already holds.
type Resume struct {
	Header Header

	// Cursor is that of the last event, to go on from; "" when there is none:
	// begin as the header says.
	Cursor string

	// Filter is the one that holds at the end: the header's, or that of the
	// last change.
	Filter FilterJSON
}

// Open opens a file to go on with it, or makes it. Without a Resume it is a new one:
// call Begin first. An unfinished line at its end is cut off.
func Open(path string) (_ *Writer, _ *Resume, err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	held, end, err := scan(file)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := file.Truncate(end); err != nil {
		return nil, nil, err
	}
	if _, err := file.Seek(end, io.SeekStart); err != nil {
		return nil, nil, err
	}
	return &Writer{file: file, buf: bufio.NewWriterSize(file, 64<<10)}, held, nil
}

// scan reads a transcript up to the offset where it is to go on. A file that holds anything else is an
// error: it is not to be cut off.
func scan(file io.Reader) (*Resume, int64, error) {
	r, err := NewReader(file)
	switch {
	case errors.Is(err, ErrEmpty):
		return nil, 0, nil
	case err != nil:
		return nil, 0, err
	}
	held := &Resume{Header: r.Header, Filter: r.Header.Filter}
	for {
		e, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return held, r.end, nil
		case err != nil:
			return nil, 0, err
		case e.Kind == Filter:
			held.Filter = *e.Filter
		}
		if e.Cursor != "" {
			held.Cursor = e.Cursor
		}
	}
}

// Begin writes the header of a new transcript. Its version is filled in.
func (w *Writer) Begin(h Header) error {
	h.Version = Version
	if err := h.Start.check(); err != nil {
		return err
	}
	if err := w.line(h); err != nil {
		return err
	}
	return w.Flush()
}

// Write adds an event.
func (w *Writer) Write(e Event) error {
	if err := e.check(); err != nil {
		return err
	}
	return w.line(e)
}

// Record adds a record that was delivered.
func (w *Writer) Record(cursor string, r *keytrailv1.Record) error {
	hash, err := Hash(r)
	if err != nil {
		return err
	}
	return w.Write(Event{Kind: Record, Cursor: cursor, EventID: r.GetEventId(), Hash: hash})
}

// Checkpoint adds a checkpoint.
func (w *Writer) Checkpoint(c *keytrailv1.Checkpoint) error {
	return w.Write(Event{
		Kind: Checkpoint, Cursor: c.GetCursor(), AtHead: c.GetAtHead(),
		Considered: c.GetConsidered(), Matched: c.GetMatched(),
	})
}

// Gap adds a gap.
func (w *Writer) Gap(g *keytrailv1.Gap) error {
	return w.Write(Event{
		Kind: Gap, After: g.GetAfterCursor(), Cursor: g.GetCursor(),
		Reason: g.GetReason().String(), Records: g.Records,
	})
}

// FilterChanged adds a change to f, which holds from now on.
func (w *Writer) FilterChanged(c *keytrailv1.FilterChanged, f *keytrailv1.Filter, text string) error {
	return w.Write(Event{
		Kind: Filter, Cursor: c.GetCursor(), Revision: c.GetRevision(),
		Filter: &FilterJSON{f}, FilterText: text,
	})
}

// Stream adds that the bus was asked for what follows.
func (w *Writer) Stream(start Start) error { return w.Write(Event{Kind: Stream, Start: &start}) }

// line writes a line of JSON. One that does not fit in what is buffered is
// flushed before, so that lines of usual length are written whole.
func (w *Writer) line(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if len(text) > w.buf.Available() {
		if err := w.buf.Flush(); err != nil {
			return err
		}
	}
	_, err = w.buf.Write(text)
	return err
}

// Buffered is how many bytes wait for Flush.
func (w *Writer) Buffered() int { return w.buf.Buffered() }

// Flush hands what was written to the operating system: it survives the end of
// the program.
func (w *Writer) Flush() error { return w.buf.Flush() }

// Close flushes, waits for the disk, and closes the file.
func (w *Writer) Close() error {
	err := w.buf.Flush()
	if err == nil {
		err = w.file.Sync()
	}
	return errors.Join(err, w.file.Close())
}
