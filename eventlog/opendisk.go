package eventlog

import (
	"context"
	"fmt"
	"time"
)

// openDisk compares what JetStream has read with what is known of an embedded log beside it, mends what can be mended, and syncs
// what is there.
func (l *Log) openDisk(ctx context.Context) error {
	if l.disk == nil {
		return nil
	}
	info, err := l.lastInfo(ctx)
	if err != nil {
		return err
	}
	// What a trim had removed may be there again.
	if info.First.Seq < info.Trimmed.Seq {
		if info, err = l.purgeAtStart(ctx, info.Trimmed.Seq); err != nil {
			return err
		}
	}
	m := l.disk.marks.last
	lost := lostSynced(m, info, time.Now())
	if lost {
		l.cfg.Logger.Error("the disk has lost records that it had synced: look into it, and restore them from a copy if there is one; cursors from before are refused",
			"dir", l.cfg.Dir, "synced", m.Synced, "last", info.last)
	}
	if info.Messages == 0 && info.last < m.Used {
		// With the last record went the number of the next.
		if info, err = l.purgeAtStart(ctx, m.Used+1); err != nil {
			return err
		}
	}
	if l.disk.renew && !lost {
		l.cfg.Logger.Warn("the bus did not sync its log and the system has started anew: cursors from before are refused, for what they point to may be gone")
	}
	if lost || l.disk.renew { // before the mark forgets why
		if l.inc, err = l.renew(ctx); err != nil {
			return fmt.Errorf("giving the log a new incarnation: %w", err)
		}
	}
	if err := l.disk.opened(info.last, info.MaxAge, l.cfg.Unsynced); err != nil {
		return notSynced(err)
	}
	// Also for a log that is new, or that an older version has made.
	if err := l.keepMeta(); err != nil {
		return notSynced(err)
	}
	l.acked.Store(info.last)
	l.synced.move(info.last)
	return nil
}

// lostSynced says whether records are gone that had been synced, and had neither expired nor been trimmed.
func lostSynced(m mark, info *Info, now time.Time) bool {
	if info.last >= m.Synced {
		return false
	}
	if info.Messages > 0 {
		return true // expiry and trims take the oldest
	}
	// m.At may lie after the storing by what a window takes.
	expired := info.MaxAge > 0 && !now.Before(m.At.Add(info.MaxAge-time.Minute))
	return !expired && info.Trimmed.Seq <= m.Synced
}

// lastInfo is Info of all that the log holds, synced or not.
func (l *Log) lastInfo(ctx context.Context) (*Info, error) {
	l.synced.move(^uint64(0))
	return l.Info(ctx)
}

// purgeAtStart purges a log that nobody uses yet.
func (l *Log) purgeAtStart(ctx context.Context, to uint64) (*Info, error) {
	ctx, cancel := context.WithTimeout(ctx, trimTimeout)
	defer cancel()
	if err := l.purge(ctx, to); err != nil {
		return nil, err
	}
	return l.lastInfo(ctx)
}

// closeDisk notes that the log was closed in order, if it was.
func (l *Log) closeDisk() {
	if l.disk == nil || l.Fault() != nil {
		return
	}
	l.committing.Lock()
	defer l.committing.Unlock()
	if err := l.disk.close(l.acked.Load()); err != nil {
		l.cfg.Logger.Error("closing the log: the next start reads it anew", "error", err)
	}
}
