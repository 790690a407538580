package client

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// However a stream breaks, and wherever, nothing is lost, nothing is stored
// twice, and order is kept.
func TestStreamBreaks(t *testing.T) {
	unavailable := status.Error(codes.Unavailable, "going away")
	breaks := []struct {
		name   string
		before bool // else after the records are stored: the answer is lost
		err    error
		cut    bool
	}{
		{"before storing", true, unavailable, false},
		{"answer lost", false, unavailable, false},
		{"ends without error", false, nil, false},
		{"cancelled by somebody", false, status.Error(codes.Canceled, "reset"), false},
		{"log full", true, later(codes.ResourceExhausted, time.Second), false},
		{"connection lost before", true, unavailable, true},
		{"connection lost after", false, unavailable, true},
	}
	const requests = 8
	for _, tt := range breaks {
		for k := 1; k <= requests; k++ {
			t.Run(fmt.Sprintf("%s/%d", tt.name, k), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBus(t)
					fault := func(n int, _ *keytrailv1.PublishStreamRequest) error {
						if n != k {
							return nil
						}
						if tt.cut {
							b.cut(false)
						}
						if tt.err == nil {
							return errEnd
						}
						return tt.err
					}
					if tt.before {
						b.before = fault
					} else {
						b.after = fault
					}
					p := newPublisher(t, b.client(), PublisherConfig{BatchRecords: 5})
					pending := publish(t, p, 0, 5*requests)
					wantStored(t, pending)
					wantIDs(t, "log", b.stored(), idsOf(0, 5*requests))
				})
			})
		}
	}
}

// A bus that fails again and again, with several producers: each keeps its order.
func TestStreamBreaksOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		b.window = amount{60, 1 << 20}
		b.before = func(n int, _ *keytrailv1.PublishStreamRequest) error {
			if n%7 == 0 {
				return status.Error(codes.Unavailable, "no")
			}
			return nil
		}
		b.after = func(n int, _ *keytrailv1.PublishStreamRequest) error {
			if n%11 == 0 {
				b.cut(false)
			}
			return nil
		}
		p := newPublisher(t, b.client(), PublisherConfig{BatchRecords: 20, MaxPending: 100})
		var wg sync.WaitGroup
		const producers, each = 4, 500
		for i := range producers {
			wg.Go(func() { wantStored(t, publish(t, p, i*each, (i+1)*each)) })
		}
		wg.Wait()
		last := make(map[int]string) // of each producer
		for _, id := range b.stored() {
			var n int
			fmt.Sscanf(id, "id-%d", &n)
			if id <= last[n/each] {
				t.Fatalf("%s after %s", id, last[n/each])
			}
			last[n/each] = id
		}
		if n := len(b.stored()); n != producers*each {
			t.Errorf("%d stored", n)
		}
	})
}

func TestRetryInfo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		fail := once(later(codes.Unavailable, 17*time.Second))
		b.before = func(int, *keytrailv1.PublishStreamRequest) error { return fail() }
		p := newPublisher(t, b.client(), PublisherConfig{})
		start := time.Now()
		wantStored(t, publish(t, p, 0, 3))
		if took := time.Since(start); took < 17*time.Second || took > 19*time.Second {
			t.Errorf("stored after %s, want 17 s and a little", took)
		}
	})
}

// What will not pass ends records with the bus' own error, once.
func TestRefused(t *testing.T) {
	tests := []struct {
		code codes.Code
		all  bool // ends all that is pending, not just one request
	}{
		{codes.InvalidArgument, false},
		{codes.ResourceExhausted, false},
		{codes.FailedPrecondition, true},
		{codes.Unimplemented, true},
		{codes.PermissionDenied, true},
		{codes.Unauthenticated, true},
		{codes.Internal, true},
	}
	for _, tt := range tests {
		t.Run(tt.code.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBus(t)
				fail := once(status.Error(tt.code, "no"))
				b.before = func(n int, _ *keytrailv1.PublishStreamRequest) error {
					if n == 2 {
						return fail()
					}
					time.Sleep(10 * time.Millisecond) // so that all are in flight
					return nil
				}
				p := newPublisher(t, b.client(), PublisherConfig{BatchRecords: 5})
				pending := publish(t, p, 0, 1)
				synctest.Wait()
				pending = append(pending, publish(t, p, 1, 16)...) // three more requests
				for i, x := range pending {
					_, err := x.Result(t.Context())
					refused := i > 0 && (tt.all || i < 6)
					if refused && status.Code(err) != tt.code || !refused && err != nil {
						t.Errorf("record %d: %v", i, err)
					}
				}
				wantStored(t, publish(t, p, 100, 110)) // the publisher lives on
			})
		})
	}
}

