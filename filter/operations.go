package filter

import (
	"slices"
	"strconv"
	"strings"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

// operations is a set of operations by the names that records have: a bit for
// each of the catalogue's, by index, and those below.
type operations uint64

const (
	// otherOperation is each name that the catalogue does not have.
	otherOperation operations = 1 << (61 + iota)

	// noOperation is a record without eventName.
	noOperation

	// oddRecord is not an operation. Filters have it unless their set alone
	// says whether the condition on the name holds, even for a record in
	// which eventName is a list or contradicts itself.
	oddRecord

	anyOperation = ^operations(0)
)

// listedOperations is how many operations have a bit of their own. Others that a
// larger catalogue has count as others.
const listedOperations = min(record.NumOperations, 61)

var eventNameField = fieldAt("eventName")

// operationNamed returns the bit of an operation.
func operationNamed(name string) operations {
	if i, known := record.OperationIndex(name); known {
		return operationAt(i)
	}
	return otherOperation
}

// operationAt is operationNamed for an index in the catalogue; -1 is none.
func operationAt(i int) operations {
	if i < 0 || i >= listedOperations {
		return otherOperation
	}
	return 1 << i
}

// operationsOf returns the operations of all records for which e can hold. It is
// exact if e holds for every record of these operations.
//
// That is so only of records in which eventName is a string, or missing.
func operationsOf(e *expr) (set operations, exact bool) {
	switch e.kind {
	case exprAll:
		set, exact = anyOperation, true
		for _, k := range e.kids {
			s, x := operationsOf(k)
			set &= s
			exact = exact && x
		}
		return set, exact
	case exprAny:
		set, exact = oddRecord, true
		for _, k := range e.kids {
			s, x := operationsOf(k)
			set |= s
			exact = exact && x
		}
		return set, exact
	case exprNot:
		if s, x := operationsOf(e.kids[0]); x {
			return ^s | oddRecord, true
		}
	case exprTest:
		switch {
		case e.test.ofEventName():
			return e.test.operations()
		case e.test.of.name == fieldClass && e.test.op == keytrailv1.Operator_OPERATOR_EQUALS:
			set = oddRecord
			for i := range record.NumOperations {
				for _, v := range e.test.values {
					if v == className(record.OperationAt(i).Class) {
						set |= operationAt(i)
					}
				}
			}
			return set, record.NumOperations == listedOperations
		}
	case exprCEL:
		if n := e.cel.needs; n != nil {
			set, _ = operationsOf(n)
			return set, false
		}
	}
	return anyOperation, false
}

// ofEventName reports whether t is about eventName as a whole.
func (t *test) ofEventName() bool {
	p := &t.of.path
	return t.of.name == pathOnly && !t.of.accountOf && len(p.steps) == 1 && p.taken == 1 && p.field == eventNameField
}

// operations is operationsOf for a test of eventName.
func (t *test) operations() (set operations, exact bool) {
	const tooMany = 4 // regular expressions, which take their time
	switch {
	case t.of.only != record.Missing && t.of.only != record.String:
		return oddRecord, true
	case t.op == keytrailv1.Operator_OPERATOR_EXISTS:
		return anyOperation &^ noOperation, true
	case t.op == keytrailv1.Operator_OPERATOR_IS_NULL || t.op == keytrailv1.Operator_OPERATOR_MATCHES && len(t.values) > tooMany:
		return anyOperation, false
	}
	set = oddRecord
	if t.literal() {
		for _, v := range t.values {
			set |= operationNamed(v)
		}
		return set, set&otherOperation == 0
	}
	w := walk{test: t}
	for i := range listedOperations {
		w.spent = 0
		if w.compare(record.OperationAt(i).Name) {
			set |= operationAt(i)
		}
	}
	return set | otherOperation, false
}

// literal reports whether t holds for values that equal one of its own, byte by byte.
func (t *test) literal() bool {
	return !t.of.nocase && (t.op == keytrailv1.Operator_OPERATOR_EQUALS ||
		t.op == keytrailv1.Operator_OPERATOR_WILDCARD && !slices.ContainsFunc(t.values, isGlob))
}

// namesOperations reports whether t holds if and only if one of the record's values of
// eventName is among its operations.
func (e *expr) namesOperations() bool {
	if e.kind != exprTest || !e.test.ofEventName() || !e.test.literal() || e.test.of.only != record.Missing {
		return false
	}
	_, exact := e.test.operations()
	return exact
}

// words is set for people, to follow "for": "" for all operations.
func (set operations) words() string {
	const names = anyOperation &^ (noOperation | oddRecord)
	if set &= names; set == names {
		return ""
	}
	const few = 8
	var listed, missing []string
	for i := range record.NumOperations {
		if name := record.OperationAt(i).Name; set&operationAt(i) != 0 {
			listed = append(listed, name)
		} else {
			missing = append(missing, name)
		}
	}
	switch other := set&otherOperation != 0; {
	case other && len(missing) > 0 && len(missing) <= few:
		return "every operation but " + series(missing, "and")
	case len(listed) > few:
		listed = []string{strconv.Itoa(len(listed)) + " operations"}
		fallthrough
	default:
		if other {
			listed = append(listed, "unknown ones")
		}
		return series(listed, "and")
	}
}

// series is "a, b and c".
func series(list []string, and string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	last := len(list) - 1
	return strings.Join(list[:last], ", ") + " " + and + " " + list[last]
}
