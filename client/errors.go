package client

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var (
	// ErrClosed is the result of whatever a closed Publisher or Subscription
	// is asked, and of the records that a Publisher had no result for when it
	// was closed. Such a record may be in the log or not; publishing it again
	// is safe.
	ErrClosed = errors.New("client: closed")

	// ErrGaveUp is the result of a record that the bus did not answer within
	// PublisherConfig.RetryFor, and of a Subscription that could not be
	// resumed within SubscriptionConfig.RetryFor. The last failure is wrapped
	// beside it. The record may be in the log or not; publishing it again is
	// safe.
	ErrGaveUp = errors.New("client: gave up")

	// errStalled ends a stream on which the bus no longer answers.
	errStalled = errors.New("client: the bus does not answer")
)

// gaveUp is ErrGaveUp with the last failure, if there was one.
func gaveUp(after time.Duration, last error) error {
	if last == nil {
		return fmt.Errorf("%w after %s", ErrGaveUp, after)
	}
	return fmt.Errorf("%w after %s: %w", ErrGaveUp, after, last)
}

// UnansweredError is what Publisher.Close returns when its context ended
// before every record had a result. Publish those records again later, which
// is safe: each has the result ErrClosed.
type UnansweredError struct {
	// Records is how many.
	Records int

	// Err is the last failure, or nil when the bus was merely slow.
	Err error
}

func (e *UnansweredError) Error() string {
	s := fmt.Sprintf("client: closed with %d records unanswered", e.Records)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *UnansweredError) Unwrap() error { return e.Err }

// ExpiredError is what a Subscription returns when the log no longer holds its
// start. To go on, accept the loss: set SubscriptionConfig.AllowGap, which
// also says how much is missing, or start at EarliestCursor (and save it in the
// CursorStore first, if there is one).
type ExpiredError struct {
	// EarliestCursor is the position before the first record that the log
	// holds, EarliestTime the time at which that was stored. Either is zero
	// when the bus did not say.
	EarliestCursor string
	EarliestTime   time.Time

	err error // the status that the bus sent
}

func (e *ExpiredError) Error() string { return "client: " + e.err.Error() }

// Unwrap returns the status as the bus sent it: OUT_OF_RANGE.
func (e *ExpiredError) Unwrap() error { return e.err }

// subscribeError is err as a Subscription returns it.
func subscribeError(err error) error {
	s, ok := status.FromError(err)
	if !ok || s.Code() != codes.OutOfRange {
		return err
	}
	expired := &ExpiredError{err: err}
	for _, d := range s.Details() {
		info, ok := d.(*errdetails.ErrorInfo)
		if !ok {
			continue
		}
		expired.EarliestCursor = info.GetMetadata()["earliest_cursor"]
		if t, err := time.Parse(time.RFC3339Nano, info.GetMetadata()["earliest_time"]); err == nil {
			expired.EarliestTime = t
		}
	}
	return expired
}
