package client

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

// PublishCall is [Publisher.Publish] for a call, of which the bus makes the
// records. What must not be logged is removed before anything is kept or sent;
// the result names the event IDs of all records. A call without a call ID gets
// one, a UUIDv7, which stays the same through all attempts: so a call is
// recorded once however often it is sent. c is not changed.
func (p *Publisher) PublishCall(ctx context.Context, c *keytrailv1.Call) (*Pending, error) {
	x := &Pending{done: make(chan struct{})}
	if err := p.takeCall(ctx, x, c); err != nil {
		return nil, err
	}
	return x, nil
}

// PublishCallFunc is [Publisher.PublishFunc] for a call, as PublishCall.
func (p *Publisher) PublishCallFunc(ctx context.Context, c *keytrailv1.Call, fn func(*Pending)) error {
	if fn == nil {
		fn = func(*Pending) {}
	}
	return p.takeCall(ctx, &Pending{fn: fn}, c)
}

// PublishCallWait publishes c and waits for its result, as PublishWait.
func (p *Publisher) PublishCallWait(ctx context.Context, c *keytrailv1.Call) (*keytrailv1.PublishResult, error) {
	x, err := p.PublishCall(ctx, c)
	if err != nil {
		return nil, err
	}
	return x.Result(ctx)
}

func (p *Publisher) takeCall(ctx context.Context, x *Pending, c *keytrailv1.Call) error {
	if c == nil {
		c = new(keytrailv1.Call)
	}
	safe := record.Redact(c)
	if safe.GetCallId() == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return fmt.Errorf("client: making a call ID: %w", err)
		}
		text := id.String()
		safe.CallId = &text
	}
	if problem := x.encode(callField, safe); problem != nil {
		return p.take(ctx, x, rejected(problem))
	}
	return p.take(ctx, x, nil)
}
