package eventlog

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keytrail/keytrail/record"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"
)

// Errors of the log's methods.
var (
	// ErrFull: the log or its disk is full. Nothing was stored. Trim the log, give it
	// more room, or wait for records to expire; then submit again.
	ErrFull = errors.New("the log is full")

	// ErrUnavailable: JetStream did not acknowledge. Submit again.
	ErrUnavailable = errors.New("the log is unavailable")

	// ErrClosed: the log was closed. Submit to another bus, or later.
	ErrClosed = errors.New("the log is closed")
)

// Log is an open log. [Open] makes one; Close ends it.
type Log struct {
	cfg     Config
	storage *storage
	js      jetstream.JetStream
	stream  jetstream.Stream
	inc     Incarnation
	recent  *recent
	pace    pace
	metrics *metrics

	// disk is nil when the log is not in a folder of this bus.
	disk       *disk      // used with committing held, and by Open and Close
	committing sync.Mutex // held while the disk is used
	synced     horizon

	// acked is the highest sequence that JetStream has acknowledged to this bus
	// or that the log held when it was opened.
	acked atomic.Uint64

	fault atomic.Pointer[error] // see Fault; set once
	lost  chan struct{}         // see Lost

	// refusing is why the log takes no records, or nil.
	refusing atomic.Pointer[string]

	room    *semaphore.Weighted // PendingBytes
	queue   chan *submission    // read by appendLoop
	windows chan struct{}       // a slot for each window in flight

	closing sync.RWMutex // held for reading while sending to queue
	closed  bool         // guarded by closing

	stop     context.CancelFunc // ends what runs with stopped
	stopped  context.Context
	appender sync.WaitGroup // appendLoop and the windows in flight
	helpers  sync.WaitGroup // watch, and searches for records in doubt
}

// windowsInFlight lets one window be published while the one before it is
// acknowledged.
const windowsInFlight = 2

// Open opens the log, or makes it. It returns once the log can take records;
// reading back the event IDs of the last minutes is part of that.
func Open(ctx context.Context, cfg Config) (_ *Log, err error) {
	cfg, err = cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	st, err := openStorage(cfg)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			st.close()
		}
	}()
	if got, need := st.conn.MaxPayload(), int64(record.MaxBytes+MaxSubject+1024); got < need {
		return nil, fmt.Errorf("NATS takes messages of at most %d bytes, and a record may need %d: set its max_payload higher", got, need)
	}
	if cfg.DiskReserve, err = diskReserve(cfg); err != nil {
		return nil, err
	}
	js, err := jetstream.New(st.conn,
		jetstream.WithPublishAsyncMaxPending(1<<17), // windows bound it
		jetstream.WithPublishAsyncTimeout(cfg.AckTimeout))
	if err != nil {
		return nil, fmt.Errorf("JetStream: %w", err)
	}
	l := &Log{
		cfg:     cfg,
		storage: st,
		js:      js,
		recent:  newRecent(cfg.RecentFor, cfg.RecentBytes),
		room:    semaphore.NewWeighted(cfg.PendingBytes),
		queue:   make(chan *submission, 1024),
		windows: make(chan struct{}, windowsInFlight),
		lost:    make(chan struct{}),
		disk:    st.disk,
	}
	if l.stream, l.inc, err = openStream(ctx, cfg, js, st.disk); err != nil {
		return nil, err
	}
	if err := l.openDisk(ctx); err != nil {
		return nil, err
	}
	if err := l.remember(ctx); err != nil {
		return nil, fmt.Errorf("reading the last event IDs of the log: %w", err)
	}
	l.metrics = newMetrics(l)
	if err := l.metrics.all().Register(cfg.Registerer); err != nil {
		return nil, fmt.Errorf("metrics of the log: %w", err)
	}
	l.stopped, l.stop = context.WithCancel(context.Background())
	l.appender.Go(l.appendLoop)
	l.helpers.Go(l.watch)
	return l, nil
}

