package eventlog

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/keytrail/keytrail/record"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Bounds of a window and of a message.
const (
	windowRecords = 4000
	windowBytes   = 8 << 20
	maxMessage    = 64 << 10 // a larger record travels alone
)

// Entry is a record to store. [NewEntry] makes one.
type Entry struct {
	Header  record.Header
	subject string
	encoded []byte
}

// NewEntry takes a record's encoded bytes and the header read from them. Nobody changes either
// afterwards. It fails with [ErrSubject].
func NewEntry(h record.Header, encoded []byte) (Entry, error) {
	subject, err := Subject(&h)
	return Entry{Header: h, subject: subject, encoded: encoded}, err
}

// Status is what became of an entry.
type Status int

const (
	// StatusStored: the log has it.
	StatusStored Status = iota + 1

	// StatusDuplicate: the log had it already, with the same content.
	StatusDuplicate

	// StatusConflict: the log holds other content under this event ID.
	StatusConflict

	// StatusFailed: it is not known to be stored; Err says why. Submit it again.
	StatusFailed
)

// Result is what became of an entry. Position is after the record in the log; zero when that is not known.
type Result struct {
	Status   Status
	Position Position
	Err      error
}

// Ticket stands for entries on their way.
type Ticket struct{ sub *submission }

// Done is closed when every entry has its result. It always is: each window
// before it takes the acknowledgement timeout at most.
func (t Ticket) Done() <-chan struct{} { return t.sub.done }

