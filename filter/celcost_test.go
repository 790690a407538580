package filter

import (
	"fmt"
	"strings"
	"testing"

	"github.com/keytrail/keytrail/record"
)

// longRecord has a list of n numbers, an object of as many members, a text of
// 60 KiB and a number of 4,000 digits.
func longRecord(n int) string {
	var list, object []string
	for i := range n {
		list = append(list, fmt.Sprint(i))
		object = append(object, fmt.Sprintf(`"m%d":%d`, i, i))
	}
	return fmt.Sprintf(`{"eventName":"X","eventSource":"kms.amazonaws.com","requestParameters":{"list":[%s],"object":{%s},"text":%q,"digits":%s}}`,
		strings.Join(list, ","), strings.Join(object, ","), strings.Repeat("a", 60<<10), strings.Repeat("9", 4000))
}

// celCounter counts how often a node is evaluated.
type celCounter struct {
	celNode
	n *int
}

func (c *celCounter) eval(r *celRun) celValue {
	*c.n++
	return c.celNode.eval(r)
}

// countRounds counts the rounds of all loops of e.
func countRounds(n celNode, count *int) {
	switch n := n.(type) {
	case *celLoop:
		countRounds(n.over, count)
		countRounds(n.body, count)
		n.body = &celCounter{n.body, count}
	case *celLogic:
		for _, k := range n.kids {
			countRounds(k, count)
		}
	case *celCall1:
		countRounds(n.arg, count)
	case *celCall2:
		countRounds(n.a, count)
		countRounds(n.b, count)
	}
}

// TestCELCost: what would take long is stopped, after about as many steps as
// are allowed.
func TestCELCost(t *testing.T) {
	v := celView(t, longRecord(10_000))
	for _, tt := range []struct {
		expression string
		rounds     int // of the loop within all others, at most
	}{
		{`requestParameters.list.exists(a, requestParameters.list.exists(b, a + b < 0))`, MaxCELSteps / 6},
		{`requestParameters.list.all(a, requestParameters.list.all(b, a == a))`, MaxCELSteps / 4},
		{`requestParameters.list.map(a, requestParameters.list.map(b, a + b)) == []`, MaxCELSteps / 8},
		{`requestParameters.list.filter(a, size(requestParameters.list) > a) == []`, 10},
		{`requestParameters.list.exists(a, -1 in requestParameters.list)`, 10},
		{`requestParameters.list.exists(a, requestParameters.list[9999] == -1)`, 11},
		{`requestParameters.list.exists(a, requestParameters.list == requestParameters.list && a < 0)`, 3},
		{`requestParameters.list.exists(a, requestParameters.object.m0 < 0)`, 11 + freeLookups},
		{`requestParameters.object.exists(k, requestParameters.object[k] < 0)`, 11 + freeLookups},
		{`requestParameters.list.exists(a, requestParameters.text.contains("b"))`, 110},
		{`requestParameters.list.exists(a, requestParameters.text == requestParameters.text && a < 0)`, 110},
		{`requestParameters.list.exists(a, requestParameters.text < requestParameters.text)`, 110},
		{`requestParameters.list.exists(a, size(requestParameters.text) < 0)`, 110},
		{`requestParameters.list.exists(a, requestParameters.digits < 0)`, 1600},
		{`requestParameters.list.exists(a, double(requestParameters.text) < 0.0)`, 110},
		{`requestParameters.list.exists(a, (requestParameters.text + "b").contains("c"))`, 60},
		{`["x"].map(a, a + a).map(a, a + a).map(a, a + a + a + a + a + a + a + a).map(a, a + a + a + a + a + a + a + a).map(a, a + a + a + a + a + a + a + a)
			.map(a, a + a + a + a + a + a + a + a).map(a, a + a + a + a + a + a + a + a).map(a, a + a + a + a + a + a + a + a)
			.map(a, a + a + a + a + a + a + a + a).map(a, a + a + a + a + a + a + a + a) == []`, 10},
		{`[[1]].map(a, a + a + a + a + a + a + a + a).map(a, a + a + a + a + a + a + a + a).map(a, a + a + a + a + a + a + a + a).map(a, a + a + a + a + a + a + a + a)
			.map(a, a + a + a + a + a + a + a + a).map(a, a + a + a + a + a + a + a + a) == []`, 6},
		{strings.Repeat(`size(requestParameters.list) < 0 || `, 100) + `false`, 0},
		{strings.Repeat(`requestParameters.list == requestParameters.list && `, 75) + `true`, 0},
		{strings.Repeat(`requestParameters.object == requestParameters.object && `, 70) + `true`, 0},
	} {
		expression := tt.expression
		c := compileTestCEL(t, expression)
		rounds := 0
		countRounds(c.root, &rounds)
		r := &celRun{view: v}
		if c.evaluate(r) {
			t.Errorf("%.100s\nholds", expression)
		}
		if r.left >= 0 {
			t.Errorf("%.100s\nis not stopped; %d steps are left", expression, r.left)
		}
		if rounds > tt.rounds {
			t.Errorf("%.100s\ntakes %d rounds of its loops", expression, rounds)
		}
		// No single step takes back more than the largest thing there is.
		if r.left < -MaxCELSteps/2 {
			t.Errorf("%.100s\noverdraws by %d steps", expression, -r.left)
		}
	}
}

