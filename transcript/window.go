package transcript

import (
	"context"
	"errors"
	"hash/maphash"
	"io"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

// How far Check looks, in records of the log and in events of a transcript.
const (
	Ahead  = 1024
	Behind = 1 << 14

	// aheadBytes bounds what the records ahead take of memory.
	aheadBytes = 8 << 20

	// knownIDs is among how many records of the log one is found that is
	// there twice.
	knownIDs = 1 << 16
)

// item is an Item with its number: items are counted from the first one that a
// window was filled with.
type item struct {
	Cursor  string
	Gap     *keytrailv1.Gap
	ID      string
	number  int
	encoded []byte // of a record
	hashed  string // once somebody asked
	record  bool

	// twin is the number of an item before with the same event ID; −1 if none
	// is known.
	twin int
}

func (it *item) hash() string {
	if it.hashed == "" {
		it.hashed = hashOf(it.encoded)
	}
	return it.hashed
}

// window is the part of the log that Check looks at: some items ahead, and the
// places of some that it has passed.
type window struct {
	reader LogReader
	ended  bool

	ahead []*item
	bytes int
	next  int    // the number of the next item that is read
	last  string // the cursor of the item read last

	places map[string]int // the numbers of items, those passed included
	passed []string       // their cursors: a ring

	ids    map[uint64]int // by hash of the event ID, the number of the last item that has it
	idRing []uint64       // the hashes of the last records; 0 where there was none
	seed   maphash.Seed
	view   record.View // of the item at the front
}

// newWindow reads from the place from, which is its item −1.
func newWindow(r LogReader, from Start) *window {
	w := &window{
		reader: r,
		places: make(map[string]int),
		passed: make([]string, Behind),
		ids:    make(map[uint64]int),
		idRing: make([]uint64, knownIDs),
		seed:   maphash.MakeSeed(),
		last:   from.After,
	}
	if from.After != "" {
		w.places[from.After] = -1
	}
	return w
}

// fill reads on as far as it looks ahead.
func (w *window) fill(ctx context.Context) error {
	for !w.ended && len(w.ahead) < Ahead && (w.bytes < aheadBytes || len(w.ahead) == 0) {
		in, err := w.reader.Next(ctx)
		switch {
		case errors.Is(err, io.EOF):
			w.ended = true
			return nil
		case err != nil:
			return err
		}
		if in.Record == nil && in.Gap == nil && in.Cursor == w.last {
			continue
		}
		w.last = in.Cursor
		it := &item{Cursor: in.Cursor, Gap: in.Gap, number: w.next, twin: -1}
		if in.Record != nil {
			it.record, it.ID = true, in.Record.GetEventId()
			if it.encoded, err = record.Marshal(in.Record); err != nil {
				return err
			}
			w.know(it)
		}
		w.next++
		w.bytes += len(it.encoded)
		w.ahead = append(w.ahead, it)
		w.places[it.Cursor] = it.number
	}
	return nil
}

// know notes the event ID of an item, and forgets an old one.
func (w *window) know(it *item) {
	h := maphash.String(w.seed, it.ID) | 1
	if n, ok := w.ids[h]; ok {
		it.twin = n
	}
	slot := &w.idRing[it.number%knownIDs]
	if n, ok := w.ids[*slot]; ok && n <= it.number-knownIDs {
		delete(w.ids, *slot)
	}
	*slot = h
	w.ids[h] = it.number
}

// front is the item that is next; nil at the end of the log.
func (w *window) front() *item {
	if len(w.ahead) == 0 {
		return nil
	}
	it := w.ahead[0]
	if it.record {
		w.view.Reset(it.encoded) //nolint:errcheck // then no filter with conditions matches, here as on the bus
	}
	return it
}

// pass leaves the front behind.
func (w *window) pass() {
	it := w.ahead[0]
	w.ahead[0] = nil
	w.ahead = w.ahead[1:]
	w.bytes -= len(it.encoded)
	slot := &w.passed[it.number%Behind]
	if n, ok := w.places[*slot]; ok && n <= it.number-Behind {
		delete(w.places, *slot)
	}
	*slot = it.Cursor
}

// find is the number of the item at whose end a cursor is.
func (w *window) find(cursor string) (number int, ok bool) {
	number, ok = w.places[cursor]
	return number, ok
}

// number is that of the item at the front.
func (w *window) number() int { return w.next - len(w.ahead) }
