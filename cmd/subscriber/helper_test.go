package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/keytrail/keytrail/bustest"
	"github.com/keytrail/keytrail/client"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/internal/sample"
	"github.com/keytrail/keytrail/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of these tests.
const patience = 30 * time.Second

// testBus is a bus at a TCP address, which stays the same through restarts.
type testBus struct {
	*bustest.Bus
	addr string
	c    *client.Client
	pub  *client.Publisher
}

func startBus(t testing.TB) *testBus { return startBusAt(t, "127.0.0.1:0") }

func startBusAt(t testing.TB, addr string) *testBus {
	t.Helper()
	b := &testBus{addr: addr}
	b.Bus = bustest.Start(t, func(cfg *server.Config) {
		lis, err := net.Listen("tcp", b.addr)
		if err != nil {
			t.Fatal(err)
		}
		b.addr = lis.Addr().String()
		cfg.GRPC.Close() // bustest's own
		cfg.GRPC = lis
	})
	var err error
	if b.c, err = client.New(b.addr); err != nil {
		t.Fatal(err)
	}
	if b.pub, err = b.c.NewPublisher(client.PublisherConfig{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := b.pub.Close(ctx); err != nil {
			t.Error(err)
		}
		b.c.Close()
	})
	return b
}

// publish stores records and returns their cursors.
func (b *testBus) publish(t testing.TB, records ...*keytrailv1.Record) (cursors []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var pending []*client.Pending
	for _, r := range records {
		p, err := b.pub.Publish(ctx, r)
		if err != nil {
			t.Fatal(err)
		}
		pending = append(pending, p)
	}
	for i, p := range pending {
		res, err := p.Result(ctx)
		if err != nil || !p.Stored() {
			t.Fatalf("record %d is not stored: %v, %v", i, res, err)
		}
		cursors = append(cursors, res.GetCursor())
	}
	return cursors
}

// publishInOrder is publish for tests that need one order, whatever the keys.
func (b *testBus) publishInOrder(t testing.TB, records ...*keytrailv1.Record) (cursors []string) {
	t.Helper()
	for _, r := range records {
		cursors = append(cursors, b.publish(t, r)...)
	}
	return cursors
}

// samples makes n records of the generator with this seed.
func samples(seed uint64, n int) []*keytrailv1.Record {
	g := sample.New(sample.Config{Seed: seed})
	records := make([]*keytrailv1.Record, n)
	for i := range records {
		records[i] = g.Next()
	}
	return records
}

// ofOneKey makes the records be of one key and operation, so that the log
// keeps their order.
func ofOneKey(records []*keytrailv1.Record) []*keytrailv1.Record {
	for _, r := range records {
		r.Resources = proto.CloneOf(records[0].GetResources())
		r.EventName = proto.String("Decrypt")
		r.ReadOnly = proto.Bool(true)
		r.RecipientAccountId, r.AwsRegion = records[0].RecipientAccountId, records[0].AwsRegion
	}
	return records
}

func ids(records []*keytrailv1.Record) []string {
	out := make([]string, len(records))
	for i, r := range records {
		out[i] = r.GetEventId()
	}
	return out
}

// buffer is an output that can be watched while it grows.
type buffer struct {
	mu   sync.Mutex // guards the fields below
	b    bytes.Buffer
	grew chan struct{} // closed and replaced at each write
}

func newBuffer() *buffer { return &buffer{grew: make(chan struct{})} }

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.grew)
	b.grew = make(chan struct{})
	return b.b.Write(p)
}

func (b *buffer) snapshot() (string, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String(), b.grew
}

func (b *buffer) String() string { s, _ := b.snapshot(); return s }

// wait waits until what was written satisfies ok.
func (b *buffer) wait(t testing.TB, what string, ok func(string) bool) {
	t.Helper()
	deadline := time.After(patience)
	for {
		s, grew := b.snapshot()
		if ok(s) {
			return
		}
		select {
		case <-grew:
		case <-deadline:
			t.Fatalf("waited in vain for %s; there is:\n%s", what, s)
		}
	}
}

func (b *buffer) waitLines(t testing.TB, n int) {
	t.Helper()
	b.wait(t, "lines of output", func(s string) bool { return strings.Count(s, "\n") >= n })
}

func (b *buffer) waitText(t testing.TB, text string) {
	t.Helper()
	b.wait(t, text, func(s string) bool { return strings.Contains(s, text) })
}

// running is a command that runs beside the test.
type running struct {
	out, err *buffer
	cancel   context.CancelFunc
	ended    chan int
}

// startProgram runs the command until it ends or the test does. change may
// replace parts of the program.
func startProgram(t testing.TB, args []string, change ...func(*program)) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{out: newBuffer(), err: newBuffer(), cancel: cancel, ended: make(chan int, 1)}
	p := &program{Args: args, Stdin: strings.NewReader(""), Stdout: r.out, Stderr: r.err}
	for _, f := range change {
		f(p)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.ended <- p.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return r
}

// wait waits for the end and checks the exit status.
func (r *running) wait(t testing.TB, status int) {
	t.Helper()
	select {
	case got := <-r.ended:
		if got != status {
			t.Fatalf("exit status %d, want %d; stderr:\n%s", got, status, r.err)
		}
	case <-time.After(patience):
		t.Fatalf("the command does not end; stderr:\n%s", r.err)
	}
}

// run runs the command to its end and checks the exit status.
func run(t testing.TB, status int, args ...string) (stdout, stderr string) {
	t.Helper()
	r := startProgram(t, args)
	r.wait(t, status)
	return r.out.String(), r.err.String()
}

// tail runs `tail -o json` on b to its end.
func (b *testBus) tail(t testing.TB, status int, args ...string) (stdout, stderr string) {
	t.Helper()
	return run(t, status, b.args(args...)...)
}

// args are those of `tail -o json` on b.
func (b *testBus) args(args ...string) []string {
	return append([]string{"tail", "--bus", b.addr, "-o", "json"}, args...)
}

// eventIDs reads what -o json printed.
func eventIDs(t testing.TB, stdout string) []string {
	t.Helper()
	var out []string
	for line := range strings.Lines(stdout) {
		var r struct{ EventID string }
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("not a line of JSON: %q: %v", line, err)
		}
		out = append(out, r.EventID)
	}
	return out
}
