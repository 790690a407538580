package e2e

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestInterruptedInput: one Ctrl-C ends a publish that waits for input, with
// its account.
func TestInterruptedInput(t *testing.T) {
	b := startBus(t, "--data", t.TempDir())
	stdin, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	defer feed.Close()
	p := startWith(t, stdin, "bus", "publish", b.to, "-")
	if _, err := feed.WriteString(sampleText(t, 1, 1)[0] + "\n"); err != nil {
		t.Fatal(err)
	}
	must(t, 0, "subscriber", "tail", b.to, "--from=earliest", "--max=1") // it is in
	p.signal(os.Interrupt)
	if status := p.wait(); status != 2 || p.out.String() != "published=1 duplicate=0 rejected=0\n" || !strings.Contains(p.err.String(), "interrupted") {
		t.Errorf("status %d, %q\n%s", status, p.out, p.err)
	}
}

// TestDemoCleansUp: a demo that is stopped, or whose reader has gone, leaves
// nothing behind.
func TestDemoCleansUp(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *exec.Cmd, *os.File){
		"interrupted":   func(t *testing.T, cmd *exec.Cmd, _ *os.File) { signalTo(t, cmd, os.Interrupt) },
		"hung up":       func(t *testing.T, cmd *exec.Cmd, _ *os.File) { signalTo(t, cmd, syscall.SIGHUP) },
		"reader leaves": func(t *testing.T, _ *exec.Cmd, r *os.File) { r.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			tmp := t.TempDir()
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			cmd := exec.Command(filepath.Join(bin, "bus"), "demo", "--rate=200", "--records=100000")
			errs := newOutput()
			cmd.Env, cmd.Stdout, cmd.Stderr = append(environment(), "TMPDIR="+tmp), w, errs
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Process.Kill() //nolint:errcheck // it has ended by then
			w.Close()
			lines := bufio.NewReader(r)
			for range 10 { // it is under way
				if _, err := lines.ReadString('\n'); err != nil {
					t.Fatalf("%v\n%s", err, errs)
				}
			}
			end(t, cmd, r)
			go func() { // so that nothing waits for a reader
				for {
					if _, err := lines.ReadString('\n'); err != nil {
						return
					}
				}
			}()
			cmd.Wait() //nolint:errcheck // it was stopped; what counts is what it leaves
			if strings.Contains(errs.String(), "context canceled") || strings.Contains(errs.String(), "unanswered") {
				t.Errorf("it says %q", errs)
			}
			left, err := os.ReadDir(tmp)
			if err != nil || len(left) > 0 {
				t.Errorf("it leaves %v, %v", left, err)
			}
		})
	}
}

func signalTo(t *testing.T, cmd *exec.Cmd, s os.Signal) {
	t.Helper()
	if err := cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}
