package filter

import (
	"slices"
	"strings"

	"github.com/keytrail/keytrail/record"
)

// Limits of paths.
const (
	// maxSteps is how many steps a path may have.
	maxSteps = 64

	// maxDocuments is how many documents within documents it may open.
	maxDocuments = 4
)

// functions are what can be done with a field, as the text form spells it.
var functions = []string{"accountOf", "boolean", "cel", "json", "nocase", "number", "string"}

// kinds are the functions that look at values of one JSON type.
var kinds = map[string]record.Kind{"string": record.String, "number": record.Number, "boolean": record.Boolean}

// operand reads a field with the functions around it.
func (p *parser) operand() (operand, error) {
	start := p.pos
	var of operand
	var opens []int
	for {
		at, name := p.pos, p.name()
		if name == "" || name == "json" || !p.called(p.pos+len(name)) {
			break
		}
		kind, restricts := kinds[name]
		switch {
		case restricts && of.only == record.Missing:
			of.only = kind
		case name == "nocase" && !of.nocase:
			of.nocase = true
		case name == "accountOf" && !of.accountOf:
			of.accountOf = true
		case restricts || name == "nocase" || name == "accountOf":
			return of, p.fail(at, "there is another function of this kind around %s; leave one out", name)
		case name == "cel":
			return of, p.fail(at, `cel("…") is a condition of its own, and no field`)
		case p.at.knows(name) || p.at.m == nil || !p.inside && isShort(name):
			p.pos = at // a field; what is wrong with the parenthesis is found behind it
			return p.field(of, start, opens)
		default:
			return of, p.fail(at, "there is no function %q%s", shortened(name), didYouMean(name, functions))
		}
		p.pos += len(name)
		p.space()
		opens = append(opens, p.pos)
		p.pos++
		p.space()
	}
	return p.field(of, start, opens)
}

// isShort reports whether name is that of a field which is no member.
func isShort(name string) bool {
	_, named := namedFields[name]
	return named || shortNames[name] != ""
}

// field reads a path or a named field, and closes the functions around it,
// which begin at start.
func (p *parser) field(of operand, start int, opens []int) (operand, error) {
	at := p.pos
	name := p.name()
	named := namedFields[name]
	if c := p.byteAt(at + len(name)); p.inside || c == '.' || c == '[' || name == "readOnly" && of.only != record.Missing {
		named = pathOnly
	}
	if named != pathOnly {
		of.name = named
		p.pos += len(name)
	} else {
		steps, err := p.path(0)
		if err != nil {
			return of, err
		}
		of.path = newPath(steps, p.inside)
	}
	switch {
	case named != pathOnly && of.only != record.Missing:
		return of, p.fail(start, "%s is no member of a record, and has no JSON type; leave the function out", name)
	case of.accountOf && named != pathOnly && named != fieldKey && named != fieldPrincipal:
		return of, p.fail(start, "accountOf is for fields that hold ARNs, and %s holds none", name)
	case of.accountOf && of.only != record.Missing:
		return of, p.fail(start, "accountOf looks at strings alone; leave the other function out")
	}
	for _, open := range slices.Backward(opens) {
		if p.space(); !p.take(")") {
			return of, p.fail(p.pos, `expected ")" for the "(" at %s, %s`, placeOf(p.text, open), p.got())
		}
	}
	return of, nil
}

func (p *parser) byteAt(i int) byte {
	if i < len(p.text) {
		return p.text[i]
	}
	return 0
}

