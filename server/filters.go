package server

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/keytrail/keytrail/eventlog"
	"github.com/keytrail/keytrail/filter"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// maxTrials is how many trials run at once. Each keeps a processor busy.
const maxTrials = 4

// errTrials: as many trials run as may.
var errTrials = errors.New("too many trials of filters run at once: try again later")

// reportEvery is how long a trial may be silent.
const reportEvery = time.Second

// filters implements keytrail.v1.FilterService.
type filters struct {
	keytrailv1.UnimplementedFilterServiceServer

	log      *eventlog.Log
	draining <-chan struct{}
	slots    chan struct{} // one for each trial that runs

	// trials are the goroutines that read and send for a trial. Each ends when
	// its handler has returned, so the server waits for them after its calls.
	trials sync.WaitGroup
}

func newFilters(log *eventlog.Log, draining <-chan struct{}) *filters {
	return &filters{log: log, draining: draining, slots: make(chan struct{}, maxTrials)}
}

// ExplainFilter implements the RPC of that name.
func (s *filters) ExplainFilter(_ context.Context, req *keytrailv1.ExplainFilterRequest) (*keytrailv1.ExplainFilterResponse, error) {
	res, err := explainFilter(req)
	return res, toStatus(s.log, err)
}

func explainFilter(req *keytrailv1.ExplainFilterRequest) (*keytrailv1.ExplainFilterResponse, error) {
	f, err := compileRequired(req.GetFilter())
	if err != nil {
		return nil, err
	}
	res := &keytrailv1.ExplainFilterResponse{Text: f.String(), Warnings: warningsOf(f), Index: f.Indexed()}
	if req.GetRecord() == nil {
		res.Clauses = clausesOf(f.Clauses())
		return res, nil
	}
	// As it is: a record that the bus would not store can be explained too.
	encoded, err := proto.Marshal(req.GetRecord())
	if err != nil {
		return nil, invalid("record", "it can't be encoded: %v", err)
	}
	var v record.View
	if err := v.Reset(encoded); err != nil {
		return nil, invalid("record", "%v", err)
	}
	e := f.Explain(&v)
	res.Matched = &e.Matched
	res.Clauses = clausesOf(e.Clauses)
	return res, nil
}

func compileRequired(f *keytrailv1.Filter) (*filter.Filter, error) {
	if f == nil {
		return nil, invalid("filter", "it is required")
	}
	return filter.Compile(f)
}

func warningsOf(f *filter.Filter) []*keytrailv1.FilterWarning {
	var out []*keytrailv1.FilterWarning
	for _, w := range f.Warnings() {
		out = append(out, &keytrailv1.FilterWarning{Message: w})
	}
	return out
}

func clausesOf(clauses []filter.Clause) []*keytrailv1.Clause {
	out := make([]*keytrailv1.Clause, len(clauses))
	for i, c := range clauses {
		out[i] = &keytrailv1.Clause{
			Text:           c.Text,
			Depth:          uint32(c.Depth),
			Held:           c.Held,
			Values:         c.Values,
			HeldRecords:    c.HeldRecords,
			DecidedRecords: c.DecidedRecords,
		}
	}
	return out
}

// TryFilter implements the RPC of that name. A goroutine of its own reads and
// sends, for that neither the log nor a client that does not read can hold up a
// bus that drains: it ends when the handler returns.
func (s *filters) TryFilter(req *keytrailv1.TryFilterRequest, stream grpc.ServerStreamingServer[keytrailv1.TryFilterResponse]) error {
	t, err := s.newTrial(stream, req)
	if err != nil {
		return toStatus(s.log, err)
	}
	select {
	case s.slots <- struct{}{}:
	default:
		return toStatus(s.log, errTrials)
	}
	ended := make(chan error, 1)
	s.trials.Go(func() {
		defer func() { <-s.slots }()
		var err error
		defer func() { ended <- recovered(recover(), err) }()
		err = t.run(stream.Context())
	})
	select {
	case err := <-ended:
		return toStatus(s.log, err)
	case <-s.draining:
		return toStatus(s.log, errDraining)
	}
}

