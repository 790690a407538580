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

// TestModel runs random publishers and subscribers of random speed, with tiny
// queues and memory, and holds each stream to the obvious answer.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBench(t, fanout.Config{
			QueueBytes:   rapid.SampledFrom([]int{1, 1000, 1 << 20}).Draw(rt, "queue"),
			HistoryBytes: rapid.SampledFrom([]int{1, 3000, 1 << 20}).Draw(rt, "history"),
			Readers:      1,
		})
		type kept struct{ id, event string }
		var published []kept
		type watcher struct {
			*follower
			from   int               // the first of published that it may get, or -1:
			start  eventlog.Position // it resumed after this
			filter string
		}
		var watchers []*watcher
		names := []string{"Decrypt", "Encrypt", "GenerateDataKey"}
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			switch rapid.IntRange(0, 3).Draw(rt, "op") {
			case 0, 1:
				event := rapid.SampledFrom(names).Draw(rt, "event")
				for _, id := range b.publish(event, rapid.IntRange(1, 8).Draw(rt, "count")) {
					published = append(published, kept{id, event})
				}
			case 2:
				w := &watcher{filter: rapid.SampledFrom(append(names, "*")).Draw(rt, "filter")}
				opt := fanout.Options{Filter: events(t, w.filter), CheckpointInterval: 10 * time.Millisecond}
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
			}
		}
		// Where each record is, to know what a resumed stream must have.
		var places []eventlog.Position
		for seq := uint64(1); len(places) < len(published); {
			chunk, err := b.log.Read(t.Context(), seq)
			if err != nil {
				rt.Fatal(err)
			}
			for _, m := range chunk {
				for i := range m.Records {
					places = append(places, eventlog.After(m.Seq, i, len(m.Records)))
				}
				seq = m.Seq + 1
			}
		}
		head, err := b.log.Info(t.Context())
		if err != nil {
			rt.Fatal(err)
		}
		for i, w := range watchers {
			w.untilHeadAt(head.Head)
			var want []string
			for n, p := range published {
				after := w.from >= 0 && n >= w.from || w.from < 0 && places[n].Compare(w.start) > 0
				if after && (w.filter == "*" || w.filter == p.event) {
					want = append(want, p.id)
				}
			}
			if !slices.Equal(w.ids, want) {
				rt.Fatalf("subscription %d of %s from %d (%v): got %v, want %v", i, w.filter, w.from, w.start, w.ids, want)
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
