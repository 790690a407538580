package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/keytrail/keytrail/filter"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/internal/show"
	"github.com/keytrail/keytrail/internal/when"
	"github.com/keytrail/keytrail/record"
)

// explainCommand takes only the filter and the bus from the environment: the
// rest of what is set there is for tail.
type explainCommand struct {
	filterFlags

	Record string `env:"-" group:"on" placeholder:"FILE" help:"Say of each record of this file whether and why it matches. CloudTrail JSON as bus publish takes it, also gzip; '-' is the standard input."`
	Max    int    `env:"-" group:"on" placeholder:"N" default:"10" help:"Explain N records of the file at most; all are counted (default ${default})."`

	From  string `env:"-" group:"on" placeholder:"WHEN" help:"Try the filter on what the bus has stored since: earliest, a time, a date, or how long ago (15m, 1h, 2d)."`
	Limit uint64 `env:"-" group:"on" placeholder:"N" help:"Look at N records at most."`
	Bus   string `group:"on" default:"127.0.0.1:9440" placeholder:"HOST:PORT" help:"The bus that --from asks (default ${default})."`

	Color string `group:"output" enum:"auto,always,never" default:"auto" help:"auto (on a terminal, unless NO_COLOR is set), always or never."`
}

// Help is the part of the help text that flags do not cover.
func (*explainCommand) Help() string {
	return `Prints the filter that the flags make, in one text that means the same, its clauses, and by what a bus finds it when a record comes. No bus is asked.

With --record each clause comes with whether it held, and on which values of the record. With --from a bus runs the filter over its log: HELD counts the records for which a clause held, DECIDED those that would have come out differently if it had. A clause that decides little is not needed; one that decides too much may not say what was meant. Ctrl-C ends with what is known so far.

` + filterHelp + `

Exit status:

    0    some record matches, or none was to be tried
    1    no record matches
    2    bad usage, or an error`
}

// errNoMatch ends an explanation after which it is clear that nothing matched.
var errNoMatch = errors.New("no record matches")

// failure is an error of a command whose status 1 means something else.
type failure struct{ error }

// Run implements `subscriber explain`.
func (c *explainCommand) Run(ctx context.Context, p *program) error {
	if err := c.usage(); err != nil {
		return err
	}
	wanted, compiled, err := c.filter(interruptible(ctx, p.Stdin))
	if err != nil {
		return err
	}
	out := newOutput(p.Stdout, "oneline", c.Color)
	text, _ := printable(compiled.String())
	out.line(text)
	for _, w := range compiled.Warnings() {
		text, _ := printable(w)
		out.line(out.paint(yellow, "warning:"), " ", text)
	}
	switch {
	case c.Record != "":
		err = c.records(ctx, p, compiled, out)
	case c.From != "":
		err = c.history(ctx, p, wanted, out)
	default:
		if clauses := compiled.Clauses(); len(clauses) > 1 {
			out.line()
			out.tree(clauses)
		}
		out.line()
		out.index(compiled.Indexed())
	}
	var bad *usageError
	if errors.As(err, &bad) {
		return err
	}
	if flushErr := out.flush(); flushErr != nil {
		err = flushErr
	}
	switch {
	case errors.Is(err, errPipe):
		return nil
	case err == nil, errors.Is(err, errNoMatch):
		return err
	}
	return &failure{err}
}

// usage finds flags that do not go together.
func (c *explainCommand) usage() error {
	switch {
	case !c.given():
		return usage("there is no filter to explain; give one, such as --where 'outcome = denied'")
	case c.Record != "" && c.From != "":
		return usage("--record and --from are two ways to try a filter; give one of them")
	case c.Record == "-" && (c.Pattern == "-" || c.Selectors == "-"):
		return usage("the filter and --record can't both be the standard input")
	case c.Limit > 0 && c.From == "":
		return usage("--limit is for --from")
	case c.Max < 0:
		return usage("--max %d is negative", c.Max)
	case c.From == "":
		return nil
	}
	if err := checkBus(c.Bus); err != nil {
		return err
	}
	_, err := c.since(time.Now())
	return err
}

// since is the time that --from means; zero for the earliest record.
func (c *explainCommand) since(now time.Time) (time.Time, error) {
	if c.From == "earliest" {
		return time.Time{}, nil
	}
	t, err := when.Time(c.From, now)
	switch {
	case err != nil:
		return t, usage("--from %q is none of: earliest; a time (2026-01-05T08:00:00Z, or 2026-01-05 for midnight UTC); how long ago (15m, 1h, 2d)", c.From)
	case t.After(now.Add(skew)):
		return t, usage("--from %s is in the future", c.From)
	}
	return t, nil
}

