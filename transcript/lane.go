package transcript

import (
	"errors"
	"fmt"
	"io"

	"github.com/keytrail/keytrail/filter"
)

type state int

const (
	waiting state = iota // for a reader of the log to come to where it begins
	active
	finished
)

// event is an Event with where it is in its file.
type event struct {
	Event
	line int
	end  int64 // the offset after its line
}

// lane is a transcript while it is checked.
type lane struct {
	file   File
	source io.Closer
	reader *Reader
	result Result
	state  state

	queue  []event        // the next events, as far as it looks ahead
	queued map[string]int // how many of them have a cursor
	eof    bool

	prefix    int   // how many records it begins with that can't be compared
	from      Start // where the log is to be read from
	fromStart bool  // that is where the recording began
	popped    int   // events
	cursor    string

	filter   *filter.Filter
	previous *filter.Filter // the one before; nil if there was no change

	// Of the present stream: how many records of the log it has considered and
	// how many of these its filters choose. They are right only if exact is set.
	considered, matched uint64
	exact               bool

	// delivered counts the records of the present stream that the transcript has; right only if whole, that is from
	// the beginning of the stream.
	delivered uint64
	whole     bool

	first    int    // the number of the first item that it is compared with
	synced   int    // the number of the last item that an event was found at
	before   string // the place before the item at the front
	got      [Behind / 64]uint64
	missed   []miss // up to Behind items back, in order
	overdue  []miss // further back, after synced; the first ones
	overdues int    // how many those are in all
	early    map[string][]event
	earlies  int

	checkpointed int  // the number of the last item that a checkpoint was at
	resumed      bool // nothing was delivered since the stream began, which was not the first
	changed      bool // nothing was delivered since the filter changed
	afterGap     bool // the log has a gap that was not told; the next events may lie in it
	repeats      int  // records that are in the log twice

	trials  []trial
	trialAt int // how many events have to be popped before the next one is noted
}

// miss is a record of the log that was not delivered when it was its turn.
type miss struct {
	number     int
	cursor, id string
	promise    Promise
}

func (c *checker) open(f File) (*lane, error) {
	in, err := f.Open()
	if err != nil {
		return nil, err
	}
	r, err := NewReader(in)
	if err != nil {
		in.Close()
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	return &lane{
		file: f, source: in, reader: r, filter: r.filter,
		result: Result{Name: f.Name},
		queued: make(map[string]int), early: make(map[string][]event),
		checkpointed: -1,
	}, nil
}

func (l *lane) close() { l.source.Close() }

// fill reads on as far as it looks ahead.
func (l *lane) fill() error {
	for !l.eof && len(l.queue) < Ahead {
		e, err := l.reader.Next()
		switch {
		case errors.Is(err, io.EOF):
			l.eof, l.result.Torn = true, l.reader.Torn()
			return nil
		case err != nil:
			return fmt.Errorf("%s: %w", l.file.Name, err)
		}
		l.queue = append(l.queue, event{e, l.reader.Line(), l.reader.end})
		l.queued[e.Cursor]++
	}
	return nil
}

// peek is the next event; nil after the last one.
func (l *lane) peek() (*event, error) {
	if len(l.queue) == 0 {
		if err := l.fill(); err != nil || len(l.queue) == 0 {
			return nil, err
		}
	}
	return &l.queue[0], nil
}

// pop takes the next event, and notes what can be known of it without the log.
func (l *lane) pop() {
	e := l.queue[0]
	if l.queued[e.Cursor]--; l.queued[e.Cursor] == 0 {
		delete(l.queued, e.Cursor)
	}
	l.queue[0] = event{}
	l.queue = l.queue[1:]
	l.popped++
	switch e.Kind {
	case Record:
		l.result.Records++
		l.delivered++
	case Checkpoint:
		l.result.Checkpoints++
		if e.Matched > e.Considered {
			l.report(Accounted, &e, "the checkpoint says that %d records matched of %d that were considered", e.Matched, e.Considered)
		}
	case Gap:
		l.result.Gaps++
	case Filter:
		l.result.Changes++
		l.previous, l.filter, l.changed = l.filter, e.compiled, true
	case Stream:
		l.stream(&e)
		return
	}
	l.cursor = e.Cursor
}

// stream is what pop does with the beginning of a stream: it must go on where
// the one before has ended.
func (l *lane) stream(e *event) {
	l.result.Streams++
	l.considered, l.matched, l.delivered = 0, 0, 0
	l.whole = true
	if l.cursor == "" {
		return // nothing was delivered before
	}
	l.resumed = true
	if e.Start.After != l.cursor {
		l.report(Resumable, e, "the stream goes on from %s; the event before has the cursor %s", *e.Start, l.cursor)
	}
}

// after counts how far off in the queue the next event with a cursor is; −1 if
// it is not there.
func (l *lane) after(cursor string, kind Kind) int {
	if l.queued[cursor] == 0 {
		return -1
	}
	for i := range l.queue {
		if l.queue[i].Cursor == cursor && (kind == "" || l.queue[i].Kind == kind) {
			return i
		}
	}
	return -1
}

// exhausted says that nothing is left to compare.
func (l *lane) exhausted() bool { return l.eof && len(l.queue) == 0 }

func (l *lane) report(p Promise, e *event, format string, args ...any) {
	l.result.report(Violation{Promise: p, Cursor: e.Cursor, Line: e.line, Text: fmt.Sprintf(format, args...)})
}

// mark notes that the item was delivered.
func (l *lane) mark(number int) {
	i := number % Behind
	l.got[i/64] |= 1 << (i % 64)
}

func (l *lane) unmark(number int) {
	i := number % Behind
	l.got[i/64] &^= 1 << (i % 64)
}

func (l *lane) marked(number int) bool {
	i := number % Behind
	return l.got[i/64]&(1<<(i%64)) != 0
}

// skip passes over events up to an offset, as what can't be compared with the
// log.
func (l *lane) skip(end int64) error {
	for {
		e, err := l.peek()
		if err != nil {
			return err
		}
		if e == nil || e.end > end {
			return nil
		}
		switch {
		case e.Kind == Record:
			l.result.Unchecked++
			l.prefix++
		case e.Kind == Checkpoint && l.whole && e.Matched != l.delivered:
			l.report(Accounted, e, "the checkpoint says that %d records matched; %d were delivered in its stream", e.Matched, l.delivered)
			l.whole = false
		}
		l.pop()
	}
}
