package transcript

import (
	"context"
	"errors"
	"fmt"
)

// trial is a cursor of a transcript that is tried: the log must go on after it with
// the item that has the other one.
type trial struct{ cursor, next string }

// try notes the cursor of an item that was passed, if an event was found at
// it, and this is one of the first, second, fourth, eighth and so on.
func (l *lane) try(w *window, it *item) {
	if l.synced != it.number || l.popped < l.trialAt {
		return
	}
	next := w.front()
	if next == nil {
		return // there may be more when it is tried
	}
	l.trials = append(l.trials, trial{it.Cursor, next.Cursor})
	l.trialAt = 2 * l.popped
}

// resume reads the log on from cursors that were delivered, as a subscriber
// would that had kept them.
func (c *checker) resume(ctx context.Context, l *lane) error {
	for _, s := range l.trials {
		next, err := c.firstAt(ctx, Start{After: s.cursor})
		switch {
		case errors.Is(err, ErrExpired): // meanwhile
		case errors.Is(err, ErrOtherLog):
			l.result.report(Violation{
				Promise: Bookmarkable, Cursor: s.cursor,
				Text: fmt.Sprintf("the bus refuses to go on from %s, which was delivered: %v", s.cursor, err),
			})
		case err != nil:
			return err
		case next != s.next:
			l.result.report(Violation{
				Promise: Resumable, Cursor: s.cursor,
				Text: fmt.Sprintf("a stream that starts after %s begins with %s; in the log, %s follows", s.cursor, next, s.next),
			})
		}
	}
	return nil
}
