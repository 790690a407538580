package spool

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	callsSuffix   = ".calls"
	damagedSuffix = ".damaged"
	lockName      = "lock"
	deliveredName = "delivered"
)

// segment is a file of frames. Its fields are guarded by Spool.mu.
type segment struct {
	number  uint64
	salt    salt
	size    int64 // bytes of whole frames, and of damage
	calls   int   // undelivered
	damaged bool  // keep the file
}

func (g *segment) name() string {
	return fmt.Sprintf("%016x-%s%s", g.number, hex.EncodeToString(g.salt[:]), callsSuffix)
}

// segmentOf reads the name of a segment.
func segmentOf(name string) (*segment, bool) {
	stem, ok := strings.CutSuffix(name, callsSuffix)
	number, hexSalt, dash := strings.Cut(stem, "-")
	if !ok || !dash || len(number) != 16 || len(hexSalt) != 16 {
		return nil, false
	}
	n, err := strconv.ParseUint(number, 16, 64)
	if err != nil {
		return nil, false
	}
	g := &segment{number: n}
	if _, err := hex.Decode(g.salt[:], []byte(hexSalt)); err != nil || g.name() != name {
		return nil, false
	}
	return g, true
}

func newSegment(number uint64) *segment {
	g := &segment{number: number}
	rand.Read(g.salt[:]) // never fails
	return g
}

// lockDir makes dir and keeps other processes out of it. The kernel gives the
// lock back when the process ends, however it ends.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrInUse
		}
		return nil, fmt.Errorf("locking: %w", err)
	}
	return f, nil
}

// listSegments returns the segments of dir by number, and how many bytes were
// kept aside as damaged.
func listSegments(dir string) (segments []*segment, kept int64, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, 0, err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), damagedSuffix) {
			info, err := e.Info()
			if err != nil {
				return nil, 0, err
			}
			kept += info.Size()
		}
		if g, ok := segmentOf(e.Name()); ok {
			segments = append(segments, g)
		}
	}
	slices.SortFunc(segments, func(a, b *segment) int {
		if a.number < b.number {
			return -1
		}
		return 1
	})
	return segments, kept, nil
}

// position is up to where calls are delivered.
type position struct {
	number uint64 // of a segment
	offset int64
}

// readPosition returns the noted position, or the beginning when there is none
// that can be read: calls are then delivered again.
func readPosition(dir string) (position, error) {
	b, err := os.ReadFile(filepath.Join(dir, deliveredName))
	if errors.Is(err, fs.ErrNotExist) {
		return position{}, nil
	}
	if err != nil {
		return position{}, err
	}
	var p position
	if n, _ := fmt.Sscanf(string(b), "%x %d\n", &p.number, &p.offset); n != 2 || p.offset < 0 {
		return position{}, nil
	}
	return p, nil
}

// writePosition replaces the noted position. It is not flushed: what power
// loss takes of it is delivered again.
func writePosition(dir string, p position) error {
	path := filepath.Join(dir, deliveredName)
	if err := os.WriteFile(path+".tmp", fmt.Appendf(nil, "%x %d\n", p.number, p.offset), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
