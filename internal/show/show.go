package show

import (
	"strings"
	"unicode/utf8"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

// Column is a part of a line.
type Column int

const (
	// Time is the event time in RFC 3339, UTC, in seconds.
	Time Column = iota

	// Outcome is "ok", "DENIED" or the error code.
	Outcome

	// Event is the operation.
	Event

	// Who is the user, the role and its session, "root", or the service that
	// called; "alice via s3" when a service called on somebody's behalf.
	Who

	// Key holds the IDs of the keys, and the alias that the caller used.
	Key

	// Source is the address that the call came from.
	Source
)

// AllColumns are the columns of a line by default.
var AllColumns = []Column{Time, Outcome, Event, Who, Key, Source}

// columns says how wide each column is: as a rule, and at least where room is
// scarce.
var columns = [...]struct {
	title           string
	usual, smallest int
}{
	Time:    {"TIME", 20, 20},
	Outcome: {"OUTCOME", 7, 7},
	Event:   {"EVENT", 24, 12},
	Who:     {"WHO", 48, 10},
	Key:     {"KEY", 36, 9},
	Source:  {"SOURCE", 15, 15},
}

const (
	// wideGap and narrowGap are how many spaces are between two columns.
	wideGap, narrowGap = 2, 1

	// narrowOutcome is how wide an error code may be where room is scarce.
	narrowOutcome = 14
)

// Style says how lines look. The zero Style is plain and as long as it must be.
type Style struct {
	// Color paints failures red and changes yellow, with the escapes that all
	// terminals know.
	Color bool

	// Width is the most characters that a line may have. Where that is less
	// than all columns need, they shrink; what does not fit is cut with "…".
	// 0 or less: no limit.
	Width int

	// Columns chooses the columns and their order. Default [AllColumns].
	Columns []Column
}

// Painting. A failure stands out most, then a change.
const (
	plain  = ""
	red    = "\x1b[31m"
	yellow = "\x1b[1;33m"
	dim    = "\x1b[2m"
	bold   = "\x1b[1m"
	reset  = "\x1b[0m"
)

// cell is what one column of one line holds.
type cell struct {
	text, paint string
}

// Line renders r on one line, without a line feed.
func (s Style) Line(r *keytrailv1.Record) string {
	h := record.HeaderOf(r)
	return s.render(func(c Column) cell {
		switch c {
		case Time:
			return cell{eventTime(r), dim}
		case Outcome:
			if h.Failed() {
				return cell{outcome(&h), red}
			}
			return cell{outcome(&h), plain}
		case Event:
			if !h.ReadOnly {
				return cell{orNone(h.EventName), yellow}
			}
			return cell{orNone(h.EventName), plain}
		case Who:
			return cell{who(r.GetUserIdentity()), plain}
		case Key:
			return cell{keys(r, &h), plain}
		default:
			return cell{orNone(r.GetSourceIpAddress()), dim}
		}
	})
}

// Header is the line of column titles.
func (s Style) Header() string {
	return s.render(func(c Column) cell { return cell{columns[c].title, bold} })
}

func (s Style) render(content func(Column) cell) string {
	chosen := s.Columns
	if len(chosen) == 0 {
		chosen = AllColumns
	}
	widths, narrow := s.widths(chosen)
	gap := wideGap
	if narrow {
		gap = narrowGap
	}

	// A cell that is too wide pushes the next one to the right, which in turn
	// uses its own slack to put the one after it back in its place.
	parts := make([]cell, 0, 2*len(chosen))
	at, stop := 0, 0
	for i, column := range chosen {
		if i > 0 {
			pad := max(stop-at, 1)
			parts = append(parts, cell{text: spaces(pad)})
			at += pad
		}
		c := content(column)
		if narrow {
			room := max(stop+widths[i]-at, 1)
			if column == Outcome && i < len(chosen)-1 {
				room = max(room, narrowOutcome)
			}
			c.text = cut(c.text, room)
		}
		parts = append(parts, c)
		at += utf8.RuneCountInString(c.text)
		stop += widths[i] + gap
	}
	return s.join(parts, at)
}

// widths says how wide each of the chosen columns is, and whether that is less
// than they usually are.
func (s Style) widths(chosen []Column) (widths []int, narrow bool) {
	widths = make([]int, len(chosen))
	total, slack := wideGap*(len(chosen)-1), 0
	for i, c := range chosen {
		widths[i] = columns[c].usual
		total += widths[i]
		slack += columns[c].usual - columns[c].smallest
	}
	missing := total - s.Width
	if s.Width <= 0 || missing <= 0 {
		return widths, false
	}
	missing -= (wideGap - narrowGap) * (len(chosen) - 1)
	for i, c := range chosen {
		own := columns[c].usual - columns[c].smallest
		if own == 0 || missing <= 0 {
			continue
		}
		// Each gives in proportion to what it can; rounded so that the last
		// one makes the sum come out.
		give := min(own, (missing*own+slack-1)/slack)
		widths[i] -= give
		missing -= give
		slack -= own
	}
	return widths, true
}

// join makes a line of parts, which are width characters in all.
func (s Style) join(parts []cell, width int) string {
	var b strings.Builder
	b.Grow(width + 32)
	cutting := s.Width > 0 && width > s.Width
	left := s.Width - 1 // characters before the "…", when cutting
	for _, p := range parts {
		text := p.text
		if cutting {
			if left <= 0 {
				break
			}
			if n := utf8.RuneCountInString(text); n > left {
				text = first(text, left)
				left = 0
			} else {
				left -= n
			}
		}
		if s.Color && p.paint != plain {
			b.WriteString(p.paint)
			b.WriteString(text)
			b.WriteString(reset)
		} else {
			b.WriteString(text)
		}
	}
	if cutting {
		b.WriteString("…")
	}
	return b.String()
}

const manySpaces = "                                                                "

func spaces(n int) string {
	if n <= len(manySpaces) {
		return manySpaces[:n]
	}
	return strings.Repeat(" ", n)
}
