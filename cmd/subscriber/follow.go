package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/keytrail/keytrail/client"
)

const (
	// readAhead is how many events wait to be printed.
	readAhead = 64

	// tickEvery is how often the position is saved, and a pipe looked after.
	tickEvery = time.Second
)

// follower prints the events of a subscription. One goroutine reads, so that
// this one knows when nothing more is at hand and it is time to write; the
// fields belong to the latter unless they say otherwise.
type follower struct {
	program *program
	command *tailCommand
	conn    *grpc.ClientConn
	sub     *client.Subscription
	out     *output
	store   *client.FileCursorStore // nil without --checkpoint

	events  chan client.Event // closed by read
	readErr error             // why read ended; set before it closes events

	links    chan link             // from onState
	lastLoss atomic.Pointer[error] // why there is no connection; written by onState
	away     bool                  // owned by onState

	connected bool // at least once
	cursor    string
	written   string // the cursor up to which everything is with the reader of the output
	saved     string
	records   int
	gaps      int

	atHead   bool      // no record came since the bus said that there are none left
	activity time.Time // when the last one came, or the first event
	idle     *time.Timer
}

// link says that the connection to the bus came or went.
type link struct {
	up  bool
	err error
}

// errDone ends a follower that has done what it was asked.
var errDone = errors.New("done")

// run follows until there is a reason to end, and says where to resume.
func (f *follower) run(ctx context.Context) error {
	reading, stop := context.WithCancel(ctx)
	go f.read(reading)
	err := f.follow(ctx)
	stop()
	for range f.events { // until read has returned
	}
	// Nothing is left to save: cursors are saved here, not by the subscription.
	if closeErr := f.sub.Close(context.Background()); err == nil {
		err = closeErr
	}
	return f.finish(err)
}

// read hands over events until the subscription or ctx ends.
func (f *follower) read(ctx context.Context) {
	defer close(f.events)
	for ev, err := range f.sub.Events(ctx) {
		if err != nil {
			f.readErr = err
			return
		}
		select {
		case f.events <- ev:
		case <-ctx.Done():
			f.readErr = ctx.Err()
			return
		}
	}
}

// onState hands over changes of the connection, each once. It must not block;
// should nobody listen for long, messages for people are what is lost.
func (f *follower) onState(s client.State, err error) {
	if err != nil {
		f.lastLoss.Store(&err)
	}
	if away := s != client.StateConnected; away != f.away || !away {
		f.away = away
		select {
		case f.links <- link{up: !away, err: err}:
		default:
		}
	}
}

// follow prints events until there is a reason to end. It returns errDone when
// that is what was asked for.
func (f *follower) follow(ctx context.Context) error {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	f.idle = time.NewTimer(time.Hour)
	f.idle.Stop()
	giveUp := time.NewTimer(f.program.GiveUpAfter)
	defer giveUp.Stop()
	if err := f.flush(); err != nil { // the titles of a table
		return err
	}
	for {
		var err error
		select { // what is at hand comes first…
		case ev, ok := <-f.events:
			err = f.event(ev, ok)
		case <-ctx.Done():
			err = errDone
		case <-tick.C:
			err = f.tick()
		default:
			if err = f.flush(); err != nil {
				break
			}
			select { // … and while nothing is, everything else
			case ev, ok := <-f.events:
				err = f.event(ev, ok)
			case <-ctx.Done():
				err = errDone
			case <-tick.C:
				err = f.tick()
			case l := <-f.links:
				f.link(l)
			case <-f.idle.C:
				err = f.checkIdle()
			case <-giveUp.C:
				err = f.checkBus()
			}
		}
		if err != nil {
			return err
		}
	}
}

// event deals with one event; ok is false when there are no more.
func (f *follower) event(ev client.Event, ok bool) error {
	if !ok {
		return f.readErr
	}
	if f.activity.IsZero() {
		f.activity = time.Now()
	}
	switch {
	case ev.Record != nil:
		if err := f.out.print(ev.Record); err != nil {
			return err
		}
		f.records++
		f.active()
	case ev.Gap != nil:
		f.gaps++
		f.program.say("%s", gapReport(ev.Gap))
		f.active()
	case ev.Checkpoint != nil:
		f.atHead = ev.Checkpoint.GetAtHead()
	}
	f.cursor = ev.Cursor
	switch {
	case f.command.Max != nil && f.records >= *f.command.Max:
		return errDone
	case f.out.full():
		return f.flush()
	case ev.Checkpoint != nil:
		return f.checkIdle()
	}
	return nil
}

