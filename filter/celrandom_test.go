package filter

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// The atoms of random expressions, by type. Those of any type are worth most: an
// expression of them always compiles, and fails where types don't fit.
var (
	anyAtoms = []string{
		"requestParameters", "requestParameters.encryptionContext", "requestParameters.encryptionContext.app", "requestParameters.list",
		"requestParameters.limit", "requestParameters.half", "requestParameters.big", "requestParameters.nothing", "requestParameters.missing",
		"requestParameters.nowhere.missing", "responseElements", "additionalEventData.keyMaterialId", "dyn(resources)", "dyn(userIdentity.sessionContext)",
		"dyn(key)", "dyn(eventName)", "dyn(1)", "dyn(2.5)", "dyn(-9223372036854775808)", "dyn(\"7\")", "dyn(null)", "dyn([1, 2.0, \"x\"])",
		"dyn({\"app\": 1, 2: \"x\", true: []})", "dyn(\"\")", "dyn(0.0)/dyn(0.0)", "dyn(duration(\"90m\"))", "dyn(timestamp(\"2026-03-01T22:30:15Z\"))",
		"dyn(int)", "requestParameters.list[4]", "requestParameters.policy",
	}
	textAtoms = []string{
		"eventName", "event", "region", "errorCode", "userIdentity.arn", "userIdentity.sessionContext.sessionIssuer.arn", "userIdentity.accountId",
		"recipientAccountId", "sourceIP", "class", "userAgent", `"Decrypt"`, `""`, `"a"`, `"arn:"`, `"111122223333"`, `"1234"`, `"alias/pay"`,
		`"odd:thing"`, `"arn:aws:kms:eu-central-1:444455556666:key/1234"`, `"AccessDenied"`, `"7"`, `"ö"`, "requestParameters.encryptionContext.app",
	}
	intAtoms  = []string{"0", "1", "-1", "7", "9223372036854775807", "size(key)", "size(eventName)", "eventTime.getHours()", "requestParameters.limit", "int(\"12\")"}
	boolAtoms = []string{"true", "readOnly", "crossAccount", "managementEvent", `"denied" in outcome`, "has(errorCode)", "has(requestParameters.limit)",
		"has(userIdentity.sessionContext.attributes)", "has(requestParameters.nowhere.x)", "requestParameters.bypass"}
	textLists = []string{"key", "outcome", "principal", `["Decrypt", "Encrypt"]`, `[eventName, "a"]`, "requestParameters.list"}
)

type celGenerator struct {
	t     *rapid.T
	vars  []string
	loops int
}

func (g *celGenerator) pick(of ...string) string { return rapid.SampledFrom(of).Draw(g.t, "") }

func (g *celGenerator) n(n int) int { return rapid.IntRange(0, n-1).Draw(g.t, "") }

func (g *celGenerator) any(depth int) string {
	if depth <= 0 || g.n(3) == 0 {
		return g.pick(append(anyAtoms, g.vars...)...)
	}
	switch g.n(9) {
	case 0:
		return fmt.Sprintf("(%s %s %s)", g.any(depth-1), g.pick("+", "-", "*", "/", "%"), g.any(depth-1))
	case 1:
		return fmt.Sprintf("%s[%s]", g.any(depth-1), g.any(depth-1))
	case 2:
		return fmt.Sprintf("%s.%s", g.pick(append(anyAtoms, g.vars...)...), g.pick("app", "ARN", "k", "x", "type"))
	case 3:
		return fmt.Sprintf("(%s ? %s : %s)", g.condition(depth-1), g.any(depth-1), g.any(depth-1))
	case 4:
		return g.loop(depth, "map", "filter")
	case 5:
		return fmt.Sprintf("[%s, %s]", g.any(depth-1), g.any(depth-1))
	case 6:
		return fmt.Sprintf("dyn(%s(%s))", g.pick("int", "double", "string", "bool", "duration", "timestamp", "size", "type", "-", "!"), g.any(depth-1))
	case 7:
		return fmt.Sprintf(`dyn({"app": %s, "x": %s})`, g.any(depth-1), g.any(depth-1))
	}
	return fmt.Sprintf("%s.%s(%s)", g.any(depth-1), g.pick("getHours", "getMinutes", "getSeconds", "getMilliseconds", "getDayOfWeek", "getFullYear"), g.pick("", "", `"-08:30"`, `"Europe/Berlin"`))
}

