package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keytrail/keytrail/client"
	"github.com/keytrail/keytrail/internal/needs"
	"github.com/keytrail/keytrail/internal/powerloss"
	"github.com/keytrail/keytrail/internal/sample"
	"github.com/keytrail/keytrail/record"
)

// publishSample publishes n sample records; another seed, other records.
func publishSample(t *testing.T, b *bus, n int, seed uint64) {
	t.Helper()
	gen := sample.New(sample.Config{Seed: seed})
	var text []byte
	for range n {
		var err error
		if text, err = record.AppendJSON(text, gen.Next()); err != nil {
			t.Fatal(err)
		}
		text = append(text, '\n')
	}
	path := filepath.Join(t.TempDir(), "sample.jsonl")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := must(t, 0, "bus", "publish", b.to, path); r.out != fmt.Sprintf("published=%d duplicate=0 rejected=0\n", n) {
		t.Fatalf("publish says %q", r.out)
	}
}

// crashRounds is how often TestCrash kills the bus; KEYTRAIL_CRASH_ROUNDS
// changes it.
const crashRounds = 20

// TestCrash kills the bus again and again while a producer publishes and a
// subscriber follows.
func TestCrash(t *testing.T) {
	b := startBus(t, "--data", t.TempDir())
	crashes(t, roundsOf(t, "KEYTRAIL_CRASH_ROUNDS", crashRounds), b, func(*rand.Rand) {
		b.kill()
		b.restart(t)
	})
}

// powerRounds is how often TestPowerLoss cuts the power; KEYTRAIL_POWER_ROUNDS
// changes it.
const powerRounds = 4

// TestPowerLoss is TestCrash on a disk that loses what was not synced.
func TestPowerLoss(t *testing.T) {
	needs.FUSE(t)
	dir := t.TempDir()
	disk := powerloss.New()
	unmount := disk.Mount(t, dir)
	b := startBus(t, "--data", dir)
	crashes(t, roundsOf(t, "KEYTRAIL_POWER_ROUNDS", powerRounds), b, func(random *rand.Rand) {
		disk.CutAfter(random.IntN(50))
		select {
		case <-disk.Lost():
		case <-time.After(waitFor):
			t.Fatalf("the bus writes nothing\n%s", b.err)
		}
		b.kill()
		unmount()
		disk = disk.Left(powerloss.Kept(random.IntN(4)), random)
		unmount = disk.Mount(t, dir)
		b.restart(t)
	})
	b.kill() // before its folder goes
}

// TestFailedSync: a bus whose disk does not sync ends, and says so; the next one reads the log anew.
func TestFailedSync(t *testing.T) {
	needs.FUSE(t)
	dir := t.TempDir()
	disk := powerloss.New()
	disk.Mount(t, dir)
	b := startBus(t, "--data", dir)
	publishSample(t, b, 10, 1)
	disk.BreakSyncs(true)
	if r := must(t, 2, "bus", "publish", b.to, "--retry-for=1s", filepath.Join("..", "..", "examples", "kms-calls.jsonl"), "--calls"); !strings.Contains(r.out, "published=0") {
		t.Errorf("with a broken disk publish says %q", r.out)
	}
	if status := b.wait(); status != 1 || !strings.Contains(b.err.String(), "bus: the log could not be synced to its disk") {
		t.Errorf("the bus ended with %d and\n%s", status, b.err)
	}
	disk.BreakSyncs(false)
	b.restart(t)
	if !strings.Contains(b.err.String(), "a sync of the log had failed") {
		t.Errorf("the next bus says\n%s", b.err)
	}
	if got := len(byID(t, tailAll(t, b))); got < 10 {
		t.Errorf("it has %d records of 10 that were acknowledged", got)
	}
	b.kill() // before its folder goes
}

// roundsOf is how often to do something: usual, or what a variable says.
func roundsOf(t *testing.T, variable string, usual int) int {
	t.Helper()
	if s := os.Getenv(variable); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return usual
}

// crashes lets something happen to the bus again and again while a producer publishes and a
// subscriber follows. Every record that was acknowledged is there, none twice, and
// the subscriber, which resumes each time, got each once and in log order.
func crashes(t *testing.T, rounds int, b *bus, crash func(*rand.Rand)) {
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)

	tail := start(t, "subscriber", "tail", b.to, "--from=earliest", "-o", "json")
	c, err := client.New(b.grpc)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	pub, err := c.NewPublisher(client.PublisherConfig{BatchRecords: 50, RetryFor: -1})
	if err != nil {
		t.Fatal(err)
	}

	var (
		mu       sync.Mutex
		acked    = make(map[string]bool) // guarded by mu
		progress = make(chan struct{}, 1)
	)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var producer sync.WaitGroup
	producer.Go(func() {
		gen := sample.New(sample.Config{Seed: 1})
		for ctx.Err() == nil {
			r := gen.Next()
			err := pub.PublishFunc(ctx, r, func(x *client.Pending) {
				if !x.Stored() {
					res, err := x.Result(context.Background())
					t.Errorf("a record was not stored: %v, %v", res, err)
					return
				}
				mu.Lock()
				acked[r.GetEventId()] = true
				mu.Unlock()
				select {
				case progress <- struct{}{}:
				default:
				}
			})
			if err != nil && ctx.Err() == nil {
				t.Errorf("publish: %v", err)
			}
		}
	})
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(acked)
	}
	for range rounds {
		target := count() + 1 + random.IntN(2000)
		for limit := time.After(waitFor); count() < target; {
			select {
			case <-progress:
			case <-limit:
				t.Fatalf("the producer stands still at %d records\n%s", count(), b.err)
			}
		}
		crash(random)
	}
	stop()
	producer.Wait()
	closing, cancel := context.WithTimeout(t.Context(), waitFor)
	defer cancel()
	if err := pub.Close(closing); err != nil {
		t.Fatal(err)
	}

	stored := tailAll(t, b)
	there := byID(t, stored)
	for id := range acked {
		if there[id] == nil {
			t.Errorf("record %s was acknowledged and is gone", id)
		}
	}
	tail.until(fmt.Sprintf("%d records", len(stored)), func(s string) bool { return countLines(s) >= len(stored) })
	followed := lines(t, tail.out.String())
	byID(t, followed)
	for i, r := range followed {
		if i >= len(stored) || r["eventID"] != stored[i]["eventID"] {
			t.Fatalf("the subscriber's record %d is not the log's", i)
		}
	}
	t.Logf("%d crashes, %d records acknowledged, %d stored and followed", rounds, len(acked), len(stored))
}
