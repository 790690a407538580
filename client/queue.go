package client

import (
	"cmp"
	"errors"
	"slices"
	"time"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// What follows moves records between the queue, the requests in flight and
// their results. All of it is called with Publisher.mu held.

// failLocked ends everything that is pending with err.
func (p *Publisher) failLocked(unanswered []*request, err error) {
	for _, r := range unanswered {
		p.failRequestLocked(r, err)
	}
	for _, x := range p.dequeueLocked(len(p.queue)) {
		p.answerLocked(x, nil, err)
	}
}

func (p *Publisher) failRequestLocked(r *request, err error) {
	for _, x := range r.records {
		p.answerLocked(x, nil, err)
	}
}

// requeueLocked queues the records of requests that were sent and have no
// answer.
func (p *Publisher) requeueLocked(requests []*request) {
	var again []*Pending
	for _, r := range requests {
		again = append(again, r.records...)
	}
	p.requeueRecordsLocked(again)
}

// requeueRecordsLocked queues records that have been sent before. They go to
// the front, and back into the order in which they were taken: in rare cases,
// after NOT_STORED, a later request holds earlier records.
func (p *Publisher) requeueRecordsLocked(again []*Pending) {
	if len(again) == 0 {
		return
	}
	for _, x := range again {
		x.retried = true
		p.queueBytes += len(x.item)
	}
	p.queue = append(again, p.queue...)
	bySeq := func(a, b *Pending) int { return cmp.Compare(a.seq, b.seq) }
	if !slices.IsSortedFunc(p.queue, bySeq) {
		slices.SortFunc(p.queue, bySeq)
	}
	signal(p.wake) // they may expire sooner than run looks
}

// dequeueLocked takes the first n records off the queue.
func (p *Publisher) dequeueLocked(n int) []*Pending {
	out := slices.Clone(p.queue[:n])
	for _, x := range out {
		p.queueBytes -= len(x.item)
	}
	clear(p.queue[:n]) // the array lives on
	p.queue = p.queue[n:]
	return out
}

// answerLocked gives x its result. The caller has taken x from wherever it was.
func (p *Publisher) answerLocked(x *Pending, result *keytrailv1.PublishResult, err error) {
	x.answered = true
	x.result, x.err = result, err
	if x.fn != nil {
		signal(p.fnWake)
		return
	}
	p.releaseLocked(x)
	close(x.done)
}

// releaseLocked counts x, which is done with, off what is pending.
func (p *Publisher) releaseLocked(x *Pending) {
	p.pending--
	p.pendingBytes -= len(x.item)
	x.item = nil
	p.makeRoomLocked()
	done := false
	for _, f := range p.flushes {
		if x.seq <= f.upTo {
			f.left--
			if f.left == 0 {
				close(f.done)
				done = true
			}
		}
	}
	if done {
		p.flushes = slices.DeleteFunc(p.flushes, func(f *flush) bool { return f.left == 0 })
	}
}

func (p *Publisher) makeRoomLocked() {
	if p.room != nil {
		close(p.room)
		p.room = nil
	}
}

// expireLocked gives up the queued records whose time is over. They are the
// first: the queue is in the order in which they were taken.
func (p *Publisher) expireLocked(now time.Time) {
	if p.cfg.RetryFor < 0 {
		return
	}
	n := 0
	for n < len(p.queue) && now.Sub(p.queue[n].accepted) >= p.cfg.RetryFor {
		n++
	}
	if n == 0 {
		return
	}
	err := gaveUp(p.cfg.RetryFor, cmp.Or(p.lastErr, errStalled))
	for _, x := range p.dequeueLocked(n) {
		p.answerLocked(x, nil, err)
	}
}

// errNotStored is why a record with the result NOT_STORED is sent again.
func errNotStored(r *keytrailv1.PublishResult) error {
	return errors.New("client: not stored: " + cmp.Or(r.GetRejection().GetMessage(), "the bus gave no reason"))
}
