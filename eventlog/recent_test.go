package eventlog

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestKeyOf(t *testing.T) {
	same := "1234abcd-12ab-34cd-56ef-1234567890ab"
	ids := []string{
		same, "1234ABCD-12AB-34CD-56EF-1234567890AB", "1234abcd12ab34cd56ef1234567890ab", "1234abcd-12ab-34cd-56ef-1234567890ac",
		"1", "", "1234abcd-12ab-34cd-56ef-1234567890a", "1234abcd_12ab_34cd_56ef_1234567890ab", "zzzzzzzz-12ab-34cd-56ef-1234567890ab",
		"\x12\x34\xab\xcd\x12\xab\x34\xcd\x56\xef\x12\x34\x56\x78\x90\xab",
	}
	seen := make(map[eventKey]string)
	for _, id := range ids {
		k := keyOf(id)
		if other, ok := seen[k]; ok {
			t.Errorf("%q and %q have one key", id, other)
		}
		seen[k] = id
		if keyOf(id) != k {
			t.Errorf("%q has two keys", id)
		}
	}
	if allocs := testing.AllocsPerRun(100, func() { keyOf(same) }); allocs != 0 {
		t.Errorf("keyOf allocates %v times", allocs)
	}
}

// TestRecentModel holds the set to a slice that is searched from the end.
func TestRecentModel(t *testing.T) {
	type stored struct {
		id  string
		sum uint64
		at  time.Time
		pos Position
	}
	rapid.Check(t, func(t *rapid.T) {
		maxIDs := rapid.IntRange(1, 5).Draw(t, "maxIDs")
		r := newRecent(time.Minute, int64(maxIDs)*recentBytesPerID)
		now := time.Unix(1_700_000_000, 0)
		var model []stored
		reserved := make(map[string]uint64)
		find := func(id string) *stored {
			for i := len(model) - 1; i >= 0; i-- {
				if model[i].id == id {
					return &model[i]
				}
			}
			return nil
		}
		for step := range rapid.IntRange(1, 60).Draw(t, "steps") {
			id := fmt.Sprint(rapid.IntRange(0, 7).Draw(t, "id"))
			switch rapid.IntRange(0, 3).Draw(t, "op") {
			case 0: // publish
				sum := uint64(rapid.IntRange(1, 2).Draw(t, "sum"))
				got, pos := r.reserve(keyOf(id), sum, nil, 0)
				want := fresh
				if s := find(id); s != nil {
					want = conflict
					if s.sum == sum {
						want = duplicate
					}
					if pos != s.pos {
						t.Fatalf("step %d: position %v, want %v", step, pos, s.pos)
					}
				} else if _, ok := reserved[id]; ok {
					want = pending
				} else {
					reserved[id] = sum
				}
				if got != want {
					t.Fatalf("step %d: reserve(%s, %d) = %v, want %v", step, id, sum, got, want)
				}
			case 1: // stored
				if sum, ok := reserved[id]; ok {
					pos := Position{Seq: uint64(step + 1)}
					r.settle(keyOf(id), pos, now)
					delete(reserved, id)
					model = append(model, stored{id, sum, now, pos})
				}
			case 2: // failed
				if _, ok := reserved[id]; ok {
					r.release(keyOf(id))
					delete(reserved, id)
				}
			case 3:
				now = now.Add(time.Duration(rapid.IntRange(0, 40).Draw(t, "seconds")) * time.Second)
				continue
			}
			// The bounds are applied when something is remembered.
			if len(model) > 0 && model[len(model)-1].at.Equal(now) {
				for len(model) > maxIDs || now.Sub(model[0].at) > time.Minute {
					model = model[1:]
				}
			}
		}
		if n, _ := r.size(now); n != len(model) {
			t.Fatalf("%d IDs are remembered, want %d", n, len(model))
		}
	})
}

// TestRecentWindow: the window within which every ID is known is the whole time, or shorter while there is no room for that.
func TestRecentWindow(t *testing.T) {
	const maxIDs = 100
	r := newRecent(10*time.Minute, maxIDs*recentBytesPerID)
	now := time.Unix(1_700_000_000, 0)
	if _, w := r.size(now); w != 10*time.Minute {
		t.Errorf("of a log without records: %v", w)
	}
	store := func(n int, every time.Duration) {
		for i := range n {
			r.observe(keyOf(fmt.Sprint(now, i)), nil, Position{Seq: 1}, now)
			now = now.Add(every)
		}
	}
	store(50, 10*time.Second)
	if _, w := r.size(now); w != 10*time.Minute {
		t.Errorf("with room for all: %v", w)
	}
	store(300, time.Second)
	if n, w := r.size(now); n != maxIDs || w < 99*time.Second || w > 101*time.Second {
		t.Errorf("with room for %d, one a second: %d IDs and %v", maxIDs, n, w)
	}
	store(61, 20*time.Second)
	if _, w := r.size(now); w != 10*time.Minute {
		t.Errorf("with room for all again: %v", w)
	}
}

// TestRecentMemory holds recentBytesPerID, by which the bound in bytes becomes
// one in IDs.
func TestRecentMemory(t *testing.T) {
	const n = 1 << 18
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	r := newRecent(time.Hour, n*recentBytesPerID)
	now := time.Unix(1_700_000_000, 0)
	insert := func(i uint64) {
		var k eventKey
		binary.BigEndian.PutUint64(k[:], i*0x9e3779b97f4a7c15)
		if v, _ := r.reserve(k, i, nil, 0); v != fresh {
			t.Fatalf("ID %d: %v", i, v)
		}
		r.settle(k, Position{Seq: i}, now)
	}
	// Twice the bound: the second half replaces the first.
	for i := range uint64(2 * n) {
		insert(i)
	}
	used := heap() - before
	if got := used / n; got > recentBytesPerID {
		t.Errorf("an ID takes %d bytes, recentBytesPerID says %d", got, recentBytesPerID)
	}
	if ids, _ := r.size(now); ids != n {
		t.Errorf("%d IDs are remembered, want %d", ids, n)
	}
	runtime.KeepAlive(r)
}

func BenchmarkRecent(b *testing.B) {
	r := newRecent(time.Hour, 1<<20*recentBytesPerID)
	now := time.Unix(1_700_000_000, 0)
	b.ReportAllocs()
	for i := uint64(0); b.Loop(); i++ {
		var k eventKey
		binary.BigEndian.PutUint64(k[:], i*0x9e3779b97f4a7c15)
		r.reserve(k, i, nil, 0)
		r.settle(k, Position{Seq: i}, now)
	}
}
