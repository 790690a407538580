package filter

import (
	"slices"
	"strings"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// CloudTrail's limits of advanced event selectors.
const (
	maxSelectorValues     = 500
	maxSelectorValueBytes = 2048
	maxSelectorName       = 1000
)

// compileSelectors translates CloudTrail's advanced event selectors; see the
// package documentation for what they mean.
func compileSelectors(text string) (*expr, error) {
	t, v, err := parseJSON(text)
	if err != nil {
		return nil, err
	}
	p := selectorParser{text: t}
	var at *jsonPlace
	if v.kind == '{' {
		if v, err = p.document(v); err != nil {
			return nil, err
		}
		at = at.member("AdvancedEventSelectors")
	}
	if v.kind != '[' {
		return nil, t.fail(v, at, "is %s, and must be a list of advanced event selectors", v.kindName())
	}
	if len(v.items) == 0 {
		return nil, t.fail(v, at, "has no selectors; give at least one")
	}
	var parts []*expr
	for i, item := range v.items {
		e, err := p.selector(item, at.at(i))
		if err != nil {
			return nil, err
		}
		parts = append(parts, e)
	}
	switch e := anyOf(parts...); {
	case p.err != nil:
		return nil, p.err
	case e.never():
		return nil, t.fail(v, at, "no selector is for Management or NetworkActivity events, and the KMS has no others, so these selectors match nothing")
	default:
		return e, nil
	}
}

// selectorParser reads selectors.
type selectorParser struct {
	text   *jsonText
	values int   // so far
	err    error // of a condition
}

// invalid is an error that CloudTrail would have made of the selectors.
func (p *selectorParser) invalid(v *jsonValue, at *jsonPlace, format string, args ...any) error {
	return p.text.fail(v, at, "InvalidEventSelectorsException: "+format, args...)
}

// document finds the selectors in what the AWS CLI prints.
func (p *selectorParser) document(v *jsonValue) (*jsonValue, error) {
	for _, m := range v.members {
		switch m.name {
		case "AdvancedEventSelectors":
			return m.value, nil
		case "FieldSelectors":
			return nil, p.text.errorf(v.at, "this is one advanced event selector; put it into a list, in brackets")
		}
	}
	for _, m := range v.members {
		switch m.name {
		case "EventSelectors", "ReadWriteType", "IncludeManagementEvents", "ExcludeManagementEventSources", "DataResources":
			return nil, p.basic(m)
		}
		if strings.EqualFold(m.name, "AdvancedEventSelectors") {
			return nil, p.text.errorf(m.at, "%q is how records spell it; the command line of AWS takes \"AdvancedEventSelectors\", and the members of selectors with capitals as well", shortened(m.name))
		}
	}
	return nil, p.text.errorf(v.at, `there is no "AdvancedEventSelectors" in this object; give what aws cloudtrail get-event-selectors prints, or the list alone`)
}

func (p *selectorParser) basic(m jsonMember) error {
	return p.text.errorf(m.at, `%q is of basic event selectors, which are not taken here; write an advanced one, such as [{"FieldSelectors": [{"Field": "eventCategory", "Equals": ["Management"]}, {"Field": "readOnly", "Equals": ["false"]}]}]`, m.name)
}

// fieldSelector is what a selector asks of one field.
type fieldSelector struct {
	field string
	v     *jsonValue
	at    *jsonPlace
	lists []operatorValues
}

type operatorValues struct {
	operator string
	v        *jsonValue
	values   []string
}

// selectorOperators are CloudTrail's, in the order in which conditions are
// written.
var selectorOperators = []struct {
	name    string
	op      keytrailv1.Operator
	negated bool
}{
	{"Equals", keytrailv1.Operator_OPERATOR_EQUALS, false},
	{"StartsWith", keytrailv1.Operator_OPERATOR_STARTS_WITH, false},
	{"EndsWith", keytrailv1.Operator_OPERATOR_ENDS_WITH, false},
	{"NotEquals", keytrailv1.Operator_OPERATOR_EQUALS, true},
	{"NotStartsWith", keytrailv1.Operator_OPERATOR_STARTS_WITH, true},
	{"NotEndsWith", keytrailv1.Operator_OPERATOR_ENDS_WITH, true},
}

// selectorField is what CloudTrail takes for a field.
type selectorField struct {
	operators []string // nil: all
	values    []string // nil: all
}

var (
	equalsAlone   = []string{"Equals"}
	managedFields = map[string]selectorField{
		"eventCategory":                {equalsAlone, nil},
		"eventSource":                  {},
		"readOnly":                     {equalsAlone, []string{"true", "false"}},
		"eventName":                    {},
		"eventType":                    {},
		"sessionCredentialFromConsole": {[]string{"Equals", "NotEquals"}, []string{"true"}},
		"userIdentity.arn":             {},
	}
	networkFields = map[string]selectorField{
		"eventCategory":    {equalsAlone, nil},
		"eventSource":      {equalsAlone, nil},
		"eventName":        {},
		"errorCode":        {equalsAlone, []string{"VpceAccessDenied"}},
		"vpcEndpointId":    {},
		"userIdentity.arn": {},
	}
)

// otherCategories have events, but none of the KMS.
var otherCategories = []string{"Data", "Insight", "ConfigurationItem", "Evidence", "ActivityAuditLog"}

func (p *selectorParser) selector(v *jsonValue, at *jsonPlace) (*expr, error) {
	if v.kind != '{' {
		return nil, p.text.fail(v, at, "is %s, and must be an object with FieldSelectors", v.kindName())
	}
	var list []fieldSelector
	for _, m := range v.members {
		switch m.name {
		case "Name":
			if m.value.kind != '"' || len(m.value.text) > maxSelectorName {
				return nil, p.text.fail(m.value, at.member("Name"), "must be a string of at most %d bytes", maxSelectorName)
			}
		case "FieldSelectors":
			if m.value.kind != '[' || len(m.value.items) == 0 {
				return nil, p.text.fail(m.value, at.member("FieldSelectors"), "must be a list of at least one field selector")
			}
			for i, item := range m.value.items {
				f, err := p.field(item, at.member("FieldSelectors").at(i))
				if err != nil {
					return nil, err
				}
				list = append(list, f)
			}
		case "ReadWriteType", "IncludeManagementEvents", "ExcludeManagementEventSources", "DataResources":
			return nil, p.basic(m)
		default:
			return nil, p.unknown(m, at, []string{"Name", "FieldSelectors"})
		}
	}
	if list == nil {
		return nil, p.text.fail(v, at, "has no FieldSelectors; give at least the one for eventCategory")
	}
	return p.translate(list, v, at)
}

func (p *selectorParser) unknown(m jsonMember, at *jsonPlace, known []string) error {
	for _, k := range known {
		if strings.EqualFold(k, m.name) {
			return p.text.errorf(m.at, "%v%q is how records spell it; the command line of AWS takes %q", at, shortened(m.name), k)
		}
	}
	return p.text.errorf(m.at, "%vthere is no %q here; use %s%s", at, shortened(m.name), strings.Join(known, ", "), didYouMean(m.name, known))
}

// field reads a field selector.
func (p *selectorParser) field(v *jsonValue, at *jsonPlace) (f fieldSelector, err error) {
	f.v, f.at = v, at
	if v.kind != '{' {
		return f, p.text.fail(v, at, "is %s, and must be an object with a Field and an operator", v.kindName())
	}
	known := []string{"Field"}
	for _, o := range selectorOperators {
		known = append(known, o.name)
	}
	for _, m := range v.members {
		here := at.member(m.name)
		switch {
		case m.name == "Field":
			if m.value.kind != '"' || m.value.text == "" || len(m.value.text) > maxSelectorName {
				return f, p.text.fail(m.value, here, "must be the name of a field")
			}
			f.field = m.value.text
		case !slices.Contains(known, m.name):
			return f, p.unknown(m, at, known)
		default:
			values, err := p.list(m.value, here)
			if err != nil {
				return f, err
			}
			f.lists = append(f.lists, operatorValues{m.name, m.value, values})
		}
	}
	switch {
	case f.field == "":
		return f, p.text.fail(v, at, "has no Field; name one, such as eventName")
	case f.lists == nil:
		return f, p.invalid(v, at, "has no operator for %s; give at least one of %s", shortened(f.field), strings.Join(known[1:], ", "))
	}
	return f, nil
}

// list reads the values of an operator.
func (p *selectorParser) list(v *jsonValue, at *jsonPlace) ([]string, error) {
	if v.kind != '[' || len(v.items) == 0 {
		return nil, p.text.fail(v, at, "must be a list of at least one string")
	}
	values := make([]string, len(v.items))
	for i, item := range v.items {
		switch n := len(item.text); {
		case item.kind != '"':
			return nil, p.text.fail(item, at.at(i), "is %s, and must be a string", item.kindName())
		case n == 0 || n > maxSelectorValueBytes:
			return nil, p.text.fail(item, at.at(i), "has %d bytes, and must have 1 to %d", n, maxSelectorValueBytes)
		}
		if p.values++; p.values > maxSelectorValues {
			return nil, p.invalid(item, at.at(i), "there are more than %d values in all selectors; use several subscriptions", maxSelectorValues)
		}
		values[i] = item.text
	}
	return values, nil
}

// translate makes a condition of a selector, which is v.
func (p *selectorParser) translate(list []fieldSelector, v *jsonValue, at *jsonPlace) (*expr, error) {
	byField := make(map[string]bool)
	var category string
	for _, f := range list {
		if byField[f.field] {
			return nil, p.invalid(f.v, f.at, "%s is in this selector already; put all its operators into one field selector", shortened(f.field))
		}
		byField[f.field] = true
		if f.field != "eventCategory" {
			continue
		}
		o := f.lists[0]
		if len(f.lists) > 1 || o.operator != "Equals" || len(o.values) > 1 {
			return nil, p.invalid(f.v, f.at, "eventCategory takes Equals with one value, such as Management")
		}
		category = o.values[0]
	}
	var known map[string]selectorField
	var where *expr
	switch category {
	case "":
		return nil, p.invalid(v, at, `the selector does not say which events it is for; add {"Field": "eventCategory", "Equals": ["Management"]}`)
	case "Management":
		known = managedFields
		where = anyOf(p.condition("eventCategory", keytrailv1.Operator_OPERATOR_EQUALS, category),
			not(p.condition("eventCategory", exists)))
	case "NetworkActivity":
		known = networkFields
		where = p.condition("eventCategory", keytrailv1.Operator_OPERATOR_EQUALS, category)
		if !byField["eventSource"] {
			return nil, p.invalid(v, at, `a selector for NetworkActivity needs an event source; add {"Field": "eventSource", "Equals": ["kms.amazonaws.com"]}`)
		}
	default:
		if !slices.Contains(otherCategories, category) {
			known := append([]string{"Management", "NetworkActivity"}, otherCategories...)
			return nil, p.invalid(v, at, "there is no category %q; use Management%s", shortened(category), didYouMean(category, known))
		}
		return anyOf(), nil
	}
	parts := []*expr{where}
	for _, f := range list {
		allowed, ok := known[f.field]
		if !ok {
			names := make([]string, 0, len(known))
			for name := range known {
				names = append(names, name)
			}
			slices.Sort(names)
			return nil, p.invalid(f.v, f.at, "%s events have no field %q for selectors; use one of %s%s",
				category, shortened(f.field), strings.Join(names, ", "), didYouMean(f.field, names))
		}
		if err := p.check(f, allowed); err != nil {
			return nil, err
		}
		if f.field != "eventCategory" {
			parts = append(parts, p.conditions(f))
		}
	}
	return all(parts...), nil
}

// check holds f against what CloudTrail takes.
func (p *selectorParser) check(f fieldSelector, allowed selectorField) error {
	for _, o := range f.lists {
		at := f.at.member(o.operator)
		if allowed.operators != nil && !slices.Contains(allowed.operators, o.operator) {
			return p.invalid(o.v, at, "%s takes %s alone", f.field, strings.Join(allowed.operators, " and "))
		}
		for i, value := range o.values {
			item := o.v.items[i]
			switch {
			case allowed.values != nil && !slices.Contains(allowed.values, value):
				return p.invalid(item, at.at(i), "%q is no value of %s; use %s", shortened(value), f.field, strings.Join(allowed.values, " or "))
			case strings.Contains(value, "*"):
				return p.invalid(item, at.at(i), "%q has a *, which stands for nothing else in selectors; use StartsWith or EndsWith", shortened(value))
			}
		}
	}
	return nil
}

// conditions translates a field selector.
func (p *selectorParser) conditions(f fieldSelector) *expr {
	var some, parts []*expr
	for _, o := range selectorOperators {
		for _, l := range f.lists {
			switch {
			case l.operator != o.name:
			case o.negated:
				parts = append(parts, not(p.condition(f.field, o.op, l.values...)))
			default:
				some = append(some, p.condition(f.field, o.op, l.values...))
			}
		}
	}
	if len(some) > 0 {
		parts = append([]*expr{anyOf(some...)}, parts...)
	}
	return all(parts...)
}

// condition is a condition on a field of a selector.
func (p *selectorParser) condition(field string, op keytrailv1.Operator, values ...string) *expr {
	of := fieldNamed(field)
	if first, rest, ok := strings.Cut(field, "."); ok {
		of = operand{path: newPath([]step{{name: first}, {name: rest}}, false)}
	}
	e, bad := newTest(of, op, values)
	if bad != nil {
		p.err = p.text.errorf(0, "%s: %s", field, bad.message)
		return anyOf()
	}
	return e
}
