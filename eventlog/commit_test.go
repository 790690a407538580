package eventlog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// gate is a syncHook that lets syncs through one at a time, or fails them.
type gate struct {
	mu     sync.Mutex
	shut   chan struct{}            // syncs wait until it is closed; nil: they go on; guarded by mu
	fail   map[syncedThing]error    // guarded by mu
	synced map[syncedThing][]string // names of what was synced; guarded by mu
	asked  chan syncedThing         // told before a sync waits
}

func newGate() *gate {
	return &gate{synced: make(map[syncedThing][]string), asked: make(chan syncedThing, 1000)}
}

func (g *gate) hook(what syncedThing, name string, sync func() error) error {
	g.mu.Lock()
	shut, err := g.shut, g.fail[what]
	g.mu.Unlock()
	if shut != nil {
		g.asked <- what
		<-shut
	}
	if err != nil {
		return err
	}
	err = sync()
	g.mu.Lock()
	defer g.mu.Unlock()
	if err == nil {
		g.synced[what] = append(g.synced[what], filepath.Base(name))
	}
	return err
}

// close makes syncs wait until the function that it returns is called.
func (g *gate) close() (open func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	shut := make(chan struct{})
	g.shut = shut
	return sync.OnceFunc(func() {
		g.mu.Lock()
		g.shut = nil
		g.mu.Unlock()
		close(shut)
	})
}

func (g *gate) failing(what syncedThing, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fail = map[syncedThing]error{what: err}
}

// since returns what was synced since the last call.
func (g *gate) since() map[syncedThing][]string {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := g.synced
	g.synced = make(map[syncedThing][]string)
	return out
}

// TestCommit: a record has no result, and nobody reads it, before it is synced.
func TestCommit(t *testing.T) {
	g := newGate()
	l := testLog(t, Config{syncHook: g.hook})
	if got := l.Durability().String(); got != "SYNCED" {
		t.Errorf("the log promises %s", got)
	}
	submit(t, l, entry(t, "a", "Decrypt", keyARN(1)))
	before := time.Now()

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	followed := make(chan uint64, 10)
	ended := make(chan error, 1)
	go func() {
		ended <- l.Follow(ctx, 1, func(b *Batch) error { followed <- b.Seq; return nil })
	}()
	if seq := <-followed; seq != 1 {
		t.Fatalf("followed message %d first", seq)
	}

	open := g.close()
	defer open()
	ticket, err := l.Submit(t.Context(), []Entry{entry(t, "b", "Decrypt", keyARN(2))})
	if err != nil {
		t.Fatal(err)
	}
	for <-g.asked != syncedBlock {
	}
	// It is in JetStream now, and waits for its sync.
	raw, err := l.read(t.Context(), 1)
	if err != nil || len(raw) != 2 {
		t.Fatalf("JetStream has %d messages, %v", len(raw), err)
	}
	if got := stored(t, l); len(got) != 1 {
		t.Errorf("before the sync readers see %v", got)
	}
	if chunk, err := l.ReadSubject(t.Context(), 1, "kms.*.*."+keyARN(2)+".*"); err != nil || len(chunk) != 0 {
		t.Errorf("before the sync readers of its key see %d messages, %v", len(chunk), err)
	}
	info, err := l.Info(t.Context())
	if err != nil || info.Head.Seq != 2 || !info.LastTime.Equal(raw[0].Stored) {
		t.Errorf("before the sync the log ends at %v, %v, %v", info.Head, info.LastTime, err)
	}
	for _, at := range []time.Time{before, before.Add(time.Hour)} {
		if p, err := l.PositionAt(t.Context(), at); err != nil || p.Seq != 2 {
			t.Errorf("before the sync the position at %v is %v, %v", at, p, err)
		}
	}
	select {
	case <-ticket.Done():
		t.Error("acknowledged before the sync")
	case seq := <-followed:
		t.Errorf("followed message %d before its sync", seq)
	default:
	}

	open()
	results, err := ticket.Results(t.Context())
	if err != nil || statuses(results) != "stored" {
		t.Fatalf("after the sync: %v, %v", results, err)
	}
	if seq := <-followed; seq != 2 {
		t.Errorf("followed message %d after the sync", seq)
	}
	if got := stored(t, l); len(got) != 2 {
		t.Errorf("after the sync readers see %v", got)
	}
	cancel()
	<-ended
}

