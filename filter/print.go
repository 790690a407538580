package filter

import (
	"slices"
	"strings"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// text is e in the text form, canonically: what is written in two ways and
// means the same is mostly printed in one, and what is printed reads back as
// the same text.
func (e *expr) text() string { return e.textWithin(false, recordCursor) }

// elementText is text for a part of what an element must satisfy.
func (e *expr) elementText() string { return e.textWithin(true, cursor{}) }

func (e *expr) textWithin(inside bool, at cursor) string {
	p := printer{inside: inside, at: at, buf: make([]byte, 0, 128)}
	if !e.isSimplest() {
		e = e.simplest()
	}
	p.expr(e, false)
	return string(p.buf)
}

// isSimplest reports whether simplest would change nothing.
func (e *expr) isSimplest() bool {
	for _, k := range e.kids {
		if !k.isSimplest() || k.kind == e.kind && e.kind != exprElement || e.kind == exprNot && len(k.kids) == 0 && (k.kind == exprAll || k.kind == exprAny) {
			return false
		}
	}
	return e.kind != exprAll && e.kind != exprAny || len(e.kids) != 1
}

// simplest is e as the parser would build it.
func (e *expr) simplest() *expr {
	if len(e.kids) == 0 {
		return e
	}
	kids := make([]*expr, len(e.kids))
	for i, k := range e.kids {
		kids[i] = k.simplest()
	}
	switch e.kind {
	case exprAll, exprAny:
		return join(e.kind, kids)
	case exprNot:
		return not(kids[0])
	}
	return &expr{kind: e.kind, kids: kids, element: e.element}
}

// printer appends the text form to buf.
type printer struct {
	buf    []byte
	inside bool   // within the parentheses of an element
	at     cursor // where paths begin
}

func (p *printer) add(s string) { p.buf = append(p.buf, s...) }

// expr prints e, in parentheses if it would fall apart where it is tied.
func (p *printer) expr(e *expr, tied bool) {
	switch {
	case e.always():
		p.add("true")
	case e.never():
		p.add("false")
	case e.kind == exprAll || e.kind == exprAny:
		if tied {
			p.add("(")
			defer p.add(")")
		}
		between := " and "
		if e.kind == exprAny {
			between = " or "
		}
		for i, k := range e.kids {
			if i > 0 {
				p.add(between)
			}
			p.expr(k, e.kind == exprAll)
		}
	case e.kind == exprNot && e.kids[0].kind == exprTest:
		p.test(e.kids[0].test, true)
	case e.kind == exprNot:
		p.add("not ")
		p.expr(e.kids[0], true)
	case e.kind == exprTest:
		p.test(e.test, false)
	case e.kind == exprElement:
		p.path(e.element.path.steps)
		p.add(" (")
		inside, at := p.inside, p.at
		p.inside, p.at = true, at.follow(e.element.path.steps)
		p.expr(e.kids[0], false)
		p.inside, p.at = inside, at
		p.add(")")
	default:
		p.add("cel(")
		p.add(quote(e.cel.source))
		p.add(")")
	}
}

// test prints a condition or its opposite.
func (p *printer) test(t *test, negated bool) {
	op := t.op
	wild := op == keytrailv1.Operator_OPERATOR_WILDCARD
	if wild && !slices.ContainsFunc(t.values, func(v string) bool { return strings.Contains(v, "*") && !isWildName(v) }) {
		op = keytrailv1.Operator_OPERATOR_EQUALS
	}
	is := func(o operator) bool {
		return o.op == op && o.negated == negated && o.text != "!~" // which is easily taken for !=
	}
	i := slices.IndexFunc(operators, is)
	if negated && i < 0 && op != keytrailv1.Operator_OPERATOR_IS_NULL {
		p.add("not ")
		negated = false
		i = slices.IndexFunc(operators, is)
	}
	switch op {
	case keytrailv1.Operator_OPERATOR_EXISTS:
		p.add("exists ")
		p.operand(&t.of)
		return
	case keytrailv1.Operator_OPERATOR_IS_NULL:
		p.operand(&t.of)
		if negated {
			p.add(" is not null")
		} else {
			p.add(" is null")
		}
		return
	}
	p.operand(&t.of)
	p.add(" ")
	switch {
	case op == keytrailv1.Operator_OPERATOR_MATCHES:
		p.add("matches")
	case op == keytrailv1.Operator_OPERATOR_CIDR:
		p.add("cidr")
	case op == keytrailv1.Operator_OPERATOR_EQUALS && len(t.values) > 1 && negated:
		p.add("not in")
	case op == keytrailv1.Operator_OPERATOR_EQUALS && len(t.values) > 1:
		p.add("in")
	default:
		p.add(operators[i].text)
	}
	p.add(" ")
	if len(t.values) > 1 {
		p.add("(")
		defer p.add(")")
	}
	for i, v := range t.values {
		if i > 0 {
			p.add(", ")
		}
		p.value(v, wild)
	}
}

// isWildName reports whether v is printed as a word although it has wildcards:
// the names of operations and the like. Longer things are easier to read in
// quotes.
func isWildName(v string) bool {
	return isMade(v, func(c byte) bool { return isNameByte(c) || c == '*' })
}

func (p *printer) value(v string, wild bool) {
	if isWord(v) && (!strings.Contains(v, "*") || wild && isWildName(v)) {
		switch v {
		case "and", "or", "not", "in", "is", "null":
		default:
			p.add(v)
			return
		}
	}
	p.add(quote(v))
}

// operand prints a field with the functions around it.
func (p *printer) operand(o *operand) {
	var closing string
	call := func(name string) {
		p.add(name)
		p.add("(")
		closing += ")"
	}
	if o.nocase {
		call("nocase")
	}
	if o.accountOf {
		call("accountOf")
	}
	for name, kind := range kinds {
		if o.only == kind {
			call(name)
		}
	}
	if o.name != pathOnly {
		for name, n := range namedFields {
			if n == o.name {
				p.add(name)
			}
		}
	} else {
		p.path(o.path.steps)
	}
	p.add(closing)
}

// path prints a path.
func (p *printer) path(steps []step) {
	if len(steps) == 0 {
		p.add("[]") // the element itself, which is never a list
		return
	}
	for _, s := range steps {
		if s.kind == stepDocument {
			p.add("json(")
		}
	}
	at := p.at
	for i, s := range steps {
		switch {
		case s.kind == stepDocument && i == 0:
			p.add("[])")
		case s.kind == stepDocument:
			p.add(")")
		case s.kind == stepEach:
			p.add("[]")
		case i == 0 && len(steps) == 1 && !p.inside && shortOf(s.name) != "":
			p.add(shortOf(s.name))
		case i == 0 && p.bareFirst(s.name):
			p.add(s.name)
		case i > 0 && isName(s.name) && !at.refuses(s.name):
			p.add(".")
			p.add(s.name)
		default:
			p.add("[")
			p.add(quote(s.name))
			p.add("]")
		}
		at = at.next(s)
	}
}

// bareFirst reports whether a path can begin with name as it is.
func (p *printer) bareFirst(name string) bool {
	switch {
	case !isName(name) || p.at.refuses(name):
		return false
	case p.inside:
		return !slices.Contains(reserved, name) && !slices.Contains(functions, name)
	}
	return !isShort(name)
}

// shortOf is the short name of a member of the record, if it has one.
func shortOf(long string) string {
	for short, l := range shortNames {
		if l == long {
			return short
		}
	}
	return ""
}
