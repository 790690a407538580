package filter

// state is an index at one moment. Nothing that can be reached from it changes.
type state[T comparable] struct {
	places []*place
	table  trie[*bucket[T]] // by hashOf
	rest   trie[entry[T]]   // by number, the groups without anchors
	shared trie[entry[T]]   // by number, the groups with several anchors
}

// entry is a group where readers come by.
type entry[T comparable] struct {
	operations operations // for which the group can match
	tenants    *tenants[T]
}

func item[T comparable](number uint64, e entry[T]) trieItem[entry[T]] {
	return trieItem[entry[T]]{number, e}
}

// bucket is the groups with one anchor in common: those that have no other, or,
// if it is shared, those that have.
type bucket[T comparable] struct {
	value  string
	next   *bucket[T] // another with the same hash
	id     uint64     // see bucketID
	shared bool

	few  []trieItem[entry[T]] // by number, in no order
	many *trie[entry[T]]      // instead of few, from more than maxFew on
}

const maxFew = 32

func (b *bucket[T]) len() int {
	if b.many != nil {
		return b.many.n
	}
	return len(b.few)
}

func (b *bucket[T]) has(number uint64) bool {
	if b.many != nil {
		_, ok := b.many.get(number)
		return ok
	}
	for i := range b.few {
		if b.few[i].key == number {
			return true
		}
	}
	return false
}

// with returns b with an entry, in the place of the one with its number.
func (b bucket[T]) with(it trieItem[entry[T]]) *bucket[T] {
	if b.many != nil {
		many := b.many.with(it.key, it.v)
		b.many = &many
		return &b
	}
	for i := range b.few {
		if b.few[i].key == it.key {
			b.few = replaced(b.few, i, it)
			return &b
		}
	}
	if len(b.few) < maxFew {
		b.few = inserted(b.few, len(b.few), it)
		return &b
	}
	var many trie[entry[T]]
	for _, old := range b.few {
		many = many.with(old.key, old.v)
	}
	many = many.with(it.key, it.v)
	b.few, b.many = nil, &many
	return &b
}

// without returns b without the entry with the number, nil if there is no
// other.
func (b bucket[T]) without(number uint64) *bucket[T] {
	if b.many != nil {
		many := b.many.without(number)
		b.many = &many
		if many.n == 0 {
			return nil
		}
		return &b
	}
	for i := range b.few {
		if b.few[i].key == number {
			if b.few = removed(b.few, i); b.few == nil {
				return nil
			}
			return &b
		}
	}
	return &b
}

// enter puts an entry at an anchor with this value.
func (s *state[T]) enter(at placed, value string, shared bool, it trieItem[entry[T]]) {
	first, _ := s.table.get(at.hash)
	there := false
	next := first.change(func(b *bucket[T]) *bucket[T] {
		if b.id != at.id() || b.shared != shared || b.value != value {
			return b
		}
		there = true
		return b.with(it)
	})
	if !there {
		b := bucket[T]{value: value, next: first, id: at.id(), shared: shared}
		next = b.with(it)
	}
	s.table = s.table.with(at.hash, next)
}

// replace puts another entry in the place of the one at an anchor that has its
// number.
func (s *state[T]) replace(at placed, it trieItem[entry[T]]) {
	first, _ := s.table.get(at.hash)
	s.table = s.table.with(at.hash, first.change(func(b *bucket[T]) *bucket[T] {
		if b.id != at.id() || !b.has(it.key) {
			return b
		}
		return b.with(it)
	}))
}

// remove takes the entry with this number away from an anchor. It may be gone.
func (s *state[T]) remove(at placed, number uint64) {
	first, _ := s.table.get(at.hash)
	next := first.change(func(b *bucket[T]) *bucket[T] {
		if b.id != at.id() {
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
		if b.id == at.id() {
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
