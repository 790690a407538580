package filter

import "math/bits"

// trie is a map that never changes: with and without make another one, which
// shares with the first all but the few nodes on the way to the key. Readers of
// the one need no lock while a writer makes the next.
type trie[V any] struct {
	root *trieNode[V]
	n    int // how many keys it has
}

// trieNode has a slot for each value of six bits of the key, the lowest first.
type trieNode[V any] struct {
	here, below uint64        // the slots that hold an item, and a node
	items       []trieItem[V] // by slot
	nodes       []*trieNode[V]
}

type trieItem[V any] struct {
	key uint64
	v   V
}

const trieBits = 6

// slot returns the bit of the slot that key takes, after shift bits.
func slot(key uint64, shift uint) uint64 { return 1 << (key >> shift & (1<<trieBits - 1)) }

// rank is how many of the slots in set come before that of bit.
func rank(set, bit uint64) int { return bits.OnesCount64(set & (bit - 1)) }

func (t *trie[V]) get(key uint64) (v V, ok bool) {
	rest := key
	for n := t.root; n != nil; rest >>= trieBits {
		bit := uint64(1) << (rest & (1<<trieBits - 1))
		if n.here&bit != 0 {
			if item := &n.items[rank(n.here, bit)]; item.key == key {
				return item.v, true
			}
			return v, false
		}
		if n.below&bit == 0 {
			return v, false
		}
		n = n.nodes[rank(n.below, bit)]
	}
	return v, false
}

// with returns t with v at key.
func (t trie[V]) with(key uint64, v V) trie[V] {
	root, added := t.root.with(trieItem[V]{key, v}, 0)
	if added {
		t.n++
	}
	return trie[V]{root, t.n}
}

// without returns t without key.
func (t trie[V]) without(key uint64) trie[V] {
	if t.root == nil {
		return t
	}
	root, removed := t.root.without(key, 0)
	if !removed {
		return t
	}
	return trie[V]{root, t.n - 1}
}

// each calls f with the items, some at a time, in no certain order.
func (t *trie[V]) each(f func([]trieItem[V])) {
	if t.root != nil {
		t.root.each(f)
	}
}

func (n *trieNode[V]) each(f func([]trieItem[V])) {
	f(n.items)
	for _, below := range n.nodes {
		below.each(f)
	}
}

func (n *trieNode[V]) with(item trieItem[V], shift uint) (_ *trieNode[V], added bool) {
	bit := slot(item.key, shift)
	if n == nil {
		return &trieNode[V]{here: bit, items: []trieItem[V]{item}}, true
	}
	next := *n
	switch i, j := rank(n.here, bit), rank(n.below, bit); {
	case n.below&bit != 0:
		var below *trieNode[V]
		below, added = n.nodes[j].with(item, shift+trieBits)
		next.nodes = replaced(n.nodes, j, below)
		return &next, added
	case n.here&bit == 0:
		next.here |= bit
		next.items = inserted(n.items, i, item)
		return &next, true
	case n.items[i].key == item.key:
		next.items = replaced(n.items, i, item)
		return &next, false
	default: // two keys in one slot go into a node below
		var below *trieNode[V]
		below, _ = below.with(n.items[i], shift+trieBits)
		below, _ = below.with(item, shift+trieBits)
		next.here &^= bit
		next.below |= bit
		next.items = removed(n.items, i)
		next.nodes = inserted(n.nodes, j, below)
		return &next, true
	}
}

// without returns nil for a node that is empty then.
func (n *trieNode[V]) without(key uint64, shift uint) (_ *trieNode[V], found bool) {
	bit := slot(key, shift)
	next := *n
	i, j := rank(n.here, bit), rank(n.below, bit)
	switch {
	case n.here&bit != 0 && n.items[i].key == key:
		next.here &^= bit
		next.items = removed(n.items, i)
	case n.below&bit != 0:
		below, found := n.nodes[j].without(key, shift+trieBits)
		if !found {
			return n, false
		}
		if below != nil && (len(below.nodes) > 0 || len(below.items) > 1) {
			next.nodes = replaced(n.nodes, j, below)
			return &next, true
		}
		next.below &^= bit
		next.nodes = removed(n.nodes, j)
		if below != nil { // one item needs no node of its own
			next.here |= bit
			next.items = inserted(n.items, i, below.items[0])
		}
	default:
		return n, false
	}
	if next.here|next.below == 0 {
		return nil, true
	}
	return &next, true
}

// These return a changed copy of s, which has no room to spare.

func replaced[E any](s []E, i int, e E) []E {
	out := make([]E, len(s))
	copy(out, s)
	out[i] = e
	return out
}

func inserted[E any](s []E, i int, e E) []E {
	out := make([]E, len(s)+1)
	copy(out, s[:i])
	out[i] = e
	copy(out[i+1:], s[i:])
	return out
}

func removed[E any](s []E, i int) []E {
	if len(s) == 1 {
		return nil
	}
	out := make([]E, len(s)-1)
	copy(out, s[:i])
	copy(out[i:], s[i+1:])
	return out
}
