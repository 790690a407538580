package spool_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keytrail/keytrail/client/spool"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// result is a Pending that is done, or never is.
type result struct {
	status keytrailv1.PublishStatus // 0: never
	err    error
}

func (r result) Result(ctx context.Context) (*keytrailv1.PublishResult, error) {
	if r.err != nil {
		return nil, r.err
	}
	if r.status == 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &keytrailv1.PublishResult{Status: r.status, Rejection: &keytrailv1.Rejection{Field: "keys[0].arn", Message: "is not an ARN"}}, nil
}

const (
	synced    = keytrailv1.PublishStatus_PUBLISH_STATUS_SYNCED
	duplicate = keytrailv1.PublishStatus_PUBLISH_STATUS_DUPLICATE
	rejected  = keytrailv1.PublishStatus_PUBLISH_STATUS_REJECTED
	conflict  = keytrailv1.PublishStatus_PUBLISH_STATUS_CONFLICT
	notStored = keytrailv1.PublishStatus_PUBLISH_STATUS_NOT_STORED
)

// bus is the other side of Publish.
type bus struct {
	mu    sync.Mutex // guards what follows
	next  result
	err   error
	calls []string
}

// set makes next what the bus says, and returns the calls that came before.
func (b *bus) set(next result) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	calls := b.calls
	b.next, b.calls = next, nil
	return calls
}

func (b *bus) publish(_ context.Context, c *keytrailv1.Call) (result, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, c.GetCallId())
	if c.GetOperation() == "Bad" {
		return result{status: rejected}, nil
	}
	return b.next, b.err
}

func TestFailClosed(t *testing.T) {
	away := errors.New("away")
	for _, tt := range []struct {
		name    string
		bus     *bus
		ok      bool
		refused bool
	}{
		{"synced", &bus{next: result{status: synced}}, true, false},
		{"duplicate", &bus{next: result{status: duplicate}}, true, false},
		{"rejected", &bus{next: result{status: rejected}}, false, true},
		{"conflict", &bus{next: result{status: conflict}}, false, true},
		{"not stored", &bus{next: result{status: notStored}}, false, false},
		{"an error", &bus{next: result{err: away}}, false, false},
		{"not taken", &bus{err: away}, false, false},
		{"no answer", &bus{}, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				err := spool.FailClosed{Publish: spool.Via(tt.bus.publish)}.Record(t.Context(), call("1"))
				if (err == nil) != tt.ok {
					t.Errorf("Record = %v", err)
				}
				var refused *spool.RefusedError
				if errors.As(err, &refused) != tt.refused {
					t.Errorf("Record = %v, a RefusedError: %v", err, !tt.refused)
				}
				if tt.refused && !strings.Contains(err.Error(), "keys[0].arn: is not an ARN") {
					t.Errorf("Record = %v, which does not say why", err)
				}
				if d := time.Since(start); d > spool.DefaultWait {
					t.Errorf("it took %s", d)
				}
			})
		})
	}
}

// TestFailOpen goes through an outage: calls are spooled, without a deadline
// each, and delivered in order before newer ones go to the bus.
func TestFailOpen(t *testing.T) {
	dir, refusedDir := t.TempDir(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, dir, spool.Config{})
		aside := open(t, refusedDir, spool.Config{})
		b := new(bus)
		b.set(result{status: synced})
		f, err := spool.NewFailOpen(spool.FailOpenConfig{Publish: spool.Via(b.publish), Spool: s, Refused: aside, Logger: discard})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		record := func(id, operation string, toSpool bool) {
			t.Helper()
			c := call(id)
			c.Operation = new(operation)
			if spooled, err := f.RecordOrSpool(t.Context(), c); err != nil || spooled != toSpool {
				t.Errorf("RecordOrSpool: %v, %v", spooled, err)
			}
		}

		record("direct", "Decrypt", false)
		// From here on the bus takes calls and says nothing.
		if calls := b.set(result{}); s.Len() != 0 || len(calls) != 1 {
			t.Fatalf("%d spooled, published %q", s.Len(), calls)
		}
		start := time.Now()
		record("a", "Decrypt", true)
		if d := time.Since(start); d != spool.DefaultWait {
			t.Errorf("the first call of an outage took %s", d)
		}
		record("b", "Bad", true)
		record("c", "Decrypt", true)
		if d := time.Since(start); d != spool.DefaultWait {
			t.Errorf("the next ones took %s more", d-spool.DefaultWait)
		}
		if s.Len() != 3 {
			t.Errorf("%d spooled, want 3", s.Len())
		}

		b.set(result{status: duplicate})
		time.Sleep(5 * time.Minute) // of the bubble's time
		if s.Len() != 0 || f.Refused() != 1 || aside.Len() != 1 {
			t.Errorf("%d spooled, %d refused, %d put aside", s.Len(), f.Refused(), aside.Len())
		}
		calls := b.set(result{status: synced})
		if n := len(calls); n < 3 || !slices.Equal(calls[n-3:], []string{"a", "b", "c"}) {
			t.Errorf("delivered %q", calls)
		}
		record("d", "Decrypt", false)
		if calls := b.set(result{status: synced}); !slices.Equal(calls, []string{"d"}) {
			t.Errorf("published %q", calls)
		}

		// What the bus refuses at once is no outage.
		bad := call("e")
		bad.Operation = new("Bad")
		var refused *spool.RefusedError
		if err := f.Record(t.Context(), bad); !errors.As(err, &refused) || s.Len() != 0 {
			t.Errorf("Record = %v, %d spooled", err, s.Len())
		}
	})
}

func TestFailOpenFull(t *testing.T) {
	s := open(t, t.TempDir(), spool.Config{MaxBytes: 200})
	away := errors.New("away")
	f, err := spool.NewFailOpen(spool.FailOpenConfig{
		Publish: func(context.Context, *keytrailv1.Call) (spool.Pending, error) { return nil, away },
		Spool:   s,
		Logger:  discard,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for n := range 100 {
		if err := f.Record(t.Context(), call(fmt.Sprint(n))); err != nil {
			if !errors.Is(err, spool.ErrFull) || n == 0 {
				t.Errorf("Record %d = %v, want ErrFull", n, err)
			}
			return
		}
	}
	t.Error("never full")
}

func TestFailOpenConfig(t *testing.T) {
	_, err := spool.NewFailOpen(spool.FailOpenConfig{Wait: -1})
	for _, want := range []string{"Publish", "Spool", "Wait"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("NewFailOpen = %v, which does not name %s", err, want)
		}
	}
}
