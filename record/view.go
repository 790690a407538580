package record

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
)

// View reads an encoded record in place, as the JSON object that [AppendJSON]
// would write of it, and decodes no more than is asked for. It is what filters
// read.
//
// Reset starts a record and walks once over its fields. Nested messages and
// free-form JSON are only read when somebody asks for something in them, once
// a record however many ask. Whatever the record holds, the work is in
// proportion to its size and to the number of questions times the members of
// the objects that they look into: an object's members are searched one by one.
//
// A View may be used for any number of records, one after the other, and
// allocates nothing once its scratch memory has grown to what records need. It
// is for one goroutine. The encoded bytes must not change while it's in use.
// The strings that it returns point into them or into the scratch memory, and
// are valid until the next Reset, as is every [Value].
//
// What is not as it should be in a record that [Validate] would refuse reads as
// missing: free-form members that are not JSON, nested messages that are not
// encoded ones.
type View struct {
	encoded []byte

	// scratch holds what can't be read in place: unescaped strings, joined
	// messages, the time. Offsets of a place count on from encoded.
	scratch []byte

	// Of each section: which of its fields are set, as bits of their numbers,
	// and which of these its verbatim field replaces.
	set, replaced [maxSections]uint32
	at            [maxSlots]place // by slot, of the fields that are set

	indexed uint32 // bits of the sections that set, replaced and at are right for
	foreign uint32 // bits of the sections that a verbatim field above replaces

	// JSON texts that were looked into, as trees of nodes. roots has the tree
	// of each slot with a bit in read; documents those of other strings.
	nodes     []node
	read      [maxSections]uint32
	roots     [maxSlots]uint32
	documents map[place]uint32

	entries []place // of resources, once listed
	keys    []string
	arns    []string
	listed  bool
	named   bool // keys and arns are right

	operation    int
	hasOperation bool

	used bool // scratch memory holds something of this record
}

// place is where a value's bytes are: in encoded, or behind it in scratch.
type place struct{ start, end uint32 }

// maxViewBytes keeps places within 32 bits, scratch memory included.
const maxViewBytes = 1 << 28

// Scratch memory that one unusual record has made larger than this is let go.
const (
	keepScratch = 64 << 10
	keepNodes   = 8 << 10
	keepEntries = 1 << 10
	fewARNs     = 4
)

// Reset makes v a view of the encoded record. It fails on bytes that are not
// an encoded record, as [Header.Decode] does, except that it does not look
// into nested messages; v then reads as a record without fields.
func (v *View) Reset(encoded []byte) error {
	if v.used {
		v.clean()
	}
	v.encoded = encoded
	v.indexed, v.foreign = 0, 0
	v.set[0], v.replaced[0], v.read[0] = 0, 0, 0
	v.listed, v.named, v.hasOperation = false, false, false
	if len(encoded) > maxViewBytes {
		v.encoded = nil
		return fmt.Errorf("record: longer than %d bytes", maxViewBytes)
	}
	if v.walkStored() {
		// Nearly all records.
	} else if at, code := v.walk(0, place{0, uint32(len(encoded))}); code < 0 {
		v.encoded, v.set[0], v.indexed = nil, 0, 1
		return headerError(at, code)
	}
	if v.set[0]&(1<<verbatimNumber) == 0 {
		v.indexed = 1
	}
	return nil
}

// Size returns how many bytes the encoded record has, 0 for one that Reset
// has failed on.
func (v *View) Size() int { return len(v.encoded) }

// clean forgets what was kept for the record before.
func (v *View) clean() {
	v.used = false
	v.scratch, v.nodes, v.entries = v.scratch[:0], v.nodes[:0], v.entries[:0]
	// A few strings that point into an old record do no harm, many would keep
	// many records.
	if len(v.arns) > fewARNs {
		clear(v.keys)
		clear(v.arns)
	}
	v.keys, v.arns = v.keys[:0], v.arns[:0]
	if cap(v.scratch) > keepScratch {
		v.scratch = nil
	}
	if cap(v.nodes) > keepNodes {
		v.nodes = nil
	}
	if cap(v.entries) > keepEntries {
		v.entries, v.keys, v.arns = nil, nil, nil
	}
	if len(v.documents) > keepEntries {
		v.documents = nil
	}
	if len(v.documents) > 0 {
		clear(v.documents)
	}
}

