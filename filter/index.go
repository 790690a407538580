package filter

import (
	"sync"

	"github.com/keytrail/keytrail/record"
)

// Index finds those of many filters that match a record. T names a filter's
// owner. The zero Index is empty and ready for use; it must not be copied.
type Index[T comparable] struct {
	mu     sync.RWMutex
	owners map[T]*Filter
}

// Add enters id with f, in place of the filter that id had, if any.
func (x *Index[T]) Add(id T, f *Filter) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.owners == nil {
		x.owners = make(map[T]*Filter)
	}
	x.owners[id] = f
}

// Remove takes id out. It does nothing if id is not there.
func (x *Index[T]) Remove(id T) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.owners, id)
}

// Len returns how many IDs x holds.
func (x *Index[T]) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.owners)
}

// Match calls hit once for each ID whose filter matches the record.
func (x *Index[T]) Match(v *record.View, hit func(T)) {
	var hits []T
	x.mu.RLock()
	for id, f := range x.owners {
		if f.Match(v) {
			hits = append(hits, id)
		}
	}
	x.mu.RUnlock()
	for _, id := range hits {
		hit(id)
	}
}
