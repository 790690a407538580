package record

import (
	"bytes"
	"time"
)

// javaTime is how CloudTrail writes times inside parameters and responses: the
// US format of old Java, in UTC.
const javaTime = `"Jan 2, 2006, 3:04:05 PM"`

// appendJavaTime appends the JSON value v, a time as an API of AWS has it
// (seconds since 1970, or a string of RFC 3339), as CloudTrail writes it. It is
// not ok if v is neither or lies outside the years 1 to 9999. Fractions of a
// second are dropped.
func appendJavaTime(dst, v []byte) (out []byte, ok bool) {
	t, ok := parseAPITime(v)
	if !ok {
		return dst, false
	}
	return t.AppendFormat(dst, javaTime), true
}

func parseAPITime(v []byte) (t time.Time, ok bool) {
	if v[0] == '"' {
		var err error
		if t, err = time.Parse(`"`+time.RFC3339+`"`, string(v)); err != nil {
			return t, false
		}
	} else {
		seconds, ok := wholeSeconds(v)
		if !ok {
			return t, false
		}
		t = time.Unix(seconds, 0)
	}
	t = t.UTC()
	return t, 1 <= t.Year() && t.Year() <= 9999
}

// wholeSeconds is a JSON number without its fraction, rounded down. It is not
// ok if the number has over 18 digits before its point.
func wholeSeconds(v []byte) (n int64, ok bool) {
	mantissa, negative := bytes.CutPrefix(v, []byte("-"))
	exponent := 0
	if i := bytes.IndexAny(mantissa, "eE"); i >= 0 {
		var digits []byte
		digits, mantissa = mantissa[i+1:], mantissa[:i]
		minus := digits[0] == '-'
		for _, c := range bytes.TrimLeft(digits, "+-0") {
			if exponent = 10*exponent + int(c-'0'); exponent > 1000 {
				return 0, false
			}
		}
		if minus {
			exponent = -exponent
		}
	}
	whole, fraction, _ := bytes.Cut(mantissa, []byte("."))
	point := len(whole) + exponent // where it stands among the digits
	rest := false
	digit := 0
	for _, part := range [2][]byte{whole, fraction} {
		for _, c := range part {
			if digit < point {
				if n >= 1e17 {
					return 0, false
				}
				n = 10*n + int64(c-'0')
			} else if c != '0' {
				rest = true
			}
			digit++
		}
	}
	for ; digit < point && n > 0; digit++ {
		if n >= 1e17 {
			return 0, false
		}
		n *= 10
	}
	if negative {
		n = -n
		if rest {
			n--
		}
	}
	return n, true
}
