package eventlog

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// trimTimeout is how long a trim may take. On an embedded log nothing is acknowledged meanwhile.
const trimTimeout = time.Minute

// Trim removes what was stored before t and says how much that was. The mark
// comes first: a crash between the two leaves records, not a lie about them.
func (l *Log) Trim(ctx context.Context, t time.Time) (messages, bytes uint64, err error) {
	before, err := l.Info(ctx)
	if err != nil {
		return 0, 0, err
	}
	to, err := l.PositionAt(ctx, t)
	if err != nil {
		return 0, 0, err
	}
	if to.Compare(before.First) <= 0 {
		return 0, 0, nil
	}
	info, err := l.stream.Info(ctx)
	if err != nil {
		return 0, 0, l.unavailable(err)
	}
	cfg := info.Config
	if cfg.Metadata == nil {
		cfg.Metadata = map[string]string{}
	}
	cfg.Metadata[metaTrimmed] = strconv.FormatUint(max(to.Seq, before.Trimmed.Seq), 10)
	// From here on it is done to the end, also for a client that is gone: half a trim is mended at the next start only.
	done, cancel := context.WithTimeout(context.WithoutCancel(ctx), trimTimeout)
	defer cancel()
	if _, err := l.js.UpdateStream(done, cfg); err != nil {
		return 0, 0, fmt.Errorf("marking what is trimmed: %w", l.unavailable(err))
	}
	if err := l.keepMeta(); err != nil {
		return 0, 0, fmt.Errorf("marking what is trimmed: %w", err)
	}
	if err := l.purge(done, to.Seq); err != nil {
		return 0, 0, fmt.Errorf("trimming: %w", err)
	}
	after, err := l.Info(ctx)
	if err != nil {
		return 0, 0, err
	}
	l.cfg.Logger.Warn("log trimmed", "before", t, "first", after.First.Seq)
	l.checkRoom(after)
	// Records may have been stored meanwhile: count by sequence, and clamp the bytes.
	messages = after.First.Seq - before.First.Seq
	if after.Bytes < before.Bytes {
		bytes = before.Bytes - after.Bytes
	}
	return messages, bytes, nil
}

// purge removes the messages before the sequence to. An embedded log ends when that is not known to have worked: what a part of it
// has left on the disk, only a start can tell.
func (l *Log) purge(ctx context.Context, to uint64) error {
	if l.disk == nil {
		if err := l.stream.Purge(ctx, jetstream.WithPurgeSequence(to)); err != nil {
			return l.unavailable(err)
		}
		return nil
	}
	l.committing.Lock()
	defer l.committing.Unlock()
	// What is copied is durable then, so that putting the copy back loses nothing.
	if l.commits() && l.acked.Load() > l.synced.seq() {
		if err := l.commitLocked(); err != nil {
			return err
		}
	}
	if err := l.disk.saveTrimmed(to); err != nil {
		return l.syncFailed(fmt.Errorf("before a trim: %w", err))
	}
	if err := l.stream.Purge(ctx, jetstream.WithPurgeSequence(to)); err != nil {
		return l.syncFailed(fmt.Errorf("JetStream did not say what became of a trim: %w", err))
	}
	if err := l.disk.trimmed(); err != nil {
		return l.syncFailed(fmt.Errorf("after a trim: %w", err))
	}
	return nil
}

// keepMeta makes the configuration of an embedded stream durable.
func (l *Log) keepMeta() error {
	if l.disk == nil {
		return nil
	}
	l.committing.Lock()
	defer l.committing.Unlock()
	return l.disk.keepMeta()
}
