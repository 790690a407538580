package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/term"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/keytrail/keytrail/client"
	"github.com/keytrail/keytrail/filter"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// history tries the filter on what the bus holds.
func (c *explainCommand) history(ctx context.Context, p *program, wanted *keytrailv1.Filter, out *output) error {
	since, err := c.since(time.Now())
	if err != nil {
		return err
	}
	bus, err := client.New(c.Bus)
	if err != nil {
		return usage("--bus %s: %s", c.Bus, err)
	}
	defer bus.Close()
	req := &keytrailv1.TryFilterRequest{Filter: wanted, Limit: c.Limit}
	if !since.IsZero() {
		req.StoredTime = timestamppb.New(since)
	}
	trying, giveUp := context.WithCancel(ctx)
	defer giveUp()
	patience := time.AfterFunc(p.GiveUpAfter, func() {
		if bus.Conn().GetState() != connectivity.Ready {
			giveUp()
		}
	})
	defer patience.Stop()
	progress := newProgress(p)
	var last *keytrailv1.TryFilterResponse
	for res, err := range bus.TryFilter(trying, req) {
		if err != nil {
			progress.clear()
			switch {
			case ctx.Err() != nil:
				return c.interrupted(p, last, out)
			case trying.Err() != nil:
				return &noBusError{bus: c.Bus}
			}
			return c.failed(err, last != nil)
		}
		last = res
		progress.show(res)
	}
	progress.clear()
	if !last.GetDone() {
		return c.interrupted(p, last, out)
	}
	out.line()
	out.summary(last.GetConsidered(), last.GetMatched())
	if last.GetLimited() {
		out.line("there are more: --limit was reached")
	}
	if last.GetGaps() > 0 {
		out.line(out.paint(yellow, "warning:"), fmt.Sprintf(" %d messages of the log could not be considered: they are gone, or this bus can't read them", last.GetGaps()))
	}
	clauses := make([]filter.Clause, len(last.GetClauses()))
	for i, c := range last.GetClauses() {
		depth := min(c.GetDepth(), filter.MaxDepth) // whatever the bus says
		clauses[i] = filter.Clause{Text: c.GetText(), Depth: int(depth), HeldRecords: c.GetHeldRecords(), DecidedRecords: c.GetDecidedRecords()}
	}
	out.counts(clauses)
	out.line()
	out.index(last.GetIndex())
	return matchedAny(last)
}

func matchedAny(res *keytrailv1.TryFilterResponse) error {
	if res.GetMatched() == 0 {
		return errNoMatch
	}
	return nil
}

// interrupted tells what was known when somebody lost patience.
func (c *explainCommand) interrupted(p *program, last *keytrailv1.TryFilterResponse, out *output) error {
	p.say("interrupted; what follows is part of the answer")
	out.line()
	out.summary(last.GetConsidered(), last.GetMatched())
	return matchedAny(last)
}

// failed is err of the bus, which had answered or not, as people should read it.
func (c *explainCommand) failed(err error, answered bool) error {
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	switch {
	case s.Code() == codes.Unavailable && answered:
		return fmt.Errorf("the bus at %s went away during the trial%s; try again", c.Bus, because(err))
	case s.Code() == codes.Unavailable:
		return &noBusError{bus: c.Bus, cause: &err}
	case s.Code() == codes.Unimplemented:
		return fmt.Errorf("what answers at %s is not a Keytrail bus, or an older one: %s", c.Bus, s.Message())
	case s.Code() == codes.InvalidArgument:
		return fmt.Errorf("the bus at %s does not take this request: %s", c.Bus, s.Message())
	case s.Code() == codes.ResourceExhausted:
		return fmt.Errorf("the bus at %s tries too many filters already: %s; try again later", c.Bus, s.Message())
	}
	return fmt.Errorf("the bus at %s has ended the trial: %s: %s", c.Bus, s.Code(), s.Message())
}

// progress tells people who wait on a terminal how far a trial is.
type progress struct {
	program *program
	on      bool
	shown   bool
}

func newProgress(p *program) *progress {
	f, ok := p.Stderr.(*os.File)
	return &progress{program: p, on: ok && term.IsTerminal(int(f.Fd()))}
}

func (g *progress) show(res *keytrailv1.TryFilterResponse) {
	if g.on {
		g.shown = true
		fmt.Fprintf(g.program.Stderr, "\r%d considered, %d matched\x1b[K", res.GetConsidered(), res.GetMatched())
	}
}

func (g *progress) clear() {
	if g.shown {
		g.shown = false
		fmt.Fprint(g.program.Stderr, "\r\x1b[K")
	}
}
