package client

import (
	"fmt"
	"time"

	"google.golang.org/grpc/connectivity"
)

// run opens a stream whenever there is something to send and none is open, and
// keeps time for all records. It never blocks on the network.
func (p *Publisher) run() {
	defer close(p.ran)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		s, done, next := p.turn(time.Now())
		if done {
			return
		}
		var alarm <-chan time.Time
		if !next.IsZero() {
			timer.Reset(time.Until(next))
			alarm = timer.C
		}
		var ended <-chan struct{}
		if s != nil {
			ended = s.done
		}
		select {
		case <-p.wake:
		case <-alarm:
		case <-ended:
			p.streamEnded(s)
		case <-p.ctx.Done():
			if s != nil {
				<-s.done
			}
			p.abandon(s)
			return
		}
	}
}

// turn does what is due. It returns the stream, whether run is over, and when
// something is due next: zero for not before something happens.
func (p *Publisher) turn(now time.Time) (_ *stream, done bool, next time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	earliest := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}

	p.expireLocked(now)
	if p.cfg.RetryFor > 0 && len(p.queue) > 0 {
		earliest(p.queue[0].accepted.Add(p.cfg.RetryFor))
	}
	if p.cur == nil && len(p.queue) > 0 {
		if now.Before(p.notBefore) {
			earliest(p.notBefore)
		} else {
			p.cur = p.startStream(now) // ends by done
		}
	}
	if p.cur != nil {
		if since := p.cur.owesSinceLocked(); !since.IsZero() && !p.cur.stalled {
			if at := since.Add(p.cfg.stallAfter()); now.Before(at) {
				earliest(at)
			} else {
				p.cur.stalled = true
				p.cur.cancel(errStalled)
			}
		}
	}
	p.look = next
	return p.cur, p.closed && p.cur == nil && len(p.queue) == 0, next
}

// streamEnded decides what becomes of the records that s had not answered.
func (p *Publisher) streamEnded(s *stream) {
	now := time.Now()
	p.mu.Lock()
	p.cur = nil
	unanswered := s.inflight
	s.inflight = nil
	finished := p.closed && len(unanswered) == 0 && len(p.queue) == 0
	passes := passing(s.err) && p.conn.GetState() != connectivity.Shutdown
	if !passes && !(ofRequest(s.err) && len(unanswered) > 0) {
		p.failLocked(unanswered, s.err)
	} else if !finished {
		if !passes {
			p.failRequestLocked(unanswered[0], s.err)
			unanswered = unanswered[1:]
		}
		p.lastErr = s.err
		p.requeueLocked(unanswered)
	}
	// Also after a refusal: records that come now must not hammer at the bus.
	p.notBefore = now.Add(p.retry.after(s.err))
	p.mu.Unlock()
	if passes && !finished && p.ctx.Err() == nil {
		p.cfg.OnState(StateReconnecting, s.err)
	}
}

// abandon ends what has no result when the publisher stops. s has ended.
func (p *Publisher) abandon(s *stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var unanswered []*request
	if s != nil {
		unanswered, s.inflight = s.inflight, nil
	}
	p.cur = nil
	n := len(p.queue)
	for _, r := range unanswered {
		n += len(r.records)
	}
	if n == 0 {
		return
	}
	p.closeErr = &UnansweredError{Records: n, Err: p.lastErr}
	err := ErrClosed
	if p.lastErr != nil {
		err = fmt.Errorf("%w: %w", ErrClosed, p.lastErr)
	}
	p.failLocked(unanswered, err)
}

// call runs the callbacks, in order.
func (p *Publisher) call() {
	defer close(p.called)
	var ready []*Pending // reused
	for {
		p.mu.Lock()
		for _, x := range ready {
			p.releaseLocked(x)
		}
		clear(ready)
		ready = ready[:0]
		for _, x := range p.ordered {
			if !x.answered {
				break
			}
			ready = append(ready, x)
		}
		clear(p.ordered[:len(ready)])
		p.ordered = p.ordered[len(ready):]
		p.mu.Unlock()

		for _, x := range ready {
			x.fn(x)
		}
		if len(ready) > 0 {
			continue
		}
		select {
		case <-p.fnWake:
		case <-p.ran:
			p.mu.Lock()
			left := len(p.ordered)
			p.mu.Unlock()
			if left == 0 {
				return
			}
		}
	}
}
