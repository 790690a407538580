package e2e

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/internal/needs"
	"google.golang.org/protobuf/proto"
)

// TestGrpcurl: the services explain themselves to tools that know nothing of
// them.
func TestGrpcurl(t *testing.T) {
	grpcurl := needs.Program(t, "grpcurl")
	b := startBus(t, "--data", t.TempDir())
	for _, tt := range []struct {
		args, want []string
	}{
		{[]string{b.grpc, "list"}, []string{"grpc.health.v1.Health", "keytrail.v1.IngestService", "keytrail.v1.LogService", "keytrail.v1.SubscribeService"}},
		{[]string{"-d", `{"items":[{"record":{"eventId":"1","eventName":"Decrypt"}}]}`, b.grpc, "keytrail.v1.IngestService/Publish"},
			[]string{"PUBLISH_STATUS_REJECTED", "eventSource", "is required"}},
		{[]string{b.grpc, "keytrail.v1.LogService/DescribeLog"}, []string{`"durability": "SYNCED"`}},
	} {
		out, err := exec.Command(grpcurl, append([]string{"-plaintext"}, tt.args...)...).CombinedOutput()
		if err != nil {
			t.Errorf("grpcurl %v: %v\n%s", tt.args, err, out)
		}
		for _, want := range tt.want {
			if !strings.Contains(string(out), want) {
				t.Errorf("grpcurl %v prints\n%swithout %q", tt.args, out, want)
			}
		}
	}
}

// TestNATSCommand: whoever has NATS' own tool can listen in.
func TestNATSCommand(t *testing.T) {
	nats := needs.Program(t, "nats")
	listen := addrs(t, 1)[0]
	b := startBus(t, "--data", t.TempDir(), "--nats-listen", listen)
	sub := &process{t: t, cmd: exec.Command(nats, "--server", listen, "sub", "kms.>", "--raw", "--count=1"), out: newOutput(), err: newOutput(), ended: make(chan struct{})}
	sub.cmd.Stdout, sub.cmd.Stderr = sub.out, sub.err
	sub.cmd.Env = append(environment(), "HOME="+t.TempDir())
	if err := sub.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(sub.ended)
		sub.cmd.Wait() //nolint:errcheck // the exit status is read from the state
	}()
	t.Cleanup(sub.kill)
	// It does not say when it listens, so publish until it has one.
	for seed := uint64(1); ; seed++ {
		publishSample(t, b, 1, seed)
		select {
		case <-sub.ended:
		default:
			if seed < 10_000 {
				continue
			}
			t.Fatalf("nats sub got nothing\n%s", sub.err)
		}
		break
	}
	batch := new(keytrailv1.StoredBatch)
	text := bytes.TrimSuffix([]byte(sub.out.String()), []byte("\n"))
	if err := proto.Unmarshal(text, batch); err != nil || len(batch.GetRecords()) != 1 || batch.GetFormat() != 1 {
		t.Errorf("nats sub printed %q, which is no batch of one record: %v", text, err)
	}
}

// TestExternalNATS runs two buses on one NATS server: what goes in at one
// comes out at both, and an outage of NATS is survived.
func TestExternalNATS(t *testing.T) {
	addr := addrs(t, 1)[0]
	port := addr[strings.LastIndexByte(addr, ':')+1:]
	args := []string{"-a", "127.0.0.1", "-p", port, "-js", "-sd", t.TempDir()}
	server := start(t, "nats-server", args...)
	url := "--nats-url=nats://" + addr
	one := startWhenNATSIs(t, server, url)
	two := startBus(t, url)
	publishSample(t, one, 20, 1)
	publishSample(t, two, 10, 2)
	follow := start(t, "subscriber", "tail", one.to, "--from=earliest", "-o", "json")
	for _, b := range []*bus{one, two} {
		if got := byID(t, tailAll(t, b)); len(got) != 30 {
			t.Errorf("%d records at %s, want 30", len(got), b.grpc)
		}
	}
	server.signal(syscall.SIGKILL)
	server.wait()
	if r := must(t, 1, "bus", "log", "info", one.to); !strings.Contains(r.err, "NATS is") {
		t.Errorf("log info while NATS is away says %q", r.err)
	}
	start(t, "nats-server", args...)
	publishSample(t, two, 5, 3) // waits for NATS to be back
	follow.until("35 records", func(s string) bool { return countLines(s) == 35 })
	byID(t, lines(t, follow.out.String()))
	one.signal(syscall.SIGTERM)
	if status := one.wait(); status != 0 {
		t.Errorf("a drained bus ended with %d\n%s", status, one.err)
	}
}

// startWhenNATSIs starts a bus as soon as the server takes connections.
func startWhenNATSIs(t *testing.T, server *process, url string) *bus {
	t.Helper()
	server.untilIn(server.err, "server", contains("Server is ready"))
	return startBus(t, url)
}

func countLines(s string) int { return strings.Count(s, "\n") }

// TestFilters: two tails with different filters get exactly their records,
// through a crash of the bus.
func TestFilters(t *testing.T) {
	b := startBus(t, "--data", t.TempDir())
	decrypts := start(t, "subscriber", "tail", b.to, "--from=earliest", "-o", "json", "--event=Decrypt", "--not-failed")
	changes := start(t, "subscriber", "tail", b.to, "--from=earliest", "-o", "json", "--not-read-only")
	publishSample(t, b, 300, 1)
	b.kill()
	b.restart(t)
	publishSample(t, b, 300, 2)
	var wantDecrypts, wantChanges []any
	for _, r := range tailAll(t, b) {
		if r["eventName"] == "Decrypt" && r["errorCode"] == nil {
			wantDecrypts = append(wantDecrypts, r["eventID"])
		}
		if r["readOnly"] != true {
			wantChanges = append(wantChanges, r["eventID"])
		}
	}
	for _, tt := range []struct {
		tail *process
		want []any
	}{{decrypts, wantDecrypts}, {changes, wantChanges}} {
		tt.tail.until(fmt.Sprintf("%d records", len(tt.want)), func(s string) bool { return countLines(s) >= len(tt.want) })
		var got []any
		for _, r := range lines(t, tt.tail.out.String()) {
			got = append(got, r["eventID"])
		}
		if len(tt.want) == 0 || fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%v got %d records, want %d", tt.tail.cmd.Args, len(got), len(tt.want))
		}
	}
}
