package filter

import (
	"time"

	"github.com/keytrail/keytrail/record"
)

// celNode is a part of a compiled expression.
type celNode interface {
	eval(r *celRun) celValue
}

// celConst is a literal.
type celConst struct{ value celValue }

func (n *celConst) eval(*celRun) celValue { return n.value }

// celVar is the variable of a macro.
type celVar struct{ slot int }

func (n *celVar) eval(r *celRun) celValue { return r.vars[n.slot] }

// celField is a member of the record.
type celField struct {
	field  record.Field
	rest   []string // below field
	root   bool     // the record itself
	text   bool     // field says all, and is typed as text
	moment bool     // a time
}

func (n *celField) eval(r *celRun) celValue {
	if n.text {
		if s, ok := r.view.Text(n.field); ok {
			if n.moment {
				return celMomentOf(s)
			}
			return celText(s)
		}
	}
	x := r.json(n.value(r))
	if n.moment && x.kind == celString {
		return celMomentOf(x.text)
	}
	return x
}

func celMomentOf(s string) celValue {
	if len(s) > maxTimeBytes {
		return celValue{}
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return celValue{}
	}
	return celMoment(t.Unix(), int64(t.Nanosecond()))
}

func (n *celField) value(r *celRun) record.Value {
	if n.root {
		return r.view.Root()
	}
	x := r.view.Value(n.field)
	for _, name := range n.rest {
		if x.Kind() != record.Object {
			return record.Value{}
		}
		x = r.member(x, name)
	}
	return x
}

// celJSONField is json(…) of a member of the record.
type celJSONField struct{ celField }

func (n *celJSONField) eval(r *celRun) celValue {
	return r.json(n.value(r).Document())
}

// celHasField is has(…) of a member of the record. As in protocol buffers, a
// member that the contract names is not there if the object that it belongs to
// is not; in free-form JSON, as in maps, that would be an error.
type celHasField struct {
	field record.Field
	rest  []string
}

func (n *celHasField) eval(r *celRun) celValue {
	x := r.view.Value(n.field)
	if x.Kind() == record.Missing || len(n.rest) == 0 {
		return celBoolean(x.Kind() != record.Missing)
	}
	last := len(n.rest) - 1
	for _, name := range n.rest[:last] {
		if x.Kind() != record.Object {
			return celValue{}
		}
		x = r.member(x, name)
	}
	return r.has(r.json(x), n.rest[last])
}

// has is has(x.name).
func (r *celRun) has(x celValue, name string) celValue {
	switch x.kind {
	case celError, celList:
		return celValue{}
	case celMap:
		return celBoolean(r.find(x, celText(name)).kind != celError)
	}
	return celBoolean(false)
}

// celNamed is a named field.
type celNamed struct{ name namedField }

func (n *celNamed) eval(r *celRun) celValue {
	switch n.name {
	case fieldReadOnly:
		return celBoolean(r.view.ReadOnly())
	case fieldCrossAccount:
		return celBoolean(r.spend(int64(len(r.view.Account())/bytesPerStep)) && crossAccount(r.view))
	case fieldClass:
		if c := class(r.view); c != "" {
			return celText(c)
		}
		return celValue{}
	case fieldSourceIP:
		if s, ok := r.view.Text(sourceAddress); ok && r.spend(int64(len(s)/bytesPerStep)) && isAddress(s) {
			return celText(s)
		}
		return celValue{}
	}
	made := &r.named[n.name]
	if !r.ready[n.name] {
		r.ready[n.name] = true
		r.texts = n.name.appendTexts(r.texts[:0], r.view)
		for _, s := range r.texts {
			made.items = append(made.items, celText(s))
		}
	}
	return celValue{kind: celList, made: made}
}

// celNamedFields bounds the named fields that are lists.
const celNamedFields = fieldPrincipal + 1

// celSelect is of.name, where of is no member of the record by its name.
type celSelect struct {
	of   celNode
	name string
}

func (n *celSelect) eval(r *celRun) celValue { return r.find(n.of.eval(r), celText(n.name)) }

// celHas is has(of.name).
type celHas struct {
	of   celNode
	name string
}

func (n *celHas) eval(r *celRun) celValue { return r.has(n.of.eval(r), n.name) }

// celCall1 and celCall2 are calls of functions.
type celCall1 struct {
	call celUnary
	arg  celNode
}

func (n *celCall1) eval(r *celRun) celValue {
	x := n.arg.eval(r)
	if x.kind == celError {
		return x
	}
	return n.call(r, x)
}

type celCall2 struct {
	call celBinary
	a, b celNode
}

func (n *celCall2) eval(r *celRun) celValue {
	a := n.a.eval(r)
	if a.kind == celError {
		return a
	}
	b := n.b.eval(r)
	if b.kind == celError {
		return b
	}
	return n.call(r, a, b)
}

