package filter

import (
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"regexp"
	"slices"
	"strings"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

// slowHolds is the specification of the package doc word by word, over a
// record's JSON decoded to maps: what matching is held to. It shares nothing
// with it but the tree. rec must be one that becomes JSON, and e must have no
// CEL expression.
func slowHolds(e *expr, rec *keytrailv1.Record) bool {
	return slow{rec, slowJSON(rec)}.holds(e, nil)
}

// slowJSON is a record's JSON as maps, lists, strings, json.Numbers and bools.
func slowJSON(rec *keytrailv1.Record) map[string]any {
	text, err := record.AppendJSON(nil, rec)
	if err != nil {
		panic(err)
	}
	x, ok := slowDecode(string(text))
	if !ok {
		panic("no JSON: " + string(text))
	}
	root := x.(map[string]any)
	// Real records spell ARN and arn, and either means both.
	if entries, isList := root["resources"].([]any); isList && len(entries) == len(rec.GetResources().GetEntries()) {
		for _, e := range entries {
			entry, _ := e.(map[string]any)
			upper, isUpper := entry["ARN"]
			lower, isLower := entry["arn"]
			switch {
			case isUpper && !isLower:
				entry["arn"] = upper
			case isLower && !isUpper:
				entry["ARN"] = lower
			}
		}
	}
	return root
}

func slowDecode(text string) (x any, ok bool) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if d.Decode(&x) != nil {
		return nil, false
	}
	_, err := d.Token()
	return x, err == io.EOF
}

type slow struct {
	rec  *keytrailv1.Record
	root map[string]any
}

// holds is about the record or, if there is one, about an element: element
// points to it.
func (s slow) holds(e *expr, element *any) bool {
	var from any = s.root
	if element != nil {
		from = *element
	}
	switch e.kind {
	case exprAll:
		for _, k := range e.kids {
			if !s.holds(k, element) {
				return false
			}
		}
		return true
	case exprAny:
		for _, k := range e.kids {
			if s.holds(k, element) {
				return true
			}
		}
		return false
	case exprNot:
		return !s.holds(e.kids[0], element)
	case exprElement:
		return slices.ContainsFunc(slowPath(from, e.element.path.steps), func(x any) bool { return s.holds(e.kids[0], &x) })
	case exprTest:
		return s.test(e.test, from)
	}
	panic("no oracle for CEL")
}

// slowPath is the values that a path leads to.
func slowPath(from any, steps []step) []any {
	if len(steps) == 0 {
		return []any{from}
	}
	rest := steps[1:]
	switch steps[0].kind {
	case stepMember:
		object, _ := from.(map[string]any)
		if member, has := object[steps[0].name]; has {
			return slowPath(member, rest)
		}
	case stepEach:
		var all []any
		for _, x := range slowElements(from) {
			all = append(all, slowPath(x, rest)...)
		}
		return all
	case stepDocument:
		switch x := from.(type) {
		case []any, map[string]any:
			return slowPath(x, rest)
		case string:
			if document, ok := slowDecode(x); ok {
				return slowPath(document, rest)
			}
		}
	}
	return nil
}

// slowElements opens lists, also those within lists; all else is its only
// element.
func slowElements(x any) []any {
	list, is := x.([]any)
	if !is {
		return []any{x}
	}
	var all []any
	for _, e := range list {
		all = append(all, slowElements(e)...)
	}
	return all
}

func (s slow) test(t *test, from any) bool {
	var values []any
	if t.of.name == pathOnly {
		values = slowPath(from, t.of.path.steps)
	} else {
		values = s.named(t.of.name)
	}
	switch t.op {
	case keytrailv1.Operator_OPERATOR_EXISTS:
		return slices.ContainsFunc(values, func(x any) bool { return x != nil && slowKind(t.of.only, x) })
	case keytrailv1.Operator_OPERATOR_IS_NULL:
		return slices.Contains(slowKinds(values), record.Null)
	}
	looked := 0 // at, by regular expressions
	for _, x := range values {
		for _, x := range slowElements(x) {
			if slowKind(t.of.only, x) && slowCompare(t, x, &looked) {
				return true
			}
		}
	}
	return false
}

// named is the values of a named field.
func (s slow) named(n namedField) (values []any) {
	text := func(names ...string) string {
		var x any = s.root
		for _, name := range names {
			object, _ := x.(map[string]any)
			x = object[name]
		}
		v, _ := x.(string)
		return v
	}
	add := func(v string) {
		if v != "" {
			values = append(values, v)
		}
	}
	switch n {
	case fieldOutcome:
		code := s.rec.GetErrorCode()
		switch {
		case code == "":
			return []any{"success"}
		case record.Denied(code):
			return []any{"failure", "denied"}
		}
		return []any{"failure"}
	case fieldKey:
		for _, r := range s.rec.GetResources().GetEntries() {
			add(r.GetArn())
			if _, alias, is := strings.Cut(r.GetArn(), ":alias/"); is && !record.IsKeyARN(r.GetArn()) {
				add("alias/" + alias)
			}
			add(record.KeyID(r.GetArn()))
		}
	case fieldPrincipal:
		add(text("userIdentity", "arn"))
		add(text("userIdentity", "sessionContext", "sessionIssuer", "arn"))
		add(text("userIdentity", "invokedBy"))
	case fieldCrossAccount:
		caller, owner := text("userIdentity", "accountId"), s.rec.GetRecipientAccountId()
		return []any{caller != "" && owner != "" && caller != owner}
	case fieldClass:
		op, known := record.LookupOperation(s.rec.GetEventName())
		switch {
		case !known:
		case op.Class == record.Cryptographic:
			add("cryptographic")
		case op.Class == record.Management:
			add("management")
		case op.Class == record.Inspection:
			add("read")
		case op.Class == record.ServiceEvent || op.Class == record.InternalCall:
			add("internal")
		}
	case fieldSourceIP:
		if a := text("sourceIPAddress"); net.ParseIP(a) != nil {
			add(a)
		}
	case fieldReadOnly:
		return []any{s.rec.GetReadOnly()}
	}
	return values
}

