package server

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"

	"github.com/keytrail/keytrail/fanout"
	"github.com/keytrail/keytrail/filter"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"google.golang.org/grpc"
)

// followStream is the server's side of a Follow call.
type followStream = grpc.BidiStreamingServer[keytrailv1.FollowRequest, keytrailv1.SubscribeResponse]

// Follow implements the RPC of that name. It is Subscribe with a second
// goroutine, which receives changes.
func (s *subscribe) Follow(stream followStream) error {
	ended := make(chan error, 2) // the sender's end, and a fault of the receiver
	s.goSend(ended, func() error { return s.follow(stream, ended) })
	return s.await(ended)
}

// follow opens the stream, starts its receiver, and sends.
func (s *subscribe) follow(stream followStream, ended chan<- error) error {
	req, err := stream.Recv()
	if err != nil && !errors.Is(err, io.EOF) {
		return err // the client is gone, or sent what is no request
	}
	if req.GetOpen() == nil {
		return toStatus(s.log, invalid("open", "the first request must have it"))
	}
	sub, err := s.open(stream.Context(), req.GetOpen())
	if err != nil {
		return toStatus(s.log, err)
	}
	defer sub.Close()
	r := &changeReceiver{subscribe: s, stream: stream, sub: sub, out: &outlet{stream: stream}}
	s.senders.Go(func() {
		if err := r.run(); err != nil {
			ended <- toStatus(s.log, err)
		}
	})
	return s.send(stream.Context(), sub, r.out)
}

// outlet is where the goroutines of a stream send.
type outlet struct {
	stream grpc.ServerStream

	mu    sync.Mutex // held while sending
	ended bool       // the last message was sent
}

// send sends m, unless the last message was sent, which m may be.
func (o *outlet) send(m any, last bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return nil
	}
	o.ended = last
	return o.stream.SendMsg(m)
}

// changeReceiver is the receiving side of a Follow call. It takes one change at
// a time: a client that sends them faster fills its own flow-control window.
type changeReceiver struct {
	subscribe *subscribe
	stream    followStream
	sub       *fanout.Subscription
	out       *outlet
}

// run takes changes until the client has no more, for which it returns nil, or
// the call ends.
func (r *changeReceiver) run() (err error) {
	defer func() { err = recovered(recover(), err) }()
	for last := uint64(0); ; {
		req, err := r.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		c := req.GetChange()
		if c == nil {
			return invalid("change", "every request but the first must have it")
		}
		if c.GetRevision() <= last {
			return invalid("change.revision", "%d comes after %d; revisions must ascend, from 1", c.GetRevision(), last)
		}
		last = c.GetRevision()
		if err := r.take(c); err != nil {
			return err
		}
	}
}

// take gives the subscription another filter, or tells the client what is wrong
// with it.
func (r *changeReceiver) take(c *keytrailv1.ChangeFilter) error {
	f, err := r.subscribe.compile(r.stream.Context(), c.GetFilter())
	var bad *filter.Error
	switch {
	case errors.As(err, &bad):
		return r.out.send(&keytrailv1.SubscribeResponse{Event: &keytrailv1.SubscribeResponse_FilterRefused{
			FilterRefused: &keytrailv1.FilterRefused{Revision: c.GetRevision(), Field: bad.Field, Message: bad.Message},
		}}, false)
	case err != nil:
		return err
	}
	r.sub.SetFilter(f, c.GetRevision())
	return nil
}

// compile compiles the filter of a change when it is its turn.
func (s *subscribe) compile(ctx context.Context, f *keytrailv1.Filter) (*filter.Filter, error) {
	select {
	case s.compiling <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-s.compiling }()
	return filter.Compile(f)
}

// compilers is how many changes are compiled at once: clients that change their
// filters without end leave half of the processors to the records.
func compilers() int { return max(1, runtime.GOMAXPROCS(0)/2) }
