package main

import (
	"strings"
	"unicode/utf8"
)

const (
	// excerptWidth is how many columns are shown of a line, and excerptBefore how
	// many of those before the fault.
	excerptWidth  = 90
	excerptBefore = 60
)

// excerptOf shows the byte of text at offset: its line, or the part of it around
// that byte, and below it a caret. Both are printable.
func excerptOf(text string, offset int) []string {
	offset = min(max(offset, 0), len(text))
	start := strings.LastIndexByte(text[:offset], '\n') + 1
	line := text[start:]
	if end := strings.IndexByte(line, '\n'); end >= 0 {
		line = line[:end]
	}
	line = strings.TrimSuffix(line, "\r")
	at := min(offset-start, len(line))

	// From the fault to the left, then to the right, as far as there is room.
	before, columns := at, 0
	for before > 0 {
		r, n := utf8.DecodeLastRuneInString(line[:before])
		_, w := glyph(line[before-n:before], r)
		if columns+w > excerptBefore {
			break
		}
		before -= n
		columns += w
	}
	indent := columns
	after := at
	for after < len(line) {
		r, n := utf8.DecodeRuneInString(line[after:])
		_, w := glyph(line[after:after+n], r)
		if columns+w > excerptWidth {
			break
		}
		after += n
		columns += w
	}

	shown, _ := printable(line[before:after])
	if before > 0 {
		shown = "…" + shown
		indent++
	}
	if after < len(line) {
		shown += "…"
	}
	return []string{shown, strings.Repeat(" ", indent) + "^"}
}
