package filter

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

// matchTypes are what EventBridge has besides plain values, and butTypes those
// that it lets anything-but turn around.
var (
	matchTypes = []string{"prefix", "suffix", "equals-ignore-case", "wildcard", "anything-but", "numeric", "exists", "cidr"}
	butTypes   = []string{"prefix", "suffix", "equals-ignore-case", "wildcard"}
)

// leaf reads the list of what a field may be.
func (p *patternParser) leaf(v *jsonValue, at *jsonPlace) (*patternLeaf, error) {
	if len(v.items) == 0 {
		return nil, p.text.fail(v, at, "is an empty list, which EventBridge does not take; give at least one value")
	}
	l := new(patternLeaf)
	for i, item := range v.items {
		place := at.at(i)
		switch item.kind {
		case '{':
			if err := p.match(l, item, place); err != nil {
				return nil, err
			}
		case '[':
			return nil, p.text.fail(item, place, "is a list within a list; give the values in one list")
		case 'n':
			l.null = true
		default:
			c, err := p.comparison(item, place, keytrailv1.Operator_OPERATOR_EQUALS, false, p.scalar(item))
			if err != nil {
				return nil, err
			}
			c.only = scalarKind(item)
			l.equals = append(l.equals, c.widened())
		}
	}
	return l, nil
}

// scalar is the text of a value that is no list, object or null.
func (p *patternParser) scalar(v *jsonValue) string {
	switch v.kind {
	case 't':
		return "true"
	case 'f':
		return "false"
	}
	return v.text
}

func scalarKind(v *jsonValue) record.Kind {
	switch v.kind {
	case '"':
		return record.String
	case '0':
		return record.Number
	}
	return record.Boolean
}

// single returns the one member of an object.
func (p *patternParser) single(v *jsonValue, at *jsonPlace, known []string) (jsonMember, error) {
	if len(v.members) != 1 {
		return jsonMember{}, p.text.fail(v, at, "must have one member, any of %s", strings.Join(known, ", "))
	}
	m := v.members[0]
	if !slices.Contains(known, m.name) {
		return m, p.text.errorf(m.at, "%v%q is not possible here; use one of %s%s", at, shortened(m.name), strings.Join(known, ", "), didYouMean(m.name, known))
	}
	return m, nil
}

// match adds what an object in a field's list matches.
func (p *patternParser) match(l *patternLeaf, v *jsonValue, at *jsonPlace) error {
	m, err := p.single(v, at, matchTypes)
	if err != nil {
		return err
	}
	at = at.member(m.name)
	switch m.name {
	case "exists":
		switch m.value.kind {
		case 't':
			l.present = true
		case 'f':
			l.absent = true
		default:
			return p.text.fail(m.value, at, "must be true or false")
		}
		return nil
	case "numeric":
		r, err := p.numeric(m.value, at)
		if err != nil {
			return err
		}
		l.ranges = append(l.ranges, r)
		return nil
	case "anything-but":
		b, err := p.anythingBut(m.value, at)
		if err != nil {
			return err
		}
		l.buts = append(l.buts, b)
		return nil
	}
	c, err := p.stringMatch(m.name, m.value, at, true)
	if err != nil {
		return err
	}
	l.equals = append(l.equals, c)
	return nil
}

// stringMatch reads a match type that compares a string with one other. nested: a
// prefix or suffix may be one without regard to case.
func (p *patternParser) stringMatch(name string, v *jsonValue, at *jsonPlace, nested bool) (comparison, error) {
	nocase := false
	if v.kind == '{' && nested && (name == "prefix" || name == "suffix") {
		m, err := p.single(v, at, []string{"equals-ignore-case"})
		if err != nil {
			return comparison{}, err
		}
		v, at, nocase = m.value, at.member(m.name), true
	}
	if v.kind != '"' {
		return comparison{}, p.text.fail(v, at, "is %s, and must be a string", v.kindName())
	}
	if n := len(v.text); n > MaxValueBytes {
		return comparison{}, p.text.fail(v, at, "has %d bytes; use at most %d", n, MaxValueBytes)
	}
	value, op := v.text, keytrailv1.Operator_OPERATOR_EQUALS
	switch name {
	case "equals-ignore-case":
		nocase = true
	case "prefix":
		op = keytrailv1.Operator_OPERATOR_STARTS_WITH
	case "suffix":
		op = keytrailv1.Operator_OPERATOR_ENDS_WITH
	case "cidr":
		op = keytrailv1.Operator_OPERATOR_CIDR
		if err := checkBlock(value); err != nil {
			return comparison{}, p.text.fail(v, at, "%v", err)
		}
	case "wildcard":
		var err error
		if op, value, err = parseWildcard(value); err != nil {
			return comparison{}, p.text.fail(v, at, "%v", err)
		}
	}
	if value == "" && op != keytrailv1.Operator_OPERATOR_EQUALS {
		op, value, nocase = keytrailv1.Operator_OPERATOR_WILDCARD, "*", false // any string
	}
	c, err := p.comparison(v, at, op, nocase, value)
	c.only = record.String
	return c.widened(), err
}