// celMatch is of.matches(pattern).
type celMatch struct {
	of      celNode
	pattern sizedRegexp
}

func (n *celMatch) eval(r *celRun) celValue {
	x := n.of.eval(r)
	if x.kind != celString {
		return celValue{}
	}
	if r.matched += 1 + len(x.text); r.matched > maxRegexpInput {
		return celValue{}
	}
	return celBoolean(n.pattern.MatchString(x.text))
}

// celPart is a part of a time, or a duration in a unit.
type celPart struct {
	of   celNode
	part func(time.Time) int
	span time.Duration  // 0: durations do not have it
	zone *time.Location // of the part
}

func (n *celPart) eval(r *celRun) celValue {
	x := n.of.eval(r)
	switch {
	case x.kind == celTime:
		return celInteger(int64(n.part(x.time().In(n.zone))))
	case x.kind == celDuration && n.span > 0:
		return celInteger(x.num / int64(n.span))
	}
	return celValue{}
}

// celLogic is a chain of && or ||. One operand that decides it does so even if
// others fail.
type celLogic struct {
	kids    []celNode
	decides int64 // 0 for &&, 1 for ||
}

func (n *celLogic) eval(r *celRun) celValue {
	failed := false
	for _, k := range n.kids {
		switch x := k.eval(r); {
		case x.kind != celBool:
			failed = true
		case x.num == n.decides:
			return x
		}
	}
	if failed {
		return celValue{}
	}
	return celBoolean(n.decides == 0)
}

// celCond is when ? yes : no.
type celCond struct{ when, yes, no celNode }

func (n *celCond) eval(r *celRun) celValue {
	switch x := n.when.eval(r); {
	case x.kind != celBool:
		return celValue{}
	case x.num == 1:
		return n.yes.eval(r)
	}
	return n.no.eval(r)
}

// celMake is a list, or a map if it has keys.
type celMake struct {
	keys  []celValue
	items []celNode
}

func (n *celMake) eval(r *celRun) celValue {
	if !r.spend(stepsPerItem * int64(len(n.items))) {
		return celValue{}
	}
	items := make([]celValue, len(n.items))
	for i, k := range n.items {
		if items[i] = k.eval(r); items[i].kind == celError {
			return celValue{}
		}
	}
	return n.of(items)
}

func (n *celMake) of(items []celValue) celValue {
	kind := celList
	if n.keys != nil {
		kind = celMap
	}
	return celValue{kind: kind, made: &celMade{keys: n.keys, items: items}}
}

// celAmong is x in […] with many texts.
type celAmong struct {
	x     celNode
	texts map[string]struct{}
}

func (n *celAmong) eval(r *celRun) celValue {
	x := n.x.eval(r)
	if x.kind == celError || !r.spend(int64(len(x.text)/bytesPerStep)) {
		return celValue{}
	}
	_, ok := n.texts[x.text]
	return celBoolean(ok && x.kind == celString)
}

// celLoop is a macro that goes through a list or the keys of a map.
type celLoop struct {
	kind   loopKind
	over   celNode
	slot   int     // of the variable
	filter celNode // of loopCollect; nil: none
	body   celNode
	steps  int64 // of each round
}

type loopKind uint8

const (
	loopAll loopKind = iota
	loopExists
	loopOne
	loopCollect // map and filter
)

func (n *celLoop) eval(r *celRun) celValue {
	over := n.over.eval(r)
	if over.kind == celError {
		return over
	}
	var (
		failed, decided bool
		count           int
		items           []celValue
	)
	iterable := r.each(over, func(x celValue) bool {
		if !r.spend(n.steps) {
			failed = true
			return false
		}
		r.vars[n.slot] = x
		if n.filter != nil {
			switch y := n.filter.eval(r); {
			case y.kind != celBool:
				failed = true
				return false
			case y.num == 0:
				return true
			}
		}
		y := n.body.eval(r)
		switch n.kind {
		case loopAll, loopExists: // a round that decides does so even if others fail
			if y.kind != celBool {
				failed = true
			} else if y.isTrue() == (n.kind == loopExists) {
				decided = true
			}
			return !decided
		case loopOne:
			failed = y.kind != celBool
			if y.isTrue() {
				count++
			}
		case loopCollect:
			failed = y.kind == celError || !r.spend(stepsPerItem)
			items = append(items, y)
		}
		return !failed
	})
	switch {
	case !iterable:
		return celValue{}
	case decided:
		return celBoolean(n.kind == loopExists)
	case failed:
		return celValue{}
	case n.kind == loopCollect:
		return celValue{kind: celList, made: &celMade{items: items}}
	case n.kind == loopOne:
		return celBoolean(count == 1)
	}
	return celBoolean(n.kind == loopAll)
}