// maxSaidBad is how many bad records of a file are named.
const maxSaidBad = 10

// records explains the records of a file.
func (c *explainCommand) records(ctx context.Context, p *program, compiled *filter.Filter, out *output) error {
	in := interruptible(ctx, p.Stdin)
	if c.Record != "-" {
		file, err := os.Open(c.Record)
		if err != nil {
			return usage("--record: %s", err)
		}
		defer file.Close()
		if info, err := file.Stat(); err == nil && info.IsDir() {
			return usage("--record: %s is a folder; name a file in it", c.Record)
		}
		in = file
	}
	var (
		records = record.NewReader(in)
		trial   = compiled.NewTrial()
		view    record.View
		encoded []byte
		bad     int
		cutOff  bool
	)
	for ctx.Err() == nil {
		r, err := records.Next()
		if err == io.EOF || err != nil && ctx.Err() != nil {
			break
		}
		one := (*record.RecordError)(nil)
		whole := err == nil || errors.As(err, &one) // the rest can be read
		if err == nil {
			if encoded, err = (proto.MarshalOptions{}).MarshalAppend(encoded[:0], r); err == nil {
				err = view.Reset(encoded)
			}
		}
		if err != nil {
			if bad++; bad <= maxSaidBad {
				p.sayOwn(c.Record + ": " + strings.TrimPrefix(err.Error(), "record: ")) // which has escaped what it quotes
			}
			if whole {
				continue
			}
			cutOff = true
			break
		}
		trial.Consider(&view)
		if trial.Considered <= uint64(c.Max) {
			out.line()
			out.explain(records.Number(), r, compiled.Explain(&view))
			if err := out.flush(); err != nil { // now: the next may come in an hour
				return err
			}
		}
	}
	if trial.Considered > 1 {
		out.line()
		if more := int(trial.Considered) - c.Max; more > 0 && c.Max > 0 {
			out.line(out.paint(dim, fmt.Sprintf("%d more records are only counted; --max %d explains all", more, trial.Considered)))
			out.line()
		}
		out.summary(trial.Considered, trial.Matched)
		out.counts(trial.Clauses())
	}
	switch {
	case cutOff:
		return fmt.Errorf("%s could not be read to its end", c.Record)
	case bad > 0:
		return fmt.Errorf("%s: %d of its records could not be read", c.Record, bad)
	case trial.Considered == 0 && ctx.Err() == nil:
		return fmt.Errorf("%s holds no records", c.Record)
	case trial.Matched == 0:
		return errNoMatch
	}
	return nil
}

// interruptible is a reader of in that ends with ctx. A read of a terminal or
// pipe can't be interrupted, so what copies ends with its input, or with the
// process. It begins when something is read.
func interruptible(ctx context.Context, in io.Reader) io.Reader {
	return &lazy{start: func() io.Reader {
		out, feed := io.Pipe()
		go func() {
			_, err := io.Copy(feed, in)
			feed.CloseWithError(err) // nil: the end
		}()
		context.AfterFunc(ctx, func() { feed.CloseWithError(ctx.Err()) })
		return out
	}}
}

type lazy struct {
	start func() io.Reader
	in    io.Reader
}

func (l *lazy) Read(p []byte) (int, error) {
	if l.in == nil {
		l.in = l.start()
	}
	return l.in.Read(p)
}

// explain shows why a record does or does not match.
func (o *output) explain(number int, r *keytrailv1.Record, x *filter.Explanation) {
	const width = 10
	verdict := o.paint(red, "no match") + "  "
	if x.Matched {
		verdict = o.paint(green, "match") + "     "
	}
	o.line(verdict, fmt.Sprintf("record %d  %s", number, show.Text(r.GetEventId())))
	style := show.Style{Color: o.style.Color, Columns: []show.Column{show.Time, show.Outcome, show.Event, show.Who}}
	line := style.Line(r)
	if displayed(line) > pageWidth-width {
		style.Width = pageWidth - width
		line = style.Line(r)
	}
	o.line(spaces(width), line)
	o.verdicts(x.Clauses)
}

// summary says how many records matched.
func (o *output) summary(considered, matched uint64) {
	percent := ""
	if considered > 0 {
		percent = fmt.Sprintf(" (%.3g %%)", 100*float64(matched)/float64(considered))
	}
	records := "records"
	if considered == 1 {
		records = "record"
	}
	o.line(o.paint(bold, fmt.Sprintf("%d %s considered, %d matched%s", considered, records, matched, percent)))
}

// index says what the index uses.
func (o *output) index(by string) {
	text, columns := printable(by)
	o.clause("index: ", clauseLine{text: text, columns: columns})
}