// checkBlock reports what is wrong with a CIDR block.
func checkBlock(s string) error {
	n, err := parseNetwork(s)
	if err != nil {
		return err
	}
	address, _, block := strings.Cut(s, "/")
	if !block {
		return fmt.Errorf("%q is an address; write the block of it alone, %s", s, n)
	}
	if a, err := netip.ParseAddr(address); err == nil && a.Unmap() != n.Addr() {
		return fmt.Errorf("%q begins within its block; write %s", s, n)
	}
	return nil
}

// parseWildcard translates EventBridge's wildcards, in which \* is a star that
// stands for itself and \\ a backslash, to an operator and a value.
func parseWildcard(s string) (keytrailv1.Operator, string, error) {
	var parts []string // between wildcards
	var part []byte
	literal := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '*' && i > 0 && len(parts) > 0 && len(part) == 0:
			return 0, "", errors.New(`has "**"; EventBridge takes no wildcard next to another, and one stands for any text`)
		case s[i] == '*':
			parts = append(parts, string(part))
			part = part[:0]
		case s[i] != '\\':
			part = append(part, s[i])
		case i+1 < len(s) && (s[i+1] == '*' || s[i+1] == '\\'):
			i++
			part = append(part, s[i])
			literal = literal || s[i] == '*'
		default:
			return 0, "", errors.New(`has a backslash before something else than * or a backslash; write \\\\ in JSON for a backslash`)
		}
	}
	parts = append(parts, string(part))
	first, last := parts[0], parts[len(parts)-1]
	switch {
	case len(parts) == 1:
		return keytrailv1.Operator_OPERATOR_EQUALS, first, nil
	case !literal:
		return keytrailv1.Operator_OPERATOR_WILDCARD, strings.Join(parts, "*"), nil
	case len(parts) == 2 && last == "":
		return keytrailv1.Operator_OPERATOR_STARTS_WITH, first, nil
	case len(parts) == 2 && first == "":
		return keytrailv1.Operator_OPERATOR_ENDS_WITH, last, nil
	case len(parts) == 3 && first == "" && last == "":
		return keytrailv1.Operator_OPERATOR_CONTAINS, parts[1], nil
	}
	for i, part := range parts {
		parts[i] = regexp.QuoteMeta(part)
	}
	return keytrailv1.Operator_OPERATOR_MATCHES, "^(?s:" + strings.Join(parts, ".*") + ")$", nil
}

// anythingBut reads what a leaf must not be.
func (p *patternParser) anythingBut(v *jsonValue, at *jsonPlace) ([]comparison, error) {
	name := ""
	if v.kind == '{' {
		m, err := p.single(v, at, butTypes)
		if err != nil {
			return nil, err
		}
		name, v, at = m.name, m.value, at.member(m.name)
	}
	items, places := []*jsonValue{v}, []*jsonPlace{at}
	if v.kind == '[' {
		items, places = v.items, nil
		for i := range items {
			places = append(places, at.at(i))
		}
		if len(items) == 0 {
			return nil, p.text.fail(v, at, "is an empty list; give at least one value")
		}
	}
	var list []comparison
	for i, item := range items {
		switch {
		case name != "":
			if item.kind == '"' && item.text == "" && (name == "prefix" || name == "suffix") {
				return nil, p.text.fail(item, places[i], "is empty, so all strings would be left out; give some text")
			}
			c, err := p.stringMatch(name, item, places[i], false)
			if err != nil {
				return nil, err
			}
			list = append(list, c)
			continue
		case item.kind == '{':
			return nil, p.text.fail(item, places[i], `is an object in a list; write {"anything-but": {"prefix": [%q, …]}} instead`, "a")
		case item.kind != '"' && item.kind != '0':
			return nil, p.text.fail(item, places[i], "is %s, and must be a string or a number", item.kindName())
		case item.kind != items[0].kind:
			return nil, p.text.fail(item, places[i], "is %s beside %s; EventBridge takes either only strings or only numbers", item.kindName(), items[0].kindName())
		case item.kind == '0':
			if err := p.checkNumber(item, places[i]); err != nil {
				return nil, err
			}
		}
		c, err := p.comparison(item, places[i], keytrailv1.Operator_OPERATOR_EQUALS, false, item.text)
		if err != nil {
			return nil, err
		}
		c.only = scalarKind(item)
		list = append(list, c.widened())
	}
	return list, nil
}

