package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// bin is the folder with the built programs.
var bin string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if bin, err = os.MkdirTemp("", "keytrail-e2e-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(bin)
	build := exec.Command("go", "build", "-o", bin+"/", "../../cmd/bus", "../../cmd/subscriber", "github.com/nats-io/nats-server/v2")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the programs: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// waitFor is how long a step of a scenario may take on a loaded machine.
const waitFor = 60 * time.Second

// addrs returns free loopback addresses. Another process could take one
// before it is used; the program then says so, and the test fails loudly.
func addrs(t *testing.T, n int) []string {
	t.Helper()
	var out []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		out = append(out, l.Addr().String())
	}
	return out
}

// output collects what a process prints and lets a test wait for a part of it.
type output struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	changed chan struct{}
}

func newOutput() *output { return &output{changed: make(chan struct{}, 1)} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.changed <- struct{}{}:
	default:
	}
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// process is a program that runs beside the test.
type process struct {
	t        *testing.T
	cmd      *exec.Cmd
	out, err *output
	ended    chan struct{} // closed when it has ended
}

func start(t *testing.T, name string, args ...string) *process {
	t.Helper()
	return startWith(t, nil, name, args...)
}

func startWith(t *testing.T, stdin io.Reader, name string, args ...string) *process {
	t.Helper()
	if !filepath.IsAbs(name) {
		name = filepath.Join(bin, name)
	}
	p := &process{t: t, cmd: exec.Command(name, args...), out: newOutput(), err: newOutput(), ended: make(chan struct{})}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = stdin, p.out, p.err
	p.cmd.Env = environment()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		p.cmd.Wait() //nolint:errcheck // the exit status is read from the state
	}()
	t.Cleanup(p.kill)
	return p
}

// environment is the test's, without what configures the programs.
func environment() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "KEYTRAIL_") {
			env = append(env, e)
		}
	}
	return env
}

func (p *process) kill() {
	p.cmd.Process.Kill() //nolint:errcheck // it may have ended
	<-p.ended
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// wait waits for the end and returns the exit status.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(waitFor):
		p.t.Fatalf("%v does not end\n%s%s", p.cmd.Args, p.out, p.err)
		return -1
	}
}

// until waits until ok holds of the standard output.
func (p *process) until(what string, ok func(string) bool) {
	p.t.Helper()
	p.untilIn(p.out, what, ok)
}

// untilIn waits until ok holds of one of the outputs.
func (p *process) untilIn(out *output, what string, ok func(string) bool) {
	p.t.Helper()
	limit := time.After(waitFor)
	for !ok(out.String()) {
		select {
		case <-out.changed:
		case <-p.ended:
			if ok(out.String()) {
				return
			}
			p.t.Fatalf("%v ended before %s\n%s%s", p.cmd.Args, what, p.out, p.err)
		case <-limit:
			p.t.Fatalf("%v: no %s\n%s%s", p.cmd.Args, what, p.out, p.err)
		}
	}
}

func contains(part string) func(string) bool {
	return func(s string) bool { return strings.Contains(s, part) }
}

// bus is a running bus.
type bus struct {
	*process
	args           []string
	grpc, http, to string // addresses; to is the flag for clients
}

// startBus starts a bus and waits until it serves.
func startBus(t *testing.T, args ...string) *bus {
	t.Helper()
	a := addrs(t, 2)
	b := &bus{args: append([]string{"serve", "--grpc-listen", a[0], "--http-listen", a[1]}, args...), grpc: a[0], http: a[1], to: "--bus=" + a[0]}
	b.restart(t)
	return b
}

func (b *bus) restart(t *testing.T) {
	t.Helper()
	b.process = start(t, "bus", b.args...)
	b.until("banner", contains("Ctrl-C"))
}

// result is a program that has ended.
type result struct {
	status   int
	out, err string
}

// try runs a program to its end.
func try(t *testing.T, stdin io.Reader, name string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitFor)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, name), args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = stdin, &out, &errs, environment()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, out.Bytes(), errs.Bytes())
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// must is try for a program that ends with the given status.
func must(t *testing.T, status int, name string, args ...string) result {
	t.Helper()
	r := try(t, nil, name, args...)
	if r.status != status {
		t.Fatalf("%s %v ended with %d, want %d\n%s%s", name, args, r.status, status, r.out, r.err)
	}
	return r
}

// tailAll reads the whole log as JSON lines.
func tailAll(t *testing.T, b *bus, args ...string) []map[string]any {
	t.Helper()
	r := must(t, 0, "subscriber", append([]string{"tail", b.to, "--from=earliest", "--until-idle=500ms", "-o", "json"}, args...)...)
	return lines(t, r.out)
}

func lines(t *testing.T, text string) []map[string]any {
	t.Helper()
	var out []map[string]any
	for line := range strings.Lines(text) {
		dec := json.NewDecoder(strings.NewReader(line))
		dec.UseNumber()
		var v map[string]any
		if err := dec.Decode(&v); err != nil {
			t.Fatalf("a line of the output is no JSON: %v\n%s", err, line)
		}
		out = append(out, v)
	}
	return out
}

// byID keys records by their event ID, and fails on one that is there twice.
func byID(t *testing.T, records []map[string]any) map[string]map[string]any {
	t.Helper()
	out := make(map[string]map[string]any)
	for _, r := range records {
		id, _ := r["eventID"].(string)
		if _, twice := out[id]; twice {
			t.Errorf("event ID %q is there twice", id)
		}
		out[id] = r
	}
	return out
}

// files reads the records of a file or of the JSON files of a folder.
func files(t *testing.T, path string) []map[string]any {
	t.Helper()
	names := []string{path}
	if info, err := os.Stat(path); err != nil {
		t.Fatal(err)
	} else if info.IsDir() {
		if names, err = filepath.Glob(filepath.Join(path, "*.json")); err != nil {
			t.Fatal(err)
		}
	}
	var out []map[string]any
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for dec := json.NewDecoder(bytes.NewReader(data)); ; {
			dec.UseNumber()
			var v map[string]any
			if err := dec.Decode(&v); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			out = append(out, v)
		}
	}
	return out
}
