package client

import (
	"errors"
	"io"
	"math/rand/v2"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	minBackoff = 100 * time.Millisecond
	// maxBackoff is less than a caller who waits for a result may have, such as
	// a proxied call: once the bus is back there is another attempt in that time.
	maxBackoff = 2 * time.Second
)

// backoff spaces attempts: each wait is twice the one before, between
// minBackoff and maxBackoff, and then shortened at random by up to a half, so
// that the clients of a bus that restarts do not all return in one instant.
// The zero value is ready.
type backoff struct {
	failures int
}

func (b *backoff) next() time.Duration {
	d := maxBackoff
	if b.failures < 5 { // 100 ms << 5 is past maxBackoff
		d = min(minBackoff<<b.failures, maxBackoff)
	}
	b.failures++
	return d - rand.N(d/2)
}

func (b *backoff) reset() { b.failures = 0 }

// after is the wait after a failure: what the bus asked for, or next.
func (b *backoff) after(err error) time.Duration {
	own := b.next()
	if asked, ok := retryInfo(err); ok {
		return asked + rand.N(asked/10+time.Millisecond)
	}
	return own
}

// retryInfo is the wait that the bus put into err, if it did.
func retryInfo(err error) (time.Duration, bool) {
	s, ok := status.FromError(err)
	if !ok {
		return 0, false
	}
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.RetryInfo); ok {
			return max(info.GetRetryDelay().AsDuration(), 0), true
		}
	}
	return 0, false
}

// passing says whether what ended a stream is likely to pass, so that another
// stream is worth opening. It holds for UNAVAILABLE, which gRPC also gives
// when the connection is lost; for a stream that ended without an error or was
// cut by somebody in between (CANCELLED and DEADLINE_EXCEEDED: the caller has
// ruled out that it was this process); and for whatever names a time to try
// again.
func passing(err error) bool {
	if errors.Is(err, io.EOF) || errors.Is(err, errStalled) {
		return true
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded:
		return true
	case codes.ResourceExhausted:
		_, ok := retryInfo(err)
		return ok
	default:
		return false
	}
}

// ofRequest says whether err condemns the one request that it answers, while
// others may be fine: a malformed request, or one that is too large.
func ofRequest(err error) bool {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.ResourceExhausted:
		return true
	default:
		return false
	}
}
