package eventlog

import (
	"crypto/sha256"
	"encoding/hex"
	"hash/maphash"
	"sync"
	"time"
)

// recentBytesPerID is what one remembered ID costs in memory: an entry of the map with its share of free
// slots, and one of the queue. TestRecentMemory holds it.
const recentBytesPerID = 128

// recent is the set of event IDs that the log stored lately or is storing now:
// how an event ID comes to be stored once.
//
// An ID is reserved when its record is submitted, and then either remembered
// with its place or released. A reserved ID whose record may have been stored,
// for all that is known, is in doubt: it stays reserved until somebody has looked.
type recent struct {
	maxAge time.Duration
	maxIDs int
	seed   maphash.Seed

	mu       sync.Mutex
	stored   map[eventKey]storedAt
	order    fifo      // the IDs of stored, oldest first
	dropped  time.Time // when the newest ID that went for want of room was stored
	reserved map[eventKey]*reservation
}

// eventKey is an event ID in 128 bits: a UUID as it is, else part of its hash.
type eventKey [16]byte

type storedAt struct {
	sum uint64 // of the content; by recent.seed
	pos Position
}

// reservation is an ID whose record is on its way.
type reservation struct {
	sum     uint64
	doubt   bool
	waiting []waiter // those that submitted the ID meanwhile
}

// waiter is a later submission of a reserved ID.
type waiter struct {
	sub   *submission
	index int
	sum   uint64
}

func newRecent(maxAge time.Duration, maxBytes int64) *recent {
	return &recent{
		maxAge:   maxAge,
		maxIDs:   max(1, int(maxBytes/recentBytesPerID)),
		seed:     maphash.MakeSeed(),
		stored:   make(map[eventKey]storedAt),
		reserved: make(map[eventKey]*reservation),
	}
}

// keyOf gives equal keys to equal IDs only. Canonical UUIDs are their own key;
// a SHA-256 has no version bits, so the two kinds do not meet by design of anybody.
func keyOf(eventID string) (k eventKey) {
	if len(eventID) == 36 && eventID[8] == '-' && eventID[13] == '-' && eventID[18] == '-' && eventID[23] == '-' {
		var digits [32]byte
		copy(digits[0:], eventID[0:8])
		copy(digits[8:], eventID[9:13])
		copy(digits[12:], eventID[14:18])
		copy(digits[16:], eventID[19:23])
		copy(digits[20:], eventID[24:])
		lower := true
		for _, c := range digits {
			lower = lower && (c < 'A' || c > 'F')
		}
		if _, err := hex.Decode(k[:], digits[:]); err == nil && lower {
			return k
		}
	}
	sum := sha256.Sum256([]byte(eventID))
	copy(k[:], sum[:])
	return k
}

func (r *recent) sum(content []byte) uint64 { return maphash.Bytes(r.seed, content) }

// verdict is what recent says of a record that wants to be stored.
type verdict int

const (
	fresh     verdict = iota // reserved for the caller, who stores it and then settles it
	duplicate                // stored already
	conflict                 // its ID is stored, with other content
	pending                  // its ID is on its way; the waiter is told
	doubtful                 // its ID may have been stored; try again later
)

// reserve judges a record. With the verdicts duplicate and conflict comes the
// place of the one that is stored.
func (r *recent) reserve(k eventKey, sum uint64, sub *submission, index int) (verdict, Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at, ok := r.stored[k]; ok {
		if at.sum == sum {
			return duplicate, at.pos
		}
		return conflict, at.pos
	}
	if held, ok := r.reserved[k]; ok {
		if held.doubt {
			return doubtful, Position{}
		}
		held.waiting = append(held.waiting, waiter{sub: sub, index: index, sum: sum})
		return pending, Position{}
	}
	r.reserved[k] = &reservation{sum: sum}
	return fresh, Position{}
}

// settle ends the reservation of k, remembers its place, and returns those that
// wait for it.
func (r *recent) settle(k eventKey, pos Position, now time.Time) (sum uint64, waiting []waiter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	held := r.reserved[k]
	if held == nil {
		return 0, nil
	}
	delete(r.reserved, k)
	r.rememberLocked(k, storedAt{sum: held.sum, pos: pos}, now)
	return held.sum, held.waiting
}

// release ends the reservation of k, whose record was not stored.
func (r *recent) release(k eventKey) []waiter {
	r.mu.Lock()
	defer r.mu.Unlock()
	held := r.reserved[k]
	if held == nil {
		return nil
	}
	delete(r.reserved, k)
	return held.waiting
}

// suspect puts k in doubt and returns those that wait for it, who are told to
// try again.
func (r *recent) suspect(k eventKey) []waiter {
	r.mu.Lock()
	defer r.mu.Unlock()
	held := r.reserved[k]
	if held == nil {
		return nil
	}
	held.doubt = true
	waiting := held.waiting
	held.waiting = nil
	return waiting
}

// observe remembers a record that was read from the log.
func (r *recent) observe(k eventKey, content []byte, pos Position, now time.Time) {
	sum := r.sum(content)
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.stored[k]; !ok {
		r.rememberLocked(k, storedAt{sum: sum, pos: pos}, now)
	}
}

func (r *recent) rememberLocked(k eventKey, at storedAt, now time.Time) {
	if _, known := r.stored[k]; !known {
		r.order.push(k, now)
	}
	r.stored[k] = at
	for r.order.len() > 0 {
		old := r.order.oldest()
		switch {
		case now.Sub(old) > r.maxAge:
		case r.order.len() > r.maxIDs:
			r.dropped = old
		default:
			return
		}
		delete(r.stored, r.order.pop())
	}
}

// size returns how many IDs are remembered, and for how long back it is all of them.
func (r *recent) size(now time.Time) (ids int, window time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	window = r.maxAge
	if !r.dropped.IsZero() {
		window = min(window, now.Sub(r.dropped))
	}
	return r.order.len(), window
}

// fifo is a queue of IDs in chunks, so that it neither moves nor keeps what
// has left it.
type fifo struct {
	chunks []*fifoChunk
	head   int // of the first chunk
	count  int
}

type fifoChunk struct {
	keys []eventKey
	at   []int64
}

const fifoChunkLen = 4096

func (q *fifo) len() int { return q.count }

func (q *fifo) push(k eventKey, at time.Time) {
	if n := len(q.chunks); n == 0 || len(q.chunks[n-1].keys) == fifoChunkLen {
		q.chunks = append(q.chunks, &fifoChunk{
			keys: make([]eventKey, 0, fifoChunkLen),
			at:   make([]int64, 0, fifoChunkLen),
		})
	}
	c := q.chunks[len(q.chunks)-1]
	c.keys = append(c.keys, k)
	c.at = append(c.at, at.UnixNano())
	q.count++
}

// oldest is when the first ID was pushed. The queue is not empty.
func (q *fifo) oldest() time.Time { return time.Unix(0, q.chunks[0].at[q.head]) }

func (q *fifo) pop() eventKey {
	c := q.chunks[0]
	k := c.keys[q.head]
	q.head++
	q.count--
	if q.head == len(c.keys) {
		q.chunks[0] = nil
		q.chunks, q.head = q.chunks[1:], 0
	}
	return k
}
