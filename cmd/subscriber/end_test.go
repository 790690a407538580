package main

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// trim removes everything that is stored so far.
func (b *testBus) trim(t *testing.T) (earliest string) {
	t.Helper()
	res, err := keytrailv1.NewLogServiceClient(b.c.Conn()).TrimLog(t.Context(), &keytrailv1.TrimLogRequest{StoredBefore: timestamppb.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return res.GetEarliestCursor()
}

func TestGap(t *testing.T) {
	b := startBus(t)
	old, fresh := samples(20, 10), samples(21, 10)
	cursors := b.publishInOrder(t, old...)
	earliest := b.trim(t)
	b.publishInOrder(t, fresh...)

	stdout, stderr := b.tail(t, statusGaps, "--from", cursors[3], "--allow-gap", "--until-idle", "0s")
	if got := eventIDs(t, stdout); !slices.Equal(got, ids(fresh)) {
		t.Errorf("%d records, want those that are left", len(got))
	}
	for _, text := range []string{"GAP: ", "removed them from the log", "after " + cursors[3] + ", up to " + earliest} {
		if !strings.Contains(stderr, text) {
			t.Errorf("stderr lacks %q:\n%s", text, stderr)
		}
	}

	// Without --allow-gap it is an error that says exactly how to go on.
	stdout, stderr = b.tail(t, statusError, "--from", cursors[3])
	for _, text := range []string{"--allow-gap", "stored at 20", "--from " + earliest} {
		if !strings.Contains(stderr, text) {
			t.Errorf("stderr lacks %q:\n%s", text, stderr)
		}
	}
	if stdout != "" || strings.Contains(stderr, "resume with") {
		t.Errorf("stdout %q; stderr %s", stdout, stderr)
	}
	stdout, _ = b.tail(t, statusOK, "--from", earliest, "--until-idle", "0s")
	if got := eventIDs(t, stdout); !slices.Equal(got, ids(fresh)) {
		t.Errorf("%d records from the earliest", len(got))
	}
}

func TestOtherLog(t *testing.T) {
	b, other := startBus(t), startBus(t)
	cursor := other.publish(t, samples(22, 1)...)[0]
	_, stderr := b.tail(t, statusError, "--from", cursor)
	for _, text := range []string{"does not know this position", "deleted, replaced, or restored", "--from earliest"} {
		if !strings.Contains(stderr, text) {
			t.Errorf("stderr lacks %q:\n%s", text, stderr)
		}
	}
}

func TestClosedPipe(t *testing.T) {
	b := startBus(t)
	records := samples(23, 500) // more than a pipe holds
	for _, r := range records[1:] {
		r.EventName = new("Decrypt")
	}
	records[0].EventName = new("CancelKeyDeletion")
	b.publish(t, records...)
	tests := []struct {
		name string
		args []string
	}{
		{"while there is more to write", []string{"--from", "earliest"}},
		// One record fits in the pipe: no write will fail.
		{"while there is nothing to write", []string{"--from", "earliest", "--event", "CancelKeyDeletion"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, in, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			r := startProgram(t, b.args(tt.args...), func(p *program) { p.Stdout = in })
			if _, err := bufio.NewReaderSize(out, 16).ReadSlice('{'); err != nil {
				t.Fatal(err)
			}
			out.Close()
			r.wait(t, statusOK)
			in.Close()
			if r.err.String() != "" {
				t.Errorf("stderr: %s", r.err)
			}
		})
	}
}

func TestCancel(t *testing.T) {
	b := startBus(t)
	records := ofOneKey(samples(24, 20))
	b.publish(t, records[:10]...)
	file := filepath.Join(t.TempDir(), "position")
	r := startProgram(t, b.args("--from", "earliest", "--checkpoint", file))
	r.out.waitLines(t, 10)
	r.cancel()
	r.wait(t, statusOK)
	saved, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := position(t, r.err.String()); got != strings.TrimSpace(string(saved)) {
		t.Errorf("resume with %s, saved %s", got, saved)
	}
	b.publish(t, records[10:]...)
	rest, _ := b.tail(t, statusOK, "--checkpoint", file, "--until-idle", "0s")
	if got := eventIDs(t, r.out.String()+rest); !slices.Equal(got, ids(records)) {
		t.Errorf("%d records, want each of %d once and in order", len(got), len(records))
	}
}

func TestRestart(t *testing.T) {
	b := startBus(t)
	records := ofOneKey(samples(25, 300))
	b.publish(t, records[:100]...)
	r := startProgram(t, b.args("--from", "earliest"))
	r.out.waitLines(t, 100)
	b.Restart()
	b.publish(t, records[100:200]...)
	r.out.waitLines(t, 200)
	r.err.waitText(t, "connected again")
	b.Restart()
	b.publish(t, records[200:]...)
	r.out.waitLines(t, 300)
	r.cancel()
	r.wait(t, statusOK)
	if got := eventIDs(t, r.out.String()); !slices.Equal(got, ids(records)) {
		t.Errorf("%d records, want each of %d once and in order", len(got), len(records))
	}
	if text := "bus at " + b.addr + " is away"; !strings.Contains(r.err.String(), text) {
		t.Errorf("stderr lacks %q:\n%s", text, r.err)
	}
}

// freeAddress is one at which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	return lis.Addr().String()
}

func TestNoBus(t *testing.T) {
	addr := freeAddress(t)
	r := startProgram(t, []string{"tail", "--bus", addr}, func(p *program) { p.GiveUpAfter = 200 * time.Millisecond })
	r.wait(t, statusError)
	want := "subscriber: no bus answers at " + addr + ": start one with `bus serve`, or say where it is with --bus"
	if got := r.err.String(); !strings.HasPrefix(got, want) || strings.Count(got, "\n") != 1 {
		t.Errorf("stderr: %s", got)
	}
}

func TestWait(t *testing.T) {
	addr := freeAddress(t)
	r := startProgram(t, []string{"tail", "--bus", addr, "--wait", "--from", "earliest", "-o", "json"}, func(p *program) { p.GiveUpAfter = time.Nanosecond })
	r.err.waitText(t, "no bus answers at "+addr+" yet")
	b := startBusAt(t, addr)
	b.publish(t, samples(26, 3)...)
	r.out.waitLines(t, 3)
	r.cancel()
	r.wait(t, statusOK)
}

// failing is an output whose disk is full after some bytes.
type failing struct {
	buffer
	left int
}

func (f *failing) Write(p []byte) (int, error) {
	n := min(len(p), f.left)
	f.left -= n
	f.buffer.Write(p[:n])
	if n < len(p) {
		return n, errors.New("no space left")
	}
	return n, nil
}

// TestFailedWrite: the position that is kept is never ahead of what was
// written.
func TestFailedWrite(t *testing.T) {
	b := startBus(t)
	records := ofOneKey(samples(27, 300))
	b.publish(t, records...)
	file := filepath.Join(t.TempDir(), "position")
	full := &failing{buffer: buffer{grew: make(chan struct{})}, left: 150_000}
	r := startProgram(t, b.args("--from", "earliest", "--checkpoint", file), func(p *program) { p.Stdout = full })
	r.wait(t, statusError)
	if !strings.Contains(r.err.String(), "no space left") {
		t.Errorf("stderr: %s", r.err)
	}
	written := full.String()
	written = written[:strings.LastIndexByte(written, '\n')+1]
	before := eventIDs(t, written)
	rest, _ := b.tail(t, statusOK, "--checkpoint", file, "--until-idle", "0s")
	after := eventIDs(t, rest)
	if len(before) == 0 || len(before)+len(after) < len(records) {
		t.Fatalf("%d records before the failure, %d after it, of %d", len(before), len(after), len(records))
	}
	// What was written in part, or not known to be written, comes again.
	if got := append(before[:len(records)-len(after)], after...); !slices.Equal(got, ids(records)) {
		t.Errorf("records were lost or out of order: %d before, %d after", len(before), len(after))
	}
}

func TestUsage(t *testing.T) {
	tests := []struct{ args, want string }{
		{"", "expected one of"},
		{"tial", "unexpected argument"},
		{"tail --no-such-flag", "unknown flag"},
		{"tail extra", "unexpected argument"},
		{"tail --where event = Decrypt", "unexpected argument =; put all that belongs to --where in quotes: --where '…'"},
		{"tail --cel=event == 'x'", "; put all that belongs to --cel in quotes: --cel '…'"},
		{"tail -o xml", "--output"},
		{"tail --color blue", "--color"},
		{"tail --max 0", "--max 0"},
		{"tail --max many", "--max"},
		{"tail --until-idle -1s", "--until-idle"},
		{"tail --until-idle soon", "--until-idle"},
		{"tail --bus localhost", "HOST:PORT"},
		{"tail --from yesterday", "kt1"},
		{"tail --key key/x", "leave out"},
		{"tail --event=", "--event has an empty value"},
		{"tail --event=a,,b", "--event has an empty value"},
		{"tail --not-key=", "--not-key has an empty value"},
		{"tail --where=", "--where has an empty value"},
		{"tail --where=event=Decrypt --where=", "--where has an empty value"},
		{"tail --cel=", "--cel has an empty value"},
		{"tail --pattern=", "--pattern has an empty value"},
		{"tail --pattern /no/such/file", "no such file"},
		{"tail --pattern -", "--pattern: the standard input is empty"},
		{"tail --selectors .", "directory"},
		{"tail --pattern - --selectors -", "both"},
		{"tail --from=", "--from has an empty value"},
		{"tail --checkpoint=", "--checkpoint has an empty value"},
		{"tail --bus=", "--bus has an empty value"},
		{"tail --read-only --not-read-only", "leave nothing"},
		{"tail --failed --not-failed", "leave nothing"},
		{"tail --key " + strings.Repeat("k", 3000), "no filter"},
		{"explain", "there is no filter to explain"},
		{"explain --from 1h --bus localhost", "there is no filter to explain"},
		{"explain --failed --from now", "--from"},
		{"explain --failed --from kt1abc", "--from"},
		{"explain --failed --from 1h --record x.json", "give one of them"},
		{"explain --failed --limit 3", "--limit is for --from"},
		{"explain --failed --max -3", "--max"},
		{"explain --failed --from 1h --bus localhost", "HOST:PORT"},
		{"explain --failed --record /no/such/file", "no such file"},
		{"explain --failed --record .", "--record: . is a folder"},
		{"explain --pattern - --record -", "both"},
	}
	for _, tt := range tests {
		t.Run(tt.args[:min(len(tt.args), 60)], func(t *testing.T) {
			stdout, stderr := run(t, statusUsage, strings.Fields(tt.args)...)
			if stdout != "" || !strings.Contains(stderr, tt.want) {
				t.Errorf("want %q; stdout %q, stderr %q", tt.want, stdout, stderr)
			}
		})
	}
}

func TestHelpAndVersion(t *testing.T) {
	for args, want := range map[string][]string{
		"--help":         {"tail", "version"},
		"explain --help": {"Exit status:", "Conditions for --where:", "KEYTRAIL"},
		"tail --help":    {"Exit status:", "Conditions for --where:", "3    ended as asked, but gaps were reported", "KEYTRAIL_BUS"},
		"version":        {"subscriber "},
	} {
		stdout, _ := run(t, statusOK, strings.Fields(args)...)
		for _, text := range want {
			if !strings.Contains(stdout, text) {
				t.Errorf("%s lacks %q:\n%s", args, text, stdout)
			}
		}
	}
}

// TestCanceledBeforeStart: there is nothing to resume, and nothing to say.
func TestCanceledBeforeStart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	errs := newBuffer()
	p := &program{Args: []string{"tail", "--bus", freeAddress(t)}, Stdout: newBuffer(), Stderr: errs}
	if got := p.Run(ctx); got != statusOK || errs.String() != "" {
		t.Errorf("exit status %d, stderr %q", got, errs)
	}
}
