package filter

import (
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/keytrail/keytrail/record"
)

// Index finds those of many filters that match a record. T names a filter's
// owner. The zero Index is empty and ready for use; it must not be copied.
type Index[T comparable] struct {
	// tables is what Match reads. Writers replace it as a whole.
	tables atomic.Pointer[tables[T]]

	mu     sync.Mutex           // held by writers; guards the fields below
	groups map[string]*group[T] // by encoding
	owners map[T]*Filter
}

// tables holds every group once under each of its keys, or once in others.
// Nothing that a reader can reach from it changes: a writer copies, or appends
// to the newest version of a slice, beyond the length that readers have.
type tables[T comparable] struct {
	byKey  [shards]map[string][]*group[T]
	others []*group[T]
}

// shards bounds what a writer has to copy to change one key: with n keys, n/256
// entries.
const shards = 256

// group is the owners of equal filters.
type group[T comparable] struct {
	filter *Filter
	keys   []string // sorted key ARNs and IDs, one of which each match has; nil if there are no such
	ids    []T
}

// Add enters id with f, in place of the filter that id had, if any.
func (x *Index[T]) Add(id T, f *Filter) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.owners == nil {
		x.groups = make(map[string]*group[T])
		x.owners = make(map[T]*Filter)
	}
	e := x.edit()
	x.remove(e, id)
	x.owners[id] = f
	old := x.groups[f.encoding]
	var g *group[T]
	if old != nil {
		g = &group[T]{filter: old.filter, keys: old.keys, ids: append(old.ids, id)}
	} else {
		g = &group[T]{filter: f, keys: literalKeys(f), ids: []T{id}}
	}
	x.groups[f.encoding] = g
	e.replace(old, g)
	x.tables.Store(e.tables)
}

// Remove takes id out. It does nothing if id is not there.
func (x *Index[T]) Remove(id T) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, ok := x.owners[id]; !ok {
		return
	}
	e := x.edit()
	x.remove(e, id)
	x.tables.Store(e.tables)
}

// remove takes id out of its group, in e. The caller holds mu.
func (x *Index[T]) remove(e *edit[T], id T) {
	f, ok := x.owners[id]
	if !ok {
		return
	}
	delete(x.owners, id)
	old := x.groups[f.encoding]
	if len(old.ids) == 1 {
		delete(x.groups, f.encoding)
		e.replace(old, nil)
		return
	}
	i := slices.Index(old.ids, id)
	g := &group[T]{filter: old.filter, keys: old.keys, ids: slices.Concat(old.ids[:i], old.ids[i+1:])}
	x.groups[f.encoding] = g
	e.replace(old, g)
}

// Len returns how many IDs x holds.
func (x *Index[T]) Len() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.owners)
}

// Match calls hit once for each ID whose filter matches the record, in no
// certain order. hit may call Add and Remove; this Match does not see it.
func (x *Index[T]) Match(h *record.Header, hit func(T)) {
	t := x.tables.Load()
	if t == nil {
		return
	}
	for i, arn := range h.Keys {
		id := record.KeyID(arn)
		for _, g := range t.lookup(arn) {
			if !g.hasAny(h.Keys[:i]) {
				g.match(h, hit)
			}
		}
		for _, g := range t.lookup(id) {
			if !g.has(arn) && !g.hasAny(h.Keys[:i]) {
				g.match(h, hit)
			}
		}
	}
	for _, g := range t.others {
		g.match(h, hit)
	}
}

func (t *tables[T]) lookup(key string) []*group[T] { return t.byKey[shard(key)][key] }

func (g *group[T]) match(h *record.Header, hit func(T)) {
	if !g.filter.Match(h) {
		return
	}
	for _, id := range g.ids {
		hit(id)
	}
}

// hasAny reports whether g has been found by one of arns already, so that a
// record with several keys hits it once.
func (g *group[T]) hasAny(arns []string) bool {
	for _, arn := range arns {
		if g.has(arn) || g.has(record.KeyID(arn)) {
			return true
		}
	}
	return false
}

func (g *group[T]) has(key string) bool {
	_, ok := slices.BinarySearch(g.keys, key)
	return ok
}

// literalKeys returns the sorted keys one of which a record must have to match
// f, or nil if f can match a record for another reason.
func literalKeys(f *Filter) []string {
	var keys []string
	for _, s := range f.include {
		if s.arns == nil && s.ids == nil {
			return nil
		}
		for _, v := range []*values{s.arns, s.ids} {
			if v == nil {
				continue
			}
			if len(v.globs) > 0 {
				return nil
			}
			keys = append(keys, v.exact...)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// edit is a copy of an index's tables in the making. It shares with the
// original what it has not changed.
type edit[T comparable] struct {
	tables *tables[T]
	owned  [shards]bool // the shards that are copies
}

func (x *Index[T]) edit() *edit[T] {
	e := &edit[T]{tables: &tables[T]{}}
	if t := x.tables.Load(); t != nil {
		*e.tables = *t
	}
	return e
}

// replace puts g in the place of old. Either may be nil; they have the same
// keys.
func (e *edit[T]) replace(old, g *group[T]) {
	one := old
	if one == nil {
		one = g
	}
	if one.keys == nil {
		e.tables.others = replaced(e.tables.others, old, g)
		return
	}
	for _, key := range one.keys {
		m := e.own(shard(key))
		if m[key] = replaced(m[key], old, g); len(m[key]) == 0 {
			delete(m, key)
		}
	}
}

// own returns shard i of the edit as a copy that may be changed.
func (e *edit[T]) own(i uint64) map[string][]*group[T] {
	if !e.owned[i] {
		e.owned[i] = true
		e.tables.byKey[i] = maps.Clone(e.tables.byKey[i])
		if e.tables.byKey[i] == nil {
			e.tables.byKey[i] = make(map[string][]*group[T])
		}
	}
	return e.tables.byKey[i]
}

// replaced returns list with g in the place of old. It appends in place, where
// no reader of an older list looks, and copies for all else.
func replaced[T comparable](list []*group[T], old, g *group[T]) []*group[T] {
	if old == nil {
		return append(list, g)
	}
	i := slices.Index(list, old)
	if g == nil {
		return slices.Concat(list[:i], list[i+1:])
	}
	list = slices.Clone(list)
	list[i] = g
	return list
}

var seed = maphash.MakeSeed()

func shard(key string) uint64 { return maphash.String(seed, key) % shards }
