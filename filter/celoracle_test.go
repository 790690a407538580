package filter

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	celop "cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	celparser "cel.dev/cel-go/parser"

	"pgregory.net/rapid"

	"github.com/keytrail/keytrail/record"
)

// oracleEnv is cel-go itself, which knows no types of members.
var oracleEnv = sync.OnceValue(func() *cel.Env {
	options := []cel.EnvOption{
		cel.CrossTypeNumericComparisons(true),
		cel.Macros(celparser.NewGlobalMacro(celop.Has, 1, oracleHas)),
		cel.Function(jsonFunction, cel.Overload("json_dyn", []*cel.Type{cel.DynType}, cel.DynType, cel.UnaryBinding(oracleDocument))),
	}
	for _, name := range theCELEnv().names {
		if !slices.Contains(theCELEnv().functions, name) {
			options = append(options, cel.Variable(name, cel.DynType))
		}
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		panic(err)
	}
	return env
})

// oracleHas asks of each object that the contract names whether it is there.
func oracleHas(h celparser.ExprHelper, target ast.Expr, args []ast.Expr) (ast.Expr, *common.Error) {
	if args[0].Kind() == ast.IdentKind {
		return h.NewPresenceTest(h.NewIdent(recordVariable), args[0].AsIdent()), nil
	}
	last, err := celparser.MakeHas(h, target, args)
	if err != nil {
		return nil, err
	}
	var names []string
	e := args[0]
	for e.Kind() == ast.SelectKind {
		names = append([]string{e.AsSelect().FieldName()}, names...)
		e = e.AsSelect().Operand()
	}
	if e.Kind() == ast.IdentKind && e.AsIdent() != recordVariable {
		names = append([]string{e.AsIdent()}, names...)
	}
	if _, taken := record.FieldOf(names...); e.Kind() == ast.IdentKind {
		for taken = min(taken, len(names)-1); taken > 0; taken-- {
			var of ast.Expr = h.NewIdent(recordVariable)
			for _, name := range names[:taken-1] {
				of = h.NewSelect(of, name)
			}
			last = h.NewCall(celop.LogicalAnd, h.NewPresenceTest(of, names[taken-1]), last)
		}
	}
	return last, nil
}

func oracleDocument(x ref.Val) ref.Val {
	switch x := x.(type) {
	case types.String:
		if v, ok := decodeJSON([]byte(x)); ok {
			return types.DefaultTypeAdapter.NativeToValue(v)
		}
	default:
		if x.Type() == types.ListType || x.Type() == types.MapType {
			return x
		}
	}
	return types.NewErr("no document")
}

func decodeJSON(text []byte) (any, bool) {
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil || d.More() {
		return nil, false
	}
	return withNumbers(v), true
}

// withNumbers makes integers of numbers that are written as such.
func withNumbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			v[k] = withNumbers(x)
		}
	case []any:
		for i, x := range v {
			v[i] = withNumbers(x)
		}
	case json.Number:
		if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
			return n
		}
		f, _ := strconv.ParseFloat(string(v), 64)
		return f
	}
	return v
}

// oracleVars are the variables of an expression, of the record as JSON.
func oracleVars(t rapid.TB, text string, v *record.View) map[string]any {
	r, err := record.FromJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	whole, err := record.AppendJSON(nil, r)
	if err != nil {
		t.Fatal(err)
	}
	decoded, _ := decodeJSON(whole)
	members := decoded.(map[string]any)
	for _, resource := range asList(members["resources"]) {
		if m, ok := resource.(map[string]any); ok && m["ARN"] == nil && m["arn"] != nil {
			m["ARN"] = m["arn"]
		} else if ok && m["ARN"] != nil && m["arn"] == nil {
			m["arn"] = m["ARN"]
		}
	}
	if s, ok := members["eventTime"].(string); ok {
		members["eventTime"] = types.NewErr("no time")
		if at, err := time.Parse(time.RFC3339, s); err == nil && at.Year() >= 1 && at.Year() <= 9999 {
			members["eventTime"] = at
		}
	}
	vars := maps.Clone(members)
	vars[recordVariable] = members
	for short, name := range shortNames {
		delete(vars, short) // which may be the name of a member that nobody knows
		if x, ok := members[name]; ok {
			vars[short] = x
		}
	}
	for name, n := range namedFields {
		texts := n.appendTexts(nil, v)
		switch {
		case n == fieldOutcome || n == fieldKey || n == fieldPrincipal:
			vars[name] = texts
		case len(texts) == 0:
			delete(vars, name)
		case texts[0] == "true" || texts[0] == "false":
			vars[name] = texts[0] == "true"
		default:
			vars[name] = texts[0]
		}
	}
	return vars
}