// TestCommitsShare: records that come while a sync is running are synced together by the next.
func TestCommitsShare(t *testing.T) {
	g := newGate()
	l := testLog(t, Config{syncHook: g.hook})
	submit(t, l, entry(t, "first", "Decrypt", keyARN(1)))
	open := g.close()
	defer open()
	g.since()
	var tickets []Ticket
	for i := range 100 {
		ticket, err := l.Submit(t.Context(), []Entry{entry(t, fmt.Sprint(i), "Decrypt", keyARN(i))})
		if err != nil {
			t.Fatal(err)
		}
		tickets = append(tickets, ticket)
		if i == 0 {
			for <-g.asked != syncedBlock {
			}
		}
	}
	open()
	for _, ticket := range tickets {
		if results, err := ticket.Results(t.Context()); err != nil || statuses(results) != "stored" {
			t.Fatal(results, err)
		}
	}
	// One for the first record, one for those that filled the second window, and one for the rest.
	if n := len(g.since()[syncedBlock]); n > 4 {
		t.Errorf("100 records took %d syncs", n)
	}
}

// TestRolledBlocks: a commit syncs each block that it has touched, and the folder for the new ones.
func TestRolledBlocks(t *testing.T) {
	g := newGate()
	l := testLog(t, Config{MaxBytes: 100_000, syncHook: g.hook}) // so that blocks hold 32 kB
	submit(t, l, entry(t, "a", "Decrypt", keyARN(1)))
	g.since()
	submit(t, l, entry(t, "b", "Decrypt", keyARN(1)))
	if got := g.since(); fmt.Sprint(got[syncedBlock]) != "[1.blk]" || len(got[syncedFolder]) != 0 {
		t.Errorf("a record in the same block synced %v", got)
	}
	var entries []Entry
	for i := range 4 {
		entries = append(entries, entry(t, fmt.Sprint(i, strings.Repeat("x", 15_000)), "Decrypt", keyARN(i)))
	}
	submit(t, l, entries...)
	if got := g.since(); fmt.Sprint(got[syncedBlock]) != "[1.blk 2.blk]" || fmt.Sprint(got[syncedFolder]) != "[msgs]" {
		t.Errorf("records that reach into another block synced %v, want both blocks and their folder", got)
	}
	submit(t, l, entry(t, "c", "Decrypt", keyARN(1)))
	if got := g.since(); fmt.Sprint(got[syncedBlock]) != "[2.blk]" || len(got[syncedFolder]) != 0 {
		t.Errorf("a record in the new block synced %v", got)
	}
	// Another file under the same name.
	name := l.disk.block(2)
	data, err := os.ReadFile(name)
	if err == nil {
		err = errors.Join(os.WriteFile(name+".new", data, 0o600), os.Rename(name+".new", name))
	}
	if err != nil {
		t.Fatal(err)
	}
	submit(t, l, entry(t, "d", "Decrypt", keyARN(1)))
	if got := g.since(); fmt.Sprint(got[syncedFolder]) != "[msgs]" {
		t.Errorf("a block that was replaced synced %v, want its folder as well", got)
	}
}

// TestSyncFails: after a failed sync nothing is acknowledged, the log ends, and the next start reads it anew.
func TestSyncFails(t *testing.T) {
	for _, what := range []syncedThing{syncedBlock, syncedMark} {
		t.Run(string(what), func(t *testing.T) {
			g := newGate()
			dir := t.TempDir()
			l := testLog(t, Config{Dir: dir, syncHook: g.hook})
			a, b := entry(t, "a", "Decrypt", keyARN(1)), entry(t, "b", "Decrypt", keyARN(1))
			first := submit(t, l, a)
			g.failing(what, syscall.EIO)
			if r := submit(t, l, b)[0]; r.Status != StatusFailed || !errors.Is(r.Err, ErrSync) {
				t.Errorf("with a failing disk: %v", r)
			}
			<-l.Lost()
			if _, err := l.Submit(t.Context(), []Entry{a}); !errors.Is(err, ErrSync) {
				t.Errorf("submitting then: %v", err)
			}
			if err := l.Ready(); !errors.Is(err, ErrSync) || !errors.Is(err, syscall.EIO) {
				t.Errorf("Ready: %v", err)
			}
			if err := l.Follow(t.Context(), 2, func(*Batch) error { return errors.New("delivered") }); !errors.Is(err, ErrSync) {
				t.Errorf("following what was not synced: %v", err)
			}
			g.failing(what, nil)
			l.Close()

			l = testLog(t, Config{Dir: dir})
			if got := stored(t, l); got[0] != "a" {
				t.Errorf("after a restart the log holds %v", got)
			}
			if got := submit(t, l, a, b); got[0].Position != first[0].Position || got[1].Status == StatusFailed {
				t.Errorf("after a restart: %v", got)
			}
		})
	}
}

