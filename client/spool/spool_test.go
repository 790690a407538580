package spool_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/keytrail/keytrail/client/spool"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

var discard = slog.New(slog.NewTextHandler(io.Discard, nil))

// keep redacts nothing.
func keep(c *keytrailv1.Call) *keytrailv1.Call { return c }

func open(t *testing.T, dir string, cfg spool.Config) *spool.Spool {
	t.Helper()
	if cfg.Redact == nil {
		cfg.Redact = keep
	}
	cfg.Logger = discard
	s, err := spool.Open(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func call(id string) *keytrailv1.Call {
	return &keytrailv1.Call{CallId: new(id), Operation: new("Decrypt"), Region: new("eu-west-1")}
}

func add(t *testing.T, s *spool.Spool, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := s.Add(call(id)); err != nil {
			t.Fatal(err)
		}
	}
}

// drain runs s until it is empty, and returns the IDs delivered.
func drain(t *testing.T, s *spool.Spool) []string {
	t.Helper()
	if s.Len() == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var ids []string
	want := s.Len()
	err := s.Run(ctx, func(_ context.Context, calls []*keytrailv1.Call) error {
		for _, c := range calls {
			ids = append(ids, c.GetCallId())
		}
		if len(ids) >= want {
			cancel() // Run still notes this batch
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("Run: %v", err)
	}
	return ids
}

func files(t *testing.T, dir, suffix string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func numbered(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("call-%04d", i)
	}
	return ids
}

func TestOrderOverReopens(t *testing.T) {
	dir := t.TempDir()
	ids := numbered(700)
	cfg := spool.Config{SegmentBytes: 2000}
	s := open(t, dir, cfg)
	add(t, s, ids[:300]...)
	s.Close()
	s = open(t, dir, cfg)
	if s.Len() != 300 {
		t.Errorf("Len = %d after a reopen, want 300", s.Len())
	}
	add(t, s, ids[300:]...)
	if got := drain(t, s); !slices.Equal(got, ids) {
		t.Errorf("delivered %d calls, want %d in their order", len(got), len(ids))
	}
	if s.Len() != 0 || s.Bytes() != 0 || len(files(t, dir, ".calls")) != 0 {
		t.Errorf("%d calls, %d bytes and the files %q are left", s.Len(), s.Bytes(), files(t, dir, ".calls"))
	}
	s.Close()
	s = open(t, dir, cfg)
	add(t, s, "later")
	if got := drain(t, s); !slices.Equal(got, []string{"later"}) {
		t.Errorf("delivered %q", got)
	}
}

// TestDeliveredIsNoted: what was delivered does not come again after a reopen,
// even from a file that holds more.
func TestDeliveredIsNoted(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, spool.Config{})
	ids := numbered(600) // three batches
	add(t, s, ids...)
	ctx, cancel := context.WithCancel(t.Context())
	var first int
	if err := s.Run(ctx, func(_ context.Context, calls []*keytrailv1.Call) error {
		first = len(calls)
		cancel()
		return nil
	}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, dir, spool.Config{})
	if s.Len() != len(ids)-first {
		t.Errorf("Len = %d, want %d", s.Len(), len(ids)-first)
	}
	if got := drain(t, s); !slices.Equal(got, ids[first:]) {
		t.Errorf("%d calls came after the reopen, want those after the first %d", len(got), first)
	}
}

func TestConcurrentAdd(t *testing.T) {
	s := open(t, t.TempDir(), spool.Config{SegmentBytes: 4000})
	const adders, each = 16, 50
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(map[string]int)
	next := make([]int, adders)
	done := make(chan error)
	go func() {
		left := adders * each
		done <- s.Run(ctx, func(_ context.Context, calls []*keytrailv1.Call) error {
			for _, c := range calls {
				var a, n int
				fmt.Sscanf(c.GetCallId(), "%d-%d", &a, &n)
				if n != next[a] {
					t.Errorf("call %d of adder %d came when %d was next", n, a, next[a])
				}
				next[a] = n + 1
				seen[c.GetCallId()]++
			}
			if left -= len(calls); left == 0 {
				cancel()
			}
			return nil
		})
	}()
	var wg sync.WaitGroup
	for a := range adders {
		wg.Go(func() {
			for n := range each {
				if err := s.Add(call(fmt.Sprintf("%d-%d", a, n))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if len(seen) != adders*each || s.Len() != 0 {
		t.Errorf("%d calls delivered, want %d; %d left", len(seen), adders*each, s.Len())
	}
}

func TestBounds(t *testing.T) {
	dir := t.TempDir()
	cfg := spool.Config{MaxBytes: 10_000, SegmentBytes: 1000}
	s := open(t, dir, cfg)
	var n int
	var err error
	for ; err == nil; n++ {
		err = s.Add(call(fmt.Sprint(n)))
	}
	if !errors.Is(err, spool.ErrFull) {
		t.Fatalf("Add = %v, want ErrFull", err)
	}
	var size int64
	for _, f := range files(t, dir, ".calls") {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size != s.Bytes() || size > cfg.MaxBytes {
		t.Errorf("files of %d bytes, Bytes() = %d, MaxBytes %d", size, s.Bytes(), cfg.MaxBytes)
	}
	if got := drain(t, s); len(got) != n-1 {
		t.Errorf("%d calls delivered, want the %d that were taken", len(got), n-1)
	}
	add(t, s, "room again")

	big := call("big")
	big.RequestParameters = make([]byte, spool.MaxCallBytes)
	if err := s.Add(big); !errors.Is(err, spool.ErrTooLarge) {
		t.Errorf("Add of a large call = %v, want ErrTooLarge", err)
	}
	bad := call("bad")
	bad.UserAgent = new("secret\xff")
	if err := s.Add(bad); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("Add of text that is not UTF-8 = %v", err)
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, spool.Config{})
	if _, err := spool.Open(dir, spool.Config{Redact: keep}); !errors.Is(err, spool.ErrInUse) {
		t.Errorf("a second Open = %v, want ErrInUse", err)
	}
	s.Close()
	if err := s.Add(call("x")); !errors.Is(err, spool.ErrClosed) {
		t.Errorf("Add after Close = %v", err)
	}
	if err := s.Run(t.Context(), nil); !errors.Is(err, spool.ErrClosed) {
		t.Errorf("Run after Close = %v", err)
	}
	_, err := spool.Open(dir, spool.Config{MaxBytes: -1, SegmentBytes: -2})
	for _, want := range []string{"Redact", "MaxBytes", "SegmentBytes"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open = %v, which does not name %s", err, want)
		}
	}
}

func TestModesAndRedaction(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	const secret = "c2VjcmV0LXBsYWludGV4dA"
	s := open(t, dir, spool.Config{Redact: func(c *keytrailv1.Call) *keytrailv1.Call {
		c = proto.CloneOf(c)
		c.RequestParameters = nil
		return c
	}})
	c := call("1")
	c.RequestParameters = []byte(`{"Plaintext":"` + secret + `"}`)
	if err := s.Add(c); err != nil {
		t.Fatal(err)
	}
	if c.RequestParameters == nil {
		t.Error("Add changed its argument")
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", e.Name(), info.Mode().Perm())
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), secret) {
			t.Errorf("%s holds the secret", e.Name())
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder has mode %o, %v", info.Mode().Perm(), err)
	}
}

// TestBackoff: a failing deliver gets the same calls again, ever later, and
// Close ends the wait.
func TestBackoff(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, dir, spool.Config{})
		add(t, s, "a", "b")
		var times []time.Time
		done := make(chan error)
		go func() {
			done <- s.Run(t.Context(), func(_ context.Context, calls []*keytrailv1.Call) error {
				if len(calls) != 2 || calls[0].GetCallId() != "a" {
					t.Errorf("%d calls, the first %q", len(calls), calls[0].GetCallId())
				}
				times = append(times, time.Now())
				return errors.New("away")
			})
		}()
		time.Sleep(10 * time.Minute) // of the bubble's time
		if err := s.Run(t.Context(), nil); !errors.Is(err, spool.ErrRunning) {
			t.Errorf("a second Run = %v", err)
		}
		s.Close()
		if err := <-done; !errors.Is(err, spool.ErrClosed) {
			t.Errorf("Run = %v, want ErrClosed", err)
		}
		if n := len(times); n < 20 || n > 60 {
			t.Errorf("%d attempts in ten minutes", n)
		}
		if d := times[1].Sub(times[0]); d > 100*time.Millisecond {
			t.Errorf("the second attempt came after %s", d)
		}
		if d := times[len(times)-1].Sub(times[len(times)-2]); d < 15*time.Second || d > 30*time.Second {
			t.Errorf("the last attempt came after %s", d)
		}
	})
}
