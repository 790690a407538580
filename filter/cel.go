package filter

import (
	"fmt"
	"sync"

	"github.com/keytrail/keytrail/record"
)

// Limits of CEL expressions. They bound what compiling costs, and, with the
// steps, what an evaluation does: whatever the expression and the record are.
const (
	// MaxCEL is how many CEL expressions a filter may hold.
	MaxCEL = 8

	// MaxCELBytes is how long a CEL expression may be.
	MaxCELBytes = 4096

	// MaxCELSteps is how much the evaluation of an expression may do for one
	// record; one that takes more does not hold. A step is about an operator or a
	// member looked up, in each round of a macro; an element of a list that is
	// looked at; or 64 bytes of text compared or copied.
	MaxCELSteps = 100_000

	// maxCELMacros is how many macros with a loop an expression may have, and
	// maxCELNesting how deep these may be nested.
	maxCELMacros  = 16
	maxCELNesting = 2

	// maxCELDepth is how deep an expression may be nested.
	maxCELDepth = 100

	// maxCELParts is how many operators, calls and lists an expression may
	// have, counting a macro as about eight.
	maxCELParts = 400

	bytesPerStep = 64

	// stepsPerItem is the price of memory for an element of a list.
	stepsPerItem = 4
)

// celExpr is a compiled CEL expression. cel-go parses it and checks its types;
// it is evaluated here, because every step is counted here, no value of the
// record is copied, and an error, which is how CEL finds a member missing,
// costs nothing.
type celExpr struct {
	source string
	root   celNode

	// needs is what must hold in any record for which the expression does, as
	// far as conditions can say it; nil if there is no such. It is what
	// the index finds the filter by.
	needs *expr

	regexps, regexpsSize int // how many there are in it, and their sizes together
}

// holds reports whether c is true for the record. It does not hold if its
// evaluation fails.
func (c *celExpr) holds(v *record.View) bool {
	r := celRuns.Get().(*celRun)
	r.view = v
	holds := c.evaluate(r)
	r.clean()
	celRuns.Put(r)
	return holds
}

func (c *celExpr) evaluate(r *celRun) bool {
	r.left = MaxCELSteps
	return c.root.eval(r).isTrue() && r.left >= 0
}

var celRuns = sync.Pool{New: func() any { return new(celRun) }}

// celRun is the evaluation of an expression for one record.
type celRun struct {
	view    *record.View
	vars    [maxCELNesting]celValue // of the macros that are under way, by depth
	named   [celNamedFields]celMade // named fields that are lists, once asked for
	ready   [celNamedFields]bool
	texts   []string // scratch
	left    int64    // steps; the evaluation has failed once it is negative
	lookups int      // members looked for
	matched int      // bytes that regular expressions have looked at
}

// spend takes steps, and reports whether there were so many.
func (r *celRun) spend(steps int64) bool {
	r.left -= steps
	return r.left >= 0
}

// keepCELItems is how many elements of a named field a run keeps room for.
const keepCELItems = 64

// clean lets go of the record.
func (r *celRun) clean() {
	for i := range r.named {
		if !r.ready[i] {
			continue
		}
		r.ready[i] = false
		clear(r.named[i].items)
		r.named[i].items = r.named[i].items[:0]
		if cap(r.named[i].items) > keepCELItems {
			r.named[i].items = nil
		}
	}
	clear(r.texts)
	if cap(r.texts) > keepCELItems {
		r.texts = nil
	}
	*r = celRun{named: r.named, texts: r.texts[:0]}
}

// compileCEL checks and compiles a CEL expression. An error is an *Error
// without its field.
func compileCEL(text string) (*expr, error) {
	if len(text) > MaxCELBytes {
		return nil, &Error{Message: fmt.Sprintf("has %d bytes; use at most %d", len(text), MaxCELBytes), Text: text}
	}
	checked, err := checkCEL(text)
	if err != nil {
		return nil, err
	}
	c := celCompiler{text: text, ast: checked}
	root, bad := c.compile(checked.Expr(), 0)
	if bad != nil {
		return nil, c.errorAt(bad)
	}
	e := &celExpr{source: text, root: root, needs: c.needs(checked.Expr()), regexps: c.regexps, regexpsSize: c.regexpsSize}
	return &expr{kind: exprCEL, cel: e}, nil
}
