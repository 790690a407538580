package spool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// DefaultWait is how long a sink waits for the bus.
const DefaultWait = 5 * time.Second

// Pending is a call on its way to a bus: a *client.Pending.
type Pending interface {
	Result(ctx context.Context) (*keytrailv1.PublishResult, error)
}

// Publish takes a call and returns without waiting for its result. Calls are
// published in the order in which it takes them.
type Publish func(ctx context.Context, c *keytrailv1.Call) (Pending, error)

// Via makes a Publish of a method such as PublishCall of a client.Publisher.
func Via[P Pending](publish func(context.Context, *keytrailv1.Call) (P, error)) Publish {
	return func(ctx context.Context, c *keytrailv1.Call) (Pending, error) {
		p, err := publish(ctx, c)
		if err != nil {
			return nil, err // not a P that is nil in a Pending that is not
		}
		return p, nil
	}
}

// RefusedError is the error of a call that the bus will never store: it is not
// valid, or its ID was used for another. Publishing it again does not help.
// Refuse the request that it is about, and mend whatever makes such calls.
type RefusedError struct {
	// Status is REJECTED or CONFLICT.
	Status keytrailv1.PublishStatus

	// Rejection is the bus' reason. It repeats no value of the call.
	Rejection *keytrailv1.Rejection
}

func (e *RefusedError) Error() string {
	s := "spool: the bus refuses the call"
	if f := e.Rejection.GetField(); f != "" {
		s += ": " + f
	}
	if m := e.Rejection.GetMessage(); m != "" {
		s += ": " + m
	}
	return s
}

// judge says why a call with this result is not stored, nil if it is. DUPLICATE
// is stored: a call ID is used once, so it is the same call, sent again.
func judge(r *keytrailv1.PublishResult) error {
	switch s := r.GetStatus(); s {
	case keytrailv1.PublishStatus_PUBLISH_STATUS_STORED,
		keytrailv1.PublishStatus_PUBLISH_STATUS_REPLICATED,
		keytrailv1.PublishStatus_PUBLISH_STATUS_SYNCED,
		keytrailv1.PublishStatus_PUBLISH_STATUS_DUPLICATE:
		return nil
	case keytrailv1.PublishStatus_PUBLISH_STATUS_REJECTED,
		keytrailv1.PublishStatus_PUBLISH_STATUS_CONFLICT:
		return &RefusedError{Status: s, Rejection: r.GetRejection()}
	default:
		return fmt.Errorf("spool: the bus did not store the call: %s", s)
	}
}

// publishWait publishes c and waits at most wait for the bus to store it.
func publishWait(ctx context.Context, publish Publish, c *keytrailv1.Call, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	p, err := publish(ctx, c)
	var r *keytrailv1.PublishResult
	if err == nil {
		r, err = p.Result(ctx)
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("spool: the bus did not store the call within %v: %w", wait, err)
	case err != nil:
		return err
	}
	return judge(r)
}

// FailClosed is a sink for whoever rather refuses a request than lets it go
// unrecorded. It keeps nothing and starts no goroutines.
type FailClosed struct {
	// Publish is required.
	Publish Publish

	// Wait is how long Record waits for the bus. Default 5 s.
	Wait time.Duration
}

// Record returns nil once the bus has stored c. Any error, a [*RefusedError]
// included, means that the request must not be answered. After an error other
// than that one the publisher may still be trying, so the call may be recorded
// although the request was refused; never the reverse.
func (f FailClosed) Record(ctx context.Context, c *keytrailv1.Call) error {
	return publishWait(ctx, f.Publish, c, cmp.Or(f.Wait, DefaultWait))
}

// FailOpenConfig tunes a [FailOpen]. A zero field takes the default in its
// comment.
type FailOpenConfig struct {
	// Publish and Spool are required. The spool stays the caller's to close,
	// after the sink.
	Publish Publish
	Spool   *Spool

	// Wait is how long Record waits for the bus before it spools the call.
	// Default 5 s.
	Wait time.Duration

	// Refused, when set, is where spooled calls are kept that the bus refuses
	// later on: a spool of its own, for people to look at. Without it, or when
	// it is full, such a call is logged by its ID and dropped.
	Refused *Spool

	// Logger. Default: [slog.Default].
	Logger *slog.Logger
}

