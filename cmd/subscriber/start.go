package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/keytrail/keytrail/client"
)

// cursorPrefix begins every cursor that a bus gives out.
const cursorPrefix = "kt1"

// skew is how far ahead a start may be: clocks differ a little.
const skew = time.Minute

// parseStart reads the value of --from.
func parseStart(s string, now time.Time) (client.Start, error) {
	switch {
	case s == "" || s == "now":
		return client.Now(), nil
	case s == "earliest":
		return client.Earliest(), nil
	case strings.HasPrefix(s, cursorPrefix):
		return client.After(s), nil
	}
	t, ok := parseTime(s, now)
	if !ok {
		return client.Start{}, usage("--from %q is none of: now; earliest; a time (2026-01-05T08:00:00Z, or 2026-01-05 for midnight UTC); how long ago (15m, 1h, 2d); a cursor (%s…)", s, cursorPrefix)
	}
	if t.After(now.Add(skew)) {
		return client.Start{}, usage("--from %s is in the future", s)
	}
	return client.At(t), nil
}

func parseTime(s string, now time.Time) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	back, ok := parseBack(s)
	return now.Add(-back), ok
}

// parseBack is time.ParseDuration, for positive durations, with days: "2d",
// "1d12h".
func parseBack(s string) (time.Duration, bool) {
	var back time.Duration
	if days, rest, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16) // 65,535 days at most: a Duration holds 106,751
		if err != nil {
			return 0, false
		}
		back = time.Duration(n) * 24 * time.Hour
		if s = rest; s == "" {
			return back, back > 0
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || strings.HasPrefix(s, "+") {
		return 0, false
	}
	return back + d, back+d > 0
}
