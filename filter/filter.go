package filter

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

// Limits of a filter.
const (
	// MaxBytes is how long a filter may be, encoded.
	MaxBytes = 64 << 10

	// MaxValues is how many values a filter may hold in all.
	MaxValues = 1000

	// MaxValueBytes is how long a value may be.
	MaxValueBytes = 2048

	// MaxDepth is how deep conditions may be nested.
	MaxDepth = 32
)

// Error says what is wrong with a filter. The filter will never compile, so
// the one who wrote it has to change it.
type Error struct {
	// Field is where, as the contract spells it: "filter.include[0].keys[2]",
	// "filter.where".
	Field string

	// Message is what to do, for people. Of a text it says the place.
	Message string

	// Text and Offset are the text that holds the fault, and the byte of it
	// where the fault begins. Text is empty where Field says it all.
	Text   string
	Offset int
}

func (e *Error) Error() string { return e.Field + ": " + e.Message }

// Filter is a compiled filter. The zero Filter matches all records.
type Filter struct {
	root *expr // nil: all records
}

// Compile checks f and compiles it. It keeps no reference to f. A nil or empty
// f matches all records. An error is an [*Error].
func Compile(f *keytrailv1.Filter) (*Filter, error) {
	if unknown(f) {
		return nil, &Error{Field: "filter", Message: unknownMessage}
	}
	if n := proto.Size(f); n > MaxBytes {
		return nil, &Error{Field: "filter", Message: fmt.Sprintf("has %d bytes; use at most %d, or several subscriptions", n, MaxBytes)}
	}
	parts := make([]*expr, 0, 6)
	included := make([]*expr, 0, len(f.GetInclude()))
	for i, s := range f.GetInclude() {
		e, err := compileSelector(fmt.Sprintf("filter.include[%d]", i), s)
		if err != nil {
			return nil, err
		}
		included = append(included, e)
	}
	if len(included) > 0 {
		parts = append(parts, anyOf(included...))
	}
	for i, s := range f.GetExclude() {
		e, err := compileSelector(fmt.Sprintf("filter.exclude[%d]", i), s)
		if err != nil {
			return nil, err
		}
		parts = append(parts, not(e))
	}
	for _, d := range []struct {
		field, text string
		compile     func(string) (*expr, error)
	}{
		{"filter.where", f.GetWhere(), parseText},
		{"filter.cel", f.GetCel(), compileCEL},
		{"filter.pattern", f.GetPattern(), compilePattern},
		{"filter.selectors", f.GetSelectors(), compileSelectors},
	} {
		if d.text == "" {
			continue
		}
		e, err := d.compile(d.text)
		if err != nil {
			return nil, in(d.field, d.text, err)
		}
		parts = append(parts, e)
	}
	root := all(parts...)
	if err := checkLimits(root); err != nil {
		return nil, err
	}
	return &Filter{root: root}, nil
}

// in puts an error of a dialect into its field.
func in(field, text string, err error) error {
	e, ok := err.(*Error)
	if !ok {
		return &Error{Field: field, Message: err.Error()}
	}
	e.Field = field
	if e.Text == "" && e.Offset > 0 {
		e.Text = text
	}
	return e
}

