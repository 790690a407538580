package client

import (
	"fmt"
	"time"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Event is one thing that a subscription delivers. Exactly one of its fields
// other than Cursor is set.
type Event struct {
	// Cursor is the position after the event. [After] resumes from it. It is
	// empty for a FilterRefused that comes before anything else.
	Cursor string

	// Record is a record that matches.
	Record *keytrailv1.Record

	// Checkpoint says that everything up to Cursor has been considered. Its
	// counts are those of the present stream: a reconnect starts them anew.
	Checkpoint *keytrailv1.Checkpoint

	// Gap names records that will not be delivered, and why.
	Gap *keytrailv1.Gap

	// FilterChanged says that the filter of its revision holds for what comes
	// after Cursor, and FilterRefused that it never will: see
	// [Subscription.SetFilter].
	FilterChanged *keytrailv1.FilterChanged
	FilterRefused *keytrailv1.FilterRefused
}

// Start is where a subscription begins. The zero value is [Now].
type Start struct {
	kind   startKind
	time   time.Time
	cursor string
}

type startKind int

const (
	startNow startKind = iota
	startEarliest
	startAt
	startAfter
)

// Now starts after the newest record. The first event is then a checkpoint:
// whatever is stored after it is delivered. Until it has come, no position is
// known, and a reconnect starts at the newest record of that later moment.
func Now() Start { return Start{} }

// Earliest starts at the oldest record that the log holds.
func Earliest() Start { return Start{kind: startEarliest} }

// At starts at the first record that was stored at t or later.
func At(t time.Time) Start { return Start{kind: startAt, time: t} }

// After starts after the event that cursor came with.
func After(cursor string) Start { return Start{kind: startAfter, cursor: cursor} }

// String says where, for people.
func (s Start) String() string {
	switch s.kind {
	case startEarliest:
		return "earliest"
	case startAt:
		return "at " + s.time.Format(time.RFC3339Nano)
	case startAfter:
		return fmt.Sprintf("after %q", s.cursor)
	default:
		return "now"
	}
}

func (s Start) set(req *keytrailv1.SubscribeRequest) {
	switch s.kind {
	case startEarliest:
		req.Start = &keytrailv1.SubscribeRequest_Earliest{Earliest: &keytrailv1.Earliest{}}
	case startAt:
		req.Start = &keytrailv1.SubscribeRequest_StoredTime{StoredTime: timestamppb.New(s.time)}
	case startAfter:
		req.Start = &keytrailv1.SubscribeRequest_Cursor{Cursor: s.cursor}
	default:
		req.Start = &keytrailv1.SubscribeRequest_Now{Now: &keytrailv1.Now{}}
	}
}
