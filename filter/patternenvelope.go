package filter

import (
	"fmt"
	"slices"
	"strings"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

// envelopeNames are the members of the events that EventBridge makes.
var envelopeNames = []string{"version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail"}

// detailTypes are the values of detail-type, by those of eventType.
var detailTypes = []struct{ eventType, detailType string }{
	{"AwsApiCall", "AWS API Call via CloudTrail"},
	{"AwsServiceEvent", "AWS Service Event via CloudTrail"},
	{"AwsConsoleAction", "AWS Console Action via CloudTrail"},
}

// kmsSource is the source of all events that the bus could have.
const kmsSource = "aws.kms"

// envelope translates an entry for the event around a record.
func (t *translation) envelope(e *patternEntry) *expr {
	inRecord := patternScope{known: knownRecord}
	if e.name == "detail" {
		if e.group == nil {
			t.fail(e, "must be an object, with what the record must have")
			return anyOf()
		}
		return t.full(e.group, inRecord)
	}
	if e.leaf == nil {
		t.fail(e, "must be a list of values")
		return anyOf()
	}
	in := func(name string) *expr {
		f := &patternEntry{name: name, at: e.at, place: e.place, leaf: e.leaf, absent: e.absent}
		return t.fullEntry(f, inRecord)
	}
	is := func(name string, values ...string) *expr {
		return t.test(newPath(inRecord.to(name), false), comparison{op: keytrailv1.Operator_OPERATOR_EQUALS}, values...)
	}
	switch e.name {
	case "account":
		return in("recipientAccountId")
	case "region":
		return in("awsRegion")
	case "time":
		return in("eventTime")
	case "source":
		if e.leaf.matches(kmsSource) {
			return is("eventSource", record.EventSource)
		}
		return t.nothing(e, "is %q for all records here", kmsSource)
	case "detail-type":
		var types, all []string
		for _, d := range detailTypes {
			all = append(all, `"`+d.detailType+`"`)
			if e.leaf.matches(d.detailType) {
				types = append(types, d.eventType)
			}
		}
		if len(types) > 0 {
			return is("eventType", types...)
		}
		return t.nothing(e, "is one of %s for all records here", strings.Join(all, ", "))
	case "version":
		if e.leaf.matches("0") {
			return all()
		}
		return t.nothing(e, `is "0" for all events`)
	case "id":
		switch l := e.leaf; {
		case l.present:
			return all()
		case l.absent && len(l.equals)+len(l.ranges)+len(l.buts) == 0:
			return t.nothing(e, "is there in all events")
		}
		t.fail(e, `is made up by EventBridge, and no record has it; ask for "eventID" in "detail"`)
		return anyOf()
	}
	if e.leaf.absent {
		return all()
	}
	return t.nothing(e, `is empty around all records; ask for {"resources": {"ARN": […]}} in "detail"`)
}

// nothing is what matches nothing, and notes why.
func (t *translation) nothing(e *patternEntry, format string, args ...any) *expr {
	if t.never == nil {
		t.never = t.text.errorf(e.at, "%v%s, so this pattern matches nothing", e.place, fmt.Sprintf(format, args...))
	}
	return anyOf()
}

// matches reports whether l matches the string s.
func (l *patternLeaf) matches(s string) bool {
	holds := func(c comparison) bool { return c.holds(s) }
	return l.present || slices.ContainsFunc(l.equals, holds) ||
		slices.ContainsFunc(l.buts, func(b []comparison) bool { return !slices.ContainsFunc(b, holds) })
}
