package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/proto"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

const (
	// A batch is what one deliver gets.
	batchCalls = 256
	batchBytes = 1 << 20

	minBackoff = 100 * time.Millisecond
	maxBackoff = 30 * time.Second
)

// Run delivers the calls in the order of Add until ctx ends or the spool is
// closed, and returns which: the error of ctx, [ErrClosed], or that of a file.
// One Run at a time.
//
// deliver gets one to 256 calls, on the goroutine of Run. When it returns nil
// they are done with, whatever became of them. When it fails, the same calls
// come again, after a wait that grows from 100 ms to 30 s, shortened at random
// by up to a half. Its context ends with ctx or when the spool is closed.
func (s *Spool) Run(ctx context.Context, deliver func(context.Context, []*keytrailv1.Call) error) error {
	if err := s.start(); err != nil {
		return err
	}
	defer s.stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stopped := make(chan struct{})
	defer func() { cancel(nil); <-stopped }()
	go func() { // ends with ctx
		defer close(stopped)
		select {
		case <-s.closing:
			cancel(ErrClosed)
		case <-ctx.Done():
		}
	}()

	r := reader{s: s}
	defer r.close()
	for failures := 0; ; {
		batch, err := r.batch()
		if err != nil {
			return fmt.Errorf("spool: %w", err)
		}
		if len(batch) == 0 && r.at == s.position() {
			select {
			case <-s.added:
				continue
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if len(batch) > 0 {
			if err := deliver(ctx, batch); err != nil {
				if ctx.Err() == nil {
					s.cfg.Logger.WarnContext(ctx, "spool: calls are not delivered yet", "folder", s.dir, "calls", s.Len(), "error", err)
				}
				if err := pause(ctx, failures); err != nil {
					return err
				}
				failures++
				r.rewind()
				continue
			}
			failures = 0
		}
		if err := s.delivered(r.at, len(batch)); err != nil {
			return fmt.Errorf("spool: %w", err)
		}
	}
}

// pause waits as long as after that many failures, or until ctx ends.
func pause(ctx context.Context, failures int) error {
	d := maxBackoff
	if failures < 9 { // 100 ms << 9 is past maxBackoff
		d = min(minBackoff<<failures, maxBackoff)
	}
	t := time.NewTimer(d - rand.N(d/2))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Spool) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrClosed
	case s.running:
		return ErrRunning
	}
	s.running = true
	return nil
}

func (s *Spool) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = false
	s.idle.Broadcast()
}

func (s *Spool) position() position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

// source returns the segment that goes on at p and up to where it may be read.
// Where p is the end of one that will not grow, that is the next one; nil if
// there is none.
func (s *Spool) source(p position) (*segment, int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, g := range s.segments {
		end := g.size
		growing := s.active != nil && i == len(s.segments)-1
		if growing {
			end = s.synced
		}
		if g.number > p.number || g.number == p.number && (p.offset < end || growing) {
			return g, end
		}
	}
	return nil, 0
}

// delivered notes that everything up to p is, calls more than before, and
// removes the files that are not needed any more.
func (s *Spool) delivered(p position, calls int) error {
	if err := writePosition(s.dir, p); err != nil {
		// On a full disk, for one. Calls may be delivered again, not lost.
		s.cfg.Logger.Warn("spool: what is delivered cannot be noted", "folder", s.dir, "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = p
	for _, g := range s.segments {
		if g.number == p.number {
			g.calls -= calls
			s.calls -= calls
		}
	}
	if g := s.segments[len(s.segments)-1]; s.active != nil && !s.syncing && g.number == p.number && g.size == p.offset {
		// All of the active segment: the next Add begins another.
		err := s.active.Close()
		s.active = nil
		if err != nil {
			return err
		}
	}
	return s.retireLocked()
}

// retireLocked removes the files that are delivered, and keeps those aside that
// are damaged.
func (s *Spool) retireLocked() error {
	for len(s.segments) > 0 {
		g := s.segments[0]
		growing := s.active != nil && len(s.segments) == 1
		if growing || g.number > s.at.number && g.size > 0 || g.number == s.at.number && s.at.offset < g.size {
			return nil
		}
		path := filepath.Join(s.dir, g.name())
		if g.damaged {
			if err := os.Rename(path, path+damagedSuffix); err != nil {
				return err
			}
		} else {
			if err := os.Remove(path); err != nil {
				return err
			}
			s.bytes -= g.size
		}
		s.segments = s.segments[1:]
		s.calls -= g.calls // what damage took after it was counted
	}
	return nil
}

// reader reads the calls of a spool. It belongs to the goroutine of Run.
type reader struct {
	s    *Spool
	at   position // up to where calls were returned
	f    *os.File // of segment number, from which buf was read
	g    *segment
	buf  []byte // what of f is read and not returned; begins at at.offset
	told bool   // rewound: damage was reported before
}

// rewind goes back to what is not delivered.
func (r *reader) rewind() {
	r.close()
	r.buf, r.told = nil, true
}

func (r *reader) close() {
	if r.f != nil {
		r.f.Close()
	}
	r.f, r.g = nil, nil
}

// batch returns the next calls, none if there are none. All are of one segment.
func (r *reader) batch() ([]*keytrailv1.Call, error) {
	if r.f == nil {
		r.at = r.s.position()
	}
	if len(r.buf) == 0 {
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
	var batch []*keytrailv1.Call
	for bytes := 0; len(batch) < batchCalls && bytes < batchBytes && len(r.buf) > 0; {
		payload, skip, size := nextFrame(r.buf, r.g.salt)
		call := new(keytrailv1.Call)
		if size > 0 && proto.Unmarshal(payload, call) != nil {
			// The checksum is right, so a later version wrote it.
			skip, size = skip+size, 0
		}
		if skip > 0 {
			r.damaged(Damage{Segment: r.g.name(), Offset: r.at.offset, Bytes: int64(skip)})
		}
		if size > 0 {
			batch = append(batch, call)
		}
		r.buf = r.buf[skip+size:]
		r.at.offset += int64(skip + size)
		bytes += size
	}
	r.told = false
	return batch, nil
}

// fill reads the rest of the segment at r.at, as far as it is flushed.
func (r *reader) fill() error {
	g, end := r.s.source(r.at)
	if g == nil || g.number == r.at.number && end == r.at.offset {
		return nil
	}
	if g != r.g {
		r.close()
		f, err := os.Open(filepath.Join(r.s.dir, g.name()))
		if err != nil {
			return err
		}
		r.f, r.g = f, g
	}
	if g.number != r.at.number {
		r.at = position{number: g.number}
	}
	r.buf = make([]byte, end-r.at.offset)
	n, err := r.f.ReadAt(r.buf, r.at.offset)
	if errors.Is(err, io.EOF) && n < len(r.buf) {
		return fmt.Errorf("%s has become shorter", g.name())
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return err
}

// damaged reports damage that came after Open, and keeps the file.
func (r *reader) damaged(d Damage) {
	r.s.mu.Lock()
	known := r.g.damaged
	r.g.damaged = true
	r.s.mu.Unlock()
	if !known && !r.told {
		r.s.report(d)
	}
}
