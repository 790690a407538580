package fanout

import (
	"context"
	"fmt"
	"time"

	"github.com/keytrail/keytrail/eventlog"
)

// historyPortion is how many batches a subscription takes from the hub's
// memory at a time.
const historyPortion = 128

// replicaWait is how long to wait before asking again for what a replica does
// not have yet.
const replicaWait = 50 * time.Millisecond

// catchUp moves a subscription that is behind a portion ahead: it queues what
// matches, or joins the live flow, or waits for the hub to come as far as the
// subscription is. Only Next calls it, with an empty queue.
func (s *Subscription) catchUp(ctx context.Context) error {
	h := s.hub
	if s.reader == nil {
		s.reader = new(reader)
	}
	s.mu.Lock()
	next := s.next
	s.mu.Unlock()
	portion, ok := h.recentFrom(next, historyPortion)
	switch {
	case ok && len(portion) == 0:
		return s.join(ctx)
	case ok:
		for _, b := range portion {
			if ctx.Err() != nil || !s.takeBatch(b, s.wants) {
				break
			}
		}
		return nil
	}
	chunk, err := s.readLog(ctx, next)
	if err != nil {
		return err
	}
	if len(chunk) == 0 {
		return s.nothingThere(ctx, next)
	}
	if first := (eventlog.Position{Seq: chunk[0].Seq}); first.Compare(next) > 0 {
		gap, err := h.gap(ctx, next, first)
		if err != nil {
			return err
		}
		s.queueGap(gap)
	}
	for i, m := range chunk {
		if i > 0 && m.Seq > chunk[i-1].Seq+1 {
			gap, err := h.gap(ctx, eventlog.Position{Seq: chunk[i-1].Seq + 1}, eventlog.Position{Seq: m.Seq})
			if err != nil {
				return err
			}
			s.queueGap(gap)
		}
		if ctx.Err() != nil || !s.takeMessage(m) {
			break
		}
	}
	return nil
}

// nothingThere deals with a log that has nothing from next on: the subscription
// is at its end; or what was there is gone; or the replica that answered is
// behind the others.
func (s *Subscription) nothingThere(ctx context.Context, next eventlog.Position) error {
	h := s.hub
	h.mu.Lock()
	head := h.head
	h.mu.Unlock()
	if next.Compare(head) >= 0 {
		return s.join(ctx)
	}
	info, err := h.log.Info(ctx)
	if err != nil {
		return err
	}
	if next.Compare(info.First) < 0 {
		gap, err := h.gap(ctx, next, info.First)
		if err != nil {
			return err
		}
		s.queueGap(gap)
		return nil
	}
	select {
	case <-time.After(replicaWait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// readLog reads on from next, when it is this subscription's turn.
func (s *Subscription) readLog(ctx context.Context, next eventlog.Position) ([]*eventlog.Batch, error) {
	select {
	case s.hub.readers <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-s.hub.readers }()
	chunk, err := s.hub.log.Read(ctx, next.Seq)
	if err != nil {
		return nil, fmt.Errorf("catching up: %w", err)
	}
	return chunk, nil
}

// wants says whether the current filter wants a record.
func (s *Subscription) wants(encoded []byte) bool {
	return s.current.filter.Match(s.reader.read(encoded))
}

// takeMessage queues what matches of a message that was read from the log. It
// returns false when the queue is full; then the rest is read again.
func (s *Subscription) takeMessage(m *eventlog.Batch) bool {
	b, considered := frameBatch(s.hub.log.Incarnation(), m, s.next, s.wants)
	if b.gap != nil {
		s.queueGap(b.gap)
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) > 0 && s.queued+b.bytes > s.hub.cfg.QueueBytes {
		return false
	}
	for i := range b.frames {
		s.queue = append(s.queue, entry{frame: &b.frames[i], cost: len(b.frames[i].Encoded)})
	}
	s.queued += b.bytes
	s.considered += uint64(considered)
	s.next = b.end()
	return true
}

// takeBatch is takeMessage for a batch from the hub's memory, of which it takes
// the records that want holds for.
func (s *Subscription) takeBatch(b *batch, want func(encoded []byte) bool) bool {
	if b.gap != nil {
		s.queueGap(b.gap)
		return true
	}
	s.mu.Lock()
	next := s.next // which Next alone moves while the subscription is behind
	s.mu.Unlock()
	// Without mu, for which the hub waits: filters may take their time.
	wanted := make([]bool, len(b.frames))
	for i := range b.frames {
		f := &b.frames[i]
		wanted[i] = f.before.Compare(next) >= 0 && want(f.record())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range b.frames {
		f := &b.frames[i]
		if f.before.Compare(next) < 0 {
			continue
		}
		if wanted[i] {
			e := entry{frame: f}
			e.cost = s.costOf(e, b)
			if len(s.queue) > 0 && s.queued+e.cost > s.hub.cfg.QueueBytes {
				return false
			}
			s.queue = append(s.queue, e)
			s.queued += e.cost
			s.charged = b.seq
		}
		s.considered++
		s.next = f.After
	}
	s.next = b.end()
	return true
}

func (s *Subscription) queueGap(gap *Gap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if gap.To.Compare(s.next) <= 0 {
		return
	}
	if gap.From.Compare(s.next) < 0 {
		part := *gap
		part.From = s.next
		gap = &part
	}
	s.queue = append(s.queue, gapEntry(gap))
	s.queued += gapCost
	s.next = gap.To
}

// join makes the subscription live if it is at the head. If the head has moved
// on, there is more to catch up with. If the hub has yet to read what was stored before
// the subscription began, or what it started after, it waits for the hub to move.
func (s *Subscription) join(ctx context.Context) error {
	h := s.hub
	h.mu.Lock()
	s.mu.Lock()
	c := s.next.Compare(h.head)
	wait := c > 0 || c == 0 && h.head.Compare(s.target) < 0
	switch {
	case wait:
		h.awaiting[s] = struct{}{}
	case c == 0:
		s.behind = false
		s.reader = nil
		s.joined = h.pumped
		s.due = true // tell the subscriber that it is at the head
	}
	draining := s.draining
	s.mu.Unlock()
	h.mu.Unlock()
	if !wait || draining {
		return nil
	}
	select {
	case <-s.wake:
	case <-s.timer.C:
		s.due = true
		return h.skipGone(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
