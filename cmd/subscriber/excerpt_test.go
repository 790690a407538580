package main

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

var excerptTests = []struct {
	name, text string
	at         string // the fault begins at the first of these
	line       string
	under      string // something as wide as what is before the caret
}{
	{"at the beginning", "evnt = Decrypt", "evnt", "evnt = Decrypt", ""},
	{"within", "event = Decrypt annd x", "annd", "event = Decrypt annd x", "event = Decrypt "},
	{"at the end", "event =", "", "event =", "event ="},
	{"on a line of many", "{\n  \"a\": 1,\r\n  \"b\": x\n}", "x", `  "b": x`, `  "b": `},
	{"a tab", "\tevent ! x", "!", " event ! x", " event "},
	{"characters of two bytes", `user = "é" nad x`, "nad", `user = "é" nad x`, `user = "x" `},
	{"characters of two columns", `user = "鍵" nad x`, "nad", `user = "鍵" nad x`, `user = "xx" `},
	{"a mark over another character", "user = \"e\u0301\" nad x", "nad", "user = \"e\u0301\" nad x", `user = "x" `},
	{"backslashes", `path matches "\\.(" x`, "(", `path matches "\\.(" x`, `path matches "\\.`},
	{"two spaces", "a  =  b c", "c", "a  =  b c", "a  =  b "},
	{"a terminal escape", "a = \"\x1b[31m\" x", "x", `a = "\x1b[31m" x`, `a = "\x1b[31m" `},
	{"no UTF-8", "a = \xff b", "b", `a = \xff b`, `a = \xff `},
	{"long before", strings.Repeat("x", 200) + " ! y", "!", "…" + strings.Repeat("x", 59) + " ! y", "." + strings.Repeat("x", 59) + " "},
	{"long after", "! " + strings.Repeat("y", 200), "!", "! " + strings.Repeat("y", 88) + "…", ""},
	{"long around", strings.Repeat("x", 200) + "!" + strings.Repeat("y", 200), "!", "…" + strings.Repeat("x", 60) + "!" + strings.Repeat("y", 29) + "…", "." + strings.Repeat("x", 60)},
}

func TestExcerpt(t *testing.T) {
	for _, tt := range excerptTests {
		t.Run(tt.name, func(t *testing.T) {
			at := len(tt.text)
			if tt.at != "" {
				at = strings.Index(tt.text, tt.at)
			}
			got := strings.Join(excerptOf(tt.text, at), "\n")
			if want := tt.line + "\n" + strings.Repeat(" ", len(tt.under)) + "^"; got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// FuzzExcerpt: whatever was written, it fits, and nothing of it reaches the
// terminal but what can be printed.
func FuzzExcerpt(f *testing.F) {
	for _, tt := range excerptTests {
		f.Add(tt.text, strings.Index(tt.text, tt.at))
	}
	f.Fuzz(func(t *testing.T, text string, at int) {
		for _, line := range excerptOf(text, at) {
			base := 0
			for _, r := range line {
				if !unicode.IsPrint(r) {
					t.Errorf("%q is printed", r)
				}
				if !unicode.In(r, unicode.Mn, unicode.Me) {
					base++
				}
			}
			if !utf8.ValidString(line) || base > excerptWidth+len("…")*2 {
				t.Errorf("not a line for a terminal: %q", line)
			}
		}
	})
}
