package filter

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"
)

// plan is how an index can find a filter.
type plan struct {
	root         *expr
	operations   operations
	alternatives []planned // the best first

	// names is the part of root that the operations answer, -1 if there is none.
	names int
}

// planned is an alternative of one part of a filter.
type planned struct {
	alternative
	part int
}

func newPlan(root *expr) *plan {
	p := &plan{root: root, operations: anyOperation, names: -1}
	limits := 0
	for i, k := range p.parts() {
		if set, _ := operationsOf(k); set != anyOperation {
			p.operations &= set
			limits++
			if k.namesOperations() {
				p.names = i
			}
		}
		for _, alt := range k.alternatives(nil) {
			p.alternatives = append(p.alternatives, planned{alt, i})
		}
	}
	if limits > 1 {
		p.names = -1
	}
	if p.names >= 0 {
		p.operations &^= oddRecord
	}
	slices.SortStableFunc(p.alternatives, func(a, b planned) int { return b.worth - a.worth })
	p.alternatives = p.alternatives[:min(len(p.alternatives), maxAlternatives)]
	return p
}

// parts are what must hold, all of them.
func (p *plan) parts() []*expr {
	if p.root.kind == exprAll {
		return p.root.kids
	}
	return []*expr{p.root}
}

// check is what is left of the filter to ask of records of its operations,
// nil for nothing. found is a part that holds for all records that are
// found, -1 if there is none.
func (p *plan) check(found int) *expr {
	parts := p.parts()
	left := make([]*expr, 0, len(parts))
	for i, k := range parts {
		if i != p.names && i != found {
			left = append(left, k)
		}
	}
	switch len(left) {
	case 0:
		return nil
	case len(parts):
		return p.root
	}
	return all(left...)
}

// Indexed says, for people, by what an [Index] finds f: "by key = …, for Decrypt
// and Encrypt", "tried for every record of DisableKey". An Index may find it by
// something else where many filters take this.
func (f *Filter) Indexed() string {
	root := f.root
	if root == nil {
		root = all()
	}
	p := newPlan(root)
	ops := p.operations.words()
	switch {
	case p.operations&^oddRecord == 0:
		return "never tried: it matches no operation"
	case len(p.alternatives) == 0 && ops == "":
		return "tried for every record"
	case len(p.alternatives) == 0:
		return "tried for every record of " + ops
	}
	best := p.alternatives[0]
	var by []string
	for _, e := range best.tests {
		if text := shortened(e.text()); !slices.Contains(by, text) {
			by = append(by, text)
		}
	}
	const few = 4
	if n := len(by) - few; n > 0 {
		by = append(by[:few], fmt.Sprintf("%d more", n))
	}
	out := "by " + series(by, "or")
	if ops != "" && best.part != p.names {
		out += ", for " + ops
	}
	return out
}

// fingerprint is the same for filters that are written the same way, and as good as
// never for others.
type fingerprint struct{ low, high uint64 }

var otherSeed = maphash.MakeSeed()

func (e *expr) fingerprint() fingerprint {
	b := e.appendShape(make([]byte, 0, 512))
	return fingerprint{maphash.Bytes(seed, b), maphash.Bytes(otherSeed, b)}
}

// appendShape appends all that e's matching depends on. No shape begins with another, so lists of them are
// told apart, too.
func (e *expr) appendShape(b []byte) []byte {
	b = append(b, byte(e.kind))
	b = appendLength(b, len(e.kids))
	switch e.kind {
	case exprTest:
		b = e.test.of.appendShape(b)
		b = append(b, byte(e.test.op))
		b = appendLength(b, len(e.test.values))
		for _, v := range e.test.values {
			b = appendText(b, v)
		}
	case exprElement:
		b = e.element.appendShape(b)
	case exprCEL:
		b = appendText(b, e.cel.source)
	}
	for _, k := range e.kids {
		b = k.appendShape(b)
	}
	return b
}

func (o *operand) appendShape(b []byte) []byte {
	b = append(b, byte(o.name), byte(o.only), yesNo(o.accountOf)[0], yesNo(o.nocase)[0])
	b = appendLength(b, len(o.path.steps))
	for _, s := range o.path.steps {
		b = append(b, byte(s.kind))
		b = appendText(b, s.name)
	}
	return b
}

func appendText(b []byte, s string) []byte { return append(appendLength(b, len(s)), s...) }

func appendLength(b []byte, n int) []byte { return append(strconv.AppendInt(b, int64(n), 10), ' ') }