func slowKinds(values []any) (kinds []record.Kind) {
	for _, x := range values {
		switch x.(type) {
		case nil:
			kinds = append(kinds, record.Null)
		case bool:
			kinds = append(kinds, record.Boolean)
		case json.Number:
			kinds = append(kinds, record.Number)
		case string:
			kinds = append(kinds, record.String)
		case []any:
			kinds = append(kinds, record.List)
		default:
			kinds = append(kinds, record.Object)
		}
	}
	return kinds
}

func slowKind(only record.Kind, x any) bool {
	return only == record.Missing || slowKinds([]any{x})[0] == only
}

func slowCompare(t *test, x any, looked *int) bool {
	var text string
	switch x := x.(type) {
	case string:
		text = x
	case json.Number:
		text = x.String()
	case bool:
		text = fmt.Sprint(x)
	default:
		return false // an object or null
	}
	if t.of.accountOf {
		parts := strings.Split(text, ":")
		if _, isText := x.(string); !isText || len(parts) < 5 || parts[0] != "arn" || parts[4] == "" {
			return false
		}
		text = parts[4]
	}
	if t.op == keytrailv1.Operator_OPERATOR_MATCHES && (t.of.name != fieldKey || t.of.accountOf || strings.HasPrefix(text, "arn:")) {
		if *looked += len(text); *looked > 16<<10 {
			return false
		}
	}
	number, isNumber := x.(json.Number)
	for _, v := range t.values {
		if t.of.name == fieldKey && !t.of.accountOf {
			// ARNs with expressions and with what has a ":", key IDs and names
			// of aliases with all else.
			arn := t.op == keytrailv1.Operator_OPERATOR_MATCHES || strings.Contains(v, ":")
			if arn != strings.HasPrefix(text, "arn:") {
				continue
			}
		}
		if isNumber && slowNumbers(t.op, number.String(), v) || slowTexts(t, text, v) {
			return true
		}
	}
	return false
}

func slowNumbers(op keytrailv1.Operator, x, v string) bool {
	a, b := slowNumber(x), slowNumber(v)
	if a == nil || b == nil {
		return false
	}
	c := a.Cmp(b)
	switch op {
	case keytrailv1.Operator_OPERATOR_EQUALS:
		return c == 0
	case keytrailv1.Operator_OPERATOR_WILDCARD: // without a wildcard it is a number
		return c == 0
	case keytrailv1.Operator_OPERATOR_LESS:
		return c < 0
	case keytrailv1.Operator_OPERATOR_LESS_OR_EQUAL:
		return c <= 0
	case keytrailv1.Operator_OPERATOR_GREATER:
		return c > 0
	case keytrailv1.Operator_OPERATOR_GREATER_OR_EQUAL:
		return c >= 0
	}
	return false
}

// slowNumber is nil for what is no JSON number.
func slowNumber(s string) *big.Rat {
	if s == "" || !strings.Contains("-0123456789", s[:1]) || !json.Valid([]byte(s)) {
		return nil
	}
	n, _ := new(big.Rat).SetString(s)
	return n
}

func slowTexts(t *test, text, v string) bool {
	same := func(a, b string) bool { return a == b }
	flags := "(?s)"
	if t.of.nocase {
		same = strings.EqualFold
		flags = "(?si)"
	}
	switch t.op {
	case keytrailv1.Operator_OPERATOR_EQUALS:
		return same(text, v)
	case keytrailv1.Operator_OPERATOR_WILDCARD:
		parts := strings.Split(v, "*")
		for i, p := range parts {
			parts[i] = regexp.QuoteMeta(p)
		}
		return regexp.MustCompile(flags + `\A` + strings.Join(parts, ".*") + `\z`).MatchString(text)
	case keytrailv1.Operator_OPERATOR_STARTS_WITH, keytrailv1.Operator_OPERATOR_ENDS_WITH, keytrailv1.Operator_OPERATOR_CONTAINS:
		all, part := []rune(text), []rune(v)
		for i := 0; i+len(part) <= len(all); i++ {
			if t.op == keytrailv1.Operator_OPERATOR_STARTS_WITH && i > 0 ||
				t.op == keytrailv1.Operator_OPERATOR_ENDS_WITH && i+len(part) < len(all) {
				continue
			}
			if same(string(all[i:i+len(part)]), v) {
				return true
			}
		}
	case keytrailv1.Operator_OPERATOR_MATCHES:
		if t.of.nocase {
			v = "(?i)" + v
		}
		return regexp.MustCompile(v).MatchString(text)
	case keytrailv1.Operator_OPERATOR_CIDR:
		ip := net.ParseIP(text)
		_, block, err := net.ParseCIDR(v)
		if err != nil {
			return ip != nil && ip.Equal(net.ParseIP(v))
		}
		return ip != nil && block.Contains(ip)
	}
	return false
}
