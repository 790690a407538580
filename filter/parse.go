package filter

import (
	"encoding/json"
	"slices"
	"strings"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// parser reads the text form.
type parser struct {
	scanner

	depth  int    // how many parentheses and nots are open
	inside bool   // within the parentheses of an element
	at     cursor // where paths begin
}

// parseText reads a whole condition. An error is an [*Error].
func parseText(text string) (*expr, error) {
	p := parser{scanner: scanner{text: text}, at: recordCursor}
	if err := p.check(); err != nil {
		return nil, err
	}
	p.space()
	if p.atEnd() {
		return nil, p.fail(0, `there is no condition; write one such as event = Decrypt, or leave it out`)
	}
	if c := p.next(); c == '{' || c == '[' && json.Valid([]byte(text)) {
		return nil, p.fail(p.pos, `this looks like JSON; EventBridge patterns and CloudTrail selectors have fields and flags of their own`)
	}
	e, err := p.choice()
	if err != nil {
		return nil, err
	}
	if !p.atEnd() {
		return nil, p.noConnector("the end")
	}
	return e, nil
}

// parseOperand reads a field that stands alone, of a record or of an element.
func parseOperand(text string, inElement bool) (operand, error) {
	p := parser{scanner: scanner{text: text}, at: recordCursor}
	if inElement {
		p.inside, p.at = true, cursor{}
	}
	if err := p.check(); err != nil {
		return operand{}, err
	}
	p.space()
	of, err := p.operand()
	if err != nil {
		return of, err
	}
	if p.space(); !p.atEnd() {
		return of, p.fail(p.pos, "expected the end of the field, %s", p.got())
	}
	return of, nil
}

// got is upNext after "expected …".
func (p *parser) got() string {
	if p.atEnd() {
		return "but the text ends"
	}
	return p.upNext()
}

// choice reads conditions joined by "or".
func (p *parser) choice() (*expr, error) {
	var kids []*expr
	for {
		e, err := p.sequence()
		if err != nil {
			return nil, err
		}
		if kids = append(kids, e); !p.takeKeyword("or") {
			return anyOf(kids...), nil
		}
	}
}

// sequence reads conditions joined by "and".
func (p *parser) sequence() (*expr, error) {
	var kids []*expr
	for {
		e, err := p.condition()
		if err != nil {
			return nil, err
		}
		if kids = append(kids, e); !p.takeKeyword("and") {
			return all(kids...), nil
		}
	}
}

// noConnector is the error for what follows a condition and joins nothing.
func (p *parser) noConnector(end string) error {
	at := p.pos
	switch name := p.name(); {
	case p.starts("&"):
		return p.fail(at, `write "and" instead of "&"`)
	case p.starts("|"):
		return p.fail(at, `write "or" instead of "|"`)
	case p.starts(","):
		return p.fail(at, `write "and" or "or" between conditions, not ","; put several values in parentheses: (Decrypt, Encrypt)`)
	case p.starts(";"):
		return p.fail(at, `write "and" or "or" between conditions, not ";"`)
	case p.starts(")"):
		return p.fail(at, `there is no "(" for this ")"`)
	case strings.EqualFold(name, "and") || strings.EqualFold(name, "or"):
		return p.fail(at, `write %q in small letters`, strings.ToLower(name))
	}
	return p.fail(at, `expected "and", "or" or %s, %s`, end, p.got())
}

// nest counts one more level; the caller counts it down.
func (p *parser) nest(at int) error {
	if p.depth++; p.depth > MaxDepth {
		return p.fail(at, "conditions are nested more than %d deep here; write them flatter", MaxDepth)
	}
	return nil
}

// condition reads one condition, with "not" and parentheses.
func (p *parser) condition() (*expr, error) {
	p.space()
	at := p.pos
	name := p.name()
	switch {
	case p.next() == '(':
		return p.group()
	case name == "not":
		p.pos += len(name)
		if err := p.nest(at); err != nil {
			return nil, err
		}
		e, err := p.condition()
		if err != nil {
			return nil, err
		}
		p.depth--
		return not(e), nil
	case name == "exists":
		p.pos += len(name)
		return p.exists()
	case name == "true":
		p.pos += len(name)
		return all(), nil
	case name == "false":
		p.pos += len(name)
		return anyOf(), nil
	case name == "cel" && (!p.inside || p.called(at+len(name))):
		return p.cel()
	}
	return p.comparison()
}

// group reads what is in parentheses, the first of which is next.
func (p *parser) group() (*expr, error) {
	open := p.pos
	p.pos++
	if err := p.nest(open); err != nil {
		return nil, err
	}
	if p.space(); p.next() == ')' {
		return nil, p.fail(p.pos, "expected a condition between the parentheses")
	}
	e, err := p.choice()
	if err != nil {
		return nil, err
	}
	p.depth--
	return e, p.closing(open)
}

// closing takes the ")" for what was opened.
func (p *parser) closing(open int) error {
	p.space()
	switch {
	case p.take(")"):
		return nil
	case p.atEnd():
		return p.fail(p.pos, `expected ")" for the "(" at %s, but the text ends`, placeOf(p.text, open))
	}
	return p.noConnector(`")"`)
}

// exists reads what follows the keyword.
func (p *parser) exists() (*expr, error) {
	p.space()
	if p.next() == '(' {
		return nil, p.fail(p.pos, "write a field after exists, without parentheses: exists userIdentity.arn")
	}
	at := p.pos
	of, err := p.operand()
	if err != nil {
		return nil, err
	}
	return p.test(at, of, keytrailv1.Operator_OPERATOR_EXISTS, nil)
}

// cel reads a CEL expression, whose keyword is next.
func (p *parser) cel() (*expr, error) {
	at := p.pos
	p.pos += len("cel")
	if p.inside {
		return nil, p.fail(at, "a CEL expression is about the whole record; write it outside the parentheses of an element")
	}
	p.space()
	open := p.pos
	if !p.take("(") {
		return nil, p.fail(open, `expected an expression after cel, as in cel("eventName == 'Decrypt'"), %s`, p.got())
	}
	p.space()
	if p.next() != '"' {
		return nil, p.fail(p.pos, `expected a CEL expression in double quotes, %s`, p.got())
	}
	start := p.pos
	source, err := p.quoted()
	if err != nil {
		return nil, err
	}
	if p.space(); !p.take(")") {
		return nil, p.fail(p.pos, `expected ")" for the "(" at %s, %s`, placeOf(p.text, open), p.got())
	}
	e, err := compileCEL(source)
	if err != nil {
		message := err.Error()
		if e, ok := err.(*Error); ok {
			message = e.Message
		}
		return nil, p.fail(start, "in the CEL expression: %s", message)
	}
	return e, nil
}

// comparison reads a field and what is said of it.
func (p *parser) comparison() (*expr, error) {
	if err := p.noField(); err != nil {
		return nil, err
	}
	at := p.pos
	of, err := p.operand()
	if err != nil {
		return nil, err
	}
	if p.space(); p.next() == '(' {
		return p.element(at, of)
	}
	op, err := p.operator(at)
	if err != nil {
		return nil, err
	}
	e, err := p.compared(at, of, op)
	if err == nil && op.negated {
		e = not(e)
	}
	return e, err
}

// noField is the error where no field can begin.
func (p *parser) noField() error {
	at := p.pos
	switch name := p.name(); {
	case p.next() == '[' || p.inside && p.next() == '.':
		return nil
	case p.atEnd():
		return p.fail(at, "expected a condition, but the text ends")
	case p.starts("!="), p.starts("!~"):
		return p.fail(at, "expected a field before %q", p.text[at:at+2])
	case p.starts("!"):
		return p.fail(at, `write "not" instead of "!"`)
	case p.starts("$."):
		return p.fail(at, `write fields without "$.": %s`, shortened(p.text[at+2:at+2+len((&scanner{p.text, at + 2}).word())]))
	case p.starts(`"`):
		return p.fail(at, "expected a field, %s; names of fields have no quotes around them", p.got())
	case name == "":
		return p.fail(at, "expected a condition such as event = Decrypt, %s", p.got())
	case slices.Contains(reserved, name):
		return p.fail(at, "expected a field, %s", p.got())
	case slices.Contains(reserved, strings.ToLower(name)) && !p.inside:
		return p.fail(at, "write %q in small letters", strings.ToLower(name))
	}
	return nil
}

// reserved names are no fields unless they are quoted.
var reserved = []string{"and", "or", "not", "in", "is", "exists", "matches", "cidr", "null", "true", "false"}

// element reads the conditions that an element must satisfy, which are next.
func (p *parser) element(at int, of operand) (*expr, error) {
	if err := of.checkElement(); err != nil {
		return nil, p.fail(at, "%s", err)
	}
	inside, outer := p.inside, p.at
	p.inside, p.at = true, p.at.follow(of.path.steps)
	kid, err := p.group()
	p.inside, p.at = inside, outer
	if err != nil {
		return nil, err
	}
	return &expr{kind: exprElement, element: &of, kids: []*expr{kid}}, nil
}

// value is one that a field is compared with.
type value struct {
	text   string
	quoted bool
	at     int
}

// wild reports whether there is a wildcard in it.
func (v value) wild() bool { return !v.quoted && strings.Contains(v.text, "*") }

// compared reads the values after an operator.
func (p *parser) compared(at int, of operand, op operator) (*expr, error) {
	if op.op == keytrailv1.Operator_OPERATOR_IS_NULL {
		return p.test(at, of, op.op, nil)
	}
	values, err := p.values(op)
	if err != nil {
		return nil, err
	}
	if op.op != keytrailv1.Operator_OPERATOR_EQUALS {
		for _, v := range values {
			if v.wild() && op.op != keytrailv1.Operator_OPERATOR_WILDCARD {
				return nil, p.fail(v.at, `"*" is no wildcard after %q; use "=" or "~", or put the value in double quotes if it has a "*" itself`, op.text)
			}
		}
		return p.test(at, of, op.op, values)
	}
	if !slices.ContainsFunc(values, value.wild) {
		return p.test(at, of, op.op, values)
	}
	// Beside wildcards, a "*" in quotes is still one that stands for itself.
	var stars, others []value
	for _, v := range values {
		if v.quoted && strings.Contains(v.text, "*") {
			stars = append(stars, v)
		} else {
			others = append(others, v)
		}
	}
	e, err := p.test(at, of, keytrailv1.Operator_OPERATOR_WILDCARD, others)
	if err != nil || len(stars) == 0 {
		return e, err
	}
	literal, err := p.test(at, of, keytrailv1.Operator_OPERATOR_EQUALS, stars)
	return anyOf(literal, e), err
}

// test makes a condition on a field, which is written at an offset.
func (p *parser) test(at int, of operand, op keytrailv1.Operator, values []value) (*expr, error) {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = v.text
	}
	e, bad := newTest(of, op, texts)
	if bad == nil {
		return e, nil
	}
	if bad.value < 0 {
		return nil, p.fail(at, "%s", bad.message)
	}
	message := bad.message
	if strings.HasPrefix(message, "is ") || strings.HasPrefix(message, "has ") {
		message = "the value " + message
	}
	return nil, p.fail(values[bad.value].at, "%s", message)
}

