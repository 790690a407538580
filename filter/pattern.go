package filter

import (
	"fmt"
	"slices"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

// compilePattern translates an Amazon EventBridge event pattern; see the package
// documentation for what it means.
func compilePattern(text string) (*expr, error) {
	p, root, err := parsePattern(text)
	if err != nil {
		return nil, err
	}
	t := translation{text: p.text}
	e := t.full(root, patternScope{envelope: p.envelope, known: knownRecord})
	switch {
	case t.err != nil:
		return nil, t.err
	case e.never() && t.never != nil:
		return nil, t.never
	}
	return e, nil
}

// patternGroup is an object of a pattern: all its entries must match.
type patternGroup struct {
	entries []*patternEntry

	// absent: it can match without any leaf, by exists false alone.
	absent bool
}

// patternEntry is a member of an object of a pattern: one of leaf, group and
// or.
type patternEntry struct {
	name  string
	at    int // byte offset
	place *jsonPlace

	leaf  *patternLeaf    // values
	group *patternGroup   // fields below
	or    []*patternGroup // of "$or", any of which may match

	absent bool // as in patternGroup
}

// patternLeaf is what a field may be: any of this.
type patternLeaf struct {
	equals  []comparison   // a leaf for which any holds
	ranges  [][]comparison // a leaf for which all of one list hold
	buts    [][]comparison // a leaf for which none of one list holds
	null    bool           // a leaf that is null
	present bool           // any leaf
	absent  bool           // no leaf
}

// comparison is a comparison of a leaf with one value.
type comparison struct {
	op     keytrailv1.Operator
	only   record.Kind
	nocase bool
	value  string
}

// patternScope is where the names of a group are looked up.
type patternScope struct {
	envelope bool // in the event around a record

	path      []step // from the record or the element to the object
	inElement bool

	known *member // what the contract knows of the object; nil: nothing
}

// memberKind is what the contract says of a member.
type memberKind uint8

const (
	memberUnknown  memberKind = iota // any JSON
	memberScalar                     // a string or a boolean
	memberObject                     // an object that the contract knows
	memberList                       // a list of objects that the contract knows
	memberFreeForm                   // an object of which the contract knows nothing
)

func (m *member) kind(name string) memberKind {
	if m == nil || !m.fixed {
		return memberUnknown
	}
	switch m = m.members[name]; {
	case m == nil:
		return memberUnknown
	case m.list:
		return memberList
	case !m.fixed:
		return memberFreeForm
	case len(m.members) > 0:
		return memberObject
	}
	return memberScalar
}

// below is what is known of a member, nil if that is nothing.
func (m *member) below(name string) *member {
	if m == nil || !m.fixed {
		return nil
	}
	return m.members[name]
}

// below is the scope of a member that is no list.
func (s *patternScope) below(name string) patternScope {
	return patternScope{path: s.to(name), inElement: s.inElement, known: s.known.below(name)}
}

// to is the path to a member, followed by more steps.
func (s *patternScope) to(name string, more ...step) []step {
	return slices.Concat(s.path, []step{{kind: stepMember, name: name}}, more)
}

// each is the step from a list to its elements, and self the path from an
// element to itself.
var (
	each = step{kind: stepEach}
	self = []step{each}
)

// translation makes a tree of a pattern.
type translation struct {
	text  *jsonText
	tests int    // made so far
	err   error  // the first
	never *Error // why nothing around a record can be what a pattern asks for
}

// full is what it takes for g to match in s.
func (t *translation) full(g *patternGroup, s patternScope) *expr {
	return t.each(g.entries, s, t.fullEntry)
}

// each joins what is made of each entry by and.
func (t *translation) each(entries []*patternEntry, s patternScope, f func(*patternEntry, patternScope) *expr) *expr {
	parts := make([]*expr, len(entries))
	for i, e := range entries {
		parts[i] = f(e, s)
	}
	return allOrNever(parts)
}

// allOrNever is all, but never if any part is.
func allOrNever(parts []*expr) *expr {
	if slices.ContainsFunc(parts, (*expr).never) {
		return anyOf()
	}
	return all(parts...)
}

func (t *translation) fullEntry(e *patternEntry, s patternScope) *expr {
	if t.err != nil {
		return anyOf()
	}
	switch {
	case s.envelope && e.or == nil:
		return t.envelope(e)
	case e.or != nil:
		return t.or(e, s, t.full)
	case e.leaf != nil && e.leaf.absent && len(e.leaf.buts) > 0 && s.known.kind(e.name) == memberScalar:
		return t.scalar(e, s, true)
	case e.leaf != nil:
		return anyOf(t.leaf(e, s), t.noLeaf(e, s))
	}
	if below, ok := t.object(e, s); ok {
		return t.full(e.group, below)
	}
	return anyOf(t.some(e, s), t.none(e, s))
}

func (t *translation) or(e *patternEntry, s patternScope, f func(*patternGroup, patternScope) *expr) *expr {
	parts := make([]*expr, len(e.or))
	for i, g := range e.or {
		parts[i] = f(g, s)
	}
	return anyOf(parts...)
}

// object is the scope below e where that is an object, and no list.
func (t *translation) object(e *patternEntry, s patternScope) (below patternScope, ok bool) {
	switch s.known.kind(e.name) {
	case memberObject, memberFreeForm:
		return s.below(e.name), true
	case memberScalar:
		t.fail(e, "a record has a single value there, and no object; give a list of values, such as [%q]", "value")
	}
	return below, false
}

// some is what it takes for an element of the list at e to match with at least
// one leaf.
func (t *translation) some(e *patternEntry, s patternScope) *expr {
	element := patternScope{inElement: true, known: s.known.below(e.name)}
	return t.lift(s.to(e.name, each), s.inElement, t.found(e.group, element))
}

// found is full, by at least one leaf.
func (t *translation) found(g *patternGroup, s patternScope) *expr {
	if !g.absent {
		return t.full(g, s)
	}
	// Any of the entries must have a leaf, the others may.
	var parts []*expr
	for i := range g.entries {
		if t.err != nil {
			break
		}
		parts = append(parts, t.each(g.entries, s, func(e *patternEntry, s patternScope) *expr {
			if e != g.entries[i] {
				return t.fullEntry(e, s)
			}
			return t.foundEntry(e, s)
		}))
	}
	return anyOf(parts...)
}

func (t *translation) foundEntry(e *patternEntry, s patternScope) *expr {
	switch {
	case t.err != nil:
		return anyOf()
	case e.or != nil:
		return t.or(e, s, t.found)
	case e.leaf != nil:
		return t.leaf(e, s)
	}
	return t.some(e, s)
}

// none is what it takes for e to match by leaves that no element has.
func (t *translation) none(e *patternEntry, s patternScope) *expr {
	switch {
	case t.err != nil || !e.absent:
		return anyOf()
	case e.or != nil:
		return t.or(e, s, func(g *patternGroup, s patternScope) *expr { return t.each(g.entries, s, t.none) })
	case e.leaf != nil:
		return t.noLeaf(e, s)
	}
	below := s.below(e.name)
	below.path = append(below.path, each)
	return t.each(e.group.entries, below, t.none)
}

// lift makes of a condition on an element one on the list at path. Conditions
// that are not negated hold for any element already when their paths begin with
// the list's.
func (t *translation) lift(path []step, inElement bool, e *expr) *expr {
	longer := func(p []step) []step {
		if len(p) > 0 && p[0] == each {
			p = p[1:] // what is an element is no list
		}
		return slices.Concat(path, p)
	}
	switch e.kind {
	case exprTest:
		lifted := *e.test
		steps := longer(lifted.of.path.steps)
		if n := len(steps); steps[n-1] == each && lifted.op != exists && lifted.op != isNull {
			steps = steps[:n-1] // comparisons look into lists anyway
		}
		lifted.of.path = newPath(steps, inElement)
		return &expr{kind: exprTest, test: &lifted}
	case exprElement:
		list := *e.element
		list.path = newPath(longer(e.element.path.steps), inElement)
		return &expr{kind: exprElement, element: &list, kids: e.kids}
	case exprAny:
		kids := make([]*expr, len(e.kids))
		for i, k := range e.kids {
			kids[i] = t.lift(path, inElement, k)
		}
		return anyOf(kids...)
	}
	return element(path, inElement, e)
}

// element is a condition on an element of the list at path, which ends in [].
func element(path []step, inElement bool, e *expr) *expr {
	return &expr{kind: exprElement, element: &operand{path: newPath(path, inElement)}, kids: []*expr{e}}
}

// leaf is what it takes for e to have one of the leaves that it asks for.
func (t *translation) leaf(e *patternEntry, s patternScope) *expr {
	l := e.leaf
	switch s.known.kind(e.name) {
	case memberObject, memberList:
		t.fail(e, "a record has an object there, and EventBridge looks at values only; name a member of it")
		return anyOf()
	case memberScalar:
		return t.scalar(e, s, false)
	}
	elements := s.to(e.name, each)
	one := newPath(self, true)
	parts := t.compare(newPath(s.to(e.name), s.inElement), l.equals)
	for _, r := range l.ranges {
		parts = append(parts, t.lift(elements, s.inElement, all(t.compare(one, r)...)))
	}
	for _, b := range l.buts {
		parts = append(parts, element(elements, s.inElement, all(t.anyLeaf(one), not(anyOf(t.compare(one, b)...)))))
	}
	if l.null {
		parts = append(parts, t.test(newPath(elements, s.inElement), comparison{op: isNull}))
	}
	if l.present {
		parts = append(parts, t.anyLeaf(newPath(elements, s.inElement)))
	}
	return anyOf(parts...)
}

// scalar is leaf where e is no list and no object if it is there. orNone: it may
// be missing as well, where the pattern says what else it must not be.
func (t *translation) scalar(e *patternEntry, s patternScope, orNone bool) *expr {
	l := e.leaf
	path := newPath(s.to(e.name), s.inElement)
	parts := t.compare(path, l.equals)
	for _, r := range l.ranges {
		parts = append(parts, all(t.compare(path, r)...))
	}
	for _, b := range l.buts {
		but := not(anyOf(t.compare(path, b)...))
		if !orNone {
			but = all(t.present(path), but)
		}
		parts = append(parts, but)
	}
	if l.null {
		parts = append(parts, t.test(path, comparison{op: isNull}))
	}
	if l.present {
		parts = append(parts, t.present(path))
	}
	return anyOf(parts...)
}

// noLeaf is what it takes for e to match because it has no leaf.
func (t *translation) noLeaf(e *patternEntry, s patternScope) *expr {
	if !e.leaf.absent {
		return anyOf()
	}
	if s.known.kind(e.name) == memberScalar {
		return not(t.present(newPath(s.to(e.name), s.inElement)))
	}
	return not(t.anyLeaf(newPath(s.to(e.name, each), s.inElement)))
}

const (
	isNull = keytrailv1.Operator_OPERATOR_IS_NULL
	exists = keytrailv1.Operator_OPERATOR_EXISTS
)

// present is true of a member that is no list and no object if it is there.
func (t *translation) present(p path) *expr {
	return anyOf(t.test(p, comparison{op: exists}), t.test(p, comparison{op: isNull}))
}

// anyLeaf is true of any leaf. Where it is asked a path ends in [].
func (t *translation) anyLeaf(p path) *expr {
	return anyOf(
		t.test(p, comparison{op: exists, only: record.String}),
		t.test(p, comparison{op: exists, only: record.Number}),
		t.test(p, comparison{op: exists, only: record.Boolean}),
		t.test(p, comparison{op: isNull}),
	)
}

// compare makes a condition of the comparisons that differ in nothing but the
// value, for each such kind. For ranges these are as many as comparisons.
func (t *translation) compare(p path, list []comparison) []*expr {
	var parts []*expr
	for len(list) > 0 {
		first := list[0].withoutValue()
		var values []string
		var rest []comparison
		for _, c := range list {
			if c.withoutValue() == first {
				values = append(values, c.value)
			} else {
				rest = append(rest, c)
			}
		}
		parts = append(parts, t.test(p, first, values...))
		list = rest
	}
	return parts
}

// test makes a condition.
func (t *translation) test(p path, c comparison, values ...string) *expr {
	if t.tests++; t.tests > MaxValues && t.err == nil {
		t.err = t.text.errorf(0, "the pattern takes more than %d conditions; use several subscriptions", MaxValues)
	}
	if t.err != nil {
		return anyOf()
	}
	e, bad := newTest(operand{path: p, only: c.only, nocase: c.nocase}, c.op, values)
	if bad != nil {
		t.err = t.text.errorf(0, "%s", bad.message) // each value has been tried alone
		return anyOf()
	}
	return e
}

// fail notes an error about e.
func (t *translation) fail(e *patternEntry, format string, args ...any) {
	if t.err == nil {
		t.err = t.text.errorf(e.at, "%v%s", e.place, fmt.Sprintf(format, args...))
	}
}
