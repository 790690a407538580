package filter

import (
	"slices"
	"strings"
	"sync"

	"github.com/keytrail/keytrail/record"
)

// matching is one Match under way.
type matching[T comparable] struct {
	state      *state[T]
	view       *record.View
	hit        func(T)
	operations operations // of the record

	// What has been visited: a record can have a value twice, and several
	// anchors of one group. The first few are in arrays.
	buckets  [8]*bucket[T]
	groups   [8]uint64 // those with several anchors, by number
	nBuckets int
	nGroups  int
	more     *visited[T] // the others
	pool     *sync.Pool  // where it is from

	// steps counts entries of groups with several anchors. Once they are more
	// than such groups should take, the record is one with thousands of values
	// that thousands of filters ask for; then each such group is tried once in the end,
	// whether the record has one of its anchors or not.
	steps int

	// slow is called for the owners of filters that take more than most of work;
	// nil: all are tried.
	slow func(T)
	most int
}

// visited is for odd records.
type visited[T comparable] struct {
	buckets map[*bucket[T]]struct{}
	groups  map[uint64]struct{}
}

func newVisited[T comparable]() *visited[T] {
	return &visited[T]{make(map[*bucket[T]]struct{}), make(map[uint64]struct{})}
}

// operationsIn is what a record's eventName is.
func operationsIn(v *record.View) operations {
	name, text := v.Text(eventNameField)
	if text && name == v.EventName() {
		return operationAt(v.Operation())
	}
	if !text && v.Value(eventNameField).Kind() == record.Missing {
		return noOperation
	}
	set := oddRecord
	eachLeaf(v.Value(eventNameField), func(x record.Value) { set |= operationNamed(x.Text()) })
	return set
}

// all visits what there is.
func (m *matching[T]) all() {
	for _, p := range m.state.places {
		if p.operations&m.operations != 0 {
			m.read(p)
		}
	}
	m.state.rest.each(m.entries)
	if m.weary() {
		m.state.shared.each(m.unvisited)
	}
	m.done()
}

// read looks for the values that the record has in a place.
func (m *matching[T]) read(p *place) {
	s := p.source
	switch s.name {
	case pathOnly:
		x := m.view.Root()
		if s.path.taken > 0 {
			if int(s.path.taken) == len(s.path.steps) {
				if text, ok := m.view.Text(s.path.field); ok {
					m.value(p, text)
					return
				}
			}
			x = m.view.Value(s.path.field)
		}
		m.follow(p, x, s.path.steps[s.path.taken:])
	case fieldKey:
		for _, arn := range m.view.ResourceARNs() {
			if strings.HasPrefix(arn, "arn:") != s.ids {
				m.value(p, arn)
			}
			if s.ids {
				if id := keyOrAlias(arn); id != "" {
					m.value(p, id)
				}
			}
		}
	default:
		var room [8]string
		for _, text := range s.name.appendTexts(room[:0], m.view) {
			m.value(p, text)
		}
	}
}

// follow is walk.value for a place.
func (m *matching[T]) follow(p *place, x record.Value, steps []step) {
	x, each := descend(x, steps)
	switch {
	case each != nil:
		for e := range x.Elements {
			m.follow(p, e, each)
		}
	case x.Kind() != record.Missing:
		m.leaf(p, x)
	}
}

func (m *matching[T]) leaf(p *place, x record.Value) {
	switch x.Kind() {
	case record.List:
		for e := range x.Elements {
			m.leaf(p, e)
		}
	case record.String, record.Boolean:
		m.value(p, x.Text())
	case record.Number:
		text := x.Text()
		m.value(p, text)
		if p.numbers {
			if number := canonical(text); number != text {
				m.find(bucketID(p.id, false), number, hashText(number))
			}
		}
	}
}

// value looks for the groups that a value is an anchor of.
func (m *matching[T]) value(p *place, text string) {
	if p.source.accountOf {
		if text = accountPart(text); text == "" {
			return
		}
	}
	if p.whole {
		m.find(bucketID(p.id, false), text, hashText(text))
	}
	for _, n := range p.lengths {
		if int(n) > len(text) {
			break
		}
		m.find(bucketID(p.id, true), text[:n], hashText(text[:n]))
	}
}