// path reads a path that is in so many documents already.
func (p *parser) path(documents int) ([]step, error) {
	p.space()
	start := p.pos
	at := p.at
	var steps []step
	fault := -1 // where the first name is that no record has
	name := p.name()
	switch {
	case name == "json" && p.called(start+len(name)):
		if documents++; documents > maxDocuments {
			return nil, p.fail(start, "a path opens at most %d documents within each other", maxDocuments)
		}
		p.pos += len(name)
		p.space()
		open := p.pos
		p.pos++
		within, err := p.path(documents)
		if err != nil {
			return nil, err
		}
		if p.space(); !p.take(")") {
			return nil, p.fail(p.pos, `expected ")" for the "(" at %s, %s`, placeOf(p.text, open), p.got())
		}
		steps = append(within, step{kind: stepDocument})
		at = at.follow(steps)
	case name != "":
		p.pos += len(name)
		if long := shortNames[name]; long != "" && !p.inside {
			name = long
		}
		if at.refuses(name) {
			fault = start
		}
		steps = append(steps, step{kind: stepMember, name: name})
		at = at.member(name)
	case p.next() == '[' && (p.inside || !p.starts("[]")):
	case p.inside && p.next() == '.':
		return nil, p.fail(start, `write members of the element without "." before them, and the element itself as []`)
	default:
		return nil, p.fail(start, "expected a field, %s", p.got())
	}
	for {
		s, err := p.step()
		if err != nil {
			return nil, err
		}
		if s == nil {
			break
		}
		if len(steps) == maxSteps {
			return nil, p.fail(start, "a path has at most %d steps", maxSteps)
		}
		if s.bare && fault < 0 && at.refuses(s.name) {
			fault = p.pos - len(s.name)
		}
		steps = append(steps, s.step)
		at = at.next(s.step)
	}
	if fault >= 0 {
		return nil, p.unknownField(fault, p.text[start:p.pos])
	}
	return steps, nil
}

// bareStep is a step, and whether its name is written without quotes.
type bareStep struct {
	step
	bare bool
}

// step reads the next step of a path; nil if the path ends here.
func (p *parser) step() (*bareStep, error) {
	at := p.pos
	switch {
	case p.take("."):
		name := p.name()
		if name == "" {
			if p.next() == '"' {
				return nil, p.fail(at, `write names in quotes as ["name"], without "." before them`)
			}
			return nil, p.fail(p.pos, `expected a name after ".", %s`, p.got())
		}
		p.pos += len(name)
		return &bareStep{step{kind: stepMember, name: name}, true}, nil
	case !p.take("["):
		return nil, nil
	}
	p.space()
	switch {
	case p.take("]"):
		return &bareStep{step: step{kind: stepEach}}, nil
	case p.next() == '"':
		name, err := p.quoted()
		if err != nil {
			return nil, err
		}
		if p.space(); !p.take("]") {
			return nil, p.fail(p.pos, `expected "]" after the name, %s`, p.got())
		}
		return &bareStep{step: step{kind: stepMember, name: name}}, nil
	case p.starts("*") || isMade(p.name(), func(c byte) bool { return '0' <= c && c <= '9' }):
		return nil, p.fail(at, "write [] for any element of a list; single ones cannot be chosen")
	case p.next() == '\'':
		return nil, p.fail(p.pos, `write names in double quotes, as ["name"]`)
	case p.word() != "":
		return nil, p.fail(p.pos, `write names in double quotes, as [%s]`, quote(shortened(p.word())))
	}
	return nil, p.fail(p.pos, `expected "]" or a name in double quotes, %s`, p.got())
}

// unknownField is the error for a path that records do not have, and that is
// not quoted where it leaves what they have.
func (p *parser) unknownField(at int, path string) error {
	if p.inside {
		return p.fail(at, "the elements have no %q%s", shortened(path), orElse(p.at.suggest(path),
			"; fields in these parentheses are members of the element"))
	}
	first := (&scanner{text: path}).name()
	if _, named := namedFields[first]; named {
		return p.fail(at, "%s is no member of a record, and has none itself; it can only stand alone", first)
	}
	if _, operation := record.LookupOperation(path); operation {
		return p.fail(at, "there is no field %q; write event = %s, or event in (…) for several operations", path, path)
	}
	return p.fail(at, "there is no field %q%s", shortened(path), orElse(p.at.suggest(path),
		`; put the name in brackets and quotes, as ["name"], if this version does not know it`))
}

// orElse says which of the fields is meant, or says something else.
func orElse(fields []string, otherwise string) string {
	if len(fields) == 0 {
		return otherwise
	}
	return ": did you mean " + strings.Join(fields, " or ") + "?"
}
