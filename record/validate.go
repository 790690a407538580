package record

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// Limits of single fields, in bytes.
const (
	maxEventID   = 256
	maxEventName = 256
	maxAccount   = 64
	maxRegion    = 64
)

// Policy is what a bus takes. The zero Policy takes KMS records only.
type Policy struct {
	// AllSources takes records of every service.
	AllSources bool
}

// Problem is why the bus does not store a record. It never repeats a value of
// the record, so it can be logged and sent.
type Problem struct {
	Code keytrailv1.RejectionCode

	// Field is the member, as CloudTrail spells it:
	// "userIdentity.sessionContext", "resources[1].ARN". It is empty when the
	// record as a whole is meant, and ends in "verbatim" when that field is
	// not the object that it should be.
	Field string

	// Message says what to change.
	Message string
}

func (p *Problem) Error() string {
	if p.Field == "" {
		return "record: " + p.Message
	}
	return "record: " + p.Field + ": " + p.Message
}

const (
	codeMissing   = keytrailv1.RejectionCode_REJECTION_CODE_MISSING_FIELD
	codeWrongType = keytrailv1.RejectionCode_REJECTION_CODE_WRONG_TYPE
	codeInvalid   = keytrailv1.RejectionCode_REJECTION_CODE_INVALID_VALUE
	codeTooLarge  = keytrailv1.RejectionCode_REJECTION_CODE_TOO_LARGE
	codeOther     = keytrailv1.RejectionCode_REJECTION_CODE_OTHER_SOURCE
	codeSecret    = keytrailv1.RejectionCode_REJECTION_CODE_SECRET
)

// Validate returns the first problem for which the bus does not store r, nil
// if there is none.
//
// Members of CloudTrail's must have CloudTrail's types. Other forms that real
// records have are taken: null for what is not required, "true" and "false"
// for booleans, every form of RFC 3339 for eventTime. So is half a surrogate
// pair, except in eventID, eventName and eventSource: who calls chooses what
// userAgent holds, and must not be able to keep a record out.
func Validate(r *keytrailv1.Record, p Policy) *Problem {
	if r == nil {
		r = new(keytrailv1.Record)
	}
	// First, as it bounds the work of all other checks.
	if proto.Size(r) > MaxBytes {
		return &Problem{codeTooLarge, "", fmt.Sprintf("encoded, the record is longer than %d bytes", MaxBytes)}
	}
	kept, problem := recordFields.checkTexts(r, nil)
	if problem != nil {
		return problem
	}
	if r.EventTime != nil && (r.EventTime.CheckValid() != nil || unknownIn(r.EventTime)) {
		return &Problem{codeInvalid, "eventTime", "must be a time in the years 1 to 9999"}
	}
	if kept {
		if problem := checkVerbatim(r); problem != nil {
			return problem
		}
	}
	if problem := checkValues(r, p); problem != nil {
		return problem
	}
	return CheckSecrets(r)
}

// checkValues checks what single fields hold.
func checkValues(r *keytrailv1.Record, p Policy) *Problem {
	for _, f := range []struct {
		name, value string
	}{
		{"eventID", r.GetEventId()},
		{"eventName", r.GetEventName()},
		{"eventSource", r.GetEventSource()},
	} {
		if f.value == "" {
			return &Problem{codeMissing, f.name, "is required"}
		}
	}
	if r.EventTime == nil {
		return &Problem{codeMissing, "eventTime", "is required"}
	}
	if !p.AllSources && r.GetEventSource() != EventSource {
		return &Problem{codeOther, "eventSource", "must be " + EventSource + "; a bus started with --all-sources takes others"}
	}
	for _, f := range []struct {
		name, value string
		limit       int
	}{
		{"eventID", r.GetEventId(), maxEventID},
		{"eventName", r.GetEventName(), maxEventName},
		{"recipientAccountId", r.GetRecipientAccountId(), maxAccount},
		{"awsRegion", r.GetAwsRegion(), maxRegion},
	} {
		if len(f.value) > f.limit {
			return &Problem{codeTooLarge, f.name, fmt.Sprintf("must be at most %d bytes", f.limit)}
		}
	}
	return nil
}

