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

// Credit of a stream: enough to keep the log busy, and for any one request.
const (
	creditRecords = 10_000
	creditBytes   = 4 * MaxRequestBytes
)

// queuedJobs is how many requests of a stream wait for their results before
// the next is received.
const queuedJobs = 64

// ingest implements keytrail.v1.IngestService.
type ingest struct {
	keytrailv1.UnimplementedIngestServiceServer

	log      *eventlog.Log
	policy   record.Policy
	draining <-chan struct{}
	results  *prometheus.CounterVec

	// receivers are the goroutines that receive from streams. Each ends when its handler has returned, so the
	// server waits for them after its calls.
	receivers sync.WaitGroup
}

func newIngest(log *eventlog.Log, policy record.Policy, draining <-chan struct{}, reg prometheus.Registerer) *ingest {
	s := &ingest{log: log, policy: policy, draining: draining, results: prometheus.NewCounterVec(prometheus.CounterOpts{
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
	if err := stream.Send(creditOf(creditRecords, creditBytes)); err != nil {
		return err
	}
	jobs := make(chan *job, queuedJobs)
	r := &receiver{ingest: s, stream: stream, jobs: jobs}
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

// answer sends the results of j, then the credit that it used.
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
	r.records.Add(-int64(len(j.results)))
	r.bytes.Add(-j.bytes)
	return stream.Send(creditOf(len(j.results), j.bytes))
}

func creditOf(records int, bytes int64) *keytrailv1.PublishStreamResponse {
	return &keytrailv1.PublishStreamResponse{Event: &keytrailv1.PublishStreamResponse_Credit{
		Credit: &keytrailv1.Credit{Records: uint64(records), Bytes: uint64(bytes)},
	}}
}

// receiver is the receiving side of a stream.
type receiver struct {
	ingest *ingest
	stream grpc.BidiStreamingServer[keytrailv1.PublishStreamRequest, keytrailv1.PublishStreamResponse]
	jobs   chan<- *job // closed by run, after it has set err
	err    error

	// taking is held from the look at closed until the job is in jobs.
	taking         sync.Mutex
	closed         atomic.Bool  // take nothing more
	records, bytes atomic.Int64 // unanswered
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
		if r.records.Add(int64(len(req.GetItems()))) > creditRecords || r.bytes.Add(bytes) > creditBytes {
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

// job is a request on its way: results that are known, and entries whose
// results the log will tell.
type job struct {
	ingest  *ingest
	number  uint64
	bytes   int64
	results []*keytrailv1.PublishResult
	entries []int // for each submitted entry, its item
	ticket  eventlog.Ticket
}

// submit judges the items and hands the good ones to the log.
func (s *ingest) submit(ctx context.Context, items []*keytrailv1.PublishItem, require keytrailv1.Durability) (*job, error) {
	switch {
	case len(items) == 0:
		return nil, invalid("items", "there are none; send 1 to %d", MaxItems)
	case len(items) > MaxItems:
		return nil, invalid("items", "there are %d; send 1 to %d", len(items), MaxItems)
	}
	if err := s.durable(require); err != nil {
		return nil, err
	}
	select {
	case <-s.draining:
		return nil, errDraining
	default:
	}
	j := &job{ingest: s, results: make([]*keytrailv1.PublishResult, len(items)), entries: make([]int, 0, len(items))}
	entries := make([]eventlog.Entry, 0, len(items))
	for i, item := range items {
		entry, problem := s.judge(item)
		if problem != nil {
			j.results[i] = &keytrailv1.PublishResult{
				Status:    keytrailv1.PublishStatus_PUBLISH_STATUS_REJECTED,
				EventIds:  eventIDs(item),
				Rejection: &keytrailv1.Rejection{Code: problem.Code, Field: problem.Field, Message: problem.Message},
			}
			continue
		}
		j.entries = append(j.entries, i)
		j.results[i] = &keytrailv1.PublishResult{EventIds: []string{entry.Header.EventID}}
		entries = append(entries, entry)
	}
	var err error
	j.ticket, err = s.log.Submit(ctx, entries)
	return j, err
}

func eventIDs(item *keytrailv1.PublishItem) []string {
	if id := item.GetRecord().GetEventId(); id != "" {
		return []string{id}
	}
	return nil
}

// judge makes an entry of an item, or says what is wrong with it.
func (s *ingest) judge(item *keytrailv1.PublishItem) (eventlog.Entry, *record.Problem) {
	rec := item.GetRecord()
	if rec == nil {
		return eventlog.Entry{}, &record.Problem{Code: keytrailv1.RejectionCode_REJECTION_CODE_MISSING_FIELD, Message: "the item holds nothing that this bus knows"}
	}
	if problem := record.Validate(rec, s.policy); problem != nil {
		return eventlog.Entry{}, problem
	}
	record.Compact(rec) // it came off the wire: nobody else has it
	encoded, err := record.Marshal(rec)
	if err != nil {
		return eventlog.Entry{}, &record.Problem{Code: keytrailv1.RejectionCode_REJECTION_CODE_INVALID_VALUE, Message: "the record cannot be encoded"}
	}
	entry, err := eventlog.NewEntry(record.HeaderOf(rec), encoded)
	if err != nil {
		return eventlog.Entry{}, &record.Problem{Code: keytrailv1.RejectionCode_REJECTION_CODE_TOO_LARGE, Message: err.Error()}
	}
	return entry, nil
}

// durable says whether the log gives what a producer requires.
func (s *ingest) durable(require keytrailv1.Durability) error {
	if _, known := keytrailv1.Durability_name[int32(require)]; !known {
		return invalid("require", "durability %d is not known", require)
	}
	given := keytrailv1.Durability_DURABILITY_STORED
	if s.log.Durability() == eventlog.Replicated {
		given = keytrailv1.Durability_DURABILITY_REPLICATED
	}
	if require > given {
		return &durabilityError{asked: name(require), given: name(given)}
	}
	return nil
}

func name(d keytrailv1.Durability) string { return d.String()[len("DURABILITY_"):] }

// wait completes the results. It fails as a whole when nothing of the request
// came to a result.
func (j *job) wait(ctx context.Context) ([]*keytrailv1.PublishResult, error) {
	logged, err := j.ticket.Results(ctx)
	if err != nil {
		return nil, err
	}
	failed := 0
	for n, r := range logged {
		j.fill(j.results[j.entries[n]], r)
		if r.Status == eventlog.StatusFailed {
			failed++
		}
	}
	if failed > 0 && failed == len(j.results) {
		return nil, logged[0].Err
	}
	for _, r := range j.results {
		j.ingest.results.WithLabelValues(r.Status.String()[len("PUBLISH_STATUS_"):]).Inc()
	}
	return j.results, nil
}

func (j *job) fill(out *keytrailv1.PublishResult, r eventlog.Result) {
	log := j.ingest.log
	if r.Position != (eventlog.Position{}) {
		out.Cursor = log.Cursor(r.Position)
	}
	switch r.Status {
	case eventlog.StatusStored:
		out.Status = keytrailv1.PublishStatus_PUBLISH_STATUS_STORED
		if log.Durability() == eventlog.Replicated {
			out.Status = keytrailv1.PublishStatus_PUBLISH_STATUS_REPLICATED
		}
	case eventlog.StatusDuplicate:
		out.Status = keytrailv1.PublishStatus_PUBLISH_STATUS_DUPLICATE
	case eventlog.StatusConflict:
		out.Status = keytrailv1.PublishStatus_PUBLISH_STATUS_CONFLICT
		out.Cursor = ""
		out.Rejection = &keytrailv1.Rejection{
			Code:    keytrailv1.RejectionCode_REJECTION_CODE_CONFLICT,
			Field:   "eventID",
			Message: "the log holds another record under this event ID",
		}
	case eventlog.StatusFailed:
		out.Status = keytrailv1.PublishStatus_PUBLISH_STATUS_NOT_STORED
		out.Rejection = &keytrailv1.Rejection{Code: keytrailv1.RejectionCode_REJECTION_CODE_LOG_UNAVAILABLE, Message: r.Err.Error()}
		if errors.Is(r.Err, eventlog.ErrFull) {
			out.Rejection.Code = keytrailv1.RejectionCode_REJECTION_CODE_LOG_FULL
		}
	}
}
