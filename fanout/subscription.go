package fanout

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/keytrail/keytrail/eventlog"
	"github.com/keytrail/keytrail/filter"
)

// Start is where a subscription begins. The zero value is now.
type Start struct {
	kind startKind
	time time.Time
	pos  eventlog.Position
}

type startKind int

const (
	startNow startKind = iota
	startEarliest
	startTime
	startPosition
)

// Starts.
func Earliest() Start                   { return Start{kind: startEarliest} }
func At(stored time.Time) Start         { return Start{kind: startTime, time: stored} }
func After(pos eventlog.Position) Start { return Start{kind: startPosition, pos: pos} }

// Options describe a subscription.
type Options struct {
	// Filter chooses the records. Required.
	Filter *filter.Filter

	// Start. Default: after the newest record.
	Start Start

	// CheckpointInterval is how long Next waits for a record before it returns
	// a checkpoint. Required.
	CheckpointInterval time.Duration

	// AllowGap starts at the earliest record, with a gap, when the log no
	// longer holds the start.
	AllowGap bool
}

// Event is what Next returns: one of records, a checkpoint, a gap, a change of
// the filter, or the end.
type Event struct {
	// Frames are records that matched, in order.
	Frames []*Frame

	Checkpoint    *Checkpoint
	Gap           *Gap
	FilterChanged *FilterChanged

	// Draining is set when the hub ends the subscription: go on from Position.
	Draining bool

	// Position is after the event.
	Position eventlog.Position
}

// Checkpoint says that everything before Event.Position was considered.
type Checkpoint struct {
	// AtHead says that the position is the log's end, as the hub knows it: at
	// least what it was when the subscription began.
	AtHead bool

	// Considered and Matched count records since the subscription began.
	Considered, Matched uint64
}

// An event carries at most this much, so that a subscriber that is behind gets
// steady portions.
const (
	eventFrames = 512
	eventBytes  = 256 << 10
)

// Subscription is one subscriber's place in the log.
type Subscription struct {
	hub      *Hub
	interval time.Duration // between checkpoints

	// target is where the log ended when the subscription began: it is not at the
	// head before that.
	target eventlog.Position

	wake  chan struct{} // one slot; filled when there is something for Next to look at
	timer *time.Timer   // of the next checkpoint; owned by Next

	// Owned by Next.
	position eventlog.Position // after the last event returned
	matched  uint64
	due      bool // a checkpoint is due
	ended    bool
	turn     turn
	reader   *reader // while behind; a live subscription needs none

	mu       sync.Mutex // guards what follows
	queue    []entry
	queued   int    // bytes that queue keeps
	charged  uint64 // the batch that was charged last
	draining bool
	wanted   *change   // the filter that was asked for last; nil once it is taken
	current  *interest // nil once the subscription is closed; changed by Next alone, with the hub's mu held too

	// A subscription is live or behind. While it is live, everything before the hub's head is queued or did
	// not match. While it is behind, that holds for everything before next, and
	// only Next moves it. To become live takes the hub's mu as well.
	behind bool
	next   eventlog.Position

	// considered counts the records up to next while behind; while live, those
	// up to the moment when it joined, when the hub had pumped joined.
	considered, joined uint64
}

// entry is an element of a queue: a frame, or another event.
type entry struct {
	frame *Frame
	event *Event
	cost  int // what it counts in queued
}

// gapEntry may be shared by all queues.
func gapEntry(g *Gap) entry { return entry{event: &Event{Gap: g, Position: g.To}, cost: gapCost} }

// costOf is what a queue pays for an entry of b: a frame keeps the memory of its whole batch, so the first one
// of a batch pays for all.
func (s *Subscription) costOf(e entry, b *batch) int {
	switch {
	case e.event != nil:
		return e.cost
	case s.charged != b.seq:
		return b.cost()
	}
	return 0
}

// gapCost is about what a gap takes of memory.
const gapCost = 128

// Subscribe adds a subscription. Close it.
func (h *Hub) Subscribe(ctx context.Context, opt Options) (*Subscription, error) {
	if opt.CheckpointInterval <= 0 {
		return nil, fmt.Errorf("checkpoint interval %v is not positive", opt.CheckpointInterval)
	}
	info, err := h.log.Info(ctx)
	if err != nil {
		return nil, err
	}
	var pos eventlog.Position
	var gap *Gap
	switch opt.Start.kind {
	case startNow:
		pos = info.Head
	case startEarliest:
		pos = info.First
	case startTime:
		if pos, err = h.log.PositionAt(ctx, opt.Start.time); err != nil {
			return nil, err
		}
	case startPosition:
		pos = opt.Start.pos
		if pos.Compare(info.Head) > 0 {
			return nil, fmt.Errorf("%w: it ends at sequence %d, the start is at %d", ErrAhead, info.Head.Seq-1, pos.Seq)
		}
		if pos.Compare(info.First) >= 0 {
			break
		}
		if !opt.AllowGap {
			return nil, &ExpiredError{Earliest: info.First, EarliestTime: info.FirstTime}
		}
		// The hub may still have some of them in memory. A gap that depended on that
		// would be no answer, least of all after a trim.
		if gap, err = h.gap(ctx, pos, info.First); err != nil {
			return nil, err
		}
	}
	s := &Subscription{
		hub:      h,
		interval: opt.CheckpointInterval,
		target:   info.Head,
		wake:     make(chan struct{}, 1),
		timer:    time.NewTimer(opt.CheckpointInterval),
		position: pos,
		behind:   true,
		next:     pos,
	}
	s.current = &interest{s, opt.Filter}
	if gap != nil {
		s.queueGap(gap)
	}
	// In the index early: the hub passes it over until it has joined.
	h.index.Add(s.current, opt.Filter)
	if !h.enter(s) {
		h.index.Remove(s.current)
		s.timer.Stop()
		return nil, ErrClosed
	}
	return s, nil
}

