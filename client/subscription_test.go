package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func subscribe(t testing.TB, c *Client, cfg SubscriptionConfig) *Subscription {
	t.Helper()
	s, err := c.Subscribe(context.Background(), cfg)
	if err != nil {
		t.Fatalf("Subscribe: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Logf("Close: %v", err)
		}
	})
	return s
}

// take returns the IDs of the next n records.
func take(t testing.TB, s *Subscription, n int) []string {
	t.Helper()
	var ids []string
	for n > 0 {
		ev, err := s.Next(t.Context())
		if err != nil {
			t.Fatalf("Next after %d records: %v", len(ids), err)
		}
		if ev.Record != nil {
			ids = append(ids, ev.Record.GetEventId())
			n--
		}
	}
	return ids
}

// wantSilence says that nothing more is delivered for a while.
func wantSilence(t testing.TB, s *Subscription) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for ev, err := range s.Events(ctx) {
		if err == nil && ev.Checkpoint != nil {
			continue
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, %v", ev, err)
		}
	}
}

func TestSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		b.append(recs(0, 10)...)
		s := subscribe(t, b.client(), SubscriptionConfig{Start: Earliest(), CheckpointInterval: time.Minute})
		n := 0
		for ev, err := range s.Events(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if ev.Checkpoint != nil {
				if ev.Cursor != cursorAt(10) || n != 10 {
					t.Errorf("checkpoint at %s after %d records", ev.Cursor, n)
				}
				break
			}
			n++
			if ev.Cursor != cursorAt(n) || ev.Record.GetEventId() != idOf(n-1) || ev.Gap != nil {
				t.Errorf("event %d: %v", n, ev)
			}
		}
		b.append(recs(10, 20)...)
		wantIDs(t, "next", take(t, s, 10), idsOf(10, 20)) // ranging again goes on
		start := time.Now()
		for ev, err := range s.Events(t.Context()) {
			if err != nil || ev.Checkpoint == nil {
				t.Errorf("%v, %v", ev, err)
			}
			if time.Since(start) > 0 {
				break
			}
		}
		if took := time.Since(start); took != time.Minute {
			t.Errorf("checkpoint after %s", took)
		}
	})
}

func TestStarts(t *testing.T) {
	for _, tt := range []struct {
		start Start
		want  string
		text  string
	}{
		{Start{}, "now", "now"},
		{Now(), "now", "now"},
		{Earliest(), "earliest", "earliest"},
		{At(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)), "2026-01-02T03:04:05Z", "at 2026-01-02T03:04:05Z"},
		{After("c2"), "c2", `after "c2"`},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBus(t)
			b.append(recs(0, 3)...)
			s := subscribe(t, b.client(), SubscriptionConfig{Start: tt.start})
			if _, err := s.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
			if b.starts[0] != tt.want || tt.start.String() != tt.text {
				t.Errorf("%s: started at %s", tt.start, b.starts[0])
			}
		})
	}
}

// However and wherever a stream breaks, nothing is skipped and nothing comes
// twice, also when the caller is in the middle of a batch.
func TestSubscriptionBreaks(t *testing.T) {
	breaks := []struct {
		name string
		err  error
		cut  bool
	}{
		{"unavailable", status.Error(codes.Unavailable, "going away"), false},
		{"told when", later(codes.Unavailable, 30*time.Second), false},
		{"ends without error", errEnd, false},
		{"drained", errDrain, false},
		{"connection lost", status.Error(codes.Unavailable, ""), true},
	}
	const records = 20 // 7 batches of 3 at most
	for _, tt := range breaks {
		for k := 1; k <= 8; k++ {
			t.Run(fmt.Sprintf("%s/%d", tt.name, k), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBus(t)
					b.append(recs(0, records)...)
					b.sent = func(n int) error {
						if n != k && n != k+2 {
							return nil
						}
						if tt.cut {
							b.cut(false)
						}
						return tt.err
					}
					s := subscribe(t, b.client(), SubscriptionConfig{Start: Earliest()})
					wantIDs(t, "delivered", take(t, s, records), idsOf(0, records))
					b.append(recs(records, records+5)...)
					wantIDs(t, "later", take(t, s, 5), idsOf(records, records+5))
					wantSilence(t, s)
				})
			})
		}
	}
}

