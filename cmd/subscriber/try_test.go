package main

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// trying is a bus that answers trials as it was told: with reports, then with
// an error, or never if that is nil.
type trying struct {
	keytrailv1.UnimplementedFilterServiceServer
	reports []*keytrailv1.TryFilterResponse
	err     error
	asked   chan *keytrailv1.TryFilterRequest
}

func (b *trying) TryFilter(req *keytrailv1.TryFilterRequest, stream grpc.ServerStreamingServer[keytrailv1.TryFilterResponse]) error {
	b.asked <- req
	for _, r := range b.reports {
		if err := stream.Send(r); err != nil || r.GetDone() {
			return err
		}
	}
	if b.err != nil {
		return b.err
	}
	<-stream.Context().Done()
	return stream.Context().Err()
}

// start serves b until the test ends.
func (b *trying) start(t *testing.T) (addr string) {
	t.Helper()
	b.asked = make(chan *keytrailv1.TryFilterRequest, 1)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	keytrailv1.RegisterFilterServiceServer(srv, b)
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := srv.Serve(lis); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("serve: %v", err)
		}
	}()
	t.Cleanup(func() { srv.Stop(); <-served })
	return lis.Addr().String()
}

// someClauses are those of a trial whose bus is hostile, or only mistaken.
func someClauses() []*keytrailv1.Clause {
	return []*keytrailv1.Clause{
		{Text: "event = Decrypt and resources[] (type = x and ARN ~ \"\x1b[31m\u009b\")", HeldRecords: 15, DecidedRecords: 240},
		{Text: "event = Decrypt", Depth: 1, HeldRecords: 120, DecidedRecords: 40},
		{Text: "resources[] (type = x and ARN ~ \"\x1b[31m\u009b\")", Depth: 1, HeldRecords: 55, DecidedRecords: 225},
		{Text: "type = x and ARN ~ \"\x1b[31m\u009b\"", Depth: 2},
		{Text: "type = x", Depth: 3},
		{Text: "ARN ~ \"\x1b[31m\u009b\"", Depth: 3},
	}
}

func TestTrialIsShown(t *testing.T) {
	b := &trying{reports: []*keytrailv1.TryFilterResponse{
		{Considered: 100, Matched: 3},
		{Considered: 240, Matched: 15, Clauses: someClauses(), Index: "event = Decrypt\x1b[31m", Gaps: 7, Limited: true, Done: true},
	}}
	stdout, stderr := run(t, statusOK, "explain", "--bus", b.start(t), "--event", "Decrypt", "--from", "2026-01-05", "--limit", "240")
	golden(t, "trial.txt", stdout)
	if stderr != "" || strings.ContainsAny(stdout, "\x1b\u009b") {
		t.Errorf("stdout %q, stderr %q", stdout, stderr)
	}
	req := <-b.asked
	if at := req.GetStoredTime().AsTime(); !at.Equal(time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)) || req.GetLimit() != 240 || req.GetFilter().GetInclude()[0].GetEventNames()[0] != "Decrypt" {
		t.Errorf("asked for %v", req)
	}
}

func TestTrialEnds(t *testing.T) {
	some := []*keytrailv1.TryFilterResponse{{Considered: 100, Matched: 3}}
	tests := []struct {
		name   string
		bus    *trying
		status int
		stderr string
	}{
		{"nothing matched", &trying{reports: []*keytrailv1.TryFilterResponse{{Considered: 3, Done: true, Clauses: someClauses()[1:2]}}}, statusNoMatch, ""},
		{"the bus refuses", &trying{err: status.Error(codes.InvalidArgument, "filter.where: no")}, statusUsage, "does not take this request: filter.where: no"},
		{"the bus is busy", &trying{err: status.Error(codes.ResourceExhausted, "4 trials run")}, statusUsage, "4 trials run; try again later"},
		{"the bus goes away", &trying{reports: some, err: status.Error(codes.Unavailable, "shutting down")}, statusUsage, "went away during the trial (shutting down)"},
		{"the bus is old", &trying{err: status.Error(codes.Unimplemented, "unknown service")}, statusUsage, "or an older one"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, stderr := run(t, tt.status, "explain", "--bus", tt.bus.start(t), "--event", "Decrypt", "--from", "earliest")
			if !strings.Contains(stderr, tt.stderr) || (stderr != "") != (tt.stderr != "") {
				t.Errorf("stderr: %s", stderr)
			}
			if req := <-tt.bus.asked; req.StoredTime != nil {
				t.Errorf("asked for %v", req)
			}
		})
	}
}

func TestTrialIsInterrupted(t *testing.T) {
	b := &trying{reports: []*keytrailv1.TryFilterResponse{{Considered: 100, Matched: 3}}}
	r := startProgram(t, []string{"explain", "--bus", b.start(t), "--event", "Decrypt", "--from", "1h"})
	<-b.asked
	r.cancel()
	// The report may have come before the interruption, or not.
	select {
	case got := <-r.ended:
		known := strings.Contains(r.out.String(), "100 records considered, 3 matched")
		if known && got != statusOK || !known && got != statusNoMatch || !strings.Contains(r.err.String(), "interrupted") {
			t.Errorf("exit status %d, stdout:\n%s\nstderr:\n%s", got, r.out, r.err)
		}
	case <-time.After(patience):
		t.Fatal("the command does not end")
	}
}

func TestTrialWithoutBus(t *testing.T) {
	_, stderr := run(t, statusUsage, "explain", "--bus", freeAddress(t), "--event", "Decrypt", "--from", "1h")
	if !strings.Contains(stderr, "no bus answers at") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("stderr: %s", stderr)
	}
	// One that takes connections and says nothing.
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	r := startProgram(t, []string{"explain", "--bus", lis.Addr().String(), "--event", "Decrypt", "--from", "1h"}, func(p *program) { p.GiveUpAfter = 200 * time.Millisecond })
	r.wait(t, statusUsage)
	if !strings.Contains(r.err.String(), "no bus answers at") {
		t.Errorf("stderr: %s", r.err)
	}
}

// TestTrialOverTheLog: a bus counts what explain counts of a file.
func TestTrialOverTheLog(t *testing.T) {
	b := startBus(t)
	b.publish(t, readRecords(t, examples)...)
	for _, tt := range formTests(t) {
		t.Run(tt.name, func(t *testing.T) {
			args := append([]string{"explain"}, tt.args...)
			here, _ := run(t, statusOK, append(args, "--record", examples, "--max", "0")...)
			there, stderr := run(t, statusOK, append(args, "--bus", b.addr, "--from", "1h")...)
			there, index, _ := strings.Cut(there, "\nindex: ")
			if there != here || strings.TrimSpace(index) == "" || stderr != "" {
				t.Errorf("the bus says\n%sindex: %s\nhere it is\n%s\nstderr:\n%s", there, index, here, stderr)
			}
		})
	}
	limited, _ := run(t, statusOK, "explain", "--bus", b.addr, "--from", "earliest", "--limit", "1", "--event", "*")
	if !strings.Contains(limited, "1 record considered, 1 matched") || !strings.Contains(limited, "--limit was reached") {
		t.Errorf("with --limit 1:\n%s", limited)
	}
}
