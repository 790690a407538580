package record

import (
	"iter"
	"slices"
)

// LoggedMember is a place in the free-form members of records where the
// catalogue says that something may be.
type LoggedMember struct {
	// Names lead there from the record: requestParameters, tags, tagKey. Of
	// lists they are those of the elements.
	Names []string

	// List is true for an array.
	List bool

	// Open is true for an object whose members have names that callers choose.
	Open bool
}

// LoggedMembers yields what a [Recorder] may put into the free-form members of
// records, whatever the operation. A place that several operations have comes
// several times.
func LoggedMembers() iter.Seq[LoggedMember] {
	const identity = "userIdentity"
	filledIn := newMembers("KeyId")
	return func(yield func(LoggedMember) bool) {
		each := func(m *members, names ...string) bool { return m.yieldLogged(names, yield) }
		for i := range catalogue {
			op := &catalogue[i]
			ok := each(op.request, "requestParameters") &&
				each(op.response, "responseElements") &&
				each(op.additional, "additionalEventData") &&
				each(op.details, "serviceEventDetails")
			if !ok {
				return
			}
		}
		_ = each(filledIn, "responseElements") &&
			each(filledIn, "serviceEventDetails") &&
			each(moved, "requestParameters") &&
			each(replica, "responseElements") &&
			each(onBehalfOf, identity, "onBehalfOf") &&
			each(inScopeOf, identity, "inScopeOf") &&
			each(webIDFederationData, identity, "sessionContext", "webIdFederationData")
	}
}

// yieldLogged yields the members of an object that names lead to, and those of
// the objects within. It reports whether to go on.
func (m *members) yieldLogged(names []string, yield func(LoggedMember) bool) bool {
	for _, e := range m.list {
		l := LoggedMember{
			Names: append(slices.Clip(names), e.logged),
			List:  e.form == textList || e.form == objectList,
			Open:  e.form == aContext,
		}
		if !yield(l) {
			return false
		}
		if e.of != nil && !e.of.yieldLogged(l.Names, yield) {
			return false
		}
	}
	return true
}
