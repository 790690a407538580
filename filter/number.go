package filter

import (
	"cmp"
	"strings"
)

// number is a decimal number, exactly: 0.digits times ten to the power of exp.
// Records hold integers that no float64 does.
type number struct {
	negative bool
	digits   string // without zeros in front or behind; empty for zero
	exp      int
}

// parseNumber reads a number in JSON's notation.
func parseNumber(s string) (n number, ok bool) {
	s, n.negative = strings.CutPrefix(s, "-")
	whole, s := leadingDigits(s)
	if whole == "" || len(whole) > 1 && whole[0] == '0' {
		return n, false
	}
	var fraction string
	if rest, point := strings.CutPrefix(s, "."); point {
		if fraction, s = leadingDigits(rest); fraction == "" {
			return n, false
		}
	}
	power := 0
	if s != "" {
		if s[0] != 'e' && s[0] != 'E' {
			return n, false
		}
		s = s[1:]
		sign := 1
		switch {
		case strings.HasPrefix(s, "+"):
			s = s[1:]
		case strings.HasPrefix(s, "-"):
			s, sign = s[1:], -1
		}
		digits, rest := leadingDigits(s)
		if digits == "" || rest != "" {
			return n, false
		}
		for i := range len(digits) {
			power = min(power*10+int(digits[i]-'0'), 1<<40) // beyond any record's
		}
		power *= sign
	}
	n.exp = len(whole) + power
	n.digits = whole
	if fraction != "" {
		n.digits += fraction
	}
	trimmed := strings.TrimLeft(n.digits, "0")
	n.exp -= len(n.digits) - len(trimmed)
	n.digits = strings.TrimRight(trimmed, "0")
	if n.digits == "" {
		return number{}, true
	}
	return n, true
}

func leadingDigits(s string) (digits, rest string) {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return s[:i], s[i:]
}

// compare is negative if n is less than m, and so on.
func (n number) compare(m number) int {
	if n.sign() != m.sign() {
		return cmp.Compare(n.sign(), m.sign())
	}
	magnitude := cmp.Or(cmp.Compare(n.exp, m.exp), cmp.Compare(n.digits, m.digits))
	return magnitude * n.sign()
}

func (n number) sign() int {
	switch {
	case n.digits == "":
		return 0
	case n.negative:
		return -1
	}
	return 1
}
