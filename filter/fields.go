package filter

import (
	"cmp"
	"slices"
	"strings"

	"github.com/keytrail/keytrail/record"
)

// member is what is known of a member of records.
type member struct {
	path string // as the text form writes it
	rank int    // in the order of records

	// fixed is true where the contract says which members there are: another
	// one has to be quoted. Elsewhere it only earns a warning.
	fixed bool

	list bool // its members are those of its elements
	open bool // anything may be in it

	members map[string]*member
}

// Members of real records that neither the contract nor the catalogue names, and
// those that hold what callers choose.
var (
	alsoThere = [][]string{
		{"resources", "arn"},
		{"requestParameters", "overridePendingWindowCheck"},
		{"responseElements", "keyMetadata", "AWSAccountId"},
		{"responseElements", "replicaKeyMetadata", "AWSAccountId"},
	}
	openMembers = [][]string{
		{"eventContext"},
		{"edgeDeviceDetails"},
		{"requestParameters", "policy"}, // mostly a string of JSON, but an object in some
		{"responseElements", "replicaPolicy"},
	}
	freeFormMembers = [][]string{
		{"requestParameters"}, {"responseElements"}, {"additionalEventData"}, {"serviceEventDetails"},
		{"userIdentity", "onBehalfOf"}, {"userIdentity", "inScopeOf"},
		{"userIdentity", "sessionContext", "webIdFederationData"},
	}
)

// knownRecord is a record with all that is known of its members, and knownFields
// are those and the named fields, for suggestions: those that are meant most
// come first.
var knownRecord, knownFields = knowRecord()

func knowRecord() (*member, []string) {
	root := &member{fixed: true}
	var fields []string
	for name := range namedFields {
		fields = append(fields, name)
	}
	for name := range shortNames {
		fields = append(fields, name)
	}
	slices.Sort(fields)

	var all []*member
	add := func(names ...string) *member {
		m := root
		for _, name := range names {
			of := m.members[name]
			if of == nil {
				of = &member{path: m.pathOf(name), rank: len(all)}
				all = append(all, of)
				if m.members == nil {
					m.members = make(map[string]*member)
				}
				m.members[name] = of
			}
			m = of
		}
		return m
	}
	var addTyped func(names ...string)
	addTyped = func(names ...string) {
		for _, name := range record.FieldNames(names...) {
			at := append(slices.Clip(names), name)
			m := add(at...)
			m.fixed = true
			m.list = len(at) == 1 && name == "resources"
			addTyped(at...)
		}
	}
	addTyped()
	for _, names := range freeFormMembers {
		add(names...).fixed = false
	}
	for l := range record.LoggedMembers() {
		m := add(l.Names...)
		m.list, m.open = m.list || l.List, m.open || l.Open
	}
	for _, names := range openMembers {
		m := add(names...)
		m.fixed, m.open = false, true
	}
	slices.SortFunc(all, func(a, b *member) int {
		return cmp.Or(cmp.Compare(strings.Count(a.path, "."), strings.Count(b.path, ".")), cmp.Compare(a.rank, b.rank))
	})
	for _, m := range all {
		fields = append(fields, m.path)
	}
	for _, names := range alsoThere {
		add(names...).fixed = names[0] == "resources"
	}
	return root, fields
}

// pathOf is the path of a member of m.
func (m *member) pathOf(name string) string {
	switch {
	case m.path == "":
		return name
	case m.list:
		return m.path + "[]." + name
	}
	return m.path + "." + name
}

// cursor follows a path through what is known of records.
type cursor struct {
	m *member // nil: nothing is known here, and anything may be there

	element bool // an element of the list m
}

var recordCursor = cursor{m: knownRecord}

// knows reports whether there is known to be a member of that name.
func (c cursor) knows(name string) bool { return c.member(name).m != nil }

// refuses reports whether there is known to be none of that name, by contract.
func (c cursor) refuses(name string) bool { return c.m != nil && c.m.fixed && !c.knows(name) }

// lacks reports whether there is none of that name as far as is known.
func (c cursor) lacks(name string) bool { return c.m != nil && !c.m.open && !c.knows(name) }

func (c cursor) member(name string) cursor {
	if c.m == nil || c.m.list && !c.element {
		return cursor{}
	}
	return cursor{m: c.m.members[name]}
}

