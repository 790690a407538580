package filter

import (
	"encoding/json"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/keytrail/keytrail/record"
)

// The oracle is EventBridge as its documentation has it, in the slowest and
// most obvious way: the event is taken apart into leaves, and every way of
// choosing a leaf for each field is tried.

// eventLeaf is a leaf of an event: where it is, and in which elements of which
// lists.
type eventLeaf struct {
	path    string
	value   any
	element map[int]int // by list
}

// leavesOf takes an event apart.
func leavesOf(event any) []eventLeaf {
	var leaves []eventLeaf
	lists := 0
	var visit func(path string, v any, element map[int]int)
	visit = func(path string, v any, element map[int]int) {
		switch v := v.(type) {
		case map[string]any:
			for name, member := range v {
				visit(path+"\x00"+name, member, element)
			}
		case []any:
			list := lists
			lists++
			for i, item := range v {
				inside := map[int]int{list: i}
				for k, n := range element {
					inside[k] = n
				}
				visit(path, item, inside)
			}
		default:
			leaves = append(leaves, eventLeaf{path, v, element})
		}
	}
	visit("", event, nil)
	return leaves
}

// rule is a pattern without "$or": for each path what may be there.
type rule map[string][]any

// rulesOf writes a pattern as rules of which any may match.
func rulesOf(path string, pattern map[string]any) []rule {
	rules := []rule{{}}
	product := func(more []rule) {
		var all []rule
		for _, a := range rules {
			for _, b := range more {
				both := rule{}
				for _, r := range []rule{a, b} {
					for k, v := range r {
						both[k] = v
					}
				}
				all = append(all, both)
			}
		}
		rules = all
	}
	for name, v := range pattern {
		switch v := v.(type) {
		case map[string]any:
			product(rulesOf(path+"\x00"+name, v))
		case []any:
			if name != "$or" {
				product([]rule{{path + "\x00" + name: v}})
				continue
			}
			var some []rule
			for _, alternative := range v {
				some = append(some, rulesOf(path, alternative.(map[string]any))...)
			}
			product(some)
		}
		if len(rules) > 200 {
			return rules // too many to be tried; see oracle
		}
	}
	return rules
}

// oracle reports whether a valid pattern matches a record, or that it would
// take too long to tell.
func oracle(pattern, event map[string]any) (match, known bool) {
	event = map[string]any(event)
	if isEnvelope(pattern) {
		event = envelopeOf(event)
	}
	leaves := leavesOf(event)
	rules := rulesOf("", pattern)
	if len(rules) > 200 {
		return false, false
	}
	steps := 0
	for _, r := range rules {
		paths := make([]string, 0, len(r))
		for path := range r {
			paths = append(paths, path)
		}
		if choose(r, paths, leaves, nil, nil, &steps) {
			return true, true
		}
		if steps > 10_000 {
			return false, false
		}
	}
	return false, true
}

// choose tries every leaf for the first of paths. Once all have one, or are to
// have none, there must be none for the latter in the same elements.
func choose(r rule, paths []string, leaves []eventLeaf, element map[int]int, none []string, steps *int) bool {
	if *steps++; *steps > 10_000 {
		return false
	}
	if len(paths) == 0 {
		return !slices.ContainsFunc(leaves, func(l eventLeaf) bool {
			_, same := together(element, l.element)
			return same && slices.Contains(none, l.path)
		})
	}
	path, rest := paths[0], paths[1:]
	for _, want := range r[path] {
		if m, ok := want.(map[string]any); ok && m["exists"] == false {
			if choose(r, rest, leaves, element, append(slices.Clip(none), path), steps) {
				return true
			}
			continue
		}
		for _, l := range leaves {
			inside, same := together(element, l.element)
			if l.path == path && same && leafMatches(want, l.value) && choose(r, rest, leaves, inside, none, steps) {
				return true
			}
		}
	}
	return false
}

// together joins two places if they are in the same element of each list that
// both are in.
func together(a, b map[int]int) (map[int]int, bool) {
	both := make(map[int]int)
	for k, v := range a {
		both[k] = v
	}
	for k, v := range b {
		if w, ok := both[k]; ok && w != v {
			return nil, false
		}
		both[k] = v
	}
	return both, true
}

func leafMatches(want, leaf any) bool {
	text, isText := leaf.(string)
	m, ok := want.(map[string]any)
	if !ok {
		return sameScalar(want, leaf)
	}
	for name, value := range m {
		switch name {
		case "exists":
			return true // false is not asked here
		case "anything-but":
			return !anyOfThese(value, leaf)
		case "numeric":
			return numericMatches(value.([]any), leaf)
		case "cidr":
			a, err := netip.ParseAddr(text)
			return isText && err == nil && netip.MustParsePrefix(value.(string)).Contains(a)
		default:
			return isText && textMatches(name, value, text)
		}
	}
	return false
}

// anyOfThese reports whether a leaf is what anything-but excludes.
func anyOfThese(but, leaf any) bool {
	switch but := but.(type) {
	case []any:
		return slices.ContainsFunc(but, func(v any) bool { return sameScalar(v, leaf) })
	case map[string]any:
		for name, value := range but {
			values, ok := value.([]any)
			if !ok {
				values = []any{value}
			}
			for _, v := range values {
				if leafMatches(map[string]any{name: v}, leaf) {
					return true
				}
			}
		}
		return false
	}
	return sameScalar(but, leaf)
}

