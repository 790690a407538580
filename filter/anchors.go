package filter

import (
	"math/bits"
	"slices"
	"strconv"
	"strings"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

// anchor is a value, or the beginning of one, that records have in a place.
type anchor struct {
	from   *source
	value  string
	prefix bool
	number bool // also numbers of another spelling, where value is canonical
}

// alternative is a set of anchors of which every record that a filter wants
// has at least one.
type alternative struct {
	anchors []anchor
	tests   []*expr // that the anchors are from

	// exact says that there is one anchor, and a record that has it satisfies
	// the condition that it is from.
	exact bool

	// worth is how rare the most frequent of the anchors promises to be, in
	// eighths of a halving.
	worth int
}

// maxAlternatives bounds how many alternatives are weighed for one filter.
const maxAlternatives = 8

// alternatives returns what records that satisfy e can be found by, the best
// first. What is within an element has the path in to its list.
func (e *expr) alternatives(in *path) []alternative {
	var out []alternative
	switch e.kind {
	case exprAll:
		for _, k := range e.kids {
			out = append(out, k.alternatives(in)...)
		}
		if len(e.kids) > 1 {
			for i := range out {
				out[i].exact = false
			}
		}
		slices.SortStableFunc(out, func(a, b alternative) int { return b.worth - a.worth })
		return out[:min(len(out), maxAlternatives)]
	case exprAny:
		if one, ok := e.union(in); ok {
			return []alternative{one}
		}
	case exprTest:
		if one, ok := e.anchors(in); ok {
			return []alternative{one}
		}
	case exprElement:
		list := e.element.path
		if in != nil {
			list = joined(*in, list)
		}
		out = e.kids[0].alternatives(&list)
		for i := range out {
			out[i].tests = []*expr{e}
		}
	case exprCEL:
		if n := e.cel.needs; n != nil {
			out = n.alternatives(in)
			for i := range out {
				out[i].exact = false
			}
		}
	}
	return out
}

// union is what a choice can be found by: each of its kids needs anchors.
func (e *expr) union(in *path) (one alternative, ok bool) {
	for i, k := range e.kids {
		of := k.alternatives(in)
		if len(of) == 0 {
			return one, false
		}
		if i == 0 {
			one = of[0]
			continue
		}
		one.exact = false
		one.anchors = append(one.anchors, of[0].anchors...)
		one.tests = append(one.tests, of[0].tests...)
		one.worth = min(one.worth, of[0].worth)
	}
	return one, len(e.kids) > 0
}

// anchors is what a condition can be found by.
func (e *expr) anchors(in *path) (one alternative, ok bool) {
	t := e.test
	from := &source{name: t.of.name, accountOf: t.of.accountOf}
	if from.name == pathOnly {
		from.path = t.of.path
		if in != nil {
			from.path = joined(*in, from.path)
		}
	}
	rarity := from.rarity()
	if rarity == 0 || len(t.values) == 0 || t.of.nocase {
		return one, false
	}
	one = alternative{
		anchors: make([]anchor, 0, len(t.values)),
		tests:   []*expr{e},
		exact:   t.of.only == record.Missing,
		worth:   rarity * 8,
	}
	for _, v := range t.values {
		a := anchor{from: from, value: v}
		switch t.op {
		case keytrailv1.Operator_OPERATOR_EQUALS:
		case keytrailv1.Operator_OPERATOR_WILDCARD:
			if literal, rest, star := strings.Cut(v, "*"); star {
				a.value, a.prefix = literal, true
				one.exact = one.exact && rest == ""
			}
		case keytrailv1.Operator_OPERATOR_STARTS_WITH:
			a.prefix = true
		default:
			return alternative{}, false
		}
		if from.name == fieldKey && !from.accountOf && !strings.Contains(v, ":") {
			a.from = &source{name: fieldKey, ids: true}
		}
		if a.prefix {
			if a.value == "" {
				return alternative{}, false
			}
			const full = 40 // bytes of a beginning that are nearly as good as all
			one.worth = min(one.worth, rarity*8*min(len(a.value), full)/(full+8))
		}
		if _, number := parseNumber(v); number && !a.prefix {
			if c := canonical(v); c != v {
				one.anchors = append(one.anchors, anchor{from: a.from, value: c, number: true})
			} else {
				a.number = true
			}
		}
		one.anchors = append(one.anchors, a)
	}
	one.exact = one.exact && len(one.anchors) == 1
	return one, true
}

// joined is the path p within an element of the list.
func joined(list, p path) path {
	return newPath(slices.Concat(list.steps, p.steps), false)
}

// source is a place that anchors are in: an operand without what makes no
// difference to where its values are.
type source struct {
	name      namedField
	ids       bool // of the key field: its key IDs and names of aliases, rather than its ARNs
	accountOf bool
	path      path
}

// key is equal for equal sources only.
func (s *source) key() string {
	b := make([]byte, 0, 64)
	b = append(b, byte(s.name), '0', '0')
	if s.ids {
		b[1] = '1'
	}
	if s.accountOf {
		b[2] = '1'
	}
	for _, p := range s.path.steps {
		b = append(b, byte(p.kind))
		b = strconv.AppendInt(b, int64(len(p.name)), 10)
		b = append(b, ':')
		b = append(b, p.name...)
	}
	return string(b)
}

// typed reports whether the source is one that the contract has, of which there are few.
func (s *source) typed() bool {
	n := len(s.path.steps)
	return s.name != pathOnly || n > 0 && int(s.path.taken) == n || s.isResourceARN()
}

// isResourceARN reports whether s is resources[].ARN.
func (s *source) isResourceARN() bool {
	p := s.path.steps
	return len(p) == 3 && p[0].name == "resources" && p[1].kind == stepEach && p[2].kind == stepMember && p[2].name == "ARN"
}

// rarity is how often the records that have one certain value of the source are
// expected among all, as the power of two that they are one in. 0 is for
// what is not worth it.
func (s *source) rarity() int {
	if s.accountOf {
		return 3
	}
	switch s.name {
	case fieldKey:
		return 10
	case fieldPrincipal:
		return 9
	case fieldSourceIP:
		return 8
	case pathOnly:
	default:
		return 0
	}
	b := make([]byte, 0, 64)
	for i, p := range s.path.steps {
		switch p.kind {
		case stepMember:
			if i > 0 {
				b = append(b, '.')
			}
			b = append(b, p.name...)
		case stepEach:
			b = append(b, "[]"...)
		case stepDocument:
			return 6
		}
	}
	if n, ok := rarities[string(b)]; ok {
		return n
	}
	if int(s.path.taken) == len(s.path.steps) {
		return 1
	}
	return 6 // free-form
}

var rarities = map[string]int{
	"eventID":                  40,
	"requestID":                40,
	"sharedEventID":            40,
	"resources[].ARN":          10,
	"userIdentity.accessKeyId": 10,
	"userIdentity.arn":         9,
	"userIdentity.principalId": 9,
	"vpcEndpointId":            8,
	"sourceIPAddress":          8,
	"userIdentity.userName":    7,
	"userIdentity.invokedBy":   5,
	"userAgent":                5,
	"errorMessage":             6,
	"errorCode":                5,
	"eventName":                4,
	"recipientAccountId":       3,
	"userIdentity.accountId":   3,
	"vpcEndpointAccountId":     3,
	"awsRegion":                2,
	"userIdentity.type":        2,
	"tlsDetails.cipherSuite":   2,
	"userIdentity.sessionContext.sessionIssuer.arn":         9,
	"userIdentity.sessionContext.sessionIssuer.principalId": 9,
	"userIdentity.sessionContext.sessionIssuer.userName":    7,
	"userIdentity.sessionContext.sessionIssuer.accountId":   3,
}

// canonical is a number in the one spelling that all its spellings have in
// common, and anything else as it is.
func canonical(s string) string {
	if isPlain(s) {
		return s
	}
	n, ok := parseNumber(s)
	switch {
	case !ok:
		return s
	case n.digits == "":
		return "0"
	}
	sign := ""
	if n.negative {
		sign = "-"
	}
	if n.exp >= len(n.digits) && n.exp <= maxPlain {
		return sign + n.digits + strings.Repeat("0", n.exp-len(n.digits))
	}
	return sign + n.digits + "e" + strconv.Itoa(n.exp)
}

// maxPlain is how many digits an integer may have that is its own canonical
// spelling.
const maxPlain = 24

// isPlain reports whether s is canonical: no number, or an integer of at most maxPlain
// digits without sign.
func isPlain(s string) bool {
	if s == "" || s[0] != '-' && (s[0] < '0' || s[0] > '9') {
		return true
	}
	if len(s) > maxPlain || s[0] == '0' && len(s) > 1 {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// crowding is what the worth of an anchor loses to the filters that share it: so
// many ask for what is frequent.
func crowding(filters int) int {
	const crowd = 64
	return 4 * bits.Len(uint(filters/crowd))
}
