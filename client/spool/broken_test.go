package spool

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"testing"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

type storedResult struct{}

func (storedResult) Result(context.Context) (*keytrailv1.PublishResult, error) {
	return &keytrailv1.PublishResult{Status: keytrailv1.PublishStatus_PUBLISH_STATUS_STORED}, nil
}

// TestFlushFails: calls that could not be flushed do not count as spooled, so
// that a sink goes on with the bus once it has delivered the others.
func TestFlushFails(t *testing.T) {
	s, err := Open(t.TempDir(), Config{Redact: func(c *keytrailv1.Call) *keytrailv1.Call { return c }, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Add(&keytrailv1.Call{CallId: new("a")}); err != nil {
		t.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0) // takes writes, and no flush
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	disk := s.active
	s.active = null
	s.mu.Unlock()
	defer disk.Close()
	if err := s.Add(&keytrailv1.Call{CallId: new("b")}); err == nil {
		t.Fatal("flushed to /dev/null")
	}
	if n := s.Len(); n != 1 {
		t.Errorf("Len = %d, want 1", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = s.Run(ctx, func(_ context.Context, calls []*keytrailv1.Call) error {
		if len(calls) != 1 || calls[0].GetCallId() != "a" {
			t.Errorf("delivered %v", calls)
		}
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) || s.Len() != 0 {
		t.Errorf("Run = %v, Len = %d", err, s.Len())
	}
	f, err := NewFailOpen(FailOpenConfig{Spool: s, Publish: func(context.Context, *keytrailv1.Call) (Pending, error) { return storedResult{}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Record(t.Context(), &keytrailv1.Call{CallId: new("c")}); err != nil {
		t.Errorf("with a bus that answers: %v", err)
	}
}
