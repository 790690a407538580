package filter

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/keytrail/keytrail/record"
)

// TestIndexAgainstList holds the index to the list of its filters, tried one
// by one, through random changes.
func TestIndexAgainstList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x Index[int]
		list := make(map[int]*pbFilter)
		// A few filters in all, so that many IDs share one.
		filters := rapid.SliceOfN(rapid.Custom(drawIndexed), 1, 6).Draw(t, "filters")
		ids := rapid.IntRange(0, 9)
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				id, pb := ids.Draw(t, "id"), rapid.SampledFrom(filters).Draw(t, "filter")
				f, err := Compile(pb)
				if err != nil {
					t.Fatal(err)
				}
				x.Add(id, f)
				list[id] = pb
			},
			"remove": func(t *rapid.T) {
				id := ids.Draw(t, "id")
				x.Remove(id)
				delete(list, id)
			},
			"": func(t *rapid.T) {
				if x.Len() != len(list) {
					t.Fatalf("Len = %d, want %d", x.Len(), len(list))
				}
				h := drawHeader(t)
				hits := make(map[int]int)
				x.Match(h, func(id int) { hits[id]++ })
				for id := range 10 {
					want := 0
					if pb, ok := list[id]; ok && slowMatch(pb, h) {
						want = 1
					}
					if hits[id] != want {
						t.Fatalf("%d hits of %d, want %d; filter %v, record %+v", hits[id], id, want, list[id], *h)
					}
				}
			},
		})
		for id := range 10 {
			x.Remove(id)
		}
		if x.Len() != 0 {
			t.Fatalf("Len = %d after all were removed", x.Len())
		}
		tables := x.tables.Load()
		if tables == nil {
			return
		}
		for i, m := range tables.byKey {
			if len(m) > 0 {
				t.Fatalf("shard %d still holds %v", i, m)
			}
		}
	})
}

// drawIndexed draws any filter, and more often than not one that the index can
// find by key.
func drawIndexed(t *rapid.T) *pbFilter {
	f := drawFilter(t)
	if rapid.IntRange(0, 2).Draw(t, "by key") > 0 {
		if len(f.Include) == 0 {
			f.Include = []*pbSelector{{}}
		}
		for _, s := range f.Include {
			literal := append([]string{record.KeyID(keyA), record.KeyID(keyMRK)}, someKeys...)
			s.Keys = rapid.SliceOfN(rapid.SampledFrom(literal), 1, 4).Draw(t, "literal keys")
		}
	}
	return f
}

// TestIndexWhileChanging proves that a Match during changes hits what stays,
// once, and never what is gone.
func TestIndexWhileChanging(t *testing.T) {
	var x Index[int]
	shared := mustCompile(t, include(&pbSelector{Keys: []string{keyA, record.KeyID(keyA), keyB}}))
	events := mustCompile(t, include(&pbSelector{EventNames: []string{"Decr*"}}))
	x.Add(-1, shared)
	x.Add(-2, events)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			for {
				select {
				case <-stop:
					return
				default:
				}
				id := w*100 + rng.IntN(100)
				if rng.IntN(2) == 0 {
					x.Remove(id)
				} else if rng.IntN(2) == 0 {
					x.Add(id, shared)
				} else {
					x.Add(id, events)
				}
			}
		})
	}
	h := &record.Header{EventName: "Decrypt", Keys: []string{keyA, keyB}}
	for range 3000 {
		hits := make(map[int]int)
		x.Match(h, func(id int) { hits[id]++ })
		for id, n := range hits {
			if n != 1 {
				t.Errorf("%d hits of %d", n, id)
			}
		}
		if hits[-1] != 1 || hits[-2] != 1 {
			t.Error("missed a filter that was there all the time")
		}
	}
	close(stop)
	wg.Wait()
	for id := range 300 {
		x.Remove(id)
	}
	x.Match(h, func(id int) {
		if id >= 0 {
			t.Errorf("hit %d, which is gone", id)
		}
	})
}

