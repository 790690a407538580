package filter

import (
	"regexp"
	"strings"
	"testing"
)

var globTests = []struct {
	name, pattern, s string
	want             bool
}{
	{"literal", "Decrypt", "Decrypt", true},
	{"literal is anchored", "Decrypt", "Decrypts", false},
	{"empty", "", "", true},
	{"empty pattern is a literal", "", "a", false},
	{"star alone", "*", "", true},
	{"two stars", "**", "abc", true},
	{"prefix", "Generate*", "GenerateMac", true},
	{"prefix takes the empty run", "Generate*", "Generate", true},
	{"suffix", "*Key", "CreateKey", true},
	{"suffix is anchored", "*Key", "CreateKeys", false},
	{"prefix and suffix may not overlap", "aba*aba", "aba", false},
	{"prefix and suffix meet", "aba*aba", "abaaba", true},
	{"middle", "a*b*c", "axxbxxc", true},
	{"middle in order", "a*b*c", "axxcxxb", false},
	{"first place is not the only one", "*ab*b", "abab", true},
	{"suffix after a late middle", "*ab", "abab", true},
	{"star in the subject", "a*c", "a*c", true},
	{"question mark is literal", "a?c", "abc", false},
	{"bytes, not characters", "\xc3*", "é", true},
	{"newline", "a*b", "a\nb", true},
	{"many stars", "*a*a*a*a*a*a*a*b", strings.Repeat("a", 100), false},
}

func TestGlob(t *testing.T) {
	for _, tt := range globTests {
		t.Run(tt.name, func(t *testing.T) {
			if got := matchGlob(tt.pattern, tt.s); got != tt.want {
				t.Errorf("matchGlob(%q, %q) = %v, want %v", tt.pattern, tt.s, got, tt.want)
			}
		})
	}
}

// FuzzGlob holds the matcher to a slower one that is plainly right: the same
// pattern spelled as a regular expression.
func FuzzGlob(f *testing.F) {
	for _, tt := range globTests {
		f.Add(tt.pattern, tt.s)
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 500 || len(s) > 5000 {
			t.Skip("regexp takes too long")
		}
		if got, want := matchGlob(pattern, s), slowGlob(pattern, s); got != want {
			t.Errorf("matchGlob(%q, %q) = %v, regexp says %v", pattern, s, got, want)
		}
	})
}

// TestGlobIsLinear would not end if matching went back and forth.
func TestGlobIsLinear(t *testing.T) {
	pattern := strings.Repeat("a*", MaxValueBytes/2)
	s := strings.Repeat("a", 1<<20) + "b"
	if !matchGlob(pattern, s) || matchGlob(pattern+"c", s) {
		t.Error("wrong answer")
	}
}

// slowGlob spells the wildcard as a regular expression over bytes.
func slowGlob(pattern, s string) bool {
	parts := strings.Split(latin1(pattern), "*")
	for i, p := range parts {
		parts[i] = regexp.QuoteMeta(p)
	}
	return regexp.MustCompile(`(?s)\A` + strings.Join(parts, ".*") + `\z`).MatchString(latin1(s))
}

// latin1 makes each byte a character, since regexp matches characters.
func latin1(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		b.WriteRune(rune(c))
	}
	return b.String()
}