// enter makes s one of the hub's subscriptions, unless it is draining.
func (h *Hub) enter(s *Subscription) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.draining {
		return false
	}
	h.subs[s] = struct{}{}
	return true
}

// Close ends the subscription: Next returns [ErrClosed].
func (s *Subscription) Close() {
	s.ended = true
	s.timer.Stop()
	if in := s.leave(); in != nil {
		s.hub.index.Remove(in)
	}
}

// leave takes s out of the hub's subscriptions, and returns what is left of it
// in the index: nothing when it has left before.
func (s *Subscription) leave() *interest {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.subs, s)
	delete(h.awaiting, s)
	s.mu.Lock()
	defer s.mu.Unlock()
	in := s.current
	s.current = nil
	return in
}

// Next returns the next event. It waits for one until ctx ends. After an event
// with Draining set it returns [ErrClosed].
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	for {
		if s.ended {
			return Event{}, ErrClosed
		}
		if err := ctx.Err(); err != nil {
			return Event{}, err
		}
		s.takeChange()
		ev, behind, ok := s.take()
		if ok {
			s.tookTurn(&ev)
			return ev, nil
		}
		if s.turn == told {
			s.turn = free // and s.wake is filled if a change waits
		}
		switch {
		case behind:
			if err := s.catchUp(ctx); err != nil {
				return Event{}, err
			}
			select {
			case <-s.timer.C:
				s.due = true
			default:
			}
			if s.due {
				if ev, ok := s.checkpoint(); ok {
					return ev, nil
				}
			}
			continue
		case s.due:
			if ev, ok := s.checkpoint(); ok {
				return ev, nil
			}
			continue
		}
		select {
		case <-s.wake:
		case <-s.timer.C:
			s.due = true
		case <-ctx.Done():
			return Event{}, ctx.Err()
		}
	}
}

// take returns what is queued, up to the size of an event.
func (s *Subscription) take() (ev Event, behind, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining:
		s.ended = true
		return Event{Draining: true, Position: s.position}, false, true
	case len(s.queue) == 0:
		return Event{}, s.behind, false
	}
	n, bytes := 0, 0
	if other := s.queue[0].event; other != nil {
		ev, n = *other, 1
	} else {
		for n < len(s.queue) && n < eventFrames && bytes < eventBytes && s.queue[n].frame != nil {
			bytes += len(s.queue[n].frame.Encoded)
			n++
		}
		ev.Frames = make([]*Frame, n)
		for i := range n {
			ev.Frames[i] = s.queue[i].frame
		}
		ev.Position = ev.Frames[n-1].After
		s.matched += uint64(n)
		s.hub.metrics.delivered.Add(float64(n))
	}
	for i := range n {
		s.queued -= s.queue[i].cost
	}
	clear(s.queue[:n])
	s.queue = s.queue[n:]
	if len(s.queue) == 0 {
		s.queue = nil
	}
	s.delivered(ev.Position)
	return ev, false, true
}

// delivered notes that an event was returned, which puts off the checkpoint.
func (s *Subscription) delivered(pos eventlog.Position) {
	s.position = pos
	s.timer.Reset(s.interval)
}

// checkpoint returns one, unless something was queued meanwhile: that comes
// first.
func (s *Subscription) checkpoint() (Event, bool) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) > 0 || s.draining {
		return Event{}, false
	}
	s.due = false
	ev := Event{Position: s.next, Checkpoint: &Checkpoint{Considered: s.considered, Matched: s.matched}}
	if !s.behind {
		ev.Position = s.hub.head
		ev.Checkpoint.AtHead = true
		ev.Checkpoint.Considered += s.hub.pumped - s.joined
	}
	s.delivered(ev.Position)
	return ev, true
}

// wants is offer for what an interest matched, which counts if it is current.
func (in *interest) wants(e entry, b *batch, before eventlog.Position, pumped uint64) {
	s := in.sub
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == in {
		s.offerLocked(e, b, before, pumped)
	}
}

// mayWant leaves it to the subscription itself whether it wants the record after
// before, because that takes long: it falls behind.
func (in *interest) mayWant(before eventlog.Position, pumped uint64) {
	s := in.sub
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == in && !s.behind {
		s.fallBehindLocked(before, pumped)
		s.signal()
	}
}

func (s *Subscription) fallBehindLocked(before eventlog.Position, pumped uint64) {
	s.behind = true
	s.next = before
	s.considered += pumped - s.joined
	s.hub.metrics.fellBehind.Inc()
}

// offer queues e, which is the next of a live subscription; the hub calls it,
// with its mu held. It never blocks: with a full queue the subscription falls
// behind, at the position before e. pumped is how many records the hub had seen before e.
func (s *Subscription) offer(e entry, b *batch, before eventlog.Position, pumped uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offerLocked(e, b, before, pumped)
}

func (s *Subscription) offerLocked(e entry, b *batch, before eventlog.Position, pumped uint64) {
	if s.behind {
		return
	}
	e.cost = s.costOf(e, b)
	if len(s.queue) > 0 && s.queued+e.cost > s.hub.cfg.QueueBytes {
		s.fallBehindLocked(before, pumped)
		return
	}
	s.queue = append(s.queue, e)
	s.queued += e.cost
	s.charged = b.seq
	s.signal()
}

func (s *Subscription) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Subscription) drain() {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	s.signal()
}
