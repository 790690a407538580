package filter

import (
	"strings"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// operator is one as it is written.
type operator struct {
	text    string
	op      keytrailv1.Operator
	negated bool
	list    bool // only a list may follow
}

// operators are those that are signs. Those that another one begins with come
// after it.
var operators = []operator{
	{text: "!=", op: keytrailv1.Operator_OPERATOR_EQUALS, negated: true},
	{text: "!~", op: keytrailv1.Operator_OPERATOR_WILDCARD, negated: true},
	{text: "^=", op: keytrailv1.Operator_OPERATOR_STARTS_WITH},
	{text: "$=", op: keytrailv1.Operator_OPERATOR_ENDS_WITH},
	{text: "*=", op: keytrailv1.Operator_OPERATOR_CONTAINS},
	{text: "<=", op: keytrailv1.Operator_OPERATOR_LESS_OR_EQUAL},
	{text: ">=", op: keytrailv1.Operator_OPERATOR_GREATER_OR_EQUAL},
	{text: "<", op: keytrailv1.Operator_OPERATOR_LESS},
	{text: ">", op: keytrailv1.Operator_OPERATOR_GREATER},
	{text: "=", op: keytrailv1.Operator_OPERATOR_EQUALS},
	{text: "~", op: keytrailv1.Operator_OPERATOR_WILDCARD},
}

// signsElsewhere are operators of other languages, and what to write.
var signsElsewhere = []struct{ sign, instead string }{
	{"===", `"="`},
	{"==", `"="`},
	{"=~", `"matches" for a regular expression, or "~" with "*" for any characters`},
	{"~=", `"~"`},
	{"!==", `"!="`},
	{"<>", `"!="`},
	{"=<", `"<="`},
	{"=>", `">="`},
	{"&&", `an operator and a value after the field, and "and" between conditions`},
	{"||", `an operator and a value after the field, and "or" between conditions`},
	{":", `"="`},
}

// wordsElsewhere are the same of words, in small letters and without "_".
var wordsElsewhere = map[string]string{
	"like":       `"~", with "*" for any characters`,
	"equals":     `"="`,
	"eq":         `"="`,
	"ne":         `"!="`,
	"contains":   `"*="`,
	"has":        `"*="`,
	"startswith": `"^="`,
	"beginswith": `"^="`,
	"prefix":     `"^="`,
	"endswith":   `"$="`,
	"suffix":     `"$="`,
	"regex":      `"matches"`,
	"regexp":     `"matches"`,
	"rlike":      `"matches"`,
	"lt":         `"<"`,
	"le":         `"<="`,
	"gt":         `">"`,
	"ge":         `">="`,
	"incidr":     `"cidr"`,
}

// operator reads an operator, with what belongs to it: all of "is not null".
// The field before it is at an offset.
func (p *parser) operator(field int) (operator, error) {
	p.space()
	at := p.pos
	if rest := (scanner{p.text, min(at+1, len(p.text))}); p.starts(":") && isNameByte(p.text[at-1]) && rest.word() != "" {
		return operator{}, p.fail(at, `there is no operator ":"; write "=", or put a name that holds it in brackets and quotes, as in ["aws:s3:arn"]`)
	}
	for _, e := range signsElsewhere {
		if p.starts(e.sign) {
			return operator{}, p.fail(at, `there is no operator %q; write %s`, e.sign, e.instead)
		}
	}
	for _, o := range operators {
		if p.take(o.text) {
			return o, nil
		}
	}
	name := p.name()
	p.pos += len(name)
	switch name {
	case "in":
		return operator{text: "in", op: keytrailv1.Operator_OPERATOR_EQUALS, list: true}, nil
	case "matches":
		return operator{text: "matches", op: keytrailv1.Operator_OPERATOR_MATCHES}, nil
	case "cidr":
		return operator{text: "cidr", op: keytrailv1.Operator_OPERATOR_CIDR}, nil
	case "not":
		if p.takeKeyword("in") {
			return operator{text: "not in", op: keytrailv1.Operator_OPERATOR_EQUALS, negated: true, list: true}, nil
		}
		return operator{}, p.fail(at, `only "in" can follow "not" here; write "not" before the field for the opposite of a condition`)
	case "is":
		negated := p.takeKeyword("not")
		if p.takeKeyword("null") {
			return operator{text: "is null", op: keytrailv1.Operator_OPERATOR_IS_NULL, negated: negated}, nil
		}
		return operator{}, p.fail(p.pos, `expected "null" after "is", %s; compare values with "="`, p.got())
	}
	p.pos = at
	lower := strings.ToLower(name)
	switch lower {
	case "in", "not", "is", "matches", "cidr":
		return operator{}, p.fail(at, "write %q in small letters", lower)
	case "exists":
		return operator{}, p.fail(at, `write "exists" before the field: exists %s`, shortened(strings.TrimSpace(p.text[field:at])))
	}
	if instead := wordsElsewhere[strings.ReplaceAll(lower, "_", "")]; instead != "" {
		return operator{}, p.fail(at, `there is no operator %q; write %s`, name, instead)
	}
	return operator{}, p.fail(at, "expected an operator such as = or in, %s", p.got())
}
