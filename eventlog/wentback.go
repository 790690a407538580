package eventlog

import (
	"context"
	"errors"
	"fmt"
)

// ErrWentBack: the log has lost records that it had acknowledged, or was
// replaced by an older copy, while the bus was running: NATS servers that sync
// seldom do that when they lose power. Find out what happened, then start the bus again: cursors from before answer
// DATA_LOSS then, and what producers publish again goes in anew.
var ErrWentBack = errors.New("the log has lost records that it had acknowledged")

// Lost is closed when the log has ended: it has gone back, or could not be synced. [Log.Fault] says
// more. Such a log takes nothing more.
func (l *Log) Lost() <-chan struct{} { return l.lost }

// Fault is [ErrWentBack] or [ErrSync] with its details, or nil.
func (l *Log) Fault() error {
	if f := l.fault.Load(); f != nil {
		return *f
	}
	return nil
}

// wentBack notes that the log gave or has the end now, after it had
// acknowledged acked.
func (l *Log) wentBack(acked, now uint64) {
	err := fmt.Errorf("%w: it had acknowledged sequence %d and is at %d now: find out what happened to it, then start the bus again", ErrWentBack, acked, now)
	if !l.end(err) {
		return
	}
	l.helpers.Go(func() {
		defer close(l.lost)
		if _, err := l.renew(l.stopped); err != nil {
			l.cfg.Logger.Error("old cursors stay valid although the log went back", "error", err)
		}
	})
}

// renew gives the log another incarnation, so that cursors from before it went back are refused
// instead of naming other records.
func (l *Log) renew(ctx context.Context) (Incarnation, error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.AckTimeout)
	defer cancel()
	info, err := l.stream.Info(ctx)
	if err != nil {
		return 0, err
	}
	inc, err := newIncarnation()
	if err != nil {
		return 0, err
	}
	cfg := info.Config
	if cfg.Metadata == nil {
		cfg.Metadata = make(map[string]string)
	}
	cfg.Metadata[metaIncarnation] = inc.String()
	if _, err = l.js.UpdateStream(ctx, cfg); err != nil {
		return 0, err
	}
	return inc, l.keepMeta()
}

// wentBackLooks is how many looks in a row must find the log's end before what was
// acknowledged: a new leader may be short for a moment.
const wentBackLooks = 3

// checkEnd counts the looks that found the log short.
func (l *Log) checkEnd(acked uint64, info *Info, short int) int {
	if info.last >= acked {
		return 0
	}
	if short++; short >= wentBackLooks {
		l.wentBack(acked, info.last)
	}
	return short
}
