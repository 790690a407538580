package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// DefaultSaveEvery is the default of SubscriptionConfig.SaveEvery.
const DefaultSaveEvery = time.Second

// lasting is how long a stream must have been open for its end not to count as
// one more failure in a row.
const lasting = maxBackoff

// SubscriptionConfig says what a [Subscription] follows and from where. The
// zero value follows all records from now on.
type SubscriptionConfig struct {
	// Filter says which records. Nil: all.
	Filter *keytrailv1.Filter

	// Mutable allows SetFilter. It costs the bus one more goroutine, and a bus
	// that is older than it answers UNIMPLEMENTED.
	Mutable bool

	// Start says from where, unless Cursors holds a cursor. Default: [Now].
	Start Start

	// CheckpointInterval is how long the bus may be silent before it sends a
	// checkpoint: 100 ms to 1 h. Default: the bus' own, 10 s.
	CheckpointInterval time.Duration

	// AllowGap makes a subscription whose start the log no longer holds begin
	// at the earliest record, with a gap, instead of failing with
	// *[ExpiredError]. It holds for reconnects too.
	AllowGap bool

	// Cursors, when set, keeps the position across restarts of the program.
	// A cursor that it holds wins over Start.
	Cursors CursorStore

	// SaveEvery is how often at most a cursor is saved; the last one is saved
	// by Close. After a crash, what was handled since the last save is
	// delivered again. Negative: after each event. Default 1 s.
	SaveEvery time.Duration

	// RetryFor is how long the subscription tries to reconnect before Next
	// returns ErrGaveUp. Default: for ever.
	RetryFor time.Duration

	// OnState, when set, is told about the stream: see [State]. err says why
	// it ended; nil when the bus drained it. It is called from the
	// subscription's own goroutine and must not block.
	OnState func(s State, err error)
}

func (c SubscriptionConfig) withDefaults() (SubscriptionConfig, error) {
	if c.SaveEvery == 0 {
		c.SaveEvery = DefaultSaveEvery
	}
	if c.OnState == nil {
		c.OnState = func(State, error) {}
	}
	var errs []error
	if c.CheckpointInterval < 0 {
		errs = append(errs, fmt.Errorf("CheckpointInterval %s is negative", c.CheckpointInterval))
	}
	if c.RetryFor < 0 {
		errs = append(errs, fmt.Errorf("RetryFor %s is negative", c.RetryFor))
	}
	return c, errors.Join(errs...)
}

// Subscription is a stream of events that outlives its connections. The
// package documentation says what it guarantees. Next, Events and Handled are
// for one goroutine; Close and SetFilter may be called from others. Close it
// when done.
type Subscription struct {
	cfg    SubscriptionConfig
	client keytrailv1.SubscribeServiceClient
	conn   *grpc.ClientConn

	ctx    context.Context // of every stream; ends with ErrClosed when Close is called
	cancel context.CancelCauseFunc

	// messages hands over what the bus sent. It has no slots: run reads no
	// further than one message ahead, then HTTP/2 flow control holds the bus.
	messages chan *keytrailv1.SubscribeResponse
	ended    chan struct{} // closed when run has returned
	err      error         // why it has; set before ended is closed

	changes *changes // nil unless mutable

	batch []*keytrailv1.Delivered // owned by the caller of Next: the rest of the last message

	mu        sync.Mutex // guards the fields below; held while the store is called
	handed    string     // cursor of the event that the caller is handling; "" when none
	handled   string     // cursor of the last event that was handled
	saved     string     // cursor that the store holds
	savedAt   time.Time
	closeOnce sync.Once
	closeErr  error
}

// Subscribe starts a subscription. ctx governs all of it: when ctx ends so does
// the subscription, and its values (such as outgoing metadata) go with every
// stream. Subscribe itself only loads the cursor; whether the bus takes the
// subscription is for Next to say.
func (c *Client) Subscribe(ctx context.Context, cfg SubscriptionConfig) (*Subscription, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("client: subscription: %w", err)
	}
	s := &Subscription{
		cfg:      cfg,
		client:   keytrailv1.NewSubscribeServiceClient(c.conn),
		conn:     c.conn,
		messages: make(chan *keytrailv1.SubscribeResponse),
		ended:    make(chan struct{}),
	}
	if cfg.Mutable {
		s.changes = newChanges()
	}
	start := cfg.Start
	if cfg.Cursors != nil {
		cursor, err := cfg.Cursors.Load(ctx)
		if err != nil {
			return nil, fmt.Errorf("client: load cursor: %w", err)
		}
		if cursor != "" {
			start = After(cursor)
			s.saved = cursor
		}
	}
	req := &keytrailv1.SubscribeRequest{AllowGap: cfg.AllowGap}
	if cfg.Filter != nil {
		req.Filter = proto.CloneOf(cfg.Filter) // read at every reconnect
	}
	if cfg.CheckpointInterval > 0 {
		req.CheckpointInterval = durationpb.New(cfg.CheckpointInterval)
	}
	start.set(req)

	s.ctx, s.cancel = context.WithCancelCause(ctx)
	go func() { // Close waits for ended
		defer close(s.ended)
		s.err = s.run(req)
	}()
	return s, nil
}

