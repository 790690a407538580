package fanout

import "github.com/keytrail/keytrail/filter"

// FilterChanged says that what comes after Event.Position is chosen by the
// filter of that revision, and what came before it by the one before.
type FilterChanged struct {
	Revision uint64
}

// interest is a filter of a subscription, under which the hub's index knows
// it. Around a change a subscription has two in the index, of which only its
// current one counts.
type interest struct {
	sub    *Subscription
	filter *filter.Filter
}

// change is a filter that was asked for.
type change struct {
	filter   *filter.Filter
	revision uint64
}

// turn says whether Next may take another filter.
type turn int

const (
	free  turn = iota
	begun      // the event that tells of a change is queued

	// told: it was returned. Next looks for records before it takes another
	// filter, so that changes without end do not keep them from a subscription
	// that is behind.
	told
)

// changeCost is about what a change takes of a queue's memory.
const changeCost = 128

// SetFilter asks for another filter, which must not be nil. Next returns an
// event with FilterChanged in the place from which it holds: no record is lost
// or repeated there. What is queued was chosen by the filter before and comes
// first. Of changes that come faster than Next takes them, only the last takes
// effect.
//
// SetFilter does not wait. Any goroutine may call it.
func (s *Subscription) SetFilter(f *filter.Filter, revision uint64) {
	s.mu.Lock()
	s.wanted = &change{f, revision}
	s.mu.Unlock()
	s.signal()
}

// takeChange makes the filter that was asked for the current one, if it is its
// turn. Only Next calls it.
//
// The new filter enters the index before it counts and the old one leaves it
// when it does not count any more, both without the hub's mu: the hub matches
// meanwhile. The two change places between two batches.
func (s *Subscription) takeChange() {
	if s.turn != free {
		return
	}
	s.mu.Lock()
	c, old := s.wanted, s.current
	s.wanted = nil
	s.mu.Unlock()
	if c == nil || old == nil {
		return
	}
	h := s.hub
	in := &interest{s, c.filter}
	h.index.Add(in, in.filter)
	s.exchange(in, c.revision)
	h.index.Remove(old)
	s.turn = begun
	h.metrics.changes.Inc()
}

// exchange makes in the current interest, and queues the event that tells it.
func (s *Subscription) exchange(in *interest, revision uint64) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.next
	if !s.behind {
		at = s.hub.head
	}
	s.current = in
	s.queue = append(s.queue, entry{event: &Event{FilterChanged: &FilterChanged{revision}, Position: at}, cost: changeCost})
	s.queued += changeCost
}

// tookTurn notes that an event was returned: ev.
func (s *Subscription) tookTurn(ev *Event) {
	switch {
	case ev.FilterChanged != nil:
		s.turn = told
	case s.turn == told:
		s.turn = free
	}
}
