package filter

import (
	"cmp"
	"hash/maphash"
	"maps"
	"slices"
)

// place is a source that filters are found by. It never changes.
type place struct {
	source     *source
	id         uint64
	whole      bool       // by whole values
	numbers    bool       // some of which are numbers
	lengths    []int32    // by beginnings of these lengths, the shortest first
	operations operations // of the filters; it only grows while the place is in use
}

// Bounds of what is read of one record, and how often it is looked up, however
// many filters there are. The places that the contract has are few, and do not
// count: nobody can keep others from them.
const (
	maxPlaces  = 64
	maxLengths = 16
)

// tally counts the anchors in a place.
type tally struct {
	key        string
	source     *source
	id         uint64
	operations operations
	whole      int
	numbers    int // of whole, those that are numbers
	lengths    map[int32]int
}

// placed is an anchor in an index.
type placed struct {
	tally  *tally // nil: this is none
	hash   uint64
	length int32 // of the value, which is cut to what a place may have
	prefix bool
	number bool
}

// id is the bucketID of the anchor.
func (p placed) id(shared bool) uint64 {
	id := bucketID(p.tally.id, p.prefix)
	if shared {
		id |= sharedID
	}
	return id
}

// sharedID is set in the id of buckets of groups that have several anchors.
const sharedID = 1

// bucketID tells apart the whole values of a place, its beginnings, and those of
// all other places.
func bucketID(place uint64, prefix bool) uint64 {
	if prefix {
		return place<<2 | 2
	}
	return place << 2
}

var seed = maphash.MakeSeed()

// hashMask has fewer bits in tests, in which values are to collide.
var hashMask = ^uint64(0)

// hashOf is the key of a bucket, from its id without sharedID and the hash of its value.
func hashOf(id uint64, value uint64) uint64 {
	const odd = 0x9e3779b97f4a7c15
	return (value ^ (id+1)*odd) & hashMask
}

func hashText(s string) uint64 { return maphash.String(seed, s) }

// acquire counts the anchors in their places, which it makes where there are
// none. It is not ok if that would be too many.
func (x *Index[T]) acquire(anchors []anchor, ops operations) (out []placed, ok bool) {
	out = make([]placed, 0, len(anchors))
	var from *source
	var t *tally
	for _, a := range anchors {
		if a.from != from {
			from, t = a.from, x.tally(a.from)
		}
		if t == nil {
			x.release(out)
			return nil, false
		}
		at := placed{tally: t, length: int32(len(a.value)), prefix: a.prefix, number: a.number}
		if at.length = t.fitting(at); at.length < 0 {
			x.release(out)
			return nil, false
		}
		x.stale = t.count(at, 1) || x.stale
		if t.operations|ops != t.operations {
			t.operations |= ops
			x.stale = true
		}
		at.hash = hashOf(at.id(false), hashText(a.value[:at.length]))
		out = append(out, at)
	}
	return out, true
}

// release takes back what acquire counted.
func (x *Index[T]) release(anchors []placed) {
	for _, at := range anchors {
		x.stale = at.tally.count(at, -1) || x.stale
		x.drop(at.tally)
	}
}

// drop takes the tally away if it counts nothing.
func (x *Index[T]) drop(t *tally) {
	if t.whole == 0 && len(t.lengths) == 0 {
		delete(x.places, t.key)
	}
}

// count counts n anchors more. It reports whether what readers look for is another
// now.
func (t *tally) count(at placed, n int) (other bool) {
	bump := func(counter *int) {
		was := *counter
		*counter += n
		other = other || (was == 0) != (*counter == 0)
	}
	switch {
	case at.prefix:
		c := t.lengths[at.length]
		bump(&c)
		if t.lengths[at.length] = c; c == 0 {
			delete(t.lengths, at.length)
		}
		return other
	case at.number:
		bump(&t.numbers)
	}
	bump(&t.whole)
	return other
}

// tally returns the tally of a place, nil if there is none and no room for another.
func (x *Index[T]) tally(s *source) *tally {
	key := s.key()
	t := x.places[key]
	if t == nil && (s.typed() || x.untyped() < maxPlaces) {
		x.last++
		t = &tally{key: key, source: s, id: x.last, lengths: make(map[int32]int)}
		x.places[key] = t
	}
	return t
}

// untyped is how many places there are that the contract does not have.
func (x *Index[T]) untyped() (n int) {
	for _, t := range x.places {
		if !t.source.typed() {
			n++
		}
	}
	return n
}

// fitting is the length to which a value is cut: for the beginning of one, the longest that
// the place has or may have; -1 if there is none.
func (t *tally) fitting(at placed) int32 {
	if !at.prefix || t.lengths[at.length] > 0 || len(t.lengths) < maxLengths {
		return at.length
	}
	longest := int32(-1)
	for have := range t.lengths {
		if have < at.length {
			longest = max(longest, have)
		}
	}
	return longest
}

// listPlaces is the places as readers need them.
func listPlaces(tallies map[string]*tally) []*place {
	out := make([]*place, 0, len(tallies))
	for _, t := range tallies {
		out = append(out, &place{
			source: t.source, id: t.id, operations: t.operations,
			whole: t.whole > 0, numbers: t.numbers > 0, lengths: slices.Sorted(maps.Keys(t.lengths)),
		})
	}
	slices.SortFunc(out, func(a, b *place) int { return cmp.Compare(a.id, b.id) })
	return out
}
