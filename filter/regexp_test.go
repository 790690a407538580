package filter

import (
	"fmt"
	"strings"
	"testing"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// TestRegexpLimits: regular expressions are bounded by what they take of memory
// and time once compiled, in a filter as a whole.
func TestRegexpLimits(t *testing.T) {
	list := func(n int, text string) string {
		return "(" + strings.TrimSuffix(strings.Repeat(quote(text)+", ", n), ", ") + ")"
	}
	const (
		tooLarge    = "too large once compiled: "
		tooMany     = "holds more than 64 regular expressions"
		allTooLarge = "too large together once compiled: "
	)
	for _, tt := range []struct {
		filter *keytrailv1.Filter
		err    string // "": none
	}{
		{&keytrailv1.Filter{Where: `userAgent matches "^[\\pL\\pN]+$"`}, ""},
		{&keytrailv1.Filter{Where: `userAgent matches "x{490}"`}, ""},
		{&keytrailv1.Filter{Where: `userAgent matches "x{510}"`}, tooLarge},
		// Anchored ones have a table for each of their 240 instructions.
		{&keytrailv1.Filter{Where: `userAgent matches "^\\pL{240}$"`}, tooLarge},
		{&keytrailv1.Filter{Cel: `userAgent.matches(r"^\pL{240}$")`}, tooLarge},
		{&keytrailv1.Filter{Where: `userAgent matches ` + list(MaxRegexps, "a+")}, ""},
		{&keytrailv1.Filter{Where: `userAgent matches ` + list(MaxRegexps, "a+") + ` or errorMessage matches a`}, tooMany},
		{&keytrailv1.Filter{Where: `userAgent matches ` + list(MaxRegexps, "a+"), Cel: `userAgent.matches("a")`}, tooMany},
		{&keytrailv1.Filter{Where: `userAgent matches ` + list(4, "x{490}")}, ""},
		{&keytrailv1.Filter{Where: `userAgent matches ` + list(5, "x{490}")}, allTooLarge},
		{&keytrailv1.Filter{Where: `userAgent matches ` + list(4, "x{490}"), Cel: `userAgent.matches("x{100}")`}, allTooLarge},
	} {
		_, err := Compile(tt.filter)
		if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%.100v\n%v, want %q", tt.filter, err, tt.err)
		}
	}
}

// TestRegexpsOfOneCondition: each of them sees the same values.
func TestRegexpsOfOneCondition(t *testing.T) {
	var list []string
	for i := range MaxRegexps - 1 {
		list = append(list, fmt.Sprint("no", i))
	}
	f := compileText(t, `userAgent matches (`+strings.Join(append(list, "yes"), ", ")+`)`)
	for n, want := range map[int]bool{16<<10 - 3: true, 16<<10 - 2: false} {
		if got := f.Match(textView(t, `{"userAgent":"`+strings.Repeat("x", n)+`yes"}`)); got != want {
			t.Errorf("after %d bytes the last expression matches: %v, want %v", n, got, want)
		}
	}
}

// TestRegexpWithoutCase: nocase changes nothing else about an expression.
func TestRegexpWithoutCase(t *testing.T) {
	f := compileText(t, `nocase(userAgent) matches "\\Qaws."`)
	for text, want := range map[string]bool{"x AWS.y": true, "awsx": false} {
		if got := f.Match(textView(t, `{"userAgent":"`+text+`"}`)); got != want {
			t.Errorf("%q matches: %v, want %v", text, got, want)
		}
	}
	if _, err := Compile(&keytrailv1.Filter{Where: `nocase(userAgent) matches "a)|(b"`}); err == nil {
		t.Error("an expression that closes what it has not opened is taken")
	}
}