// walkStored is walk for the record itself, as [Marshal] writes it: fields
// ascend, and lengths and booleans are as short as they can be. It reports
// whether the record is so; if not, nothing of what it noted counts.
func (v *View) walkStored() bool {
	b := v.encoded
	at := (*[32]place)(v.at[:])
	var set, flags uint32 // fields with a length, and booleans
	var last uint32
	pos := 0

	// Fields up to 15 have a tag of one byte. A field that is longer than the
	// bytes ends both loops, behind them.
	for pos < len(b) {
		w := headAt(b, pos)
		tag := w & 0xff
		if tag >= 0x80 {
			break
		}
		num := tag >> 3
		if num <= last {
			return false
		}
		last = num
		if tag&7 != uint32(protowire.BytesType) {
			if tag != uint32(numReadOnly)<<3 || w&(0x80<<8) != 0 {
				return false
			}
			flags |= 1 << (num & 31)
			at[num&31] = place{uint32(pos + 1), uint32(pos + 2)}
			pos += 2
			continue
		}
		start, n := pos+2, w>>8&0xff
		if n >= 0x80 {
			if w&(0x80<<16) != 0 {
				return false
			}
			n = n&0x7f | w>>9&(0x7f<<7)
			start++
		}
		pos = start + int(n)
		at[num&31] = place{uint32(start), uint32(pos)}
		set |= 1 << (num & 31)
	}

	// All others that the contract has are below 2048, with a tag of two.
	for pos < len(b) {
		w := headAt(b, pos)
		if w&0x8080 != 0x80 {
			return false
		}
		tag := w&0x7f | w>>1&(0x7f<<7)
		num := tag >> 3
		if num <= last {
			return false
		}
		last = num
		if num > 31 {
			if num != verbatimField {
				return false
			}
			num = verbatimNumber
		}
		if tag&7 != uint32(protowire.BytesType) {
			if tag&7 != uint32(protowire.VarintType) || w&(0x80<<16) != 0 {
				return false
			}
			flags |= 1 << (num & 31)
			at[num&31] = place{uint32(pos + 2), uint32(pos + 3)}
			pos += 3
			continue
		}
		start, n := pos+3, w>>16&0xff
		if n >= 0x80 {
			if w&(0x80<<24) != 0 {
				return false
			}
			n = n&0x7f | w>>17&(0x7f<<7)
			start++
		}
		pos = start + int(n)
		at[num&31] = place{uint32(start), uint32(pos)}
		set |= 1 << (num & 31)
	}
	booleans := sections[0].varints
	if pos != len(b) || flags&^booleans != 0 || set&booleans != 0 {
		return false
	}
	v.set[0] = set | flags
	return true
}

// headAt returns the 4 bytes from pos on, with zeros behind the end.
func headAt(b []byte, pos int) (w uint32) {
	if pos+4 <= len(b) {
		return binary.LittleEndian.Uint32(b[pos:])
	}
	for i, c := range b[pos:] {
		w |= uint32(c) << (8 * i)
	}
	return w
}

// walk notes where the fields of section s are, whose message is at p. If they
// are not those of a message it returns where, and protowire's error code.
func (v *View) walk(s uint8, p place) (pos, code int) {
	sec := &sections[s]
	set, twice := uint32(0), uint32(0)
	at := v.at[sec.base:]
	b := v.memory(p)
	for pos := 0; pos < len(b); {
		f := shortAt(b, pos)
		if f.end < 0 {
			return pos, f.end
		}
		pos = f.end
		n := f.num
		if n > protowire.Number(sec.last) {
			if n != verbatimField {
				continue
			}
			n = verbatimNumber
		}
		bit := uint32(1) << n
		if bit&sec.varints != 0 {
			if f.typ != protowire.VarintType {
				continue // of another wire type: a field that nobody knows
			}
		} else if f.typ != protowire.BytesType {
			continue
		}
		twice |= set & bit
		set |= bit
		at[n] = place{p.start + uint32(f.start), p.start + uint32(f.end)}
	}
	if twice &= sec.messages; twice != 0 {
		v.join(sec, p, twice)
	}
	v.set[s] = set
	return 0, 0
}

