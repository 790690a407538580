package transcript

import (
	"context"
	"errors"
	"fmt"
	"io"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

var (
	// ErrExpired: the log no longer holds the place.
	ErrExpired = errors.New("the log no longer holds this place")

	// ErrOtherLog: the cursor is of another log, or ahead of this one.
	ErrOtherLog = errors.New("the log does not know this place")
)

// Log is the log that transcripts are compared with.
type Log interface {
	// Read reads all records from a place on.
	Read(ctx context.Context, from Start) (LogReader, error)
}

// LogReader is a stream of the log. Close it.
type LogReader interface {
	// Next returns the next item. After what was there when Read was called,
	// or later, it returns [io.EOF]. An error that wraps [ErrExpired] or
	// [ErrOtherLog] says that the place where it was to begin is not there.
	Next(ctx context.Context) (Item, error)
	Close() error
}

// Item is what the log has at a place: a record, a gap, or nothing.
type Item struct {
	Cursor string // the position after it
	Record *keytrailv1.Record
	Gap    *keytrailv1.Gap
}

// File is a transcript to check. It is opened more than once.
type File struct {
	Name string
	Open func() (io.ReadSeekCloser, error)
}

// Check compares transcripts with the log that they were recorded from, and
// returns a result for each, in order. An error says that this could not be done: a transcript that cannot be
// read, a log that does not answer.
func Check(ctx context.Context, log Log, files []File) ([]*Result, error) {
	c := &checker{log: log}
	defer c.close()
	for _, f := range files {
		l, err := c.open(f)
		if err != nil {
			return nil, err
		}
		c.lanes = append(c.lanes, l)
	}
	for _, l := range c.lanes {
		if err := c.place(ctx, l); err != nil {
			return nil, fmt.Errorf("%s: %w", l.file.Name, err)
		}
	}
	for _, l := range c.lanes {
		if l.state == waiting {
			if err := c.read(ctx, l.from); err != nil {
				return nil, err
			}
		}
	}
	for _, l := range c.lanes {
		if err := c.resume(ctx, l); err != nil {
			return nil, fmt.Errorf("%s: %w", l.file.Name, err)
		}
	}
	if err := c.agree(ctx); err != nil {
		return nil, err
	}
	var results []*Result
	for _, l := range c.lanes {
		results = append(results, &l.result)
	}
	return results, nil
}

// checker is one Check.
type checker struct {
	log   Log
	lanes []*lane
}

func (c *checker) close() {
	for _, l := range c.lanes {
		l.close()
	}
}

// read reads the log from a place on, for the lanes that begin there and those
// that it comes past, until all of these have ended.
func (c *checker) read(ctx context.Context, from Start) error {
	reader, err := c.log.Read(ctx, from)
	if err != nil {
		return err
	}
	defer reader.Close()
	w := newWindow(reader, from)
	var active []*lane
	if err := w.fill(ctx); err != nil {
		return err
	}
	join := func(at func(*lane) bool) error {
		for _, l := range c.lanes {
			if l.state == waiting && at(l) {
				active = append(active, l)
				if err := l.begin(w); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := join(func(l *lane) bool { return l.from == from }); err != nil {
		return err
	}
	for {
		kept := active[:0]
		for _, l := range active {
			if l.exhausted() {
				l.end()
			} else {
				kept = append(kept, l)
			}
		}
		active = kept
		if len(active) == 0 {
			return nil
		}
		it := w.front()
		if it == nil { // the log has no more
			for _, l := range active {
				if err := l.drain(w); err != nil {
					return err
				}
				l.end()
			}
			return nil
		}
		for _, l := range active {
			if err := l.step(w, it); err != nil {
				return err
			}
		}
		w.pass()
		if err := w.fill(ctx); err != nil {
			return err
		}
		for _, l := range active {
			l.try(w, it)
		}
		if err := join(func(l *lane) bool { return l.from.After == it.Cursor }); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}