// active notes that something came that --until-idle waits for the end of.
func (f *follower) active() {
	if f.command.UntilIdle != nil {
		f.activity = time.Now()
		f.atHead = false
	}
}

// checkIdle ends if nothing has come for long enough, and else sees to it that
// it is asked again in time.
func (f *follower) checkIdle() error {
	if f.command.UntilIdle == nil || !f.atHead {
		return nil // the next checkpoint comes back to this
	}
	left := *f.command.UntilIdle - time.Since(f.activity)
	if left <= 0 {
		return errDone
	}
	f.idle.Reset(left)
	return nil
}

// checkBus ends if no bus was found in time.
func (f *follower) checkBus() error {
	if f.command.Wait || f.connected || f.cursor != "" {
		return nil
	}
	if f.conn.GetState() == connectivity.Ready { // one is there, and does not begin
		why := ""
		if loss := f.lastLoss.Load(); loss != nil {
			why = because(*loss)
		}
		f.program.say("the bus at %s does not begin the stream%s, trying again", f.command.Bus, why)
		return nil
	}
	return &noBusError{bus: f.command.Bus, cause: f.lastLoss.Load()}
}

// link tells people about the connection. Before there was one, checkBus does.
func (f *follower) link(l link) {
	switch {
	case l.up && !f.connected:
		f.connected = true
		if f.command.Wait && f.lastLoss.Load() != nil {
			f.program.say("connected")
		}
	case l.up:
		f.program.say("connected again")
	case f.connected:
		f.atHead = false
		f.program.say("bus at %s is away%s, trying again", f.command.Bus, because(l.err))
	case f.command.Wait && f.conn.GetState() == connectivity.Ready:
		f.program.say("the bus at %s does not begin the stream yet%s, waiting", f.command.Bus, because(l.err))
	case f.command.Wait:
		f.program.say("no bus answers at %s yet%s, waiting", f.command.Bus, because(l.err))
	}
}

// tick saves the position and ends if the output has no reader any more.
func (f *follower) tick() error {
	if f.out.abandoned() {
		return errPipe
	}
	if err := f.flush(); err != nil {
		return err
	}
	return f.save()
}

// flush writes what was printed.
func (f *follower) flush() error {
	if err := f.out.flush(); err != nil {
		return err
	}
	f.written = f.cursor
	return nil
}

// save keeps the position of what was written.
func (f *follower) save() error {
	if f.store == nil || f.written == f.saved {
		return nil
	}
	if err := f.out.sync(); err != nil {
		return err
	}
	// Not bounded by a context: what was written must not be written again.
	if err := f.store.Save(context.Background(), f.written); err != nil {
		return fmt.Errorf("--checkpoint: saving the position: %w", err)
	}
	f.saved = f.written
	return nil
}

// finish writes and saves what is left, says where to resume, and turns the
// reason to end into the command's error.
func (f *follower) finish(why error) error {
	// Whatever went wrong, what was printed before it counts.
	flushErr := f.flush()
	saveErr := f.save()
	var failure error
	for _, err := range []error{why, flushErr, saveErr} {
		if failure == nil && !asAsked(err) {
			failure = err
		}
	}
	// What is still in a closed pipe is lost, and it is not known how much: a
	// position would promise too much, and a message would disturb.
	quiet := errors.Is(why, errPipe) || errors.Is(flushErr, errPipe)
	if !quiet && resumable(failure) {
		f.sayPosition()
	}
	if failure == nil && f.gaps > 0 {
		return errGaps
	}
	return explain(failure, f.command)
}

// asAsked says whether err is no error but the end that was wished for.
func asAsked(err error) bool {
	return err == nil || errors.Is(err, errDone) || errors.Is(err, errPipe) || errors.Is(err, context.Canceled)
}

func (f *follower) sayPosition() {
	switch {
	case f.written == "":
	case f.saved == f.written:
		f.program.say("resume with --checkpoint %s, or --from %s", f.command.Checkpoint, f.written)
	default:
		f.program.say("resume with --from %s", f.written)
	}
}
