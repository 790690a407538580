package filter

import "testing"

// TestNumbers: numbers compare by what they are worth, with any of many values.
func TestNumbers(t *testing.T) {
	const many = "(30, 1e1, -2, 5.50, text, 0, 9007199254740993, 7e-3, 12, -1e-1, 4)"
	for _, tt := range []struct {
		number, where string
		want          bool
	}{
		{"10", "requestParameters.n in " + many, true},
		{"5.5", "requestParameters.n in " + many, true},
		{"-0.1", "requestParameters.n in " + many, true},
		{"0.007", "requestParameters.n in " + many, true},
		{"9007199254740993.0", "requestParameters.n in " + many, true},
		{"9007199254740992", "requestParameters.n in " + many, false},
		{"-0.0", "requestParameters.n in " + many, true},
		{"2", "requestParameters.n in " + many, false},
		{"8", "requestParameters.n < (7, 9, 8)", true},
		{"9", "requestParameters.n < (7, 9, 8)", false},
		{"9", "requestParameters.n <= (7, 9, 8)", true},
		{"8", "requestParameters.n > (9, 7, 8)", true},
		{"7", "requestParameters.n > (9, 7, 8)", false},
		{"7", "requestParameters.n >= (9, 7, 8)", true},
		{"6", "requestParameters.n >= (9, 7, 8)", false},
		{"1e5", `nocase(requestParameters.n) ^= "1e"`, true},
		{"1E5", `nocase(requestParameters.n) ^= "1e"`, true},
		{"1E5", `requestParameters.n ^= "1e"`, false},
	} {
		v := textView(t, `{"requestParameters":{"n":`+tt.number+`}}`)
		if got := compileText(t, tt.where).Match(v); got != tt.want {
			t.Errorf("%s of %s: %v, want %v", tt.where, tt.number, got, tt.want)
		}
	}
}
