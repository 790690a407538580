package eventlog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// TestLateSettle: an ID that was read from the log meanwhile is settled after
// everything that is remembered has aged.
func TestLateSettle(t *testing.T) {
	r := newRecent(10*time.Minute, 1<<20)
	start := time.Unix(1_700_000_000, 0)
	k := keyOf("a")
	if v, _ := r.reserve(k, 1, nil, 0); v != fresh {
		t.Fatal(v)
	}
	r.suspect(k)
	r.observe(k, []byte("x"), Position{Seq: 2}, start)
	r.settle(k, Position{Seq: 2}, start.Add(11*time.Minute))
	if n, _ := r.size(start); n != 0 {
		t.Errorf("%d IDs are remembered after their time", n)
	}
}

// TestNoOvertaking: a message that no stream took is not sent again behind the
// back of its record, for a later change of the key would overtake it.
func TestNoOvertaking(t *testing.T) {
	n := startNATS(t)
	l := testLog(t, Config{URL: n.url()})
	info, err := l.stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	here, away := info.Config, info.Config
	away.Subjects = []string{"elsewhere.>"}
	if _, err := l.js.UpdateStream(t.Context(), away); err != nil {
		t.Fatal(err)
	}
	first, err := l.Submit(t.Context(), []Entry{entry(t, "first", "DisableKey", keyARN(1))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.js.UpdateStream(t.Context(), here); err != nil {
		t.Fatal(err)
	}
	second := submit(t, l, entry(t, "second", "DisableKeyRotation", keyARN(1)))
	results, err := first.Results(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ids := stored(t, l)
	if results[0].Status == StatusStored && ids[0] != "first" || second[0].Status != StatusStored {
		t.Errorf("the first is %s, the second %s, and the log holds %v", statuses(results), statuses(second), ids)
	}
}

// TestPositionWhileStoring: nothing that was stored at t or later lies before
// the position at t, however fast records come.
func TestPositionWhileStoring(t *testing.T) {
	l := testLog(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			submit(t, l, entry(t, fmt.Sprint(i), "Decrypt", keyARN(1)))
		}
	}()
	for range 500 {
		at := time.Now()
		p, err := l.PositionAt(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		if p.Seq < 2 {
			continue
		}
		before, err := l.get(t.Context(), directGet{Batch: 1, Seq: p.Seq - 1})
		if err != nil || len(before) != 1 {
			t.Fatalf("reading before the position: %v, %v", before, err)
		}
		if before[0].Seq < p.Seq && !before[0].Stored.Before(at) {
			t.Errorf("the position at %v is %v; message %d was stored at %v", at, p, before[0].Seq, before[0].Stored)
		}
	}
	cancel()
	<-done
}

// TestRefusedForAWhile: a NATS server that refuses the bus for some time is not
// given up.
func TestRefusedForAWhile(t *testing.T) {
	n := startNATS(t)
	l := testLog(t, Config{URL: n.url()})
	n.stop()
	closed := n.opts
	closed.Username, closed.Password = "somebody", "else"
	srv, err := server.NewServer(&closed)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	tick := time.Tick(20 * time.Millisecond)
	for ; ; <-tick { // until it has refused several times
		v, err := srv.Varz(nil)
		if err != nil {
			t.Fatal(err)
		}
		if v.TotalConnections >= 4 {
			break
		}
	}
	srv.Shutdown()
	srv.WaitForShutdown()
	n.start()
	for limit := time.After(30 * time.Second); l.Ready() != nil; {
		select {
		case <-tick:
		case <-limit:
			t.Fatalf("the server takes the bus again, and the log is not ready: %v", l.Ready())
		}
	}
}

// TestWentBack replaces the log with an older copy while the bus runs.
func TestWentBack(t *testing.T) {
	n := startNATS(t)
	l := testLog(t, Config{URL: n.url()})
	submit(t, l, entry(t, "a", "Decrypt", keyARN(1)))
	n.stop()
	old := t.TempDir()
	if err := os.CopyFS(old, os.DirFS(n.opts.StoreDir)); err != nil {
		t.Fatal(err)
	}
	n.start()
	for i := range 3 {
		e := entry(t, fmt.Sprint("b", i), "Decrypt", keyARN(1))
		for submit(t, l, e)[0].Status == StatusFailed { // until the connection is back
		}
	}
	if got := stored(t, l); len(got) != 4 {
		t.Fatalf("the log holds %v", got)
	}
	cursor := l.Cursor(Position{Seq: 5})
	inc := l.Incarnation()
	n.stop()
	n.opts.StoreDir = old
	n.start()
	<-l.Lost() // also without a publish that would show it
	if err := l.Ready(); !errors.Is(err, ErrWentBack) {
		t.Errorf("Ready: %v, want ErrWentBack", err)
	}
	if _, err := l.Submit(t.Context(), []Entry{entry(t, "d", "Decrypt", keyARN(1))}); !errors.Is(err, ErrWentBack) {
		t.Errorf("Submit: %v, want ErrWentBack", err)
	}
	l.Close()
	again := testLog(t, Config{URL: n.url()})
	if _, err := ParseCursor(again.Incarnation(), cursor); again.Incarnation() == inc || !errors.Is(err, ErrOtherLog) {
		t.Errorf("a cursor of before, after a restart: %v; want it refused", err)
	}
	if err := again.Ready(); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}
