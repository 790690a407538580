package main

import (
	"strings"
	"time"

	"github.com/keytrail/keytrail/client"
	"github.com/keytrail/keytrail/internal/when"
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
	t, err := when.Time(s, now)
	if err != nil {
		return client.Start{}, usage("--from %q is none of: now; earliest; a time (2026-01-05T08:00:00Z, or 2026-01-05 for midnight UTC); how long ago (15m, 1h, 2d); a cursor (%s…)", s, cursorPrefix)
	}
	if t.After(now.Add(skew)) {
		return client.Start{}, usage("--from %s is in the future", s)
	}
	return client.At(t), nil
}