// Results waits for the results, one for each entry, in order.
func (t Ticket) Results(ctx context.Context) ([]Result, error) {
	select {
	case <-t.sub.done:
		return t.sub.results, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// submission is what one Submit brought.
type submission struct {
	entries []Entry
	keys    []eventKey
	sums    []uint64
	results []Result // each written once, before left counts it
	left    atomic.Int64
	done    chan struct{}
	release func()
}

func (s *submission) resolve(i int, r Result) {
	s.results[i] = r
	if s.left.Add(-1) == 0 {
		s.release()
		close(s.done)
	}
}

// Submit queues entries for storing, in order, and returns while they are on
// their way. It blocks while too much is, until ctx ends. Each entry must have an
// event ID.
func (l *Log) Submit(ctx context.Context, entries []Entry) (Ticket, error) {
	if err := l.Fault(); err != nil {
		return Ticket{}, err
	}
	s := &submission{
		entries: entries,
		keys:    make([]eventKey, len(entries)),
		sums:    make([]uint64, len(entries)),
		results: make([]Result, len(entries)),
		done:    make(chan struct{}),
	}
	if len(entries) == 0 {
		close(s.done)
		return Ticket{s}, nil
	}
	bytes := int64(0)
	for i := range entries {
		e := &entries[i]
		bytes += int64(len(e.encoded))
		s.keys[i] = keyOf(e.Header.EventID)
		s.sums[i] = l.recent.sum(e.encoded)
	}
	s.left.Store(int64(len(entries)))
	bytes = min(bytes, l.cfg.PendingBytes) // a submission larger than the bound travels alone
	if err := l.room.Acquire(ctx, bytes); err != nil {
		return Ticket{}, err
	}
	s.release = func() { l.room.Release(bytes) }
	l.closing.RLock()
	defer l.closing.RUnlock()
	if l.closed {
		s.release()
		return Ticket{}, ErrClosed
	}
	select {
	case l.queue <- s:
		return Ticket{s}, nil
	case <-ctx.Done():
		s.release()
		return Ticket{}, ctx.Err()
	}
}

// appendLoop publishes windows until the queue is closed and empty. It alone
// decides the order of the log.
func (l *Log) appendLoop() {
	for first := range l.queue {
		l.windows <- struct{}{} // freed by complete
		w := newWindow(l)
		w.add(first)
	gather:
		for w.records < windowRecords && w.bytes < windowBytes {
			select {
			case s, open := <-l.queue:
				if !open {
					break gather
				}
				w.add(s)
			default:
				break gather
			}
		}
		l.pace.begin(w)
		if !w.publish() {
			l.pace.end(w, false)
			<-l.windows
			continue
		}
		l.appender.Go(func() {
			w.complete()
			l.pace.end(w, true)
			<-l.windows
		})
	}
}

// window is what is published together. appendLoop fills it; then complete
// owns it.
type window struct {
	log            *Log
	records, bytes int
	messages       []*message          // in the order in which they are published
	open           map[string]*message // by subject: the one that may be joined
	barrier        map[keyScope]int    // the place of the last change of a key
	after          uint64              // the log's end, as known before the window
	started        time.Time
}

// keyScope is what order is kept for.
type keyScope struct{ account, region, key string }

// message is a batch on its way.
type message struct {
	subject string
	place   int // in window.messages
	data    []byte
	items   []item
	future  jetstream.PubAckFuture
	err     error  // of publishing
	seq     uint64 // in the log, once it is stored
}

// item is an entry in a message.
type item struct {
	sub   *submission
	index int
}

func newWindow(l *Log) *window {
	return &window{
		log:     l,
		open:    make(map[string]*message),
		barrier: make(map[keyScope]int),
		after:   l.acked.Load(),
		started: time.Now(),
	}
}

// add judges each entry of s and puts the fresh ones into messages.
func (w *window) add(s *submission) {
	l := w.log
	for i := range s.entries {
		switch v, pos := l.recent.reserve(s.keys[i], s.sums[i], s, i); v {
		case fresh:
			w.place(s, i)
		case duplicate:
			s.resolve(i, Result{Status: StatusDuplicate, Position: pos})
		case conflict:
			s.resolve(i, Result{Status: StatusConflict, Position: pos})
		case doubtful:
			s.resolve(i, Result{Status: StatusFailed, Err: fmt.Errorf("%w: whether this event ID is stored is being looked up", ErrUnavailable)})
		case pending:
		}
	}
}

// place adds a fresh entry to the open message of its subject. An entry that
// changes something is a barrier for each of its keys: it opens a message of its own, and
// nothing of those keys joins a message before that.
func (w *window) place(s *submission, i int) {
	e := &s.entries[i]
	var scopes [2]keyScope
	keys := scopes[:0]
	for _, k := range e.Header.Keys {
		keys = append(keys, keyScope{e.Header.Account, e.Header.Region, k})
	}
	if len(keys) == 0 {
		keys = append(keys, keyScope{e.Header.Account, e.Header.Region, noKey})
	}
	m := w.open[e.subject]
	join := m != nil && e.Header.ReadOnly && len(m.data)+len(e.encoded) <= maxMessage
	for _, k := range keys {
		join = join && m.place >= w.barrier[k]
	}
	if !join {
		m = &message{
			subject: e.subject,
			place:   len(w.messages),
			data:    append(make([]byte, 0, len(e.encoded)+16), batchHeader...),
		}
		w.open[e.subject] = m
		w.messages = append(w.messages, m)
	}
	if !e.Header.ReadOnly {
		for _, k := range keys {
			w.barrier[k] = m.place
		}
	}
	m.data = appendRecord(m.data, e.encoded)
	m.items = append(m.items, item{s, i})
	w.records++
	w.bytes += len(e.encoded)
}

// neverAgain keeps nats.go from sending a message again by itself when no stream
// answers: what was sent after it would overtake it.
var neverAgain = jetstream.WithRetryAttempts(0)

// publish sends the window's messages and reports whether any is on its way.
func (w *window) publish() bool {
	l := w.log
	if len(w.messages) == 0 {
		return false
	}
	if err := l.Fault(); err != nil {
		for _, m := range w.messages {
			w.failAll(m, err)
		}
		return false
	}
	if why := l.diskFull(); why != "" {
		l.refuse(why)
		for _, m := range w.messages {
			w.failAll(m, fmt.Errorf("%w: %s", ErrFull, why))
		}
		return false
	}
	for _, m := range w.messages {
		m.future, m.err = l.js.PublishMsgAsync(&nats.Msg{Subject: m.subject, Data: m.data}, neverAgain)
	}
	return true
}

// complete waits for the acknowledgements, and for the sync of what is stored, and gives each entry its result.
func (w *window) complete() {
	l := w.log
	now := time.Now
	var stored, doubt []*message
	answers := make(map[jetstream.ErrorCode]error) // refusal asks the server: once for each kind is enough
	for _, m := range w.messages {
		if m.err != nil { // never sent
			w.failAll(m, l.unavailable(m.err))
			continue
		}
		select {
		case ack := <-m.future.Ok():
			m.seq = ack.Sequence
			if m.seq <= w.after { // a later publish has an earlier place
				l.wentBack(w.after, m.seq)
			}
			l.noteAcked(m.seq)
			if l.commits() {
				stored = append(stored, m)
				continue
			}
			w.settle(m, now())
		case err := <-m.future.Err():
			var refused *jetstream.APIError
			switch {
			case errors.As(err, &refused):
				if why, known := answers[refused.ErrorCode]; known {
					w.failAll(m, why)
					continue
				}
				answers[refused.ErrorCode] = l.refusal(refused, m)
				w.failAll(m, answers[refused.ErrorCode])
			case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrNoResponders):
				w.failAll(m, l.unavailable(err))
			default:
				doubt = append(doubt, m)
				w.suspect(m, l.unavailable(err))
			}
		}
	}
	if len(stored) > 0 {
		err := l.commit()
		if errors.Is(err, ErrSync) {
			err = ErrSync // its details are for the operator
		}
		for _, m := range stored {
			if err != nil { // the log has ended: nobody looks them up
				w.suspect(m, err)
				continue
			}
			w.settle(m, now())
		}
	}
	l.metrics.window(w, now())
	if len(doubt) > 0 {
		l.helpers.Go(func() { l.search(w.after, doubt) })
	}
}

// noteAcked notes that JetStream has acknowledged the sequence seq.
func (l *Log) noteAcked(seq uint64) {
	for {
		old := l.acked.Load()
		if seq <= old || l.acked.CompareAndSwap(old, seq) {
			return
		}
	}
}

// settle tells those who wait that m is stored, as durably as the log promises.
func (w *window) settle(m *message, at time.Time) {
	l := w.log
	for i, it := range m.items {
		pos := After(m.seq, i, len(m.items))
		sum, waiting := l.recent.settle(it.sub.keys[it.index], pos, at)
		it.sub.resolve(it.index, Result{Status: StatusStored, Position: pos})
		l.tell(waiting, func(w waiter) Result {
			if w.sum == sum {
				return Result{Status: StatusDuplicate, Position: pos}
			}
			return Result{Status: StatusConflict, Position: pos}
		})
	}
}

// suspect tells those who wait that m may be stored or not, for the reason err.
func (w *window) suspect(m *message, err error) {
	for _, it := range m.items {
		w.log.tell(w.log.recent.suspect(it.sub.keys[it.index]), nil)
		it.sub.resolve(it.index, Result{Status: StatusFailed, Err: err})
	}
}

func (w *window) failAll(m *message, err error) {
	for _, it := range m.items {
		w.log.fail(it, err)
	}
}

// fail gives an entry back, and those that waited for it.
func (l *Log) fail(it item, err error) {
	waiting := l.recent.release(it.sub.keys[it.index])
	it.sub.resolve(it.index, Result{Status: StatusFailed, Err: err})
	l.tell(waiting, func(waiter) Result { return Result{Status: StatusFailed, Err: err} })
}

// tell resolves the waiters of an ID; a nil result means that its record is in doubt.
func (l *Log) tell(waiting []waiter, result func(waiter) Result) {
	for _, w := range waiting {
		if result == nil {
			w.sub.resolve(w.index, Result{Status: StatusFailed, Err: ErrUnavailable})
			continue
		}
		w.sub.resolve(w.index, result(w))
	}
}

// Error codes of JetStream that mean a lack of room.
const (
	jsInsufficientResources = 10023
	jsStorageExceeded       = 10047
	jsStoreFailed           = 10077 // the reason is only in its text, so refusal looks at the stream
)

// refusal is the error for a message that JetStream answered with an error:
// certainly not stored.
func (l *Log) refusal(e *jetstream.APIError, m *message) error {
	why := ""
	switch e.ErrorCode {
	case jsInsufficientResources, jsStorageExceeded:
		why = e.Description
	case jsStoreFailed:
		ctx, cancel := context.WithTimeout(context.Background(), l.cfg.AckTimeout)
		defer cancel()
		info, err := l.stream.Info(ctx)
		if err == nil && info.Config.MaxBytes > 0 && info.State.Bytes+uint64(len(m.data)+len(m.subject))+64 > uint64(info.Config.MaxBytes) {
			why = fmt.Sprintf("it holds %d of %d bytes: trim it with `bus log trim`, or give it room with --log-max-bytes", info.State.Bytes, info.Config.MaxBytes)
		}
	}
	if why == "" {
		return fmt.Errorf("%w: JetStream answered: %s (%d)", ErrUnavailable, e.Description, e.ErrorCode)
	}
	l.refuse(why)
	return fmt.Errorf("%w: %s", ErrFull, why)
}

// askAgain is how long search waits for an answer.
const askAgain = 2 * time.Second

// search finds out which messages in doubt were stored after all. It tries
// until it knows, or the log is closed.
func (l *Log) search(after uint64, doubt []*message) {
	wanted := make(map[eventKey]bool)
	for _, m := range doubt {
		for _, it := range m.items {
			wanted[it.sub.keys[it.index]] = true
		}
	}
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		found, err := l.findStored(after, wanted)
		if err == nil {
			l.cfg.Logger.Warn("records in doubt looked up", "records", len(wanted), "stored", found)
			return
		}
		select {
		case <-l.stopped.Done():
			return
		case <-time.After(wait):
		}
	}
}

