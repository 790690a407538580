package server

import (
	"cmp"
	"context"
	"errors"

	"github.com/keytrail/keytrail/eventlog"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

// job is a request on its way: results that are known, and entries whose
// results the log will tell.
type job struct {
	ingest  *ingest
	number  uint64
	bytes   int64
	results []*keytrailv1.PublishResult
	entries []origin // for each submitted entry
	ticket  eventlog.Ticket
}

// origin is what an entry was made of.
type origin struct {
	item int
	call bool
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
	j := &job{ingest: s, results: make([]*keytrailv1.PublishResult, len(items)), entries: make([]origin, 0, len(items))}
	entries := make([]eventlog.Entry, 0, len(items))
	for i, item := range items {
		before := len(entries)
		var problem *record.Problem
		if entries, problem = s.judge(entries, item); problem != nil {
			entries = entries[:before]
			j.results[i] = &keytrailv1.PublishResult{
				Status:    keytrailv1.PublishStatus_PUBLISH_STATUS_REJECTED,
				EventIds:  eventIDs(item),
				Rejection: &keytrailv1.Rejection{Code: problem.Code, Field: problem.Field, Message: problem.Message},
			}
			continue
		}
		ids := make([]string, 0, len(entries)-before)
		for _, e := range entries[before:] {
			ids = append(ids, e.Header.EventID)
			j.entries = append(j.entries, origin{item: i, call: item.GetCall() != nil})
		}
		j.results[i] = &keytrailv1.PublishResult{EventIds: ids}
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

// judge appends the entries of an item, or says what is wrong with it.
func (s *ingest) judge(entries []eventlog.Entry, item *keytrailv1.PublishItem) ([]eventlog.Entry, *record.Problem) {
	switch it := item.GetItem().(type) {
	case *keytrailv1.PublishItem_Record:
		if problem := record.Validate(it.Record, s.policy); problem != nil {
			return entries, problem
		}
		record.Compact(it.Record) // it came off the wire: nobody else has it
		return appendEntry(entries, it.Record)
	case *keytrailv1.PublishItem_Call:
		made, problem := s.recorder.Record(it.Call)
		for i := 0; i < len(made) && problem == nil; i++ {
			entries, problem = appendEntry(entries, made[i])
		}
		return entries, problem
	}
	return entries, &record.Problem{Code: keytrailv1.RejectionCode_REJECTION_CODE_MISSING_FIELD, Message: "the item holds nothing that this bus knows"}
}

func appendEntry(entries []eventlog.Entry, rec *keytrailv1.Record) ([]eventlog.Entry, *record.Problem) {
	encoded, err := record.Marshal(rec)
	if err != nil {
		return entries, &record.Problem{Code: keytrailv1.RejectionCode_REJECTION_CODE_INVALID_VALUE, Message: "the record cannot be encoded"}
	}
	entry, err := eventlog.NewEntry(record.HeaderOf(rec), encoded)
	if err != nil {
		return entries, &record.Problem{Code: keytrailv1.RejectionCode_REJECTION_CODE_TOO_LARGE, Message: err.Error()}
	}
	return append(entries, entry), nil
}

// durable says whether the log gives what a producer requires.
func (s *ingest) durable(require keytrailv1.Durability) error {
	if _, known := keytrailv1.Durability_name[int32(require)]; !known {
		return invalid("require", "durability %d is not known", require)
	}
	given := s.log.Durability()
	enough := map[keytrailv1.Durability]bool{
		keytrailv1.Durability_DURABILITY_REPLICATED: given.Replicated,
		keytrailv1.Durability_DURABILITY_SYNCED:     given.Synced,
	}
	if ok, asked := enough[require]; asked && !ok {
		return &durabilityError{asked: name(require), given: given.String()}
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
	return j.settle(logged)
}

// settle completes the results from those of the log.
func (j *job) settle(logged []eventlog.Result) ([]*keytrailv1.PublishResult, error) {
	failed := 0
	var reason error // of the first item that failed: its first record may have been stored
	for from, to := 0, 0; from < len(logged); from = to {
		of := j.entries[from]
		for to = from; to < len(logged) && j.entries[to] == of; to++ {
		}
		sum := summary(logged[from:to])
		j.fill(j.results[of.item], sum, of.call)
		if sum.Status == eventlog.StatusFailed {
			failed++
			reason = cmp.Or(reason, sum.Err)
		}
	}
	if failed > 0 && failed == len(j.results) {
		return nil, reason
	}
	for _, r := range j.results {
		j.ingest.results.WithLabelValues(r.Status.String()[len("PUBLISH_STATUS_"):]).Inc()
	}
	return j.results, nil
}

// summary is what became of an item: the worst of what became of its records, but
// stored if any of them is new and the others were there. The position is the last.
func summary(records []eventlog.Result) eventlog.Result {
	weight := func(s eventlog.Status) int {
		switch s {
		case eventlog.StatusFailed:
			return 3
		case eventlog.StatusConflict:
			return 2
		case eventlog.StatusStored:
			return 1
		}
		return 0
	}
	sum := records[0]
	for _, r := range records[1:] {
		last := sum.Position
		if r.Position.Compare(last) > 0 {
			last = r.Position
		}
		if weight(r.Status) > weight(sum.Status) {
			sum = r
		}
		sum.Position = last
	}
	return sum
}

func (j *job) fill(out *keytrailv1.PublishResult, r eventlog.Result, call bool) {
	log := j.ingest.log
	switch r.Status {
	case eventlog.StatusStored:
		switch given := log.Durability(); {
		case given.Synced:
			out.Status = keytrailv1.PublishStatus_PUBLISH_STATUS_SYNCED
		case given.Replicated:
			out.Status = keytrailv1.PublishStatus_PUBLISH_STATUS_REPLICATED
		default:
			out.Status = keytrailv1.PublishStatus_PUBLISH_STATUS_STORED
		}
	case eventlog.StatusDuplicate:
		out.Status = keytrailv1.PublishStatus_PUBLISH_STATUS_DUPLICATE
	case eventlog.StatusConflict:
		out.Status = keytrailv1.PublishStatus_PUBLISH_STATUS_CONFLICT
		out.Rejection = &keytrailv1.Rejection{
			Code:    keytrailv1.RejectionCode_REJECTION_CODE_CONFLICT,
			Field:   "eventID",
			Message: "the log holds another record under this event ID",
		}
		if call {
			out.Rejection.Field, out.Rejection.Message = "call.call_id", "the log holds other records under this call ID: it was used for another call, or the bus records calls otherwise than it did"
		}
		return
	case eventlog.StatusFailed:
		out.Status = keytrailv1.PublishStatus_PUBLISH_STATUS_NOT_STORED
		out.Rejection = &keytrailv1.Rejection{Code: keytrailv1.RejectionCode_REJECTION_CODE_LOG_UNAVAILABLE, Message: r.Err.Error()}
		if errors.Is(r.Err, eventlog.ErrFull) {
			out.Rejection.Code = keytrailv1.RejectionCode_REJECTION_CODE_LOG_FULL
		}
		return
	}
	if r.Position != (eventlog.Position{}) {
		out.Cursor = log.Cursor(r.Position)
	}
}
