package filter

import (
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

// Explanation says why a filter does or does not want a record.
type Explanation struct {
	Matched bool

	// Clauses are the parts of the filter, the whole first, each followed by its
	// own parts.
	Clauses []Clause
}

// Clause is a part of a filter.
type Clause struct {
	// Text is the part in the text form.
	Text string

	// Depth is how deep it is nested: 0 for the whole.
	Depth int

	// Held says whether it held; nil where nothing was matched, and for what an
	// element must satisfy, which may hold for some elements only.
	Held *bool

	// Values are, as JSON, what the part's field has in the record, at most
	// ten: those that made it hold, if it did. None where the field is missing.
	Values []string

	// HeldRecords counts, in a trial, the records for which it held, and
	// DecidedRecords those that would have come out differently if it had.
	HeldRecords, DecidedRecords uint64
}

const (
	// maxShownValues is how many values of a field are shown.
	maxShownValues = 10

	// maxShownBytes is how much is shown of one.
	maxShownBytes = 512
)

// clauses lists the parts of e, in the order of [Explanation.Clauses].
func (e *expr) clauses() []part {
	var list []part
	var add func(e *expr, depth int, inside bool)
	add = func(e *expr, depth int, inside bool) {
		list = append(list, part{expr: e, depth: depth, inside: inside})
		if e.simple() {
			return
		}
		for _, k := range e.kids {
			add(k, depth+1, inside || e.kind == exprElement)
		}
	}
	add(e, 0, false)
	return list
}

// simple reports whether e is explained as a whole: a condition, also negated.
func (e *expr) simple() bool {
	return e.kind == exprNot && e.kids[0].kind == exprTest || len(e.kids) == 0
}

// part is a place in a filter.
type part struct {
	expr   *expr
	depth  int
	inside bool // of an element
}

func (f *Filter) parts() []part {
	root := f.root
	if root == nil {
		root = all()
	}
	return root.clauses()
}

// Clauses are the parts of f, without any record.
func (f *Filter) Clauses() []Clause {
	parts := f.parts()
	list := make([]Clause, len(parts))
	for i, p := range parts {
		text := p.expr.text
		if p.inside {
			text = p.expr.elementText
		}
		list[i] = Clause{Text: text(), Depth: p.depth}
	}
	return list
}

// Explain says why f does or does not want the record.
func (f *Filter) Explain(v *record.View) *Explanation {
	x := &Explanation{Matched: f.Match(v), Clauses: f.Clauses()}
	for i, p := range f.parts() {
		if p.inside {
			continue
		}
		held := p.expr.holds(scope{view: v})
		x.Clauses[i].Held = &held
		if e := p.expr; e.simple() {
			if e.kind == exprNot {
				e = e.kids[0]
			}
			if e.kind == exprTest {
				x.Clauses[i].Values = e.test.shown(v)
			}
		} else if e.kind == exprElement {
			x.Clauses[i].Values = e.shownElements(v, held)
		}
	}
	return x
}

// shown are the values that t's field has in the record: those for which t
// holds, if there are any.
func (t *test) shown(v *record.View) []string {
	var holding, others list
	w := walk{test: t}
	if t.of.name != pathOnly {
		for _, s := range t.of.name.appendTexts(nil, v) {
			if w.namedText(s) {
				holding.addText(s)
			} else {
				others.addText(s)
			}
		}
	} else {
		x, steps := v.Root(), t.of.path.steps
		eachValue(x, steps, func(x record.Value) bool {
			show := func(x record.Value) {
				if w.leaf(x) {
					holding.add(x)
				} else {
					others.add(x)
				}
			}
			switch t.op {
			case keytrailv1.Operator_OPERATOR_EXISTS, keytrailv1.Operator_OPERATOR_IS_NULL:
				show(x) // they are about a list itself
			default:
				eachLeaf(x, show)
			}
			return holding.full()
		})
	}
	if len(holding) > 0 {
		return holding
	}
	return others
}

// shownElements are the elements for which e holds or, where it does not, those
// that there are.
func (e *expr) shownElements(v *record.View, held bool) []string {
	var shown list
	e.element.path.anyElement(scope{view: v}, func(x record.Value) bool {
		if !held || e.kids[0].holds(scope{view: v, element: x, inside: true}) {
			shown.add(x)
		}
		return shown.full()
	})
	return shown
}

// eachLeaf calls found for x or, if it is a list, for what is in it.
func eachLeaf(x record.Value, found func(record.Value)) {
	if x.Kind() != record.List {
		found(x)
		return
	}
	for e := range x.Elements {
		eachLeaf(e, found)
	}
}

// list is values to show.
type list []string

func (l *list) full() bool { return len(*l) == maxShownValues }

func (l *list) add(x record.Value) {
	if !l.full() {
		*l = append(*l, shorten(string(x.AppendJSON(nil))))
	}
}

func (l *list) addText(s string) {
	if !l.full() {
		*l = append(*l, shorten(quoted(s)))
	}
}

// quoted is s as JSON.
func quoted(s string) string {
	b, err := jsontext.AppendQuote(nil, s)
	if err != nil { // not UTF-8: the faulty bytes are replaced
		b = strconv.AppendQuote(nil, s)
	}
	return string(b)
}

// shorten keeps the beginning of what is too long to show.
func shorten(s string) string {
	if len(s) <= maxShownBytes {
		return s
	}
	n := maxShownBytes
	for n > 0 && s[n]&0xc0 == 0x80 { // not within a character
		n--
	}
	return s[:n] + "…"
}

// Trial runs a filter over many records and counts which of its parts decided.
// It is for one goroutine.
type Trial struct {
	// Considered and Matched count records.
	Considered, Matched uint64

	filter *Filter
	parts  []part
	parent []int  // of each part; -1 for the whole
	held   []bool // in this record
	among  []int  // of a part: how many of those directly in it hold
	counts []struct{ held, decided uint64 }
}

// NewTrial begins a trial of f.
func (f *Filter) NewTrial() *Trial {
	parts := f.parts()
	t := &Trial{
		filter: f,
		parts:  parts,
		parent: make([]int, len(parts)),
		held:   make([]bool, len(parts)),
		among:  make([]int, len(parts)),
		counts: make([]struct{ held, decided uint64 }, len(parts)),
	}
	for i, p := range parts {
		t.parent[i] = -1
		for j := i - 1; j >= 0; j-- {
			if parts[j].depth < p.depth {
				t.parent[i] = j
				break
			}
		}
	}
	return t
}

// Consider tries the next record, and reports whether the filter wants it.
func (t *Trial) Consider(v *record.View) bool {
	for i, p := range t.parts {
		t.held[i] = !p.inside && p.expr.holds(scope{view: v})
		if t.held[i] {
			t.counts[i].held++
		}
	}
	clear(t.among)
	for i, up := range t.parent {
		if up >= 0 && t.held[i] {
			t.among[up]++
		}
	}
	for i, p := range t.parts {
		if !p.inside && t.decides(i) {
			t.counts[i].decided++
		}
	}
	t.Considered++
	matched := t.held[0]
	if matched {
		t.Matched++
	}
	return matched
}

// decides reports whether the filter would have come out differently if part i
// had: whether it is decisive in the part that holds it, that one in the next,
// and so on.
func (t *Trial) decides(i int) bool {
	for ; t.parent[i] >= 0; i = t.parent[i] {
		up := t.parent[i]
		others := t.among[up] // that hold
		if t.held[i] {
			others--
		}
		switch t.parts[up].expr.kind {
		case exprAll:
			if others < len(t.parts[up].expr.kids)-1 {
				return false
			}
		case exprAny:
			if others > 0 {
				return false
			}
		}
	}
	return true
}

// Clauses are the parts of the filter with what was counted.
func (t *Trial) Clauses() []Clause {
	list := t.filter.Clauses()
	for i := range list {
		list[i].HeldRecords, list[i].DecidedRecords = t.counts[i].held, t.counts[i].decided
	}
	return list
}
