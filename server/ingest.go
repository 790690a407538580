package server

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/keytrail/keytrail/eventlog"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// queuedJobs is how many requests of a stream wait for their results before
// the next is received.
const queuedJobs = 64

// ingest implements keytrail.v1.IngestService.
type ingest struct {
	keytrailv1.UnimplementedIngestServiceServer

	log      *eventlog.Log
	policy   record.Policy
	recorder *record.Recorder
	draining <-chan struct{}
	results  *prometheus.CounterVec

	// receivers are the goroutines that receive from streams. Each ends when its handler has returned, so the
	// server waits for them after its calls.
	receivers sync.WaitGroup
}

func newIngest(log *eventlog.Log, policy record.Policy, recorder *record.Recorder, draining <-chan struct{}, reg prometheus.Registerer) *ingest {
	s := &ingest{log: log, policy: policy, recorder: recorder, draining: draining, results: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keytrail_ingest_results_total",
		Help: "Published items by what became of them.",
	}, []string{"status"})}
	reg.MustRegister(s.results)
	return s
}

// Publish implements the RPC of that name.
func (s *ingest) Publish(ctx context.Context, req *keytrailv1.PublishRequest) (*keytrailv1.PublishResponse, error) {
	j, err := s.submit(ctx, req.GetItems(), req.GetRequire())
	if err != nil {
		return nil, toStatus(s.log, err)
	}
	results, err := j.wait(ctx)
	if err != nil {
		return nil, toStatus(s.log, err)
	}
	return &keytrailv1.PublishResponse{Results: results}, nil
}

// PublishStream implements the RPC of that name. One goroutine receives and
// submits, which settles the order; the handler's own sends results.
func (s *ingest) PublishStream(stream grpc.BidiStreamingServer[keytrailv1.PublishStreamRequest, keytrailv1.PublishStreamResponse]) error {
	err := s.publishStream(stream)
	return toStatus(s.log, err)
}

func (s *ingest) publishStream(stream grpc.BidiStreamingServer[keytrailv1.PublishStreamRequest, keytrailv1.PublishStreamResponse]) error {
	jobs := make(chan *job, queuedJobs)
	r := &receiver{ingest: s, stream: stream, jobs: jobs}
	if err := s.grant(stream, r); err != nil {
		return err
	}
	s.receivers.Go(r.run)
	for {
		select {
		case j, open := <-jobs:
			if !open {
				return r.err
			}
			if err := s.answer(stream, r, j); err != nil {
				return err
			}
		case <-s.draining:
			// What was taken is answered; what was not, the producer sends elsewhere.
			return s.answerTaken(stream, r, jobs)
		}
	}
}

// answerTaken answers what was taken from a stream, and ends it.
func (s *ingest) answerTaken(stream grpc.BidiStreamingServer[keytrailv1.PublishStreamRequest, keytrailv1.PublishStreamResponse], r *receiver, jobs <-chan *job) error {
	r.closed.Store(true)
	for !r.taking.TryLock() {
		// The receiver is taking a request: it queues its job, or ends.
		select {
		case j, open := <-jobs:
			if !open {
				return errDraining
			}
			if err := s.answer(stream, r, j); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
	r.taking.Unlock() // it takes nothing more, so jobs holds all that is left
	for {
		select {
		case j, open := <-jobs:
			if !open {
				return errDraining
			}
			if err := s.answer(stream, r, j); err != nil {
				return err
			}
		default:
			return errDraining
		}
	}
}

// answer sends the results of j, then new credit.
func (s *ingest) answer(stream grpc.BidiStreamingServer[keytrailv1.PublishStreamRequest, keytrailv1.PublishStreamResponse], r *receiver, j *job) error {
	results, err := j.wait(stream.Context())
	if err != nil {
		return err
	}
	err = stream.Send(&keytrailv1.PublishStreamResponse{Event: &keytrailv1.PublishStreamResponse_Results{
		Results: &keytrailv1.PublishResults{Number: j.number, Results: results},
	}})
	if err != nil {
		return err
	}
	r.account.answer(int64(len(j.results)), j.bytes)
	return s.grant(stream, r)
}

// grant sends what credit there is to give.
func (s *ingest) grant(stream grpc.BidiStreamingServer[keytrailv1.PublishStreamRequest, keytrailv1.PublishStreamResponse], r *receiver) error {
	if msg := creditOf(r.account.grant(s.log.Delay())); msg != nil {
		return stream.Send(msg)
	}
	return nil
}

// receiver is the receiving side of a stream.
type receiver struct {
	ingest *ingest
	stream grpc.BidiStreamingServer[keytrailv1.PublishStreamRequest, keytrailv1.PublishStreamResponse]
	jobs   chan<- *job // closed by run, after it has set err
	err    error

	// taking is held from the look at closed until the job is in jobs.
	taking  sync.Mutex
	closed  atomic.Bool // take nothing more
	account account
}

func (r *receiver) run() {
	defer close(r.jobs)
	defer func() { r.err = recovered(recover(), r.err) }()
	last := uint64(0)
	for first := true; ; first = false {
		req, err := r.stream.Recv()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			r.err = err
			return
		}
		if !first && req.GetNumber() <= last {
			r.err = invalid("number", "%d comes after %d; numbers must ascend", req.GetNumber(), last)
			return
		}
		last = req.GetNumber()
		bytes := int64(proto.Size(req))
		if !r.account.receive(int64(len(req.GetItems())), bytes) {
			r.err = errOverCredit
			return
		}
		if r.err = r.take(req, bytes); r.err != nil {
			return
		}
	}
}

// take submits a request and queues its job, unless the stream takes nothing
// more.
func (r *receiver) take(req *keytrailv1.PublishStreamRequest, bytes int64) error {
	r.taking.Lock()
	defer r.taking.Unlock()
	if r.closed.Load() {
		return errDraining
	}
	j, err := r.ingest.submit(r.stream.Context(), req.GetItems(), req.GetRequire())
	if err != nil {
		return err
	}
	j.number, j.bytes = req.GetNumber(), bytes
	select {
	case r.jobs <- j:
		return nil
	case <-r.stream.Context().Done(): // the handler has returned
		return r.stream.Context().Err()
	}
}