// next goes on by one step.
func (c cursor) next(s step) cursor {
	switch s.kind {
	case stepMember:
		return c.member(s.name)
	case stepEach:
		c.element = true
		return c
	}
	return cursor{} // whatever the document is
}

func (c cursor) follow(steps []step) cursor {
	for _, s := range steps {
		c = c.next(s)
	}
	return c
}

// suggest returns at most two fields that may be meant by a path from c.
func (c cursor) suggest(path string) []string {
	if c.m == knownRecord {
		return nearestFields(path, knownFields)
	}
	if c.m == nil {
		return nil
	}
	names := make([]string, 0, len(c.m.members))
	for name := range c.m.members {
		names = append(names, name)
	}
	slices.Sort(names)
	return nearestFields(path, names)
}

// nearestFields returns at most two fields of known that may be meant by path:
// the one that is spelt nearest or, if none is near, those that end the same,
// or begin with it.
func nearestFields(path string, known []string) []string {
	path = strings.TrimPrefix(path, "detail.") // of the envelope of EventBridge
	best, distance := nearest(path, known)
	if best != "" && distance <= 1 {
		return []string{best}
	}
	var whole, near, same, longer []string
	end := plain(path)
	last := end[strings.LastIndexByte(end, '.')+1:]
	for _, k := range known {
		switch p := plain(k); {
		case strings.HasSuffix(p, "."+end):
			whole = append(whole, k)
		case strings.HasSuffix(p, "."+last) && firstName(k) == firstName(path):
			near = append(near, k)
		case strings.HasSuffix(p, "."+last):
			same = append(same, k)
		case len(end) >= 3 && strings.HasPrefix(p, end) && !strings.Contains(p, "."):
			longer = append(longer, k)
		}
	}
	if best != "" {
		near = append([]string{best}, near...)[:1]
	}
	for _, list := range [][]string{whole, near, same, longer} {
		if len(list) > 0 {
			return list[:min(2, len(list))]
		}
	}
	return nil
}

func firstName(path string) string { return (&scanner{text: path}).name() }

// didYouMean names the one of known that word may be a slip for, to be added to
// an error; "" if none is near.
func didYouMean(word string, known []string) string {
	best, _ := nearest(word, known)
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// maxSuggested is how long a word may be that others are compared with.
const maxSuggested = 100

// nearest returns the first of known that is nearest to word, and how many slips
// of the pen lie between them; "" if none is near. Case is no difference, and
// neither are the signs that paths are written with.
func nearest(word string, known []string) (best string, distance int) {
	if len(word) > maxSuggested {
		return "", 0
	}
	word = plain(word)
	distance = maxSlips + 1
	for _, k := range known {
		if d := slipsInPath(word, plain(k), distance); d < distance {
			best, distance = k, d
		}
	}
	return best, distance
}

// maxSlips is how many slips of the pen anything near may have, and slipsPer how
// long a name must be for each slip in it after the first.
const (
	maxSlips = 4
	slipsPer = 3
)

// slipsInPath is slips for paths, each name of which must be near.
func slipsInPath(a, b string, most int) int {
	if strings.Count(a, ".") != strings.Count(b, ".") {
		if slips(a, b, most) > 1 { // a point that is missing
			return most
		}
		return 1
	}
	sum := 0
	for more := true; more && sum < most; {
		var x, y string
		x, a, more = strings.Cut(a, ".")
		y, b, _ = strings.Cut(b, ".")
		near := max(1, len(x)/slipsPer)
		d := slips(x, y, near+1)
		if d > near {
			return most
		}
		sum += d
	}
	return min(sum, most)
}

var plainer = strings.NewReplacer(`["`, ".", "[", "", "]", "", `"`, "", "_", "", "-", "")

func plain(s string) string { return strings.TrimPrefix(strings.ToLower(plainer.Replace(s)), ".") }

// slips is how many bytes must be added, left out, replaced or exchanged with
// the next to make b of a, or most if it is not less.
func slips(a, b string, most int) int {
	if len(a)-len(b) >= most || len(b)-len(a) >= most {
		return most
	}
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before, above, row = above, row, before
		row[0] = i + 1
		least := row[0]
		for j := range len(b) {
			same := 1
			if a[i] == b[j] {
				same = 0
			}
			row[j+1] = min(above[j]+same, above[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
			least = min(least, row[j+1])
		}
		if least >= most {
			return most
		}
	}
	return min(row[len(b)], most)
}