// checkLimits checks what bounds the cost of a filter.
func checkLimits(root *expr) error {
	values, expressions := 0, 0
	regexps, size := 0, 0
	deepest := 0
	var walk func(e *expr, depth int)
	walk = func(e *expr, depth int) {
		deepest = max(deepest, depth)
		if e.kind == exprTest {
			values += max(1, len(e.test.values))
			if o := e.test.matcher.other; o != nil {
				for _, re := range o.regexps {
					regexps, size = regexps+1, size+re.size
				}
			}
		}
		if e.kind == exprCEL {
			expressions++
			regexps, size = regexps+e.cel.regexps, size+e.cel.regexpsSize
		}
		if depth > MaxDepth {
			return
		}
		for _, k := range e.kids {
			walk(k, depth+1)
		}
	}
	walk(root, 0)
	switch {
	case deepest > MaxDepth:
		return &Error{Field: "filter", Message: fmt.Sprintf("is nested more than %d deep; write it flatter", MaxDepth)}
	case values > MaxValues:
		return &Error{Field: "filter", Message: fmt.Sprintf("holds more than %d values; use several subscriptions", MaxValues)}
	case expressions > MaxCEL:
		return &Error{Field: "filter", Message: fmt.Sprintf("holds more than %d CEL expressions; join some of them with && or ||", MaxCEL)}
	case regexps > MaxRegexps:
		return &Error{Field: "filter", Message: fmt.Sprintf("holds more than %d regular expressions; join some of them with |, or use wildcards", MaxRegexps)}
	case size > maxRegexpsSize:
		return &Error{Field: "filter", Message: fmt.Sprintf("holds regular expressions that are too large together once compiled: %d instructions, at most %d; repeat less, or use wildcards", size, maxRegexpsSize)}
	}
	return nil
}

// Match reports whether f wants the record.
func (f *Filter) Match(v *record.View) bool {
	return f.root == nil || f.root.holds(scope{view: v})
}

// String is the filter in the text form; "" is the filter that matches all
// records. Filters with the same text match the same.
func (f *Filter) String() string {
	if f.root == nil || f.root.always() {
		return ""
	}
	return f.root.text()
}

// Warnings says what is odd about the filter, such as a field that no record
// of the KMS' operations has.
func (f *Filter) Warnings() []string {
	if f.root == nil {
		return nil
	}
	return f.root.warnings()
}

const unknownMessage = "has a field that this bus does not know; leave it out, or use a newer bus"

func unknown(m proto.Message) bool { return len(m.ProtoReflect().GetUnknown()) > 0 }

func compileSelector(at string, s *keytrailv1.Selector) (*expr, error) {
	if unknown(s) {
		return nil, &Error{Field: at, Message: unknownMessage}
	}
	if proto.Size(s) == 0 {
		return nil, &Error{Field: at, Message: "has no fields; set at least one, or leave the selector out"}
	}
	var parts []*expr
	for _, f := range []struct {
		name, field string
		values      []string
		op          keytrailv1.Operator
	}{
		{"event_names", "event", s.GetEventNames(), keytrailv1.Operator_OPERATOR_WILDCARD},
		{"keys", "key", s.GetKeys(), keytrailv1.Operator_OPERATOR_WILDCARD},
		{"accounts", "account", s.GetAccounts(), keytrailv1.Operator_OPERATOR_EQUALS},
		{"regions", "region", s.GetRegions(), keytrailv1.Operator_OPERATOR_EQUALS},
	} {
		if len(f.values) == 0 {
			continue
		}
		if i := slices.Index(f.values, ""); i >= 0 {
			return nil, (&testError{i, "is empty; give a value, or leave it out"}).at(at, f.name)
		}
		t, err := newTest(fieldNamed(f.field), f.op, f.values)
		if err != nil {
			return nil, err.at(at, f.name)
		}
		parts = append(parts, t)
	}
	if s.ReadOnly != nil {
		t, err := newTest(fieldNamed("readOnly"), keytrailv1.Operator_OPERATOR_EQUALS, []string{yesNo(s.GetReadOnly())})
		if err != nil {
			return nil, err.at(at, "read_only")
		}
		parts = append(parts, t)
	}
	if len(s.GetOutcomes()) > 0 {
		values := make([]string, len(s.GetOutcomes()))
		for i, o := range s.GetOutcomes() {
			switch o {
			case keytrailv1.Outcome_OUTCOME_SUCCESS, keytrailv1.Outcome_OUTCOME_FAILURE, keytrailv1.Outcome_OUTCOME_DENIED:
				values[i] = strings.ToLower(strings.TrimPrefix(o.String(), "OUTCOME_"))
			default:
				return nil, &Error{Field: fmt.Sprintf("%s.outcomes[%d]", at, i), Message: "is not an outcome; use SUCCESS, FAILURE or DENIED"}
			}
		}
		t, err := newTest(fieldNamed("outcome"), keytrailv1.Operator_OPERATOR_EQUALS, values)
		if err != nil {
			return nil, err.at(at, "outcomes")
		}
		parts = append(parts, t)
	}
	for i, c := range s.GetConditions() {
		e, err := compileCondition(fmt.Sprintf("%s.conditions[%d]", at, i), c, false, 0)
		if err != nil {
			return nil, err
		}
		parts = append(parts, e)
	}
	return all(parts...), nil
}

