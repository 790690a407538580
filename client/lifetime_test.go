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
)

func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		b.before = func(int, *keytrailv1.PublishStreamRequest) error {
			time.Sleep(time.Second)
			return nil
		}
		p := newPublisher(t, b.client(), PublisherConfig{FlushAfter: time.Hour})
		flushed(t, p) // nothing
		start := time.Now()
		pending := publish(t, p, 0, 1)
		synctest.Wait()
		pending = append(pending, publish(t, p, 1, 10)...) // would wait an hour
		done := make(chan struct{})
		go func() {
			defer close(done)
			flushed(t, p)
		}()
		synctest.Wait()
		publish(t, p, 10, 20) // after the call: not waited for
		<-done
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("Flush took %s", took)
		}
		for _, x := range pending {
			<-x.Done()
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := p.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Flush with little time: %v", err)
		}
	})
}

func TestCloseFlushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		p := newPublisher(t, b.client(), PublisherConfig{})
		pending := publish(t, p, 0, 1200)
		start := time.Now()
		if err := p.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
		if took := time.Since(start); took > 10*time.Millisecond {
			t.Errorf("Close took %s", took)
		}
		wantStored(t, pending)
		if _, err := p.Publish(t.Context(), rec(0)); !errors.Is(err, ErrClosed) {
			t.Errorf("Publish after Close: %v", err)
		}
		if err := p.Close(t.Context()); err != nil {
			t.Errorf("second Close: %v", err)
		}
		flushed(t, p)
	})
}

func TestCloseUnused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(t, newBus(t).client(), PublisherConfig{})
		synctest.Wait()
		if err := p.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

// A bus that does not end a half-closed stream does not hold up Close.
func TestCloseGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		b.lingers = true
		p := newPublisher(t, b.client(), PublisherConfig{})
		wantStored(t, publish(t, p, 0, 1))
		start := time.Now()
		if err := p.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
		if took := time.Since(start); took != closeGrace {
			t.Errorf("Close took %s", took)
		}
	})
}

// Close in an outage ends with its context and says what is left.
func TestCloseInOutage(t *testing.T) {
	tests := map[string]func(b *bus){
		"bus away":   func(b *bus) { b.cut(true) },
		"bus silent": func(b *bus) { b.window = amount{} },
		"no answers": func(b *bus) {
			b.before = func(int, *keytrailv1.PublishStreamRequest) error { return errHang }
		},
		"failing": func(b *bus) {
			b.before = func(int, *keytrailv1.PublishStreamRequest) error { return status.Error(codes.Unavailable, "no") }
		},
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBus(t)
				spoil(b)
				p := newPublisher(t, b.client(), PublisherConfig{BatchRecords: 10})
				pending := publish(t, p, 0, 25)
				called := 0
				for i := 25; i < 30; i++ {
					if err := p.PublishFunc(t.Context(), rec(i), func(x *Pending) {
						if _, err := x.Result(context.Background()); !errors.Is(err, ErrClosed) {
							t.Errorf("callback: %v", err)
						}
						called++
					}); err != nil {
						t.Fatal(err)
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				start := time.Now()
				err := p.Close(ctx)
				if took := time.Since(start); took != 3*time.Second {
					t.Errorf("Close took %s", took)
				}
				var left *UnansweredError
				if !errors.As(err, &left) || left.Records != 30 {
					t.Errorf("Close: %v", err)
				}
				for i, x := range pending {
					if _, err := x.Result(t.Context()); !errors.Is(err, ErrClosed) {
						t.Errorf("record %d: %v", i, err)
					}
				}
				if called != 5 {
					t.Errorf("%d callbacks", called)
				}
			})
		})
	}
}

// Publish that waits for room learns of Close.
func TestCloseWhilePublishWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		b.cut(true)
		p := newPublisher(t, b.client(), PublisherConfig{MaxPending: 1})
		publish(t, p, 0, 1)
		got := make(chan error)
		go func() {
			_, err := p.Publish(t.Context(), rec(1))
			got <- err
		}()
		synctest.Wait()
		start := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			p.Close(ctx)
		})
		if err := <-got; !errors.Is(err, ErrClosed) || time.Since(start) > 0 {
			t.Errorf("Publish: %v after %s", err, time.Since(start))
		}
		wg.Wait()
	})
}

