package filter

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// scanner reads a text from its beginning to its end.
type scanner struct {
	text string
	pos  int
}

// fail is an error at an offset of the text.
func (s *scanner) fail(at int, format string, args ...any) error {
	return &Error{
		Text:    s.text,
		Offset:  at,
		Message: placeOf(s.text, at) + ": " + fmt.Sprintf(format, args...),
	}
}

// placeOf says where an offset of a text is, counted from 1, in characters.
func placeOf(text string, offset int) string {
	before := text[:offset]
	line := strings.LastIndexByte(before, '\n') + 1
	column := utf8.RuneCountInString(before[line:]) + 1
	if !strings.Contains(text, "\n") {
		return fmt.Sprintf("column %d", column)
	}
	return fmt.Sprintf("line %d, column %d", strings.Count(before, "\n")+1, column)
}

// check reports what is wrong with the text as such.
func (s *scanner) check() error {
	if utf8.ValidString(s.text) {
		return nil
	}
	for i, r := range s.text {
		if _, n := utf8.DecodeRuneInString(s.text[i:]); r == utf8.RuneError && n == 1 {
			return s.fail(i, "the text is not UTF-8 here")
		}
	}
	return nil
}

// space skips white space and comments.
func (s *scanner) space() {
	for s.pos < len(s.text) {
		switch c := s.text[s.pos]; {
		case isSpace(c):
			s.pos++
		case c == '#':
			for s.pos < len(s.text) && s.text[s.pos] != '\n' {
				s.pos++
			}
		default:
			return
		}
	}
}

func (s *scanner) atEnd() bool { return s.pos == len(s.text) }

// next is the next byte, 0 at the end.
func (s *scanner) next() byte {
	if s.atEnd() {
		return 0
	}
	return s.text[s.pos]
}

// starts reports whether the rest of the text starts with what.
func (s *scanner) starts(what string) bool { return strings.HasPrefix(s.text[s.pos:], what) }

// take skips what if the rest of the text starts with it.
func (s *scanner) take(what string) bool {
	if !s.starts(what) {
		return false
	}
	s.pos += len(what)
	return true
}

// name is the name that the rest of the text begins with, "" if it does with
// something else.
func (s *scanner) name() string { return s.run(isNameByte) }

// word is the same of a word.
func (s *scanner) word() string { return s.run(isWordByte) }

func (s *scanner) run(of func(byte) bool) string {
	end := s.pos
	for end < len(s.text) && of(s.text[end]) {
		end++
	}
	return s.text[s.pos:end]
}

// takeKeyword skips white space, and the keyword if it is next.
func (s *scanner) takeKeyword(keyword string) bool {
	s.space()
	if s.name() != keyword {
		return false
	}
	s.pos += len(keyword)
	return true
}

// called reports whether what ends at an offset is followed by a "(", as the
// name of a function is.
func (s *scanner) called(end int) bool {
	rest := scanner{text: s.text, pos: end}
	rest.space()
	return rest.next() == '('
}

// quoted reads a string in double quotes, which is next.
func (s *scanner) quoted() (string, error) {
	start := s.pos
	for i := start + 1; i < len(s.text); i++ {
		switch c := s.text[i]; {
		case c == '\\':
			i++
		case c == '\n' || c == '\r':
			return "", s.fail(i, `a quoted value ends on its line; write a line break in it as \n, or close the quotes`)
		case c < ' ':
			return "", s.fail(i, `write this control character as %s`, escape(rune(c)))
		case c == '"':
			var v string
			if err := json.Unmarshal([]byte(s.text[start:i+1]), &v); err != nil {
				return "", s.fail(start+badEscape(s.text[start:i+1]), `this escape is none of JSON's; for a single \ write \\`)
			}
			s.pos = i + 1
			return v, nil
		}
	}
	return "", s.fail(start, `the quotes that begin here are not closed`)
}

// badEscape is where the first escape of a quoted string is that JSON does not
// have.
func badEscape(s string) int {
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			continue
		}
		n := 2
		if s[i+1] == 'u' {
			n = 6
		}
		if i+n > len(s) || json.Unmarshal([]byte(`"`+s[i:i+n]+`"`), new(string)) != nil {
			return i
		}
		i += n - 1
	}
	return 0
}

// upNext describes what is next, for errors.
func (s *scanner) upNext() string {
	if s.atEnd() {
		return "the text ends"
	}
	if c := s.text[s.pos]; c == '"' {
		if v, err := (&scanner{s.text, s.pos}).quoted(); err == nil {
			return "got " + quote(shortened(v))
		}
	}
	if w := s.word(); w != "" {
		return "got " + quote(shortened(w))
	}
	return "got " + s.character()
}

// character describes the one that is next.
func (s *scanner) character() string {
	r, n := utf8.DecodeRuneInString(s.text[s.pos:])
	if unicode.IsGraphic(r) && !unicode.IsSpace(r) {
		return quote(s.text[s.pos : s.pos+n])
	}
	return "the character " + strconv.QuoteRuneToASCII(r)
}

// shortened is the beginning of what is too long for an error message.
func shortened(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	n := most
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}

func isWordByte(c byte) bool {
	switch c {
	case '.', ':', '/', '*', '+', '@', '%':
		return true
	}
	return isNameByte(c)
}

func isName(s string) bool { return isMade(s, isNameByte) }

func isWord(s string) bool { return isMade(s, isWordByte) }

func isMade(s string, of func(byte) bool) bool {
	for i := range len(s) {
		if !of(s[i]) {
			return false
		}
	}
	return s != ""
}

// quote is s in double quotes, so that it reads back as s and shows all that
// is in it.
func quote(s string) string {
	b := make([]byte, 0, len(s)+2)
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case unicode.IsPrint(r):
			b = utf8.AppendRune(b, r)
		default:
			b = append(b, escape(r)...)
		}
	}
	return string(append(b, '"'))
}

// escape is how JSON writes a character that is not to be shown as it is.
func escape(r rune) string {
	switch r {
	case '\n':
		return `\n`
	case '\r':
		return `\r`
	case '\t':
		return `\t`
	}
	if r > 0xffff {
		r -= 0x10000
		return fmt.Sprintf(`\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
	}
	return fmt.Sprintf(`\u%04x`, r)
}