func (g *celGenerator) loop(depth int, macros ...string) string {
	if g.loops == maxCELNesting {
		return "true"
	}
	over := g.any(depth - 1)
	name := g.pick("a", "b", "key", "eventName")
	g.vars = append(g.vars, name)
	g.loops++
	macro := g.pick(macros...)
	body := g.condition(depth - 1)
	if macro == "map" {
		if body = g.any(depth - 1); g.n(2) == 0 {
			body = g.condition(depth-1) + ", " + body
		}
	}
	g.loops--
	g.vars = g.vars[:len(g.vars)-1]
	return fmt.Sprintf("%s.%s(%s, %s)", over, macro, name, body)
}

func (g *celGenerator) text() string { return g.pick(textAtoms...) }

func (g *celGenerator) condition(depth int) string {
	if depth <= 0 || g.n(6) == 0 {
		return g.pick(boolAtoms...)
	}
	switch g.n(11) {
	case 0, 1:
		return fmt.Sprintf("(%s %s %s)", g.condition(depth-1), g.pick("&&", "||"), g.condition(depth-1))
	case 2:
		return "!" + g.condition(depth-1)
	case 3:
		return fmt.Sprintf("(%s %s %s)", g.any(depth-1), g.pick("==", "!=", "<", "<=", ">", ">=", "in"), g.any(depth-1))
	case 4:
		return fmt.Sprintf("%s %s %s", g.text(), g.pick("==", "!=", "<", ">="), g.text())
	case 5:
		return fmt.Sprintf("%s.%s(%s)", g.text(), g.pick("startsWith", "endsWith", "contains"), g.text())
	case 6:
		return fmt.Sprintf("%s in %s", g.text(), g.pick(textLists...))
	case 7:
		return fmt.Sprintf("%s.%s(k, %s)", g.pick(textLists...), g.pick("exists", "exists", "exists_one", "all"), g.element("k", depth-1))
	case 8:
		return fmt.Sprintf("resources.exists(r, %s)", g.element("r.ARN", depth-1))
	case 9:
		return fmt.Sprintf("%s %s %s", g.pick(intAtoms...), g.pick("==", "<", ">="), g.pick(intAtoms...))
	}
	return g.loop(depth, "all", "exists", "exists_one")
}

// element is a condition such as needs are made of.
func (g *celGenerator) element(of string, depth int) string {
	switch g.n(5) {
	case 0:
		if depth > 0 {
			return fmt.Sprintf("(%s %s %s)", g.element(of, depth-1), g.pick("&&", "||"), g.element(of, depth-1))
		}
	case 1:
		return fmt.Sprintf("%s in [%s, %s]", of, g.text(), g.text())
	case 2:
		return fmt.Sprintf("%s == %s", of, g.text())
	}
	return fmt.Sprintf("%s.%s(%s)", of, g.pick("startsWith", "endsWith", "contains"), g.text())
}

// mistypedRecord has keys by other names than ARNs, and members of other types than
// they are typed as.
const mistypedRecord = `{"eventName":1,"userIdentity":{"arn":["x"],"x":1,"sessionContext":null},"resources":[{"arn":"odd:thing"},{"ARN":"alias/pay"},{"ARN":5},{"ARN":"1234"},{"ARN":"arn:"}],
	"readOnly":"true","managementEvent":"false","requestParameters":{"list":[[],{},"Decrypt"],"limit":-0,"half":1e3,"encryptionContext":["app"]}}`

func TestCELRandom(t *testing.T) {
	compiled := 0
	rapid.Check(t, func(t *rapid.T) {
		g := celGenerator{t: t}
		expression := g.condition(4)
		if _, err := compileCEL(expression); err != nil {
			return
		}
		compiled++
		for _, text := range []string{decrypt, putPolicy, bare, mistypedRecord} {
			agree(t, expression, text)
		}
	})
	if compiled == 0 {
		t.Error("no expression compiles")
	}
}
