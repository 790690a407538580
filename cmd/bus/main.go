// Command bus runs a Keytrail bus, and publishes to one.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"
)

func main() {
	ctx, stop := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	// A closed pipe is then an error of a write, so that whatever is open is closed in order.
	signal.Ignore(syscall.SIGPIPE)
	go func() {
		<-signals
		stop()
		<-signals
		fmt.Fprintln(os.Stderr, "bus: stopped at once, as asked twice")
		os.Exit(exitError)
	}()
	p := program{args: os.Args[1:], stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	os.Exit(p.run(ctx))
}

// Exit statuses.
const (
	exitOK         = 0
	exitError      = 1 // also: some records were rejected
	exitIncomplete = 2 // publish could not try everything
	exitUsage      = 64
)

// program is one run of the command.
type program struct {
	args           []string
	stdin          io.Reader
	stdout, stderr io.Writer
}

// cli is the command line.
type cli struct {
	Config string `help:"YAML file of flags by their long names, such as 'data: /var/lib/keytrail'. Flags and environment win over it." type:"path" placeholder:"FILE"`

	Serve   serveCmd   `cmd:"" default:"withargs" help:"Run a bus (the default command)."`
	Publish publishCmd `cmd:"" help:"Publish CloudTrail log files to a bus."`
	Proxy   proxyCmd   `cmd:"" help:"Record the calls of a KMS: a reverse proxy before it."`
	Demo    demoCmd    `cmd:"" help:"Show the product at work: a bus, a producer and two subscribers, in this terminal."`
	Log     logCmd     `cmd:"" help:"Look at the log of a bus, or make room in it."`
	Check   checkCmd   `cmd:"" help:"Validate the configuration of serve, without serving."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

// exitStatus is an error that only sets the exit status: all has been said.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func (p *program) run(ctx context.Context) int {
	var c cli
	exited := -1
	parser, err := kong.New(&c,
		kong.Name("bus"),
		kong.Description("Keytrail: a streaming audit-event bus for key management services. Bad usage ends with status 64, other failures with 1; publish has more to say."),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Writers(p.stdout, p.stderr),
		kong.Exit(func(code int) { exited = code }),
		kong.DefaultEnvars("KEYTRAIL"),
		kong.TypeMapper(sizeType, sizeMapper),
		kong.TypeMapper(daysType, daysMapper),
		kong.WithBeforeResolve(func(k *kong.Kong, kctx *kong.Context) error { return useConfigFile(k, kctx, p) }),
	)
	if err != nil {
		return p.fail(err, exitError)
	}
	kctx, err := parser.Parse(p.args)
	if exited >= 0 { // --help
		return exited
	}
	if err != nil {
		return p.fail(err, exitUsage)
	}
	kctx.BindTo(ctx, (*context.Context)(nil))
	err = kctx.Run(p)
	var code exitStatus
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		return int(code)
	}
	return p.fail(err, exitError)
}

// fail says err on one line.
func (p *program) fail(err error, code int) int {
	fmt.Fprintf(p.stderr, "bus: %v\n", err)
	return code
}

type versionCmd struct{}

func (versionCmd) Run(p *program) error {
	_, err := fmt.Fprintf(p.stdout, "bus %s\n", version())
	return err
}

// version is what the Go toolchain recorded: a release's tag, or a revision.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" || v == "(devel)" {
		v = "devel"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && v == "devel" {
			v += " " + s.Value[:min(12, len(s.Value))]
		}
	}
	return v
}
