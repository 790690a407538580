package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRejectsFile: the file of rejects never costs anything that was there.
func TestRejectsFile(t *testing.T) {
	b := startBus(t, "--data", t.TempDir())
	dir := t.TempDir()
	in := filepath.Join(dir, "in.json")
	text := sampleText(t, 1, 1)[0]
	if err := os.WriteFile(in, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(in, link); err != nil {
		t.Fatal(err)
	}
	for _, rejects := range []string{in, link} {
		if r := must(t, 1, "bus", "publish", b.to, "--rejects", rejects, in); !strings.Contains(r.err, "choose another file") {
			t.Errorf("rejects into the input: %q", r.err)
		}
	}
	old := filepath.Join(dir, "old")
	if err := os.WriteFile(old, []byte("kept\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	must(t, 1, "bus", "publish", "--bus", addrs(t, 1)[0], "--rejects", old, in) // no bus there
	for name, want := range map[string]string{in: text, old: "kept\n"} {
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s now holds %q, %v", name, got, err)
		}
	}
	// Once there is a bus, it is emptied and private.
	must(t, 0, "bus", "publish", b.to, "--rejects", old, in)
	info, err := os.Stat(old)
	if err != nil || info.Size() != 0 || info.Mode().Perm() != 0o600 {
		t.Errorf("the file of rejects: %v, %v", info, err)
	}
	before, err := os.Stat(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	must(t, 0, "bus", "publish", b.to, "--rejects", os.DevNull, in)
	if after, err := os.Stat(os.DevNull); err != nil || after.Mode() != before.Mode() {
		t.Errorf("%s had mode %v and has %v, %v", os.DevNull, before.Mode(), after.Mode(), err)
	}
}

// TestLinkedFolder: a link to a folder, and links in it, are followed.
func TestLinkedFolder(t *testing.T) {
	b := startBus(t, "--data", t.TempDir())
	dir := t.TempDir()
	texts := sampleText(t, 2, 1)
	logs := filepath.Join(dir, "logs")
	if err := os.Mkdir(logs, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{filepath.Join(logs, "a.json"): texts[0], filepath.Join(dir, "elsewhere"): texts[1]} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{filepath.Join(dir, "link"): logs, filepath.Join(logs, "b.json"): filepath.Join(dir, "elsewhere")} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	if r := must(t, 0, "bus", "publish", b.to, filepath.Join(dir, "link")); r.out != "published=2 duplicate=0 rejected=0\n" {
		t.Errorf("publish says %q, %q", r.out, r.err)
	}
}
