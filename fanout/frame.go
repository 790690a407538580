package fanout

import (
	"github.com/keytrail/keytrail/eventlog"
	"github.com/keytrail/keytrail/record"
	"google.golang.org/protobuf/encoding/protowire"
)

// Frame is one record as it goes to subscribers. Its bytes are shared by all
// of them: nobody changes them.
type Frame struct {
	// Encoded is an element of keytrail.v1.Batch.records, tag and length
	// included: the concatenation of such elements is an encoded Batch.
	Encoded []byte

	// After is the position after the record.
	After eventlog.Position

	before eventlog.Position
	at     int // where the record begins in Encoded; it goes to the end
}

// record is the stored record.
func (f *Frame) record() []byte { return f.Encoded[f.at:] }

// reader reads records for filters. It is for one goroutine.
type reader struct {
	view record.View
}

// read returns what filters match, which is valid until the next read. A record
// that can't be read matches like one without fields, and is delivered to those
// who want everything.
func (r *reader) read(encoded []byte) *record.View {
	_ = r.view.Reset(encoded)
	return &r.view
}

// Field numbers of keytrail.v1.Batch and keytrail.v1.Delivered.
const (
	batchRecords    = 1
	deliveredCursor = 1
	deliveredRecord = 2
)

// frameRecord appends the element for one record to dst.
func frameRecord(dst []byte, cursor, encoded []byte) []byte {
	size := protowire.SizeTag(deliveredCursor) + protowire.SizeBytes(len(cursor)) +
		protowire.SizeTag(deliveredRecord) + protowire.SizeBytes(len(encoded))
	dst = protowire.AppendTag(dst, batchRecords, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size))
	dst = protowire.AppendTag(dst, deliveredCursor, protowire.BytesType)
	dst = protowire.AppendBytes(dst, cursor)
	dst = protowire.AppendTag(dst, deliveredRecord, protowire.BytesType)
	return protowire.AppendBytes(dst, encoded)
}

// frameOverhead is more than what frameRecord adds to a record.
const frameOverhead = 80

// batch is a message of the log, framed.
type batch struct {
	seq    uint64
	frames []Frame
	bytes  int
	gap    *Gap   // instead of frames
	before uint64 // records that the hub had seen before this batch
}

// end is the position after the batch.
func (b *batch) end() eventlog.Position { return eventlog.Position{Seq: b.seq + 1} }

// cost is about what a batch takes of memory.
func (b *batch) cost() int { return b.bytes + 64*len(b.frames) + 64 }

// frameBatch frames the records of a message for which want holds; a nil want
// takes all. Those before from are left out. considered counts the ones it
// looked at.
func frameBatch(inc eventlog.Incarnation, m *eventlog.Batch, from eventlog.Position, want func(encoded []byte) bool) (b *batch, considered int) {
	b = &batch{seq: m.Seq}
	if m.Unreadable != nil {
		b.gap = &Gap{From: eventlog.Position{Seq: m.Seq}, To: b.end(), Reason: Unreadable}
		return b, 0
	}
	size := 0
	b.frames = make([]Frame, 0, len(m.Records))
	for i, enc := range m.Records {
		f := Frame{
			before: eventlog.Position{Seq: m.Seq, Index: uint32(i)},
			After:  eventlog.After(m.Seq, i, len(m.Records)),
		}
		if f.before.Compare(from) < 0 {
			continue
		}
		considered++
		if want != nil && !want(enc) {
			continue
		}
		f.Encoded = enc
		size += len(enc) + frameOverhead
		b.frames = append(b.frames, f)
	}
	buf := make([]byte, 0, size)
	var cursor [64]byte
	for i := range b.frames {
		f := &b.frames[i]
		start, size := len(buf), len(f.Encoded)
		buf = frameRecord(buf, eventlog.AppendCursor(cursor[:0], inc, f.After), f.Encoded)
		f.Encoded = buf[start:len(buf):len(buf)]
		f.at = len(f.Encoded) - size
	}
	b.bytes = len(buf)
	return b, considered
}
