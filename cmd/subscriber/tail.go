package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/keytrail/keytrail/client"
)

type tailCommand struct {
	Bus string `default:"127.0.0.1:9440" placeholder:"HOST:PORT" help:"The bus (default ${default})."`

	filterFlags

	From       string         `group:"range" placeholder:"WHERE" help:"Begin at: now (the default), earliest, a time, how long ago, or a cursor. Forms are above."`
	UntilIdle  *time.Duration `group:"range" placeholder:"DURATION" help:"End when the end of the log is reached and nothing has matched for this long."`
	Max        *int           `group:"range" placeholder:"N" help:"End after N records."`
	Checkpoint string         `group:"range" placeholder:"FILE" help:"Keep the position in this file, and go on from it next time: if it exists, --from is ignored."`
	AllowGap   bool           `group:"range" help:"Begin with a gap, instead of failing, when the log no longer holds the start."`
	Wait       bool           `group:"range" help:"Wait for a bus, instead of failing, when none answers."`

	Output string `group:"output" short:"o" enum:"oneline,json,table" default:"oneline" help:"oneline: for people. json: CloudTrail's JSON, a record a line. table: oneline with titles."`
	Color  string `group:"output" enum:"auto,always,never" default:"auto" help:"auto (on a terminal, unless NO_COLOR is set), always or never."`
}

// groups are the titles of the flags' groups in the help text.
var groups = kong.ExplicitGroups([]kong.Group{
	{Key: "which", Title: "Which records:"},
	{Key: "range", Title: "From where, and how far:"},
	{Key: "on", Title: "Tried on what:"},
	{Key: "output", Title: "Output:"},
})

// Help is the part of the help text that flags do not cover.
func (*tailCommand) Help() string {
	return `Records go to the standard output and nothing else does. Gaps, lost connections and the position to resume from are told on the standard error.

` + filterHelp + `

Forms of --from:

    now                     what is stored from now on
    earliest                all that the log holds
    2026-01-05T08:00:00Z    what was stored at this time (RFC 3339) or later
    2026-01-05              the same, from midnight UTC
    15m, 1h, 2d             the same, that long ago
    kt1…                    what comes after this cursor

A bus that goes away is waited for, and nothing is lost or repeated when it is back. Records that can't be delivered any more are reported as a gap.

Exit status:

    0    ended as asked: --max, --until-idle, Ctrl-C, a closed pipe
    1    error: no bus, a cursor that has expired, output that can't be written, …
    2    bad usage
    3    ended as asked, but gaps were reported: records are missing

Each flag can also be set in the environment: KEYTRAIL_BUS for --bus, and so on.`
}

// Run implements `subscriber tail`.
func (c *tailCommand) Run(ctx context.Context, p *program) error {
	cfg, err := c.config(ctx, p)
	if err != nil {
		return err
	}
	var store *client.FileCursorStore
	if c.Checkpoint != "" {
		store = &client.FileCursorStore{Path: c.Checkpoint}
		cursor, err := store.Load(ctx)
		if err != nil {
			return fmt.Errorf("--checkpoint: %w", err)
		}
		if cursor != "" {
			cfg.Start = client.After(cursor)
			if c.From != "" {
				p.say("going on from the position in %s; --from is ignored", c.Checkpoint)
			}
		}
	}
	bus, err := client.New(c.Bus)
	if err != nil {
		return usage("--bus %s: %s", c.Bus, err)
	}
	defer bus.Close()
	f := &follower{
		program: p,
		command: c,
		conn:    bus.Conn(),
		out:     newOutput(p.Stdout, c.Output, c.Color),
		store:   store,
		events:  make(chan client.Event, readAhead),
		links:   make(chan link, 8),
	}
	cfg.OnState = f.onState
	f.sub, err = bus.Subscribe(ctx, cfg)
	if err != nil {
		return err
	}
	return f.run(ctx)
}

// config checks the flags and says what to subscribe to.
func (c *tailCommand) config(ctx context.Context, p *program) (client.SubscriptionConfig, error) {
	cfg := client.SubscriptionConfig{AllowGap: c.AllowGap}
	if err := checkBus(c.Bus); err != nil {
		return cfg, err
	}
	if c.Max != nil && *c.Max < 1 {
		return cfg, usage("--max %d is less than 1", *c.Max)
	}
	if c.UntilIdle != nil {
		if *c.UntilIdle < 0 {
			return cfg, usage("--until-idle %s is negative", *c.UntilIdle)
		}
		// Soon enough for the bus to have said, when the time is over, that
		// the stream is at the end of the log. The bounds are the bus' own.
		cfg.CheckpointInterval = min(max(*c.UntilIdle/2, 100*time.Millisecond), 10*time.Second)
	}
	var err error
	if cfg.Start, err = parseStart(c.From, time.Now()); err != nil {
		return cfg, err
	}
	wanted, compiled, err := c.filter(interruptible(ctx, p.Stdin))
	if err != nil {
		return cfg, err
	}
	cfg.Filter = wanted
	for _, w := range compiled.Warnings() {
		p.sayOwn("warning: " + w)
	}
	return cfg, nil
}

// checkBus checks the address of a bus, as far as that can be done without it.
func checkBus(addr string) error {
	if strings.Contains(addr, "://") || strings.HasPrefix(addr, "unix:") {
		return nil
	}
	if _, port, err := net.SplitHostPort(addr); err != nil || port == "" {
		return usage("--bus %q is not HOST:PORT, such as 127.0.0.1:9440", addr)
	}
	return nil
}
