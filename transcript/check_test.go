package transcript

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const narrow = "event = Decrypt and outcome = success"

var busy = script{checkpoints: []int{0, 40, 41, 300, 777}, streams: []int{42, 301, 500}, changes: map[int]string{600: "readOnly = true", 900: narrow}}

func TestClean(t *testing.T) {
	log := logOf(5000, 333, 334, 1500)
	tests := []struct {
		name     string
		where    string
		from, to int
		script   script
	}{
		{"everything", "", 0, 5000, busy},
		{"a filter", narrow, 0, 5000, busy},
		{"from a cursor", narrow, 700, 4000, busy},
		{"begins at a gap", "", 333, 400, script{}},
		{"nothing matches", "event = NoSuchThing", 10, 4999, script{checkpoints: []int{10, 2000}}},
		{"one place", "", 10, 10, script{}},
	}
	var all []*tape
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tp := log.record(t, tt.where, tt.from, tt.to, tt.script)
			all = append(all, tp)
			r := check(t, log, tp)[0]
			if !r.Clean() || len(r.Notes) > 0 || r.Unchecked > 0 || !r.Compared {
				t.Errorf("%s", r.text())
			}
			want := 0
			for _, e := range tp.events {
				if e.Kind == Record {
					want++
				}
			}
			if r.Records != want {
				t.Errorf("%d records, want %d", r.Records, want)
			}
		})
	}
	t.Run("all at once", func(t *testing.T) {
		for _, r := range check(t, log, all...) {
			if !r.Clean() || len(r.Notes) > 0 || !r.Compared {
				t.Errorf("%s: %s", r.Name, r.text())
			}
		}
	})
}

// find is the number of the n-th event of a kind, from event from on.
func (tp *tape) find(kind Kind, n int) int {
	for i, e := range tp.events {
		if e.Kind == kind {
			if n--; n < 0 {
				return i
			}
		}
	}
	panic("there is none")
}

func (tp *tape) remove(i int) Event {
	e := tp.events[i]
	tp.events = slices.Delete(tp.events, i, i+1)
	return e
}

func (tp *tape) insert(i int, e Event) { tp.events = slices.Insert(tp.events, i, e) }

// move moves an event to where another one is now.
func (tp *tape) move(from, to int) {
	e := tp.remove(from)
	if to > from {
		to--
	}
	tp.insert(to, e)
}

