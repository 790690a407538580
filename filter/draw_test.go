package filter

import (
	"encoding/json"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/internal/sample"
	"github.com/keytrail/keytrail/record"
)

const (
	keyA   = "arn:aws:kms:us-west-2:210987654321:key/5a1b7c1e-4c1f-4d7e-9a51-000000000001"
	keyB   = "arn:aws:kms:us-west-2:210987654321:key/5a1b7c1e-4c1f-4d7e-9a51-000000000002"
	keyMRK = "arn:aws:kms:eu-central-1:210987654321:key/mrk-5a1b7c1e4c1f4d7e9a51000000000003"

	aliasA = "arn:aws:kms:us-west-2:210987654321:alias/payroll"
)

// What filters and records are drawn from: few things that often meet.
var (
	drawnPaths = []string{
		"event", "account", "region", "eventSource", "userIdentity.arn", "userIdentity.accountId", "userIdentity.userName",
		"userIdentity.sessionContext.sessionIssuer.arn", "sourceIPAddress", "errorCode", "userIdentity", "eventTime",
		"managementEvent", "resources", "resources[].ARN", "resources[].arn", "resources[].accountId", `resources["ARN"]`, `["readOnly"]`, `["new"]`, `["new"].arn`,
		"requestParameters", "requestParameters.keyId", "requestParameters.numberOfBytes", "requestParameters.dryRun",
		`requestParameters.encryptionContext["aws:s3:arn"]`, "requestParameters.operations", "requestParameters.operations[]",
		"requestParameters.tags[].tagKey", "requestParameters.tags[].tagValue", "requestParameters.tags",
		"json(requestParameters.policy).Statement[].Principal", "json(requestParameters.policy).Statement[].Principal.AWS",
		"json(requestParameters.policy).Statement[].Action", "json(requestParameters.policy).Statement.Action", "json(userAgent).a", "json(json(requestParameters.policy).Id)[].b",
		"responseElements.keyId", "additionalEventData.recipient", `userIdentity["userName"]["x"]`, "userIdentity.onBehalfOf.userId",
	}
	drawnLists = []string{
		"resources[]", "requestParameters.tags[]", "requestParameters.operations[]", "json(requestParameters.policy).Statement[]",
		"requestParameters.encryptionContext[]", `["new"][]`,
	}
	drawnMembers = []string{
		"[]", "ARN", "arn", "accountId", "tagKey", "tagValue", "Action", "Principal", "Principal.AWS", "Action[]", "json(tagValue).a", "json([]).a", `["exists"]`, `["and"].b`,
	}
	drawnTexts = []string{
		"Decrypt", "GenerateDataKey", "GenerateDataKeyPair", "Encrypt", keyA, keyB, keyMRK, aliasA, record.KeyID(keyA), "alias/payroll",
		"210987654321", "322098765432", "us-west-2", "arn:aws:iam::210987654321:role/ops-1", "arn:aws:sts::322098765432:assumed-role/ops/x",
		"10.1.2.3", "2001:db8::1", "::ffff:10.1.2.3", "kms.amazonaws.com", "AccessDenied", "DisabledException", "", "true", "false", "null", "7", "7.0", "-1e2", "x y", "é", "ſ", "K", "k",
		`{"a":"x","Id":"[{\"b\":7}]"}`, `{"Statement":{"Effect":"Allow","Principal":"*","Action":["kms:Encrypt","kms:*"]}}`, `{"Statement":[{"Principal":{"AWS":"*"},"Action":"kms:Encrypt"},null,[{"Action":7}]]}`,
		"*", "a*b", "ops", "tab\tand \"quote\" and \\", "Owner", "a/b", "\u2028\U000e0001", "2026-11-30T10:20:30Z",
	}
	drawnWild   = []string{"*", "Generate*", "*Key", "D*t", "arn:*", "*ops*", "mrk-*", "* y", "\"*", "*é*", "1*", "**", "alias/*", "2026-*"}
	drawnRegexp = []string{"^De", "ops-[0-9]+", "(?i)decrypt", "^$", ".", "a|b", `"`, "7"}
	drawnBlocks = []string{"10.0.0.0/8", "10.1.2.3", "2001:db8::/32", "0.0.0.0/0", "::/0", "::ffff:10.0.0.0/104"}
	drawnNumber = []string{"7", "-100", "0", "7.00", "1e3", "-0.5", "9007199254740993"}
)

