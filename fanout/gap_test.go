package fanout_test

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/keytrail/keytrail/eventlog"
	"github.com/keytrail/keytrail/fanout"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/encoding/protowire"
)

// TestUnreadable puts a message of a newer format into the log, as a newer bus
// on the same NATS server would.
func TestUnreadable(t *testing.T) {
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	defer srv.WaitForShutdown()
	defer srv.Shutdown()
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	log, err := eventlog.Open(t.Context(), eventlog.Config{URL: srv.ClientURL()})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	b := &bench{tb: t, log: log}
	b.start(fanout.Config{})
	defer b.hub.Close()
	nc, err := nats.Connect(srv.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()

	live := follow(t, b.subscribe(fanout.Options{Filter: events(t, "Encrypt")}))
	live.untilHead()
	b.publish("Encrypt", 1)
	live.until(1)
	newer := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 99)
	if _, err := nc.Request("kms.1.r.-.Decrypt", newer, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	b.publish("Encrypt", 1)
	live.until(2)
	late := follow(t, b.subscribe(fanout.Options{Start: fanout.Earliest()}))
	late.until(2)
	want := fanout.Gap{From: eventlog.Position{Seq: 2}, To: eventlog.Position{Seq: 3}, Reason: fanout.Unreadable}
	for name, f := range map[string]*follower{"live": live, "late": late} {
		if len(f.gaps) != 1 || *f.gaps[0] != want {
			t.Errorf("%s: gaps %v, want %v", name, f.gaps, want)
		}
	}
}

// TestExpired: what the log's retention has removed is a gap, with that reason.
func TestExpired(t *testing.T) {
	logger := slog.New(slog.DiscardHandler)
	log, err := eventlog.Open(t.Context(), eventlog.Config{Dir: t.TempDir(), Logger: logger, MaxAge: 200 * time.Millisecond, DiskReserve: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(log.Close)
	b := &bench{tb: t, log: log}
	b.start(fanout.Config{HistoryBytes: 1, Logger: logger})
	b.publish("Decrypt", 3)
	for tick := time.Tick(10 * time.Millisecond); ; <-tick {
		info, err := log.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if info.First.Seq == 2 {
			break
		}
	}
	start := fanout.After(eventlog.Position{Seq: 1})
	var expired *fanout.ExpiredError
	if _, err := b.hub.Subscribe(t.Context(), fanout.Options{Filter: events(t), Start: start, CheckpointInterval: time.Hour}); !errors.As(err, &expired) || expired.Earliest.Seq != 2 {
		t.Errorf("a start that has expired: %v", err)
	}
	f := follow(t, b.subscribe(fanout.Options{Start: start, AllowGap: true}))
	f.untilHead()
	want := fanout.Gap{From: eventlog.Position{Seq: 1}, To: eventlog.Position{Seq: 2}, Reason: fanout.Expired}
	if len(f.gaps) != 1 || *f.gaps[0] != want || len(f.ids) != 0 {
		t.Errorf("gaps %v and records %v, want %v", f.gaps, f.ids, want)
	}
}

// TestManyGaps: gaps count in a queue, which is bounded.
func TestManyGaps(t *testing.T) {
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	defer srv.WaitForShutdown()
	defer srv.Shutdown()
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	log, err := eventlog.Open(t.Context(), eventlog.Config{URL: srv.ClientURL()})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	registry := prometheus.NewRegistry()
	b := &bench{tb: t, log: log}
	b.start(fanout.Config{QueueBytes: 10_000, Registerer: registry})
	defer b.hub.Close()
	slow := follow(t, b.subscribe(fanout.Options{}))
	slow.untilHead()
	nc, err := nats.Connect(srv.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	newer := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 99)
	const many = 1000
	for range many {
		if _, err := nc.Request("kms.1.r.-.Decrypt", newer, 10*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	watch := follow(t, b.subscribe(fanout.Options{}))
	watch.untilHead() // so the hub has offered all of them
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	behind := 0.0
	for _, f := range families {
		if f.GetName() == "keytrail_hub_fell_behind_total" {
			behind = f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	if behind == 0 {
		t.Error("a queue of 10,000 bytes took 1,000 gaps")
	}
	for len(slow.gaps) < many {
		slow.next(t.Context())
	}
	for i, g := range slow.gaps {
		if want := uint64(i + 1); g.From.Seq != want || g.To.Seq != want+1 || g.Reason != fanout.Unreadable {
			t.Fatalf("gap %d is %v", i, g)
		}
	}
}
