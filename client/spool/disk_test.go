package spool_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/keytrail/keytrail/client/spool"
)

// TestDiskFull fills a real file system: the call that does not fit is an
// error, those before it stay, and later ones are taken when there is room.
func TestDiskFull(t *testing.T) {
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("mounting a tmpfs: %v", err)
	}
	defer func() {
		if err := unix.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	}()
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, filepath.Join(disk, "spool"), spool.Config{})
	defer s.Close()
	var safe []string
	for n := 0; ; n++ {
		c := call(fmt.Sprint(n))
		c.RequestParameters = []byte(strings.Repeat("x", 3000))
		if err := s.Add(c); err != nil {
			if !errors.Is(err, unix.ENOSPC) {
				t.Fatalf("Add = %v, want ENOSPC", err)
			}
			break
		}
		safe = append(safe, c.GetCallId())
	}
	if len(safe) < 10 || s.Len() != len(safe) {
		t.Errorf("%d calls are safe, Len = %d", len(safe), s.Len())
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	add(t, s, "last")
	safe = append(safe, "last")
	s.Close()
	s = open(t, filepath.Join(disk, "spool"), spool.Config{OnDamage: func(d spool.Damage) { t.Errorf("damage: %v", d) }})
	defer s.Close()
	if got := drain(t, s); !slices.Equal(got, safe) {
		t.Errorf("delivered %d calls, want %d", len(got), len(safe))
	}
}