func asList(x any) []any {
	l, _ := x.([]any)
	return l
}

// celGo is an expression, compiled by cel-go.
func celGo(t rapid.TB, expression string) cel.Program {
	parsed, issues := oracleEnv().Compile(expression)
	if issues.Err() != nil {
		t.Fatalf("%s\ncel-go: %v", expression, issues.Err())
	}
	program, err := oracleEnv().Program(parsed)
	if err != nil {
		t.Fatalf("%s\ncel-go: %v", expression, err)
	}
	return program
}

func oracleOutcome(program cel.Program, vars map[string]any) celOutcome {
	switch x, _, _ := program.Eval(vars); x {
	case types.True:
		return celHolds
	case types.False:
		return celHoldsNot
	}
	return celFails
}

func TestCELOracle(t *testing.T) {
	for _, tt := range celTests {
		for _, text := range []string{decrypt, putPolicy, bare, tt.record} {
			agree(t, tt.expression, text)
		}
	}
}

// TestCELRealRecords does the same with real records.
func TestCELRealRecords(t *testing.T) {
	type pair struct {
		ours   *celExpr
		theirs cel.Program
	}
	var pairs []pair
	for _, tt := range celTests {
		pairs = append(pairs, pair{compileTestCEL(t, tt.expression), celGo(t, tt.expression)})
	}
	held := 0
	for _, r := range realRecords(t) {
		text, err := record.AppendJSON(nil, r)
		if err != nil {
			t.Fatal(err)
		}
		v := celView(t, string(text))
		vars := oracleVars(t, string(text), v)
		for _, p := range pairs {
			compareCEL(t, p.ours, p.theirs, v, vars)
			if p.ours.holds(v) {
				held++
			}
		}
	}
	if held == 0 {
		t.Error("nothing holds for any record")
	}
}

// agree compares an expression with cel-go, and with what it needs.
func agree(t rapid.TB, expression, text string) {
	v := celView(t, text)
	compareCEL(t, compileTestCEL(t, expression), celGo(t, expression), v, oracleVars(t, text, v))
}

func compareCEL(t rapid.TB, c *celExpr, theirs cel.Program, v *record.View, vars map[string]any) {
	r := &celRun{view: v, left: MaxCELSteps}
	got := celFails
	if x := c.root.eval(r); x.kind == celBool {
		got = celOutcome(x.num)
	}
	if r.left < 0 || r.matched > maxRegexpInput {
		return
	}
	if got == celHolds && c.needs != nil && !c.needs.holds(scope{view: v}) {
		t.Errorf("%s\nholds for %s\nbut not what it needs: %v", c.source, v.Root().AppendJSON(nil), c.needs.text())
	}
	switch {
	case strings.Contains(c.source, jsonFunction) && got == celFails: // json takes texts of the record alone
	case strings.Contains(c.source, "string") && strings.Contains(c.source, "timestamp"): // of another zone
	case strings.Contains(c.source, "dyn(record") && vars["eventTime"] != nil: // where it's text
	default:
		want := oracleOutcome(theirs, vars)
		for i := 0; got != want; i++ { // the keys of a map come in any order there
			if i == 20 {
				t.Errorf("%s\nis %v for %s\ncel-go: %v", c.source, got, v.Root().AppendJSON(nil), want)
				return
			}
			want = oracleOutcome(theirs, vars)
		}
	}
}

// FuzzCEL compiles any text, and compares what compiles with cel-go.
func FuzzCEL(f *testing.F) {
	for _, tt := range celTests {
		f.Add(tt.expression, tt.record)
	}
	for _, odd := range []string{
		`{"eventName":1,"userIdentity":[],"resources":[null,{"ARN":5}],"readOnly":"true","eventTime":"Aug 10, 2022, 10:38:27 PM"}`,
		`{"eventName":"x","resources":[{"arn":"odd:thing"},{"ARN":"alias/a"},{"ARN":"arn:x"}],"userIdentity":{"x":1,"sessionContext":null}}`,
	} {
		f.Add(`event != "1" || "x" in key`, `{"event":{},"record":1,"key":2}`)
		f.Add(`"odd:thing" in key || eventName == "1"`, odd)
		f.Add(`key.exists(k, k.startsWith("a")) && userIdentity == userIdentity`, odd)
	}
	f.Fuzz(func(t *testing.T, expression, text string) {
		if _, err := compileCEL(expression); err != nil {
			if e, ok := err.(*Error); !ok || e.Offset > len(expression) || e.Message == "" {
				t.Errorf("%q: %#v", expression, err)
			}
			return
		}
		if _, err := record.FromJSON([]byte(text)); err != nil {
			text = decrypt
		}
		agree(t, expression, text)
	})
}
