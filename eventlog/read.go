package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/keytrail/keytrail/record"
	"github.com/nats-io/nats.go/jetstream"
)

// Chunk bounds one [Log.Read].
const (
	chunkMessages = 512
	chunkBytes    = 4 << 20
)

// PositionAt returns the position before the first record that was stored at t
// or later; the head when there is none.
func (l *Log) PositionAt(ctx context.Context, t time.Time) (Position, error) {
	p, err := l.positionAt(ctx, t)
	if err != nil && ctx.Err() == nil {
		err = l.unavailable(err)
	}
	return p, err
}

func (l *Log) positionAt(ctx context.Context, t time.Time) (Position, error) {
	// The server reads a zero start time as "not set".
	if t.Before(time.Unix(1, 0)) {
		t = time.Unix(1, 0)
	}
	t = t.UTC()
	for {
		// The end first: what is stored after this question is found by the next.
		info, err := l.stream.Info(ctx)
		if err != nil {
			return Position{}, err
		}
		chunk, err := l.get(ctx, directGet{Batch: 1, StartTime: &t})
		if err != nil {
			return Position{}, err
		}
		visible := l.visible()
		if len(chunk) > 0 {
			return Position{Seq: min(visible, chunk[0].Seq-1) + 1}, nil
		}
		if info.Config.Replicas <= 1 || info.State.Msgs == 0 || info.State.LastTime.Before(t) {
			return Position{Seq: min(visible, info.State.LastSeq) + 1}, nil
		}
		// The replica that answered is behind.
		if err := pause(ctx, replicaWait); err != nil {
			return Position{}, err
		}
	}
}

// Read returns the next batches from the message seq on, in order: as many as
// are there, up to 512 messages or about 4 MiB. Its first message may have a
// higher sequence than seq when those between are gone. The end of the log, or of what is
// synced, is an empty answer.
func (l *Log) Read(ctx context.Context, seq uint64) ([]*Batch, error) {
	chunk, err := l.read(ctx, seq)
	return l.onlyVisible(chunk), err
}

// onlyVisible leaves out what is not synced.
func (l *Log) onlyVisible(chunk []*Batch) []*Batch {
	visible := l.visible()
	for n := len(chunk); n > 0; n-- {
		if chunk[n-1].Seq <= visible {
			return chunk[:n]
		}
	}
	return nil
}

// read is Read, of what is not synced as well.
func (l *Log) read(ctx context.Context, seq uint64) ([]*Batch, error) {
	chunk, err := l.get(ctx, directGet{Batch: chunkMessages, MaxBytes: chunkBytes, Seq: max(1, seq)})
	if err != nil && ctx.Err() == nil {
		err = l.unavailable(err)
	}
	return chunk, err
}

// ReadSubject is [Log.Read] for the messages whose subject matches filter, in which
// "*" stands for one token and ">" for the rest.
func (l *Log) ReadSubject(ctx context.Context, seq uint64, filter string) ([]*Batch, error) {
	chunk, err := l.get(ctx, directGet{Batch: chunkMessages, MaxBytes: chunkBytes, Seq: max(1, seq), NextFor: filter})
	if err != nil && ctx.Err() == nil {
		err = l.unavailable(err)
	}
	return l.onlyVisible(chunk), err
}

// directGet is a request of JetStream's direct get API: messages straight from the
// store, without a consumer.
type directGet struct {
	Seq       uint64     `json:"seq,omitempty"`
	NextFor   string     `json:"next_by_subj,omitempty"`
	Batch     int        `json:"batch"`
	MaxBytes  int        `json:"max_bytes,omitempty"`
	StartTime *time.Time `json:"start_time,omitempty"`
}

