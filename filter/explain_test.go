package filter

import (
	"slices"
	"testing"
)

// TestExplainedValues: the values shown are those that a condition is about.
func TestExplainedValues(t *testing.T) {
	v := textView(t, `{"requestParameters":{"list":[null,1,["x"]],"empty":[],"none":null}}`)
	for _, tt := range []struct {
		where string
		held  bool
		want  []string
	}{
		{"exists requestParameters.list", true, []string{`[null,1,["x"]]`}},
		{"exists requestParameters.list[]", true, []string{"1", `"x"`}},
		{"exists requestParameters.empty", true, []string{"[]"}},
		{"exists requestParameters.empty[]", false, nil},
		{"requestParameters.list is null", false, []string{`[null,1,["x"]]`}},
		{"requestParameters.list[] is null", true, []string{"null"}},
		{"requestParameters.none is null", true, []string{"null"}},
		{"requestParameters.list = x", true, []string{`"x"`}},
		{"requestParameters.list != 2", true, []string{"null", "1", `"x"`}},
		{"requestParameters.gone != 2", true, nil},
	} {
		c := compileText(t, tt.where).Explain(v).Clauses[0]
		if *c.Held != tt.held || !slices.Equal(c.Values, tt.want) {
			t.Errorf("%s: held: %v on %q, want %v on %q", tt.where, *c.Held, c.Values, tt.held, tt.want)
		}
	}
}
