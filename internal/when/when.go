// Package when reads times and durations as people write them on a command
// line.
package when

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// Duration is [time.ParseDuration] for durations that are not negative, with
// days: "90d", "1d12h", "0.5d", "30m".
func Duration(s string) (time.Duration, error) {
	var d time.Duration
	days, rest, ok := strings.Cut(s, "d")
	if ok {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || !(n >= 0 && n <= 36_500) { // 100 years; also not NaN
			return 0, bad(s)
		}
		if d = time.Duration(n * float64(day)); rest == "" {
			return d, nil
		}
	} else {
		rest = s
	}
	more, err := time.ParseDuration(rest)
	if err != nil || strings.HasPrefix(rest, "+") || strings.HasPrefix(rest, "-") || d+more < 0 {
		return 0, bad(s)
	}
	return d + more, nil
}

func bad(s string) error { return fmt.Errorf("%q is not a duration such as 90d, 12h or 30m", s) }

// Time reads a time as RFC 3339 has it, a date, which is its midnight in UTC, or
// how long ago: a [Duration] before now.
func Time(s string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	if back, err := Duration(s); err == nil {
		return now.Add(-back), nil
	}
	return time.Time{}, fmt.Errorf("%q is not a time such as 2026-11-24T10:00:00Z, a date such as 2026-11-24, or how long ago, such as 30d or 15m", s)
}
