package eventlog

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// trimLog is a log of one large block, and what happens when a trim has copied it.
func trimLog(t *testing.T, copied func(*Log)) (l *Log, middle time.Time) {
	t.Helper()
	g := newGate()
	hook := func(what syncedThing, name string, sync func() error) error {
		err := g.hook(what, name, sync)
		if what == syncedFile && filepath.Base(name) == "1.blk" {
			copied(l)
		}
		return err
	}
	l = testLog(t, Config{syncHook: hook})
	large := strings.Repeat("x", 100_000)
	for i := range 40 {
		if i == 30 {
			middle = time.Now()
		}
		submit(t, l, entry(t, fmt.Sprint(i, large), "Decrypt", keyARN(i)))
	}
	return l, middle
}

// TestTrimGivenUp: a client that goes away half way does not leave half a trim.
func TestTrimGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	l, middle := trimLog(t, func(*Log) { cancel() })
	_, _, err := l.Trim(ctx, middle)
	if ctx.Err() == nil || err != nil && !errors.Is(err, context.Canceled) {
		t.Fatalf("the trim: %v", err)
	}
	info, err := l.Info(t.Context())
	if err != nil || info.First.Seq != 31 || info.Messages != 10 {
		t.Errorf("after a trim whose client is gone the log holds %d messages from %v, %v", info.Messages, info.First, err)
	}
	if got := statuses(submit(t, l, entry(t, "after", "Decrypt", keyARN(1)))); got != "stored" {
		t.Errorf("a record after it: %s", got)
	}
}

// TestTrimUnanswered: when JetStream does not say what became of a trim the log ends, and the next start does it again.
func TestTrimUnanswered(t *testing.T) {
	l, middle := trimLog(t, func(l *Log) { l.storage.conn.Close() })
	if _, _, err := l.Trim(t.Context(), middle); !errors.Is(err, ErrSync) {
		t.Errorf("the trim: %v, want ErrSync", err)
	}
	<-l.Lost()
	dir := l.cfg.Dir
	l.Close()
	l = testLog(t, Config{Dir: dir})
	if info, err := l.Info(t.Context()); err != nil || info.First.Seq != 31 || info.Messages != 10 {
		t.Errorf("after a restart the log holds %d messages from %v, %v", info.Messages, info.First, err)
	}
	if got := statuses(submit(t, l, entry(t, "after", "Decrypt", keyARN(1)))); got != "stored" {
		t.Errorf("a record after it: %s", got)
	}
}
