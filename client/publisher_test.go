package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

func newPublisher(t testing.TB, c *Client, cfg PublisherConfig) *Publisher {
	t.Helper()
	p, err := c.NewPublisher(cfg)
	if err != nil {
		t.Fatalf("NewPublisher: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Logf("Close: %v", err)
		}
	})
	return p
}

// publish takes records from to to.
func publish(t testing.TB, p *Publisher, from, to int) []*Pending {
	t.Helper()
	var out []*Pending
	for i := from; i < to; i++ {
		x, err := p.Publish(t.Context(), rec(i))
		if err != nil {
			t.Fatalf("Publish %d: %v", i, err)
		}
		out = append(out, x)
	}
	return out
}

// wantStored waits for all results.
func wantStored(t testing.TB, pending []*Pending) {
	t.Helper()
	for i, x := range pending {
		result, err := x.Result(t.Context())
		if err != nil || !x.Stored() {
			t.Fatalf("record %d: %v, %v, retried %t", i, result, err, x.Retried())
		}
	}
}

func flushed(t testing.TB, p *Publisher) {
	t.Helper()
	if err := p.Flush(t.Context()); err != nil {
		t.Fatalf("Flush: %v", err)
	}
}

func TestPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		p := newPublisher(t, b.client(), PublisherConfig{})
		pending := publish(t, p, 0, 2500)
		for i, x := range pending {
			result, err := x.Result(t.Context())
			if err != nil {
				t.Fatalf("record %d: %v", i, err)
			}
			if result.GetStatus() != keytrailv1.PublishStatus_PUBLISH_STATUS_SYNCED ||
				result.GetCursor() != cursorAt(i+1) || result.GetEventIds()[0] != idOf(i) || x.Retried() {
				t.Fatalf("record %d: %v, retried %t", i, result, x.Retried())
			}
		}
		wantIDs(t, "log", b.stored(), idsOf(0, 2500))

		// A result is a result, whatever it says.
		x := publish(t, p, 0, 1)[0]
		if result, err := x.Result(t.Context()); err != nil || x.Stored() ||
			result.GetStatus() != keytrailv1.PublishStatus_PUBLISH_STATUS_DUPLICATE {
			t.Errorf("published twice: %v, %v, stored %t", result, err, x.Stored())
		}
		other := rec(0)
		other.EventName = proto.String("Encrypt")
		if result, err := p.PublishWait(t.Context(), other); err != nil ||
			result.GetStatus() != keytrailv1.PublishStatus_PUBLISH_STATUS_CONFLICT {
			t.Errorf("other content: %v, %v", result, err)
		}
		if result, err := p.PublishWait(t.Context(), nil); err != nil ||
			result.GetStatus() != keytrailv1.PublishStatus_PUBLISH_STATUS_REJECTED {
			t.Errorf("empty record: %v, %v", result, err)
		}
	})
}

// A lone record leaves at once; behind others it waits for company, but not
// for longer than FlushAfter; a full batch does not wait.
func TestBatching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		b.before = func(int, *keytrailv1.PublishStreamRequest) error {
			time.Sleep(time.Second)
			return nil
		}
		p := newPublisher(t, b.client(), PublisherConfig{BatchRecords: 10, FlushAfter: 20 * time.Millisecond})
		start := time.Now()
		publish(t, p, 0, 1)
		synctest.Wait()
		publish(t, p, 1, 4)
		time.Sleep(19 * time.Millisecond)
		publish(t, p, 4, 6) // with the three before
		time.Sleep(2 * time.Millisecond)
		publish(t, p, 6, 31) // two full ones, and five
		synctest.Wait()
		p.mu.Lock()
		var sent []string
		for _, r := range p.cur.inflight {
			sent = append(sent, fmt.Sprintf("%d@%s", len(r.records), r.sent.Sub(start)))
		}
		p.mu.Unlock()
		if got, want := strings.Join(sent, " "), "1@0s 5@20ms 10@21ms 10@21ms"; got != want {
			t.Errorf("sent %s, want %s", got, want)
		}
		flushed(t, p)
		wantIDs(t, "log", b.stored(), idsOf(0, 31))
	})
}

func TestBatchBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		p := newPublisher(t, b.client(), PublisherConfig{BatchBytes: 5000, BatchRecords: 100})
		for i := range 200 {
			r := rec(i)
			r.UserAgent = proto.String(strings.Repeat("x", 400+i*40)) // the last are larger than BatchBytes
			if _, err := p.Publish(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		flushed(t, p)
		wantIDs(t, "log", b.stored(), idsOf(0, 200))
		for _, s := range b.seen() {
			size := 0
			for _, id := range s.ids {
				size += proto.Size(b.ids[id])
			}
			if size > 5000 && len(s.ids) > 1 {
				t.Errorf("a request of %d records and %d bytes", len(s.ids), size)
			}
		}
	})
}

// Callbacks come in the order of PublishFunc though results do not, and a
// record counts as pending until its callback has returned.
func TestPublishFunc(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		first := once(errors.New("not yet"))
		b.judge = func(rec *keytrailv1.Record) *keytrailv1.PublishResult {
			if rec.GetEventId() == idOf(0) && first() != nil {
				return &keytrailv1.PublishResult{Status: keytrailv1.PublishStatus_PUBLISH_STATUS_NOT_STORED}
			}
			return nil
		}
		p := newPublisher(t, b.client(), PublisherConfig{MaxPending: 10})
		var calls []int
		release := make(chan struct{})
		for i := range 10 {
			r := rec(i)
			if i == 5 { // refused locally, at once: its callback waits for its turn
				r.UserAgent = proto.String("\xff")
			}
			if err := p.PublishFunc(t.Context(), r, func(x *Pending) {
				select {
				case <-x.Done():
				default:
					t.Errorf("record %d: called without a result", i)
				}
				if x.Stored() == (i == 5) {
					t.Errorf("record %d: stored %t", i, x.Stored())
				}
				<-release
				calls = append(calls, i)
			}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute) // long stored
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.PublishFunc(ctx, rec(10), nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("took a record beyond MaxPending: %v", err)
		}
		close(release)
		flushed(t, p)
		if fmt.Sprint(calls) != "[0 1 2 3 4 5 6 7 8 9]" {
			t.Errorf("calls %v", calls)
		}
	})
}

func TestCredit(t *testing.T) {
	windows := []amount{
		{1, 1 << 20}, {7, 1 << 20}, {100, 1 << 20},
		{1000, 100}, {1000, 500}, {1000, 5000}, {100_000, 100_000}, {3, 150},
	}
	for _, w := range windows {
		t.Run(fmt.Sprint(w), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBus(t) // which asserts that credit is kept to
				b.window = w
				b.before = func(int, *keytrailv1.PublishStreamRequest) error {
					time.Sleep(time.Millisecond)
					return nil
				}
				p := newPublisher(t, b.client(), PublisherConfig{BatchRecords: 50})
				wantStored(t, publish(t, p, 0, 1000))
				wantIDs(t, "log", b.stored(), idsOf(0, 1000))
				synctest.Wait() // for the last credit
				p.mu.Lock()
				defer p.mu.Unlock()
				if p.cur.credit != w || p.cur.out != (amount{}) {
					t.Errorf("at the end, credit is %d and %d is unanswered", p.cur.credit, p.cur.out)
				}
			})
		})
	}
}

// Credit that comes back in small pieces must not make requests small for ever.
func TestCreditKeepsRequestsLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		b.window = amount{100, 1 << 20}
		b.before = func(int, *keytrailv1.PublishStreamRequest) error {
			time.Sleep(time.Millisecond)
			return nil
		}
		p := newPublisher(t, b.client(), PublisherConfig{BatchRecords: 80, FlushAfter: time.Hour})
		publish(t, p, 0, 1) // a lone one, then one of 80, then 19 of credit are left
		synctest.Wait()
		publish(t, p, 1, 4001)
		flushed(t, p)
		if n := len(b.seen()); n > 90 {
			t.Errorf("4001 records took %d requests", n)
		}
	})
}