func mustOperand(text string, inside bool) operand {
	of, err := parseOperand(text, inside)
	if err != nil {
		panic(err)
	}
	return of
}

// drawExpr draws any tree, also ones that no dialect would build.
func drawExpr(t *rapid.T, depth int, inside bool) *expr {
	kind := rapid.IntRange(0, 9).Draw(t, "kind")
	if depth == 0 && kind < 5 {
		kind = 5
	}
	kids := func(least int) (list []*expr) {
		for range rapid.IntRange(least, 3).Draw(t, "kids") {
			list = append(list, drawExpr(t, depth-1, inside))
		}
		return list
	}
	switch kind {
	case 0, 1:
		return &expr{kind: exprAll, kids: kids(0)}
	case 2:
		return &expr{kind: exprAny, kids: kids(0)}
	case 3:
		return &expr{kind: exprNot, kids: []*expr{drawExpr(t, depth-1, inside)}}
	case 4:
		list := mustOperand(rapid.SampledFrom(drawnLists).Draw(t, "list"), false)
		if inside {
			list = mustOperand(rapid.SampledFrom([]string{"[]", "Action[]", `["and"][]`}).Draw(t, "list"), true)
		}
		return &expr{kind: exprElement, element: &list, kids: []*expr{drawExpr(t, depth-1, true)}}
	}
	return drawTest(t, inside)
}

func drawTest(t *rapid.T, inside bool) *expr {
	for {
		of := drawOperand(t, inside)
		op := keytrailv1.Operator(rapid.IntRange(1, 13).Draw(t, "operator"))
		var values []string
		if op != keytrailv1.Operator_OPERATOR_EXISTS && op != keytrailv1.Operator_OPERATOR_IS_NULL {
			from := drawnTexts
			switch {
			case choices[of.name] != nil:
				from = choices[of.name]
			case op == keytrailv1.Operator_OPERATOR_WILDCARD:
				from = append(drawnWild[:len(drawnWild):len(drawnWild)], drawnTexts...)
			case op == keytrailv1.Operator_OPERATOR_MATCHES:
				from = drawnRegexp
			case op == keytrailv1.Operator_OPERATOR_CIDR:
				from = drawnBlocks
			case op >= keytrailv1.Operator_OPERATOR_LESS:
				from = drawnNumber
			}
			values = rapid.SliceOfN(rapid.SampledFrom(from), 1, 3).Draw(t, "values")
		}
		if e, bad := newTest(of, op, values); bad == nil {
			return e
		}
	}
}

func drawOperand(t *rapid.T, inside bool) operand {
	from := drawnPaths
	if inside {
		from = drawnMembers
	}
	of := mustOperand(rapid.SampledFrom(from).Draw(t, "path"), inside)
	if !inside && rapid.IntRange(0, 2).Draw(t, "named") == 0 {
		of = operand{name: namedField(rapid.IntRange(1, int(fieldReadOnly)).Draw(t, "name"))}
	}
	switch rapid.IntRange(0, 6).Draw(t, "function") {
	case 0:
		of.nocase = true
	case 1:
		of.accountOf = of.name == pathOnly || of.name == fieldKey || of.name == fieldPrincipal
	case 2:
		if of.name == pathOnly {
			of.only = rapid.SampledFrom([]record.Kind{record.String, record.Number, record.Boolean}).Draw(t, "type")
		}
	}
	return of
}

// drawJSON draws a value that a member may have.
func drawJSON(t *rapid.T, depth int) any {
	kind := rapid.IntRange(0, 9).Draw(t, "json")
	if depth == 0 && kind > 7 {
		kind = 0
	}
	switch kind {
	case 5:
		return json.Number(rapid.SampledFrom(drawnNumber).Draw(t, "number"))
	case 6:
		return rapid.Bool().Draw(t, "bool")
	case 7:
		return nil
	case 8:
		var list []any
		for range rapid.IntRange(0, 3).Draw(t, "elements") {
			list = append(list, drawJSON(t, depth-1))
		}
		return list
	case 9:
		return drawObject(t, depth-1, drawnNames)
	}
	return rapid.SampledFrom(drawnTexts).Draw(t, "text")
}