// RetryFor ends records in an outage of any kind, and what comes after it goes
// through.
func TestGaveUp(t *testing.T) {
	tests := []struct {
		name   string
		spoil  func(b *bus)
		within time.Duration
		code   codes.Code // of the failure that is wrapped; Unknown: none
	}{
		{"bus away", func(b *bus) { b.cut(true) }, 10 * time.Second, codes.Unavailable},
		{"no credit", func(b *bus) { b.window = amount{} }, 10 * time.Second, codes.Unknown},
		{"failing", func(b *bus) {
			b.before = func(int, *keytrailv1.PublishStreamRequest) error { return status.Error(codes.Unavailable, "no") }
		}, 10 * time.Second, codes.Unavailable},
		{"told to wait for longer", func(b *bus) {
			b.before = func(int, *keytrailv1.PublishStreamRequest) error { return later(codes.Unavailable, time.Hour) }
		}, 10 * time.Second, codes.Unavailable},
		{"not stored", func(b *bus) {
			b.judge = func(*keytrailv1.Record) *keytrailv1.PublishResult {
				return &keytrailv1.PublishResult{Status: keytrailv1.PublishStatus_PUBLISH_STATUS_NOT_STORED}
			}
		}, 10 * time.Second, codes.Unknown},
		{"no answers", func(b *bus) {
			b.before = func(int, *keytrailv1.PublishStreamRequest) error { return errHang }
		}, 20 * time.Second, codes.Unknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBus(t)
				tt.spoil(b)
				p := newPublisher(t, b.client(), PublisherConfig{RetryFor: 10 * time.Second})
				start := time.Now()
				for i, x := range publish(t, p, 0, 3) {
					_, err := x.Result(t.Context())
					if !errors.Is(err, ErrGaveUp) || tt.code != codes.Unknown && status.Code(err) != tt.code {
						t.Errorf("record %d: %v", i, err)
					}
				}
				if took := time.Since(start); took < 10*time.Second || took > tt.within {
					t.Errorf("gave up after %s, want %s", took, tt.within)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				p.Close(ctx)
			})
		})
	}
}

// An outage that is shorter than RetryFor loses nothing, and a negative
// RetryFor bridges any.
func TestOutage(t *testing.T) {
	for _, tt := range []struct{ retryFor, outage time.Duration }{
		{0, 50 * time.Second}, {-1, 3 * time.Hour},
	} {
		t.Run(tt.outage.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBus(t)
				var states []State
				p := newPublisher(t, b.client(), PublisherConfig{
					RetryFor: tt.retryFor,
					OnState: func(s State, err error) {
						if (s == StateReconnecting) != (err != nil) {
							t.Errorf("%s with %v", s, err)
						}
						if len(states) == 0 || states[len(states)-1] != s {
							states = append(states, s)
						}
					},
				})
				wantStored(t, publish(t, p, 0, 10))
				b.cut(true)
				pending := publish(t, p, 10, 100)
				time.Sleep(tt.outage)
				b.up()
				wantStored(t, pending)
				wantIDs(t, "log", b.stored(), idsOf(0, 100))
				if fmt.Sprint(states) != "[connected reconnecting connected]" {
					t.Errorf("states %v", states)
				}

				// Back-off starts anew after an outage.
				b.cut(false)
				start := time.Now()
				wantStored(t, publish(t, p, 100, 101))
				if took := time.Since(start); took > minBackoff {
					t.Errorf("reconnected after %s", took)
				}
			})
		})
	}
}

// A stream that goes silent is opened anew.
func TestStalledStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		hang := once(errHang)
		b.before = func(n int, _ *keytrailv1.PublishStreamRequest) error {
			if n == 1 {
				return nil
			}
			return hang()
		}
		p := newPublisher(t, b.client(), PublisherConfig{RetryFor: -1})
		wantStored(t, publish(t, p, 0, 1))
		time.Sleep(time.Hour) // an idle stream is not a silent one
		start := time.Now()
		wantStored(t, publish(t, p, 1, 10))
		if took := time.Since(start); took < time.Minute || took > 61*time.Second {
			t.Errorf("took %s", took)
		}
		if b.streams != 2 {
			t.Errorf("%d streams", b.streams)
		}
	})
}

// Answers that make no sense are errors, never results.
func TestSenselessAnswers(t *testing.T) {
	for name, spoil := range map[string]func(*keytrailv1.PublishResults){
		"another number":  func(r *keytrailv1.PublishResults) { r.Number++ },
		"too few results": func(r *keytrailv1.PublishResults) { r.Results = r.Results[1:] },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBus(t)
				b.answer = spoil
				p := newPublisher(t, b.client(), PublisherConfig{})
				if result, err := p.PublishWait(t.Context(), rec(0)); err == nil {
					t.Errorf("result %v", result)
				}
			})
		})
	}
}

// A closed client ends records at once instead of after RetryFor.
func TestClientClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		c := b.client()
		p := newPublisher(t, c, PublisherConfig{})
		wantStored(t, publish(t, p, 0, 1))
		sub := subscribe(t, c, SubscriptionConfig{Start: Earliest()})
		take(t, sub, 1)
		c.Close()
		start := time.Now()
		if _, err := p.PublishWait(t.Context(), rec(1)); err == nil {
			t.Error("published through a closed client")
		}
		for _, err := range sub.Events(t.Context()) {
			if err != nil && status.Code(err) != codes.Canceled {
				t.Errorf("subscription: %v", err)
			}
		}
		if took := time.Since(start); took > maxBackoff {
			t.Errorf("took %s", took)
		}
	})
}

func TestPublisherConfig(t *testing.T) {
	c, err := New("localhost:1")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tests := map[string]PublisherConfig{
		"BatchRecords":                     {BatchRecords: 1001},
		"BatchBytes":                       {BatchBytes: 4<<20 + 1},
		"MaxPending 5 is":                  {BatchRecords: 6, MaxPending: 5},
		"MaxPendingBytes 5 is":             {BatchBytes: 6, MaxPendingBytes: 5},
		"durability 9":                     {Require: 9},
		"BatchRecords -1 is not 1 to 1000": {BatchRecords: -1, Require: 9},
	}
	for want, cfg := range tests {
		if p, err := c.NewPublisher(cfg); err == nil {
			p.Close(t.Context())
			t.Errorf("%+v is taken", cfg)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}
