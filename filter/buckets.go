package filter

import "slices"

// state is an index at one moment. Nothing that can be reached from it changes.
type state[T comparable] struct {
	places []*place
	table  trie[*bucket[T]] // by hashOf
	rest   trie[entry[T]]   // the groups without anchors
	shared trie[entry[T]]   // the groups with several anchors
}

// entry is a group, by number, where readers come by.
type entry[T comparable] struct {
	operations operations  // for which the group can match
	tenants    *tenants[T] // nil: they are in state.shared
}

// item is an entry and the number of its group.
type item[T comparable] = trieItem[entry[T]]

// bucket is the groups with one anchor in common: those that have no other or,
// if its id says so, those that have. There is always one.
type bucket[T comparable] struct {
	value string
	id    uint64     // see bucketID
	next  *bucket[T] // another with the same hash

	one  item[T]
	more *crowd[T] // all, where there are several
}

// crowd is several entries.
type crowd[T comparable] struct {
	few  []item[T]      // in no order
	many trie[entry[T]] // instead of few, from more than maxFew on
}

const maxFew = 32

// len is how many entries b has.
func (b *bucket[T]) len() int {
	switch {
	case b.more == nil:
		return 1
	case b.more.few == nil:
		return b.more.many.n
	}
	return len(b.more.few)
}

// each calls f with the entries, some at a time.
func (c *crowd[T]) each(f func([]item[T])) {
	if c.few == nil {
		c.many.each(f)
	} else {
		f(c.few)
	}
}

func (b *bucket[T]) has(number uint64) bool {
	switch {
	case b.more == nil:
		return b.one.key == number
	case b.more.few == nil:
		_, ok := b.more.many.get(number)
		return ok
	}
	return b.more.index(number) >= 0
}

// index is where few has a group, -1 if it does not.
func (c *crowd[T]) index(number uint64) int {
	return slices.IndexFunc(c.few, func(it item[T]) bool { return it.key == number })
}

// with returns b with an entry, in the place of the one with its number.
func (b bucket[T]) with(it item[T]) *bucket[T] {
	switch c := b.more; {
	case c == nil && b.one.key == it.key:
		b.one = it
	case c == nil:
		b.more = &crowd[T]{few: []item[T]{b.one, it}}
		b.one = item[T]{}
	case c.few == nil:
		b.more = &crowd[T]{many: c.many.with(it.key, it.v)}
	default:
		if i := c.index(it.key); i >= 0 {
			b.more = &crowd[T]{few: replaced(c.few, i, it)}
		} else if len(c.few) < maxFew {
			b.more = &crowd[T]{few: inserted(c.few, len(c.few), it)}
		} else {
			var many trie[entry[T]]
			for _, old := range c.few {
				many = many.with(old.key, old.v)
			}
			b.more = &crowd[T]{many: many.with(it.key, it.v)}
		}
	}
	return &b
}

// without returns b without the entry with the number, which it has; nil if
// there is no other.
func (b bucket[T]) without(number uint64) *bucket[T] {
	switch c := b.more; {
	case c == nil:
		return nil
	case c.few == nil:
		many := c.many.without(number)
		b.more = &crowd[T]{many: many}
		if many.n > maxFew/2 {
			return &b
		}
		few := make([]item[T], 0, many.n)
		many.each(func(some []item[T]) { few = append(few, some...) })
		b.more = &crowd[T]{few: few}
	case len(c.few) == 2:
		b.one = c.few[1-c.index(number)]
		b.more = nil
	default:
		b.more = &crowd[T]{few: removed(c.few, c.index(number))}
	}
	return &b
}

// enter puts an entry at an anchor with this value.
func (s *state[T]) enter(at placed, value string, shared bool, it item[T]) {
	id := at.id(shared)
	first, _ := s.table.get(at.hash)
	there := false
	next := first.change(func(b *bucket[T]) *bucket[T] {
		if b.id != id || b.value != value {
			return b
		}
		there = true
		return b.with(it)
	})
	if !there {
		next = &bucket[T]{value: value, id: id, next: first, one: it}
	}
	s.table = s.table.with(at.hash, next)
}

// replace puts another entry in the place of the one at an anchor that has its
// number, which has no other anchors.
func (s *state[T]) replace(at placed, it item[T]) {
	first, _ := s.table.get(at.hash)
	s.table = s.table.with(at.hash, first.change(func(b *bucket[T]) *bucket[T] {
		if b.id != at.id(false) || !b.has(it.key) {
			return b
		}
		return b.with(it)
	}))
}

// remove takes the entry with this number away from an anchor. It may be gone,
// for two anchors of a group can have the same hash.
func (s *state[T]) remove(at placed, shared bool, number uint64) {
	first, _ := s.table.get(at.hash)
	next := first.change(func(b *bucket[T]) *bucket[T] {
		if b.id != at.id(shared) || !b.has(number) {
			return b
		}
		return b.without(number)
	})
	if next == nil {
		s.table = s.table.without(at.hash)
	} else {
		s.table = s.table.with(at.hash, next)
	}
}

// crowd is how many groups share an anchor.
func (s *state[T]) crowd(at placed) int {
	n := 0
	b, _ := s.table.get(at.hash)
	for ; b != nil; b = b.next {
		if b.id|sharedID == at.id(true) {
			n = max(n, b.len())
		}
	}
	return n
}

// change returns the buckets from b on as f returns each; nil takes it out.
func (b *bucket[T]) change(f func(*bucket[T]) *bucket[T]) *bucket[T] {
	if b == nil {
		return nil
	}
	rest := b.next.change(f)
	out := f(b)
	switch {
	case out == nil:
		return rest
	case out.next != rest:
		linked := *out
		linked.next = rest
		return &linked
	}
	return out
}