func TestMaxPending(t *testing.T) {
	big := strings.Repeat("x", 1000)
	configs := map[string]PublisherConfig{
		"records": {MaxPending: 10},
		"bytes":   {MaxPendingBytes: 10_500}, // of 10 records: each has some bytes besides
	}
	for name, cfg := range configs {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBus(t)
				b.cut(true)
				p := newPublisher(t, b.client(), cfg)
				for i := range 10 {
					r := rec(i)
					r.UserAgent = &big
					if _, err := p.Publish(t.Context(), r); err != nil {
						t.Fatal(err)
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				start := time.Now()
				r := rec(10)
				r.UserAgent = &big
				if _, err := p.Publish(ctx, r); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
					t.Errorf("Publish beyond the bound: %v after %s", err, time.Since(start))
				}
				var wg sync.WaitGroup
				wg.Go(func() {
					x, err := p.Publish(t.Context(), r)
					if err != nil {
						t.Errorf("Publish when there is room: %v", err)
						return
					}
					wantStored(t, []*Pending{x})
				})
				synctest.Wait()
				b.up()
				wg.Wait()
				wantIDs(t, "log", b.stored(), idsOf(0, 11))
			})
		})
	}
}

// A record larger than all of MaxPendingBytes still goes, alone.
func TestLargerThanMaxPendingBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		p := newPublisher(t, b.client(), PublisherConfig{MaxPendingBytes: 1000})
		for i := range 5 {
			r := rec(i)
			r.UserAgent = proto.String(strings.Repeat("x", 2000))
			if _, err := p.Publish(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		flushed(t, p)
		wantIDs(t, "log", b.stored(), idsOf(0, 5))
	})
}

func TestRejectedLocally(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		p := newPublisher(t, b.client(), PublisherConfig{})
		sized := func(i, size int) *keytrailv1.Record {
			r := rec(i)
			r.UserAgent = proto.String("")
			r.UserAgent = proto.String(strings.Repeat("x", size-proto.Size(r)-3)) // 3: a longer length
			for proto.Size(r) < size {
				*r.UserAgent += "x"
			}
			if proto.Size(r) != size {
				t.Fatalf("made %d bytes, want %d", proto.Size(r), size)
			}
			return r
		}
		invalid := rec(3)
		invalid.UserAgent = proto.String("\xff")
		tests := []struct {
			rec  *keytrailv1.Record
			code keytrailv1.RejectionCode
		}{
			{rec(0), 0},
			{sized(1, 262144), 0},
			{sized(2, 262145), keytrailv1.RejectionCode_REJECTION_CODE_TOO_LARGE},
			{invalid, keytrailv1.RejectionCode_REJECTION_CODE_INVALID_VALUE},
			{rec(4), 0},
		}
		var pending []*Pending
		for _, tt := range tests {
			x, err := p.Publish(t.Context(), tt.rec)
			if err != nil {
				t.Fatal(err)
			}
			pending = append(pending, x)
		}
		for i, tt := range tests {
			result, err := pending[i].Result(t.Context())
			if err != nil || result.GetRejection().GetCode() != tt.code || pending[i].Stored() != (tt.code == 0) {
				t.Errorf("record %d: %v, %v", i, result, err)
			}
		}
		wantIDs(t, "log", b.stored(), []string{idOf(0), idOf(1), idOf(4)})
	})
}

// A record may be reused as soon as Publish has returned.
func TestRecordReused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		fail := once(status.Error(codes.Unavailable, "no"))
		b.after = func(int, *keytrailv1.PublishStreamRequest) error { return fail() }
		p := newPublisher(t, b.client(), PublisherConfig{})
		r := rec(0)
		var pending []*Pending
		for i := range 100 {
			r.EventId = proto.String(idOf(i))
			x, err := p.Publish(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			pending = append(pending, x)
		}
		wantStored(t, pending)
		wantIDs(t, "log", b.stored(), idsOf(0, 100))
	})
}
