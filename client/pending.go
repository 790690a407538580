package client

import (
	"context"
	"time"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// Pending is one record on its way. It has a result once the bus has answered
// or the publisher has given up.
type Pending struct {
	done chan struct{}  // closed when the fields below are final; nil when fn is set
	fn   func(*Pending) // called when they are

	// What the publisher needs. seq, accepted and item never change; item is
	// dropped when there is a result.
	seq      uint64    // the order of Publish
	accepted time.Time // when Publish took it
	item     []byte    // from encodeItem

	// Guarded by Publisher.mu until there is a result, then final.
	answered bool
	retried  bool
	result   *keytrailv1.PublishResult
	err      error
}

// closed is the Done of a Pending that has a callback, which sees it finished.
var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Done is closed when there is a result.
func (x *Pending) Done() <-chan struct{} {
	if x.done == nil {
		return closed
	}
	return x.done
}

// Result waits for the result, or for ctx to end; the record is still being
// published then. What the bus says of the record is a result, whether or not
// the record was stored (DUPLICATE, CONFLICT, REJECTED). An error means that
// the bus did not say: see [Publisher].
func (x *Pending) Result(ctx context.Context) (*keytrailv1.PublishResult, error) {
	select {
	case <-x.Done():
		return x.result, x.err
	default:
	}
	select {
	case <-x.Done():
		return x.result, x.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Retried says whether the record was sent more than once, because an answer
// was lost with its stream or was NOT_STORED. DUPLICATE may then mean the copy
// of an earlier attempt. Call it after Done is closed.
func (x *Pending) Retried() bool { return x.retried }

// Stored says whether the record is in the log and this publisher put it
// there: STORED, REPLICATED or SYNCED, or DUPLICATE for a record that was
// retried. (Another producer may have published a retried record in the same
// moments; nobody can tell.) Call it after Done is closed.
func (x *Pending) Stored() bool {
	switch x.result.GetStatus() {
	case keytrailv1.PublishStatus_PUBLISH_STATUS_STORED,
		keytrailv1.PublishStatus_PUBLISH_STATUS_REPLICATED,
		keytrailv1.PublishStatus_PUBLISH_STATUS_SYNCED:
		return true
	case keytrailv1.PublishStatus_PUBLISH_STATUS_DUPLICATE:
		return x.retried
	default:
		return false
	}
}
