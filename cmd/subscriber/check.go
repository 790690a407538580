package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/keytrail/keytrail/client"
	"github.com/keytrail/keytrail/internal/show"
	"github.com/keytrail/keytrail/transcript"
)

type checkCommand struct {
	Files []string `arg:"" name:"file" help:"Transcripts that subscriber record has written."`
	Bus   string   `default:"127.0.0.1:9440" placeholder:"HOST:PORT" help:"A bus of the log that they were recorded from (default ${default})."`
	Max   int      `env:"-" placeholder:"N" default:"10" help:"Print N violations of each transcript at most; all are counted (default ${default})."`
}

// Help is the part of the help text that flags do not cover.
func (*checkCommand) Help() string {
	return `Reads each transcript side by side with the log, finds out by itself which records its filter chooses, and reports what breaks the promises of a stream:

    1  ordered                    records come in the order of the log
    2  complete                   each record that matches is there, and no other
    3  unique                     none is there twice
    4  resumable                  a stream that goes on from a cursor does so exactly there
    5  bookmarkable               each cursor is a place in the log
    6  exact gaps                 a gap names exactly what the log does not have
    7  checkpoints never overtake the records that they cover
    8  accounted for              considered = matched + unmatched, as the checkpoints say
    9  changeable                 another filter holds from the place that the stream says

Several transcripts are compared with each other where the log no longer holds the records. What could not be checked is said. The documentation of package fanout has the promises.

Exit status:

    0    nothing is broken
    1    a promise is broken
    2    bad usage, or an error: no bus, a file that is no transcript, or one of which nothing could be checked`
}

// errBroken ends a check after which it is clear that a promise was broken.
var errBroken = errors.New("a promise is broken")

// Run implements `subscriber check`.
func (c *checkCommand) Run(ctx context.Context, p *program) error {
	if err := checkBus(c.Bus); err != nil {
		return err
	}
	if c.Max < 0 {
		return usage("--max %d is negative", c.Max)
	}
	bus, err := client.New(c.Bus)
	if err != nil {
		return usage("--bus %s: %s", c.Bus, err)
	}
	defer bus.Close()
	var files []transcript.File
	for _, name := range c.Files {
		files = append(files, transcript.File{Name: name, Open: func() (io.ReadSeekCloser, error) { return os.Open(name) }})
	}
	results, err := transcript.Check(ctx, &checkedLog{bus, p.GiveUpAfter}, files)
	switch {
	case errors.Is(err, client.ErrGaveUp):
		return &failure{&noBusError{bus: c.Bus, cause: &err}}
	case ctx.Err() != nil:
		return &failure{errors.New("interrupted: nothing is known")}
	case err != nil:
		return &failure{explain(err, &tailCommand{Bus: c.Bus})}
	}
	var broken, unchecked bool
	for _, r := range results {
		if err := c.print(p.Stdout, r); err != nil {
			return &failure{err}
		}
		broken = broken || !r.Clean()
		unchecked = unchecked || !r.Compared
	}
	switch {
	case broken:
		return errBroken
	case unchecked:
		return &failure{errors.New("not every transcript could be checked")}
	}
	return nil
}

// print prints what was found out about a transcript.
func (c *checkCommand) print(w io.Writer, r *transcript.Result) error {
	var b strings.Builder
	line := func(format string, args ...any) {
		fmt.Fprintf(&b, "%s: %s\n", show.Text(r.Name), show.Text(fmt.Sprintf(format, args...)))
	}
	var list []string
	total := 0
	for i, n := range r.Broken {
		total += n
		if n > 0 {
			list = append(list, strconv.Itoa(i))
		}
	}
	for i, v := range r.Violations {
		if i == c.Max {
			break
		}
		line("%v", v)
	}
	if rest := total - min(c.Max, len(r.Violations)); rest > 0 && c.Max > 0 {
		line("… and %s more", thousands(rest))
	}
	for _, n := range r.Notes {
		line("not checked: %s", n)
	}
	if r.Torn {
		line("the last line was not written to its end and is left out")
	}
	verdict := "promises 1–9 hold"
	switch {
	case len(list) > 0:
		verdict = fmt.Sprintf("BROKEN: promise %s (%s violations)", strings.Join(list, ", "), thousands(total))
	case !r.Compared:
		verdict = "could not be compared with the log"
	case r.Unchecked > 0:
		verdict += fmt.Sprintf(" for all but %s records, which the log no longer holds", thousands(r.Unchecked))
	}
	line("%s records, %s gaps, %s checkpoints, %s streams, %s changes of the filter; %s records of the log considered; %s",
		thousands(r.Records), thousands(r.Gaps), thousands(r.Checkpoints), thousands(r.Streams), thousands(r.Changes), thousands(r.Considered), verdict)
	_, err := io.WriteString(w, b.String())
	return err
}

// thousands is n with commas.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// checkedLog reads the log for a check, by a subscription to everything.
type checkedLog struct {
	bus      *client.Client
	retryFor time.Duration
}

func (l *checkedLog) Read(ctx context.Context, from transcript.Start) (transcript.LogReader, error) {
	sub, err := l.bus.Subscribe(ctx, client.SubscriptionConfig{Start: startOf(from), RetryFor: l.retryFor})
	if err != nil {
		return nil, err
	}
	return &logReader{sub}, nil
}

type logReader struct{ sub *client.Subscription }

func (r *logReader) Next(ctx context.Context) (transcript.Item, error) {
	ev, err := r.sub.Next(ctx)
	var expired *client.ExpiredError
	switch {
	case errors.As(err, &expired):
		return transcript.Item{}, fmt.Errorf("%w: %w", transcript.ErrExpired, err)
	case status.Code(err) == codes.DataLoss:
		return transcript.Item{}, fmt.Errorf("%w: %s", transcript.ErrOtherLog, status.Convert(err).Message())
	case err != nil:
		return transcript.Item{}, err
	case ev.Checkpoint.GetAtHead():
		return transcript.Item{}, io.EOF
	}
	return transcript.Item{Cursor: ev.Cursor, Record: ev.Record, Gap: ev.Gap}, nil
}

func (r *logReader) Close() error { return r.sub.Close(context.Background()) }
