package spool_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/keytrail/keytrail/client/spool"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// addForEver is the child: several goroutines add calls and print the ID of
// each that is safe. A Run delivers some, and prints those as well.
func addForEver(dir string) error {
	s, err := spool.Open(dir, spool.Config{Redact: keep, SegmentBytes: 20_000})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf(format, args...) // one write: a whole line, or nothing
	}
	failed := make(chan error)
	for a := range 4 {
		go func() {
			for n := 0; ; n++ {
				id := fmt.Sprintf("%d-%d-%d", os.Getpid(), a, n)
				c := call(id)
				c.RequestParameters = []byte(strings.Repeat("x", rand.IntN(3000)))
				if err := s.Add(c); err != nil {
					failed <- err
				}
				say("added %s\n", id)
			}
		}()
	}
	go func() {
		failed <- s.Run(context.Background(), func(_ context.Context, calls []*keytrailv1.Call) error {
			if rand.IntN(3) == 0 {
				return fmt.Errorf("away")
			}
			for _, c := range calls {
				say("delivered %s\n", c.GetCallId())
			}
			return nil
		})
	}()
	return <-failed
}

// TestKill kills the child while it adds, several times on one folder. Every
// call that it said is safe was delivered by it, or comes now.
func TestKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	added, delivered := make(map[string]bool), make(map[string]bool)
	for range 8 {
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), crashDir+"="+dir)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines, killAt := bufio.NewScanner(out), 20+rand.IntN(200)
		for n := 0; lines.Scan(); n++ {
			switch what, id, _ := strings.Cut(lines.Text(), " "); what {
			case "added":
				added[id] = true
			case "delivered":
				delivered[id] = true
			}
			if n == killAt {
				if err := cmd.Process.Kill(); err != nil { // SIGKILL
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil || stderr.String() != "" && !strings.Contains(stderr.String(), "spool:") {
			t.Fatalf("the child ended by itself: %v %s", err, stderr.String())
		}
	}

	s := open(t, dir, spool.Config{OnDamage: func(d spool.Damage) {
		if !d.Torn {
			t.Errorf("damage: %v", d)
		}
	}})
	add(t, s, "last")
	for _, id := range deliverUntil(t, s, "last") {
		delivered[id] = true
	}
	for id := range added {
		if !delivered[id] {
			t.Errorf("%s was safe and is not delivered", id)
		}
	}
	if len(added) < 100 || s.Len() != 0 {
		t.Errorf("%d calls added, %d left", len(added), s.Len())
	}
	t.Logf("%d calls added, %d delivered", len(added), len(delivered))
}
