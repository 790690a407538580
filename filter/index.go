package filter

import (
	"sync"
	"sync/atomic"

	"github.com/keytrail/keytrail/record"
)

// Index finds those of many filters that match a record. T names a filter's
// owner. The zero Index is empty and ready for use; it must not be copied.
type Index[T comparable] struct {
	// state is what Match reads. It never changes: a writer puts another one
	// in its place, which shares with it all that stays the same.
	state atomic.Pointer[state[T]]

	mu     sync.Mutex // held by writers; guards what follows
	owners map[T]seat[T]
	groups map[uint64]*group[T] // by number
	places map[string]*tally    // by source.key
	last   uint64               // the newest number of a seat or a place
	stale  bool                 // state.places is out of date

	pool sync.Pool // of *visited[T]
}

// seat is where an owner sits.
type seat[T comparable] struct {
	group  *group[T]
	number uint64 // among its tenants
}

// group is the owners of equal filters, as writers know them. There can be a
// hundred thousand.
type group[T comparable] struct {
	// number is the low part of the fingerprint of the filter, or the next one
	// that was free; high is the rest.
	number, high uint64

	operations operations
	tenants    *tenants[T]

	anchor placed    // its tally is nil if there are none, and if there are more
	more   *[]placed // all, where there are several
}

// tenants is what readers have of a group.
type tenants[T comparable] struct {
	// check is what is left to ask of a record that has the anchor and one of
	// the operations; nil: nothing.
	check *expr

	solo T
	more *trie[T] // all, by number of the seat, where there have been several
}

// Add enters id with f, in place of the filter that id had, if any.
func (x *Index[T]) Add(id T, f *Filter) {
	root := f.root
	if root == nil {
		root = all()
	}
	print := root.fingerprint()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.owners == nil {
		x.owners = make(map[T]seat[T])
		x.groups = make(map[uint64]*group[T])
	}
	if x.places == nil {
		x.places = make(map[string]*tally)
	}
	g, number := x.equal(print)
	old, had := x.owners[id]
	if had && old.group == g {
		return
	}
	next := x.edit()
	if had {
		x.leave(next, old)
	}
	if g != nil {
		x.owners[id] = x.join(next, g, id)
	} else {
		g = &group[T]{number: number, high: print.high}
		x.found(next, g, root, id)
		x.owners[id] = seat[T]{group: g}
	}
	x.publish(next)
}

// Remove takes id out. It does nothing if id is not there.
func (x *Index[T]) Remove(id T) {
	x.mu.Lock()
	defer x.mu.Unlock()
	old, had := x.owners[id]
	if !had {
		return
	}
	next := x.edit()
	x.leave(next, old)
	if delete(x.owners, id); len(x.owners) == 0 {
		// Maps keep the room that they once needed.
		x.owners, x.groups = nil, nil
	}
	x.publish(next)
}

// Len returns how many IDs x holds.
func (x *Index[T]) Len() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.owners)
}

// Match calls hit once for each ID whose filter matches the record, in no
// certain order. hit may call Add and Remove; this Match does not see it.
func (x *Index[T]) Match(v *record.View, hit func(T)) {
	s := x.state.Load()
	if s == nil {
		return
	}
	m := matching[T]{state: s, view: v, hit: hit, operations: operationsIn(v), pool: &x.pool}
	m.all()
}

// MatchQuick is Match for those who must not be held up. Where a filter could take
// long, because it asks much of a large record, it calls slow for the ID
// instead, without asking: [Filter.Match] tells.
func (x *Index[T]) MatchQuick(v *record.View, hit, slow func(T)) {
	s := x.state.Load()
	if s == nil {
		return
	}
	m := matching[T]{state: s, view: v, hit: hit, operations: operationsIn(v), pool: &x.pool}
	if n := v.Size(); n > quickBytes {
		m.slow, m.most = slow, quickWork/n
	}
	m.all()
}

// What MatchQuick asks of a record at once: any filter if it has no more than
// quickBytes, and filters whose work times the record's bytes is no more than
// quickWork. That is some 30 ms at the worst.
const (
	quickBytes = 4 << 10
	quickWork  = 2 << 20
)

// work is how often e may look through all of a record.
func (e *expr) work() int {
	n := 0
	switch e.kind {
	case exprTest:
		n = 1 + len(e.test.of.path.steps)/8
		if o := e.test.matcher.other; o != nil {
			n += len(o.texts) + len(o.regexps)
		}
	case exprElement:
		n = 1 + len(e.element.path.steps)/8
	case exprCEL:
		n = 16
	}
	for _, k := range e.kids {
		n += k.work()
	}
	return n
}

