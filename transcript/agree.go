package transcript

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
)

// chunk is how many records of a transcript are held against the others at once.
const chunk = 1 << 18

// agree compares the beginnings of transcripts, which the log no longer holds,
// with each other: they must agree in the order and the content of the records that they share.
func (c *checker) agree(ctx context.Context) error {
	seed := maphash.MakeSeed()
	for i, a := range c.lanes {
		others := make([]*beginning, 0, len(c.lanes)-i)
		for _, b := range c.lanes[i+1:] {
			if b.prefix > 0 {
				others = append(others, &beginning{lane: b})
			}
		}
		if a.prefix == 0 || len(others) == 0 {
			continue
		}
		if err := a.compare(ctx, seed, others); err != nil {
			return err
		}
	}
	return nil
}

// beginning is the part of a transcript that the log no longer holds, while it is compared with
// another one.
type beginning struct {
	*lane
	last int // the number of its last record among those that belong to the chunks before
}

// place is a record of a chunk.
type place struct {
	number int
	hash   string
}

// compare holds l, chunk by chunk, against the others.
func (l *lane) compare(ctx context.Context, seed maphash.Seed, others []*beginning) error {
	held := make(map[uint64]place, min(l.prefix, chunk))
	against := func() error {
		for _, b := range others {
			if err := b.against(l, seed, held); err != nil {
				return err
			}
		}
		clear(held)
		return ctx.Err()
	}
	err := l.beginning(func(e *Event, _, number int) error {
		held[maphash.String(seed, e.Cursor)] = place{number, e.Hash}
		if len(held) < chunk {
			return nil
		}
		return against()
	})
	if err != nil {
		return err
	}
	return against()
}

// against looks for the records of a chunk of another transcript. They must
// come in its order, and after those of the chunks before.
func (b *beginning) against(other *lane, seed maphash.Seed, held map[uint64]place) error {
	before, at := 0, b.last
	err := b.beginning(func(e *Event, line, number int) error {
		p, ok := held[maphash.String(seed, e.Cursor)]
		if !ok {
			return nil
		}
		if p.number < before || number <= b.last {
			b.result.report(Violation{
				Promise: Ordered, Cursor: e.Cursor, Line: line,
				Text: fmt.Sprintf("record %s at %s comes in another order in %s", e.EventID, e.Cursor, other.file.Name),
			})
		}
		if p.hash != e.Hash {
			b.result.report(Violation{
				Promise: Complete, Cursor: e.Cursor, Line: line,
				Text: fmt.Sprintf("record %s at %s is another one in %s", e.EventID, e.Cursor, other.file.Name),
			})
		}
		before, at = p.number, max(at, number)
		return nil
	})
	b.last = at
	return err
}

// beginning reads the records at the beginning that the log no longer holds,
// which are numbered from 1.
func (l *lane) beginning(do func(e *Event, line, number int) error) error {
	in, err := l.file.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	r, err := NewReader(in)
	for number := 0; err == nil && number < l.prefix; {
		var e Event
		if e, err = r.Next(); err == nil && e.Kind == Record {
			number++
			err = do(&e, r.Line(), number)
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w", l.file.Name, err)
	}
	return nil
}
