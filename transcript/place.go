package transcript

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
)

// place finds out where the log is to be read from for a transcript: where that
// begins or, if the log no longer holds that, at its first event that the log
// still holds.
func (c *checker) place(ctx context.Context, l *lane) error {
	err := c.placeWithin(ctx, l)
	if !errors.Is(err, ErrOtherLog) {
		return err
	}
	l.result.report(Violation{
		Promise: Resumable, Cursor: l.cursor,
		Text: fmt.Sprintf("the bus refuses to go on from a cursor that was delivered: %v", err),
	})
	return c.giveUp(l)
}

// giveUp passes over all of a transcript.
func (c *checker) giveUp(l *lane) error {
	l.state = finished
	return l.skip(math.MaxInt64)
}

func (c *checker) placeWithin(ctx context.Context, l *lane) error {
	if err := l.fill(); err != nil {
		return err
	}
	var first *event
	for i := range l.queue {
		if l.queue[i].Kind != Stream {
			first = &l.queue[i]
			break
		}
	}
	if first == nil {
		l.result.note("nothing was delivered yet")
		return c.giveUp(l)
	}
	start := l.reader.Header.Start
	switch {
	case start.After != "":
		held, err := c.held(ctx, start.After)
		if err != nil {
			return err
		}
		if held {
			l.from, l.fromStart = start, true
			return nil
		}
	case start.Now && first.Kind == Checkpoint:
		held, err := c.held(ctx, first.Cursor)
		if err != nil {
			return err
		}
		if held {
			l.from, l.fromStart = Start{After: first.Cursor}, true
			return nil
		}
	case !start.Now:
		held, err := c.held(ctx, first.Cursor)
		if err != nil {
			return err
		}
		// The log may begin right after the first event. It then holds its place,
		// and no longer the record.
		if held {
			same, err := c.same(ctx, start, Start{After: first.Cursor})
			if err != nil {
				return err
			}
			switch {
			case !same:
				l.from, l.fromStart = start, true
				return nil
			case first.Kind == Checkpoint && first.Considered == 0:
				l.from, l.fromStart = Start{After: first.Cursor}, true
				return nil
			}
		}
	}
	return c.placeLater(ctx, l)
}

// placeLater begins after the first event that the log still holds.
func (c *checker) placeLater(ctx context.Context, l *lane) error {
	cursor, end, err := c.firstHeld(ctx, l.file)
	if err != nil {
		return err
	}
	if cursor == "" {
		l.result.note("the log no longer holds any of it")
		return c.giveUp(l)
	}
	l.from = Start{After: cursor}
	if err := l.skip(end); err != nil {
		return err
	}
	l.result.note("the log no longer holds what comes before %s", cursor)
	return nil
}

// held says whether the log can be read on from a cursor.
func (c *checker) held(ctx context.Context, cursor string) (bool, error) {
	_, err := c.firstAt(ctx, Start{After: cursor})
	if errors.Is(err, ErrExpired) {
		return false, nil
	}
	return err == nil, err
}

// same says whether reading from two places begins with the same item.
func (c *checker) same(ctx context.Context, a, b Start) (bool, error) {
	x, err := c.firstAt(ctx, a)
	if err != nil {
		return false, err
	}
	y, err := c.firstAt(ctx, b)
	return x == y, err
}

// firstAt is the cursor of the first record or gap at a place; "" at the end of
// the log.
func (c *checker) firstAt(ctx context.Context, from Start) (string, error) {
	r, err := c.log.Read(ctx, from)
	if err != nil {
		return "", err
	}
	defer r.Close()
	for {
		it, err := r.Next(ctx)
		switch {
		case errors.Is(err, io.EOF):
			return "", nil
		case err != nil:
			return "", err
		case it.Record != nil || it.Gap != nil:
			return it.Cursor, nil
		}
	}
}

// firstHeld searches the file of a transcript for the first event whose cursor
// the log still holds: those before are not, for the log loses its oldest records first. It
// returns the cursor, "" if there is none, and the offset after the event.
func (c *checker) firstHeld(ctx context.Context, f File) (cursor string, end int64, err error) {
	in, err := f.Open()
	if err != nil {
		return "", 0, err
	}
	defer in.Close()
	high, err := in.Seek(0, io.SeekEnd)
	if err != nil {
		return "", 0, err
	}
	low := int64(0)
	for low < high {
		mid := low + (high-low)/2
		at, past, err := eventFrom(in, mid)
		if err != nil {
			return "", 0, fmt.Errorf("offset %d: %w", mid, err)
		}
		if at == "" {
			high = mid
			continue
		}
		held, err := c.held(ctx, at)
		switch {
		case err != nil:
			return "", 0, err
		case held:
			cursor, end, high = at, past, mid
		default:
			low = past
		}
	}
	return cursor, end, nil
}

// eventFrom returns the cursor of the first event with one whose line begins at
// an offset or after it, and the offset after that line. Without one the cursor is "".
func eventFrom(in io.ReadSeeker, offset int64) (cursor string, end int64, err error) {
	// The byte before tells whether a line begins at the offset. The header is no event, so that there always is one.
	if _, err := in.Seek(max(offset-1, 0), io.SeekStart); err != nil {
		return "", 0, err
	}
	t := &Reader{lines: bufio.NewReaderSize(in, 4<<10), end: max(offset-1, 0)}
	for skipped := false; ; skipped = true {
		line, err := t.next()
		if errors.Is(err, io.EOF) {
			return "", 0, nil
		}
		if err != nil {
			return "", 0, err
		}
		if !skipped {
			continue
		}
		e, err := parseEvent(line)
		if err != nil {
			return "", 0, err
		}
		if e.Cursor != "" {
			return e.Cursor, t.end, nil
		}
	}
}

// begin is where the comparison begins, before the front of the window.
func (l *lane) begin(w *window) error {
	l.state = active
	l.result.Compared = l.fromStart
	l.first = w.number()
	l.synced = l.first - 1
	l.before = l.from.After
	l.exact = l.fromStart
	return l.settle(w, l.first-1, l.from.After)
}
