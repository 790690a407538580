package filter

import (
	"regexp"
	"testing"

	"google.golang.org/protobuf/proto"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/internal/sample"
	"github.com/keytrail/keytrail/record"
)

// hugeExponent is in numbers that the oracle would take too long for.
var hugeExponent = regexp.MustCompile(`[0-9][eE][+-]?[0-9]{4}`)

// FuzzRecord holds matching to the oracle for any text and any bytes as a record.
// Of bytes that are no record that the bus would store it only asks an answer.
func FuzzRecord(f *testing.F) {
	g := sample.New(sample.Config{Keys: 20})
	add := func(text string, rec *keytrailv1.Record) {
		encoded, err := proto.Marshal(rec)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, encoded)
	}
	for _, tt := range rules {
		for _, text := range append(tt.match, tt.miss...) {
			rec, err := record.FromJSON([]byte(text))
			if err != nil {
				f.Fatal(err)
			}
			add(tt.where, rec)
		}
	}
	for _, tt := range canonicalTests {
		add(tt.text, g.Next())
	}
	f.Fuzz(func(t *testing.T, text string, encoded []byte) {
		e, err := parseText(text)
		if err != nil || checkLimits(e) != nil {
			return
		}
		v := new(record.View)
		if v.Reset(encoded) != nil {
			return
		}
		got := e.holds(scope{view: v})
		rec := new(keytrailv1.Record)
		if proto.Unmarshal(encoded, rec) != nil || record.Validate(rec, record.Policy{AllSources: true}) != nil || hasCEL(e) ||
			hugeExponent.MatchString(jsonOf(rec)) || hugeExponent.MatchString(text) {
			return
		}
		if want := slowHolds(e, rec); got != want {
			t.Errorf("%s holds: %v, the specification says %v, for %s", e.text(), got, want, jsonOf(rec))
		}
	})
}

func hasCEL(e *expr) bool {
	for _, k := range e.kids {
		if hasCEL(k) {
			return true
		}
	}
	return e.kind == exprCEL
}