// A subscription from now knows its place once the first event has come: what
// is stored in an outage after that is delivered.
func TestNowSurvivesReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		b.append(recs(0, 5)...)
		var states []string
		s := subscribe(t, b.client(), SubscriptionConfig{OnState: func(s State, err error) {
			states = append(states, s.String())
		}})
		ev, err := s.Next(t.Context())
		if err != nil || ev.Checkpoint == nil {
			t.Fatalf("%v, %v", ev, err)
		}
		b.cut(true)
		b.append(recs(5, 9)...)
		time.Sleep(time.Minute)
		b.up()
		wantIDs(t, "delivered", take(t, s, 4), idsOf(5, 9))
		if got := slices.Compact(states); fmt.Sprint(got) != "[connected reconnecting connected]" {
			t.Errorf("states %v", got)
		}
	})
}

// A bus that is not there yet is waited for.
func TestSubscribeBeforeBus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		b.cut(true)
		s := subscribe(t, b.client(), SubscriptionConfig{})
		time.Sleep(time.Hour)
		b.up()
		if ev, err := s.Next(t.Context()); err != nil || ev.Checkpoint == nil {
			t.Errorf("%v, %v", ev, err)
		}
		if got := slices.Compact(slices.Clone(b.starts)); fmt.Sprint(got) != "[now]" {
			t.Errorf("starts %v", got)
		}
	})
}

func TestSubscriptionOver(t *testing.T) {
	for _, code := range []codes.Code{
		codes.InvalidArgument, codes.OutOfRange, codes.DataLoss, codes.PermissionDenied, codes.Unauthenticated,
		codes.Unimplemented, codes.Internal,
	} {
		t.Run(code.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBus(t)
				b.append(recs(0, 3)...)
				b.sent = func(int) error { return status.Error(code, "no") }
				s := subscribe(t, b.client(), SubscriptionConfig{Start: Earliest()})
				wantIDs(t, "before", take(t, s, 3), idsOf(0, 3)) // what came before the error is delivered
				for range 2 {
					if ev, err := s.Next(t.Context()); status.Code(err) != code {
						t.Errorf("%v, %v", ev, err)
					}
				}
				n := 0
				for _, err := range s.Events(t.Context()) {
					n++
					if err == nil {
						t.Error("an event")
					}
				}
				if n != 1 {
					t.Errorf("Events yielded %d times", n)
				}
			})
		})
	}
}

func TestExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		b.append(recs(0, 10)...)
		b.earliest = 4
		c := b.client()
		_, err := subscribe(t, c, SubscriptionConfig{Start: After("c2")}).Next(t.Context())
		var expired *ExpiredError
		if !errors.As(err, &expired) || expired.EarliestCursor != "c4" || status.Code(err) != codes.OutOfRange ||
			!expired.EarliestTime.Equal(time.Date(2026, 10, 20, 7, 8, 9, 5e8, time.UTC)) {
			t.Errorf("%#v", err)
		}

		s := subscribe(t, c, SubscriptionConfig{Start: After("c2"), AllowGap: true})
		ev, err := s.Next(t.Context())
		if err != nil || ev.Gap.GetAfterCursor() != "c2" || ev.Cursor != "c4" ||
			ev.Gap.GetReason() != keytrailv1.GapReason_GAP_REASON_EXPIRED {
			t.Errorf("%v, %v", ev, err)
		}
		wantIDs(t, "after the gap", take(t, s, 6), idsOf(4, 10))
	})
}

// "Too many streams" passes; a message that is too large for the client does
// not, and must not be asked for again and again.
func TestExhausted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		b.append(recs(0, 3)...)
		b.opened = func(n int) error {
			if n < 4 {
				return status.Error(codes.ResourceExhausted, "too many streams")
			}
			return nil
		}
		s := subscribe(t, b.client(), SubscriptionConfig{Start: Earliest()})
		wantIDs(t, "delivered", take(t, s, 3), idsOf(0, 3))

		small := b.client(grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(10)))
		s = subscribe(t, small, SubscriptionConfig{Start: Earliest()})
		if ev, err := s.Next(t.Context()); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("%v, %v", ev, err)
		}
	})
}

func TestSubscriptionGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		s := subscribe(t, b.client(), SubscriptionConfig{RetryFor: time.Minute})
		over := make(chan error, 1)
		go func() {
			for _, err := range s.Events(t.Context()) {
				if err != nil {
					over <- err
				}
			}
		}()
		for range 3 { // outages that are short enough don't add up
			time.Sleep(time.Minute)
			b.cut(true)
			time.Sleep(45 * time.Second)
			b.up()
		}
		time.Sleep(time.Minute)
		b.cut(true)
		start := time.Now()
		if err := <-over; !errors.Is(err, ErrGaveUp) || status.Code(err) != codes.Unavailable {
			t.Errorf("over: %v", err)
		}
		if took := time.Since(start); took < time.Minute-maxBackoff || took > time.Minute {
			t.Errorf("gave up after %s", took)
		}
	})
}

// Waits between streams grow, and start anew once a stream has lasted.
func TestSubscriptionBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		var ends atomic.Bool
		b.sent = func(int) error {
			if ends.Load() {
				return status.Error(codes.Unavailable, "no")
			}
			return nil
		}
		b.cut(true)
		s := subscribe(t, b.client(), SubscriptionConfig{CheckpointInterval: time.Second})
		time.Sleep(time.Minute)
		b.up()
		end := time.Now().Add(10 * lasting)
		for time.Now().Before(end) {
			if _, err := s.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		b.cut(false)
		start := time.Now()
		if _, err := s.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > minBackoff {
			t.Errorf("reconnected after %s", took)
		}

		// A bus that ends streams as soon as they begin is not hammered at.
		b.mu.Lock()
		before := b.streams
		b.mu.Unlock()
		ends.Store(true)
		b.cut(false)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for range s.Events(ctx) {
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if n := b.streams - before; n < 20 || n > 70 {
			t.Errorf("%d streams in a minute", n)
		}
	})
}

// The end of Next's context loses nothing.
func TestNextContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		s := subscribe(t, b.client(), SubscriptionConfig{Start: Earliest(), CheckpointInterval: time.Hour})
		var got []string
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := range 100 {
				b.append(rec(i))
				time.Sleep(7 * time.Millisecond)
			}
		})
		for len(got) < 100 {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Millisecond)
			ev, err := s.Next(ctx)
			cancel()
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			if ev.Record != nil {
				got = append(got, ev.Record.GetEventId())
			}
		}
		wg.Wait()
		wantIDs(t, "delivered", got, idsOf(0, 100))
		if len(b.starts) != 1 {
			t.Errorf("streams: %v", b.starts)
		}

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Next(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Next with an ended context: %v", err)
		}
	})
}

// A caller that does not read holds back the bus: little is read ahead.
func TestReadAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		text := string(make([]byte, 50_000))
		for i := range 1000 {
			r := rec(i)
			r.UserAgent = &text
			b.append(r)
		}
		s := subscribe(t, b.client(), SubscriptionConfig{Start: Earliest()})
		if _, err := s.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		b.mu.Lock()
		n := b.messages
		b.mu.Unlock()
		if n > 10 { // of 150 KB
			t.Errorf("%d messages were sent to a caller that read one record", n)
		}
		take(t, s, 999)
	})
}

func TestSubscriptionCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		c := b.client()
		s := subscribe(t, c, SubscriptionConfig{})
		if _, err := s.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := make(chan error)
		go func() {
			_, err := s.Next(t.Context())
			got <- err
		}()
		synctest.Wait()
		if err := s.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := <-got; !errors.Is(err, ErrClosed) {
			t.Errorf("Next: %v", err)
		}
		if _, err := s.Next(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("Next after Close: %v", err)
		}

		// The context of Subscribe ends it too.
		ctx, cancel := context.WithCancel(t.Context())
		s, err := c.Subscribe(ctx, SubscriptionConfig{})
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		if _, err := s.Next(t.Context()); !errors.Is(err, context.Canceled) {
			t.Errorf("Next: %v", err)
		}
		<-s.ended // without Close
	})
}

func TestSubscriptionConfig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newBus(t).client()
		for _, cfg := range []SubscriptionConfig{
			{CheckpointInterval: -1}, {RetryFor: -1}, {Cursors: &memoryStore{fail: errors.New("broken")}},
		} {
			if s, err := c.Subscribe(t.Context(), cfg); err == nil {
				s.Close(t.Context())
				t.Errorf("%+v is taken", cfg)
			}
		}
	})
}