func (m *matching[T]) find(id uint64, value string, hash uint64) {
	b, _ := m.state.table.get(hashOf(id, hash))
	for ; b != nil; b = b.next {
		if b.id&^sharedID == id && b.value == value {
			m.visit(b)
		}
	}
}

// visit tries the groups of a bucket.
func (m *matching[T]) visit(b *bucket[T]) {
	if !m.firstTime(b) {
		return
	}
	shared := b.id&sharedID != 0
	if shared {
		if m.weary() {
			return
		}
		m.steps += b.len()
	}
	switch {
	case b.more == nil && shared:
		m.stub(&b.one)
	case b.more == nil:
		m.entry(&b.one)
	case shared:
		b.more.each(m.stubs)
	default:
		b.more.each(m.entries)
	}
}

func (m *matching[T]) firstTime(b *bucket[T]) bool {
	if slices.Contains(m.buckets[:m.nBuckets], b) {
		return false
	}
	if m.nBuckets < len(m.buckets) {
		m.buckets[m.nBuckets] = b
		m.nBuckets++
		return true
	}
	been := m.visited().buckets
	n := len(been)
	been[b] = struct{}{}
	return len(been) > n
}

func (m *matching[T]) weary() bool { return m.steps > 2*m.state.shared.n+64 }

// entries tries groups.
func (m *matching[T]) entries(list []item[T]) {
	for i := range list {
		m.entry(&list[i])
	}
}

func (m *matching[T]) entry(it *item[T]) {
	if it.v.operations&m.operations != 0 {
		m.try(it.v.tenants)
	}
}

// stubs tries groups that have several anchors.
func (m *matching[T]) stubs(list []item[T]) {
	for i := range list {
		m.stub(&list[i])
	}
}

func (m *matching[T]) stub(it *item[T]) {
	if it.v.operations&m.operations != 0 && m.first(it.key) {
		e, _ := m.state.shared.get(it.key)
		m.try(e.tenants)
	}
}

// unvisited tries groups of state.shared.
func (m *matching[T]) unvisited(list []item[T]) {
	for i := range list {
		if e := &list[i].v; e.operations&m.operations != 0 && m.first(list[i].key) {
			m.try(e.tenants)
		}
	}
}

// first reports whether this is the first visit to the group.
func (m *matching[T]) first(number uint64) bool {
	if slices.Contains(m.groups[:m.nGroups], number) {
		return false
	}
	if m.nGroups < len(m.groups) {
		m.groups[m.nGroups] = number
		m.nGroups++
		return true
	}
	been := m.visited().groups
	n := len(been)
	been[number] = struct{}{}
	return len(been) > n
}

// visited returns m.more.
func (m *matching[T]) visited() *visited[T] {
	if m.more == nil {
		if m.more, _ = m.pool.Get().(*visited[T]); m.more == nil {
			m.more = newVisited[T]()
		}
	}
	return m.more
}

// done gives back what was borrowed.
func (m *matching[T]) done() {
	const keep = 4096 // clearing a map takes as long as it once was
	if v := m.more; v != nil && len(v.buckets) <= keep && len(v.groups) <= keep {
		clear(v.buckets)
		clear(v.groups)
		m.pool.Put(v)
	}
}

// try calls hit for the owners of a group if the record is theirs.
func (m *matching[T]) try(t *tenants[T]) {
	switch {
	case t.check == nil:
		t.each(m.hit)
	case m.slow != nil && t.check.work() > m.most:
		t.each(m.slow)
	case t.check.holds(scope{view: m.view}):
		t.each(m.hit)
	}
}

func (t *tenants[T]) each(f func(T)) {
	if t.more == nil {
		f(t.solo)
		return
	}
	t.more.each(func(list []trieItem[T]) {
		for i := range list {
			f(list[i].v)
		}
	})
}
