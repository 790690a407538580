package filter

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

// maxWarnings is how many warnings a filter gets.
const maxWarnings = 20

// warnings says what is odd about e: paths that no record of the KMS'
// operations has, and values that no record has there.
func (e *expr) warnings() []string {
	w := warner{at: recordCursor}
	w.expr(e)
	return w.list
}

type warner struct {
	list   []string
	seen   map[string]bool // what was warned of: finding what else is meant takes long
	inside bool            // within the parentheses of an element
	inCEL  bool            // of what a CEL expression needs
	at     cursor          // where paths begin
}

func (w *warner) add(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); len(w.list) < maxWarnings && !slices.Contains(w.list, s) {
		w.list = append(w.list, s)
	}
}

// once reports whether to warn of what is at fault.
func (w *warner) once(what string) bool {
	if w.seen[what] || len(w.list) == maxWarnings {
		return false
	}
	if w.seen == nil {
		w.seen = make(map[string]bool)
	}
	w.seen[what] = true
	return true
}

func (w *warner) expr(e *expr) {
	if len(w.list) == maxWarnings {
		return
	}
	switch e.kind {
	case exprTest:
		w.test(e.test)
		return
	case exprNot:
		if t := e.kids[0].test; t != nil && t.op == keytrailv1.Operator_OPERATOR_IS_NULL {
			w.notNull(t)
		}
	case exprCEL:
		if e.cel.needs != nil {
			w.inCEL = true
			w.expr(e.cel.needs)
			w.inCEL = false
		}
		return
	case exprElement:
		w.path(e.element.path.steps)
		inside, at := w.inside, w.at
		defer func() { w.inside, w.at = inside, at }()
		w.inside, w.at = true, at.follow(e.element.path.steps)
	}
	for _, k := range e.kids {
		w.expr(k)
	}
}

func (w *warner) test(t *test) {
	if !w.inCEL { // whose texts have no wildcards
		w.stars(t)
	}
	switch {
	case t.of.name == fieldKey:
		w.keys(t)
	case t.of.name == fieldSourceIP:
		w.addresses(t, "sourceIP")
	case t.of.name != pathOnly || !w.path(t.of.path.steps) || w.inside || len(t.of.path.steps) != 1:
	default:
		if name := t.of.path.steps[0].name; t.op >= keytrailv1.Operator_OPERATOR_LESS {
			w.add("%s holds no numbers, and only numbers have an order", name)
			return
		}
		switch t.of.path.steps[0].name {
		case "eventName":
			w.events(t)
		case "eventSource":
			w.sources(t)
		case "recipientAccountId":
			w.accounts(t)
		case "sourceIPAddress":
			w.addresses(t, "sourceIPAddress")
		}
	}
}

// notNull warns of a condition that means less than it does in SQL.
func (w *warner) notNull(t *test) {
	p := printer{inside: w.inside, at: w.at}
	p.path(t.of.path.steps)
	w.add("%s is not null also holds where it is missing; write exists %s for where it is there", p.buf, p.buf)
}

// path warns of a path that no record has, and reports whether it is fine.
func (w *warner) path(steps []step) bool {
	at := w.at
	for i, s := range steps {
		if s.kind == stepMember && i >= 2 && steps[i-1].name == "Statement" && steps[i-2].kind == stepDocument {
			p := printer{inside: w.inside, at: w.at}
			p.path(steps[:i])
			w.add("%s is a list in most policies, whose members are not looked at; write %s[], which is also right for a single one", p.buf, p.buf)
			return false
		}
		if s.kind == stepMember && at.lacks(s.name) {
			p := printer{inside: w.inside, at: w.at}
			p.path(steps[:i+1])
			path := string(p.buf)
			switch {
			case !w.once(w.at.m.path + "/" + path):
			case at.m.list && !at.element && at.m.members[s.name] != nil:
				w.add("%s is a list, so that %s is never there; did you mean %s?", at.m.path, path, at.m.members[s.name].path)
			case w.inside:
				w.add("no record of the KMS' operations has %s in %s[]%s", path, w.at.m.path, asQuestion(w.at.suggest(path)))
			default:
				w.add("no record of the KMS' operations has %s%s", path, asQuestion(w.at.suggest(path)))
			}
			return false
		}
		at = at.next(s)
	}
	return true
}

func asQuestion(fields []string) string {
	if len(fields) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(fields, " or ") + "?"
}

// operationNames are the names of the catalogue's operations.
var operationNames = func() (names []string) {
	for op := range record.Operations() {
		names = append(names, op.Name)
	}
	return names
}()