// checkVerbatim holds r to what its JSON reads back as. That is one rule for
// everything that `verbatim` could do: say other than a typed field, hide a
// wrong type, or hold what belongs in a typed field, where filters look.
func checkVerbatim(r *keytrailv1.Record) *Problem {
	text, err := AppendJSON(nil, r)
	if err != nil {
		return &Problem{codeInvalid, "verbatim", "does not give JSON together with the other fields"}
	}
	again, err := FromJSON(text)
	if err != nil {
		return &Problem{codeInvalid, "verbatim", "does not give a record together with the other fields"}
	}
	if problem := recordFields.checkTypes(again, nil); problem != nil {
		return problem
	}
	return recordFields.checkSame(r, again, nil)
}

// path is where in a record a checker is. It is only made into a string for a
// problem.
type path struct {
	parent *path
	name   string
	index  int // of an entry of the list name; -1: the list itself, or no list
}

func (p *path) String() string {
	if p == nil {
		return ""
	}
	s := p.name
	if p.index >= 0 {
		s = fmt.Sprintf("%s[%d]", s, p.index)
	}
	if p.parent != nil {
		s = p.parent.String() + "." + s
	}
	return s
}

func (p *path) to(name string) *path             { return &path{p, name, -1} }
func (p *path) toEntry(name string, i int) *path { return &path{p, name, i} }
func (p *path) problem(code keytrailv1.RejectionCode, name, message string) *Problem {
	return &Problem{code, p.to(name).String(), message}
}

// checkTexts checks that nothing is hidden, that strings are UTF-8 and that JSON is JSON, of the type
// that it should be. It reports whether any message has a verbatim field.
func (o *object) checkTexts(m any, at *path) (kept bool, problem *Problem) {
	if unknownIn(m) {
		return kept, &Problem{codeInvalid, at.String(), "has protobuf fields that this bus does not know: upgrade the bus before its producers"}
	}
	if v := *o.verbatim(m); v != nil {
		kept = true
		if k, err := jsonKind(v); err != nil || k != '{' {
			return kept, at.problem(codeWrongType, "verbatim", "must be a JSON object with distinct names")
		}
	}
	for _, f := range o.fields {
		switch f.kind {
		case kindText:
			if s := *f.text(m); s != nil && !utf8.ValidString(*s) {
				return kept, at.problem(codeInvalid, f.nameIn(m), "must be UTF-8")
			}
		case kindFreeForm:
			v := *f.json(m)
			if v == nil {
				continue
			}
			if k, err := jsonKind(v); err != nil || k != '{' && k != 'n' {
				return kept, at.problem(codeWrongType, f.name, "must be a JSON object or null, with distinct names")
			}
		case kindMessage:
			c := f.child(m, false)
			if c == nil {
				continue
			}
			k, problem := f.of.checkTexts(c, at.to(f.name))
			kept = kept || k
			if problem != nil {
				return kept, problem
			}
		case kindList:
			if l := *f.list(m); l != nil && unknownIn(l) {
				return kept, at.problem(codeInvalid, f.name, "has protobuf fields that this bus does not know: upgrade the bus before its producers")
			}
			for i, e := range (*f.list(m)).GetEntries() {
				k, problem := f.of.checkTexts(entry(e), at.toEntry(f.name, i))
				kept = kept || k
				if problem != nil {
					return kept, problem
				}
			}
		}
	}
	return kept, nil
}

// checkTypes checks the members that FromJSON put into verbatim of m and below
// although they have typed fields: each must be of the member's type or null.
func (o *object) checkTypes(m any, at *path) (problem *Problem) {
	if v := *o.verbatim(m); v != nil {
		err := eachMember(v, func(name, value []byte) {
			f, other := o.lookup(name)
			if problem != nil || f == nil || other && !f.isOther(m) && f.has(m) {
				return
			}
			spelt := f.name
			if other {
				spelt = f.other
			}
			problem = f.checkType(m, value, at, spelt)
		})
		if err != nil {
			return at.problem(codeInvalid, "verbatim", "must be a JSON object")
		}
		if problem != nil {
			return problem
		}
	}
	for _, f := range o.fields {
		switch f.kind {
		case kindMessage:
			if c := f.child(m, false); c != nil {
				problem = f.of.checkTypes(c, at.to(f.name))
			}
		case kindList:
			for i, e := range (*f.list(m)).GetEntries() {
				if problem = f.of.checkTypes(e, at.toEntry(f.name, i)); problem != nil {
					return problem
				}
			}
		}
		if problem != nil {
			return problem
		}
	}
	return nil
}

