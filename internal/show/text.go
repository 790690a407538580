package show

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// Text returns s in printable characters only: see the package comment.
func Text(s string) string {
	if isPlain(s) {
		return s
	}
	var b strings.Builder
	spaced := true // a leading space is escaped like a second one
	for i, n := 0, 0; i < len(s); i += n {
		var r rune
		r, n = utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n <= 1:
			writeEscape(&b, 'x', rune(s[i]), 2)
		case r == '\\':
			b.WriteString(`\\`)
		case r == ' ' && (spaced || i+1 == len(s)), !unicode.IsPrint(r):
			switch {
			case r < 0x80: // above, \x stands for a byte that is not UTF-8
				writeEscape(&b, 'x', r, 2)
			case r <= 0xffff:
				writeEscape(&b, 'u', r, 4)
			default:
				writeEscape(&b, 'U', r, 8)
			}
		default:
			b.WriteRune(r)
		}
		spaced = r == ' '
	}
	return b.String()
}

// isPlain says whether s is all printable ASCII with nothing to escape, as
// nearly all text is.
func isPlain(s string) bool {
	before := byte(' ')
	for i := range len(s) {
		c := s[i]
		if c < ' ' || c > '~' || c == '\\' || c == ' ' && before == ' ' {
			return false
		}
		before = c
	}
	return before != ' ' || s == ""
}

func writeEscape(b *strings.Builder, kind byte, r rune, digits int) {
	b.WriteByte('\\')
	b.WriteByte(kind)
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		b.WriteByte(hexDigits[r>>shift&0xf])
	}
}

// cut returns s, or its beginning and "…" when it is wider than width, which
// is at least 1.
func cut(s string, width int) string {
	if len(s) <= width || utf8.RuneCountInString(s) <= width {
		return s
	}
	return first(s, width-1) + "…"
}

// first returns the first n characters of s.
func first(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

// AppendJSON appends to dst the JSON text with every character that is not
// printable written as an escape. The value is the same, and the text can be
// shown on a terminal: JSON itself would let pass what begins with U+0080 to
// U+009F, which terminals obey. The text must be valid JSON in one line.
func AppendJSON(dst, text []byte) []byte {
	start := 0 // of what is not copied yet
	for i := 0; i < len(text); {
		if c := text[i]; c < 0x7f {
			i++
			continue
		}
		r, n := utf8.DecodeRune(text[i:])
		if !unicode.IsPrint(r) {
			dst = append(dst, text[start:i]...)
			dst = appendJSONEscape(dst, r)
			start = i + n
		}
		i += n
	}
	return append(dst, text[start:]...)
}

func appendJSONEscape(dst []byte, r rune) []byte {
	if r > 0xffff {
		r -= 0x10000
		dst = appendJSONEscape(dst, 0xd800+r>>10)
		r = 0xdc00 + r&0x3ff
	}
	return append(dst, '\\', 'u', hexDigits[r>>12&0xf], hexDigits[r>>8&0xf], hexDigits[r>>4&0xf], hexDigits[r&0xf])
}