func (l *Log) findStored(after uint64, wanted map[eventKey]bool) (found int, err error) {
	// A question to a leader that is gone is never answered: ask again soon.
	ctx, cancel := context.WithTimeout(l.stopped, askAgain)
	defer cancel()
	// The stream takes messages from a queue of its own, in which those in doubt may
	// still be. A message that it must refuse comes after all of them.
	_, err = l.js.Publish(ctx, SubjectRoot+".-.-.-.-", nil, jetstream.WithExpectLastSequence(math.MaxInt64), jetstream.WithRetryAttempts(0))
	var refused *jetstream.APIError
	if !errors.As(err, &refused) || refused.ErrorCode != jetstream.JSErrCodeStreamWrongLastSequence && refused.ErrorCode != jetstream.JSErrCodeStreamWrongLastSequenceConstant {
		return 0, fmt.Errorf("waiting for the stream's queue: %w", err)
	}
	info, err := l.stream.Info(ctx)
	if err != nil {
		return 0, err
	}
	stored := make(map[eventKey]Position)
	err = l.scan(l.stopped, after+1, info.State.LastSeq, func(b *Batch) {
		var h record.Header
		for i, enc := range b.Records {
			if h.Decode(enc) == nil && wanted[keyOf(h.EventID)] {
				stored[keyOf(h.EventID)] = After(b.Seq, i, len(b.Records))
			}
		}
	})
	if err != nil {
		return 0, err
	}
	if len(stored) > 0 {
		l.noteAcked(info.State.LastSeq)
		if err := l.commit(); err != nil {
			return 0, err
		}
	}
	for k := range wanted {
		if pos, ok := stored[k]; ok {
			l.recent.settle(k, pos, time.Now())
		} else {
			l.recent.release(k)
		}
	}
	return len(stored), nil
}
