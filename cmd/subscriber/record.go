package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/protobuf/proto"

	"github.com/keytrail/keytrail/client"
	"github.com/keytrail/keytrail/filter"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/transcript"
)

// recordCommand takes only the filter and the bus from the environment: the
// rest of what is set there is for tail.
type recordCommand struct {
	File string `arg:"" help:"The transcript. It is made, or gone on with."`
	Bus  string `default:"127.0.0.1:9440" placeholder:"HOST:PORT" help:"The bus (default ${default})."`

	filterFlags

	From      string         `env:"-" group:"range" placeholder:"WHERE" help:"Begin at: now (the default), earliest, a time, how long ago, or a cursor, as tail does."`
	UntilIdle *time.Duration `env:"-" group:"range" placeholder:"DURATION" help:"End when the end of the log is reached and nothing has matched for about this long."`
	AllowGap  bool           `env:"-" group:"range" help:"Begin with a gap, instead of failing, when the log no longer holds the start."`
	Wait      bool           `env:"-" group:"range" help:"Wait for a bus, instead of failing, when none answers."`
}

// Help is the part of the help text that flags do not cover.
func (*recordCommand) Help() string {
	return `Writes to FILE what a subscription delivers: of each record its cursor, its event ID and a hash, and each checkpoint, gap and reconnect, as a line of JSON. ` + "`subscriber check`" + ` then finds out whether the bus has kept its promises.

If FILE exists, recording goes on after the last event in it, with its filter; --from is ignored. So it may be killed at any time.

` + filterHelp + `

Exit status:

    0    ended as asked: --until-idle, Ctrl-C
    1    error: no bus, a cursor that has expired, a file that can't be written, …
    2    bad usage`
}

// Run implements `subscriber record`.
func (c *recordCommand) Run(ctx context.Context, p *program) (err error) {
	begin, cfg, compiled, err := c.config(ctx, p)
	if err != nil {
		return err
	}
	out, held, err := transcript.Open(c.File)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := out.Close(); err == nil {
			err = closeErr
		}
	}()
	if held == nil {
		err = out.Begin(transcript.Header{
			Program: version(), Bus: c.Bus, Began: time.Now().UTC(),
			Filter: transcript.FilterJSON{Filter: cfg.Filter}, FilterText: compiled.String(), Start: begin,
		})
	} else {
		err = c.goOn(p, held, &cfg)
	}
	if err != nil {
		return err
	}
	r := &recorder{program: p, command: c, out: out, events: make(chan client.Event, readAhead), notes: make(chan string, 8), activity: time.Now()}
	bus, err := client.New(c.Bus, grpc.WithStreamInterceptor(r.streams.intercept))
	if err != nil {
		return usage("--bus %s: %s", c.Bus, err)
	}
	defer bus.Close()
	r.conn = bus.Conn()
	cfg.OnState = r.onState
	if r.sub, err = bus.Subscribe(ctx, cfg); err != nil {
		return err
	}
	return r.run(ctx)
}

// config checks the flags and says what to subscribe to, and from where.
func (c *recordCommand) config(ctx context.Context, p *program) (begin transcript.Start, cfg client.SubscriptionConfig, compiled *filter.Filter, err error) {
	if err := checkBus(c.Bus); err != nil {
		return begin, cfg, nil, err
	}
	if begin, err = parsePlace(c.From, time.Now()); err != nil {
		return begin, cfg, nil, err
	}
	cfg = client.SubscriptionConfig{AllowGap: c.AllowGap, Start: startOf(begin)}
	if c.UntilIdle != nil {
		if *c.UntilIdle < 0 {
			return begin, cfg, nil, usage("--until-idle %s is negative", *c.UntilIdle)
		}
		// The bounds are the bus' own.
		cfg.CheckpointInterval = min(max(*c.UntilIdle/2, 100*time.Millisecond), 10*time.Second)
	}
	cfg.Filter, compiled, err = c.filter(interruptible(ctx, p.Stdin))
	return begin, cfg, compiled, err
}