// values reads a value or a list of them.
func (p *parser) values(op operator) ([]value, error) {
	p.space()
	open := p.pos
	if !p.take("(") {
		if op.list {
			return nil, p.fail(p.pos, `expected a list such as (Decrypt, Encrypt) after %q, %s`, op.text, p.got())
		}
		v, err := p.value()
		return []value{v}, err
	}
	if p.space(); p.next() == ')' {
		return nil, p.fail(p.pos, "expected a value; the list is empty")
	}
	var list []value
	for {
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		p.space()
		switch {
		case p.take(")"):
			return list, nil
		case p.take(","):
		case p.atEnd():
			return nil, p.fail(p.pos, `expected ")" for the list that begins at %s, but the text ends`, placeOf(p.text, open))
		default:
			return nil, p.fail(p.pos, `expected "," or ")", %s; put values with other characters than those of words in double quotes`, p.got())
		}
	}
}

// value reads one value.
func (p *parser) value() (value, error) {
	p.space()
	at := p.pos
	c := p.next()
	switch {
	case c == '"':
		text, err := p.quoted()
		return value{text: text, quoted: true, at: at}, err
	case p.atEnd() || c == ')' || c == ',':
		return value{}, p.fail(at, "expected a value, %s", p.got())
	case c == '\'' || p.starts("“") || p.starts("”") || p.starts("‘"):
		return value{}, p.fail(at, `write values in straight double quotes, as "x"`)
	case c == '=' || c == '~' || c == '(' || c == '!' || c == '<' || c == '>':
		return value{}, p.fail(at, "expected a value, %s", p.got())
	}
	word := p.word()
	switch word {
	case "and", "or", "not", "in", "is":
		return value{}, p.fail(at, "expected a value, %s; put it in double quotes if it is one", p.got())
	case "null":
		return value{}, p.fail(at, `null is no value; write "exists" or "not exists" before the field, or "is null" after it, or put null in double quotes if it is a text`)
	}
	p.pos += len(word)
	if c := p.next(); p.atEnd() || isSpace(c) || c == ',' || c == ')' {
		return value{text: word, at: at}, nil
	}
	message := "no word can hold " + p.character() + "; put the value in double quotes"
	rest := p.text[at:]
	if i := strings.IndexAny(rest, " \t\r\n,()\""); i < 0 {
		message += ": " + quote(shortened(rest))
	} else if i > len(word) {
		message += ": " + quote(shortened(rest[:i]))
	}
	return value{}, p.fail(p.pos, "%s", message)
}
