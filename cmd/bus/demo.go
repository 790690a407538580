package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/keytrail/keytrail/client"
	"github.com/keytrail/keytrail/eventlog"
	"github.com/keytrail/keytrail/filter"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/internal/sample"
	"github.com/keytrail/keytrail/internal/show"
	"github.com/keytrail/keytrail/record"
	"github.com/keytrail/keytrail/server"
	"golang.org/x/term"
	"google.golang.org/protobuf/proto"
)

type demoCmd struct {
	Records int     `help:"How many records the producer publishes (default ${default})." default:"240"`
	Rate    float64 `help:"Records a second (default ${default})." default:"40"`
	Seed    uint64  `help:"Another seed, other records (default ${default})." default:"1"`
	Width   int     `help:"Columns of the terminal. Default: its own, else 132." placeholder:"N"`
}

// demoWait bounds the demo after the last record was published.
const demoWait = 20 * time.Second

func (c *demoCmd) Run(ctx context.Context, p *program) error {
	err := c.run(ctx, p)
	switch {
	case ctx.Err() != nil: // whatever else it was that ended then
		fmt.Fprintln(p.stderr, "bus: demo stopped")
		return exitStatus(exitError)
	case errors.Is(err, syscall.EPIPE):
		return nil // its reader has seen enough
	}
	return err
}

func (c *demoCmd) run(ctx context.Context, p *program) (err error) {
	if c.Records < 1 || !(c.Rate > 0 && c.Rate <= 1e6) { // NaN is neither
		return errors.New("--records must be positive, and --rate up to 1000000")
	}
	dir, err := os.MkdirTemp("", "keytrail-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv, err := server.Start(ctx, server.Config{
		Log:    eventlog.Config{Dir: dir, DiskReserve: 1 << 20},
		GRPC:   lis,
		Logger: slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return err
	}
	defer srv.Close()
	conn, err := client.New(lis.Addr().String())
	if err != nil {
		return err
	}
	defer conn.Close()

	gen := sample.New(sample.Config{Seed: c.Seed, Start: time.Now().UTC(), Step: time.Duration(float64(time.Second) / c.Rate)})
	busiest := record.KeyID(gen.Keys()[0])
	screen := newScreen(p.stdout, c.Width)
	watchers := []*watcher{
		{
			title: "security: changes and failures",
			filter: &keytrailv1.Filter{Include: []*keytrailv1.Selector{
				{ReadOnly: proto.Bool(false)},
				{Outcomes: []keytrailv1.Outcome{keytrailv1.Outcome_OUTCOME_FAILURE}},
			}},
			columns: []show.Column{show.Outcome, show.Event, show.Who},
		},
		{
			title:   "team: key " + busiest,
			filter:  &keytrailv1.Filter{Include: []*keytrailv1.Selector{{Keys: []string{busiest}}}},
			columns: []show.Column{show.Outcome, show.Event, show.Who},
		},
	}
	fmt.Fprintf(p.stdout, "A bus with NATS embedded serves gRPC at %s; its log is in %s and goes away with the demo.\n", lis.Addr(), dir)
	fmt.Fprintf(p.stdout, "A producer publishes %d records of KMS calls, %g a second. Two subscribers follow what matches their filters:\n\n", c.Records, c.Rate)
	screen.titles(watchers)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel() // before wg.Wait
	live := make(chan struct{}, len(watchers))
	ended := make(chan error, len(watchers))
	for side, w := range watchers {
		if err := w.prepare(); err != nil {
			return err
		}
		wg.Go(func() {
			ended <- w.follow(ctx, conn, uint64(c.Records), live, func(r *keytrailv1.Record) error { return screen.line(side, w.columns, r) })
		})
	}
	for range watchers { // each starts at now, and now is before the first record
		select {
		case <-live:
		case err := <-ended:
			return err
		}
	}
	published, err := c.produce(ctx, conn, gen, watchers, ended)
	if err != nil {
		return err
	}
	last, stop := context.WithTimeout(ctx, demoWait)
	defer stop()
	for range watchers {
		select {
		case err := <-ended:
			if err != nil {
				return err
			}
		case <-last.Done():
			return fmt.Errorf("the subscribers did not account for every record within %v", demoWait)
		}
	}
	return c.account(p.stdout, published, watchers)
}

// produce publishes at the chosen rate and returns how many were stored. It
// stops when a watcher fails.
func (c *demoCmd) produce(ctx context.Context, conn *client.Client, gen *sample.Generator, watchers []*watcher, ended chan error) (stored int, err error) {
	var failed error
	pub, err := conn.NewPublisher(client.PublisherConfig{})
	if err != nil {
		return 0, err
	}
	tick := time.NewTicker(time.Duration(float64(time.Second) / c.Rate))
	defer tick.Stop()
	for range c.Records {
		rec := gen.Next()
		for _, w := range watchers {
			if err := w.expect(rec); err != nil {
				return 0, errors.Join(err, pub.Close(ctx))
			}
		}
		err := pub.PublishFunc(ctx, rec, func(x *client.Pending) { // one at a time; Close waits for the last
			if res, err := x.Result(ctx); err != nil {
				failed = err
			} else if x.Stored() {
				stored++
			} else {
				failed = fmt.Errorf("a record was not stored: %v", res)
			}
		})
		if err != nil {
			return 0, errors.Join(err, pub.Close(ctx))
		}
		select {
		case <-tick.C:
		case err := <-ended:
			if err != nil {
				return 0, errors.Join(err, pub.Close(ctx))
			}
			ended <- nil // for whoever counts them; it had seen all that it expects
		case <-ctx.Done():
		}
	}
	err = pub.Close(ctx)
	return stored, errors.Join(err, failed)
}