// Close stores what was submitted, as far as JetStream lets it, and ends the log. It waits for everything that the log started.
func (l *Log) Close() {
	l.closing.Lock()
	if l.closed {
		l.closing.Unlock()
		return
	}
	l.closed = true
	close(l.queue)
	l.closing.Unlock()
	l.appender.Wait()
	l.stop()
	l.helpers.Wait()
	l.metrics.all().Unregister(l.cfg.Registerer)
	l.storage.end()
	l.closeDisk()
	l.storage.close()
}

// Incarnation identifies the log.
func (l *Log) Incarnation() Incarnation { return l.inc }

// NATSAddr is where the embedded server listens, or "" when it does not.
func (l *Log) NATSAddr() string { return l.storage.addr() }

// Cursor is the text form of a position in this log.
func (l *Log) Cursor(p Position) string { return string(AppendCursor(nil, l.inc, p)) }

// Ready says why the log takes no records now; nil when it does.
func (l *Log) Ready() error {
	if err := l.Fault(); err != nil {
		return err
	}
	if why := l.refusing.Load(); why != nil {
		return fmt.Errorf("%w: %s", ErrFull, *why)
	}
	if st := l.storage.conn.Status(); st != nats.CONNECTED {
		return fmt.Errorf("%w: NATS is %v", ErrUnavailable, st)
	}
	return nil
}

// unavailable is ErrUnavailable because of err, which NATS words for its own
// users: while the connection is down, that is what is said.
func (l *Log) unavailable(err error) error {
	if st := l.storage.conn.Status(); st != nats.CONNECTED {
		return fmt.Errorf("%w: NATS is %v", ErrUnavailable, st)
	}
	return fmt.Errorf("%w: %v", ErrUnavailable, err)
}

// remember reads back the end of the log, so that IDs from before a restart
// are known. It goes by the log's own end, not by the clock: a bus that was down for
// an hour still knows what was published in the minutes before.
func (l *Log) remember(ctx context.Context) error {
	info, err := l.stream.Info(ctx)
	if err != nil {
		return err
	}
	l.acked.Store(info.State.LastSeq)
	if info.State.Msgs == 0 {
		return nil
	}
	from, err := l.positionAt(ctx, info.State.LastTime.Add(-l.cfg.RecentFor))
	if err != nil {
		return err
	}
	unreadable := 0
	err = l.scan(ctx, from.Seq, info.State.LastSeq, func(b *Batch) {
		if b.Unreadable != nil {
			unreadable++
		}
		l.observe(b, time.Now())
	})
	if unreadable > 0 {
		l.cfg.Logger.Warn("the log holds messages that this version cannot read", "messages", unreadable)
	}
	return err
}

// Info is what the log holds.
type Info struct {
	Location   string
	Messages   uint64
	Bytes      uint64
	MaxBytes   uint64 // 0: no limit
	MaxAge     time.Duration
	Replicas   int
	Durability Durability

	// First is the position before the first record that is held, Head that
	// after the last; the times are when those records were stored, zero when there are none.
	First, Head         Position
	FirstTime, LastTime time.Time

	// Trimmed is the position up to which an operator trimmed the log.
	Trimmed Position

	// last is the last sequence that the log holds, which may lie after Head while it is not synced.
	last uint64

	// Refusing is why the log takes no records, or "".
	Refusing string
}

// Info asks JetStream what the log holds.
func (l *Log) Info(ctx context.Context) (*Info, error) {
	info, err := l.stream.Info(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, l.unavailable(err)
	}
	out := &Info{
		Location:   l.cfg.Dir,
		Messages:   info.State.Msgs,
		Bytes:      info.State.Bytes,
		MaxBytes:   uint64(max(0, info.Config.MaxBytes)),
		MaxAge:     info.Config.MaxAge,
		Replicas:   info.Config.Replicas,
		Durability: l.Durability(),
		First:      Position{Seq: max(1, info.State.FirstSeq)},
		Head:       Position{Seq: info.State.LastSeq + 1},
		last:       info.State.LastSeq,
	}
	if info.State.Msgs > 0 {
		out.FirstTime, out.LastTime = info.State.FirstTime, info.State.LastTime
	}
	if visible := l.visible(); visible < info.State.LastSeq {
		if err := l.hideUnsynced(ctx, out, visible); err != nil {
			return nil, err
		}
	}
	if out.Location == "" {
		out.Location = redact(l.cfg.URL)
	}
	if seq, err := strconv.ParseUint(info.Config.Metadata[metaTrimmed], 10, 64); err == nil {
		out.Trimmed = Position{Seq: seq}
	}
	if why := l.refusing.Load(); why != nil {
		out.Refusing = *why
	}
	return out, nil
}

