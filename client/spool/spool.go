package spool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"google.golang.org/protobuf/proto"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

var (
	// ErrFull is the error of a call for which there is no room. Refuse the
	// request that it is about, or accept that it has no record.
	ErrFull = errors.New("spool: full")

	// ErrTooLarge is the error of a call of more than MaxCallBytes. No bus
	// would take it either.
	ErrTooLarge = fmt.Errorf("spool: the call is over %d bytes", MaxCallBytes)

	// ErrClosed is the error of whatever a closed Spool is asked.
	ErrClosed = errors.New("spool: closed")

	// ErrInUse is the error of Open when another process, or another Spool of
	// this one, has the folder open.
	ErrInUse = errors.New("spool: in use")

	// ErrRunning is the error of a second Run.
	ErrRunning = errors.New("spool: Run is running already")
)

// Defaults of [Config].
const (
	DefaultMaxBytes     = 256 << 20
	DefaultSegmentBytes = 4 << 20
)

// Config tunes a [Spool]. A zero field takes the default in its comment.
type Config struct {
	// Redact returns what may be stored of a call. It must not change its
	// argument. Required: calls hold plaintext and keys until it has removed
	// them.
	Redact func(*keytrailv1.Call) *keytrailv1.Call

	// MaxBytes bounds the files of the folder, those kept as damaged included.
	// Default 256 MiB.
	MaxBytes int64

	// SegmentBytes is the size at which a new file is begun; files are removed
	// as a whole. At most MaxBytes. Default 4 MiB, or MaxBytes if that is less.
	SegmentBytes int64

	// OnDamage, when set, is told of damage, by Open or from the goroutine of
	// Run. Damage is also logged.
	OnDamage func(Damage)

	// Logger. Default: [slog.Default].
	Logger *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	c.MaxBytes = cmp.Or(c.MaxBytes, DefaultMaxBytes)
	c.SegmentBytes = cmp.Or(c.SegmentBytes, min(DefaultSegmentBytes, c.MaxBytes))
	c.Logger = cmp.Or(c.Logger, slog.Default())
	if c.OnDamage == nil {
		c.OnDamage = func(Damage) {}
	}
	var errs []error
	if c.Redact == nil {
		errs = append(errs, errors.New("there is no Redact"))
	}
	if c.MaxBytes < 0 {
		errs = append(errs, fmt.Errorf("MaxBytes %d is negative", c.MaxBytes))
	}
	if c.SegmentBytes < 1 || c.SegmentBytes > c.MaxBytes {
		errs = append(errs, fmt.Errorf("SegmentBytes %d is not 1 to MaxBytes, %d", c.SegmentBytes, c.MaxBytes))
	}
	return c, errors.Join(errs...)
}

// Spool is a queue of calls in a folder. Its methods may be called at the same
// time. Close it when done.
type Spool struct {
	dir  string
	cfg  Config
	lock *os.File

	added   chan struct{} // one slot: Run has something to look at
	closing chan struct{} // closed by Close

	mu       sync.Mutex // guards what follows
	idle     *sync.Cond // syncing or running has become false
	closed   bool
	running  bool // a Run has not returned
	syncing  bool // somebody flushes active, without holding mu
	broken   error
	segments []*segment // by number; the last is that of active, if it is open
	active   *os.File   // nil until the next Add
	synced   int64      // bytes of active that are flushed
	waiting  int        // calls in active that are not flushed
	bytes    int64      // of all files
	calls    int        // undelivered
	at       position   // up to where calls are delivered
	next     uint64     // number of the next segment
}

// Open opens the spool in the folder dir, and makes it if there is none. It
// reads all that is there, to count it.
func Open(dir string, cfg Config) (*Spool, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("spool: folder %s: %w", dir, err)
	}
	s := &Spool{
		dir:     dir,
		cfg:     cfg,
		lock:    lock,
		added:   make(chan struct{}, 1),
		closing: make(chan struct{}),
		next:    1,
	}
	s.idle = sync.NewCond(&s.mu)
	if err := s.load(); err != nil {
		lock.Close()
		return nil, fmt.Errorf("spool: folder %s: %w", dir, err)
	}
	return s, nil
}

// load takes stock of the folder.
func (s *Spool) load() error {
	segments, kept, err := listSegments(s.dir)
	if err != nil {
		return err
	}
	if s.at, err = readPosition(s.dir); err != nil {
		return err
	}
	s.bytes = kept
	s.next = s.at.number + 1
	for i, g := range segments {
		s.next = max(s.next, g.number+1)
		data, err := os.ReadFile(filepath.Join(s.dir, g.name()))
		if err != nil {
			return err
		}
		if err := s.count(g, data, i == len(segments)-1); err != nil {
			return err
		}
		s.bytes += g.size
		s.calls += g.calls
		s.segments = append(s.segments, g)
	}
	return s.retireLocked() // delivered when the process ended, or empty
}

// count finds the size and the undelivered calls of g, whose bytes are data,
// and drops an unfinished write from its end.
func (s *Spool) count(g *segment, data []byte, newest bool) error {
	g.size = int64(len(data))
	from := 0
	if g.number == s.at.number {
		from = int(min(s.at.offset, g.size))
	}
	for n := 0; n < len(data); {
		_, skip, size := nextFrame(data[n:], g.salt)
		if skip > 0 {
			d := Damage{Segment: g.name(), Offset: int64(n), Bytes: int64(skip)}
			if newest && size == 0 && torn(data[n:], g.salt) {
				d.Torn = true
				g.size = int64(n)
				if err := os.Truncate(filepath.Join(s.dir, g.name()), g.size); err != nil {
					return err
				}
				s.report(d)
				return nil
			}
			g.damaged = true
			s.report(d)
		}
		if size > 0 && n+skip >= from && g.number >= s.at.number {
			g.calls++
		}
		n += skip + size
	}
	return nil
}

