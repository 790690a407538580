// Command loadtest measures a Keytrail bus: a bus in a process of its own, under a load
// that comes through the public client, like any customer's.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// cli is the command line.
type cli struct {
	JSON bool `name:"json" help:"Print one JSON object a row instead of a table."`

	Publish publishCmd `cmd:"" help:"Publish as fast as the bus takes it; then one record at a time."`
	Match   matchCmd   `cmd:"" help:"Match records with up to 100,000 filters: by an index, and one after the other."`
	Bus     busCmd     `cmd:"" hidden:"" help:"The bus under test; the other commands start it."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var c cli
	k := kong.Parse(&c,
		kong.Name("loadtest"),
		kong.Description("Measures a Keytrail bus. The exit status is 0 when a measurement ran, whatever the figures."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.UsageOnError())
	k.BindTo(ctx, (*context.Context)(nil))
	if err := k.Run(&c); err != nil {
		fmt.Fprintf(os.Stderr, "loadtest: %v\n", err)
		stop()
		os.Exit(1)
	}
}
