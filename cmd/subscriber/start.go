package main

import (
	"strings"
	"time"

	"github.com/keytrail/keytrail/client"
	"github.com/keytrail/keytrail/internal/when"
	"github.com/keytrail/keytrail/transcript"
)

// cursorPrefix begins every cursor that a bus gives out.
const cursorPrefix = "kt1"

// skew is how far ahead a start may be: clocks differ a little.
const skew = time.Minute

// parseStart reads the value of --from.
func parseStart(s string, now time.Time) (client.Start, error) {
	start, err := parsePlace(s, now)
	return startOf(start), err
}

// parsePlace is parseStart for the header of a transcript.
func parsePlace(s string, now time.Time) (transcript.Start, error) {
	switch {
	case s == "" || s == "now":
		return transcript.Start{Now: true}, nil
	case s == "earliest":
		return transcript.Start{Earliest: true}, nil
	case strings.HasPrefix(s, cursorPrefix):
		return transcript.Start{After: s}, nil
	}
	t, err := when.Time(s, now)
	if err != nil {
		return transcript.Start{}, usage("--from %q is none of: now; earliest; a time (2026-01-05T08:00:00Z, or 2026-01-05 for midnight UTC); how long ago (15m, 1h, 2d); a cursor (%s…)", s, cursorPrefix)
	}
	if t.After(now.Add(skew)) {
		return transcript.Start{}, usage("--from %s is in the future", s)
	}
	return transcript.Start{Time: t}, nil
}

// startOf is s for the client.
func startOf(s transcript.Start) client.Start {
	switch {
	case s.Earliest:
		return client.Earliest()
	case s.After != "":
		return client.After(s.After)
	case !s.Time.IsZero():
		return client.At(s.Time)
	}
	return client.Now()
}
