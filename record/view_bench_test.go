package record_test

import (
	"strings"
	"testing"

	"github.com/keytrail/keytrail/internal/sample"
	"github.com/keytrail/keytrail/record"
)

// sampleRecords are encoded records of about 1 KiB, of many operations.
func sampleRecords(tb testing.TB, n int) [][]byte {
	tb.Helper()
	g := sample.New(sample.Config{Seed: 1, Bytes: 1024})
	all := make([][]byte, n)
	for i := range all {
		all[i] = mustMarshal(tb, g.Next())
	}
	return all
}

// viewUses are what filters ask of a record, from little to much.
var viewUses = []struct {
	name string
	ask  func(v *record.View) int
}{
	{"walk", func(*record.View) int { return 0 }},
	{"routing", func(v *record.View) int {
		n := len(v.EventName()) + v.Operation()
		if keys := v.Keys(); len(keys) > 0 {
			n += len(keys[0])
		}
		return n
	}},
	{"top", func(v *record.View) int { return textsOf(v, agent) }},
	{"nested", func(v *record.View) int { return textsOf(v, issuer) }},
	{"nested twice", func(v *record.View) int { return textsOf(v, issuer) + textsOf(v, issuer) }},
	{"time", func(v *record.View) int { return textsOf(v, when) }},
	{"resources", func(v *record.View) int {
		n := 0
		for e := range v.Value(list).Elements {
			n += len(e.Member("ARN").Text())
		}
		return n
	}},
	{"free-form", func(v *record.View) int { return askParameters(v) }},
	{"free-form twice", func(v *record.View) int { return askParameters(v) + askParameters(v) }},
	{"members", func(v *record.View) int {
		n := 0
		for name, m := range v.Value(parameters).Members {
			n += len(name) + len(m.Text())
		}
		return n
	}},
	{"everything", func(v *record.View) int { return askAll(v.Root()) }},
}

func fieldOf(path string) record.Field {
	names := strings.Split(path, ".")
	f, taken := record.FieldOf(names...)
	if taken != len(names) {
		panic(path)
	}
	return f
}

var (
	agent      = fieldOf("userAgent")
	issuer     = fieldOf("userIdentity.sessionContext.sessionIssuer.arn")
	when       = fieldOf("eventTime")
	list       = fieldOf("resources")
	parameters = fieldOf("requestParameters")
)

func textsOf(v *record.View, f record.Field) int {
	s, _ := v.Text(f)
	return len(s)
}

func askParameters(v *record.View) int {
	return len(v.Value(parameters).Member("encryptionContext").Member("tenant").Text())
}

func askAll(x record.Value) int {
	n := len(x.Text())
	for e := range x.Elements {
		n += askAll(e)
	}
	for name, m := range x.Members {
		n += len(name) + askAll(m)
	}
	return n
}

func BenchmarkView(b *testing.B) {
	all := sampleRecords(b, 1000)
	for _, bb := range viewUses {
		b.Run(bb.name, func(b *testing.B) {
			v := new(record.View)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if err := v.Reset(all[i]); err != nil {
					b.Fatal(err)
				}
				bb.ask(v)
				if i++; i == len(all) {
					i = 0
				}
			}
		})
	}
}

// TestViewAllocatesNothing: once a View has read such records.
func TestViewAllocatesNothing(t *testing.T) {
	all := sampleRecords(t, 200)
	for _, tt := range viewUses {
		v := new(record.View)
		allocs := testing.AllocsPerRun(5, func() {
			for _, encoded := range all {
				if err := v.Reset(encoded); err != nil {
					t.Fatal(err)
				}
				tt.ask(v)
			}
		})
		if allocs != 0 {
			t.Errorf("%s: %v allocations for %d records, want none", tt.name, allocs, len(all))
		}
	}
}
