package client

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// closeGrace is how long Close waits for the bus to end a stream on which
// everything is answered.
const closeGrace = time.Second

// Publisher publishes records in batches over one stream, and sends again what
// was not answered. The package documentation says what it guarantees. Its
// methods may be called at the same time. Close it when done.
//
// The result of a record is an error when the bus did not judge the record:
//
//   - [ErrGaveUp] after PublisherConfig.RetryFor;
//   - [ErrClosed] when the publisher was closed first;
//   - the status with which the bus ended the stream, when that is not
//     expected to pass. INVALID_ARGUMENT, and RESOURCE_EXHAUSTED without a time
//     to try again, are the fault of one request and end its records. All
//     others (FAILED_PRECONDITION, UNIMPLEMENTED, PERMISSION_DENIED,
//     UNAUTHENTICATED, INTERNAL and so on) end all records that are pending.
type Publisher struct {
	cfg    PublisherConfig
	client keytrailv1.IngestServiceClient
	conn   *grpc.ClientConn

	ctx    context.Context // parent of every stream
	cancel context.CancelFunc
	wake   chan struct{} // one slot: run has something to look at
	fnWake chan struct{} // one slot: call has
	ran    chan struct{} // closed when run has returned: no stream, nothing queued
	called chan struct{} // closed when call has returned

	mu sync.Mutex // guards the fields below, Pending's and stream's

	closed       bool
	seq          uint64     // of the last record
	number       uint64     // of the last request; goes on from stream to stream
	queue        []*Pending // not with the bus; by seq
	queueBytes   int        // of queue
	ordered      []*Pending // those that have a callback, until it has run; by seq
	pending      int        // records without a result, or whose callback has not returned
	pendingBytes int
	room         chan struct{} // closed and unset when pending shrinks; nil while nobody waits for room
	flushes      []*flush

	cur       *stream   // nil while there is none
	look      time.Time // when run looks next by itself; zero: only when woken
	retry     backoff
	notBefore time.Time // nothing is sent, and no stream opened, before this
	lastErr   error     // why something was last not stored
	closeErr  error     // what Close returns
}

// flush is somebody waiting for what was taken up to now.
type flush struct {
	upTo uint64 // seq
	left int    // of those, how many are pending
	done chan struct{}
}

// NewPublisher makes a publisher. Its stream is opened for the first record.
func (c *Client) NewPublisher(cfg PublisherConfig) (*Publisher, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("client: publisher: %w", err)
	}
	p := &Publisher{
		cfg:    cfg,
		client: keytrailv1.NewIngestServiceClient(c.conn),
		conn:   c.conn,
		wake:   make(chan struct{}, 1),
		fnWake: make(chan struct{}, 1),
		ran:    make(chan struct{}),
		called: make(chan struct{}),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	go p.run()  // Close waits for ran
	go p.call() // Close waits for called
	return p, nil
}

// Publish takes rec and returns a handle on its result. It blocks while as
// much is pending as the config allows, until ctx ends. The record is encoded
// before Publish returns and may be changed or used again after.
//
// A record that is larger than [record.MaxBytes], that cannot be encoded, or that
// holds a secret ([record.CheckSecrets]) gets the result REJECTED without being
// sent. Nothing else is checked here.
func (p *Publisher) Publish(ctx context.Context, rec *keytrailv1.Record) (*Pending, error) {
	x := &Pending{done: make(chan struct{})}
	if err := p.take(ctx, x, x.encodeRecord(rec)); err != nil {
		return nil, err
	}
	return x, nil
}

// PublishFunc is Publish with a callback instead of a handle to wait for, for
// whoever loads records in bulk. When it returns nil, fn is called once, with
// the finished handle. All callbacks of a publisher run on one goroutine, in
// the order in which PublishFunc took the records, even where results come in
// another: after the nth call, the first n records are done with. A record
// counts as pending until its callback has returned. A callback must not call
// Publish, Flush or Close.
func (p *Publisher) PublishFunc(ctx context.Context, rec *keytrailv1.Record, fn func(*Pending)) error {
	if fn == nil {
		fn = func(*Pending) {}
	}
	x := &Pending{fn: fn}
	return p.take(ctx, x, x.encodeRecord(rec))
}

// PublishWait publishes rec and waits for its result. When ctx ends first the
// record is still being published.
func (p *Publisher) PublishWait(ctx context.Context, rec *keytrailv1.Record) (*keytrailv1.PublishResult, error) {
	x, err := p.Publish(ctx, rec)
	if err != nil {
		return nil, err
	}
	return x.Result(ctx)
}