func TestCELLongRegexps(t *testing.T) {
	v := celView(t, longRecord(10_000))
	for expression, want := range map[string]bool{
		`requestParameters.text.matches("a")`:                                       false,
		`!requestParameters.text.matches("b")`:                                      false,
		`requestParameters.list.filter(a, a < 5000).all(a, string(a).matches("."))`: false,
		`requestParameters.list.filter(a, a < 3000).all(a, string(a).matches("."))`: true,
	} {
		if compileTestCEL(t, expression).holds(v) != want {
			t.Errorf("%s\nholds: %v, want %v", expression, !want, want)
		}
	}
}

// TestCELLongLists: one loop over all that a record can hold is no reason to
// be stopped.
func TestCELLongLists(t *testing.T) {
	v := celView(t, longRecord(10_000))
	for _, expression := range []string{
		`requestParameters.list.exists(a, a == 9999)`,
		`requestParameters.list.all(a, a >= 0)`,
		`9999 in requestParameters.list && "m9999" in requestParameters.object`,
		`size(requestParameters.list.filter(a, a > 5)) == 9994`,
		`requestParameters.text.contains("aaa") && size(requestParameters.text) == 61440`,
	} {
		if !compileTestCEL(t, expression).holds(v) {
			t.Errorf("%s\ndoes not hold", expression)
		}
	}
}

func TestCELRunIsClean(t *testing.T) {
	v := celView(t, decrypt)
	c := compileTestCEL(t, `key.exists(k, k == "1234") && "denied" in outcome && resources.exists(r, r.ARN != "")`)
	r := &celRun{view: v}
	if !c.evaluate(r) {
		t.Fatal("does not hold")
	}
	r.clean()
	if r.view != nil || r.vars[0] != (celValue{}) || r.ready != [celNamedFields]bool{} {
		t.Errorf("a run keeps %+v", r)
	}
	for _, m := range r.named {
		for _, x := range m.items[:cap(m.items)] {
			if x != (celValue{}) {
				t.Errorf("a run keeps %+v", x)
			}
		}
	}
}

// TestCELAllocates nothing, as long as it makes no texts or lists.
func TestCELAllocates(t *testing.T) {
	v := celView(t, decrypt)
	for _, expression := range []string{
		`eventName == "Decrypt" && userIdentity.accountId != recipientAccountId`,
		`"1234" in key && requestParameters.encryptionContext.app == "pay"`,
		`requestParameters.encryptionContext.missing == "pay"`,
		`resources.exists(r, r.ARN.endsWith("x")) || eventTime.getHours() > 8`,
	} {
		c := compileTestCEL(t, expression)
		r := new(celRun) // not from the pool, which loses some of them under the race detector
		if n := testing.AllocsPerRun(100, func() { r.view = v; c.evaluate(r); r.clean() }); n > 0 {
			t.Errorf("%s\nallocates %v times", expression, n)
		}
	}
}

func BenchmarkCEL(b *testing.B) {
	encoded := encodedRecord(b, decrypt)
	for _, bm := range []struct{ name, expression string }{
		{"fields", `userIdentity.accountId != recipientAccountId && eventName == "Decrypt"`},
		{"named", `"arn:aws:kms:eu-central-1:444455556666:key/1234" in key && "denied" in outcome`},
		{"free-form", `eventName == "Decrypt" && requestParameters.encryptionContext.app == "pay"`},
		{"missing", `eventName == "Decrypt" && requestParameters.encryptionContext.team == "pay"`},
		{"loop", `resources.exists(r, r.ARN.endsWith(":key/1234") && r.accountId != userIdentity.accountId)`},
		{"time", `eventTime - timestamp(userIdentity.sessionContext.attributes.creationDate) > duration("12h")`},
		{"hours", `eventTime.getHours("Europe/Berlin") < 7 && !readOnly`},
	} {
		e, err := compileCEL(bm.expression)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("evaluate/"+bm.name, func(b *testing.B) {
			b.ReportAllocs()
			var v record.View
			if err := v.Reset(encoded); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				e.cel.holds(&v)
			}
		})
		b.Run("compile/"+bm.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := compileCEL(bm.expression); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
