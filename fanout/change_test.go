package fanout_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/keytrail/keytrail/eventlog"
	"github.com/keytrail/keytrail/fanout"
)

// TestSetFilterLive: what was stored before the change is chosen by the filter
// before, also when it was not taken yet.
func TestSetFilterLive(t *testing.T) {
	b := newBench(t, fanout.Config{})
	f := follow(t, b.subscribe(fanout.Options{Filter: events(t, "Decrypt"), CheckpointInterval: 10 * time.Millisecond}))
	watch := follow(t, b.subscribe(fanout.Options{}))
	f.untilHead()
	want := b.publish("Decrypt", 2)
	b.publish("Encrypt", 1)
	watch.until(3) // so the hub has offered them
	f.filters.set(t, f.sub, "Encrypt")
	f.until(2)
	if ev := f.next(t.Context()); ev.FilterChanged == nil || ev.FilterChanged.Revision != 1 || ev.Position != watch.pos {
		t.Errorf("after the records came %+v; want a change at %v", ev, watch.pos)
	}
	b.publish("Decrypt", 1)
	want = append(want, b.publish("Encrypt", 1)...)
	f.until(3)
	if !slices.Equal(f.ids, want) {
		t.Errorf("got %v, want %v", f.ids, want)
	}
	f.untilHead()
	if f.last.Considered != 5 || f.last.Matched != 3 {
		t.Errorf("checkpoint %+v; want 5 considered, 3 matched", *f.last)
	}
}

// TestSetFilterBehind: a subscription that is behind changes where it is.
func TestSetFilterBehind(t *testing.T) {
	b := newBench(t, fanout.Config{HistoryBytes: 1})
	want := b.publish("Encrypt", 1)
	b.publish("Decrypt", 2)
	f := follow(t, b.subscribe(fanout.Options{Filter: events(t, "Decrypt"), Start: fanout.Earliest()}))
	f.filters.set(t, f.sub, "Encrypt")
	if ev := f.next(t.Context()); ev.FilterChanged == nil || ev.Position != (eventlog.Position{Seq: 1}) {
		t.Errorf("first came %+v; want a change at the start", ev)
	}
	f.untilHead()
	if !slices.Equal(f.ids, want) || f.last.Considered != 3 {
		t.Errorf("got %v, want %v; %d considered, want 3", f.ids, want, f.last.Considered)
	}
}

// TestSetFilterOften: of many changes only the last takes effect.
func TestSetFilterOften(t *testing.T) {
	b := newBench(t, fanout.Config{})
	f := follow(t, b.subscribe(fanout.Options{}))
	f.untilHead()
	for range 1000 {
		f.filters.set(t, f.sub, "Decrypt")
	}
	f.filters.set(t, f.sub, "Encrypt")
	if ev := f.next(t.Context()); ev.FilterChanged == nil || ev.FilterChanged.Revision != 1001 {
		t.Errorf("after 1001 changes came %+v", ev)
	}
	b.publish("Decrypt", 1)
	want := b.publish("Encrypt", 1)
	f.until(1)
	if !slices.Equal(f.ids, want) {
		t.Errorf("got %v, want %v", f.ids, want)
	}
}

// TestSetFilterQueued: while records wait in front of a change, the last of
// those that follow waits for it, however many they are.
func TestSetFilterQueued(t *testing.T) {
	b := newBench(t, fanout.Config{})
	f, watch := follow(t, b.subscribe(fanout.Options{})), follow(t, b.subscribe(fanout.Options{}))
	f.untilHead()
	want := b.publish("Decrypt", 3000)
	watch.until(len(want))
	for len(f.ids) < len(want) {
		f.filters.set(t, f.sub, "Encrypt")
		f.next(t.Context())
	}
	asked := len(f.filters.asked)
	for !f.filters.settled() {
		f.next(t.Context())
	}
	if len(f.filters.changes) != 2 || asked < 4 {
		t.Errorf("of %d changes %d took effect: %+v; want the first and the last", asked, len(f.filters.changes), f.filters.changes)
	}
}

// TestSetFilterWakes: a subscription that waits takes the change at once.
func TestSetFilterWakes(t *testing.T) {
	b := newBench(t, fanout.Config{})
	f := follow(t, b.subscribe(fanout.Options{}))
	f.untilHead()
	const changes = 2000 // so that some come before Next waits, and some after
	told := make(chan fanout.Event)
	go func() {
		defer close(told)
		for range changes {
			ev, err := f.sub.Next(context.Background())
			if err != nil {
				t.Error(err)
			}
			told <- ev
		}
	}()
	for range changes {
		f.filters.set(t, f.sub, "Decrypt")
		f.note(<-told)
	}
	if !f.filters.settled() || len(f.filters.changes) != changes {
		t.Errorf("%d changes of %d took effect", len(f.filters.changes), changes)
	}
}