// take queues x, or answers it with refused.
func (p *Publisher) take(ctx context.Context, x *Pending, refused *keytrailv1.PublishResult) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.closed && p.pending > 0 &&
		(p.pending >= p.cfg.MaxPending || p.pendingBytes+len(x.item) > p.cfg.MaxPendingBytes) {
		if p.room == nil {
			p.room = make(chan struct{})
		}
		room := p.room
		p.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
		}
		p.mu.Lock()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if p.closed {
		return ErrClosed
	}

	p.seq++
	x.seq = p.seq
	x.accepted = time.Now()
	p.pending++
	p.pendingBytes += len(x.item)
	if x.fn != nil {
		p.ordered = append(p.ordered, x)
	}
	if refused != nil {
		p.answerLocked(x, refused, nil)
		return nil
	}
	p.queue = append(p.queue, x)
	p.queueBytes += len(x.item)

	// A record that neither starts a batch nor fills one changes nothing for
	// whoever sends.
	n, size := len(p.queue), p.queueBytes
	if n == 1 || n == p.cfg.BatchRecords ||
		size >= p.cfg.BatchBytes && size-len(x.item) < p.cfg.BatchBytes {
		if p.cur != nil {
			signal(p.cur.wake)
		}
	}
	if p.cur == nil && n == 1 || p.look.IsZero() {
		signal(p.wake)
	}
	return nil
}

// encodeRecord fills x.item, or says why the record cannot be sent.
func (x *Pending) encodeRecord(rec *keytrailv1.Record) *keytrailv1.PublishResult {
	p := record.CheckSecrets(rec)
	if p == nil {
		p = x.encode(recordField, rec)
	}
	if p == nil {
		return nil
	}
	result := rejected(p)
	if id := rec.GetEventId(); utf8.ValidString(id) && id != "" {
		result.EventIds = []string{id}
	}
	return result
}

// encode fills x.item with a record or call, or says why it cannot be sent.
func (x *Pending) encode(field protowire.Number, m proto.Message) *record.Problem {
	item, err := encodeItem(field, m)
	if err != nil {
		return &record.Problem{Code: keytrailv1.RejectionCode_REJECTION_CODE_INVALID_VALUE,
			Message: "it cannot be encoded: a text in it is not valid UTF-8"}
	}
	// The overhead of an item is a few bytes; only what is near the limit needs
	// to be measured exactly.
	if len(item) > record.MaxBytes && contentBytes(item) > record.MaxBytes {
		return &record.Problem{Code: keytrailv1.RejectionCode_REJECTION_CODE_TOO_LARGE,
			Message: fmt.Sprintf("it is over %d bytes", record.MaxBytes)}
	}
	x.item = item
	return nil
}

// rejected is the result that the bus would give.
func rejected(p *record.Problem) *keytrailv1.PublishResult {
	return &keytrailv1.PublishResult{
		Status:    keytrailv1.PublishStatus_PUBLISH_STATUS_REJECTED,
		Rejection: &keytrailv1.Rejection{Code: p.Code, Field: p.Field, Message: p.Message},
	}
}

// Flush sends what is queued without waiting for more, and returns when every
// record that was taken before the call has a result and its callback has
// returned, or when ctx ends.
func (p *Publisher) Flush(ctx context.Context) error {
	p.mu.Lock()
	f := p.flushLocked()
	p.mu.Unlock()
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		p.mu.Lock()
		p.flushes = slices.DeleteFunc(p.flushes, func(g *flush) bool { return g == f })
		p.mu.Unlock()
		return ctx.Err()
	}
}

func (p *Publisher) flushLocked() *flush {
	f := &flush{upTo: p.seq, left: p.pending, done: make(chan struct{})}
	if f.left == 0 {
		close(f.done)
		return f
	}
	p.flushes = append(p.flushes, f)
	if p.cur != nil {
		signal(p.cur.wake)
	}
	return f
}

// Close takes no more records, flushes, ends the stream and returns when all
// goroutines of the publisher are gone. When ctx ends first, the records
// without a result get ErrClosed and Close returns an *[UnansweredError]. It
// still waits for a callback that is running. Later calls return the same.
func (p *Publisher) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.makeRoomLocked() // for those who wait, to see that it is closed
	f := p.flushLocked()
	if p.cur != nil {
		signal(p.cur.wake)
	}
	p.mu.Unlock()
	signal(p.wake)

	select {
	case <-f.done:
		grace := time.NewTimer(closeGrace)
		defer grace.Stop()
		select {
		case <-p.ran:
		case <-grace.C:
		case <-ctx.Done():
		}
	case <-ctx.Done():
	}
	p.cancel()
	<-p.ran
	<-p.called
	return p.closeErr // written before ran was closed
}

// signal wakes whoever waits on a channel of one slot, now or next.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
