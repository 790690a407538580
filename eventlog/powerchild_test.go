package eventlog

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keytrail/keytrail/record"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// childVariable holds the childConfig of a process that this test program starts of itself: it has a log open, under load, until it
// is killed.
const childVariable = "KEYTRAIL_TEST_LOG"

type childConfig struct {
	Dir         string
	MaxAge      time.Duration
	MaxBytes    int64
	Skip        syncedThing // what is not synced, once the log is ready
	SkipAtStart bool        // also before
	Seed        uint64
	Round       int
	Writers     int
	Trims       bool
	Follow      uint64   // the sequence to follow from
	Again       []string // IDs to submit first
}

// child says on its standard output, a line each:
//
//	opened INCARNATION HEAD          then, for each record that is there:
//	has SEQ INDEX ID
//	ready FIRST
//	sent ID                          is about to be submitted
//	acked SEQ INDEX ID NANOS         stored and synced; it was submitted at NANOS
//	there SEQ INDEX ID               submitted again, and a duplicate
//	read SEQ INDEX ID                by Follow
//	trimming NANOS                   what was stored before is about to go
//	empty                            all has expired, after a line "rest" on its standard input
type child struct {
	cfg childConfig
	log *Log

	mu     sync.Mutex // held while writing a line
	random *rand.Rand // guarded by mu
}

func runChild(config string) int {
	c := &child{}
	if err := json.Unmarshal([]byte(config), &c.cfg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	c.random = rand.New(rand.NewPCG(c.cfg.Seed, uint64(c.cfg.Round)))
	if err := c.run(); err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		return 1
	}
	return 0
}

func (c *child) say(f string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Printf(f+"\n", args...)
}

func (c *child) chance(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.random.IntN(n)
}

func (c *child) run() (err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cfg := Config{
		Dir: c.cfg.Dir, MaxAge: c.cfg.MaxAge, MaxBytes: c.cfg.MaxBytes, DiskReserve: 1, AckTimeout: patience,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	var ready atomic.Bool
	ready.Store(c.cfg.SkipAtStart)
	cfg.syncHook = func(what syncedThing, _ string, sync func() error) error {
		if what == c.cfg.Skip && ready.Load() {
			return nil
		}
		return sync()
	}
	if c.log, err = Open(ctx, cfg); err != nil {
		return err
	}
	info, err := c.log.Info(ctx)
	if err != nil {
		return err
	}
	c.say("opened %v %d", c.log.Incarnation(), info.Head.Seq)
	if err := c.log.scan(ctx, 1, info.Head.Seq-1, func(b *Batch) { c.list("has", b) }); err != nil {
		return err
	}
	if info, err = c.log.Info(ctx); err != nil { // some may have expired meanwhile
		return err
	}
	ready.Store(true)
	c.say("ready %d", info.First.Seq)

	failed := make(chan error, 1+c.cfg.Writers)
	writing, rest := context.WithCancel(ctx)
	defer rest()
	go func() {
		failed <- c.log.Follow(ctx, c.cfg.Follow, func(b *Batch) error { c.list("read", b); return nil })
	}()
	var writers sync.WaitGroup
	for w := range c.cfg.Writers {
		writers.Go(func() {
			if err := c.write(writing, w); err != nil && writing.Err() == nil {
				failed <- err
			}
		})
	}
	in := make(chan string)
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			in <- lines.Text()
		}
		failed <- io.EOF // the test is gone
	}()
	for {
		select {
		case err := <-failed:
			return err
		case <-in:
			rest()
			writers.Wait()
			if err := c.awaitEmpty(ctx); err != nil {
				return err
			}
			c.say("empty")
		}
	}
}

func (c *child) list(word string, b *Batch) {
	var h record.Header
	for i, enc := range b.Records {
		if err := h.Decode(enc); err != nil {
			c.say("%s %d %d undecodable", word, b.Seq, i)
			continue
		}
		c.say("%s %d %d %s", word, b.Seq, i, h.EventID)
	}
}