// TestUnsynced: by choice a log syncs nothing by itself, and says so.
func TestUnsynced(t *testing.T) {
	g := newGate()
	l := testLog(t, Config{Unsynced: true, syncHook: g.hook})
	if got := l.Durability().String(); got != "STORED" {
		t.Errorf("the log promises %s", got)
	}
	g.since()
	if got := statuses(submit(t, l, entry(t, "a", "Decrypt", keyARN(1)))); got != "stored" {
		t.Error(got)
	}
	if got := g.since(); len(got) != 0 {
		t.Errorf("it synced %v", got)
	}
	if got := stored(t, l); len(got) != 1 {
		t.Errorf("readers see %v", got)
	}
}

// TestServerSyncs: what an external server does is what its operator says.
func TestServerSyncs(t *testing.T) {
	n := startNATS(t)
	for _, tt := range []struct {
		syncs bool
		want  string
	}{{false, "STORED"}, {true, "SYNCED"}} {
		l := testLog(t, Config{URL: n.url(), ServerSyncs: tt.syncs})
		if got := l.Durability().String(); got != tt.want {
			t.Errorf("with ServerSyncs %v the log promises %s, want %s", tt.syncs, got, tt.want)
		}
		l.Close()
	}
	if got := (Durability{Replicated: true, Synced: true}).String(); got != "REPLICATED and SYNCED" {
		t.Errorf("both: %s", got)
	}
}

// TestRollDuringCommit: what was written to a block after its sync, and before there is a newer one, is synced by the next commit.
func TestRollDuringCommit(t *testing.T) {
	g := newGate()
	var l *Log
	var armed atomic.Bool
	l = testLog(t, Config{MaxBytes: 100_000, syncHook: func(what syncedThing, name string, sync func() error) error { // blocks of 32 kB
		err := g.hook(what, name, sync)
		if what == syncedBlock && armed.CompareAndSwap(true, false) {
			for range 3 {
				if _, err := l.js.Publish(t.Context(), "kms.1.r.-.Decrypt", make([]byte, 15_000)); err != nil {
					t.Error(err)
				}
			}
		}
		return err
	}})
	submit(t, l, entry(t, "a", "Decrypt", keyARN(1)))
	armed.Store(true)
	submit(t, l, entry(t, "b", "Decrypt", keyARN(1)))
	if _, err := os.Stat(l.disk.block(2)); err != nil {
		t.Fatal(err)
	}
	g.since()
	submit(t, l, entry(t, "c", "Decrypt", keyARN(1)))
	if got := g.since()[syncedBlock]; fmt.Sprint(got) != "[1.blk 2.blk]" {
		t.Errorf("the commit after a roll synced %v, want both blocks", got)
	}
}

// TestDelay: a log whose disk is slow says so while it is, and afterwards no longer.
func TestDelay(t *testing.T) {
	g := newGate()
	l := testLog(t, Config{syncHook: g.hook})
	const long = 300 * time.Millisecond
	for i := 0; l.Delay() >= long; i++ { // on a slow machine
		submit(t, l, entry(t, fmt.Sprint("before", i), "Decrypt", keyARN(1)))
	}
	open := g.close()
	defer open()
	ticket, err := l.Submit(t.Context(), []Entry{entry(t, "a", "Decrypt", keyARN(1))})
	if err != nil {
		t.Fatal(err)
	}
	tick := time.Tick(10 * time.Millisecond)
	for l.Delay() < 10*long { // while the record is on its way
		<-tick
	}
	open()
	<-ticket.Done()
	for i := 0; l.Delay() >= long; i++ {
		submit(t, l, entry(t, fmt.Sprint("after", i), "Decrypt", keyARN(1)))
	}
}

// TestNoSyncs: a file system that can't sync is good enough for an unsynced log only.
func TestNoSyncs(t *testing.T) {
	g := newGate()
	g.failing(syncedFolder, syscall.EINVAL)
	if _, err := openTestLog(t, Config{syncHook: g.hook}); !errors.Is(err, ErrSync) || !strings.Contains(err.Error(), "--log-unsynced") {
		t.Errorf("opened with %v", err)
	}
	l := testLog(t, Config{Unsynced: true, syncHook: g.hook})
	if got := statuses(submit(t, l, entry(t, "a", "Decrypt", keyARN(1)))); got != "stored" {
		t.Error(got)
	}
}