// Events is Next as an iterator. It ends after the first error, which it
// yields, or when the loop is left; it may be ranged over again. An event at
// which the loop is left is not handled yet: see Handled.
func (s *Subscription) Events(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			ev, err := s.Next(ctx)
			if !yield(ev, err) || err != nil {
				return
			}
		}
	}
}

// Next waits for the next event, or for ctx to end, which loses nothing: the
// next call goes on. Calling it says that the event before is handled. Errors:
//
//   - ctx's own, and one of the CursorStore's Save: call again if you like;
//   - [ErrClosed] after Close, and that of the context given to Subscribe;
//   - *[ExpiredError], [ErrGaveUp], and statuses that will not pass, such as
//     INVALID_ARGUMENT and DATA_LOSS (see subscribe.proto): the subscription
//     is over, and every later call returns the same.
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	s.Handled()
	if ctx.Err() != nil {
		return Event{}, ctx.Err()
	}
	if s.ctx.Err() != nil {
		return Event{}, s.over()
	}
	for {
		wait, err := s.saveDue(ctx)
		if err != nil {
			return Event{}, err
		}
		if len(s.batch) > 0 {
			d := s.batch[0]
			s.batch = s.batch[1:]
			return s.hand(Event{Cursor: d.GetCursor(), Record: d.GetRecord()}), nil
		}
		msg, err := s.receive(ctx, wait)
		if err != nil {
			return Event{}, err
		}
		switch e := msg.GetEvent().(type) {
		case *keytrailv1.SubscribeResponse_Batch:
			s.batch = e.Batch.GetRecords()
		case *keytrailv1.SubscribeResponse_Checkpoint:
			return s.hand(Event{Cursor: e.Checkpoint.GetCursor(), Checkpoint: e.Checkpoint}), nil
		case *keytrailv1.SubscribeResponse_Gap:
			return s.hand(Event{Cursor: e.Gap.GetCursor(), Gap: e.Gap}), nil
		case *keytrailv1.SubscribeResponse_FilterChanged:
			return s.hand(Event{Cursor: e.FilterChanged.GetCursor(), FilterChanged: e.FilterChanged}), nil
		case *keytrailv1.SubscribeResponse_FilterRefused:
			return s.hand(Event{Cursor: s.place(), FilterRefused: e.FilterRefused}), nil
		}
	}
}

// receive waits for a message; for at most wait, unless that is 0: then the
// message is nil.
func (s *Subscription) receive(ctx context.Context, wait time.Duration) (*keytrailv1.SubscribeResponse, error) {
	var alarm <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		alarm = timer.C
	}
	select {
	case msg := <-s.messages:
		return msg, nil
	case <-alarm:
		return nil, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.ended:
		return nil, s.err
	}
}

// place is the cursor of the last event that was handed out.
func (s *Subscription) place() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.handled
}

func (s *Subscription) hand(ev Event) Event {
	s.mu.Lock()
	s.handed = ev.Cursor
	s.mu.Unlock()
	return ev
}

// Handled says that the last event is handled, so that Close saves its cursor.
// Next does that by itself; call Handled when no Next follows.
func (s *Subscription) Handled() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handed != "" {
		s.handled, s.handed = s.handed, ""
	}
}

// saveDue saves the cursor if that is due, and otherwise says when it will be:
// 0 when there is nothing to save.
func (s *Subscription) saveDue(ctx context.Context) (time.Duration, error) {
	if s.cfg.Cursors == nil {
		return 0, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handled == "" || s.handled == s.saved {
		return 0, nil
	}
	if wait := s.cfg.SaveEvery - time.Since(s.savedAt); wait > 0 && !s.savedAt.IsZero() {
		return wait, nil
	}
	return 0, s.saveLocked(ctx)
}

func (s *Subscription) saveLocked(ctx context.Context) error {
	if err := s.cfg.Cursors.Save(ctx, s.handled); err != nil {
		return fmt.Errorf("client: save cursor: %w", err)
	}
	s.saved = s.handled
	s.savedAt = time.Now()
	return nil
}

// Close ends the subscription, saves the cursor of the last event that was
// handled, bounded by ctx, and returns when the subscription's goroutine is
// gone. The event that was handed out last is handled only if Next or Handled
// was called after it: a program that closes because an event could not be
// handled gets that event again. Later calls return the same.
func (s *Subscription) Close(ctx context.Context) error {
	s.cancel(ErrClosed)
	<-s.ended
	s.closeOnce.Do(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.cfg.Cursors != nil && s.handled != "" && s.handled != s.saved {
			s.closeErr = s.saveLocked(ctx)
		}
	})
	return s.closeErr
}

