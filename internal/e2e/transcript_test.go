package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keytrail/keytrail/client"
	"github.com/keytrail/keytrail/internal/sample"
)

// recordRounds is how often TestTranscript kills the bus and a recorder.
const recordRounds = 4

// TestTranscript records streams while the bus and the recorders are killed
// again and again, and checks them against the log. Then it damages one, which is found.
func TestTranscript(t *testing.T) {
	b := startBus(t, "--data", t.TempDir())
	dir := t.TempDir()
	recordings := []*recording{
		{t: t, args: []string{"record", b.to, filepath.Join(dir, "all"), "--from=earliest", "--wait"}},
		{t: t, args: []string{"record", b.to, filepath.Join(dir, "some"), "--from=earliest", "--wait", "--where", "event in (Decrypt, Encrypt) and outcome = success"}},
	}
	for _, r := range recordings {
		r.start()
	}
	c, err := client.New(b.grpc)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	pub, err := c.NewPublisher(client.PublisherConfig{BatchRecords: 50, RetryFor: -1})
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var producer sync.WaitGroup
	var acked sync.Map
	producer.Go(func() {
		gen := sample.New(sample.Config{Seed: 5})
		for {
			select {
			case <-stop:
				return
			default:
			}
			r := gen.Next()
			err := pub.PublishFunc(t.Context(), r, func(x *client.Pending) {
				if x.Stored() {
					acked.Store(r.GetEventId(), nil)
				}
			})
			if err != nil {
				t.Errorf("publish: %v", err)
				return
			}
		}
	})
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	for round := range recordRounds {
		for _, r := range recordings {
			r.grow(1 + random.Int64N(20_000))
		}
		killed := recordings[round%len(recordings)]
		killed.kill()
		b.kill()
		b.restart(t)
		killed.start()
	}
	close(stop)
	producer.Wait()
	if err := pub.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, r := range recordings {
		r.signal(os.Interrupt)
		if status := r.wait(); status != 0 {
			t.Fatalf("%v ended with %d\n%s", r.args, status, r.err)
		}
		must(t, 0, "subscriber", append(r.args, "--until-idle=500ms")...)
		files = append(files, r.file())
	}
	result := must(t, 0, "subscriber", append([]string{"check", b.to}, files...)...)
	t.Log(result.out)
	if strings.Count(result.out, "promises 1–9 hold\n") != len(files) {
		t.Errorf("check says\n%s", result.out)
	}
	stored := 0
	acked.Range(func(any, any) bool { stored++; return true })
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), `{"kind":"record"`); n < stored {
		t.Errorf("%d records recorded, %d acknowledged", n, stored)
	}

	// Every record but one.
	all := strings.SplitAfter(string(text), "\n")
	var at []int
	for i, line := range all {
		if strings.HasPrefix(line, `{"kind":"record"`) {
			at = append(at, i)
		}
	}
	i := at[random.IntN(len(at)-1)]
	bad := filepath.Join(dir, "bad")
	if err := os.WriteFile(bad, []byte(strings.Join(append(all[:i:i], all[i+1:]...), "")), 0o600); err != nil {
		t.Fatal(err)
	}
	found := must(t, 1, "subscriber", "check", b.to, files[0], bad)
	if !strings.Contains(found.out, fmt.Sprintf("%s: %s records", files[0], thousands(len(at)))) || !strings.Contains(found.out, bad+": promise ") {
		t.Errorf("check says\n%s", found.out)
	}
}

// recording is `subscriber record`, which can be killed and started again.
type recording struct {
	*process
	t    *testing.T
	args []string
}

func (r *recording) start() { r.process = start(r.t, "subscriber", r.args...) }

func (r *recording) file() string { return r.args[2] }

func (r *recording) size() int64 {
	info, err := os.Stat(r.file())
	if err != nil {
		return 0 // not made yet
	}
	return info.Size()
}

// grow waits until so much was written to the file.
func (r *recording) grow(bytes int64) {
	r.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(waitFor)
	for until := r.size() + bytes; r.size() < until; {
		select {
		case <-tick.C:
		case <-limit:
			r.t.Fatalf("%s does not grow\n%s", r.file(), r.err)
		}
	}
}

// thousands is n with commas.
func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