// FailOpen is a sink that lets requests go on while no bus takes their calls,
// as long as there is room in its spool.
//
// While calls are spooled, new ones go to the spool too, behind them: so they
// keep their order, and an outage costs the time of a flush to disk, not a
// deadline, for each call. Once the spool is empty, calls go to the bus again.
// One that is published and then spooled, because the answer did not come in
// time, has one call ID and is stored once.
type FailOpen struct {
	cfg    FailOpenConfig
	cancel context.CancelFunc
	done   chan struct{} // closed when deliver has returned

	refused atomic.Int64
}

// NewFailOpen makes a sink and starts to deliver what its spool holds.
func NewFailOpen(cfg FailOpenConfig) (*FailOpen, error) {
	cfg.Wait = cmp.Or(cfg.Wait, DefaultWait)
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	var errs []error
	if cfg.Publish == nil {
		errs = append(errs, errors.New("there is no Publish"))
	}
	if cfg.Spool == nil {
		errs = append(errs, errors.New("there is no Spool"))
	}
	if cfg.Spool != nil && cfg.Spool == cfg.Refused {
		errs = append(errs, errors.New("the spools Spool and Refused are the same"))
	}
	if cfg.Wait < 0 {
		errs = append(errs, fmt.Errorf("a Wait of %s is negative", cfg.Wait))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("spool: fail-open: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &FailOpen{cfg: cfg, cancel: cancel, done: make(chan struct{})}
	go f.run(ctx) // Close waits for done
	return f, nil
}

// Record returns nil once the bus has stored c or the spool holds it. It does
// not spool what the bus refuses: that is a [*RefusedError], and no outage.
func (f *FailOpen) Record(ctx context.Context, c *keytrailv1.Call) error {
	_, err := f.RecordOrSpool(ctx, c)
	return err
}

// RecordOrSpool is Record, and says which of the two became of c.
func (f *FailOpen) RecordOrSpool(ctx context.Context, c *keytrailv1.Call) (spooled bool, err error) {
	if f.cfg.Spool.Len() == 0 {
		err = publishWait(ctx, f.cfg.Publish, c, f.cfg.Wait)
		var refused *RefusedError
		if err == nil || errors.As(err, &refused) {
			return false, err
		}
		f.cfg.Logger.WarnContext(ctx, "spool: the bus does not take a call: spooling it", "call_id", c.GetCallId(), "error", err)
	}
	if serr := f.cfg.Spool.Add(c); serr != nil {
		return false, errors.Join(serr, err)
	}
	return true, nil
}

// Refused is how many spooled calls the bus has refused.
func (f *FailOpen) Refused() int64 { return f.refused.Load() }

// Close ends the delivery and returns when it has ended. What is spooled stays
// there. Record goes on working.
func (f *FailOpen) Close() {
	f.cancel()
	<-f.done
}

// run delivers until ctx ends or the spool is closed.
func (f *FailOpen) run(ctx context.Context) {
	defer close(f.done)
	for failures := 0; ; failures++ {
		err := f.cfg.Spool.Run(ctx, f.deliver)
		if ctx.Err() != nil || errors.Is(err, ErrClosed) {
			return
		}
		f.cfg.Logger.ErrorContext(ctx, "spool: delivery stopped", "error", err)
		if pause(ctx, failures) != nil {
			return
		}
	}
}

// deliver publishes calls, in order, and waits for all of them.
func (f *FailOpen) deliver(ctx context.Context, calls []*keytrailv1.Call) error {
	// The whole batch has the time of one call, plus a little for each: it is
	// with the bus at once.
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Wait+time.Duration(len(calls))*100*time.Millisecond)
	defer cancel()
	pending := make([]Pending, len(calls))
	for i, c := range calls {
		p, err := f.cfg.Publish(ctx, c)
		if err != nil {
			return err
		}
		pending[i] = p
	}
	refused := make(map[int]*RefusedError)
	for i, p := range pending {
		r, err := p.Result(ctx)
		if err == nil {
			err = judge(r)
		}
		var never *RefusedError
		switch {
		case errors.As(err, &never):
			refused[i] = never
		case err != nil:
			return err
		}
	}
	for i, c := range calls {
		if err := refused[i]; err != nil {
			f.refuse(ctx, c, err)
		}
	}
	return nil
}

// refuse puts a call aside that the bus will never store.
func (f *FailOpen) refuse(ctx context.Context, c *keytrailv1.Call, why error) {
	f.refused.Add(1)
	kept := "no"
	if f.cfg.Refused != nil {
		kept = "yes"
		if err := f.cfg.Refused.Add(c); err != nil {
			kept = err.Error()
		}
	}
	f.cfg.Logger.ErrorContext(ctx, "spool: the bus refuses a spooled call", "call_id", c.GetCallId(), "error", why, "kept", kept)
}
