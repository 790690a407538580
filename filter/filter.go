package filter

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

const (
	// MaxValues is how many values a filter may hold in all.
	MaxValues = 1000

	// MaxValueBytes is how long a value may be.
	MaxValueBytes = 2048
)

// Error says what is wrong with a filter. The filter will never compile, so
// the one who wrote it has to change it.
type Error struct {
	// Field is where, as the contract spells it: "filter.include[0].keys[2]".
	Field string

	// Message is what to do, for people. It repeats no value.
	Message string
}

func (e *Error) Error() string { return e.Field + ": " + e.Message }

// Filter is a compiled filter. The zero Filter matches all records.
type Filter struct {
	include, exclude []selector

	encoding string // deterministic: filters with the same are equal
}

// selector holds the values of one selector; nil is a field that is not set.
type selector struct {
	arns, ids, eventNames *values // arns and ids are the two kinds of keys
	accounts, regions     *values
	readOnly              *bool
	outcomes              []keytrailv1.Outcome
}

// values are the strings of one field.
type values struct {
	exact []string // sorted
	globs []string
}

// Compile checks f and compiles it. It keeps no reference to f. A nil or empty
// f matches all records. An error is an [*Error].
func Compile(f *keytrailv1.Filter) (*Filter, error) {
	if unknown(f) {
		return nil, &Error{"filter", unknownMessage}
	}
	c, n := &Filter{}, 0
	for _, list := range []struct {
		name string
		from []*keytrailv1.Selector
		to   *[]selector
	}{
		{"include", f.GetInclude(), &c.include},
		{"exclude", f.GetExclude(), &c.exclude},
	} {
		for i, s := range list.from {
			n += len(s.GetKeys()) + len(s.GetEventNames()) + len(s.GetAccounts()) + len(s.GetRegions()) + len(s.GetOutcomes())
			if s != nil && s.ReadOnly != nil {
				n++
			}
			if n > MaxValues {
				return nil, &Error{"filter", fmt.Sprintf("holds more than %d values; use several subscriptions", MaxValues)}
			}
			sel, err := compileSelector(fmt.Sprintf("filter.%s[%d]", list.name, i), s)
			if err != nil {
				return nil, err
			}
			*list.to = append(*list.to, sel)
		}
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(f)
	if err != nil { // a string that is not UTF-8, which nothing off the wire holds
		return nil, &Error{"filter", "can't be encoded; use UTF-8"}
	}
	c.encoding = string(b)
	return c, nil
}

const unknownMessage = "has a field that this bus does not know; leave it out, or use a newer bus"

func unknown(m proto.Message) bool { return len(m.ProtoReflect().GetUnknown()) > 0 }

func compileSelector(path string, s *keytrailv1.Selector) (selector, error) {
	var c selector
	if unknown(s) {
		return c, &Error{path, unknownMessage}
	}
	if proto.Size(s) == 0 {
		return c, &Error{path, "has no fields; set at least one, or leave the selector out"}
	}
	for _, f := range []struct {
		name string
		from []string
		to   **values
		wild bool
	}{
		{"event_names", s.GetEventNames(), &c.eventNames, true},
		{"accounts", s.GetAccounts(), &c.accounts, false},
		{"regions", s.GetRegions(), &c.regions, false},
	} {
		if err := checkStrings(path+"."+f.name, f.from); err != nil {
			return c, err
		}
		*f.to = newValues(f.from, f.wild)
	}
	if err := checkStrings(path+".keys", s.GetKeys()); err != nil {
		return c, err
	}
	var arns, ids []string
	for _, k := range s.GetKeys() {
		if strings.Contains(k, ":") {
			arns = append(arns, k)
		} else {
			ids = append(ids, k)
		}
	}
	c.arns, c.ids = newValues(arns, true), newValues(ids, true)
	if s.ReadOnly != nil {
		c.readOnly = new(s.GetReadOnly())
	}
	for i, o := range s.GetOutcomes() {
		switch o {
		case keytrailv1.Outcome_OUTCOME_SUCCESS, keytrailv1.Outcome_OUTCOME_FAILURE, keytrailv1.Outcome_OUTCOME_DENIED:
			c.outcomes = append(c.outcomes, o)
		default:
			return c, &Error{fmt.Sprintf("%s.outcomes[%d]", path, i), "is not an outcome; use SUCCESS, FAILURE or DENIED"}
		}
	}
	return c, nil
}

func checkStrings(path string, list []string) error {
	for i, v := range list {
		switch {
		case v == "":
			return &Error{fmt.Sprintf("%s[%d]", path, i), "is empty; give a value, or leave it out"}
		case len(v) > MaxValueBytes:
			return &Error{fmt.Sprintf("%s[%d]", path, i), fmt.Sprintf("has %d bytes; use at most %d", len(v), MaxValueBytes)}
		}
	}
	return nil
}

func newValues(list []string, wild bool) *values {
	if len(list) == 0 {
		return nil
	}
	v := &values{}
	for _, s := range list {
		if wild && strings.Contains(s, "*") {
			v.globs = append(v.globs, s)
		} else {
			v.exact = append(v.exact, s)
		}
	}
	slices.Sort(v.exact)
	return v
}

// Match reports whether f wants the record.
func (f *Filter) Match(h *record.Header) bool {
	return (len(f.include) == 0 || matchAny(f.include, h)) && !matchAny(f.exclude, h)
}

func matchAny(list []selector, h *record.Header) bool {
	for i := range list {
		if list[i].match(h) {
			return true
		}
	}
	return false
}

// match tries the cheap fields first.
func (s *selector) match(h *record.Header) bool {
	return (s.readOnly == nil || *s.readOnly == h.ReadOnly) &&
		(s.eventNames == nil || s.eventNames.match(h.EventName)) &&
		(s.accounts == nil || s.accounts.match(h.Account)) &&
		(s.regions == nil || s.regions.match(h.Region)) &&
		(s.outcomes == nil || matchOutcome(s.outcomes, h)) &&
		(s.arns == nil && s.ids == nil || s.matchKeys(h))
}

func (s *selector) matchKeys(h *record.Header) bool {
	for _, arn := range h.Keys {
		if s.arns != nil && s.arns.match(arn) || s.ids != nil && s.ids.match(record.KeyID(arn)) {
			return true
		}
	}
	return false
}

func matchOutcome(outcomes []keytrailv1.Outcome, h *record.Header) bool {
	for _, o := range outcomes {
		switch o {
		case keytrailv1.Outcome_OUTCOME_SUCCESS:
			if !h.Failed() {
				return true
			}
		case keytrailv1.Outcome_OUTCOME_FAILURE:
			if h.Failed() {
				return true
			}
		case keytrailv1.Outcome_OUTCOME_DENIED:
			if h.Denied() {
				return true
			}
		}
	}
	return false
}

func (v *values) match(s string) bool {
	if _, ok := slices.BinarySearch(v.exact, s); ok {
		return true
	}
	for _, g := range v.globs {
		if matchGlob(g, s) {
			return true
		}
	}
	return false
}

// matchGlob reports whether s is pattern with each "*" replaced by some run of
// bytes. Each part between two stars takes the first place where it fits: a
// later one would leave less room for the parts after it, so there is no need
// ever to go back.
func matchGlob(pattern, s string) bool {
	part, rest, star := strings.Cut(pattern, "*")
	if !star {
		return s == pattern
	}
	s, ok := strings.CutPrefix(s, part)
	if !ok {
		return false
	}
	for {
		part, rest, star = strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(s, part)
		}
		if _, s, ok = strings.Cut(s, part); !ok {
			return false
		}
	}
}
