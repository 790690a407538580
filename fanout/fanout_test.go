package fanout_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keytrail/keytrail/eventlog"
	"github.com/keytrail/keytrail/fanout"
	"github.com/keytrail/keytrail/filter"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is a log and a hub on it.
type bench struct {
	tb  testing.TB
	log *eventlog.Log
	hub *fanout.Hub
	n   int // records published
}

func newBench(tb testing.TB, cfg fanout.Config) *bench {
	tb.Helper()
	b := &bench{tb: tb}
	logger := slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	var err error
	b.log, err = eventlog.Open(context.Background(), eventlog.Config{Dir: tb.TempDir(), Logger: logger, MaxBytes: 1 << 30, DiskReserve: 1})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(b.log.Close)
	cfg.Logger = logger
	b.start(cfg)
	return b
}

func (b *bench) start(cfg fanout.Config) {
	b.tb.Helper()
	var err error
	if b.hub, err = fanout.New(context.Background(), b.log, cfg); err != nil {
		b.tb.Fatal(err)
	}
	b.tb.Cleanup(b.hub.Close)
}

// publish stores a batch of records of one event name and returns their event IDs.
func (b *bench) publish(event string, count int) []string {
	b.tb.Helper()
	var ids []string
	var entries []eventlog.Entry
	for range count {
		id := fmt.Sprintf("%06d", b.n)
		b.n++
		r := &keytrailv1.Record{
			EventId: proto.String(id), EventName: proto.String(event), EventSource: proto.String(record.EventSource),
			EventTime: timestamppb.New(time.Unix(1_700_000_000, 0)), ReadOnly: proto.Bool(true),
			UserAgent: proto.String(strings.Repeat("x", 100)),
		}
		enc, err := record.Marshal(r)
		if err != nil {
			b.tb.Fatal(err)
		}
		e, err := eventlog.NewEntry(record.HeaderOf(r), enc)
		if err != nil {
			b.tb.Fatal(err)
		}
		ids, entries = append(ids, id), append(entries, e)
	}
	b.submit(entries)
	return ids
}

func (b *bench) submit(entries []eventlog.Entry) {
	b.tb.Helper()
	t, err := b.log.Submit(b.tb.Context(), entries)
	if err != nil {
		b.tb.Fatal(err)
	}
	results, err := t.Results(b.tb.Context())
	if err != nil {
		b.tb.Fatal(err)
	}
	for _, r := range results {
		if r.Status != eventlog.StatusStored {
			b.tb.Fatalf("publishing: %v, %v", r.Status, r.Err)
		}
	}
}