// numericOperators by EventBridge's names.
var numericOperators = map[string]keytrailv1.Operator{
	"=":  keytrailv1.Operator_OPERATOR_EQUALS,
	"<":  keytrailv1.Operator_OPERATOR_LESS,
	"<=": keytrailv1.Operator_OPERATOR_LESS_OR_EQUAL,
	">":  keytrailv1.Operator_OPERATOR_GREATER,
	">=": keytrailv1.Operator_OPERATOR_GREATER_OR_EQUAL,
}

// numeric reads a comparison of numbers, or the two of a range.
func (p *patternParser) numeric(v *jsonValue, at *jsonPlace) ([]comparison, error) {
	const form = `must be a list such as ["<", 10] or [">=", 7, "<=", 30]`
	if v.kind != '[' || len(v.items) != 2 && len(v.items) != 4 {
		return nil, p.text.fail(v, at, form)
	}
	var list []comparison
	for i := 0; i < len(v.items); i += 2 {
		op, n := v.items[i], v.items[i+1]
		code, known := numericOperators[op.text]
		switch {
		case op.kind != '"' || !known:
			return nil, p.text.fail(op, at.at(i), `must be "=", "<", "<=", ">" or ">="`)
		case n.kind != '0':
			return nil, p.text.fail(n, at.at(i+1), "is %s, and must be a number", n.kindName())
		case len(v.items) == 4 && !strings.HasPrefix(op.text, []string{">", "<"}[i/2]):
			return nil, p.text.fail(op, at.at(i), `cannot stand there: a range has ">" or ">=" first, then "<" or "<="`)
		}
		if err := p.checkNumber(n, at.at(i+1)); err != nil {
			return nil, err
		}
		c := comparison{op: code, value: n.text} // only numbers have an order
		if code == keytrailv1.Operator_OPERATOR_EQUALS {
			c.only = record.Number
		}
		list = append(list, c)
	}
	if len(list) == 2 {
		low, _ := parseNumber(list[0].value)
		high, _ := parseNumber(list[1].value)
		if low.compare(high) >= 0 {
			return nil, p.text.fail(v, at, `is a range without numbers; a single one is ["=", %s]`, shortened(v.items[1].text))
		}
	}
	return list, nil
}

// The numbers that EventBridge compares.
var leastNumber, mostNumber = number{negative: true, digits: "5", exp: 10}, number{digits: "5", exp: 10}

func (p *patternParser) checkNumber(v *jsonValue, at *jsonPlace) error {
	n, ok := parseNumber(v.text)
	if !ok || n.compare(leastNumber) < 0 || n.compare(mostNumber) > 0 {
		return p.text.fail(v, at, "%s is out of range; EventBridge compares numbers from -5e9 to 5e9", shortened(v.text))
	}
	return nil
}

// comparison makes a comparison of strings, after trying it.
func (p *patternParser) comparison(v *jsonValue, at *jsonPlace, op keytrailv1.Operator, nocase bool, value string) (comparison, error) {
	c := comparison{op: op, nocase: nocase, value: value}
	if p.values++; p.values > MaxValues {
		return c, p.text.fail(v, at, "there are more than %d values; use several subscriptions", MaxValues)
	}
	probe := operand{path: newPath(self, true), nocase: nocase}
	if _, bad := newTest(probe, op, []string{value}); bad != nil {
		return c, p.text.fail(v, at, "%s", bad.message)
	}
	return c, nil
}

// withoutValue tells comparisons of one kind.
func (c comparison) withoutValue() comparison {
	c.value = ""
	return c
}

// holds reports whether the string s compares.
func (c comparison) holds(s string) bool {
	if c.only == record.Number || c.only == record.Boolean {
		return false
	}
	m, _, err := newMatcher(c.op, []string{c.value}, c.nocase)
	if c.nocase {
		s = fold(s)
	}
	spent := 0
	return err == nil && m.matchText(c.op, s, &spent)
}

// widened drops the restriction to strings at no number and no boolean can
// compare anyway: then the condition is the one that people write, and shared
// with theirs.
func (c comparison) widened() comparison {
	if c.only != record.String {
		return c
	}
	wide := c
	wide.only = record.Missing
	switch c.op {
	case keytrailv1.Operator_OPERATOR_CIDR, keytrailv1.Operator_OPERATOR_MATCHES: // those from wildcards ask for a star
		return wide
	}
	if wide.holds("true") || wide.holds("false") {
		return c
	}
	if strings.Trim(c.value, "0123456789+-.eE*") == "" {
		return c
	}
	return wide
}
