package filter

import (
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

// expr is a node of a compiled filter. All dialects are translated to it, and
// the text form can write every one of it.
type expr struct {
	kind exprKind

	// kids are the parts of all, any and not (one), and what an element must
	// satisfy (one).
	kids []*expr

	test    *test    // of a condition
	element *operand // of has-element: the list
	cel     *celExpr // of a CEL expression
}

type exprKind uint8

const (
	exprAll     exprKind = iota // all kids hold; without kids, it holds
	exprAny                     // any kid holds; without kids, none does
	exprNot                     // the kid does not hold
	exprTest                    // a condition on a field
	exprElement                 // the kid holds for some element of a list
	exprCEL                     // a CEL expression is true
)

// all, anyOf and not build nodes in the simplest form: lists within lists of
// the same kind are joined, and lists of one are that one.
func all(kids ...*expr) *expr { return join(exprAll, kids) }

func anyOf(kids ...*expr) *expr { return join(exprAny, kids) }

func join(kind exprKind, kids []*expr) *expr {
	flat := make([]*expr, 0, len(kids))
	for _, k := range kids {
		if k.kind == kind {
			flat = append(flat, k.kids...)
		} else {
			flat = append(flat, k)
		}
	}
	if len(flat) == 1 {
		return flat[0]
	}
	return &expr{kind: kind, kids: flat}
}

func not(e *expr) *expr {
	switch {
	case e.kind == exprNot:
		return e.kids[0]
	case e.kind == exprAll && len(e.kids) == 0:
		return &expr{kind: exprAny}
	case e.kind == exprAny && len(e.kids) == 0:
		return &expr{kind: exprAll}
	}
	return &expr{kind: exprNot, kids: []*expr{e}}
}

// always reports whether e holds for every record because it asks nothing.
func (e *expr) always() bool { return e.kind == exprAll && len(e.kids) == 0 }

// never reports whether e holds for no record because it is an empty choice.
func (e *expr) never() bool { return e.kind == exprAny && len(e.kids) == 0 }

// test is a condition: what it is of, how it compares, and with what.
type test struct {
	of     operand
	op     keytrailv1.Operator // none but OPERATOR_HAS_ELEMENT, which is an expr of its own
	values []string            // as they were given, in that order

	matcher matcher // of values, made by newTest

	// ids is for the key IDs and alias names of the field key, matcher for its ARNs:
	// a value is compared with the one or the other, by whether it holds a ":".
	ids *matcher // nil: there are none
}

// operand is the left side of a condition: a path or a named field, and what
// is done with the values found there.
type operand struct {
	name namedField // pathOnly unless it is a named field
	path path       // where name is pathOnly

	// only restricts values to one JSON kind: string(…), number(…),
	// boolean(…). [record.Missing] is no restriction.
	only record.Kind

	accountOf bool // the account part of an ARN: accountOf(…)
	nocase    bool // compared without regard to case: nocase(…)
}

// path leads to values in a record, or in an element.
type path struct {
	steps []step

	// field is the typed place where the first taken steps lead, so that
	// matching compares no names. taken is 0 within an element, and for
	// members that the contract does not know.
	field record.Field
	taken uint8
}

type step struct {
	kind stepKind
	name string // of stepMember
}

type stepKind uint8

const (
	stepMember   stepKind = iota // .name, or ["name"]
	stepEach                     // []: the elements of a list; anything else counts as its only element
	stepDocument                 // json(…): the JSON document inside a string; an object or a list is one itself
)

// newPath makes a path from its steps: of the record, or of an element.
func newPath(steps []step, inElement bool) path {
	if inElement {
		return path{steps: exactly(steps)}
	}
	if len(steps) == 1 && steps[0].kind == stepMember {
		if p, ok := memberPaths[steps[0].name]; ok {
			return p
		}
	}
	return recordPath(steps)
}

// memberPaths are the paths of record's own members, for all filters.
var memberPaths = func() map[string]path {
	paths := make(map[string]path)
	for _, name := range record.FieldNames() {
		paths[name] = recordPath([]step{{name: name}})
	}
	return paths
}()

// exactly is steps without room for more: filters are kept.
func exactly(steps []step) []step {
	if len(steps) == cap(steps) {
		return steps
	}
	return append(make([]step, 0, len(steps)), steps...)
}

func recordPath(steps []step) path {
	p := path{steps: exactly(steps)}
	var names []string
	for _, s := range steps {
		if s.kind != stepMember {
			break
		}
		names = append(names, s.name)
	}
	field, taken := record.FieldOf(names...)
	p.field, p.taken = field, uint8(taken)
	return p
}