// TestSetFilterWithoutEnd: a change before each call of Next keeps no record
// from a subscription, whether it is behind or live, and its queue from
// growing.
func TestSetFilterWithoutEnd(t *testing.T) {
	for name, live := range map[string]bool{"behind": false, "live": true} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, fanout.Config{HistoryBytes: 1})
			opt := fanout.Options{Start: fanout.Earliest(), Filter: events(t, "*")}
			f, watch := follow(t, b.subscribe(opt)), follow(t, b.subscribe(opt))
			const batches = 20
			if live {
				f.untilHead()
			}
			calls := 0
			var want []string
			for range batches {
				want = append(want, b.publish("Decrypt", 3)...)
				watch.until(len(want)) // so the hub has offered them
				if live {
					f.filters.set(t, f.sub, "*")
					f.next(t.Context())
					calls++
				}
			}
			for len(f.ids) < len(want) {
				f.filters.set(t, f.sub, "*")
				f.next(t.Context())
				calls++
			}
			if !slices.Equal(f.ids, want) {
				t.Errorf("got %v, want %v", f.ids, want)
			}
			// Live, what is between two changes grows, and not their number.
			if most := batches + 4; calls > most {
				t.Errorf("%d calls of Next for %d batches, want at most %d", calls, batches, most)
			}
		})
	}
}

// TestSetFilterClosed: a closed subscription takes no change and has no event.
func TestSetFilterClosed(t *testing.T) {
	b := newBench(t, fanout.Config{})
	s := b.subscribe(fanout.Options{})
	s.Close()
	s.SetFilter(events(t, "Decrypt"), 1)
	if ev, err := s.Next(t.Context()); !errors.Is(err, fanout.ErrClosed) {
		t.Errorf("after Close: %+v, %v", ev, err)
	}
	s.Close()
}

// TestStorm: while records flow, subscriptions come, change their filters from
// other goroutines, and go. Each gets what its filters want, and one that stays
// gets everything.
func TestStorm(t *testing.T) {
	const comers, lives, batches = 100, 3, 150
	b := newBench(t, fanout.Config{QueueBytes: 20_000, HistoryBytes: 100_000})
	watch := follow(t, b.subscribe(fanout.Options{Start: fanout.Earliest()}))
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex // guards ended
		ended []*life
	)
	for i := range comers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(i)))
			for range lives {
				l := b.live(rnd)
				mu.Lock()
				ended = append(ended, l)
				mu.Unlock()
			}
		})
	}
	var published []kept
	for i := range batches {
		event := eventNames[i%len(eventNames)]
		for _, id := range b.publish(event, 5) {
			published = append(published, kept{id: id, event: event})
		}
	}
	wg.Wait()
	watch.until(len(published))
	for i, p := range published {
		if watch.ids[i] != p.id {
			t.Fatalf("record %d is %s, want %s", i, watch.ids[i], p.id)
		}
	}
	b.place(published)
	changes, records := 0, 0
	for _, l := range ended {
		var want []string
		for _, p := range published {
			if (p.after.Compare(l.start) > 0 || p.after == l.first) && p.after.Compare(l.pos) <= 0 && l.filters.want(p) {
				want = append(want, p.id)
			}
		}
		if !slices.Equal(l.ids, want) {
			t.Fatalf("from %v to %v with %s, then %+v: got %v, want %v", l.start, l.pos, l.filters.first, l.filters.changes, l.ids, want)
		}
		changes += len(l.filters.changes)
		records += len(l.ids)
	}
	t.Logf("%d subscriptions got %d records and changed their filters %d times", len(ended), records, changes)
	if n := b.hub.Interests(); n != 1 {
		t.Errorf("the index holds %d filters of one subscription", n)
	}
	if len(ended) != comers*lives || changes < len(ended) || records == 0 {
		t.Errorf("want %d subscriptions, and more changes than that", comers*lives)
	}
}

// life is a subscription of TestStorm.
type life struct {
	*follower
	start eventlog.Position // of its first event, or of its first record:
	first eventlog.Position // after which is this
}

// live subscribes from now, takes some events while the filter changes, and
// closes.
func (b *bench) live(rnd *rand.Rand) *life {
	name := filterNames[rnd.IntN(len(filterNames))]
	l := &life{follower: follow(b.tb, b.subscribe(fanout.Options{Filter: events(b.tb, name), CheckpointInterval: time.Millisecond}))}
	defer l.sub.Close()
	l.filters.first = name
	names := make([]string, rnd.IntN(10))
	for i := range names {
		names[i] = filterNames[rnd.IntN(len(filterNames))]
	}
	steps := make(chan struct{}, 1)
	var changes sync.WaitGroup
	changes.Go(func() {
		for _, name := range names {
			<-steps
			l.filters.set(b.tb, l.sub, name)
		}
	})
	for n := range len(names) + rnd.IntN(30) {
		ev := l.next(b.tb.Context())
		if n == 0 {
			l.start = ev.Position
			if len(ev.Frames) > 0 {
				l.start = ev.Frames[0].After
				l.first = l.start
			}
		}
		select {
		case steps <- struct{}{}:
		default:
		}
	}
	close(steps)
	changes.Wait()
	for !l.filters.settled() {
		l.next(b.tb.Context())
	}
	return l
}
