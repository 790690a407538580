package spool_test

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/keytrail/keytrail/client/spool"
)

// sealed makes a spool of one segment that holds ids, and returns the file and
// where in it each call begins.
func sealed(t *testing.T, dir string, ids []string) (path string, starts []int64) {
	t.Helper()
	s := open(t, dir, spool.Config{})
	for _, id := range ids {
		starts = append(starts, s.Bytes())
		add(t, s, id)
	}
	s.Close()
	found := files(t, dir, ".calls")
	if len(found) != 1 {
		t.Fatalf("files %q, want one", found)
	}
	return found[0], starts
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[at] ^= 0x40
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestDamage flips each byte of one call, before Open and after it: that call
// is reported, all others are delivered, and the file is kept.
func TestDamage(t *testing.T) {
	ids := numbered(5)
	_, starts := sealed(t, t.TempDir(), ids)
	for _, after := range []bool{false, true} {
		for at := starts[2]; at < starts[3]; at++ {
			t.Run(fmt.Sprintf("after=%v/byte=%d", after, at-starts[2]), func(t *testing.T) {
				dir := t.TempDir()
				path, _ := sealed(t, dir, ids)
				var got []spool.Damage
				cfg := spool.Config{OnDamage: func(d spool.Damage) { got = append(got, d) }}
				if !after {
					flip(t, path, at)
				}
				s := open(t, dir, cfg)
				if after {
					flip(t, path, at)
				}
				add(t, s, "new")
				// drain counts on as many calls as Len says.
				var delivered []string
				if after {
					delivered = deliverUntil(t, s, "new")
				} else {
					delivered = drain(t, s)
				}
				want := append(slices.Delete(slices.Clone(ids), 2, 3), "new")
				if !slices.Equal(delivered, want) {
					t.Errorf("delivered %q, want %q", delivered, want)
				}
				if s.Len() != 0 {
					t.Errorf("Len = %d", s.Len())
				}
				if len(got) != 1 || got[0].Offset != starts[2] || got[0].Bytes != starts[3]-starts[2] || got[0].Torn {
					t.Errorf("reported %v, want the one call at %d", got, starts[2])
				}
				if kept := files(t, dir, ".damaged"); len(kept) != 1 || s.Bytes() == 0 {
					t.Errorf("kept %q, Bytes() = %d", kept, s.Bytes())
				}
			})
		}
	}
}

// TestTornTail cuts the newest file at each byte of the last call: the call is
// dropped, and nothing else.
func TestTornTail(t *testing.T) {
	ids := numbered(3)
	path, starts := sealed(t, t.TempDir(), ids)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := starts[2] + 1; cut < int64(len(whole)); cut++ {
		dir := t.TempDir()
		path, _ := sealed(t, dir, ids)
		if err := os.Truncate(path, cut); err != nil {
			t.Fatal(err)
		}
		var got []spool.Damage
		s := open(t, dir, spool.Config{OnDamage: func(d spool.Damage) { got = append(got, d) }})
		if len(got) != 1 || !got[0].Torn || got[0].Bytes != cut-starts[2] {
			t.Errorf("cut at %d: reported %v", cut, got)
		}
		add(t, s, "new")
		if delivered := drain(t, s); !slices.Equal(delivered, []string{ids[0], ids[1], "new"}) {
			t.Errorf("cut at %d: delivered %q", cut, delivered)
		}
		if s.Bytes() != 0 || len(files(t, dir, ".damaged")) != 0 {
			t.Errorf("cut at %d: a torn tail is no damage to keep", cut)
		}
	}
}

// TestEmbeddedFrame: a call whose text is the frame of another does not give
// that one up when it is damaged itself.
func TestEmbeddedFrame(t *testing.T) {
	dir := t.TempDir()
	path, _ := sealed(t, dir, []string{"forged"})
	frame, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	s := open(t, dir, spool.Config{})
	outer := call("outer")
	outer.RequestParameters = frame
	if err := s.Add(outer); err != nil {
		t.Fatal(err)
	}
	add(t, s, "last")
	s.Close()
	path = files(t, dir, ".calls")[0]
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(data, frame) {
		t.Fatal("the frame is not in the file")
	}
	flip(t, path, 9)
	s = open(t, dir, spool.Config{})
	if got := drain(t, s); !slices.Equal(got, []string{"last"}) {
		t.Errorf("delivered %q", got)
	}
}

// TestPosition: a note of what is delivered that cannot be read, or points
// elsewhere, costs repeats at most.
func TestPosition(t *testing.T) {
	for _, note := range []string{"", "zzz", "1 -5\n", "1 7\n", "1 99999\n", "0 3\n"} {
		dir := t.TempDir()
		path, _ := sealed(t, dir, numbered(3))
		if err := os.WriteFile(strings.TrimSuffix(path, path[len(dir):])+"/delivered", []byte(note), 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, dir, spool.Config{})
		add(t, s, "new")
		got := deliverUntil(t, s, "new")
		if got[len(got)-1] != "new" || s.Len() != 0 {
			t.Errorf("note %q: delivered %q, %d left", note, got, s.Len())
		}
	}
}