// join puts the parts of messages that come more than once, one after the
// other, into scratch memory. Protobuf merges them, and that is what it takes.
func (v *View) join(sec *section, p place, twice uint32) {
	for n := range protowire.Number(sec.last) + 1 {
		if twice&(1<<n) == 0 {
			continue
		}
		joined := v.mark()
		b := v.memory(p)
		for pos := 0; pos < len(b); {
			f := fieldAt(b, pos)
			pos = f.end
			if f.num == n && f.typ == protowire.BytesType {
				v.scratch = append(v.scratch, b[f.start:f.end]...)
			}
		}
		v.at[sec.base+uint8(n)] = v.since(joined)
	}
}

// need indexes section s, unless it is.
func (v *View) need(s uint8) {
	if v.indexed&(1<<s) == 0 {
		v.index(s)
	}
}

// index finds the fields of section s, and of those above it, for the first
// time in this record.
func (v *View) index(s uint8) {
	v.indexed |= 1 << s
	if s > 0 {
		sec := &sections[s]
		v.need(sec.parent)
		v.set[s], v.replaced[s], v.read[s] = 0, 0, 0
		bit := uint32(1) << sec.number
		if v.foreign&(1<<sec.parent) != 0 || v.replaced[sec.parent]&bit != 0 {
			v.foreign |= 1 << s
			return
		}
		if v.set[sec.parent]&bit == 0 {
			return
		}
		// A broken message has no fields: walk has set none.
		v.walk(s, v.at[sections[sec.parent].base+sec.number])
	}
	if v.set[s]&(1<<verbatimNumber) != 0 {
		v.findReplaced(s)
	}
}

// findReplaced notes the fields of section s that its verbatim field has, too.
func (v *View) findReplaced(s uint8) {
	sec := &sections[s]
	root := v.root(sec.base + verbatimNumber)
	if v.nodes[root].kind != Object {
		v.set[s] &^= 1 << verbatimNumber
		return
	}
	for i := root + 1; i < v.nodes[root].next; i = v.nodes[i].next {
		if f := sec.of.byName[v.text(v.nodes[i].name)]; f != nil {
			v.replaced[s] |= 1 << sec.numbers[f.index]
		}
	}
}

// memory returns the bytes at p.
func (v *View) memory(p place) []byte {
	if n := uint32(len(v.encoded)); p.end > n {
		return v.scratch[p.start-n : p.end-n]
	}
	return v.encoded[p.start:p.end]
}

