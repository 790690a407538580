package transcript

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/keytrail/keytrail/filter"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/internal/sample"
	"github.com/keytrail/keytrail/record"
)

// memoryLog is a log in memory. Its positions are the numbers of its items.
type memoryLog struct {
	items []Item
	first int // items before this one are gone
}

// cursorAt is the cursor of the position before the item i.
func cursorAt(i int) string { return fmt.Sprintf("kt1-%x", 7919*i) }

// logOf is a log of n sample records, with a gap of two places at each of the numbers.
func logOf(n int, gaps ...int) *memoryLog {
	log := &memoryLog{}
	gen := sample.New(sample.Config{Seed: 7})
	for i := range n {
		it := Item{Cursor: cursorAt(i + 1)}
		if slices.Contains(gaps, i) {
			it.Gap = &keytrailv1.Gap{AfterCursor: cursorAt(i), Cursor: it.Cursor, Reason: keytrailv1.GapReason_GAP_REASON_MISSING}
		} else {
			it.Record = gen.Next()
		}
		log.items = append(log.items, it)
	}
	return log
}

func (m *memoryLog) Read(_ context.Context, from Start) (LogReader, error) {
	switch {
	case from.Earliest, !from.Time.IsZero():
		return &memoryReader{m: m, next: m.first}, nil
	case from.Now:
		return &memoryReader{m: m, next: len(m.items)}, nil
	}
	for i := range len(m.items) + 1 {
		if cursorAt(i) == from.After {
			if i < m.first {
				return &memoryReader{err: ErrExpired}, nil
			}
			return &memoryReader{m: m, next: i}, nil
		}
	}
	return &memoryReader{err: ErrOtherLog}, nil
}

type memoryReader struct {
	m    *memoryLog
	next int
	err  error
}

func (r *memoryReader) Close() error { return nil }

func (r *memoryReader) Next(context.Context) (Item, error) {
	if r.err != nil {
		return Item{}, r.err
	}
	if r.next == len(r.m.items) {
		return Item{}, io.EOF
	}
	r.next++
	return r.m.items[r.next-1], nil
}

// tape is a transcript in memory.
type tape struct {
	header Header
	events []Event
}

func mustFilter(t failer, where string) (*keytrailv1.Filter, *filter.Filter) {
	t.Helper()
	f := &keytrailv1.Filter{Where: where}
	compiled, err := filter.Compile(f)
	if err != nil {
		t.Fatal(err)
	}
	return f, compiled
}

// script says what happens while record records: by the number of the item before which it does.
type script struct {
	checkpoints []int
	streams     []int
	changes     map[int]string // the filter's text
}

// record is what a bus without faults delivers of items from to to.
func (m *memoryLog) record(t failer, where string, from, to int, s script) *tape {
	t.Helper()
	f, compiled := mustFilter(t, where)
	tp := &tape{header: Header{Version: Version, Began: time.Unix(0, 0), Filter: FilterJSON{f}, FilterText: compiled.String(), Start: Start{After: cursorAt(from)}}}
	if from == 0 {
		tp.header.Start = Start{Earliest: true}
	}
	start := tp.header.Start
	tp.events = append(tp.events, Event{Kind: Stream, Start: &start})
	var considered, matched, revision uint64
	last := ""
	var v record.View
	for i := from; i <= to; i++ {
		if text, ok := s.changes[i]; ok {
			f, compiled = mustFilter(t, text)
			revision++
			last = cursorAt(i)
			tp.events = append(tp.events, Event{Kind: Filter, Cursor: last, Revision: revision, Filter: &FilterJSON{f}})
		}
		if slices.Contains(s.checkpoints, i) || i == to {
			last = cursorAt(i)
			tp.events = append(tp.events, Event{Kind: Checkpoint, Cursor: last, Considered: considered, Matched: matched})
		}
		if slices.Contains(s.streams, i) && last != "" {
			considered, matched = 0, 0
			// What was considered after the last event is so again.
			for j := range i {
				if cursorAt(j) == last {
					for _, it := range m.items[j:i] {
						if it.Record != nil {
							considered++
						}
					}
				}
			}
			tp.events = append(tp.events, Event{Kind: Stream, Start: &Start{After: last}})
		}
		if i == to {
			break
		}
		it := m.items[i]
		if it.Gap != nil {
			last = it.Cursor
			tp.events = append(tp.events, Event{Kind: Gap, After: it.Gap.GetAfterCursor(), Cursor: last, Reason: it.Gap.GetReason().String()})
			continue
		}
		considered++
		encoded, err := record.Marshal(it.Record)
		if err == nil {
			err = v.Reset(encoded)
		}
		if err != nil {
			t.Fatal(err)
		}
		if compiled.Match(&v) {
			matched++
			last = it.Cursor
			tp.events = append(tp.events, Event{Kind: Record, Cursor: last, EventID: it.Record.GetEventId(), Hash: hashOf(encoded)})
		}
	}
	return tp
}

func (tp *tape) bytes(t failer) []byte {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	if err := enc.Encode(tp.header); err != nil {
		t.Fatal(err)
	}
	for _, e := range tp.events {
		if err := enc.Encode(e); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

type memoryFile struct{ *bytes.Reader }

func (memoryFile) Close() error { return nil }

func fileOf(name string, text []byte) File {
	return File{Name: name, Open: func() (io.ReadSeekCloser, error) { return memoryFile{bytes.NewReader(text)}, nil }}
}

// check checks tapes and returns what is broken of each.
func check(t failer, log *memoryLog, tapes ...*tape) []*Result {
	t.Helper()
	var files []File
	for i, tp := range tapes {
		files = append(files, fileOf(fmt.Sprintf("tape %d", i), tp.bytes(t)))
	}
	results, err := Check(context.Background(), log, files)
	if err != nil {
		t.Fatal(err)
	}
	return results
}

// broken are the numbers of the promises that are broken.
func (r *Result) broken() (out []Promise) {
	for p := range Promise(promises + 1) {
		if r.Broken[p] > 0 {
			out = append(out, p)
		}
	}
	return out
}

func (r *Result) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d records, %d unchecked, %d considered\n", r.Records, r.Unchecked, r.Considered)
	for i, v := range r.Violations {
		if i == 10 {
			fmt.Fprintf(&b, "…\n")
			break
		}
		fmt.Fprintf(&b, "%v\n", v)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	return b.String()
}

// failer is a test, also one of rapid's.
type failer interface {
	Helper()
	Fatal(args ...any)
}
