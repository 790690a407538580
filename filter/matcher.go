package filter

import (
	"fmt"
	"net/netip"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"time"
	"unicode"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// Limits of regular expressions. A match takes time in proportion to the
// expression and to what it is matched against, so both are bounded.
const (
	// MaxRegexpBytes is how long a regular expression may be.
	MaxRegexpBytes = 512

	// MaxRegexps is how many regular expressions a filter may hold, those in CEL
	// expressions included.
	MaxRegexps = 64

	// maxRegexpSize bounds a compiled expression, in instructions: x{100}
	// is short and has a hundred. maxRegexpsSize bounds all of a filter together.
	maxRegexpSize  = 500
	maxRegexpsSize = 2000

	// rangesPerSize is how many ranges of characters count as one instruction
	// more: each instruction may hold its own copy of the hundreds that \pL has.
	rangesPerSize = 4

	// maxRegexpInput is how many bytes of a record's values the expressions of
	// one condition are matched against, each of them. A value beyond does not match.
	maxRegexpInput = 16 << 10
)

// matcher is the values of a condition, ready to compare. It is small for the
// usual ones, for there may be a hundred thousand filters.
type matcher struct {
	exact []string  // sorted
	other *patterns // nil: there are only exact ones
}

// patterns are values that match others than themselves.
type patterns struct {
	numbers  []number // those of exact that are numbers; or what to be less than, and so on; ascending
	texts    []string // wildcards; or what to begin with, end with, or contain
	regexps  []sizedRegexp
	networks []netip.Prefix
}

// sizedRegexp is a regular expression and its size, in instructions.
type sizedRegexp struct {
	*regexp.Regexp
	size int
}

// newMatcher prepares values for op; it keeps them. The error says what is
// wrong with the first faulty value, and which that is.
func newMatcher(op keytrailv1.Operator, values []string, nocase bool) (m matcher, faulty int, err error) {
	if nocase && op != keytrailv1.Operator_OPERATOR_MATCHES {
		values = slices.Clone(values)
		for i, v := range values {
			values[i] = fold(v)
		}
	}
	var other patterns
	switch op {
	case keytrailv1.Operator_OPERATOR_EQUALS:
		m.exact = values
	case keytrailv1.Operator_OPERATOR_WILDCARD:
		m.exact = values
		if slices.ContainsFunc(values, isGlob) {
			m.exact = nil
			for _, v := range values {
				if isGlob(v) {
					other.texts = append(other.texts, v)
				} else {
					m.exact = append(m.exact, v)
				}
			}
		}
	case keytrailv1.Operator_OPERATOR_STARTS_WITH, keytrailv1.Operator_OPERATOR_ENDS_WITH, keytrailv1.Operator_OPERATOR_CONTAINS:
		other.texts = values
	case keytrailv1.Operator_OPERATOR_MATCHES:
		for i, v := range values {
			re, err := compileRegexp(v, nocase)
			if err != nil {
				return m, i, err
			}
			other.regexps = append(other.regexps, re)
		}
	case keytrailv1.Operator_OPERATOR_CIDR:
		for i, v := range values {
			n, err := parseNetwork(v)
			if err != nil {
				return m, i, err
			}
			other.networks = append(other.networks, n)
		}
	default: // an order
		for i, v := range values {
			n, ok := parseNumber(v)
			if !ok {
				if _, err := time.Parse(time.DateOnly, v[:min(len(v), len(time.DateOnly))]); err == nil {
					return m, i, fmt.Errorf("%q is not a number; to compare times, write cel(\"eventTime > timestamp('2026-01-31T00:00:00Z')\")", shortened(v))
				}
				return m, i, fmt.Errorf("%q is not a number; write one such as 7 or 0.5", v)
			}
			other.numbers = append(other.numbers, n)
		}
	}
	for _, v := range m.exact {
		if n, ok := parseNumber(v); ok {
			other.numbers = append(other.numbers, n)
		}
	}
	slices.SortFunc(other.numbers, number.compare)
	if !slices.IsSorted(m.exact) {
		m.exact = slices.Sorted(slices.Values(m.exact))
	}
	if len(m.exact) < len(values) || len(other.numbers) > 0 {
		m.other = &other
	}
	return m, 0, nil
}

func isGlob(v string) bool { return strings.IndexByte(v, '*') >= 0 }

func compileRegexp(text string, nocase bool) (re sizedRegexp, err error) {
	if len(text) > MaxRegexpBytes {
		return re, fmt.Errorf("the regular expression has %d bytes; use at most %d", len(text), MaxRegexpBytes)
	}
	if nocase {
		text = "(?i)" + text // not in parentheses, which the text could close
	}
	// Its size comes first: the rest may need much memory for each instruction.
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		if e, ok := err.(*syntax.Error); ok {
			return re, fmt.Errorf("the regular expression is faulty: %s: %q", e.Code, e.Expr)
		}
		return re, fmt.Errorf("the regular expression is faulty: %w", err)
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return re, fmt.Errorf("the regular expression is faulty: %w", err)
	}
	for i := range prog.Inst {
		re.size += 1 + len(prog.Inst[i].Rune)/(2*rangesPerSize)
	}
	if re.size > maxRegexpSize {
		return re, fmt.Errorf("the regular expression is too large once compiled: %d instructions, at most %d; repeat less", re.size, maxRegexpSize)
	}
	if re.Regexp, err = regexp.Compile(text); err != nil {
		return re, fmt.Errorf("the regular expression is faulty: %w", err)
	}
	return re, nil
}

