package filter

import (
	"strings"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

// scope is where paths begin: the record, or an element of a list in it.
type scope struct {
	view    *record.View
	element record.Value
	inside  bool // within an element
}

// holds reports whether e holds.
func (e *expr) holds(s scope) bool {
	switch e.kind {
	case exprAll:
		for _, k := range e.kids {
			if !k.holds(s) {
				return false
			}
		}
		return true
	case exprAny:
		for _, k := range e.kids {
			if k.holds(s) {
				return true
			}
		}
		return false
	case exprNot:
		return !e.kids[0].holds(s)
	case exprTest:
		return e.test.holds(s)
	case exprElement:
		return e.element.path.anyElement(s, func(x record.Value) bool {
			return e.kids[0].holds(scope{view: s.view, element: x, inside: true})
		})
	}
	return e.cel.holds(s.view)
}

// holds reports whether the condition holds for any value of its field.
func (t *test) holds(s scope) bool {
	w := walk{test: t}
	if t.of.name != pathOnly {
		return w.named(s.view)
	}
	p := &t.of.path
	if p.taken == 0 {
		x := s.element
		if !s.inside {
			x = s.view.Root()
		}
		return w.value(x, p.steps)
	}
	if int(p.taken) == len(p.steps) {
		if text, ok := s.view.Text(p.field); ok {
			return w.text(text)
		}
	}
	return w.value(s.view.Value(p.field), p.steps[p.taken:])
}

// walk looks for a value of a record that a test holds for.
type walk struct {
	test  *test
	spent int // see maxRegexpInput
}

// value follows steps from x.
func (w *walk) value(x record.Value, steps []step) bool {
	x, each := descend(x, steps)
	if each == nil {
		return x.Kind() != record.Missing && w.leaf(x)
	}
	for e := range x.Elements {
		if w.value(e, each) {
			return true
		}
	}
	return false
}

// leaf is where a path ends.
func (w *walk) leaf(x record.Value) bool {
	kind := x.Kind()
	t := w.test
	switch t.op {
	case keytrailv1.Operator_OPERATOR_EXISTS:
		return kind != record.Missing && kind != record.Null && (t.of.only == record.Missing || t.of.only == kind)
	case keytrailv1.Operator_OPERATOR_IS_NULL:
		return kind == record.Null
	}
	switch kind {
	case record.List:
		for e := range x.Elements {
			if w.leaf(e) {
				return true
			}
		}
		return false
	case record.String:
		if t.of.only != record.Missing && t.of.only != kind {
			return false
		}
		return w.compare(x.Text())
	case record.Boolean, record.Number:
		if t.of.only != record.Missing && t.of.only != kind || t.of.accountOf {
			return false
		}
		if kind == record.Number {
			return t.matcher.matchNumber(t.op, w.fold(x.Text()), &w.spent)
		}
		return w.compare(x.Text())
	}
	return false
}

// text is leaf for a typed text.
func (w *walk) text(s string) bool {
	switch t := w.test; {
	case t.of.only != record.Missing && t.of.only != record.String:
		return false
	case t.op == keytrailv1.Operator_OPERATOR_EXISTS:
		return true
	case t.op == keytrailv1.Operator_OPERATOR_IS_NULL:
		return false
	}
	return w.compare(s)
}

// compare compares the text of a value.
func (w *walk) compare(s string) bool {
	t := w.test
	if t.of.accountOf {
		if s = accountPart(s); s == "" {
			return false
		}
	}
	return t.matcher.matchText(t.op, w.fold(s), &w.spent)
}

// fold is s as it is compared.
func (w *walk) fold(s string) string {
	if w.test.of.nocase && w.test.op != keytrailv1.Operator_OPERATOR_MATCHES {
		return fold(s)
	}
	return s
}

// named is for named fields.
func (w *walk) named(v *record.View) bool {
	if w.test.of.name == fieldKey && len(w.test.values) > 0 {
		return w.key(v)
	}
	var room [8]string
	texts := w.test.of.name.appendTexts(room[:0], v)
	switch w.test.op {
	case keytrailv1.Operator_OPERATOR_EXISTS:
		return len(texts) > 0
	case keytrailv1.Operator_OPERATOR_IS_NULL:
		return false
	}
	for _, s := range texts {
		if w.namedText(s) {
			return true
		}
	}
	return false
}

// key is named for values of the field key, which most filters ask for: key IDs are only
// looked for where they are compared.
func (w *walk) key(v *record.View) bool {
	for _, arn := range v.ResourceARNs() {
		if w.namedText(arn) {
			return true
		}
		if w.test.ids == nil {
			continue
		}
		if id := keyOrAlias(arn); id != "" && w.namedText(id) {
			return true
		}
	}
	return false
}

// namedText compares one value of a named field.
func (w *walk) namedText(s string) bool {
	if w.test.of.name == fieldKey && !strings.HasPrefix(s, "arn:") {
		return w.test.ids != nil && w.test.ids.matchText(w.test.op, w.fold(s), &w.spent)
	}
	return w.compare(s)
}

// anyElement reports whether holds does for any element of the lists that p
// leads to.
func (p *path) anyElement(s scope, holds func(record.Value) bool) bool {
	x, steps := s.element, p.steps
	switch {
	case p.taken > 0:
		x, steps = s.view.Value(p.field), steps[p.taken:]
	case !s.inside:
		x = s.view.Root()
	}
	if x.Kind() == record.Missing {
		return false
	}
	return eachValue(x, steps, holds)
}

// eachValue calls found for the values that steps lead to from x, until it
// returns true.
func eachValue(x record.Value, steps []step, found func(record.Value) bool) bool {
	x, each := descend(x, steps)
	if each == nil {
		return x.Kind() != record.Missing && found(x)
	}
	for e := range x.Elements {
		if eachValue(e, each, found) {
			return true
		}
	}
	return false
}

// descend follows steps from x to where they end, or to a list of which any
// element is meant: then each is not nil, and holds the steps from any element.
// They begin with [] again, for lists within lists.
func descend(x record.Value, steps []step) (end record.Value, each []step) {
	for i, s := range steps {
		switch s.kind {
		case stepMember:
			x = x.Member(s.name)
		case stepDocument:
			x = x.Document()
		case stepEach:
			if x.Kind() == record.List {
				return x, steps[i:]
			}
			continue // its only element
		}
		if x.Kind() == record.Missing {
			break
		}
	}
	return x, nil
}
