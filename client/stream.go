package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
)

// stream is one PublishStream call of a publisher. It ends by itself when the
// call does, or when cancel is called; then done is closed, no goroutine of it
// is left, and what it had not answered is in inflight.
type stream struct {
	p      *Publisher
	cancel context.CancelCauseFunc
	wake   chan struct{} // one slot: send has something to look at
	done   chan struct{}
	err    error // why it ended; set before done is closed

	// Guarded by p.mu.
	inflight []*request // sent, in order, not answered
	credit   amount     // what may still be sent
	out      amount     // what inflight holds
	heard    time.Time  // when the bus last sent anything
	stalled  bool       // given up because of owesSince
}

// request is one PublishStreamRequest.
type request struct {
	number  uint64
	records []*Pending
	size    amount
	sent    time.Time
}

// amount is what credit is counted in.
type amount struct {
	records, bytes uint64
}

func (a *amount) add(b amount) { a.records += b.records; a.bytes += b.bytes }
func (a *amount) sub(b amount) { a.records -= b.records; a.bytes -= b.bytes }

// startStream opens a stream; p.run owns it.
func (p *Publisher) startStream(now time.Time) *stream {
	ctx, cancel := context.WithCancelCause(p.ctx)
	s := &stream{
		p:      p,
		cancel: cancel,
		wake:   make(chan struct{}, 1),
		done:   make(chan struct{}),
		heard:  now,
	}
	go func() { // p.run waits for done
		defer close(s.done)
		defer cancel(nil)
		s.err = s.run(ctx)
		if errors.Is(context.Cause(ctx), errStalled) {
			s.err = errStalled
		}
	}()
	return s
}

type publishStream = grpc.BidiStreamingClient[keytrailv1.PublishStreamRequest, keytrailv1.PublishStreamResponse]

// run sends and receives until the call ends, and returns why it did.
func (s *stream) run(ctx context.Context) error {
	call, err := s.p.client.PublishStream(ctx, grpc.ForceCodecV2(streamCodec))
	if err != nil {
		return err
	}
	received := make(chan struct{})
	var receiveErr error
	go func() {
		defer close(received)
		receiveErr = s.receive(call)
		s.cancel(nil) // send may be blocked
	}()
	sendErr := s.send(call, received)
	if sendErr != nil {
		s.cancel(nil)
	}
	<-received
	// io.EOF from the sending side says: ask the receiving side.
	if sendErr != nil && !errors.Is(sendErr, io.EOF) {
		return sendErr
	}
	return receiveErr
}

// send sends requests until the call ends or, once the publisher is closed,
// nothing is left; then it half-closes.
func (s *stream) send(call publishStream, ended <-chan struct{}) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		f, last, wait := s.next(time.Now())
		if f != nil {
			if err := call.SendMsg(f); err != nil {
				return err
			}
			continue
		}
		if last {
			return call.CloseSend()
		}
		var alarm <-chan time.Time
		if wait > 0 {
			timer.Reset(wait)
			alarm = timer.C
		}
		select {
		case <-s.wake:
		case <-alarm:
		case <-ended:
			return nil
		}
	}
}

// next takes the next request off the queue. Without one it says whether that
// was the last, or else how long to wait: 0 for until woken.
func (s *stream) next(now time.Time) (_ frame, last bool, wait time.Duration) {
	p := s.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		return nil, p.closed && len(s.inflight) == 0, 0
	}
	if now.Before(p.notBefore) {
		return nil, false, p.notBefore.Sub(now)
	}

	// What would go if there were credit without end; whether that's worth
	// sending now.
	want := s.fillLocked(amount{uint64(p.cfg.BatchRecords), uint64(p.cfg.BatchBytes)})
	full := want.records == uint64(p.cfg.BatchRecords) || want.records < uint64(len(p.queue))
	if linger := p.queue[0].accepted.Add(p.cfg.FlushAfter).Sub(now); !full && linger > 0 &&
		len(s.inflight) > 0 && len(p.flushes) == 0 {
		return nil, false, linger
	}

	// What goes. When credit cuts the batch short and more is on its way back,
	// wait until half of the window is free, or requests would get ever smaller.
	size := want
	if s.credit.records < want.records || s.credit.bytes < want.bytes {
		size = s.fillLocked(amount{min(want.records, s.credit.records), min(want.bytes, s.credit.bytes)})
		if size.records == 0 || size.records > s.credit.records || size.bytes > s.credit.bytes ||
			len(s.inflight) > 0 && (s.credit.records < s.out.records || s.credit.bytes < s.out.bytes) {
			return nil, false, 0
		}
	}

	p.number++
	r := &request{number: p.number, records: p.dequeueLocked(int(size.records)), sent: now}
	f := make(frame, 0, 1+len(r.records))
	f = append(f, mem.SliceBuffer(encodeHeader(r.number, p.cfg.Require)))
	for _, x := range r.records {
		f = append(f, mem.SliceBuffer(x.item))
	}
	r.size = amount{size.records, uint64(mem.BufferSlice(f).Len())}
	s.credit.sub(r.size)
	s.out.add(r.size)
	s.inflight = append(s.inflight, r)
	return f, false, 0
}