// checkType checks the text of f that the field does not hold exactly.
func (f *field) checkType(m any, value []byte, at *path, spelt string) *Problem {
	if value[0] == 'n' {
		return nil // a null where a value is required leaves the field unset
	}
	switch f.kind {
	case kindText:
		if value[0] != '"' {
			return at.problem(codeWrongType, spelt, "must be a string")
		}
		// It is a string, so it has half a surrogate pair, or stands beside a
		// null under the other name.
		if !f.has(m) || at == nil && isRequired(f.name) {
			return at.problem(codeInvalid, spelt, "must be a Unicode string, under one spelling of its name")
		}
	case kindBoolean:
		if !f.has(m) {
			return at.problem(codeWrongType, spelt, "must be true or false")
		}
	case kindMoment:
		if value[0] != '"' {
			return at.problem(codeWrongType, spelt, "must be a string")
		}
		if !f.has(m) {
			return at.problem(codeInvalid, spelt, "must be a time as RFC 3339 has it")
		}
	case kindFreeForm, kindMessage:
		return at.problem(codeWrongType, spelt, "must be an object")
	case kindList:
		if value[0] == '[' {
			return &Problem{codeWrongType, at.toEntry(spelt, firstNotObject(value)).String(), "must be an object"}
		}
		return at.problem(codeWrongType, spelt, "must be an array of objects")
	}
	return nil
}

// isRequired reports whether a record needs this string, by which the bus
// tells records apart.
func isRequired(name string) bool {
	return name == "eventID" || name == "eventName" || name == "eventSource"
}

// firstNotObject returns the index of the first element of the JSON array v
// that is not an object.
func firstNotObject(v []byte) int {
	d := newDecoder(v)
	defer d.release()
	if _, err := d.json.ReadToken(); err != nil {
		return 0
	}
	i := 0
	for d.json.PeekKind() == '{' && d.json.SkipValue() == nil {
		i++
	}
	return i
}

// checkSame checks that the typed fields of a, and below, are those of b.
func (o *object) checkSame(a, b any, at *path) *Problem {
	for _, f := range o.fields {
		if f.has(a) != f.has(b) || f.has(a) && !f.sameScalar(a, b) {
			return at.problem(codeInvalid, f.nameIn(a), "the typed field and verbatim contradict each other")
		}
		switch f.kind {
		case kindMessage:
			if !f.has(a) {
				continue
			}
			if problem := f.of.checkSame(f.child(a, false), f.child(b, false), at.to(f.name)); problem != nil {
				return problem
			}
		case kindList:
			as, bs := (*f.list(a)).GetEntries(), (*f.list(b)).GetEntries()
			if len(as) != len(bs) {
				return at.problem(codeInvalid, f.name, "the typed field and verbatim contradict each other")
			}
			for i := range as {
				if problem := f.of.checkSame(entry(as[i]), bs[i], at.toEntry(f.name, i)); problem != nil {
					return problem
				}
			}
		}
	}
	return nil
}

// sameScalar reports whether f, set in both, is the same; true for what has
// fields of its own.
func (f *field) sameScalar(a, b any) bool {
	switch f.kind {
	case kindText:
		return **f.text(a) == **f.text(b)
	case kindBoolean:
		return **f.boolean(a) == **f.boolean(b)
	case kindFreeForm:
		return bytes.Equal(appendCompact(nil, *f.json(a)), *f.json(b))
	case kindMoment:
		return proto.Equal(*f.moment(a), *f.moment(b))
	}
	return true
}
