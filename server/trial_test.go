package server

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/keytrail/keytrail/eventlog"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// reports is a client of a trial.
type reports struct {
	grpc.ServerStreamingServer[keytrailv1.TryFilterResponse]
	ctx     context.Context
	blocked chan struct{} // not nil: nothing is read, which each Send tells here
	got     []*keytrailv1.TryFilterResponse
}

func (r *reports) Context() context.Context { return r.ctx }

func (r *reports) Send(m *keytrailv1.TryFilterResponse) error {
	if r.blocked != nil {
		r.blocked <- struct{}{}
		<-r.ctx.Done()
		return r.ctx.Err()
	}
	r.got = append(r.got, m)
	return nil
}

// openLog opens a log with one record in each of n messages.
func openLog(t *testing.T, n int) *eventlog.Log {
	t.Helper()
	log, err := eventlog.Open(t.Context(), eventlog.Config{Dir: t.TempDir(), MaxBytes: 1 << 30, DiskReserve: 1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(log.Close)
	for i := range n {
		r := &keytrailv1.Record{
			EventId: proto.String(string(rune('a' + i))), EventName: proto.String("Decrypt"), EventSource: proto.String(record.EventSource),
			EventTime: timestamppb.Now(),
		}
		enc, err := record.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		e, err := eventlog.NewEntry(record.HeaderOf(r), enc)
		if err != nil {
			t.Fatal(err)
		}
		ticket, err := log.Submit(t.Context(), []eventlog.Entry{e})
		if err != nil {
			t.Fatal(err)
		}
		if res, err := ticket.Results(t.Context()); err != nil || res[0].Status != eventlog.StatusStored {
			t.Fatal(res, err)
		}
	}
	return log
}

var tryAll = &keytrailv1.TryFilterRequest{Filter: &keytrailv1.Filter{}}

// TestTrialsBounded: of more trials than may run, the next is refused, until
// one has ended.
func TestTrialsBounded(t *testing.T) {
	log := openLog(t, 1)
	s := newFilters(log, nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended, blocked := make(chan error), make(chan struct{})
	for range maxTrials {
		go func() { ended <- s.TryFilter(tryAll, &reports{ctx: ctx, blocked: blocked}) }()
	}
	for range maxTrials {
		<-blocked
	}
	if err := s.TryFilter(tryAll, &reports{ctx: t.Context()}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("one more: %v", err)
	}
	cancel()
	for range maxTrials {
		if err := <-ended; status.Code(err) != codes.Canceled {
			t.Errorf("a trial whose client has left: %v", err)
		}
	}
	s.trials.Wait()
	if err := s.TryFilter(tryAll, &reports{ctx: t.Context()}); err != nil {
		t.Errorf("once the others have ended: %v", err)
	}
	s.trials.Wait()
}

// TestTrialDrains: a client that does not read does not hold up the bus.
func TestTrialDrains(t *testing.T) {
	draining := make(chan struct{})
	s := newFilters(openLog(t, 1), draining)
	ctx, cancel := context.WithCancel(t.Context())
	close(draining)
	if err := s.TryFilter(tryAll, &reports{ctx: ctx, blocked: make(chan struct{}, 1)}); status.Code(err) != codes.Unavailable {
		t.Errorf("while draining: %v", err)
	}
	cancel() // as gRPC does when the handler has returned
	s.trials.Wait()
}

// TestTrialReports: a trial that lasts says how far it is.
func TestTrialReports(t *testing.T) {
	s := newFilters(openLog(t, 3), nil)
	r := &reports{ctx: t.Context()}
	trial, err := s.newTrial(r, tryAll)
	if err != nil {
		t.Fatal(err)
	}
	trial.reported = time.Now().Add(-reportEvery)
	if err := trial.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(r.got) < 2 || r.got[0].GetDone() || r.got[0].GetConsidered() != 1 || !r.got[len(r.got)-1].GetDone() || r.got[len(r.got)-1].GetConsidered() != 3 {
		t.Errorf("reports %v; want one after the first record, and the last", r.got)
	}
}

// TestTrialTrimmed: what is removed while a trial runs is counted.
func TestTrialTrimmed(t *testing.T) {
	log := openLog(t, 3)
	trial, err := newFilters(log, nil).newTrial(&reports{ctx: t.Context()}, tryAll)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := log.Trim(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if next, err := trial.nothingThere(t.Context(), 2, 4); err != nil || next != 4 || trial.gaps != 2 {
		t.Errorf("from 2 to 4: %d, %v; %d gaps", next, err, trial.gaps)
	}
	for _, tt := range []struct{ seq, next, want, gaps uint64 }{{7, 7, 7, 0}, {9, 7, 9, 2}, {12, 7, 10, 3}, {10, 10, 10, 0}} {
		trial.gaps = 0
		if got := trial.reach(tt.seq, tt.next, 10); got != tt.want || trial.gaps != tt.gaps {
			t.Errorf("from %d to %d, with the head at 10: %d, %d gaps", tt.next, tt.seq, got, trial.gaps)
		}
	}
}