// TestIndexHitMayChange proves that Match holds no lock while it calls hit.
func TestIndexHitMayChange(t *testing.T) {
	var x Index[string]
	all := mustCompile(t, nil)
	x.Add("a", all)
	x.Add("b", all)
	n := 0
	x.Match(&record.Header{}, func(id string) {
		n++
		x.Remove(id)
		x.Add(id+"'", all)
	})
	if n != 2 || x.Len() != 2 {
		t.Errorf("%d hits and %d IDs, want 2 and 2", n, x.Len())
	}
}

// TestAddIsNotQuadratic counts bytes, since time depends on what else runs: to
// copy the whole index for each Add would take a hundred times as many.
func TestAddIsNotQuadratic(t *testing.T) {
	const n = 10_000
	for _, tt := range indexKinds {
		filters := make([]*Filter, n)
		for i := range filters {
			filters[i] = mustCompile(t, tt.filter(i))
		}
		var x Index[int]
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for i, f := range filters {
			x.Add(i, f)
		}
		runtime.ReadMemStats(&after)
		if each := (after.TotalAlloc - before.TotalAlloc) / n; each > 12<<10 {
			t.Errorf("%s: each Add allocates %d bytes", tt.name, each)
		}
	}
}

// indexKinds are the ways in which many filters can differ.
var indexKinds = []struct {
	name   string
	filter func(i int) *pbFilter
}{
	{"a key each", func(i int) *pbFilter { return include(&pbSelector{Keys: []string{numbered(i)}}) }},
	{"an event name each", func(i int) *pbFilter { return include(&pbSelector{EventNames: []string{fmt.Sprintf("Event%d", i)}}) }},
	{"a wildcard each", func(i int) *pbFilter { return include(&pbSelector{Keys: []string{fmt.Sprintf("*/%d-*", i)}}) }},
	{"the same", func(i int) *pbFilter { return include(&pbSelector{EventNames: []string{"Event0"}}) }},
	{"the same key", func(i int) *pbFilter {
		return include(&pbSelector{Keys: []string{numbered(0)}, EventNames: []string{fmt.Sprintf("Event%d", i)}})
	}},
}

func numbered(i int) string {
	return fmt.Sprintf("arn:aws:kms:us-west-2:210987654321:key/%08x-4c1f-4d7e-9a51-000000000000", i)
}

func TestMissAllocatesNothing(t *testing.T) {
	for _, tt := range indexKinds {
		var x Index[int]
		for i := range 100 {
			x.Add(i, mustCompile(t, tt.filter(i)))
		}
		h := &record.Header{EventName: "Decrypt", Keys: []string{keyA, keyB}}
		if n := testing.AllocsPerRun(100, func() { x.Match(h, func(int) {}) }); n != 0 {
			t.Errorf("%s: %v allocations", tt.name, n)
		}
	}
}

func BenchmarkIndexMatch(b *testing.B) {
	for _, kind := range indexKinds[:3] {
		for _, n := range []int{1, 100, 10_000} {
			var x Index[int]
			for i := range n {
				x.Add(i, mustCompile(b, kind.filter(i)))
			}
			hits := 0
			hit := func(int) { hits++ }
			for _, h := range []struct {
				name   string
				header record.Header
			}{
				{"miss", record.Header{EventName: "Decrypt", Keys: []string{keyA}}},
				{"hit", record.Header{EventName: "Event0", Keys: []string{numbered(0)}}},
			} {
				b.Run(fmt.Sprintf("%s/%d/%s", kind.name, n, h.name), func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						x.Match(&h.header, hit)
					}
				})
			}
		}
	}
}

func BenchmarkIndexAddRemove(b *testing.B) {
	const n = 10_000
	for _, kind := range indexKinds {
		var x Index[int]
		for i := range n {
			x.Add(i, mustCompile(b, kind.filter(i)))
		}
		f := mustCompile(b, kind.filter(n))
		b.Run(kind.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				x.Add(n, f)
				x.Remove(n)
			}
		})
	}
}