// events warns of values that are the name of no operation.
func (w *warner) events(t *test) {
	wild := t.op == keytrailv1.Operator_OPERATOR_WILDCARD
	for _, v := range t.values {
		// What most filters have, without making a condition of each value.
		if wild || t.op == keytrailv1.Operator_OPERATOR_EQUALS {
			if _, known := record.LookupOperation(v); known {
				continue
			}
			if wild && slices.ContainsFunc(operationNames, func(name string) bool { return matchGlob(v, name) }) {
				continue
			}
		}
		one, bad := newTest(t.of, t.op, []string{v})
		if bad != nil || !one.test.takesTexts() {
			return
		}
		if slices.ContainsFunc(operationNames, one.test.takes) {
			continue
		}
		if !w.once("event " + v) {
			continue
		}
		name := v[strings.LastIndexByte(v, ':')+1:] // kms:Decrypt is how policies write it
		w.add("no operation of the KMS that this version knows has a name that matches %s%s", quote(shortened(v)), didYouMean(name, operationNames))
	}
}

// takesTexts reports whether t compares texts.
func (t *test) takesTexts() bool {
	switch t.op {
	case keytrailv1.Operator_OPERATOR_EQUALS, keytrailv1.Operator_OPERATOR_WILDCARD, keytrailv1.Operator_OPERATOR_STARTS_WITH,
		keytrailv1.Operator_OPERATOR_ENDS_WITH, keytrailv1.Operator_OPERATOR_CONTAINS, keytrailv1.Operator_OPERATOR_MATCHES:
		return !t.of.accountOf && (t.of.only == record.Missing || t.of.only == record.String)
	}
	return false
}

// takes reports whether t holds for a text.
func (t *test) takes(s string) bool {
	w := walk{test: t}
	return w.compare(s)
}

// stars warns of asterisks that are compared as they are, where no record has any.
func (w *warner) stars(t *test) {
	p := &t.of.path
	var field string
	switch {
	case t.op != keytrailv1.Operator_OPERATOR_EQUALS:
		return
	case t.of.name == fieldKey:
		field = "key"
	case t.of.name == fieldPrincipal:
		field = "principal"
	case len(p.steps) == 2 && int(p.taken) == 2 && p.field == callerARN:
		field = "userIdentity.arn"
	default:
		return
	}
	for _, v := range t.values {
		if strings.Contains(v, "*") {
			w.add(`%s is compared with %s as it is; for a wildcard, leave out the quotes or write ~`, field, quote(shortened(v)))
		}
	}
}

// keys warns of values that are compared with what they cannot be: one without
// a ":" is no ARN.
func (w *warner) keys(t *test) {
	if t.of.accountOf || t.op != keytrailv1.Operator_OPERATOR_EQUALS && t.op != keytrailv1.Operator_OPERATOR_WILDCARD && t.op != keytrailv1.Operator_OPERATOR_STARTS_WITH {
		return
	}
	for _, v := range t.values {
		switch {
		case strings.HasPrefix(v, "alias/") || strings.Contains(v, ":alias/"):
			w.add("%s finds calls about the alias itself, such as UpdateAlias; for calls that use its key give the key ID or key ARN", quote(shortened(v)))
		case strings.Contains(v, ":"):
		case strings.HasPrefix(v, "arn"):
			w.add(`%s is compared with key IDs and names of aliases; write "arn:" to compare with ARNs`, quote(shortened(v)))
		case t.op != keytrailv1.Operator_OPERATOR_STARTS_WITH && !strings.ContainsAny(v, "*/-"):
			w.add(`no key ID is %s, and names of aliases begin with "alias/"`, quote(shortened(v)))
		}
	}
}

// sources warns of services that are none.
func (w *warner) sources(t *test) {
	if t.op != keytrailv1.Operator_OPERATOR_EQUALS {
		return
	}
	for _, v := range t.values {
		if !strings.Contains(v, ".") {
			w.add("no service is called %s in a record; they are like kms.amazonaws.com", quote(shortened(v)))
		}
	}
}

// accounts warns of accounts that are none.
func (w *warner) accounts(t *test) {
	if t.op != keytrailv1.Operator_OPERATOR_EQUALS {
		return
	}
	for _, v := range t.values {
		if len(v) != 12 || strings.Trim(v, "0123456789") != "" {
			w.add("no account is called %s; they have 12 digits", quote(shortened(v)))
		}
	}
}

// addresses warns of addresses that are none.
func (w *warner) addresses(t *test, field string) {
	if t.op != keytrailv1.Operator_OPERATOR_EQUALS {
		return
	}
	for _, v := range t.values {
		if _, err := netip.ParsePrefix(v); err == nil {
			w.add("%s is never %s; write %s cidr %s for an address in that block", field, v, field, v)
		} else if _, err := netip.ParseAddr(v); err != nil && t.of.name == fieldSourceIP {
			w.add("sourceIP is never %s, for it holds addresses alone; sourceIPAddress has names of hosts as well", quote(shortened(v)))
		}
	}
}
