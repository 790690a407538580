package fanout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/keytrail/keytrail/eventlog"
	"github.com/keytrail/keytrail/filter"
	"github.com/prometheus/client_golang/prometheus"
)

// Defaults of [Config].
const (
	DefaultQueueBytes   = 4 << 20
	DefaultHistoryBytes = 64 << 20
	DefaultReaders      = 8
)

// Config tunes a [Hub]. A zero field takes the default in its comment.
type Config struct {
	// QueueBytes bounds the memory that the queue of each subscription keeps; a record
	// keeps its whole batch. A single larger batch is queued alone. Default 4 MiB.
	QueueBytes int

	// HistoryBytes is how much of the newest records the hub keeps in memory,
	// for subscriptions that are a little behind. Default 64 MiB.
	HistoryBytes int

	// Readers is how many subscriptions that are behind read the log at once.
	// Default 8.
	Readers int

	// Logger. Default: [slog.Default].
	Logger *slog.Logger

	// Registerer takes the metrics. Default: none are kept.
	Registerer prometheus.Registerer
}

// Errors of the hub.
var (
	// ErrClosed: the hub is draining or closed. Subscribe at another bus, or
	// later, from the last position.
	ErrClosed = errors.New("the hub is closed")

	// ErrAhead: the start is after the log's end: the log was replaced, or restored from an older copy.
	ErrAhead = errors.New("the start is ahead of the log")
)

// ExpiredError says that the log no longer holds the start.
type ExpiredError struct {
	Earliest     eventlog.Position
	EarliestTime time.Time // zero when the log is empty
}

func (e *ExpiredError) Error() string {
	return fmt.Sprintf("the log no longer holds the start; the earliest record was stored at %s", e.EarliestTime.UTC().Format(time.RFC3339))
}

// GapReason is why records are not delivered.
type GapReason int

const (
	Expired    GapReason = iota + 1 // older than the log's retention
	Trimmed                         // removed by an operator
	Unreadable                      // in a format of a newer version
	Missing                         // gone for a reason that the hub does not know
)

// Gap is a range of positions that will not be delivered.
type Gap struct {
	From, To eventlog.Position
	Reason   GapReason
}

// Hub reads the log and feeds subscriptions.
//
// Lock order: mu, then the mu of one subscription.
type Hub struct {
	cfg     Config
	log     *eventlog.Log
	readers chan struct{} // a slot for each subscription that reads the log
	metrics *metrics

	// index finds the subscriptions that want a record. It is matched under mu
	// and changed without, for that takes longer than the hub may stand still.
	index filter.Index[*interest]

	mu       sync.Mutex                 // guards what follows
	head     eventlog.Position          // everything before it was pumped
	pumped   uint64                     // records pumped since the start
	history  []*batch                   // the newest batches, without a hole, up to head
	held     int                        // bytes of history
	reader   reader                     // of the records that index is asked about
	subs     map[*Subscription]struct{} //
	awaiting map[*Subscription]struct{} // those that wait for head to move
	draining bool

	stop context.CancelFunc
	done chan struct{} // closed when pump has returned
}

// New makes a hub, which begins to read the log at its end. The log must
// outlive it.
func New(ctx context.Context, log *eventlog.Log, cfg Config) (*Hub, error) {
	cfg.QueueBytes = cmp.Or(cfg.QueueBytes, DefaultQueueBytes)
	cfg.HistoryBytes = cmp.Or(cfg.HistoryBytes, DefaultHistoryBytes)
	cfg.Readers = cmp.Or(cfg.Readers, DefaultReaders)
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	if cfg.QueueBytes < 0 || cfg.HistoryBytes < 0 || cfg.Readers < 0 {
		return nil, errors.New("the hub's queue bytes, history bytes and readers must not be negative")
	}
	info, err := log.Info(ctx)
	if err != nil {
		return nil, err
	}
	h := &Hub{
		cfg:      cfg,
		log:      log,
		readers:  make(chan struct{}, cfg.Readers),
		head:     info.Head,
		subs:     make(map[*Subscription]struct{}),
		awaiting: make(map[*Subscription]struct{}),
		done:     make(chan struct{}),
	}
	h.metrics = newMetrics(h)
	if err := h.metrics.all().Register(cfg.Registerer); err != nil {
		return nil, fmt.Errorf("metrics of the hub: %w", err)
	}
	pumpCtx, stop := context.WithCancel(context.Background())
	h.stop = stop
	go func() {
		defer close(h.done)
		h.follow(pumpCtx)
	}()
	return h, nil
}

// Drain tells every subscription to end with its position; Next returns it
// before anything else. New subscriptions are refused.
func (h *Hub) Drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.draining = true
	for s := range h.subs {
		s.drain()
	}
}

