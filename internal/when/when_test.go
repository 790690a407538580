package when_test

import (
	"testing"
	"time"

	"github.com/keytrail/keytrail/internal/when"
)

const day = 24 * time.Hour

var durations = []struct {
	text string
	want time.Duration // negative: refused
}{
	{"90d", 90 * day}, {"0.5d", 12 * time.Hour}, {"1d12h", 36 * time.Hour}, {"30m", 30 * time.Minute}, {"1h30m", 90 * time.Minute}, {"0", 0}, {"0s", 0},
	{"", -1}, {"d", -1}, {"-1h", -1}, {"+1h", -1}, {"1d-2h", -1}, {"1d+2h", -1}, {"1w", -1}, {"NaNd", -1}, {"1e9d", -1}, {"-1d", -1}, {"1dd", -1}, {"1 d", -1}, {"36500d9999999h", -1},
}

func TestDuration(t *testing.T) {
	for _, tt := range durations {
		if got, err := when.Duration(tt.text); (err != nil) != (tt.want < 0) || err == nil && got != tt.want {
			t.Errorf("Duration(%q) = %v, %v; want %v", tt.text, got, err, tt.want)
		}
	}
}

func FuzzDuration(f *testing.F) {
	for _, tt := range durations {
		f.Add(tt.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if d, err := when.Duration(text); err == nil && d < 0 {
			t.Errorf("Duration(%q) = %v", text, d)
		}
	})
}

func TestTime(t *testing.T) {
	now := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"2026-11-20T01:02:03Z": "2026-11-20T01:02:03Z", "2026-11-20T01:02:03+01:00": "2026-11-20T00:02:03Z", "2026-11-20": "2026-11-20T00:00:00Z",
		"1h": "2026-11-24T09:00:00Z", "2d": "2026-11-22T10:00:00Z", "yesterday": "", "": "", "2026-13-01": "",
	} {
		got, err := when.Time(text, now)
		if (err != nil) != (want == "") || err == nil && got.UTC().Format(time.RFC3339) != want {
			t.Errorf("Time(%q) = %v, %v; want %s", text, got, err, want)
		}
	}
}
