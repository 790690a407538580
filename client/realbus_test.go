package client_test

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/keytrail/keytrail/bustest"
	"github.com/keytrail/keytrail/client"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/internal/sample"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// These tests hold the client to a real bus. Faults are injected in the others.

// limit is how long a test may wait for anything.
const limit = time.Minute

func connect(t *testing.T, b *bustest.Bus) *client.Client {
	t.Helper()
	c, err := client.New(bustest.Target, b.DialOptions()...)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// publishAll publishes n samples and returns their event IDs.
func publishAll(t *testing.T, c *client.Client, gen *sample.Generator, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	p, err := c.NewPublisher(client.PublisherConfig{BatchRecords: 100})
	if err != nil {
		t.Fatalf("NewPublisher: %v", err)
	}
	var ids []string
	for i := range n {
		rec := gen.Next()
		ids = append(ids, rec.GetEventId())
		if err := p.PublishFunc(ctx, rec, func(x *client.Pending) {
			if res, err := x.Result(ctx); !x.Stored() {
				t.Errorf("record %d: %v, %v", i, res, err)
			}
		}); err != nil {
			t.Fatalf("PublishFunc: %v", err)
		}
	}
	if err := p.Close(ctx); err != nil {
		t.Fatalf("Close: %v", err)
	}
	return ids
}

func subscribe(t *testing.T, c *client.Client, cfg client.SubscriptionConfig) *client.Subscription {
	t.Helper()
	s, err := c.Subscribe(t.Context(), cfg)
	if err != nil {
		t.Fatalf("Subscribe: %v", err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

// next is the next event; its errors fail the test.
func next(t *testing.T, s *client.Subscription) client.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	ev, err := s.Next(ctx)
	if err != nil {
		t.Fatalf("Next: %v", err)
	}
	return ev
}

// collect returns the records up to the first checkpoint at the head.
func collect(t *testing.T, s *client.Subscription) []*keytrailv1.Record {
	t.Helper()
	var recs []*keytrailv1.Record
	for {
		ev := next(t, s)
		switch {
		case ev.Gap != nil:
			t.Fatalf("gap %v", ev.Gap)
		case ev.Record != nil:
			recs = append(recs, ev.Record)
		case ev.Checkpoint.GetAtHead():
			return recs
		}
	}
}

// wantOnce says that recs are ids, each once.
func wantOnce(t *testing.T, recs []*keytrailv1.Record, ids []string) {
	t.Helper()
	count := make(map[string]int)
	for _, id := range ids {
		count[id]++
	}
	for _, rec := range recs {
		count[rec.GetEventId()]--
	}
	for id, n := range count {
		if n != 0 {
			t.Errorf("%s: %d missing (or, negative, too many)", id, n)
		}
	}
}

func TestRealBus(t *testing.T) {
	b := bustest.Start(t)
	c := connect(t, b)
	live := subscribe(t, c, client.SubscriptionConfig{})
	if ev := next(t, live); ev.Checkpoint == nil {
		t.Fatalf("the first event from now is %v", ev)
	}
	gen := sample.New(sample.Config{Seed: 1})
	ids := publishAll(t, c, gen, 3000)

	stored := collect(t, subscribe(t, c, client.SubscriptionConfig{Start: client.Earliest()}))
	wantOnce(t, stored, ids)
	again := sample.New(sample.Config{Seed: 1})
	want := make(map[string]*keytrailv1.Record)
	for range ids {
		rec := again.Next()
		want[rec.GetEventId()] = rec
	}
	for _, rec := range stored {
		if !proto.Equal(rec, want[rec.GetEventId()]) {
			t.Fatalf("record %s came back otherwise", rec.GetEventId())
		}
	}
	for i, rec := range stored { // the live stream has the log's order
		ev := next(t, live)
		for ev.Record == nil {
			ev = next(t, live)
		}
		if ev.Record.GetEventId() != rec.GetEventId() {
			t.Fatalf("record %d is %s live and %s stored", i, ev.Record.GetEventId(), rec.GetEventId())
		}
	}

	name := stored[0].GetEventName()
	n := 0
	for _, rec := range stored {
		if rec.GetEventName() == name {
			n++
		}
	}
	some := collect(t, subscribe(t, c, client.SubscriptionConfig{
		Start:  client.Earliest(),
		Filter: &keytrailv1.Filter{Include: []*keytrailv1.Selector{{EventNames: []string{name}}}},
	}))
	if len(some) != n || n == len(stored) {
		t.Errorf("%d records of %s, want %d", len(some), name, n)
	}
}

// A bus that restarts again and again, under load, loses nothing, stores
// nothing twice and delivers nothing twice; the cursor file survives too.
func TestRealBusRestarts(t *testing.T) {
	b := bustest.Start(t)
	c := connect(t, b)
	store := client.FileCursorStore{Path: filepath.Join(t.TempDir(), "cursor")}
	cfg := client.SubscriptionConfig{Start: client.Earliest(), Cursors: store, CheckpointInterval: 100 * time.Millisecond}

	const records, restarts = 6000, 3
	var wg sync.WaitGroup
	var bus sync.Mutex // held while b restarts
	var ids []string
	published := make(chan struct{})
	wg.Go(func() {
		defer close(published)
		ids = publishAll(t, c, sample.New(sample.Config{Seed: 2}), records)
	})

	var got []*keytrailv1.Record
	s := subscribe(t, c, cfg)
	restarted := 0
	for len(got) < records && !t.Failed() {
		ev := next(t, s)
		if ev.Record == nil {
			continue
		}
		got = append(got, ev.Record)
		if restarted < restarts && len(got) >= (restarted+1)*records/(restarts+2) {
			restarted++
			wg.Go(func() {
				bus.Lock()
				defer bus.Unlock()
				b.Restart()
			})
			// The subscriber restarts too, after it has handled the event.
			s.Handled()
			if err := s.Close(t.Context()); err != nil {
				t.Fatalf("Close: %v", err)
			}
			s = subscribe(t, c, cfg)
		}
	}
	<-published
	wg.Wait()
	wantOnce(t, got, ids)
	wantOnce(t, collect(t, subscribe(t, c, client.SubscriptionConfig{Start: client.Earliest()})), ids)
	if restarted != restarts {
		t.Errorf("%d restarts", restarted)
	}
}

func TestRealBusRefuses(t *testing.T) {
	b := bustest.Start(t)
	c := connect(t, b)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	gen := sample.New(sample.Config{})

	p, err := c.NewPublisher(client.PublisherConfig{Require: keytrailv1.Durability_DURABILITY_REPLICATED})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.PublishWait(ctx, gen.Next()); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a durability that the log lacks: %v", err)
	}
	if err := p.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}

	p, err = c.NewPublisher(client.PublisherConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(ctx)
	rec := gen.Next()
	conflict := proto.CloneOf(rec)
	conflict.EventTime = timestamppb.New(rec.GetEventTime().AsTime().Add(time.Hour))
	invalid := gen.Next()
	invalid.EventName = nil
	for _, tt := range []struct {
		rec  *keytrailv1.Record
		want keytrailv1.PublishStatus
	}{
		{rec, keytrailv1.PublishStatus_PUBLISH_STATUS_SYNCED},
		{rec, keytrailv1.PublishStatus_PUBLISH_STATUS_DUPLICATE},
		{conflict, keytrailv1.PublishStatus_PUBLISH_STATUS_CONFLICT},
		{invalid, keytrailv1.PublishStatus_PUBLISH_STATUS_REJECTED},
	} {
		if res, err := p.PublishWait(ctx, tt.rec); err != nil || res.GetStatus() != tt.want {
			t.Errorf("%v, %v, want %s", res, err, tt.want)
		}
	}

	for _, tt := range []struct {
		cfg  client.SubscriptionConfig
		want codes.Code
	}{
		{client.SubscriptionConfig{Start: client.After("nonsense")}, codes.InvalidArgument},
		{client.SubscriptionConfig{CheckpointInterval: time.Millisecond}, codes.InvalidArgument},
		{client.SubscriptionConfig{Filter: &keytrailv1.Filter{Include: []*keytrailv1.Selector{{}}}}, codes.InvalidArgument},
	} {
		if ev, err := subscribe(t, c, tt.cfg).Next(ctx); status.Code(err) != tt.want {
			t.Errorf("%+v: %v, %v", tt.cfg, ev, err)
		}
	}

	// A cursor of another log.
	other := connect(t, bustest.Start(t))
	cursor := next(t, subscribe(t, other, client.SubscriptionConfig{})).Cursor
	if ev, err := subscribe(t, c, client.SubscriptionConfig{Start: client.After(cursor)}).Next(ctx); status.Code(err) != codes.DataLoss {
		t.Errorf("a cursor of another log: %v, %v", ev, err)
	}
}

func TestRealBusExpired(t *testing.T) {
	b := bustest.Start(t)
	c := connect(t, b)
	gen := sample.New(sample.Config{Seed: 3})
	now := subscribe(t, c, client.SubscriptionConfig{})
	start := next(t, now).Cursor
	now.Close(t.Context()) // a bus that drains waits for those who do not read
	publishAll(t, c, gen, 100)
	time.Sleep(2 * time.Millisecond) // the next records are stored later, by the log's clock
	cut := time.Now()
	publishAll(t, c, gen, 1)
	if _, err := keytrailv1.NewLogServiceClient(c.Conn()).TrimLog(t.Context(), &keytrailv1.TrimLogRequest{StoredBefore: timestamppb.New(cut)}); err != nil {
		t.Fatalf("TrimLog: %v", err)
	}
	b.Restart() // which also forgets what it has in memory

	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	_, err := subscribe(t, c, client.SubscriptionConfig{Start: client.After(start)}).Next(ctx)
	var expired *client.ExpiredError
	if !errors.As(err, &expired) || expired.EarliestCursor == "" || expired.EarliestTime.Before(cut) {
		t.Fatalf("after what was trimmed: %#v", err)
	}
	if n := len(collect(t, subscribe(t, c, client.SubscriptionConfig{Start: client.After(expired.EarliestCursor)}))); n != 1 {
		t.Errorf("%d records after the earliest cursor", n)
	}
	s := subscribe(t, c, client.SubscriptionConfig{Start: client.After(start), AllowGap: true})
	if ev := next(t, s); ev.Gap.GetAfterCursor() != start || ev.Cursor != expired.EarliestCursor {
		t.Errorf("with AllowGap the first event is %v", ev)
	}
	if n := len(collect(t, s)); n != 1 {
		t.Errorf("%d records after the gap", n)
	}
}

// A filter changes in its place, through restarts of the bus: each record of
// the log is delivered if the filter that holds there wants it.
func TestRealBusSetFilter(t *testing.T) {
	b := bustest.Start(t)
	c := connect(t, b)
	names := [][]string{{"Decrypt"}, {"Encrypt", "GenerateDataKey"}, {"*"}, {"Describe*", "Sign"}}
	filter := func(revision uint64) *keytrailv1.Filter {
		return &keytrailv1.Filter{Include: []*keytrailv1.Selector{{EventNames: names[revision%4]}}}
	}
	gen := sample.New(sample.Config{Seed: 5})
	publishAll(t, c, gen, 200)
	s := subscribe(t, c, client.SubscriptionConfig{
		Start: client.Earliest(), Mutable: true, Filter: filter(0), CheckpointInterval: 100 * time.Millisecond,
	})
	var got []string
	changes := make(map[string]uint64) // revisions by cursor
	take := func(until func(client.Event) bool) {
		t.Helper()
		for {
			ev := next(t, s)
			if ev.Record != nil {
				got = append(got, ev.Record.GetEventId())
			}
			if ev.FilterChanged != nil {
				changes[ev.Cursor] = ev.FilterChanged.GetRevision()
			}
			if until(ev) {
				return
			}
		}
	}
	for want := uint64(1); want <= 6; want++ {
		rev, err := s.SetFilter(filter(want))
		if err != nil || rev != want {
			t.Fatalf("change %d: %d, %v", want, rev, err)
		}
		if want%2 == 0 {
			b.Restart() // whether the change was sent or not, and applied or not
		}
		publishAll(t, c, gen, 50)
		take(func(ev client.Event) bool { return ev.FilterChanged.GetRevision() == want })
		publishAll(t, c, gen, 50)
	}
	if rev, err := s.SetFilter(&keytrailv1.Filter{Include: []*keytrailv1.Selector{{}}}); err != nil || rev != 7 {
		t.Fatalf("a faulty filter: %d, %v", rev, err)
	}
	take(func(ev client.Event) bool { return ev.FilterRefused.GetField() == "filter.include[0]" })
	publishAll(t, c, gen, 20)
	const published = 200 + 6*100 + 20

	// A change has the cursor of the record before it, or that of the start.
	all := subscribe(t, c, client.SubscriptionConfig{Start: client.Earliest()})
	var log []client.Event
	for len(log) < published {
		if ev := next(t, all); ev.Record != nil {
			log = append(log, ev)
		}
	}
	holds := uint64(0)
	for cursor, rev := range changes {
		if !slices.ContainsFunc(log, func(ev client.Event) bool { return ev.Cursor == cursor }) {
			holds = max(holds, rev)
		}
	}
	var want []string
	for _, ev := range log {
		if slices.ContainsFunc(names[holds%4], func(name string) bool {
			ok, err := path.Match(name, ev.Record.GetEventName())
			return ok && err == nil
		}) {
			want = append(want, ev.Record.GetEventId())
		}
		if rev, ok := changes[ev.Cursor]; ok {
			holds = rev
		}
	}
	if holds != 6 {
		t.Errorf("changes at %v, of which the last that is at a record's cursor is %d", changes, holds)
	}
	take(func(ev client.Event) bool { return ev.Checkpoint.GetAtHead() && len(got) >= len(want) })
	if !slices.Equal(got, want) {
		t.Errorf("got %d records, want %d: %v, %v", len(got), len(want), got, want)
	}
}

func TestRealBusFilters(t *testing.T) {
	b := bustest.Start(t)
	c := connect(t, b)
	gen := sample.New(sample.Config{Seed: 6})
	publishAll(t, c, gen, 100)
	rec := gen.Next()
	f := &keytrailv1.Filter{Where: "event = " + rec.GetEventName()}
	if res, err := c.ExplainFilter(t.Context(), f, rec); err != nil || !res.GetMatched() || res.GetText() != f.GetWhere() {
		t.Errorf("explained: %v, %v", res, err)
	}
	if res, err := c.ExplainFilter(t.Context(), nil, nil); status.Code(err) != codes.InvalidArgument {
		t.Errorf("without a filter: %v, %v", res, err)
	}
	done := false
	for res, err := range c.TryFilter(t.Context(), &keytrailv1.TryFilterRequest{Filter: f}) {
		if err != nil || done {
			t.Fatalf("%v, %v", res, err)
		}
		if done = res.GetDone(); done && (res.GetConsidered() != 100 || res.GetClauses()[0].GetHeldRecords() != res.GetMatched()) {
			t.Errorf("tried: %v", res)
		}
	}
	if !done {
		t.Error("the trial did not end")
	}
	var errs []error
	for _, err := range c.TryFilter(t.Context(), &keytrailv1.TryFilterRequest{}) {
		errs = append(errs, err)
	}
	if len(errs) != 1 || status.Code(errs[0]) != codes.InvalidArgument {
		t.Errorf("tried without a filter: %v", errs)
	}
}

// Records of one key and operation keep the order in which they were published.
func TestRealBusOrder(t *testing.T) {
	b := bustest.Start(t)
	c := connect(t, b)
	gen := sample.New(sample.Config{Seed: 4, Keys: 5})
	place := make(map[string]int)
	for i, id := range publishAll(t, c, gen, 2000) {
		place[id] = i
	}
	last := make(map[string]int)
	for _, rec := range collect(t, subscribe(t, c, client.SubscriptionConfig{Start: client.Earliest()})) {
		of := fmt.Sprint(rec.GetRecipientAccountId(), rec.GetAwsRegion(), rec.GetResources().GetEntries(), rec.GetEventName())
		at := place[rec.GetEventId()]
		if before, ok := last[of]; ok && at < before {
			t.Fatalf("%s: record %d after record %d", rec.GetEventName(), at, before)
		}
		last[of] = at
	}
}
