package eventlog

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// ErrSync: the disk failed to sync what the log holds. Records without a result may be lost, and so may be what the log shows after them. The
// log takes nothing more. See to the disk, then start the bus again: it reads the log anew.
var ErrSync = errors.New("the log could not be synced to its disk")

// commits says whether this log syncs what it acknowledges.
func (l *Log) commits() bool { return l.disk != nil && !l.cfg.Unsynced }

// commit returns once everything that JetStream has acknowledged so far is synced, and visible.
// Several windows may share a sync. It fails with the log's fault.
func (l *Log) commit() error {
	if !l.commits() {
		return nil
	}
	upTo := l.acked.Load()
	l.committing.Lock()
	defer l.committing.Unlock()
	if upTo <= l.synced.seq() {
		return nil // by the commit before
	}
	return l.commitLocked()
}

func (l *Log) commitLocked() error {
	if err := l.Fault(); err != nil {
		return err
	}
	began, upTo := time.Now(), l.acked.Load()
	if err := l.disk.commit(upTo); err != nil {
		return l.syncFailed(err)
	}
	l.metrics.commits.Observe(time.Since(began).Seconds())
	l.synced.move(upTo)
	return nil
}

// settleMark notes what is synced while no commit does.
func (l *Log) settleMark() {
	if !l.commits() {
		return
	}
	l.committing.Lock()
	defer l.committing.Unlock()
	if l.Fault() != nil {
		return
	}
	if err := l.disk.settle(); err != nil {
		l.syncFailed(err) //nolint:errcheck // it is the fault of the log now
	}
}

// syncFailed ends the log because of err. Its caller has committing.
func (l *Log) syncFailed(err error) error {
	err = fmt.Errorf("%w: %w: see to the disk, then start the bus again", ErrSync, err)
	if l.end(err) {
		l.disk.failed()
		close(l.lost)
	}
	return l.Fault()
}

// end sets the fault of the log, if it has none.
func (l *Log) end(err error) bool {
	if !l.fault.CompareAndSwap(nil, &err) {
		return false
	}
	l.cfg.Logger.Error("the log has ended", "error", err)
	return true
}

// visible is the last sequence that readers may see.
func (l *Log) visible() uint64 {
	if !l.commits() {
		return math.MaxUint64
	}
	return l.synced.seq()
}

// awaitVisible waits until readers may see the sequence seq.
func (l *Log) awaitVisible(ctx context.Context, seq uint64) error {
	for {
		moved := l.synced.moved()
		if seq <= l.visible() {
			return nil
		}
		select {
		case <-moved:
		case <-l.lost:
			return l.Fault()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// horizon is the last sequence that is synced.
type horizon struct {
	last atomic.Uint64

	mu   sync.Mutex
	wake chan struct{} // closed when last moves; guarded by mu
}

func (h *horizon) seq() uint64 { return h.last.Load() }

func (h *horizon) move(to uint64) {
	h.last.Store(to)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.wake != nil {
		close(h.wake)
		h.wake = nil
	}
}

// moved is closed at the next move.
func (h *horizon) moved() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.wake == nil {
		h.wake = make(chan struct{})
	}
	return h.wake
}