// parseNetwork reads a CIDR block, or an address as a block of one.
func parseNetwork(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%q is no CIDR block; write one such as 10.0.0.0/8 or 2001:db8::/32, or an address", s)
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

// matchText compares a text. spent counts what regular expressions have looked
// at in this record.
func (m *matcher) matchText(op keytrailv1.Operator, s string, spent *int) bool {
	return m.hasExact(s) || m.other != nil && m.other.matchText(op, s, spent)
}

func (m *patterns) matchText(op keytrailv1.Operator, s string, spent *int) bool {
	switch op {
	case keytrailv1.Operator_OPERATOR_EQUALS, keytrailv1.Operator_OPERATOR_WILDCARD:
		for _, g := range m.texts {
			if matchGlob(g, s) {
				return true
			}
		}
	case keytrailv1.Operator_OPERATOR_STARTS_WITH:
		for _, p := range m.texts {
			if strings.HasPrefix(s, p) {
				return true
			}
		}
	case keytrailv1.Operator_OPERATOR_ENDS_WITH:
		for _, p := range m.texts {
			if strings.HasSuffix(s, p) {
				return true
			}
		}
	case keytrailv1.Operator_OPERATOR_CONTAINS:
		for _, p := range m.texts {
			if strings.Contains(s, p) {
				return true
			}
		}
	case keytrailv1.Operator_OPERATOR_MATCHES:
		if *spent += len(s); *spent > maxRegexpInput {
			return false
		}
		for _, re := range m.regexps {
			if re.MatchString(s) {
				return true
			}
		}
	case keytrailv1.Operator_OPERATOR_CIDR:
		if s == "" || s[0] > 'f' {
			return false
		}
		a, err := netip.ParseAddr(s)
		if err != nil {
			return false
		}
		a = a.Unmap()
		for _, n := range m.networks {
			if n.Contains(a) {
				return true
			}
		}
	}
	return false
}

// hasExact reports whether s is one of the exact values.
func (m *matcher) hasExact(s string) bool {
	if len(m.exact) <= 8 {
		for _, e := range m.exact {
			if e == s {
				return true
			}
		}
		return false
	}
	_, ok := slices.BinarySearch(m.exact, s)
	return ok
}

// matchNumber compares a JSON number, which text says in JSON.
func (m *matcher) matchNumber(op keytrailv1.Operator, text string, spent *int) bool {
	switch op {
	case keytrailv1.Operator_OPERATOR_EQUALS, keytrailv1.Operator_OPERATOR_WILDCARD:
		if m.matchText(op, text, spent) {
			return true
		}
		if m.other == nil || len(m.other.numbers) == 0 {
			return false
		}
		n, ok := parseNumber(text)
		if !ok {
			return false
		}
		_, found := slices.BinarySearchFunc(m.other.numbers, n, number.compare)
		return found
	case keytrailv1.Operator_OPERATOR_LESS, keytrailv1.Operator_OPERATOR_LESS_OR_EQUAL:
		n, ok := parseNumber(text)
		return ok && ordered(op, n.compare(m.other.numbers[len(m.other.numbers)-1]))
	case keytrailv1.Operator_OPERATOR_GREATER, keytrailv1.Operator_OPERATOR_GREATER_OR_EQUAL:
		n, ok := parseNumber(text)
		return ok && ordered(op, n.compare(m.other.numbers[0]))
	}
	return m.matchText(op, text, spent)
}

// ordered reports whether op holds for two numbers that compare as c.
func ordered(op keytrailv1.Operator, c int) bool {
	switch op {
	case keytrailv1.Operator_OPERATOR_LESS:
		return c < 0
	case keytrailv1.Operator_OPERATOR_LESS_OR_EQUAL:
		return c <= 0
	case keytrailv1.Operator_OPERATOR_GREATER:
		return c > 0
	}
	return c >= 0
}

// matchGlob reports whether s is pattern with each "*" replaced by some run of
// bytes. Each part between two stars takes the first place where it fits: a
// later one would leave less room for the parts after it, so there is no need
// ever to go back.
func matchGlob(pattern, s string) bool {
	part, rest, star := strings.Cut(pattern, "*")
	if !star {
		return s == pattern
	}
	s, ok := strings.CutPrefix(s, part)
	if !ok {
		return false
	}
	for {
		part, rest, star = strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(s, part)
		}
		if _, s, ok = strings.Cut(s, part); !ok {
			return false
		}
	}
}

// fold makes strings equal that differ only in case: each character becomes
// the least of those that it folds with.
func fold(s string) string {
	for i := range len(s) {
		if c := s[i]; 'a' <= c && c <= 'z' || c >= 0x80 {
			return strings.Map(foldRune, s)
		}
	}
	return s
}

func foldRune(r rune) rune {
	if 'a' <= r && r <= 'z' && r != 'k' && r != 's' {
		return r - ('a' - 'A')
	}
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	return least
}