func compileCondition(at string, c *keytrailv1.Condition, inElement bool, depth int) (*expr, error) {
	switch {
	case unknown(c):
		return nil, &Error{Field: at, Message: unknownMessage}
	case depth > MaxDepth:
		return nil, &Error{Field: at, Message: fmt.Sprintf("is nested more than %d deep", MaxDepth)}
	case c.GetField() == "":
		return nil, &Error{Field: at + ".field", Message: "is required; name a field such as userIdentity.arn"}
	}
	of, err := parseOperand(c.GetField(), inElement)
	if err != nil {
		return nil, in(at+".field", c.GetField(), err)
	}
	var e *expr
	if c.GetOperator() == keytrailv1.Operator_OPERATOR_HAS_ELEMENT {
		if len(c.GetValues()) > 0 {
			return nil, &Error{Field: at + ".values", Message: "HAS_ELEMENT takes none; put conditions into element"}
		}
		if err := of.checkElement(); err != nil {
			return nil, in(at+".field", c.GetField(), err)
		}
		if len(c.GetElement()) == 0 {
			return nil, &Error{Field: at + ".element", Message: "is required for HAS_ELEMENT; give at least one condition"}
		}
		kids := make([]*expr, len(c.GetElement()))
		for i, k := range c.GetElement() {
			if kids[i], err = compileCondition(fmt.Sprintf("%s.element[%d]", at, i), k, true, depth+1); err != nil {
				return nil, err
			}
		}
		e = &expr{kind: exprElement, element: &of, kids: []*expr{all(kids...)}}
	} else {
		if len(c.GetElement()) > 0 {
			return nil, &Error{Field: at + ".element", Message: "only HAS_ELEMENT takes conditions of an element"}
		}
		var bad *testError
		if e, bad = newTest(of, c.GetOperator(), c.GetValues()); bad != nil {
			return nil, bad.at(at, "values")
		}
	}
	if c.GetNegated() {
		e = not(e)
	}
	return e, nil
}

// testError is a fault of a condition.
type testError struct {
	value   int // which value is faulty, or -1: something else
	message string
}

// at makes it an error of the contract.
func (e *testError) at(path, list string) *Error {
	if e.value < 0 {
		return &Error{Field: path, Message: e.message}
	}
	return &Error{Field: fmt.Sprintf("%s.%s[%d]", path, list, e.value), Message: e.message}
}