// fillLocked says how much of the queue's front a request within limit takes,
// its header (at its longest) included. One record is always taken, whatever
// its bytes: it travels alone.
func (s *stream) fillLocked(limit amount) amount {
	size := amount{bytes: maxHeaderBytes}
	for _, x := range s.p.queue {
		bytes := uint64(len(x.item))
		if size.records == limit.records || size.records > 0 && size.bytes+bytes > limit.bytes {
			break
		}
		size.records++
		size.bytes += bytes
	}
	return size
}

// receive handles what the bus sends until the call ends.
func (s *stream) receive(call publishStream) error {
	connected := false
	for {
		msg, err := call.Recv()
		if err != nil {
			return err
		}
		if !connected {
			connected = true
			s.p.cfg.OnState(StateConnected, nil)
		}
		if err := s.handle(msg); err != nil {
			return err
		}
	}
}

func (s *stream) handle(msg *keytrailv1.PublishStreamResponse) error {
	now := time.Now()
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.heard = now
	var err error
	switch e := msg.GetEvent().(type) {
	case *keytrailv1.PublishStreamResponse_Credit:
		s.credit.add(amount{e.Credit.GetRecords(), e.Credit.GetBytes()})
	case *keytrailv1.PublishStreamResponse_Results:
		err = s.answeredLocked(e.Results, now)
	}
	signal(s.wake) // there is credit, or nothing in flight
	return err
}

// answeredLocked handles the answer to the first request in flight.
func (s *stream) answeredLocked(results *keytrailv1.PublishResults, now time.Time) error {
	p := s.p
	if len(s.inflight) == 0 || s.inflight[0].number != results.GetNumber() {
		return fmt.Errorf("client: the bus answered request %d out of turn", results.GetNumber())
	}
	r := s.inflight[0]
	if len(r.records) != len(results.GetResults()) {
		return fmt.Errorf("client: the bus gave %d results for the %d records of request %d",
			len(results.GetResults()), len(r.records), r.number)
	}
	s.inflight[0] = nil
	s.inflight = s.inflight[1:]
	s.out.sub(r.size)

	var again []*Pending
	for i, result := range results.GetResults() {
		x := r.records[i]
		if result.GetStatus() == keytrailv1.PublishStatus_PUBLISH_STATUS_NOT_STORED {
			again = append(again, x)
			p.lastErr = errNotStored(result)
			continue
		}
		p.answerLocked(x, result, nil)
	}
	if len(again) == 0 {
		p.retry.reset()
		p.lastErr = nil
		return nil
	}
	p.requeueRecordsLocked(again)
	if !now.Before(p.notBefore) { // else this is more of the same failure
		p.notBefore = now.Add(p.retry.next())
	}
	return nil
}

// owesSinceLocked is since when the bus has owed an answer, or credit; zero
// when it owes nothing.
func (s *stream) owesSinceLocked() time.Time {
	var since time.Time
	switch {
	case len(s.inflight) > 0:
		since = s.inflight[0].sent
	case len(s.p.queue) > 0:
		since = s.p.queue[0].accepted
	default:
		return time.Time{}
	}
	if since.Before(s.heard) {
		return s.heard
	}
	return since
}
