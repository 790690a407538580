package filter

import (
	"slices"
	"strings"
)

// patternParser reads a pattern.
type patternParser struct {
	text     *jsonText
	envelope bool

	// paths numbers the paths of fields, from 1. taken has those of the leaves
	// that must match together with what is read next: EventBridge would forget
	// the first of two with one path.
	paths map[pathName]int
	taken map[int]bool

	values int // so far
}

type pathName struct {
	below int // the path, 0 for the whole pattern
	name  string
}

func parsePattern(text string) (*patternParser, *patternGroup, error) {
	t, v, err := parseJSON(text)
	if err != nil {
		return nil, nil, err
	}
	p := &patternParser{text: t, paths: make(map[pathName]int), taken: make(map[int]bool)}
	if v.kind != '{' {
		return nil, nil, t.errorf(v.at, "an event pattern is an object, and this is %s", v.kindName())
	}
	for m := range topMembers(v) {
		p.envelope = p.envelope || m.name != "resources" && slices.Contains(envelopeNames, m.name)
	}
	if p.envelope {
		for m := range topMembers(v) {
			if !slices.Contains(envelopeNames, m.name) {
				return nil, nil, t.errorf(m.at, "%q is no member of the event around a record%s; put what the record must have into \"detail\"",
					shortened(m.name), didYouMean(m.name, envelopeNames))
			}
		}
	}
	g, _, err := p.group(v, patternPlace{known: knownRecord})
	return p, g, err
}

// topMembers yields the members of the pattern, and of those in its "$or".
func topMembers(v *jsonValue) func(yield func(jsonMember) bool) {
	var visit func(v *jsonValue, yield func(jsonMember) bool) bool
	visit = func(v *jsonValue, yield func(jsonMember) bool) bool {
		for _, m := range v.members {
			if m.name != "$or" {
				if !yield(m) {
					return false
				}
				continue
			}
			for _, item := range m.value.items {
				if !visit(item, yield) {
					return false
				}
			}
		}
		return true
	}
	return func(yield func(jsonMember) bool) { visit(v, yield) }
}

// patternPlace is at the parser is.
type patternPlace struct {
	place *jsonPlace
	path  int     // its number
	or    bool    // within "$or"
	known *member // what the contract knows of the object; nil: nothing
}

// group reads an object, and returns the paths of its leaves besides.
func (p *patternParser) group(v *jsonValue, at patternPlace) (*patternGroup, []int, error) {
	if v.kind != '{' {
		return nil, nil, p.text.fail(v, at.place, "is %s, and must be an object", v.kindName())
	}
	if len(v.members) == 0 {
		return nil, nil, p.text.fail(v, at.place, "is an empty object, which EventBridge does not take; name a field, or leave it out")
	}
	g := &patternGroup{absent: true}
	var paths []int
	for _, m := range v.members {
		e, added, err := p.entry(m, at)
		if err != nil {
			return nil, nil, err
		}
		g.entries = append(g.entries, e)
		g.absent = g.absent && e.absent
		paths = append(paths, added...)
	}
	return g, paths, nil
}

func (p *patternParser) entry(m jsonMember, at patternPlace) (*patternEntry, []int, error) {
	e := &patternEntry{name: m.name, at: m.at, place: at.place.member(m.name)}
	if m.name == "$or" {
		return p.or(e, m.value, at)
	}
	if at.or && slices.Contains(matchTypes, m.name) {
		return nil, nil, p.text.errorf(m.at, `%v%q compares values, and EventBridge takes no field of that name within "$or"; put it into the list of a field`,
			at.place, m.name)
	}
	if err := p.checkDots(m, at); err != nil {
		return nil, nil, err
	}
	below := patternPlace{place: e.place, path: p.path(at.path, m.name), or: at.or, known: at.known.below(m.name)}
	if p.atTop(at) {
		below.known = knownRecord // in "detail"
	}
	switch m.value.kind {
	case '{':
		g, paths, err := p.group(m.value, below)
		if err != nil {
			return nil, nil, err
		}
		e.group, e.absent = g, g.absent
		return e, paths, nil
	case '[':
	default:
		return nil, nil, p.text.fail(m.value, e.place, "is %s, and must be a list of values or an object; put it into brackets", m.value.kindName())
	}
	if p.taken[below.path] {
		return nil, nil, p.text.errorf(m.at, `%vis asked for twice, within "$or" and outside; EventBridge would use only one of them. Say all of it in one place`, e.place)
	}
	p.taken[below.path] = true
	l, err := p.leaf(m.value, e.place)
	if err != nil {
		return nil, nil, err
	}
	e.leaf, e.absent = l, l.absent
	return e, []int{below.path}, nil
}

// atTop reports whether names are those of the event around a record.
func (p *patternParser) atTop(at patternPlace) bool { return p.envelope && at.path == 0 }

// path is the number of the path of a member.
func (p *patternParser) path(below int, name string) int {
	key := pathName{below, name}
	n, ok := p.paths[key]
	if !ok {
		n = len(p.paths) + 1
		p.paths[key] = n
	}
	return n
}

// checkDots refuses the name "userIdentity.arn", which no member has.
func (p *patternParser) checkDots(m jsonMember, at patternPlace) error {
	first, rest, dot := strings.Cut(m.name, ".")
	known := at.known.kind(first) != memberUnknown
	if p.atTop(at) {
		known = slices.Contains(envelopeNames, first)
	}
	if !dot || !known {
		return nil
	}
	return p.text.errorf(m.at, `%vno member has a dot in its name here; write {%q: {%q: …}}`, at.place.member(m.name), first, shortened(rest))
}

func (p *patternParser) or(e *patternEntry, v *jsonValue, at patternPlace) (*patternEntry, []int, error) {
	if v.kind != '[' {
		return nil, nil, p.text.fail(v, e.place, "is %s, and must be a list of objects, any of which may match", v.kindName())
	}
	if len(v.items) < 2 {
		return nil, nil, p.text.fail(v, e.place, "must have at least two objects, any of which may match")
	}
	var all []int
	for i, item := range v.items {
		below := at
		below.place, below.or = e.place.at(i), true
		g, paths, err := p.group(item, below)
		if err != nil {
			return nil, nil, err
		}
		e.or = append(e.or, g)
		e.absent = e.absent || g.absent
		for _, path := range paths {
			delete(p.taken, path) // the next object may have it as well
		}
		all = append(all, paths...)
	}
	for _, path := range all {
		p.taken[path] = true
	}
	return e, all, nil
}