// planted are faults. Each is put into a transcript without faults, of a log
// with a gap at 333; its name says what it is.
var planted = []struct {
	name  string
	plant func(*tape)
	want  Promise
}{
	{"a record is missing", func(tp *tape) { tp.remove(tp.find(Record, 60)) }, Complete},
	{"two records swap", func(tp *tape) { tp.move(tp.find(Record, 60), tp.find(Record, 62)) }, Ordered},
	{"a record comes early", func(tp *tape) { tp.move(tp.find(Record, 80), tp.find(Record, 60)) }, Ordered},
	{"a record comes late", func(tp *tape) { tp.move(tp.find(Record, 60), tp.find(Record, 80)) }, Ordered},
	{"a record twice in a row", func(tp *tape) { i := tp.find(Record, 60); tp.insert(i, tp.events[i]) }, Unique},
	{"a record again later", func(tp *tape) { i := tp.find(Record, 60); tp.insert(i+9, tp.events[i]) }, Unique},
	{"a record is another", func(tp *tape) { i := tp.find(Record, 60); tp.events[i].Hash = strings.Repeat("0", 32) }, Complete},
	{"a record has another ID", func(tp *tape) { i := tp.find(Record, 60); tp.events[i].EventID += "x" }, Complete},
	{"a record has a cursor of no place", func(tp *tape) { i := tp.find(Record, 60); tp.events[i].Cursor = "kt1-none" }, Complete},
	{"a record is made up", func(tp *tape) {
		i := tp.find(Record, 60)
		e := tp.events[i]
		e.Cursor, e.EventID = "kt1-none", "none"
		tp.insert(i, e)
	}, Complete},
	{"a stream begins one record late", func(tp *tape) {
		i := tp.find(Stream, 2)
		for tp.events[i].Kind != Record {
			i++
		}
		tp.remove(i)
	}, Resumable},
	{"a stream repeats a record", func(tp *tape) {
		i := tp.find(Stream, 3)
		j := i
		for tp.events[j].Kind != Record {
			j--
		}
		tp.insert(i+1, tp.events[j])
	}, Resumable},
	{"a stream goes on elsewhere", func(tp *tape) {
		i := tp.find(Stream, 2)
		tp.events[i].Start = &Start{After: cursorAt(12)}
	}, Resumable},
	{"a stream begins anew", func(tp *tape) { tp.events[tp.find(Stream, 2)].Start = &Start{Now: true} }, Resumable},
	{"a checkpoint has a cursor of no place", func(tp *tape) { tp.events[tp.find(Checkpoint, 4)].Cursor = "kt1-none" }, Bookmarkable},
	{"a gap begins later", func(tp *tape) { i := tp.find(Gap, 0); tp.events[i].After = cursorAt(332) }, ExactGaps},
	{"a gap ends later", func(tp *tape) { i := tp.find(Gap, 0); tp.events[i].Cursor = cursorAt(336) }, ExactGaps},
	{"a gap where there are records", func(tp *tape) {
		i := tp.find(Record, 60)
		e := tp.events[i]
		tp.events[i] = Event{Kind: Gap, After: tp.events[i-1].Cursor, Cursor: e.Cursor, Reason: "GAP_REASON_MISSING"}
	}, ExactGaps},
	{"a gap at no place", func(tp *tape) { i := tp.find(Gap, 0); tp.events[i].Cursor = "kt1-none" }, ExactGaps},
	{"a checkpoint overtakes a record", func(tp *tape) { i := tp.find(Checkpoint, 3); tp.move(i, i-1) }, NoOvertaking},
	{"a checkpoint overtakes many records", func(tp *tape) { i := tp.find(Checkpoint, 4); tp.move(i, i-30) }, NoOvertaking},
	{"a record comes after the checkpoint", func(tp *tape) { i := tp.find(Checkpoint, 3); tp.move(i-1, i+20) }, NoOvertaking},
	{"a checkpoint goes back", func(tp *tape) { i := tp.find(Checkpoint, 3); tp.move(i, i+3) }, Ordered},
	{"too many considered", func(tp *tape) { tp.events[tp.find(Checkpoint, 4)].Considered++ }, Accounted},
	{"too few considered", func(tp *tape) { tp.events[tp.find(Checkpoint, 4)].Considered-- }, Accounted},
	{"another matched", func(tp *tape) { tp.events[tp.find(Checkpoint, 4)].Matched++ }, Accounted},
	{"more matched than considered", func(tp *tape) {
		i := tp.find(Checkpoint, 4)
		tp.events[i].Matched = tp.events[i].Considered + 1
	}, Accounted},
	{"a filter begins late", func(tp *tape) {
		// The records of the filter before go on beyond the change.
		i := tp.find(Filter, 1)
		tp.move(i, i-1)
	}, Changeable},
	{"a filter begins early", func(tp *tape) { i := tp.find(Filter, 0); tp.remove(i + 1) }, Changeable},
}

func TestPlanted(t *testing.T) {
	log := logOf(2000, 333)
	for _, where := range []string{"", narrow} {
		honest := log.record(t, where, 0, 2000, busy)
		for _, tt := range planted {
			t.Run(fmt.Sprintf("%q/%s", where, tt.name), func(t *testing.T) {
				tp := &tape{header: honest.header, events: slices.Clone(honest.events)}
				tt.plant(tp)
				// Beside others, which are not to be blamed.
				results := check(t, log, honest, tp, honest)
				if !results[0].Clean() || !results[2].Clean() {
					t.Errorf("honest ones: %s\n%s", results[0].text(), results[2].text())
				}
				if !slices.Contains(results[1].broken(), tt.want) {
					t.Errorf("want %v; got:\n%s", tt.want, results[1].text())
				}
				if n := len(results[1].Violations); n > 3 {
					t.Errorf("%d violations for one fault:\n%s", n, results[1].text())
				}
			})
		}
	}
}

// skippingLog is a log whose bus begins one record late after some cursor.
type skippingLog struct {
	*memoryLog
	cursor string
}

func (s *skippingLog) Read(ctx context.Context, from Start) (LogReader, error) {
	r, err := s.memoryLog.Read(ctx, from)
	if from.After == s.cursor {
		r.(*memoryReader).next++
	}
	return r, err
}

// TestResume: cursors are tried, not only compared.
func TestResume(t *testing.T) {
	log := logOf(100)
	tp := log.record(t, "", 0, 100, script{})
	// The beginning of the stream is an event too, so this is the cursor of the eighth, which is tried.
	results, err := Check(t.Context(), &skippingLog{log, cursorAt(7)}, []File{fileOf("tape", tp.bytes(t))})
	if err != nil {
		t.Fatal(err)
	}
	if r := results[0]; !slices.Equal(r.broken(), []Promise{Resumable}) {
		t.Errorf("%s", r.text())
	}
}