// Close drains, and stops reading the log. It returns when the hub's goroutine has ended;
// subscriptions end at their next call of Next.
func (h *Hub) Close() {
	h.Drain()
	h.stop()
	<-h.done
	h.metrics.all().Unregister(h.cfg.Registerer)
}

// follow reads the log until ctx ends.
func (h *Hub) follow(ctx context.Context) {
	for wait := time.Duration(0); ; wait = min(max(2*wait, 50*time.Millisecond), 5*time.Second) {
		h.mu.Lock()
		from := h.head.Seq
		h.mu.Unlock()
		err := h.log.Follow(ctx, from, func(m *eventlog.Batch) error {
			wait = 0
			return h.pump(ctx, m)
		})
		if ctx.Err() != nil || h.log.Fault() != nil {
			return
		}
		h.cfg.Logger.Warn("reading the log; trying again", "error", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// pump takes the next message of the log. It never waits for a subscription.
func (h *Hub) pump(ctx context.Context, m *eventlog.Batch) error {
	b, records := frameBatch(h.log.Incarnation(), m, eventlog.Position{}, nil)
	if err := h.skipTo(ctx, eventlog.Position{Seq: m.Seq}); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if m.Seq < h.head.Seq {
		return nil // seen before a reconnect, or gone in the meantime
	}
	h.feedLocked(b)
	h.pumped += uint64(records)
	h.metrics.records.Add(float64(records))
	h.movedLocked()
	return nil
}

// skipTo moves the head to pos if it is before, with a gap: the log holds
// nothing between.
func (h *Hub) skipTo(ctx context.Context, pos eventlog.Position) error {
	for {
		h.mu.Lock()
		head := h.head
		h.mu.Unlock()
		if pos.Compare(head) <= 0 {
			return nil
		}
		gap, err := h.gap(ctx, head, pos)
		if err != nil {
			return err
		}
		h.mu.Lock()
		if h.head == head {
			h.feedLocked(&batch{seq: pos.Seq - 1, gap: gap})
			h.movedLocked()
			h.mu.Unlock()
			return nil
		}
		h.mu.Unlock() // another was faster: look again
	}
}

// skipGone moves the head past records that were removed before the hub had
// read them, and after which none has come that would show it.
func (h *Hub) skipGone(ctx context.Context) error {
	info, err := h.log.Info(ctx)
	if err != nil {
		return err
	}
	return h.skipTo(ctx, info.First)
}

// movedLocked wakes those that wait for the head to move.
func (h *Hub) movedLocked() {
	for s := range h.awaiting {
		s.signal()
	}
	clear(h.awaiting)
}

// feedLocked adds b to the history and offers it to the subscriptions that are
// live.
func (h *Hub) feedLocked(b *batch) {
	b.before = h.pumped
	h.head = b.end()
	h.history = append(h.history, b)
	h.held += b.cost()
	for h.held > h.cfg.HistoryBytes && len(h.history) > 1 {
		h.held -= h.history[0].cost()
		h.history[0] = nil
		h.history = h.history[1:]
	}
	if b.gap != nil {
		e := gapEntry(b.gap)
		for s := range h.subs {
			s.offer(e, b, b.gap.From, b.before)
		}
		return
	}
	var f *Frame
	var before uint64
	wants := func(in *interest) { in.wants(entry{frame: f}, b, f.before, before) }
	mayWant := func(in *interest) { in.mayWant(f.before, before) }
	for i := range b.frames {
		f, before = &b.frames[i], b.before+uint64(i)
		h.index.MatchQuick(h.reader.read(f.record()), wants, mayWant)
	}
}

// gap makes a gap from a range that the log does not hold.
func (h *Hub) gap(ctx context.Context, from, to eventlog.Position) (*Gap, error) {
	info, err := h.log.Info(ctx)
	if err != nil {
		return nil, err
	}
	g := &Gap{From: from, To: to, Reason: Missing}
	switch {
	case to.Compare(info.Trimmed) <= 0:
		g.Reason = Trimmed
	case to.Compare(info.First) <= 0:
		g.Reason = Expired
	}
	h.metrics.gaps.Inc()
	return g, nil
}

// recentFrom returns up to most batches of the history from pos on, or ok =
// false when it no longer reaches back to pos.
func (h *Hub) recentFrom(pos eventlog.Position, most int) (found []*batch, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if pos.Compare(h.head) >= 0 {
		return nil, pos == h.head
	}
	if len(h.history) == 0 || pos.Seq < h.firstSeqLocked() {
		return nil, false
	}
	i, _ := slices.BinarySearchFunc(h.history, pos.Seq, func(b *batch, seq uint64) int { return cmp.Compare(b.seq, seq) })
	return slices.Clone(h.history[i:min(len(h.history), i+most)]), true
}

// firstSeqLocked is the first sequence that the history covers.
func (h *Hub) firstSeqLocked() uint64 {
	if b := h.history[0]; b.gap != nil {
		return b.gap.From.Seq
	}
	return h.history[0].seq
}