func sameScalar(a, b any) bool {
	x, isX := a.(json.Number)
	y, isY := b.(json.Number)
	if isX && isY {
		return rational(x).Cmp(rational(y)) == 0
	}
	return isX == isY && a == b
}

func rational(n json.Number) *big.Rat {
	r, ok := new(big.Rat).SetString(string(n))
	if !ok {
		panic("no number: " + n)
	}
	return r
}

func numericMatches(conditions []any, leaf any) bool {
	n, ok := leaf.(json.Number)
	for i := 0; ok && i < len(conditions); i += 2 {
		c := rational(n).Cmp(rational(conditions[i+1].(json.Number)))
		ok = map[string]bool{"=": c == 0, "<": c < 0, "<=": c <= 0, ">": c > 0, ">=": c >= 0}[conditions[i].(string)]
	}
	return ok
}

func textMatches(name string, value any, text string) bool {
	if m, ok := value.(map[string]any); ok { // without regard to case
		value := m["equals-ignore-case"].(string)
		for i := range len(text) + 1 {
			if i < len(text) && !utf8.RuneStart(text[i]) {
				continue
			}
			if name == "prefix" && strings.EqualFold(text[:i], value) || name == "suffix" && strings.EqualFold(text[i:], value) {
				return true
			}
		}
		return false
	}
	s := value.(string)
	switch name {
	case "prefix":
		return strings.HasPrefix(text, s)
	case "suffix":
		return strings.HasSuffix(text, s)
	case "equals-ignore-case":
		return strings.EqualFold(text, s)
	}
	return wildcardMatches(s, text)
}

// wildcardMatches goes over a wildcard and keeps where in the text it can be.
func wildcardMatches(pattern, text string) bool {
	can := make([]bool, len(text)+1)
	can[0] = true
	for i := 0; i < len(pattern); i++ {
		next := make([]bool, len(text)+1)
		if pattern[i] == '*' {
			first := slices.Index(can, true)
			for j := range next {
				next[j] = first >= 0 && j >= first
			}
		} else {
			if pattern[i] == '\\' {
				i++
			}
			for j := range len(text) {
				next[j+1] = can[j] && text[j] == pattern[i]
			}
		}
		can = next
	}
	return can[len(text)]
}

func isEnvelope(pattern map[string]any) bool {
	for name, v := range pattern {
		switch name {
		case "$or":
			for _, alternative := range v.([]any) {
				if isEnvelope(alternative.(map[string]any)) {
					return true
				}
			}
		case "version", "id", "detail-type", "source", "account", "time", "region", "detail":
			return true
		}
	}
	return false
}

// envelopeOf is the event that EventBridge makes of a record.
func envelopeOf(r map[string]any) map[string]any {
	e := map[string]any{"version": "0", "id": "5c1d7a36-0000-4000-8000-000000000000", "resources": []any{}, "detail": r}
	if r["eventSource"] == "kms.amazonaws.com" {
		e["source"] = "aws.kms"
	}
	switch r["eventType"] {
	case "AwsApiCall":
		e["detail-type"] = "AWS API Call via CloudTrail"
	case "AwsServiceEvent":
		e["detail-type"] = "AWS Service Event via CloudTrail"
	case "AwsConsoleAction":
		e["detail-type"] = "AWS Console Action via CloudTrail"
	}
	for name, member := range map[string]string{"account": "recipientAccountId", "region": "awsRegion", "time": "eventTime"} {
		if v, ok := r[member]; ok {
			e[name] = v
		}
	}
	return e
}

// viewOfJSON is a view of a record, and the record as others decode it. It is
// not ok of what is no record, or has lists or objects where the contract has
// none: the translation counts on that.
func viewOfJSON(t rapid.TB, text string) (v *record.View, decoded map[string]any, ok bool) {
	t.Helper()
	r, err := record.FromJSON([]byte(text))
	if err != nil {
		return nil, nil, false
	}
	encoded, err := proto.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	v = new(record.View)
	if err := v.Reset(encoded); err != nil {
		t.Fatal(err)
	}
	decoded, ok = decodeObject(string(v.Root().AppendJSON(nil)))
	if !ok || !asContract(decoded, knownRecord) {
		return nil, nil, false
	}
	// The filter finds the ARN of a resource by either of its spellings.
	if list, ok := decoded["resources"].([]any); ok {
		for _, item := range list {
			if entry, ok := item.(map[string]any); ok {
				for _, names := range [][2]string{{"ARN", "arn"}, {"arn", "ARN"}} {
					if _, has := entry[names[1]]; !has && entry[names[0]] != nil {
						entry[names[1]] = entry[names[0]]
					}
				}
			}
		}
	}
	return v, decoded, true
}

func decodeObject(text string) (map[string]any, bool) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var m map[string]any
	return m, d.Decode(&m) == nil
}

// asContract reports whether there is no list, or no object either, where the
// contract has none.
func asContract(v any, known *member) bool {
	if list, ok := v.([]any); ok { // of resources, or lists of them
		return !slices.ContainsFunc(list, func(item any) bool { return !asContract(item, known) })
	}
	m, isObject := v.(map[string]any)
	if !isObject {
		return true
	}
	for name, member := range m {
		_, object := member.(map[string]any)
		_, list := member.([]any)
		switch kind := known.kind(name); {
		case list && kind != memberList, object && kind == memberScalar:
			return false
		case kind == memberObject || kind == memberList:
			if !asContract(member, known.below(name)) {
				return false
			}
		}
	}
	return true
}