// goOn sets where the subscription begins, and its filter, by what the file holds.
func (c *recordCommand) goOn(p *program, held *transcript.Resume, cfg *client.SubscriptionConfig) error {
	if c.given() && !proto.Equal(cfg.Filter, held.Filter.Filter) {
		return usage("%s was begun with another filter: %s; go on without one, or record to another file", c.File, held.Header.FilterText)
	}
	cfg.Filter = held.Filter.Filter
	cfg.Start = startOf(held.Header.Start)
	if held.Cursor != "" {
		cfg.Start = client.After(held.Cursor)
	}
	if c.From != "" {
		p.say("going on with %s; --from is ignored", c.File)
	}
	return nil
}

// startOfRequest is where a request begins.
func startOfRequest(req *keytrailv1.SubscribeRequest) transcript.Start {
	switch s := req.GetStart().(type) {
	case *keytrailv1.SubscribeRequest_Earliest:
		return transcript.Start{Earliest: true}
	case *keytrailv1.SubscribeRequest_StoredTime:
		return transcript.Start{Time: s.StoredTime.AsTime()}
	case *keytrailv1.SubscribeRequest_Cursor:
		return transcript.Start{After: s.Cursor}
	}
	return transcript.Start{Now: true}
}

// recorder writes the events of a subscription to a transcript.
type recorder struct {
	program *program
	command *recordCommand
	conn    *grpc.ClientConn
	sub     *client.Subscription
	out     *transcript.Writer
	streams streams

	events  chan client.Event // closed by read
	readErr error             // why read ended; set before it closes events

	up       atomic.Bool           // a bus has answered; written by onState
	lastLoss atomic.Pointer[error] // why there is no connection; written by onState
	away     bool                  // owned by onState
	notes    chan string           // for people, from onState

	taken    uint64    // events
	activity time.Time // when the last record or gap came

	records, gaps int
}

// run records until there is a reason to end.
func (r *recorder) run(ctx context.Context) error {
	reading, stop := context.WithCancel(ctx)
	go r.read(reading)
	err := r.follow(ctx)
	stop()
	for range r.events { // until read has returned
	}
	if closeErr := r.sub.Close(context.Background()); asAsked(err) && closeErr != nil {
		err = closeErr
	}
	if !asAsked(err) {
		return explain(err, &tailCommand{Bus: r.command.Bus})
	}
	r.program.say("%d records, %d gaps recorded in %s", r.records, r.gaps, r.command.File)
	return nil
}

func (r *recorder) read(ctx context.Context) {
	defer close(r.events)
	for ev, err := range r.sub.Events(ctx) {
		if err != nil {
			r.readErr = err
			return
		}
		select {
		case r.events <- ev:
		case <-ctx.Done():
			r.readErr = ctx.Err()
			return
		}
	}
}

// onState notes what becomes of the connection. It must not block; should
// nobody listen for long, messages for people are what is lost.
func (r *recorder) onState(s client.State, err error) {
	if err != nil {
		r.lastLoss.Store(&err)
	}
	wasUp, note := r.up.Load(), ""
	switch away := s != client.StateConnected; {
	case !away:
		r.up.Store(true)
		if r.away && wasUp {
			note = "connected again"
		}
		r.away = false
	case !r.away && wasUp:
		note = fmt.Sprintf("bus at %s is away%s, trying again", r.command.Bus, because(err))
		r.away = true
	}
	if note != "" {
		select {
		case r.notes <- note:
		default:
		}
	}
}

