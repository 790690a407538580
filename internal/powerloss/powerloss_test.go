package powerloss

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/keytrail/keytrail/internal/needs"
)

// put writes a file, and syncs it or not.
func put(t *testing.T, name, text string, sync bool) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(text), 0); err != nil {
		t.Fatal(err)
	}
	if sync {
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
}

func syncFolder(t *testing.T, name string) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

// TestCut: what is left of files in every state.
func TestCut(t *testing.T) {
	needs.FUSE(t)
	for kept, want := range map[Kept]map[string]string{
		Nothing: {"whole": "synced", "rewritten": "synced", "before": "x", "gone": "x", "replaced": "old"},
		Names:   {"whole": "synced", "rewritten": "synced", "after": "x", "nameless": "synced", "both": "", "replaced": ""},
		Bytes:   {"whole": "synced", "rewritten": "nosync", "before": "x", "gone": "x", "replaced": "old"},
	} {
		t.Run(kept.String(), func(t *testing.T) {
			d := New()
			dir := t.TempDir()
			unmount := d.Mount(t, dir)
			for _, name := range []string{"before", "gone"} {
				put(t, filepath.Join(dir, name), "x", true)
			}
			put(t, filepath.Join(dir, "whole"), "synced", true)
			put(t, filepath.Join(dir, "rewritten"), "synced", true)
			put(t, filepath.Join(dir, "replaced"), "old", true)
			if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
				t.Fatal(err)
			}
			syncFolder(t, dir)
			put(t, filepath.Join(dir, "rewritten"), "nosync", false)
			put(t, filepath.Join(dir, "nameless"), "synced", true)
			put(t, filepath.Join(dir, "both"), "lost", false)
			put(t, filepath.Join(dir, "new"), "new", false)
			if err := errors.Join(
				os.Rename(filepath.Join(dir, "before"), filepath.Join(dir, "after")),
				os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "replaced")),
				os.Remove(filepath.Join(dir, "gone")),
			); err != nil {
				t.Fatal(err)
			}
			d.Cut()
			if err := os.WriteFile(filepath.Join(dir, "late"), nil, 0o600); !errors.Is(err, syscall.EIO) {
				t.Errorf("writing after the cut: %v, want EIO", err)
			}
			unmount()

			d.Left(kept, rand.New(rand.NewPCG(1, 1))).Mount(t, dir)
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			got := make(map[string]string)
			for _, e := range entries {
				if e.IsDir() {
					continue
				}
				text, err := os.ReadFile(filepath.Join(dir, e.Name()))
				if err != nil {
					t.Fatal(err)
				}
				got[e.Name()] = string(text)
			}
			if len(got) != len(want) || len(entries) != len(want)+1 {
				t.Errorf("left are %v, want %v and a folder", got, want)
			}
			for name, text := range want {
				if is, ok := got[name]; !ok || is != text {
					t.Errorf("left of %s is %q, %v; want %q", name, is, ok, text)
				}
			}
		})
	}
}

// TestCutAfter cuts in the middle of what a program does.
func TestCutAfter(t *testing.T) {
	needs.FUSE(t)
	d := New()
	dir := t.TempDir()
	d.Mount(t, dir)
	d.CutAfter(3) // a name and two writes
	f, err := os.Create(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range 3 {
		_, err := f.Write([]byte("x"))
		if lost := i == 2; lost != errors.Is(err, syscall.EIO) {
			t.Errorf("write %d: %v", i, err)
		}
	}
	<-d.Lost()
}
