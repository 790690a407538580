package transcript

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/keytrail/keytrail/filter"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

// Version is the format that this package writes, and the only one it reads.
const Version = 1

// Header is the first line of a transcript.
type Header struct {
	Version int       `json:"keytrail_transcript"`
	Program string    `json:"program,omitempty"` // the version of what wrote it
	Bus     string    `json:"bus,omitempty"`     // its address
	Began   time.Time `json:"began,omitzero"`

	// Filter is what was subscribed to, a keytrail.v1.Filter. FilterText is
	// the same in one text, for people: nobody reads it back.
	Filter     FilterJSON `json:"filter"`
	FilterText string     `json:"filter_text,omitempty"`

	Start Start `json:"start"`
}

// Start is where a subscription begins, or goes on. Exactly one field is set.
type Start struct {
	Now      bool      `json:"now,omitempty"`
	Earliest bool      `json:"earliest,omitempty"`
	Time     time.Time `json:"time,omitzero"`
	After    string    `json:"after,omitempty"` // a cursor
}

func (s Start) String() string {
	switch {
	case s.Now:
		return "now"
	case s.Earliest:
		return "earliest"
	case s.After != "":
		return "after " + s.After
	}
	return s.Time.Format(time.RFC3339Nano)
}

func (s Start) check() error {
	n := 0
	for _, set := range []bool{s.Now, s.Earliest, !s.Time.IsZero(), s.After != ""} {
		if set {
			n++
		}
	}
	if n != 1 {
		return errors.New("start: exactly one of now, earliest, time and after must be set")
	}
	return nil
}

// FilterJSON is a keytrail.v1.Filter in the JSON of protocol buffers.
type FilterJSON struct{ *keytrailv1.Filter }

// MarshalJSON implements [json.Marshaler].
func (f FilterJSON) MarshalJSON() ([]byte, error) {
	if f.Filter == nil {
		return []byte("{}"), nil
	}
	return protojson.Marshal(f.Filter)
}

// UnmarshalJSON implements [json.Unmarshaler].
func (f *FilterJSON) UnmarshalJSON(text []byte) error {
	f.Filter = new(keytrailv1.Filter)
	if bytes.Equal(text, []byte("null")) {
		return nil
	}
	return protojson.Unmarshal(text, f.Filter)
}

// Kind is what an [Event] is.
type Kind string

// Kinds.
const (
	Record     Kind = "record"
	Checkpoint Kind = "checkpoint"
	Gap        Kind = "gap"
	Filter     Kind = "filter"
	Stream     Kind = "stream"
)

// Event is a line of a transcript.
type Event struct {
	Kind Kind `json:"kind"`

	// Cursor is the position after the event. A stream has none.
	Cursor string `json:"cursor,omitempty"`

	// Of a record.
	EventID string `json:"event_id,omitempty"`
	Hash    string `json:"hash,omitempty"`

	// Of a checkpoint.
	AtHead     bool   `json:"at_head,omitempty"`
	Considered uint64 `json:"considered,omitempty"`
	Matched    uint64 `json:"matched,omitempty"`

	// Of a gap. Reason is the name of a keytrail.v1.GapReason; Records is nil
	// when it is not known how many are missing.
	After   string  `json:"after,omitempty"`
	Reason  string  `json:"reason,omitempty"`
	Records *uint64 `json:"records,omitempty"`

	// Of a change of the filter.
	Revision   uint64      `json:"revision,omitempty"`
	Filter     *FilterJSON `json:"filter,omitempty"`
	FilterText string      `json:"filter_text,omitempty"`

	// Of a stream: where the bus was asked to begin.
	Start *Start `json:"start,omitempty"`

	compiled *filter.Filter // Filter, once read
}

// hashBytes is how much of SHA-256 a hash has.
const hashBytes = 16

// Hash tells a record from all others: the first 128 bits of SHA-256 of its encoding, in hexadecimal.
func Hash(r *keytrailv1.Record) (string, error) {
	encoded, err := record.Marshal(r)
	if err != nil {
		return "", err
	}
	return hashOf(encoded), nil
}

func hashOf(encoded []byte) string {
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:hashBytes])
}

// maxCursorBytes is more than any cursor has.
const maxCursorBytes = 1024

// check finds what makes no sense in an event that was read, and compiles its
// filter.
func (e *Event) check() error {
	if len(e.Cursor) > maxCursorBytes || len(e.After) > maxCursorBytes {
		return errors.New("a cursor is too long")
	}
	if (e.Cursor == "") != (e.Kind == Stream) {
		return fmt.Errorf("cursor: every event has one, except streams; this is a %q", e.Kind)
	}
	switch e.Kind {
	case Record:
		if raw, err := hex.DecodeString(e.Hash); err != nil || len(raw) != hashBytes {
			return fmt.Errorf("hash: it is not %d hexadecimal digits", 2*hashBytes)
		}
	case Checkpoint:
	case Gap:
		if e.After == "" {
			return errors.New("after: a gap must have it")
		}
	case Filter:
		if e.Filter == nil {
			return errors.New("filter: it is missing")
		}
		var err error
		if e.compiled, err = filter.Compile(e.Filter.Filter); err != nil {
			return fmt.Errorf("filter: %w", err)
		}
	case Stream:
		if e.Start == nil {
			return errors.New("start: a stream must have it")
		}
		return e.Start.check()
	default:
		return fmt.Errorf("kind: %q is not known; a newer subscriber may know it", e.Kind)
	}
	return nil
}

func parseEvent(line []byte) (e Event, err error) {
	if err := json.Unmarshal(line, &e); err != nil {
		return e, err
	}
	return e, e.check()
}

func parseHeader(line []byte) (h Header, err error) {
	if err := json.Unmarshal(line, &h); err != nil {
		return h, fmt.Errorf("it is not a transcript: %w", err)
	}
	switch {
	case h.Version == 0:
		return h, errors.New("it is not a transcript: keytrail_transcript is missing")
	case h.Version != Version:
		return h, fmt.Errorf("its format is %d; this program reads %d", h.Version, Version)
	}
	return h, h.Start.check()
}