// Refused before anything could be sent: there is no request to blame.
func TestRefusedStream(t *testing.T) {
	for _, code := range []codes.Code{codes.InvalidArgument, codes.Unauthenticated} {
		synctest.Test(t, func(t *testing.T) {
			b := newBus(t)
			fail := once(status.Error(code, "no"))
			b.opened = func(int) error { return fail() }
			p := newPublisher(t, b.client(), PublisherConfig{})
			if _, err := p.PublishWait(t.Context(), rec(0)); status.Code(err) != code {
				t.Errorf("%v, want %v", err, code)
			}
			wantStored(t, publish(t, p, 1, 2))
		})
	}
}

func TestNotStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		var mu sync.Mutex
		left := map[string]int{idOf(3): 2, idOf(7): 1, idOf(12): 3} // how often each fails
		b.judge = func(rec *keytrailv1.Record) *keytrailv1.PublishResult {
			mu.Lock()
			defer mu.Unlock()
			if left[rec.GetEventId()] == 0 {
				return nil
			}
			left[rec.GetEventId()]--
			return &keytrailv1.PublishResult{
				Status:    keytrailv1.PublishStatus_PUBLISH_STATUS_NOT_STORED,
				Rejection: &keytrailv1.Rejection{Code: keytrailv1.RejectionCode_REJECTION_CODE_LOG_UNAVAILABLE, Message: "Late."},
			}
		}
		p := newPublisher(t, b.client(), PublisherConfig{BatchRecords: 5})
		pending := publish(t, p, 0, 20)
		var order []int
		for i := 20; i < 40; i++ {
			if err := p.PublishFunc(t.Context(), rec(i), func(x *Pending) {
				if !x.Stored() {
					t.Errorf("record %d: not stored", i)
				}
				order = append(order, i)
			}); err != nil {
				t.Fatal(err)
			}
		}
		wantStored(t, pending)
		flushed(t, p)
		for i, x := range pending {
			if want := i == 3 || i == 7 || i == 12; x.Retried() != want {
				t.Errorf("record %d: retried %t", i, x.Retried())
			}
		}
		if n := len(b.stored()); n != 40 {
			t.Errorf("%d stored", n)
		}
		for i, n := range order {
			if n != 20+i {
				t.Fatalf("callbacks in the order %v", order)
			}
		}
	})
}

// A record that was NOT_STORED travels in a later request than its successors;
// when that stream breaks too, the order of Publish is restored.
func TestNotStoredThenBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		notStored := once(errors.New("not stored"))
		b.judge = func(rec *keytrailv1.Record) *keytrailv1.PublishResult {
			if rec.GetEventId() == idOf(3) && notStored() != nil {
				return &keytrailv1.PublishResult{Status: keytrailv1.PublishStatus_PUBLISH_STATUS_NOT_STORED}
			}
			return nil
		}
		broken := once(status.Error(codes.Unavailable, "no"))
		b.before = func(_ int, req *keytrailv1.PublishStreamRequest) error {
			switch req.GetItems()[0].GetRecord().GetEventId() {
			case idOf(0):
				time.Sleep(time.Millisecond) // while it is unanswered, what follows waits for company
			case idOf(11):
				time.Sleep(time.Second) // in which record 3 is sent again
				return broken()
			}
			return nil
		}
		p := newPublisher(t, b.client(), PublisherConfig{BatchRecords: 5, FlushAfter: time.Millisecond})
		pending := publish(t, p, 0, 1)
		synctest.Wait()                                    // it is with the bus
		pending = append(pending, publish(t, p, 1, 16)...) // so these are three requests
		time.Sleep(500 * time.Millisecond)
		pending = append(pending, publish(t, p, 16, 20)...)
		wantStored(t, pending)
		want := append(idsOf(0, 3), idsOf(4, 11)...)
		want = append(want, idOf(3))
		wantIDs(t, "log", b.stored(), append(want, idsOf(11, 20)...))
	})
}
