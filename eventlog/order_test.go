package eventlog

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestOrder submits random records in one go, so that windows hold many of
// them, and holds the log to the rule of the package doc, pair by pair.
func TestOrder(t *testing.T) {
	l := testLog(t, Config{})
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		n := rapid.IntRange(2, 60).Draw(rt, "records")
		entries := make([]Entry, n)
		for i := range entries {
			event := rapid.SampledFrom([]string{"Decrypt", "Encrypt", "ReEncrypt", "DisableKey", "DisableKeyRotation"}).Draw(rt, "event")
			var keys []string
			for _, k := range rapid.SliceOfNDistinct(rapid.IntRange(1, 4), 0, 2, rapid.ID).Draw(rt, "keys") {
				keys = append(keys, keyARN(k))
			}
			entries[i] = entry(t, fmt.Sprintf("%d-%d", round, i), event, keys...)
		}
		before, err := l.Info(t.Context())
		if err != nil {
			rt.Fatal(err)
		}
		results := submit(t, l, entries...)
		for i, r := range results {
			if r.Status != StatusStored {
				rt.Fatalf("record %d: %v, %v", i, r.Status, r.Err)
			}
		}
		for i := range entries {
			for j := i + 1; j < n; j++ {
				a, b := &entries[i].Header, &entries[j].Header
				if mustKeepOrder(a.Keys, b.Keys, a.ReadOnly && b.ReadOnly, a.EventName == b.EventName) &&
					results[i].Position.Compare(results[j].Position) > 0 {
					rt.Fatalf("record %d (%s %v) was submitted before %d (%s %v) and is stored after it: %v, %v",
						i, a.EventName, a.Keys, j, b.EventName, b.Keys, results[i].Position, results[j].Position)
				}
			}
		}
		// Positions are those of a read.
		var order []int
		for i := range entries {
			order = append(order, i)
		}
		slices.SortFunc(order, func(i, j int) int { return results[i].Position.Compare(results[j].Position) })
		var want []string
		for _, i := range order {
			want = append(want, entries[i].Header.EventID)
		}
		all := stored(t, l)
		if got := all[len(all)-n:]; !slices.Equal(got, want) {
			rt.Fatalf("the log holds %v after sequence %d, the positions say %v", got, before.Head.Seq-1, want)
		}
	})
}

func mustKeepOrder(a, b []string, bothReadOnly, sameEvent bool) bool {
	if len(a) == 0 {
		a = []string{noKey}
	}
	if len(b) == 0 {
		b = []string{noKey}
	}
	share := slices.ContainsFunc(a, func(k string) bool { return slices.Contains(b, k) })
	return share && (!bothReadOnly || sameEvent && len(a) == len(b))
}

func BenchmarkWindow(b *testing.B) {
	l := testLog(b, Config{})
	entries := make([]Entry, 1000)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		for n := range entries {
			entries[n] = entry(b, fmt.Sprint(i), "Decrypt", keyARN(i%50))
			i++
		}
		b.StartTimer()
		submit(b, l, entries...)
	}
	b.ReportMetric(float64(b.N*len(entries))/b.Elapsed().Seconds(), "records/s")
}
