package client

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// Defaults of [PublisherConfig].
const (
	DefaultBatchRecords    = 500
	DefaultBatchBytes      = 1 << 20
	DefaultFlushAfter      = 5 * time.Millisecond
	DefaultMaxPending      = 10_000
	DefaultMaxPendingBytes = 32 << 20
	DefaultRetryFor        = time.Minute
)

// Limits of a request, from ingest.proto.
const (
	maxRequestRecords = 1000
	maxRequestBytes   = 4 << 20
)

// PublisherConfig tunes a [Publisher]. A zero field takes the default in its
// comment.
type PublisherConfig struct {
	// BatchRecords is the most records one request carries: 1 to 1,000.
	// Default 500, or MaxPending if that is less.
	BatchRecords int

	// BatchBytes is the most encoded bytes one request carries: up to 4 MiB.
	// A larger record travels alone. Default 1 MiB, or MaxPendingBytes if that
	// is less.
	BatchBytes int

	// FlushAfter is how long the first record of a batch waits for company
	// while other requests are unanswered; when none is, it does not wait.
	// Negative: never. Default 5 ms.
	FlushAfter time.Duration

	// MaxPending and MaxPendingBytes bound the records, and their encoded
	// bytes, that are taken and have no result yet. Publish blocks while
	// either is reached; a record larger than MaxPendingBytes travels alone.
	// Neither may be less than its part of a batch. Default 10,000 and 32 MiB.
	MaxPending      int
	MaxPendingBytes int

	// Require is the least that the acknowledgements must promise. A log that
	// cannot promise it makes every result an error, FAILED_PRECONDITION.
	// Default: whatever the log gives; each result says which.
	Require keytrailv1.Durability

	// RetryFor is how long a record is tried, from the moment at which Publish
	// took it, before its result is ErrGaveUp. A record that is with the bus
	// at that moment keeps waiting while the bus still answers others; a
	// stream without any answer for RetryFor (for a minute, when RetryFor is
	// negative) is given up and opened anew. Negative: for ever. Default one minute.
	RetryFor time.Duration

	// OnState, when set, is told about the stream: see [State]. err says why
	// it ended. It is called from the publisher's own goroutines, one call at
	// a time, and must not block.
	OnState func(s State, err error)
}

// withDefaults returns c with its zero fields filled in, or an error that
// names every setting that cannot work.
func (c PublisherConfig) withDefaults() (PublisherConfig, error) {
	c.MaxPending = cmp.Or(c.MaxPending, DefaultMaxPending)
	c.MaxPendingBytes = cmp.Or(c.MaxPendingBytes, DefaultMaxPendingBytes)
	c.BatchRecords = cmp.Or(c.BatchRecords, min(DefaultBatchRecords, c.MaxPending))
	c.BatchBytes = cmp.Or(c.BatchBytes, min(DefaultBatchBytes, c.MaxPendingBytes))
	c.FlushAfter = cmp.Or(c.FlushAfter, DefaultFlushAfter)
	c.RetryFor = cmp.Or(c.RetryFor, DefaultRetryFor)
	if c.OnState == nil {
		c.OnState = func(State, error) {}
	}

	var errs []error
	if c.BatchRecords < 1 || c.BatchRecords > maxRequestRecords {
		errs = append(errs, fmt.Errorf("BatchRecords %d is not 1 to %d", c.BatchRecords, maxRequestRecords))
	}
	if c.BatchBytes < 1 || c.BatchBytes > maxRequestBytes {
		errs = append(errs, fmt.Errorf("BatchBytes %d is not 1 to %d", c.BatchBytes, maxRequestBytes))
	}
	if c.MaxPending < c.BatchRecords {
		errs = append(errs, fmt.Errorf("MaxPending %d is less than BatchRecords %d", c.MaxPending, c.BatchRecords))
	}
	if c.MaxPendingBytes < c.BatchBytes {
		errs = append(errs, fmt.Errorf("MaxPendingBytes %d is less than BatchBytes %d", c.MaxPendingBytes, c.BatchBytes))
	}
	if keytrailv1.Durability_name[int32(c.Require)] == "" {
		errs = append(errs, fmt.Errorf("durability %d, in Require, is not known", c.Require))
	}
	return c, errors.Join(errs...)
}

// stallAfter is how long a stream may owe an answer.
func (c *PublisherConfig) stallAfter() time.Duration {
	if c.RetryFor < 0 {
		return DefaultRetryFor
	}
	return c.RetryFor
}
