package client

import (
	"context"
	"errors"
	"fmt"
	"sync"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// maxFilterBytes is the largest filter, from filter.proto.
const maxFilterBytes = 65_536

// SetFilter asks for another filter; nil is all records. The answer comes among
// the events: one with FilterChanged in the place from which it holds, or one
// with FilterRefused when it is faulty, and the one before holds on. Each names
// the revision that SetFilter returned. Until the answer has come, nothing has
// changed. Of filters that are set while an answer is awaited only the last is
// asked for, and answered.
//
// A change outlives the stream that it was sent on: it is asked for again until
// it is answered. It does not outlive the program: a [CursorStore] keeps no
// filter.
//
// SetFilter does not wait for the bus, and may be called at the same time as
// Next. It needs SubscriptionConfig.Mutable. It returns the error of a
// subscription that is over, and one for a filter that can't be sent: over
// 65,536 bytes or not UTF-8.
func (s *Subscription) SetFilter(f *keytrailv1.Filter) (revision uint64, err error) {
	if s.changes == nil {
		return 0, errors.New("client: the filter can't be changed: set SubscriptionConfig.Mutable")
	}
	select {
	case <-s.ended:
		return 0, s.err
	default:
	}
	if f != nil {
		f = proto.CloneOf(f) // read at every reconnect
	}
	encoded, err := proto.Marshal(f)
	if err != nil {
		return 0, fmt.Errorf("client: filter: %w", err)
	}
	if len(encoded) > maxFilterBytes {
		return 0, fmt.Errorf("client: filter: it has %d bytes; use at most %d", len(encoded), maxFilterBytes)
	}
	return s.changes.set(f), nil
}

// changes are what SetFilter asked for and the bus has not answered: at most
// one that was sent, or will be as soon as there is a stream, and one that
// waits for its answer.
type changes struct {
	wake chan struct{} // one slot; filled when there may be something to send

	mu       sync.Mutex // guards the fields below
	revision uint64     // of the last change
	asked    *keytrailv1.ChangeFilter
	waiting  *keytrailv1.ChangeFilter
}

func newChanges() *changes { return &changes{wake: make(chan struct{}, 1)} }

func (c *changes) set(f *keytrailv1.Filter) (revision uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revision++
	next := &keytrailv1.ChangeFilter{Filter: f, Revision: c.revision}
	if c.asked == nil {
		c.asked = next
		c.signal()
	} else {
		c.waiting = next
	}
	return c.revision
}

// answered takes out the change that msg answers, and moves up the one that
// waits. If the change took effect, it becomes the filter of req.
func (c *changes) answered(msg *keytrailv1.SubscribeResponse, req *keytrailv1.SubscribeRequest) {
	changed := msg.GetFilterChanged()
	revision := max(changed.GetRevision(), msg.GetFilterRefused().GetRevision())
	if revision == 0 {
		return // no answer
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked.GetRevision() != revision {
		return // an answer to what was not asked
	}
	if changed != nil {
		req.Filter = c.asked.GetFilter()
	}
	c.asked, c.waiting = c.waiting, nil
	if c.asked != nil {
		c.signal()
	}
}

func (c *changes) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// after returns the change to send when that of the given revision was sent on
// this stream already: nil for none.
func (c *changes) after(revision uint64) *keytrailv1.ChangeFilter {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked.GetRevision() <= revision {
		return nil
	}
	return c.asked
}

// send sends changes on a stream until ctx ends, or the stream does: the
// receiving side hears why.
func (c *changes) send(ctx context.Context, call keytrailv1.SubscribeService_FollowClient) {
	sent := uint64(0)
	for {
		if next := c.after(sent); next != nil {
			if call.Send(&keytrailv1.FollowRequest{Request: &keytrailv1.FollowRequest_Change{Change: next}}) != nil {
				return
			}
			sent = next.GetRevision()
		}
		select {
		case <-c.wake:
		case <-ctx.Done():
			return
		}
	}
}

// receiver is the receiving side of a stream, whichever call it is.
type receiver interface {
	Recv() (*keytrailv1.SubscribeResponse, error)
	Header() (metadata.MD, error)
}

// follow opens a stream on which the filter may change, and returns a function
// that waits for what sends the changes, which ends after ctx.
func (s *Subscription) follow(ctx context.Context, req *keytrailv1.SubscribeRequest) (_ receiver, wait func(), _ error) {
	call, err := s.client.Follow(ctx)
	if err != nil {
		return nil, nil, err
	}
	var sender sync.WaitGroup
	// Encoded before Send returns: req changes later. An error is io.EOF, for
	// which the receiving side has the status.
	if call.Send(&keytrailv1.FollowRequest{Request: &keytrailv1.FollowRequest_Open{Open: req}}) == nil {
		sender.Go(func() { s.changes.send(ctx, call) })
	}
	return call, sender.Wait, nil
}
