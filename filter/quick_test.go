package filter

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/keytrail/keytrail/record"
)

// TestMatchQuick: what could take long is left to who asks, and nothing else.
func TestMatchQuick(t *testing.T) {
	var x Index[string]
	costly := "requestParameters.list[] = x" + strings.Repeat(" or requestParameters.list = y", 149)
	x.Add("costly", compileText(t, costly))
	x.Add("costly too", compileText(t, costly))
	x.Add("contains", compileText(t, `userAgent *= (`+strings.TrimSuffix(strings.Repeat("a, ", 200), ", ")+`)`))
	x.Add("another operation", compileText(t, "event = Encrypt and ("+costly+")"))
	x.Add("simple", compileText(t, "requestParameters.list = x"))
	x.Add("all", compileText(t, "true"))
	for _, tt := range []struct {
		list, hit, slow string
	}{
		{`["x"]`, "all costly costly too simple", ""},
		{`["y"]`, "all costly costly too", ""},
		{`["z"` + strings.Repeat(`,"z"`, 5000) + `]`, "all", "contains"}, // the index knows that it has neither x nor y
		{`["z"` + strings.Repeat(`,"z"`, 5000) + `,"x"]`, "all simple", "contains costly costly too"},
	} {
		v := textView(t, `{"eventName":"Decrypt","requestParameters":{"list":`+tt.list+`}}`)
		found := map[string]map[string]bool{"hit": {}, "slow": {}}
		note := func(kind string) func(string) {
			return func(id string) {
				if found[kind][id] {
					t.Errorf("%s twice", id)
				}
				found[kind][id] = true
			}
		}
		x.MatchQuick(v, note("hit"), note("slow"))
		if hit, slow := ids(found["hit"]), ids(found["slow"]); hit != tt.hit || slow != tt.slow {
			t.Errorf("of a record of %d bytes: %q hit and %q slow, want %q and %q", v.Size(), hit, slow, tt.hit, tt.slow)
		}
	}
	if v := new(record.View); v.Reset([]byte{0xff}) == nil || v.Size() != 0 {
		t.Error("what is no record has a size")
	}
}

func ids(set map[string]bool) string {
	return strings.Join(slices.Sorted(maps.Keys(set)), " ")
}