func (s *Spool) report(d Damage) {
	level := slog.LevelError
	if d.Torn {
		level = slog.LevelWarn
	}
	s.cfg.Logger.Log(context.Background(), level, "spool: "+d.String(), "folder", s.dir)
	s.cfg.OnDamage(d)
}

// Add stores what Redact leaves of c and returns when it is flushed to disk.
func (s *Spool) Add(c *keytrailv1.Call) error {
	redacted := s.cfg.Redact(c)
	if redacted == nil {
		return errors.New("spool: Redact left nothing of the call")
	}
	payload, err := proto.Marshal(redacted)
	if err != nil {
		return errors.New("spool: the call cannot be encoded: a text in it is not valid UTF-8")
	}
	if len(payload) == 0 {
		return errors.New("spool: the call is empty")
	}
	if len(payload) > MaxCallBytes {
		return ErrTooLarge
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	f, end, err := s.writeLocked(payload)
	if err != nil {
		return err
	}
	return s.flushLocked(f, end)
}

// writeLocked appends payload to the active segment. It returns the file and
// where in it the frame ends.
func (s *Spool) writeLocked(payload []byte) (*os.File, int64, error) {
	size := int64(headerBytes + len(payload))
	if err := s.roomLocked(size); err != nil {
		return nil, 0, err
	}
	if s.active == nil {
		if err := s.beginLocked(); err != nil {
			return nil, 0, err
		}
	}
	g := s.segments[len(s.segments)-1]
	frame := appendFrame(make([]byte, 0, size), g.salt, payload)
	if _, err := s.active.WriteAt(frame, g.size); err != nil {
		// A full disk, most likely. Whatever was written must not precede the next frame.
		if terr := s.active.Truncate(g.size); terr != nil {
			s.broken = fmt.Errorf("spool: %w", errors.Join(err, terr))
		}
		return nil, 0, fmt.Errorf("spool: %w", err)
	}
	g.size += size
	g.calls++
	s.bytes += size
	s.calls++
	s.waiting++
	return s.active, g.size, nil
}

// roomLocked says whether a frame of size may be written, and ends the active
// segment when it is full.
func (s *Spool) roomLocked(size int64) error {
	for {
		switch {
		case s.closed:
			return ErrClosed
		case s.broken != nil:
			return s.broken
		case s.bytes+size > s.cfg.MaxBytes:
			return ErrFull
		case s.active == nil || s.segments[len(s.segments)-1].size+size <= s.cfg.SegmentBytes,
			s.segments[len(s.segments)-1].size == 0:
			return nil
		}
		if err := s.endLocked(); err != nil {
			return err
		}
	}
}

// beginLocked makes the next segment the active one.
func (s *Spool) beginLocked() error {
	g := newSegment(s.next)
	path := filepath.Join(s.dir, g.name())
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	if err := syncDir(s.dir); err != nil { // the name is on disk once the folder is
		return fmt.Errorf("spool: %w", errors.Join(err, f.Close(), os.Remove(path)))
	}
	s.next++
	s.active, s.synced = f, 0
	s.segments = append(s.segments, g)
	return nil
}

// endLocked flushes and closes the active segment. It gives mu up meanwhile.
func (s *Spool) endLocked() error {
	f := s.active
	if err := s.flushLocked(f, s.segments[len(s.segments)-1].size); err != nil {
		return err
	}
	for s.syncing {
		s.idle.Wait()
	}
	if s.active != f || s.synced < s.segments[len(s.segments)-1].size {
		return nil // somebody else was here meanwhile: look again
	}
	s.active = nil
	if err := f.Close(); err != nil {
		s.broken = fmt.Errorf("spool: %w", err)
		return s.broken
	}
	return nil
}

// flushLocked returns when the first end bytes of f are on disk. Whoever comes
// while another flushes is served by the next flush, together with all others
// who came. It gives mu up meanwhile.
//
// A flush that failed cannot be tried again, for the kernel may have forgotten
// the pages: the spool is broken then, and what it said before stays true.
func (s *Spool) flushLocked(f *os.File, end int64) error {
	for s.active == f && s.synced < end {
		if s.broken != nil {
			return s.broken
		}
		if s.syncing {
			s.idle.Wait()
			continue
		}
		s.syncing = true
		g, waiting := s.segments[len(s.segments)-1], s.waiting
		upTo := g.size
		s.mu.Unlock()
		err := f.Sync()
		s.mu.Lock()
		s.syncing = false
		s.idle.Broadcast()
		if err != nil {
			s.broken = fmt.Errorf("spool: flushing: %w", err)
			// Their Add says so, and Run does not reach them.
			g.calls -= s.waiting
			s.calls -= s.waiting
			s.waiting = 0
			return s.broken
		}
		s.synced = upTo
		s.waiting -= waiting
		select {
		case s.added <- struct{}{}:
		default:
		}
	}
	return s.broken // if another file is active, f was flushed before
}

// Len is how many calls are not delivered.
func (s *Spool) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// Bytes is the size of all files.
func (s *Spool) Bytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes
}

// Close flushes what was added, ends Run, waits for it, and gives the folder
// back. What is not delivered stays there. Later calls do nothing.
func (s *Spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	close(s.closing)
	var err error
	if s.active != nil && s.broken == nil {
		err = s.flushLocked(s.active, s.segments[len(s.segments)-1].size)
	}
	for s.running || s.syncing {
		s.idle.Wait()
	}
	if s.active != nil {
		err = errors.Join(err, s.active.Close())
		s.active = nil
	}
	return errors.Join(err, s.lock.Close())
}
