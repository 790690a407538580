package fanout_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/keytrail/keytrail/eventlog"
	"github.com/keytrail/keytrail/fanout"
	"pgregory.net/rapid"
)

var (
	eventNames  = []string{"Decrypt", "Encrypt", "GenerateDataKey"}
	filterNames = append(eventNames, "*")
)

// kept is a record that was published, and where it is in the log.
type kept struct {
	id, event string
	after     eventlog.Position
}

// place finds where the records are that were published.
func (b *bench) place(published []kept) {
	b.tb.Helper()
	n := 0
	for seq := uint64(1); n < len(published); {
		chunk, err := b.log.Read(b.tb.Context(), seq)
		if err != nil {
			b.tb.Fatal(err)
		}
		for _, m := range chunk {
			for i := range m.Records {
				published[n].after = eventlog.After(m.Seq, i, len(m.Records))
				n++
			}
			seq = m.Seq + 1
		}
	}
}

// filters is which filter a subscription had where, by what it was told.
// Filters are event names here.
type filters struct {
	first   string
	changes []filterChange

	mu    sync.Mutex // guards asked
	asked []string   // by revision, from 1
}

type filterChange struct {
	from     eventlog.Position
	revision uint64
	name     string
}

// set asks for another filter. Any goroutine may.
func (f *filters) set(tb testing.TB, s *fanout.Subscription, name string) {
	tb.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, name)
	s.SetFilter(events(tb, name), uint64(len(f.asked)))
}

func (f *filters) told(tb testing.TB, ev fanout.Event) {
	tb.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	rev := ev.FilterChanged.Revision
	if rev <= f.revision() || rev > uint64(len(f.asked)) {
		tb.Fatalf("told of revision %d after %d, of %d", rev, f.revision(), len(f.asked))
	}
	f.changes = append(f.changes, filterChange{ev.Position, rev, f.asked[rev-1]})
}

func (f *filters) revision() uint64 {
	if len(f.changes) == 0 {
		return 0
	}
	return f.changes[len(f.changes)-1].revision
}

// settled says whether the filter that was asked for last holds.
func (f *filters) settled() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.revision() == uint64(len(f.asked))
}

// want says whether the filter that holds at p's place wants it.
func (f *filters) want(p kept) bool {
	name := f.first
	for _, c := range f.changes {
		if p.after.Compare(c.from) > 0 {
			name = c.name
		}
	}
	return name == "*" || name == p.event
}

// TestModel runs random publishers and subscribers of random speed, with tiny
// queues and memory, and holds each stream to the obvious answer.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBench(t, fanout.Config{
			QueueBytes:   rapid.SampledFrom([]int{1, 1000, 1 << 20}).Draw(rt, "queue"),
			HistoryBytes: rapid.SampledFrom([]int{1, 3000, 1 << 20}).Draw(rt, "history"),
			Readers:      1,
		})
		var published []kept
		type watcher struct {
			*follower
			from  int               // the first of published that it may get, or -1:
			start eventlog.Position // it resumed after this
		}
		var watchers []*watcher
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			switch rapid.IntRange(0, 6).Draw(rt, "op") {
			case 0, 1:
				event := rapid.SampledFrom(eventNames).Draw(rt, "event")
				for _, id := range b.publish(event, rapid.IntRange(1, 8).Draw(rt, "count")) {
					published = append(published, kept{id: id, event: event})
				}
			case 2:
				w, name := &watcher{}, rapid.SampledFrom(filterNames).Draw(rt, "filter")
				opt := fanout.Options{Filter: events(t, name), CheckpointInterval: 10 * time.Millisecond}
				switch rapid.IntRange(0, 2).Draw(rt, "start") {
				case 0:
					w.from = len(published)
				case 1:
					opt.Start = fanout.Earliest()
				case 2: // resume where another is
					if len(watchers) == 0 {
						continue
					}
					other := rapid.SampledFrom(watchers).Draw(rt, "other")
					if other.pos == (eventlog.Position{}) {
						continue
					}
					opt.Start = fanout.After(other.pos)
					w.from, w.start = -1, other.pos
				}
				w.follower = follow(t, b.subscribe(opt))
				w.filters.first = name
				watchers = append(watchers, w)
			case 3:
				if len(watchers) > 0 {
					w := rapid.SampledFrom(watchers).Draw(rt, "watcher")
					ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
					if ev, err := w.sub.Next(ctx); err == nil {
						w.note(ev)
					}
					cancel()
				}
			case 4, 5:
				if len(watchers) > 0 {
					w := rapid.SampledFrom(watchers).Draw(rt, "watcher")
					w.filters.set(t, w.sub, rapid.SampledFrom(filterNames).Draw(rt, "filter"))
				}
			case 6: // become live
				if len(watchers) > 0 {
					rapid.SampledFrom(watchers).Draw(rt, "watcher").untilHead()
				}
			}
		}
		// Where each record is, to know what a resumed stream must have.
		b.place(published)
		head, err := b.log.Info(t.Context())
		if err != nil {
			rt.Fatal(err)
		}
		for i, w := range watchers {
			w.untilHeadAt(head.Head)
			for !w.filters.settled() {
				w.next(t.Context())
			}
			var want []string
			for n, p := range published {
				after := w.from >= 0 && n >= w.from || w.from < 0 && p.after.Compare(w.start) > 0
				if after && w.filters.want(p) {
					want = append(want, p.id)
				}
			}
			if !slices.Equal(w.ids, want) {
				rt.Fatalf("subscription %d with filters %+v from %d (%v): got %v, want %v", i, w.filters.changes, w.from, w.start, w.ids, want)
			}
			w.sub.Close()
		}
		b.hub.Close()
		b.log.Close()
	})
}

// BenchmarkFanout delivers every record to each of 100 subscriptions.
func BenchmarkFanout(b *testing.B) {
	bench := newBench(b, fanout.Config{})
	const subs, batch = 100, 500
	counts := make(chan int, subs)
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	for range subs {
		s := bench.subscribe(fanout.Options{})
		wg.Go(func() {
			got := 0
			for {
				ev, err := s.Next(ctx)
				if err != nil {
					return
				}
				for range ev.Frames {
					if got++; got%batch == 0 {
						counts <- got
					}
				}
			}
		})
	}
	b.ReportAllocs()
	for b.Loop() {
		bench.publish("Decrypt", batch)
		for range subs {
			<-counts
		}
	}
	b.ReportMetric(float64(b.N*subs*batch)/b.Elapsed().Seconds(), "deliveries/s")
	cancel()
	wg.Wait()
}
