package main

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/keytrail/keytrail/filter"
)

const (
	// pageWidth is how many columns explanations keep to, where they can.
	pageWidth = 100

	// valueColumn is where values of a record begin at the latest, when they are
	// in the line of their clause.
	valueColumn = 56

	// indentBy is how far the parts of a clause are indented.
	indentBy = 2
)

// Painting of explanations.
const (
	green  = "\x1b[32m"
	red    = "\x1b[31m"
	yellow = "\x1b[1;33m"
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	reset  = "\x1b[0m"
)

func (o *output) paint(with, s string) string {
	if !o.style.Color {
		return s
	}
	return with + s + reset
}

// line adds a line to what is written next.
func (o *output) line(parts ...string) {
	for _, s := range parts {
		o.buf = append(o.buf, s...)
	}
	o.buf = append(o.buf, '\n')
}

// clauseLine is a clause as it is shown.
type clauseLine struct {
	filter.Clause
	text    string // printable
	columns int    // of text
	heading bool   // text says only how its parts are joined
	element bool   // its parts are what an element must satisfy
}

// elementHeading begins the heading of a condition on elements.
const elementHeading = "some element of "

// clauseLines prepares clauses to be shown as a tree: what only joins others is
// shortened to how it joins them.
func clauseLines(clauses []filter.Clause) []clauseLine {
	lines := make([]clauseLine, len(clauses))
	for i, c := range clauses {
		var parts []string
		for _, p := range clauses[i+1:] {
			if p.Depth <= c.Depth {
				break
			}
			if p.Depth == c.Depth+1 {
				parts = append(parts, p.Text)
			}
		}
		lines[i].Clause = c
		text := c.Text
		if h := heading(text, parts); h != "" {
			text, lines[i].heading, lines[i].element = h, true, strings.HasPrefix(h, elementHeading)
		}
		lines[i].text, lines[i].columns = printable(text)
	}
	return lines
}

// heading says how the text of a clause joins those of its parts; "" if it has
// none, or does it in a way that this version does not know.
func heading(text string, parts []string) string {
	switch {
	case len(parts) == 0:
		return ""
	case len(parts) == 1 && strings.HasPrefix(text, "not "):
		return "not"
	case len(parts) == 1:
		list, ok := strings.CutSuffix(text, " ("+parts[0]+")")
		if !ok {
			return ""
		}
		return elementHeading + list
	}
	rest, ok := strings.CutPrefix(text, parts[0])
	if !ok {
		rest, _ = strings.CutPrefix(text, "("+parts[0]+")")
	}
	switch {
	case strings.HasPrefix(rest, " and "):
		return "all of"
	case strings.HasPrefix(rest, " or "):
		return "any of"
	}
	return ""
}

// tree shows clauses, without any record.
func (o *output) tree(clauses []filter.Clause) {
	for _, l := range clauseLines(clauses) {
		o.clause("", l)
	}
}

// verdicts shows clauses with what became of them for a record.
func (o *output) verdicts(clauses []filter.Clause) {
	lines := clauseLines(clauses)
	const mark = "  yes  "
	at := 0 // where values begin
	for _, l := range lines {
		if end := len(mark) + indentBy*l.Depth + l.columns + 2; end <= valueColumn {
			at = max(at, end)
		}
	}
	for _, l := range lines {
		indent := len(mark) + indentBy*l.Depth
		values, width := l.values()
		switch {
		case len(values) == 0:
			o.clause(o.mark(l.Held), l)
		case indent+l.columns < at && at+width <= pageWidth:
			o.line(o.mark(l.Held), spaces(indent-len(mark)), o.text(l), spaces(at-indent-l.columns), o.paint(dim, strings.Join(values, ", ")))
		default:
			o.clause(o.mark(l.Held), l)
			for _, v := range values {
				o.line(spaces(indent+2*indentBy), o.paint(dim, v))
			}
		}
	}
}

// mark says whether a clause held. It is seven columns wide.
func (o *output) mark(held *bool) string {
	switch {
	case held == nil:
		return "       "
	case *held:
		return "  " + o.paint(green, "yes") + "  "
	default:
		return "  " + o.paint(red, "no") + "   "
	}
}

// values are what there is to say of the values of a clause's field, printable,
// and how many columns that takes in one line.
func (l *clauseLine) values() (values []string, columns int) {
	for _, v := range l.Values {
		s, n := printable(v)
		values = append(values, s)
		columns += n + len(", ")
	}
	if len(values) == 0 && l.Held != nil && l.ofField() {
		const missing = "not in the record"
		return []string{missing}, len(missing)
	}
	return values, max(columns-len(", "), 0)
}

// ofField says whether the clause asks something of one field.
func (l *clauseLine) ofField() bool {
	if l.heading {
		return l.element
	}
	return l.text != "true" && l.text != "false" && !strings.HasPrefix(l.text, "cel(")
}

// counts shows clauses with how often each held in a trial, and decided.
func (o *output) counts(clauses []filter.Clause) {
	o.line(o.paint(bold, fmt.Sprintf("%10s  %10s  %s", "HELD", "DECIDED", "CLAUSE")))
	inside := -1 // the depth of the condition on elements that the clause is in
	for i, l := range clauseLines(clauses) {
		if inside >= 0 && l.Depth <= inside {
			inside = -1
		}
		held, decided := fmt.Sprint(l.HeldRecords), fmt.Sprint(l.DecidedRecords)
		switch {
		case inside >= 0: // elements are not counted
			held, decided = "", ""
		case i == 0: // the whole decides everything
			decided = ""
		}
		o.clause(fmt.Sprintf("%10s  %10s  ", held, decided), l)
		if inside < 0 && l.element {
			inside = l.Depth
		}
	}
}

// clause shows a clause after what the line begins with. What is too long for
// the line goes on below, further to the right.
func (o *output) clause(begin string, l clauseLine) {
	first := displayed(begin) + indentBy*l.Depth
	rest := l.text
	indent := first
	for n := 0; ; n++ {
		piece := rest
		if room := max(pageWidth-indent, 30); len(rest) > room {
			piece = rest[:breakAt(rest, room)]
		}
		rest = strings.TrimPrefix(rest[len(piece):], " ")
		shown := l
		shown.text = piece
		if n == 0 {
			o.line(begin, spaces(indentBy*l.Depth), o.text(shown))
		} else {
			o.line(spaces(indent), o.text(shown))
		}
		if rest == "" {
			return
		}
		indent = first + 2*indentBy
	}
}

// breakAt is where to break a line of text that should have n columns at most:
// at the last space that is not within quotes or, if there is none, the first.
func breakAt(s string, n int) int {
	quoted := false
	at := len(s)
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ' ' && !quoted && i > 0:
			if i > n {
				return min(at, i)
			}
			at = i
		}
	}
	return at
}

func (o *output) text(l clauseLine) string {
	if l.heading {
		return o.paint(bold, l.text)
	}
	return l.text
}

// displayed is how many characters s has, besides those that paint it.
func displayed(s string) int {
	for _, code := range []string{green, red, yellow, bold, dim, reset} {
		s = strings.ReplaceAll(s, code, "")
	}
	return utf8.RuneCountInString(s)
}

func spaces(n int) string { return strings.Repeat(" ", max(n, 0)) }
