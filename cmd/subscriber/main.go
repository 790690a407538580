// Command subscriber follows the audit records of a Keytrail bus, and explains
// the filters that choose them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/keytrail/keytrail/internal/show"
)

func main() {
	// A closed pipe is then an error of a write, like any other.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	p := &program{Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	os.Exit(p.Run(ctx))
}

// Exit statuses. The help texts list them. Those of explain and check are as grep has
// them: 1 is no error, and statusUsage is every error.
const (
	statusOK      = 0
	statusError   = 1
	statusNoMatch = 1
	statusBroken  = 1
	statusUsage   = 2
	statusGaps    = 3
)

// program is one run of the command. Flags are also taken from the
// environment of the process.
type program struct {
	Args   []string // without the name of the program
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer

	// GiveUpAfter is how long a command looks for a bus when it starts.
	// Default 5 s.
	GiveUpAfter time.Duration
}

type commands struct {
	Tail    tailCommand    `cmd:"" help:"Print audit records as they happen."`
	Record  recordCommand  `cmd:"" help:"Record what a subscription delivers, to check it later."`
	Check   checkCommand   `cmd:"" help:"Check recordings against the log, and against what a bus promises."`
	Explain explainCommand `cmd:"" help:"Say how a filter is understood, and why it chooses what it does."`
	Version versionCommand `cmd:"" help:"Print the version of this program."`
}

// Run parses the arguments, does what they say, and returns the exit status.
// When ctx ends, so does the command, cleanly.
func (p *program) Run(ctx context.Context) (status int) {
	if p.GiveUpAfter == 0 {
		p.GiveUpAfter = 5 * time.Second
	}
	exited := -1 // set when kong has answered by itself, as to --help
	parser, err := kong.New(&commands{},
		kong.Name("subscriber"),
		kong.Description("Follow the audit records of a Keytrail bus."),
		kong.DefaultEnvars("KEYTRAIL"),
		groups,
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.Writers(p.Stdout, p.Stderr),
		kong.Exit(func(status int) { exited = status }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(p),
	)
	if err != nil { // a mistake in the tags of the structs above
		panic(err)
	}
	parsed, err := parser.Parse(p.Args)
	switch {
	case exited >= 0:
		return exited
	case err != nil:
		return p.end(usage("%s%s", err, p.unquoted(err)))
	}
	if err := refuseEmpty(parsed); err != nil {
		return p.end(err)
	}
	return p.end(parsed.Run())
}

// unquoted is a hint where an argument is probably the rest of a condition that
// the shell has cut at its spaces.
func (p *program) unquoted(err error) string {
	if !strings.HasPrefix(err.Error(), "unexpected argument") {
		return ""
	}
	for _, flag := range []string{"--where", "--cel"} {
		if slices.ContainsFunc(p.Args, func(arg string) bool { return arg == flag || strings.HasPrefix(arg, flag+"=") }) {
			return fmt.Sprintf("; put all that belongs to %s in quotes: %s '…'", flag, flag)
		}
	}
	return ""
}

// refuseEmpty finds flags like --key="$KEY" where the variable was not set. To
// take them as not given would do something else than was meant, such as
// printing the records of all keys.
func refuseEmpty(parsed *kong.Context) error {
	for _, f := range parsed.Flags() {
		switch f.Target.Kind() {
		case reflect.String, reflect.Slice:
			if f.Set && f.Target.Len() == 0 {
				return usage("--%s has an empty value", f.Name)
			}
		}
	}
	return nil
}

// usageError says what is wrong with the command line. Nothing was done.
type usageError struct {
	message string
	excerpt []string // lines that show where the fault is, if it is in a text
}

func (e *usageError) Error() string { return e.message }

func usage(format string, args ...any) error {
	return &usageError{message: fmt.Sprintf(format, args...)}
}

// errGaps ends a command that did what it was asked, and has reported gaps.
var errGaps = errors.New("records are missing")

// end reports err and turns it into an exit status.
func (p *program) end(err error) int {
	var bad *usageError
	var failed *failure
	switch {
	case err == nil, errors.Is(err, context.Canceled): // nothing was done yet
		return statusOK
	case errors.Is(err, errNoMatch):
		return statusNoMatch
	case errors.Is(err, errBroken):
		return statusBroken
	case errors.As(err, &failed):
		p.say("%s", failed.error)
		return statusUsage
	case errors.Is(err, errGaps):
		return statusGaps
	case errors.As(err, &bad):
		p.sayOwn(bad.message)
		for _, line := range bad.excerpt { // printable already, and aligned
			fmt.Fprintf(p.Stderr, "    %s\n", line)
		}
		p.say("see `subscriber %s--help`", p.subcommand())
		return statusUsage
	default:
		p.say("%s", err)
		return statusError
	}
}

// subcommand is the one that was meant, for a hint.
func (p *program) subcommand() string {
	if len(p.Args) > 0 && slices.Contains([]string{"tail", "record", "check", "explain"}, p.Args[0]) {
		return p.Args[0] + " "
	}
	return ""
}

// say writes a message for people. It may quote what others sent: every line
// of it is made printable. There is nobody to tell if that fails.
func (p *program) say(format string, args ...any) {
	for line := range strings.Lines(fmt.Sprintf(format, args...)) {
		fmt.Fprintf(p.Stderr, "subscriber: %s\n", show.Text(strings.TrimRight(line, "\n")))
	}
}

// sayOwn is say for what quotes only what the user has written, who knows which
// of its backslashes are escapes.
func (p *program) sayOwn(text string) {
	for line := range strings.Lines(text) {
		shown, _ := printable(strings.TrimRight(line, "\n"))
		fmt.Fprintf(p.Stderr, "subscriber: %s\n", shown)
	}
}