// account prints what became of every record. What a subscriber should have got is
// known here, so this is no mere sum of what it did get.
func (c *demoCmd) account(w io.Writer, stored int, watchers []*watcher) error {
	fmt.Fprintf(w, "\n%d records published = %d stored", c.Records, stored)
	lost := c.Records - stored
	for _, s := range watchers {
		name, _, _ := strings.Cut(s.title, ":")
		fmt.Fprintf(w, "; %s: %d = %d matched + %d not", name, s.considered, s.got, s.considered-uint64(s.got))
		lost += len(s.expected)
	}
	_, err := fmt.Fprintf(w, "; %d lost\n", lost)
	if lost != 0 {
		return errors.Join(err, fmt.Errorf("%d records are not accounted for", lost))
	}
	return err
}

// watcher is a subscriber of the demo.
type watcher struct {
	title   string
	filter  *keytrailv1.Filter
	columns []show.Column
	match   *filter.Filter

	mu         sync.Mutex
	expected   map[string]bool // event IDs that match and have not come; guarded by mu
	got        int             // owned by follow until it returns
	considered uint64
}

func (w *watcher) prepare() (err error) {
	w.expected = make(map[string]bool)
	w.match, err = filter.Compile(w.filter)
	return err
}

// expect notes r if it matches.
func (w *watcher) expect(r *keytrailv1.Record) error {
	encoded, err := proto.Marshal(r)
	if err != nil {
		return err
	}
	var v record.View
	if err := v.Reset(encoded); err != nil {
		return err
	}
	if w.match.Match(&v) {
		w.mu.Lock()
		w.expected[r.GetEventId()] = true
		w.mu.Unlock()
	}
	return nil
}

// follow subscribes until all records have been considered.
func (w *watcher) follow(ctx context.Context, conn *client.Client, all uint64, live chan<- struct{}, print func(*keytrailv1.Record) error) (err error) {
	sub, err := conn.Subscribe(ctx, client.SubscriptionConfig{Filter: w.filter, CheckpointInterval: 200 * time.Millisecond})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sub.Close(context.WithoutCancel(ctx))) }()
	first := true
	for ev, err := range sub.Events(ctx) {
		switch {
		case err != nil:
			return err
		case ev.Record != nil:
			w.got++
			w.mu.Lock()
			known := w.expected[ev.Record.GetEventId()]
			delete(w.expected, ev.Record.GetEventId())
			w.mu.Unlock()
			if !known {
				return fmt.Errorf("%s got a record that does not match, or one twice", w.title)
			}
			if err := print(ev.Record); err != nil {
				return err
			}
		case ev.Gap != nil:
			return fmt.Errorf("%s met a gap: %v", w.title, ev.Gap.GetReason())
		case ev.Checkpoint != nil:
			if first {
				first = false
				live <- struct{}{}
			}
			if w.considered = ev.Checkpoint.GetConsidered(); w.considered >= all {
				return nil
			}
		}
	}
	return ctx.Err()
}

// screen shows two streams side by side.
type screen struct {
	out    io.Writer
	column int // width of each side
	color  bool

	mu sync.Mutex // guards out
}

const (
	screenDefault = 132
	screenLeast   = 60
	screenMost    = 200
	divider       = " │ "
)

func newScreen(out io.Writer, width int) *screen {
	s := &screen{out: out}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		s.color = os.Getenv("NO_COLOR") == ""
		if w, _, err := term.GetSize(int(f.Fd())); err == nil {
			width = cmp.Or(width, w)
		}
	}
	width = min(max(cmp.Or(width, screenDefault), screenLeast), screenMost)
	s.column = (width - utf8.RuneCountInString(divider)) / 2
	return s
}

func (s *screen) titles(watchers []*watcher) {
	left, right := fit(watchers[0].title, s.column), fit(watchers[1].title, s.column)
	fmt.Fprintf(s.out, "%s%s%s\n", left, divider, strings.TrimRight(right, " "))
	rule := strings.Repeat("─", s.column)
	fmt.Fprintf(s.out, "%s─┼─%s\n", rule, rule)
}

// line shows r on its side; the other stays empty.
func (s *screen) line(side int, columns []show.Column, r *keytrailv1.Record) error {
	plain := show.Style{Width: s.column, Columns: columns}.Line(r)
	text := show.Style{Width: s.column, Columns: columns, Color: s.color}.Line(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	if side == 0 {
		_, err := fmt.Fprintf(s.out, "%s%s%s\n", text, strings.Repeat(" ", max(0, s.column-utf8.RuneCountInString(plain))), strings.TrimRight(divider, " "))
		return err
	}
	_, err := fmt.Fprintf(s.out, "%s%s%s\n", strings.Repeat(" ", s.column), divider, text)
	return err
}

// fit cuts or pads text to a width.
func fit(text string, width int) string {
	runes := []rune(text)
	if len(runes) > width {
		return string(runes[:width-1]) + "…"
	}
	return text + strings.Repeat(" ", width-len(runes))
}