// run follows the log through as many streams as it takes, and returns why it
// cannot any more. It owns req, whose start moves along.
func (s *Subscription) run(req *keytrailv1.SubscribeRequest) error {
	var retry backoff
	var down time.Time // since when the bus has sent nothing; zero before the first failure
	for {
		opened := time.Now()
		end := s.stream(req)
		if s.ctx.Err() != nil {
			return s.over()
		}
		if !end.passing() || s.conn.GetState() == connectivity.Shutdown {
			return subscribeError(end.err)
		}
		now := time.Now()
		if end.got || down.IsZero() {
			down = now
		}
		if end.got && now.Sub(opened) >= lasting {
			retry.reset()
		}
		s.cfg.OnState(StateReconnecting, end.err)

		wait := retry.after(end.err)
		if s.cfg.RetryFor > 0 && now.Add(wait).Sub(down) > s.cfg.RetryFor {
			return gaveUp(s.cfg.RetryFor, end.err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-s.ctx.Done():
			timer.Stop()
			return s.over()
		}
	}
}

// over is why s.ctx has ended.
func (s *Subscription) over() error {
	if errors.Is(context.Cause(s.ctx), ErrClosed) {
		return ErrClosed
	}
	return s.ctx.Err()
}

// ending is how a stream ended.
type ending struct {
	got     bool  // the bus sent something on it
	refused bool  // the bus ended the call without beginning to answer
	err     error // nil when the bus drained the stream
}

// passing says whether another stream is worth opening. After "too many
// streams" it is; but RESOURCE_EXHAUSTED inside a stream is gRPC's own
// complaint about a message that is larger than the client takes, which would
// come again.
func (e ending) passing() bool {
	if status.Code(e.err) == codes.ResourceExhausted && e.refused {
		return true
	}
	return e.err == nil || passing(e.err)
}

// stream follows one stream and moves req's start along with what was handed
// over.
func (s *Subscription) stream(req *keytrailv1.SubscribeRequest) (end ending) {
	ctx, cancel := context.WithCancel(s.ctx)
	call, wait, err := s.open(ctx, req)
	if err != nil {
		cancel()
		return ending{refused: true, err: err}
	}
	defer wait()
	defer cancel() // before wait
	for {
		msg, err := call.Recv()
		if err != nil {
			header, _ := call.Header()
			end.refused = header == nil
			end.err = err
			return end
		}
		if !end.got {
			end.got = true
			s.cfg.OnState(StateConnected, nil)
		}
		cursor, drained := position(msg)
		if !drained {
			select {
			case s.messages <- msg:
			case <-s.ctx.Done():
				return end
			}
		}
		if cursor != "" {
			After(cursor).set(req)
		}
		if s.changes != nil {
			s.changes.answered(msg, req)
		}
		if drained {
			return end
		}
	}
}

// open opens a stream, and returns a function that waits for what it started,
// which ends after ctx.
func (s *Subscription) open(ctx context.Context, req *keytrailv1.SubscribeRequest) (_ receiver, wait func(), err error) {
	if s.changes != nil {
		return s.follow(ctx, req)
	}
	call, err := s.client.Subscribe(ctx, req)
	return call, func() {}, err
}

// position is the place after msg in the log, "" when it has none, and whether
// msg is the last of its stream.
func position(msg *keytrailv1.SubscribeResponse) (cursor string, drained bool) {
	switch e := msg.GetEvent().(type) {
	case *keytrailv1.SubscribeResponse_Batch:
		if n := len(e.Batch.GetRecords()); n > 0 {
			cursor = e.Batch.GetRecords()[n-1].GetCursor()
		}
	case *keytrailv1.SubscribeResponse_Checkpoint:
		cursor = e.Checkpoint.GetCursor()
	case *keytrailv1.SubscribeResponse_Gap:
		cursor = e.Gap.GetCursor()
	case *keytrailv1.SubscribeResponse_FilterChanged:
		cursor = e.FilterChanged.GetCursor()
	case *keytrailv1.SubscribeResponse_Draining:
		return e.Draining.GetCursor(), true
	}
	return cursor, false
}
