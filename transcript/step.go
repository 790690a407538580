package transcript

import (
	"cmp"
	"fmt"
	"slices"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// step compares the events that belong at the item at the front of the window
// with it.
func (l *lane) step(w *window, it *item) error {
	if len(l.queue) < Ahead/2 {
		if err := l.fill(); err != nil {
			return err
		}
	}
	matched := it.record && l.filter.Match(&w.view)
	if it.record {
		l.result.Considered++
		l.result.Compared = true
		l.considered++
	}
	if matched {
		l.matched++
	}
	l.unmark(it.number)
	l.settleMisses(it.number)
	defer func() { l.before = it.Cursor }()
	if it.Gap != nil {
		return l.stepGap(w, it)
	}
	due := matched // it is still to be delivered
	if l.tookEarly(it, matched) {
		due = false
	}
	for {
		e, err := l.peek()
		if err != nil || e == nil {
			return err
		}
		number, known := w.find(e.Cursor)
		k := -1
		switch {
		case e.Kind == Stream:
			l.atStream(false)
			continue
		case e.Cursor == it.Cursor && e.Kind == Record:
			l.accept(e, it, matched)
			l.pop()
			return l.settleAt(w, it)
		case e.Cursor == it.Cursor && due && l.after(it.Cursor, Record) > 0:
			l.overtakes(e)
			l.pop()
			continue
		case e.Cursor == it.Cursor:
			if due {
				l.miss(it)
			}
			return l.settleAt(w, it)
		case known && number < it.number:
			l.late(e, number)
			l.pop()
			continue
		default:
			k = l.after(it.Cursor, "")
		}
		if k > 0 && (!known || k <= number-it.number) {
			l.outOfTurn(e, known)
			l.pop()
			continue
		}
		if due {
			l.miss(it)
		}
		return nil
	}
}

// settleAt notes that an event was found at an item, and deals with what else is at
// its place.
func (l *lane) settleAt(w *window, it *item) error {
	l.synced = it.number
	l.afterGap = false
	for _, m := range l.overdue {
		l.reportMiss(m)
	}
	l.result.Broken[Complete] += l.overdues - len(l.overdue)
	l.overdue, l.overdues = nil, 0
	return l.settle(w, it.number, it.Cursor)
}

// settle deals with the events at a place, the end of the item with that number, and with those that come too late.
func (l *lane) settle(w *window, at int, cursor string) error {
	for {
		e, err := l.peek()
		if err != nil || e == nil {
			return err
		}
		number, known := w.find(e.Cursor)
		switch {
		case e.Kind == Stream:
			l.atStream(true)
			continue
		case e.Cursor != cursor && known && number < at:
			l.late(e, number)
		case e.Cursor != cursor:
			return nil
		case e.Kind == Record:
			l.repeated(e)
		case e.Kind == Checkpoint:
			l.checkpointed = at
			l.account(e)
		case e.Kind == Gap && cursor != e.After:
			l.wrongGap(e)
		}
		l.pop()
	}
}

// atStream takes the beginning of a stream. settled says that the comparison is exactly
// where the events before it have ended.
func (l *lane) atStream(settled bool) {
	place := l.cursor
	start := l.queue[0].Start
	begins := place == "" && l.fromStart // at its very beginning
	l.pop()
	l.exact = settled && (begins || place != "" && start.After == place)
}

// accept compares a record with that of the log at the same place.
func (l *lane) accept(e *event, it *item, matched bool) {
	l.mark(it.number)
	l.resumed = false
	switch {
	case !it.record:
		l.report(Complete, e, "the log has no record at %s, and %s was delivered", e.Cursor, e.EventID)
	case e.EventID != it.ID:
		l.report(Complete, e, "the record at %s is %s in the log, and was delivered as %s", e.Cursor, it.ID, e.EventID)
	case e.Hash != it.hash():
		l.report(Complete, e, "record %s at %s was not delivered as it is stored", e.EventID, e.Cursor)
	}
	if !matched && it.record {
		l.extra(e)
	}
	if matched {
		l.changed = false
		l.repeat(it)
	}
}

// extra reports a record that the filter does not choose.
func (l *lane) extra(e *event) {
	p := Complete
	if l.previous != nil {
		p = Changeable
	}
	l.report(p, e, "record %s at %s was delivered, and the filter does not choose it: %s", e.EventID, e.Cursor, l.filter)
}

// repeat notes a record that the log has twice within what is checked.
func (l *lane) repeat(it *item) bool {
	if it.twin < l.first {
		return false
	}
	l.repeats++
	return true
}

// miss notes a record that should have been delivered, unless it is the second
// of two with one event ID, which a bus may leave out.
func (l *lane) miss(it *item) {
	if l.repeat(it) {
		l.exact = false
		return
	}
	p := Complete
	switch {
	case l.changed:
		p = Changeable
	case l.resumed:
		p = Resumable
	}
	l.missed = append(l.missed, miss{it.number, it.Cursor, it.ID, p})
}

// settleMisses is for the records that were missed so long ago that they won't
// be recognized any more.
func (l *lane) settleMisses(number int) {
	for len(l.missed) > 0 && l.missed[0].number <= number-Behind {
		m := l.missed[0]
		l.missed = l.missed[1:]
		if m.number <= l.synced {
			l.reportMiss(m)
			continue
		}
		// Perhaps the transcript has ended before.
		l.overdues++
		if len(l.overdue) < maxViolations {
			l.overdue = append(l.overdue, m)
		}
	}
}

func (l *lane) reportMiss(m miss) {
	l.result.report(Violation{
		Promise: m.promise, Cursor: m.cursor,
		Text: fmt.Sprintf("record %s at %s is in the log, the filter chooses it, and it was not delivered", m.id, m.cursor),
	})
}

// late deals with an event whose place was passed before.
func (l *lane) late(e *event, number int) {
	switch e.Kind {
	case Record:
		for i, m := range l.missed {
			if m.number != number {
				continue
			}
			l.missed = append(l.missed[:i], l.missed[i+1:]...)
			l.mark(number)
			if l.checkpointed >= number {
				l.report(NoOvertaking, e, "record %s at %s was delivered after a checkpoint that covers it", e.EventID, e.Cursor)
			} else {
				l.report(Ordered, e, "record %s at %s was delivered after records that come later in the log", e.EventID, e.Cursor)
			}
			return
		}
		switch {
		case number < l.first:
			l.report(Ordered, e, "record %s at %s comes before the place where the stream begins", e.EventID, e.Cursor)
		case l.marked(number):
			l.repeated(e)
		default:
			l.extra(e)
		}
	case Gap:
		l.wrongGap(e)
	default:
		if number < l.synced {
			l.report(Ordered, e, "the %s at %s comes after events that come later in the log", e.Kind, e.Cursor)
		}
	}
}

// repeated reports a record that was delivered before.
func (l *lane) repeated(e *event) {
	p := Unique
	if l.resumed {
		p = Resumable
	}
	l.report(p, e, "record %s at %s was delivered twice", e.EventID, e.Cursor)
}

// outOfTurn deals with an event that is followed by what comes before it. known
// says that its place lies ahead.
func (l *lane) outOfTurn(e *event, known bool) {
	switch {
	case known && e.Kind != Record:
		l.overtakes(e)
	case l.afterGap && !known:
		if e.Kind == Record {
			l.result.Unchecked++
		}
	case l.earlies >= Ahead:
		l.unknown(e)
	default:
		l.early[e.Cursor] = append(l.early[e.Cursor], *e)
		l.earlies++
	}
}

// overtakes reports an event other than a record that comes before a record
// that it has to follow.
func (l *lane) overtakes(e *event) {
	switch e.Kind {
	case Checkpoint:
		l.report(NoOvertaking, e, "the checkpoint at %s comes before a record that it covers", e.Cursor)
	case Gap:
		l.report(ExactGaps, e, "the gap up to %s comes before a record that precedes it", e.Cursor)
	case Filter:
		l.report(Changeable, e, "the change of the filter at %s comes before a record that it has to follow", e.Cursor)
	}
}

// tookEarly deals with events that came before it was their turn, and now it
// is. It reports whether the record of the item is among them.
func (l *lane) tookEarly(it *item, matched bool) (delivered bool) {
	events := l.early[it.Cursor]
	if events == nil {
		return false
	}
	delete(l.early, it.Cursor)
	l.earlies -= len(events)
	for i := range events {
		e := &events[i]
		switch {
		case e.Kind != Record:
			l.overtakes(e)
		case delivered:
			l.repeated(e)
		default:
			delivered = true
			if matched {
				l.report(Ordered, e, "record %s at %s was delivered before records that come earlier in the log", e.EventID, e.Cursor)
			}
			l.accept(e, it, matched)
		}
	}
	return delivered
}

// account compares the counts of a checkpoint with the log.
func (l *lane) account(e *event) {
	if l.exact && (e.Considered != l.considered || e.Matched != l.matched) {
		l.report(Accounted, e, "the checkpoint at %s says that %d records were considered and %d matched; by the log it is %d and %d",
			e.Cursor, e.Considered, e.Matched, l.considered, l.matched)
	}
	l.considered, l.matched, l.exact = e.Considered, e.Matched, true
}

var unreadable = keytrailv1.GapReason_GAP_REASON_UNREADABLE.String()

// wrongGap reports a gap where the log has records.
func (l *lane) wrongGap(e *event) {
	if e.Reason == unreadable {
		l.result.note("line %d: the gap after %s up to %s can't be compared: this bus reads what that one could not", e.line, e.After, e.Cursor)
		l.exact = false
		return
	}
	l.report(ExactGaps, e, "the gap after %s up to %s names places that the log has", e.After, e.Cursor)
}

// stepGap is step for a gap of the log.
func (l *lane) stepGap(w *window, it *item) error {
	after := l.before // where the next of several gaps has to begin
	var part *event
	for {
		e, err := l.peek()
		if err != nil || e == nil {
			return err
		}
		_, known := w.find(e.Cursor)
		switch {
		case e.Kind == Stream:
			l.atStream(false)
		case e.Kind == Gap && e.Cursor == it.Cursor:
			if e.After != after && after != "" {
				l.report(ExactGaps, e, "the gap up to %s says that it begins after %s; what is missing begins after %s", e.Cursor, e.After, after)
			}
			l.pop()
			return l.settleAt(w, it)
		case e.Cursor == it.Cursor:
			l.untold(it)
			return l.settleAt(w, it)
		case e.Kind == Gap && e.After == after && !known: // a part of it
			after, part = e.Cursor, new(*e)
			l.pop()
		case e.Kind == Gap && known && e.After == after: // it goes on in the log's next gap
			return nil
		case l.after(it.Cursor, "") > 0 && !known: // delivered while the log still had it
			if e.Kind == Record {
				l.result.Unchecked++
			}
			l.exact = false
			l.pop()
		case part != nil:
			l.report(ExactGaps, part, "the gap after %s ends at %s; what is missing ends at %s", part.After, part.Cursor, it.Cursor)
			l.exact = false
			return nil
		default:
			l.untold(it)
			l.afterGap = true
			return nil
		}
	}
}

// untold is for a gap of the log that the transcript does not have.
func (l *lane) untold(it *item) {
	if it.Gap.GetReason().String() == unreadable {
		l.result.report(Violation{
			Promise: ExactGaps, Cursor: it.Cursor,
			Text: fmt.Sprintf("the log has what no bus of this version can read, after %s up to %s, and no gap says so", it.Gap.GetAfterCursor(), it.Cursor),
		})
		return
	}
	l.exact = false
	l.result.note("the log has a gap after %s up to %s of which the transcript does not tell: records were removed after it was recorded, or it was not told", it.Gap.GetAfterCursor(), it.Cursor)
}

// unknown reports an event whose place is not in the log.
func (l *lane) unknown(e *event) {
	switch e.Kind {
	case Record:
		l.report(Complete, e, "record %s was delivered with the cursor %s, at which the log has none", e.EventID, e.Cursor)
	case Gap:
		l.report(ExactGaps, e, "the gap after %s ends at %s, which is no place in the log", e.After, e.Cursor)
	default:
		l.report(Bookmarkable, e, "the %s has the cursor %s, which is no place in the log", e.Kind, e.Cursor)
	}
}

// drain deals with the events that are left when the log has no more.
func (l *lane) drain(w *window) error {
	for {
		e, err := l.peek()
		if err != nil || e == nil {
			return err
		}
		number, known := w.find(e.Cursor)
		switch {
		case e.Kind == Stream:
			l.atStream(false)
			continue
		case known:
			l.late(e, number)
		default:
			l.outOfTurn(e, false)
		}
		l.pop()
	}
}

// end ends the comparison. What was missed after the last event that was found may have been
// stored later than that.
func (l *lane) end() {
	l.state = finished
	for _, m := range l.missed {
		if m.number <= l.synced {
			l.reportMiss(m)
		}
	}
	var left []event
	for _, events := range l.early {
		left = append(left, events...)
	}
	slices.SortFunc(left, func(a, b event) int { return cmp.Compare(a.line, b.line) })
	for i := range left {
		l.unknown(&left[i])
	}
	if l.repeats > 0 {
		l.result.note("%d records are in the log twice, with the same event ID: whoever published them did so at two buses, or again much later", l.repeats)
	}
}