// What follows is for writers, who hold mu.

// edit returns a copy of the state, to be changed and published.
func (x *Index[T]) edit() *state[T] {
	next := new(state[T])
	if s := x.state.Load(); s != nil {
		*next = *s
	}
	return next
}

func (x *Index[T]) publish(next *state[T]) {
	if x.stale {
		x.stale = false
		next.places = listPlaces(x.places)
	}
	x.state.Store(next)
}

// equal returns the group of a filter, or a number for a new one. That two filters
// have the same low part happens to nobody; when it does, and one of the two is removed,
// equal filters may come to be in two groups.
func (x *Index[T]) equal(print fingerprint) (g *group[T], number uint64) {
	for number = print.low & hashMask; ; number++ {
		g = x.groups[number]
		if g == nil || g.high == print.high {
			return g, number
		}
	}
}

// found places a new group, with id alone.
func (x *Index[T]) found(s *state[T], g *group[T], root *expr, id T) {
	p := newPlan(root)
	best, chosen := x.choose(s, p)
	answered := -1
	if chosen.exact && int(best[0].length) == len(chosen.anchors[0].value) {
		answered = chosen.part
	}
	x.groups[g.number] = g
	g.operations = p.operations
	g.tenants = &tenants[T]{check: p.check(answered), solo: id}
	e := entry[T]{g.operations, g.tenants}
	switch len(best) {
	case 0:
		s.rest = s.rest.with(g.number, e)
		return
	case 1:
		g.anchor = best[0]
	default:
		g.more = &best
		s.shared = s.shared.with(g.number, e)
		e.tenants = nil
	}
	for i, at := range best {
		s.enter(at, chosen.anchors[i].value[:at.length], g.more != nil, item[T]{g.number, e})
	}
}

// join gives id a seat in g.
func (x *Index[T]) join(s *state[T], g *group[T], id T) seat[T] {
	t := *g.tenants
	if t.more == nil {
		t.more = new(trie[T])
		*t.more = t.more.with(0, t.solo)
		var none T
		t.solo = none
	}
	x.last++
	more := t.more.with(x.last, id)
	t.more = &more
	x.seat(s, g, &t)
	return seat[T]{g, x.last}
}

// leave takes a seat away, and its group if it was the last.
func (x *Index[T]) leave(s *state[T], at seat[T]) {
	g := at.group
	if t := *g.tenants; t.more != nil && t.more.n > 1 {
		more := t.more.without(at.number)
		t.more = &more
		x.seat(s, g, &t)
		return
	}
	delete(x.groups, g.number)
	switch {
	case g.more != nil:
		s.shared = s.shared.without(g.number)
		for _, at := range *g.more {
			s.remove(at, true, g.number)
		}
		x.release(*g.more)
	case g.anchor.tally != nil:
		s.remove(g.anchor, false, g.number)
		x.release([]placed{g.anchor})
	default:
		s.rest = s.rest.without(g.number)
	}
}

// seat puts t in the place of g's tenants.
func (x *Index[T]) seat(s *state[T], g *group[T], t *tenants[T]) {
	g.tenants = t
	switch e := (entry[T]{g.operations, t}); {
	case g.more != nil:
		s.shared = s.shared.with(g.number, e)
	case g.anchor.tally != nil:
		s.replace(g.anchor, item[T]{g.number, e})
	default:
		s.rest = s.rest.with(g.number, e)
	}
}

// choose finds where the group is to be found: by the alternative that promises
// the fewest records, filters that are there already considered. None if there
// is none.
func (x *Index[T]) choose(s *state[T], p *plan) (best []placed, chosen planned) {
	worth := 0
	for i, alt := range p.alternatives {
		if i > 0 && best != nil && alt.worth <= worth {
			break
		}
		at, ok := x.acquire(alt.anchors, p.operations)
		if !ok {
			continue
		}
		crowd := 0
		for _, a := range at {
			crowd = max(crowd, s.crowd(a))
		}
		if w := alt.worth - crowding(crowd); best == nil || w > worth {
			x.release(best)
			best, chosen, worth = at, alt, w
		} else {
			x.release(at)
		}
	}
	return best, chosen
}