func (c *child) awaitEmpty(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		info, err := c.log.Info(ctx)
		if err != nil || info.Messages == 0 {
			return err
		}
		<-tick.C
	}
}

// Sizes of records, so that blocks of 8 MiB are filled by a few dozens.
var childSizes = []int{100, 100, 2_000, 60_000, 200_000}

// childEntry makes the record of an ID, which says all of it.
func childEntry(id string) (Entry, error) {
	parts := strings.Split(id, "-") // round, writer, number, size, key
	size, err := strconv.Atoi(parts[3])
	if err != nil {
		return Entry{}, err
	}
	key, err := strconv.Atoi(parts[4])
	if err != nil {
		return Entry{}, err
	}
	event := "Decrypt"
	if key == 0 {
		event = "DisableKey"
	}
	r := &keytrailv1.Record{
		EventId:            proto.String(id),
		EventName:          proto.String(event),
		RecipientAccountId: proto.String("111122223333"),
		AwsRegion:          proto.String("us-west-2"),
		EventSource:        proto.String(record.EventSource),
		EventTime:          timestamppb.New(time.Unix(1_700_000_000, 0)),
		ReadOnly:           proto.Bool(key != 0),
		UserAgent:          proto.String(strings.Repeat("x", size)),
		Resources:          &keytrailv1.ResourceList{Entries: []*keytrailv1.Resource{{Arn: proto.String(keyARN(key))}}},
	}
	enc, err := record.Marshal(r)
	if err != nil {
		return Entry{}, err
	}
	return NewEntry(record.HeaderOf(r), enc)
}

// write submits records without end.
func (c *child) write(ctx context.Context, w int) error {
	var again []string
	if w == 0 {
		again = c.cfg.Again
	}
	var times []time.Time
	for number := 0; ; {
		var ids []string
		if n := min(len(again), 20); n > 0 {
			ids, again = again[:n], again[n:]
		} else {
			for range 1 + c.chance(8) {
				ids = append(ids, fmt.Sprintf("%d-%d-%d-%d-%d", c.cfg.Round, w, number, childSizes[c.chance(len(childSizes))], c.chance(6)))
				number++
			}
		}
		at := time.Now()
		if err := c.submit(ctx, ids, at); err != nil {
			return err
		}
		times = append(times, at)
		if c.cfg.Trims && w == 0 && c.chance(15) == 0 {
			to := times[c.chance(len(times))]
			c.say("trimming %d", to.UnixNano())
			if _, _, err := c.log.Trim(ctx, to); err != nil {
				return err
			}
		}
	}
}

// submit submits records until they are stored.
func (c *child) submit(ctx context.Context, ids []string, at time.Time) error {
	for len(ids) > 0 {
		var entries []Entry
		for _, id := range ids {
			e, err := childEntry(id)
			if err != nil {
				return err
			}
			entries = append(entries, e)
		}
		for _, id := range ids {
			c.say("sent %s", id)
		}
		ticket, err := c.log.Submit(ctx, entries)
		if err != nil {
			return err
		}
		results, err := ticket.Results(ctx)
		if err != nil {
			return err
		}
		var left []string
		for i, r := range results {
			switch {
			case r.Status == StatusStored:
				c.say("acked %d %d %s %d", r.Position.Seq, r.Position.Index, ids[i], at.UnixNano())
			case r.Status == StatusDuplicate:
				c.say("there %d %d %s", r.Position.Seq, r.Position.Index, ids[i])
			case errors.Is(r.Err, ErrFull), errors.Is(r.Err, ErrUnavailable): // the latter when there is room again
				left = append(left, ids[i])
			default:
				return fmt.Errorf("%s: %v, %w", ids[i], r.Status, r.Err)
			}
		}
		if len(left) > 0 {
			select {
			case <-time.After(20 * time.Millisecond): // until some have expired
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		ids = slices.Clone(left)
	}
	return nil
}
