package eventlog

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsServer is a NATS server with a port, that can be stopped and started again.
type natsServer struct {
	t    *testing.T
	opts server.Options
	srv  *server.Server
}

func startNATS(t *testing.T) *natsServer {
	t.Helper()
	n := &natsServer{t: t, opts: server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
	}}
	n.start()
	n.opts.Port = n.srv.Addr().(*net.TCPAddr).Port
	t.Cleanup(n.stop)
	return n
}

func (n *natsServer) start() {
	n.t.Helper()
	opts := n.opts
	srv, err := server.NewServer(&opts)
	if err != nil {
		n.t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		n.t.Fatal("the NATS server does not start")
	}
	n.srv = srv
}

func (n *natsServer) stop() {
	n.srv.Shutdown()
	n.srv.WaitForShutdown()
}

func (n *natsServer) url() string { return fmt.Sprintf("nats://127.0.0.1:%d", n.opts.Port) }

func TestTwoBuses(t *testing.T) {
	n := startNATS(t)
	one, two := testLog(t, Config{URL: n.url()}), testLog(t, Config{URL: n.url()})
	if one.Incarnation() != two.Incarnation() {
		t.Fatalf("two buses of one log see incarnations %v and %v", one.Incarnation(), two.Incarnation())
	}
	// Each learns from the log what the other stored.
	seen := make(chan uint64, 10)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := two.Follow(ctx, 1, func(b *Batch) error { seen <- b.Seq; return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("follow: %v", err)
		}
	}()
	a := entry(t, "a", "Decrypt", keyARN(1))
	pos := submit(t, one, a)[0].Position
	<-seen
	if got := submit(t, two, a, entry(t, "a", "Encrypt", keyARN(1))); statuses(got) != "duplicate conflict" || got[0].Position != pos {
		t.Errorf("at the other bus: %s at %v, want duplicate conflict at %v", statuses(got), got[0].Position, pos)
	}
	cancel()
	<-ended
}

// TestOutage stops the server under load: nothing acknowledged is lost, and
// what was not can be published again, and is there once.
func TestOutage(t *testing.T) {
	n := startNATS(t)
	l := testLog(t, Config{URL: n.url(), AckTimeout: time.Second})
	const total = 3000
	acked := make(map[string]bool)
	var failed []Entry
	ctx := t.Context()
	var tickets []Ticket
	var batches [][]Entry
	for i := 0; i < total; i += 10 {
		var es []Entry
		for j := range 10 {
			es = append(es, entry(t, fmt.Sprint(i+j), "Decrypt", keyARN((i+j)%7)))
		}
		if i == total/2 {
			n.stop()
		}
		ticket, err := l.Submit(ctx, es)
		if err != nil {
			t.Fatal(err)
		}
		tickets, batches = append(tickets, ticket), append(batches, es)
	}
	for i, ticket := range tickets {
		results, err := ticket.Results(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for j, r := range results {
			if r.Status == StatusStored {
				acked[batches[i][j].Header.EventID] = true
			} else if failed = append(failed, batches[i][j]); !errors.Is(r.Err, ErrUnavailable) {
				t.Fatalf("during the outage: %v, want ErrUnavailable", r.Err)
			}
		}
	}
	if len(failed) == 0 {
		t.Fatal("nothing failed: the outage tested nothing")
	}
	if err := l.Ready(); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Ready during the outage: %v", err)
	}
	n.start()
	for len(failed) > 0 {
		var again []Entry
		for i, r := range submit(t, l, failed...) {
			if r.Status == StatusFailed {
				again = append(again, failed[i])
			} else {
				acked[failed[i].Header.EventID] = true
			}
		}
		failed = again
	}
	ids := stored(t, l)
	if slices.Sort(ids); len(slices.Compact(slices.Clone(ids))) != len(ids) {
		t.Errorf("some of %d records are stored twice", len(ids))
	}
	if len(ids) != total || len(acked) != total {
		t.Errorf("%d are stored and %d acknowledged, want %d", len(ids), len(acked), total)
	}
}

func TestForeignStreams(t *testing.T) {
	n := startNATS(t)
	nc, err := nats.Connect(n.url())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, want string
		discard    jetstream.DiscardPolicy
	}{{"OLD", "discard", jetstream.DiscardOld}, {"NEW", "not made by Keytrail", jetstream.DiscardNew}} {
		_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: tt.name, Subjects: []string{tt.name + ".>"}, Discard: tt.discard})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := openTestLog(t, Config{URL: n.url(), Stream: tt.name}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("stream %s: error %v; want it to say %q", tt.name, err, tt.want)
		}
	}
}

// TestInDoubt: a message whose acknowledgement is lost may be stored; its IDs
// stay reserved until the log knows, and then say which.
func TestInDoubt(t *testing.T) {
	l := testLog(t, Config{})
	a, b := entry(t, "a", "Decrypt", keyARN(1)), entry(t, "b", "Decrypt", keyARN(1))
	// As after a lost acknowledgement: both are on their way, a got there.
	after := l.acked.Load()
	ctx := t.Context()
	for _, e := range []Entry{a, b} {
		if v, _ := l.recent.reserve(keyOf(e.Header.EventID), l.recent.sum(e.encoded), nil, 0); v != fresh {
			t.Fatal(v)
		}
	}
	if _, err := l.js.Publish(ctx, a.subject, appendRecord(slices.Clone(batchHeader), a.encoded)); err != nil {
		t.Fatal(err)
	}
	for _, e := range []Entry{a, b} {
		l.recent.suspect(keyOf(e.Header.EventID))
	}
	for _, r := range submit(t, l, a, b) {
		if r.Status != StatusFailed || !errors.Is(r.Err, ErrUnavailable) {
			t.Errorf("in doubt: %v, %v; want to be told to try again", r.Status, r.Err)
		}
	}
	sub := &submission{entries: []Entry{a, b}, keys: []eventKey{keyOf("a"), keyOf("b")}}
	l.search(after, []*message{{items: []item{{sub, 0}, {sub, 1}}}})
	if got := statuses(submit(t, l, a, b)); got != "duplicate stored" {
		t.Errorf("once looked up: %s, want duplicate stored", got)
	}
	if got := stored(t, l); fmt.Sprint(got) != "[a b]" {
		t.Errorf("the log holds %v", got)
	}
}
