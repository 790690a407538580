package transcript

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestAnyFault: honest transcripts are clean whatever happened while they were
// recorded; one with a fault, wherever it is, is not.
func TestAnyFault(t *testing.T) {
	const items = 400
	log := logOf(items, 100, 101, 250)
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.IntRange(0, items)
		from, to := number.Draw(t, "from"), number.Draw(t, "to")
		from, to = min(from, to), max(from, to)
		s := script{
			checkpoints: rapid.SliceOfN(number, 0, 5).Draw(t, "checkpoints"),
			streams:     rapid.SliceOfN(number, 0, 5).Draw(t, "streams"),
			changes:     map[int]string{},
		}
		wheres := []string{"", narrow, "readOnly = false"}
		for _, at := range rapid.SliceOfN(number, 0, 2).Draw(t, "changes") {
			if at <= from {
				continue // a filter that changes before anything was considered says too little about where that was
			}
			s.changes[at] = rapid.SampledFrom(wheres).Draw(t, "filter")
		}
		honest := log.record(t, rapid.SampledFrom(wheres).Draw(t, "first filter"), from, to, s)
		if r := check(t, log, honest)[0]; !r.Clean() || len(r.Notes) > 0 || !r.Compared {
			t.Fatalf("honest: %s", r.text())
		}
		var records, checkpoints []int
		for i, e := range honest.events {
			switch e.Kind {
			case Record:
				records = append(records, i)
			case Checkpoint:
				checkpoints = append(checkpoints, i)
			}
		}
		if len(records) < 2 {
			t.Skip()
		}
		tp := &tape{honest.header, slices.Clone(honest.events)}
		i := rapid.SampledFrom(records).Draw(t, "record")
		j := rapid.SampledFrom(records).Draw(t, "other record")
		switch fault := rapid.SampledFrom([]string{"remove", "swap", "move", "repeat", "alter", "misplace", "count"}).Draw(t, "fault"); fault {
		case "remove":
			tp.remove(i)
		case "swap":
			if i == j {
				t.Skip()
			}
			tp.events[i], tp.events[j] = tp.events[j], tp.events[i]
		case "move":
			if i == j {
				t.Skip()
			}
			tp.move(max(i, j), min(i, j))
		case "repeat":
			tp.insert(max(i, j), tp.events[min(i, j)])
		case "alter":
			tp.events[i].Hash = strings.Repeat("ab", hashBytes)
		case "misplace":
			tp.events[i].Cursor = "kt1-none"
		case "count":
			k := rapid.SampledFrom(checkpoints).Draw(t, "checkpoint")
			if from == 0 && k < records[0] {
				t.Skip() // what was considered before the log begins may have expired
			}
			tp.events[k].Considered++
		}
		if r := check(t, log, tp)[0]; r.Clean() {
			t.Fatalf("the fault is not found: %s", r.text())
		}
	})
}

// TestFar: faults that span more than Check remembers are found all the same.
func TestFar(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	const items = 3 * Behind
	log := logOf(items)
	honest := log.record(t, "", 0, items, script{})
	for _, tt := range []struct {
		name  string
		plant func(*tape)
	}{
		{"late", func(tp *tape) { tp.move(100, 2*Behind) }},
		{"early", func(tp *tape) { tp.move(2*Behind, 100) }},
		{"twice", func(tp *tape) { tp.insert(2*Behind, tp.events[100]) }},
		{"a stretch is missing", func(tp *tape) { tp.events = slices.Delete(tp.events, 100, 2*Behind) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tp := &tape{honest.header, slices.Clone(honest.events)}
			tt.plant(tp)
			r := check(t, log, tp)[0]
			if r.Clean() || len(r.Violations) > maxViolations*2 {
				t.Errorf("%s", r.text())
			}
			if tt.name == "a stretch is missing" && r.Broken[Complete] != 2*Behind-100 {
				t.Errorf("%d are missing, want %d", r.Broken[Complete], 2*Behind-100)
			}
		})
	}
}

// TestExpired: what the log no longer holds is not compared with it, and the
// rest is; there, transcripts are compared with each other.
func TestExpired(t *testing.T) {
	const items = 600
	whole := logOf(items, 200)
	for _, first := range []int{1, 17, 201, 444, items} {
		for _, where := range []string{"", narrow} {
			t.Run(fmt.Sprintf("%d/%q", first, where), func(t *testing.T) {
				log := &memoryLog{items: whole.items, first: first}
				tp := log.record(t, where, 0, items, script{checkpoints: []int{0, 100, 300}, streams: []int{101, 450}, changes: map[int]string{150: narrow}})
				other := log.record(t, "", 5, items, script{})
				for _, r := range check(t, log, tp, other, tp) {
					if !r.Clean() || r.Considered == 0 && first < items-20 {
						t.Errorf("%s: %s", r.Name, r.text())
					}
				}
				if first < 201 {
					return
				}
				bad := &tape{tp.header, slices.Clone(tp.events)}
				i := bad.find(Record, 20)
				bad.events[i], bad.events[i+1] = bad.events[i+1], bad.events[i]
				bad.events[bad.find(Record, 30)].Hash = strings.Repeat("0", 32)
				r := check(t, log, other, bad)
				if !slices.Equal(r[1].broken(), []Promise{Ordered, Complete}) || !r[0].Clean() {
					t.Errorf("%s%s", r[0].text(), r[1].text())
				}
			})
		}
	}
}

// TestTwice: a record that is in the log twice may be left out, and is not
// taken for a fault if it is not.
func TestTwice(t *testing.T) {
	log := logOf(300)
	again := log.items[100]
	again.Cursor = cursorAt(251)
	log.items[250] = again
	whole := log.record(t, "", 0, 300, script{checkpoints: []int{270}})
	dropped := &tape{whole.header, slices.Clone(whole.events)}
	dropped.remove(dropped.find(Record, 250))
	for _, r := range check(t, log, whole, dropped) {
		if !r.Clean() || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "twice") {
			t.Errorf("%s: %s", r.Name, r.text())
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	const items = 20000
	log := logOf(items)
	file := fileOf("tape", log.record(b, "", 0, items, script{}).bytes(b))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Check(b.Context(), log, []File{file}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*items), "ns/record")
}