var (
	drawnNames = []string{"keyId", "numberOfBytes", "dryRun", "aws:s3:arn", "tagKey", "tagValue", "operations", "tags", "policy", "Action", "Principal", "AWS", "Statement", "a", "and", "exists", "recipient", "encryptionContext", "ARN", "arn", "x"}
	drawnTops  = []string{
		"eventName", "recipientAccountId", "awsRegion", "eventSource", "sourceIPAddress", "errorCode", "userAgent", "readOnly", "managementEvent",
		"resources", "requestParameters", "responseElements", "additionalEventData", "userIdentity", "new", "eventTime",
	}
	drawnCaller = []string{"arn", "accountId", "userName", "invokedBy", "sessionContext", "onBehalfOf", "new"}
)

func drawObject(t *rapid.T, depth int, names []string) map[string]any {
	object := make(map[string]any)
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 6, rapid.ID[string]).Draw(t, "names") {
		object[name] = drawMember(t, depth, name)
	}
	return object
}

// drawMember draws what a member mostly is, and sometimes something else.
func drawMember(t *rapid.T, depth int, name string) any {
	if depth <= 0 || rapid.IntRange(0, 9).Draw(t, "odd") == 0 {
		return drawJSON(t, depth)
	}
	switch name {
	case "userIdentity":
		return drawObject(t, depth-1, drawnCaller)
	case "sessionContext":
		return map[string]any{"sessionIssuer": map[string]any{"arn": drawJSON(t, 0)}}
	case "requestParameters", "responseElements", "additionalEventData", "recipient", "encryptionContext", "onBehalfOf", "new":
		return drawObject(t, depth-1, drawnNames)
	case "resources":
		var list []any
		for range rapid.IntRange(0, 3).Draw(t, "resources") {
			list = append(list, drawObject(t, 0, []string{"ARN", "arn", "accountId", "type"}))
		}
		return list
	case "tags", "Statement":
		var list []any
		for range rapid.IntRange(0, 3).Draw(t, "entries") {
			list = append(list, drawObject(t, depth-1, []string{"tagKey", "tagValue", "Action", "Principal", "exists", "and"}))
		}
		return list
	}
	return drawJSON(t, depth)
}

// drawAnyRecord draws a record: of the generator, or of anything.
func drawAnyRecord(t *rapid.T) *keytrailv1.Record {
	if rapid.IntRange(0, 5).Draw(t, "generated") == 0 {
		return sample.New(sample.Config{Seed: rapid.Uint64Range(0, 1000).Draw(t, "seed"), Keys: 40}).Next()
	}
	text, err := json.Marshal(drawObject(t, 4, drawnTops))
	if err != nil {
		t.Fatal(err)
	}
	rec, err := record.FromJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func viewOf(t rapid.TB, rec *keytrailv1.Record) *record.View {
	t.Helper()
	v, err := newView(rec)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func newView(rec *keytrailv1.Record) (*record.View, error) {
	encoded, err := proto.Marshal(rec)
	if err != nil {
		return nil, fmt.Errorf("marshal: %w", err)
	}
	v := new(record.View)
	return v, v.Reset(encoded)
}

func jsonOf(rec *keytrailv1.Record) string {
	text, err := record.AppendJSON(nil, rec)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// checkHolds holds matching, and printing and reading back, to the oracle.
func checkHolds(t *rapid.T) {
	e, rec := drawExpr(t, 4, false), drawAnyRecord(t)
	v, err := newView(rec)
	if err != nil {
		t.Fatal(err)
	}
	want := slowHolds(e, rec)
	if got := e.holds(scope{view: v}); got != want {
		t.Errorf("%s holds: %v, the specification says %v, for %s", e.text(), got, want, jsonOf(rec))
	}
	again := reparse(t, e)
	if got := slowHolds(again, rec); got != want {
		t.Errorf("%s, read back, holds: %v, want %v, for %s", e.text(), got, want, jsonOf(rec))
	}
}

// reparse reads back what is printed, and checks that it is printed the same.
func reparse(t interface {
	Helper()
	Fatalf(string, ...any)
}, e *expr,
) *expr {
	t.Helper()
	text := e.text()
	again, err := parseText(text)
	if err != nil {
		t.Fatalf("what is printed does not read back: %s: %v", text, err)
	}
	if got := again.text(); got != text {
		t.Fatalf("printed %s, and after reading back %s", text, got)
	}
	return again
}

func TestHoldsAgainstSlow(t *testing.T) { rapid.Check(t, checkHolds) }

// FuzzHolds does the same with seeds of rapid's own.
func FuzzHolds(f *testing.F) { f.Fuzz(rapid.MakeFuzz(checkHolds)) }