// hideUnsynced takes what follows the last sequence that is visible out of info.
func (l *Log) hideUnsynced(ctx context.Context, info *Info, visible uint64) error {
	info.Head = Position{Seq: visible + 1}
	if visible < info.First.Seq {
		info.First = info.Head
		info.FirstTime, info.LastTime = time.Time{}, time.Time{}
		return nil
	}
	last, err := l.get(ctx, directGet{Batch: 1, Seq: visible})
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return l.unavailable(err)
	}
	if len(last) > 0 && last[0].Seq == visible { // else it has just been removed
		info.LastTime = last[0].Stored
	}
	return nil
}

// watchEvery is how often the log looks at its room.
const watchEvery = 2 * time.Second

// fullWarning is the part of the room at which the log warns.
const fullWarning = 0.8

func (i *Info) nearlyFull() bool {
	return i.MaxBytes > 0 && float64(i.Bytes) >= fullWarning*float64(i.MaxBytes)
}

// watch keeps the metrics, warns before the log is full, and notices when a
// full log has room again.
func (l *Log) watch() {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	warned, short := false, 0
	for {
		l.settleMark()
		acked := l.acked.Load()
		ctx, cancel := context.WithTimeout(l.stopped, watchEvery)
		info, err := l.Info(ctx)
		cancel()
		if err == nil {
			short = l.checkEnd(acked, info, short)
			l.metrics.observe(info)
			l.checkRoom(info)
			if info.nearlyFull() && !warned {
				l.cfg.Logger.Warn("the log is nearly full; it will refuse records: give it room with --log-max-bytes, or trim it with `bus log trim`",
					"bytes", info.Bytes, "max_bytes", info.MaxBytes)
			}
			warned = info.nearlyFull()
		}
		select {
		case <-tick.C:
		case <-l.stopped.Done():
			return
		}
	}
}

// checkRoom ends the state of refusing once there is room for a message of the
// usual size.
func (l *Log) checkRoom(info *Info) {
	why := l.refusing.Load()
	if why == nil || info.MaxBytes > 0 && info.Bytes+maxMessage > info.MaxBytes || l.diskFull() != "" {
		return
	}
	if l.refusing.CompareAndSwap(why, nil) {
		l.cfg.Logger.Info("the log has room again")
	}
}

// refuse notes why the log takes no records.
func (l *Log) refuse(why string) {
	if l.refusing.Swap(&why) == nil {
		l.cfg.Logger.Error("the log refuses records", "why", why)
	}
}

// diskFull says that the disk has too little free, or "".
func (l *Log) diskFull() string {
	if l.cfg.Dir == "" {
		return ""
	}
	free, err := diskFree(l.cfg.Dir)
	if err != nil {
		return err.Error()
	}
	if free < l.cfg.DiskReserve {
		return fmt.Sprintf("its disk has %d MiB free, less than the reserve of %d MiB: free some", free>>20, l.cfg.DiskReserve>>20)
	}
	return ""
}

func newIncarnation() (Incarnation, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0, err
	}
	return Incarnation(binary.BigEndian.Uint64(b[:])), nil
}

// lastLine keeps one line for an error message.
type lastLine struct {
	mu   sync.Mutex
	line string // guarded by mu
}

func (l *lastLine) set(s string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.line = s
	return s
}

func (l *lastLine) get() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.line
}