// newTest makes a condition, after checking it.
func newTest(of operand, op keytrailv1.Operator, values []string) (*expr, *testError) {
	t := &test{of: of, op: op, values: slices.Clone(values)}
	switch op {
	case keytrailv1.Operator_OPERATOR_EXISTS, keytrailv1.Operator_OPERATOR_IS_NULL:
		if len(values) > 0 {
			return nil, &testError{-1, "this operator takes no values; leave them out"}
		}
		if of.accountOf || of.nocase || op == keytrailv1.Operator_OPERATOR_IS_NULL && of.only != record.Missing {
			return nil, &testError{-1, "ask this of the field itself, without a function around it"}
		}
		return &expr{kind: exprTest, test: t}, nil
	case keytrailv1.Operator_OPERATOR_EQUALS, keytrailv1.Operator_OPERATOR_STARTS_WITH, keytrailv1.Operator_OPERATOR_ENDS_WITH,
		keytrailv1.Operator_OPERATOR_CONTAINS, keytrailv1.Operator_OPERATOR_WILDCARD, keytrailv1.Operator_OPERATOR_MATCHES,
		keytrailv1.Operator_OPERATOR_CIDR:
	case keytrailv1.Operator_OPERATOR_LESS, keytrailv1.Operator_OPERATOR_LESS_OR_EQUAL,
		keytrailv1.Operator_OPERATOR_GREATER, keytrailv1.Operator_OPERATOR_GREATER_OR_EQUAL:
		if of.name != pathOnly || of.nocase || of.accountOf || of.only != record.Missing && of.only != record.Number {
			return nil, &testError{-1, "only numbers have an order; this field is none"}
		}
	default:
		return nil, &testError{-1, fmt.Sprintf("operator %v is not one that this bus knows", op)}
	}
	if len(values) == 0 {
		return nil, &testError{-1, "there are no values to compare with; give at least one"}
	}
	for i, v := range values {
		switch {
		case v == "" && (of.name != pathOnly || op != keytrailv1.Operator_OPERATOR_EQUALS):
			return nil, &testError{i, "is empty; give a value, or leave it out"}
		case len(v) > MaxValueBytes:
			return nil, &testError{i, fmt.Sprintf("has %d bytes; use at most %d", len(v), MaxValueBytes)}
		case !utf8.ValidString(v):
			return nil, &testError{i, "is not UTF-8"}
		}
	}
	if known := choices[of.name]; known != nil {
		if op != keytrailv1.Operator_OPERATOR_EQUALS && op != keytrailv1.Operator_OPERATOR_WILDCARD {
			return nil, &testError{-1, "this field has few values; compare it with = or in"}
		}
		for i, v := range values {
			if !slices.Contains(known, v) {
				return nil, &testError{i, fmt.Sprintf("%q is no value of this field; use one of %s%s", v, strings.Join(known, ", "), didYouMean(v, known))}
			}
		}
		t.op = keytrailv1.Operator_OPERATOR_EQUALS
	}
	arns := t.values
	var ids []string
	if of.name == fieldKey && !of.accountOf && op != keytrailv1.Operator_OPERATOR_MATCHES {
		arns = nil
		for i, v := range values {
			switch {
			case strings.HasPrefix(v, "key/"):
				return nil, &testError{i, fmt.Sprintf("%q is neither a key ID nor an ARN; leave out \"key/\"", v)}
			case strings.Contains(v, ":"):
				arns = append(arns, v)
			default:
				ids = append(ids, v)
			}
		}
		if len(ids) == 0 {
			arns = t.values // one list less to keep
		}
	}
	m, faulty, err := newMatcher(t.op, arns, of.nocase)
	if err != nil {
		return nil, &testError{faulty, err.Error()}
	}
	t.matcher = m
	if len(ids) > 0 {
		m, faulty, err := newMatcher(t.op, ids, of.nocase)
		if err != nil {
			return nil, &testError{faulty, err.Error()}
		}
		t.ids = &m
	}
	return &expr{kind: exprTest, test: t}, nil
}

// fieldNamed is the operand of a field that the contract has a name for.
func fieldNamed(name string) operand {
	if n, ok := namedFields[name]; ok {
		return operand{name: n}
	}
	if long, ok := shortNames[name]; ok {
		name = long
	}
	return operand{path: newPath([]step{{kind: stepMember, name: name}}, false)}
}

// checkElement reports whether o can be the list of a condition on elements.
func (o *operand) checkElement() error {
	n := len(o.path.steps)
	if o.name != pathOnly || o.only != record.Missing || o.accountOf || o.nocase || n == 0 || o.path.steps[n-1].kind != stepEach {
		return fmt.Errorf("conditions on one element need a list; write it as a path that ends in [], such as resources[]")
	}
	return nil
}