// text returns the bytes at p as a string that shares their memory.
func (v *View) text(p place) string {
	b := v.memory(p)
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// mark returns where scratch memory goes on, for since.
func (v *View) mark() uint32 {
	v.used = true
	return uint32(len(v.encoded) + len(v.scratch))
}

// since is the place of what was appended to scratch memory after mark.
func (v *View) since(mark uint32) place { return place{mark, v.mark()} }

// hot returns a text field of the record itself as Header.Decode does.
func (v *View) hot(n protowire.Number) string {
	if v.set[0]&(1<<n) == 0 {
		return ""
	}
	return v.text(v.at[n])
}

// EventID returns the record's event ID, "" when absent. This and the methods
// below are the typed fields, as in [Header].
func (v *View) EventID() string { return v.hot(numEventID) }

// EventName returns the name of the operation, "" when absent.
func (v *View) EventName() string { return v.hot(numEventName) }

// Account returns the recipient account, "" when absent.
func (v *View) Account() string { return v.hot(numAccount) }

// Region returns the Region that served the call, "" when absent.
func (v *View) Region() string { return v.hot(numRegion) }

// ErrorCode returns the error code, "" when absent: the call succeeded.
func (v *View) ErrorCode() string { return v.hot(numErrorCode) }

// EventSource returns the service, "" when absent.
func (v *View) EventSource() string { return v.hot(numEventSource) }

// ReadOnly reports whether the call changed nothing, false when the record
// does not say.
func (v *View) ReadOnly() bool {
	return v.set[0]&(1<<numReadOnly) != 0 && v.boolean(v.at[numReadOnly])
}

func (v *View) boolean(p place) bool {
	n, _ := protowire.ConsumeVarint(v.memory(p))
	return protowire.DecodeBool(n)
}

// Operation returns the index of the record's operation in the catalogue, as
// [OperationIndex], or -1 if the catalogue doesn't name it.
func (v *View) Operation() int {
	if !v.hasOperation {
		v.hasOperation = true
		v.operation = -1
		if i, known := OperationIndex(v.EventName()); known {
			v.operation = i
		}
	}
	return v.operation
}

// Keys returns the distinct key ARNs of the record's resources, in order, as
// [Header.Keys].
func (v *View) Keys() []string {
	v.nameKeys()
	return v.keys
}

// ResourceARNs returns the ARNs of the record's resources, of keys and aliases,
// in order. Resources without ARN are left out.
func (v *View) ResourceARNs() []string {
	v.nameKeys()
	return v.arns
}

func (v *View) nameKeys() {
	if v.named {
		return
	}
	v.named = true
	if v.set[0]&(1<<numResources) == 0 {
		return
	}
	v.used = true
	var keys keySet
	b := v.memory(v.at[numResources])
	for pos := 0; pos < len(b); {
		entry := shortAt(b, pos)
		if entry.end < 0 {
			v.keys, v.arns = v.keys[:0], v.arns[:0]
			return
		}
		pos = entry.end
		if entry.num != numEntries || entry.typ != protowire.BytesType {
			continue
		}
		var arn []byte
		e := b[:entry.end]
		for at := entry.start; at < len(e); {
			f := shortAt(e, at)
			if f.end < 0 {
				arn = nil
				break
			}
			at = f.end
			if f.num == numARN && f.typ == protowire.BytesType {
				arn = e[f.start:f.end]
			}
		}
		if len(arn) > 0 {
			s := unsafe.String(&arn[0], len(arn))
			v.arns = append(v.arns, s)
			v.keys = keys.add(v.keys, s)
		}
	}
}

// shortAt is fieldAt for messages whose fields are mostly short strings.
func shortAt(b []byte, pos int) wireField {
	if pos+2 <= len(b) {
		tag, n := b[pos], int(b[pos+1])
		if end := pos + 2 + n; tag&0x87 == byte(protowire.BytesType) && tag >= 1<<3 && n < 0x80 && end <= len(b) {
			return wireField{protowire.Number(tag >> 3), protowire.BytesType, pos + 2, end}
		}
	}
	return fieldAt(b, pos)
}

// resources returns the places of the record's resources.
func (v *View) resources() []place {
	if v.listed {
		return v.entries
	}
	v.listed = true
	if v.set[0]&(1<<numResources) == 0 {
		return nil
	}
	p := v.at[numResources]
	b := v.memory(p)
	for pos := 0; pos < len(b); {
		f := fieldAt(b, pos)
		if f.end < 0 {
			v.entries = v.entries[:0]
			return nil
		}
		pos = f.end
		if f.num == numEntries && f.typ == protowire.BytesType {
			v.used = true
			v.entries = append(v.entries, place{p.start + uint32(f.start), p.start + uint32(f.end)})
		}
	}
	return v.entries
}

// resource is where the fields of one resource are, by number; those that are
// set have a bit in set.
type resource struct {
	at  [maxResource]place
	set uint32
}

// resource finds the fields of the resource at p; it is not ok if they are not
// those of a message.
func (v *View) resource(p place) (r resource, ok bool) {
	sec := &resourceSection
	b := v.memory(p)
	for pos := 0; pos < len(b); {
		f := shortAt(b, pos)
		if f.end < 0 {
			return resource{}, false
		}
		pos = f.end
		n := f.num
		if n > protowire.Number(sec.last) {
			if n != verbatimField {
				continue
			}
			n = verbatimNumber
		}
		bit := uint32(1) << n
		if typ := f.typ; bit&sec.varints != 0 && typ != protowire.VarintType || bit&sec.varints == 0 && typ != protowire.BytesType {
			continue
		}
		r.set |= bit
		r.at[n] = place{p.start + uint32(f.start), p.start + uint32(f.end)}
	}
	return r, true
}