func events(tb testing.TB, names ...string) *filter.Filter {
	tb.Helper()
	f := &keytrailv1.Filter{}
	if names != nil {
		f.Include = []*keytrailv1.Selector{{EventNames: names}}
	}
	c, err := filter.Compile(f)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func (b *bench) subscribe(opt fanout.Options) *fanout.Subscription {
	b.tb.Helper()
	if opt.Filter == nil {
		opt.Filter = events(b.tb)
	}
	if opt.CheckpointInterval == 0 {
		opt.CheckpointInterval = time.Hour
	}
	s, err := b.hub.Subscribe(b.tb.Context(), opt)
	if err != nil {
		b.tb.Fatal(err)
	}
	b.tb.Cleanup(s.Close)
	return s
}

// follower collects what a subscription delivers, and checks what must hold of
// any stream.
type follower struct {
	tb   testing.TB
	sub  *fanout.Subscription
	ids  []string
	gaps []*fanout.Gap
	pos  eventlog.Position
	last *fanout.Checkpoint

	filters filters
}

func follow(tb testing.TB, s *fanout.Subscription) *follower { return &follower{tb: tb, sub: s} }

// next takes one event.
func (f *follower) next(ctx context.Context) fanout.Event {
	f.tb.Helper()
	ev, err := f.sub.Next(ctx)
	if err != nil {
		f.tb.Fatalf("next: %v", err)
	}
	f.note(ev)
	return ev
}

// note keeps what an event says.
func (f *follower) note(ev fanout.Event) {
	f.tb.Helper()
	if ev.Position.Compare(f.pos) < 0 {
		f.tb.Fatalf("the position went back from %v to %v", f.pos, ev.Position)
	}
	f.pos = ev.Position
	for _, fr := range ev.Frames {
		d := delivered(f.tb, fr)
		f.ids = append(f.ids, d.GetRecord().GetEventId())
	}
	if ev.Gap != nil {
		f.gaps = append(f.gaps, ev.Gap)
	}
	if ev.FilterChanged != nil {
		f.filters.told(f.tb, ev)
	}
	if ev.Checkpoint != nil {
		f.last = ev.Checkpoint
		if f.last.Matched != uint64(len(f.ids)) {
			f.tb.Errorf("a checkpoint says %d matched, %d were delivered", f.last.Matched, len(f.ids))
		}
	}
}

func delivered(tb testing.TB, fr *fanout.Frame) *keytrailv1.Delivered {
	tb.Helper()
	batch := new(keytrailv1.Batch)
	if err := proto.Unmarshal(fr.Encoded, batch); err != nil || len(batch.GetRecords()) != 1 {
		tb.Fatalf("a frame is not one element of a batch: %v, %v", batch, err)
	}
	return batch.GetRecords()[0]
}

// untilHead takes events until a checkpoint at the head, as the hub knows it.
func (f *follower) untilHead() { f.untilHeadAt(eventlog.Position{}) }

// untilHeadAt is untilHead for a head that is known: pos or more.
func (f *follower) untilHeadAt(pos eventlog.Position) {
	f.tb.Helper()
	ctx, cancel := context.WithTimeout(f.tb.Context(), 30*time.Second)
	defer cancel()
	for {
		if ev := f.next(ctx); ev.Checkpoint != nil && ev.Checkpoint.AtHead && f.pos.Compare(pos) >= 0 {
			return
		}
	}
}

// until takes events until there are n records.
func (f *follower) until(n int) {
	f.tb.Helper()
	ctx, cancel := context.WithTimeout(f.tb.Context(), 30*time.Second)
	defer cancel()
	for len(f.ids) < n {
		f.next(ctx)
	}
}

func TestLive(t *testing.T) {
	b := newBench(t, fanout.Config{})
	b.publish("Decrypt", 3)
	all := follow(t, b.subscribe(fanout.Options{}))
	some := follow(t, b.subscribe(fanout.Options{Filter: events(t, "Enc*")}))
	all.untilHead()
	some.untilHead()
	if len(all.ids) != 0 {
		t.Errorf("a subscription from now got %v", all.ids)
	}
	want := b.publish("Encrypt", 2)
	b.publish("Decrypt", 1)
	want = append(want, b.publish("Encrypt", 1)...)
	some.until(3)
	all.until(4)
	if !slices.Equal(some.ids, want) {
		t.Errorf("got %v, want %v", some.ids, want)
	}
}

func TestStarts(t *testing.T) {
	b := newBench(t, fanout.Config{})
	first := b.publish("Decrypt", 3)
	between := time.Now()
	second := b.publish("Encrypt", 2)
	for name, tt := range map[string]struct {
		start fanout.Start
		want  []string
	}{
		"now":               {fanout.Start{}, nil},
		"earliest":          {fanout.Earliest(), append(slices.Clone(first), second...)},
		"time":              {fanout.At(between), second},
		"time long ago":     {fanout.At(time.Time{}), append(slices.Clone(first), second...)},
		"time to come":      {fanout.At(time.Now().Add(time.Hour)), nil},
		"middle of a batch": {fanout.After(eventlog.Position{Seq: 1, Index: 1}), append(slices.Clone(first[1:]), second...)},
		"end of a batch":    {fanout.After(eventlog.Position{Seq: 2}), second},
		"head":              {fanout.After(eventlog.Position{Seq: 3}), nil},
	} {
		t.Run(name, func(t *testing.T) {
			b.tb = t
			f := follow(t, b.subscribe(fanout.Options{Start: tt.start}))
			f.untilHead()
			if !slices.Equal(f.ids, tt.want) {
				t.Errorf("got %v, want %v", f.ids, tt.want)
			}
			if f.last.Considered != uint64(len(tt.want)) {
				t.Errorf("%d considered, want %d", f.last.Considered, len(tt.want))
			}
		})
	}
	b.tb = t
	if _, err := b.hub.Subscribe(t.Context(), fanout.Options{Filter: events(t), Start: fanout.After(eventlog.Position{Seq: 4}), CheckpointInterval: time.Hour}); !errors.Is(err, fanout.ErrAhead) {
		t.Errorf("a start ahead of the log: %v, want ErrAhead", err)
	}
	if _, err := b.hub.Subscribe(t.Context(), fanout.Options{Filter: events(t)}); err == nil {
		t.Error("a subscription without a checkpoint interval was taken")
	}
}

func TestTrimmed(t *testing.T) {
	b := newBench(t, fanout.Config{})
	b.publish("Decrypt", 3)
	b.publish("Encrypt", 1)
	if _, _, err := b.log.Trim(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	want := b.publish("Encrypt", 2)
	start := fanout.After(eventlog.Position{Seq: 1, Index: 1})
	var expired *fanout.ExpiredError
	_, err := b.hub.Subscribe(t.Context(), fanout.Options{Filter: events(t), Start: start, CheckpointInterval: time.Hour})
	if !errors.As(err, &expired) || expired.Earliest.Seq != 3 || expired.EarliestTime.IsZero() {
		t.Fatalf("a start that is gone: %v; want an ExpiredError from sequence 3", err)
	}
	f := follow(t, b.subscribe(fanout.Options{Start: start, AllowGap: true, Filter: events(t, "Encrypt")}))
	f.untilHead()
	if !slices.Equal(f.ids, want) {
		t.Errorf("got %v, want %v", f.ids, want)
	}
	wantGap := fanout.Gap{From: eventlog.Position{Seq: 1, Index: 1}, To: eventlog.Position{Seq: 3}, Reason: fanout.Trimmed}
	if len(f.gaps) != 1 || *f.gaps[0] != wantGap {
		t.Errorf("gaps %v, want one of %v", f.gaps, wantGap)
	}
}

// TestEverythingTrimmed: the log is empty, and the cursor before its end.
func TestEverythingTrimmed(t *testing.T) {
	b := newBench(t, fanout.Config{HistoryBytes: 1})
	b.publish("Decrypt", 1)
	b.publish("Encrypt", 1)
	live := follow(t, b.subscribe(fanout.Options{}))
	live.untilHead() // so that the hub has read both
	if _, _, err := b.log.Trim(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	f := follow(t, b.subscribe(fanout.Options{Start: fanout.After(eventlog.Position{Seq: 1}), AllowGap: true}))
	f.untilHead()
	if len(f.gaps) != 1 || f.gaps[0].To.Seq > 3 || f.gaps[0].Reason != fanout.Trimmed {
		t.Errorf("gaps %v, records %v; want one gap, trimmed", f.gaps, f.ids)
	}
	want := b.publish("Decrypt", 1)
	f.until(len(f.ids) + 1)
	if f.ids[len(f.ids)-1] != want[0] {
		t.Errorf("after the gap came %v, want %v", f.ids, want)
	}
}

func TestDrain(t *testing.T) {
	b := newBench(t, fanout.Config{})
	idle, busy := follow(t, b.subscribe(fanout.Options{})), follow(t, b.subscribe(fanout.Options{Start: fanout.Earliest()}))
	idle.untilHead()
	busy.untilHead()
	first := b.publish("Decrypt", 2)
	busy.until(2)
	at := busy.pos
	b.publish("Decrypt", 1) // queued, not taken
	waiting := make(chan fanout.Event, 1)
	idle.until(3)
	go func() {
		ev, err := idle.sub.Next(context.Background())
		if err != nil {
			t.Errorf("next: %v", err)
		}
		waiting <- ev
	}()
	b.hub.Drain()
	if ev := <-waiting; !ev.Draining || ev.Position != idle.pos {
		t.Errorf("the waiting subscription got %+v, want the end at %v", ev, idle.pos)
	}
	if ev := busy.next(t.Context()); !ev.Draining || ev.Position != at {
		t.Errorf("the other got %+v, want the end at %v, after %v", ev, at, first)
	}
	if _, err := busy.sub.Next(t.Context()); !errors.Is(err, fanout.ErrClosed) {
		t.Errorf("after the end: %v, want ErrClosed", err)
	}
	if _, err := b.hub.Subscribe(t.Context(), fanout.Options{Filter: events(t), CheckpointInterval: time.Hour}); !errors.Is(err, fanout.ErrClosed) {
		t.Errorf("subscribing while draining: %v, want ErrClosed", err)
	}
}

func TestIdleCheckpoints(t *testing.T) {
	b := newBench(t, fanout.Config{})
	f := follow(t, b.subscribe(fanout.Options{Filter: events(t, "Encrypt"), CheckpointInterval: 5 * time.Millisecond}))
	f.untilHead()
	b.publish("Decrypt", 7)
	for f.last.Considered < 7 { // each call waits for a checkpoint
		f.next(t.Context())
	}
	if f.last.Considered != 7 || f.last.Matched != 0 || !f.last.AtHead || f.pos.Seq != 2 {
		t.Errorf("checkpoint %+v at %v; want 7 considered, none matched, at the head", *f.last, f.pos)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := follow(t, b.subscribe(fanout.Options{})).sub.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("next with an ended context: %v", err)
	}
}

// TestSlow lets a subscription fall behind the hub's memory, and catch up.
func TestSlow(t *testing.T) {
	b := newBench(t, fanout.Config{QueueBytes: 2000, HistoryBytes: 5000})
	slow, fast := follow(t, b.subscribe(fanout.Options{})), follow(t, b.subscribe(fanout.Options{}))
	slow.untilHead()
	fast.untilHead()
	var want []string
	for range 50 {
		want = append(want, b.publish("Decrypt", 10)...)
		fast.until(len(want)) // the slow one costs it nothing
	}
	slow.until(len(want) / 2)
	want = append(want, b.publish("Encrypt", 10)...)
	slow.until(len(want))
	if !slices.Equal(slow.ids, want) {
		t.Errorf("the slow subscription got %d records in another order or number than the %d published", len(slow.ids), len(want))
	}
	slow.untilHead()
	if slow.last.Considered != uint64(len(want)) {
		t.Errorf("%d considered, want %d", slow.last.Considered, len(want))
	}
	want = append(want, b.publish("Decrypt", 1)...)
	slow.until(len(want))
}
