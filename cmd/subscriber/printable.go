package main

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"

	"github.com/keytrail/keytrail/internal/show"
)

// printable is s, the text of a filter or JSON, with what a terminal would obey
// as [show.Text] writes it, and how many columns it takes. Unlike there,
// backslashes and spaces stay as they are: they are part of what was written.
func printable(s string) (shown string, columns int) {
	if isPlain(s) {
		return s, len(s)
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		g, w := glyph(s[i:i+n], r)
		b.WriteString(g)
		columns += w
		i += n
	}
	return b.String(), columns
}

// isPlain says whether s is printable ASCII, as nearly all text is.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// glyph is how the character r, which is written s, is shown, and how many
// columns that takes.
func glyph(s string, r rune) (shown string, columns int) {
	switch {
	case r == ' ' || r == '\t':
		return " ", 1
	case r > ' ' && r <= '~':
		return s, 1
	case unicode.In(r, unicode.Mn, unicode.Me): // drawn over the one before it
		return s, 0
	}
	if shown = show.Text(s); shown != s {
		return shown, utf8.RuneCountInString(shown)
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return s, 2
	}
	return s, 1
}