// get does not use an existing client of that API: those end in silence when time
// runs out, and an answer that is cut off must not look like the end of the log.
func (l *Log) get(ctx context.Context, req directGet) ([]*Batch, error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.AckTimeout)
	defer cancel()
	body, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	conn := l.storage.conn
	inbox := conn.NewInbox()
	sub, err := conn.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe() //nolint:errcheck // it fails only when the connection is gone, and then the subscription is too
	if err := conn.PublishRequest("$JS.API.DIRECT.GET."+l.cfg.Stream, inbox, body); err != nil {
		return nil, err
	}
	var out []*Batch
	for {
		msg, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, fmt.Errorf("reading the log: %w", err)
		}
		switch status := msg.Header.Get("Status"); status {
		case "":
		case "204": // end of batch
			return out, nil
		case "404": // nothing at or after the start
			return nil, nil
		default:
			return nil, fmt.Errorf("reading the log: JetStream answered: %s %s", status, msg.Header.Get("Description"))
		}
		seq, err := strconv.ParseUint(msg.Header.Get(jetstream.SequenceHeader), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("reading the log: sequence: %w", err)
		}
		stored, err := time.Parse(time.RFC3339Nano, msg.Header.Get(jetstream.TimeStampHeaer))
		if err != nil {
			return nil, fmt.Errorf("reading the log: stored time: %w", err)
		}
		out = append(out, newBatch(seq, stored, msg.Data))
	}
}

func newBatch(seq uint64, stored time.Time, data []byte) *Batch {
	b := &Batch{Seq: seq, Stored: stored}
	b.Records, b.Unreadable = splitBatch(data)
	return b
}

// replicaWait is how long to wait before asking again for what a replica does
// not have yet.
const replicaWait = 20 * time.Millisecond

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// scan calls fn for each message from first to last that the log holds, synced or not.
func (l *Log) scan(ctx context.Context, first, last uint64, fn func(*Batch)) error {
	for first <= last {
		chunk, err := l.read(ctx, first)
		if err != nil {
			return err
		}
		if len(chunk) == 0 {
			// Either it is gone, or the replica that answered is behind.
			info, err := l.stream.Info(ctx)
			if err != nil {
				return err
			}
			if info.Config.Replicas <= 1 || info.State.Msgs == 0 || info.State.FirstSeq > last {
				return nil
			}
			if err := pause(ctx, replicaWait); err != nil {
				return err
			}
			continue
		}
		for _, b := range chunk {
			if b.Seq > last {
				return nil
			}
			fn(b)
			first = b.Seq + 1
		}
	}
	return nil
}

// Follow calls fn for each message from seq on, in order and for ever: those
// that are there, then each as it is stored, and synced if the log does that. It returns when ctx ends or fn
// fails. While NATS is away it waits.
//
// With an external server, other buses store too; Follow is how this one
// learns their event IDs.
func (l *Log) Follow(ctx context.Context, seq uint64, fn func(*Batch) error) error {
	cons, err := l.js.OrderedConsumer(ctx, l.cfg.Stream, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:   max(1, seq),
		// Without a bound it tries for ever, and Next does not heed ctx meanwhile.
		MaxResetAttempts: 1,
	})
	if err != nil {
		return l.unavailable(err)
	}
	msgs, err := cons.Messages(jetstream.PullMaxMessagesWithBytesLimit(2048, 8<<20))
	if err != nil {
		return l.unavailable(err)
	}
	defer msgs.Stop()
	for {
		msg, err := msgs.Next(jetstream.NextContext(ctx))
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, jetstream.ErrMsgIteratorClosed):
			return l.unavailable(err)
		case err != nil:
			// The ordered consumer makes itself anew; Next waits for it.
			l.cfg.Logger.Warn("following the log", "error", err)
			continue
		}
		meta, err := msg.Metadata()
		if err != nil {
			return fmt.Errorf("following the log: %w", err)
		}
		b := newBatch(meta.Sequence.Stream, meta.Timestamp, msg.Data())
		if err := l.awaitVisible(ctx, b.Seq); err != nil {
			return err
		}
		if l.cfg.Dir == "" {
			l.observe(b, time.Now())
		}
		if err := fn(b); err != nil {
			return err
		}
	}
}

// observe remembers the event IDs of a message.
func (l *Log) observe(b *Batch, now time.Time) {
	var h record.Header
	for i, enc := range b.Records {
		if err := h.Decode(enc); err != nil || h.EventID == "" {
			continue // nothing that could be published again
		}
		l.recent.observe(keyOf(h.EventID), enc, After(b.Seq, i, len(b.Records)), now)
	}
}