// trial is a filter that runs over the log.
type trial struct {
	log    *eventlog.Log
	stream grpc.ServerStreamingServer[keytrailv1.TryFilterResponse]
	filter *filter.Filter
	counts *filter.Trial
	from   *time.Time // nil: from the first record
	limit  uint64     // 0: none

	view     record.View
	gaps     uint64 // messages
	reported time.Time
}

func (s *filters) newTrial(stream grpc.ServerStreamingServer[keytrailv1.TryFilterResponse], req *keytrailv1.TryFilterRequest) (*trial, error) {
	f, err := compileRequired(req.GetFilter())
	if err != nil {
		return nil, err
	}
	t := &trial{log: s.log, stream: stream, filter: f, counts: f.NewTrial(), limit: req.GetLimit(), reported: time.Now()}
	if from := req.GetStoredTime(); from != nil {
		if err := from.CheckValid(); err != nil {
			return nil, invalid("stored_time", "it is not a valid time")
		}
		t.from = new(from.AsTime())
	}
	return t, nil
}

// run reads up to the log's end as it is now, and reports.
func (t *trial) run(ctx context.Context) error {
	info, err := t.log.Info(ctx)
	if err != nil {
		return err
	}
	next, head := info.First.Seq, info.Head.Seq
	if t.from != nil {
		pos, err := t.log.PositionAt(ctx, *t.from)
		if err != nil {
			return err
		}
		next = pos.Seq
	}
	for next < head {
		chunk, err := t.log.Read(ctx, next)
		if err != nil {
			return err
		}
		if len(chunk) == 0 {
			if next, err = t.nothingThere(ctx, next, head); err != nil {
				return err
			}
		}
		for _, m := range chunk {
			next = t.reach(m.Seq, next, head)
			if next == head {
				break
			}
			next++
			if limited := t.consider(m); limited {
				return t.report(true, true)
			}
			if err := t.reportDue(); err != nil {
				return err
			}
		}
	}
	return t.report(true, false)
}

// reach counts what is missing from next on up to seq, or up to the head, and
// returns that.
func (t *trial) reach(seq, next, head uint64) uint64 {
	seq = min(seq, head)
	t.gaps += seq - next
	return seq
}

// consider counts the records of m. It returns true at the first one past the
// limit.
func (t *trial) consider(m *eventlog.Batch) (limited bool) {
	if m.Unreadable != nil {
		t.gaps++
		return false
	}
	for _, encoded := range m.Records {
		if t.limit > 0 && t.counts.Considered >= t.limit {
			return true
		}
		// A record that can't be read is one without fields, as for a stream.
		_ = t.view.Reset(encoded)
		t.counts.Consider(&t.view)
	}
	return false
}

// nothingThere deals with a log that answered with nothing from next on, which
// is before the head: what was there is gone, or the replica that answered is
// behind. It returns where to read on.
func (t *trial) nothingThere(ctx context.Context, next, head uint64) (uint64, error) {
	info, err := t.log.Info(ctx)
	if err != nil {
		return 0, err
	}
	if next < info.First.Seq {
		return t.reach(info.First.Seq, next, head), nil
	}
	select {
	case <-time.After(replicaWait):
		return next, t.reportDue()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// replicaWait is how long to wait before asking again for what a replica does
// not have yet.
const replicaWait = 50 * time.Millisecond

// reportDue reports if it is time to.
func (t *trial) reportDue() error {
	if time.Since(t.reported) < reportEvery {
		return nil
	}
	return t.report(false, false)
}

func (t *trial) report(done, limited bool) error {
	t.reported = time.Now()
	r := &keytrailv1.TryFilterResponse{
		Considered: t.counts.Considered,
		Matched:    t.counts.Matched,
		Gaps:       t.gaps,
		Done:       done,
		Limited:    limited,
	}
	if done {
		r.Text = t.filter.String()
		r.Warnings = warningsOf(t.filter)
		r.Index = t.filter.Indexed()
		r.Clauses = clausesOf(t.counts.Clauses())
	}
	return t.stream.Send(r)
}