// follow writes events, in portions: what is at hand comes first.
func (r *recorder) follow(ctx context.Context) error {
	giveUp := time.NewTimer(r.program.GiveUpAfter)
	defer giveUp.Stop()
	for {
		select {
		case ev, ok := <-r.events:
			if err := r.event(ev, ok); err != nil {
				return err
			}
			continue
		default:
		}
		if err := r.out.Flush(); err != nil {
			return err
		}
		select {
		case ev, ok := <-r.events:
			if err := r.event(ev, ok); err != nil {
				return err
			}
		case note := <-r.notes:
			r.program.say("%s", note)
		case <-ctx.Done():
			return errDone
		case <-giveUp.C:
			if !r.command.Wait && !r.up.Load() && r.conn.GetState() != connectivity.Ready {
				return &noBusError{bus: r.command.Bus, cause: r.lastLoss.Load()}
			}
		}
	}
}

// event writes one event, and before it that its stream began, if it is the
// first one.
func (r *recorder) event(ev client.Event, ok bool) error {
	if !ok {
		return r.readErr
	}
	if start := r.streams.began(r.taken); start != nil {
		if err := r.out.Stream(*start); err != nil {
			return err
		}
	}
	r.taken++
	var err error
	switch {
	case ev.Record != nil:
		r.records++
		r.activity = time.Now()
		err = r.out.Record(ev.Cursor, ev.Record)
	case ev.Gap != nil:
		r.gaps++
		r.activity = time.Now()
		r.program.say("%s", gapReport(ev.Gap))
		err = r.out.Gap(ev.Gap)
	case ev.Checkpoint != nil:
		err = r.out.Checkpoint(ev.Checkpoint)
		idle := r.command.UntilIdle
		if err == nil && idle != nil && ev.Checkpoint.GetAtHead() && time.Since(r.activity) >= *idle {
			return errDone
		}
	}
	return err
}

// streams knows which events of a subscription came first on their stream: it
// counts what each stream received. The subscription hands out all of it, in order.
type streams struct {
	mu       sync.Mutex // guards what follows
	received uint64     // events
	starts   []streamStart
}

// streamStart is the beginning of a stream that follows a number of events.
type streamStart struct {
	after uint64
	start transcript.Start
}

// began is where the stream began whose first event is the one after so many
// events; nil if that is not the first one.
func (s *streams) began(events uint64) *transcript.Start {
	s.mu.Lock()
	defer s.mu.Unlock()
	var start *transcript.Start
	// A stream that received nothing is followed by another one at the same place.
	for len(s.starts) > 0 && s.starts[0].after <= events {
		start = &s.starts[0].start
		s.starts = s.starts[1:]
	}
	return start
}

// intercept watches the streams of a connection.
func (s *streams) intercept(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := streamer(ctx, desc, cc, method, opts...)
	if err != nil {
		return nil, err
	}
	return &watchedStream{stream, s}, nil
}

type watchedStream struct {
	grpc.ClientStream
	streams *streams
}

func (w *watchedStream) SendMsg(m any) error {
	if req, ok := m.(*keytrailv1.SubscribeRequest); ok {
		w.streams.mu.Lock()
		at := streamStart{w.streams.received, startOfRequest(req)}
		if n := len(w.streams.starts); n > 0 && w.streams.starts[n-1].after == at.after {
			w.streams.starts = w.streams.starts[:n-1]
		}
		w.streams.starts = append(w.streams.starts, at)
		w.streams.mu.Unlock()
	}
	return w.ClientStream.SendMsg(m)
}

func (w *watchedStream) RecvMsg(m any) error {
	err := w.ClientStream.RecvMsg(m)
	if err != nil {
		return err
	}
	msg, ok := m.(*keytrailv1.SubscribeResponse)
	if !ok {
		return fmt.Errorf("a message of the type %T, which cannot be recorded", m)
	}
	w.streams.mu.Lock()
	defer w.streams.mu.Unlock()
	switch e := msg.GetEvent().(type) {
	case *keytrailv1.SubscribeResponse_Batch:
		w.streams.received += uint64(len(e.Batch.GetRecords()))
	case *keytrailv1.SubscribeResponse_Checkpoint, *keytrailv1.SubscribeResponse_Gap:
		w.streams.received++
	}
	return nil
}
