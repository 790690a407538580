package server

import (
	"sync/atomic"
	"time"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// Credit of a stream, in items and bytes. At full credit a stream keeps the log busy; the least is enough for any
// one request, so that no producer waits for ever.
const (
	creditRecords = 10_000
	creditBytes   = 4 * MaxRequestBytes

	leastRecords = MaxItems
	leastBytes   = MaxRequestBytes
)

// creditDelay is how long a record may be on its way into the log at full credit. When it takes longer, credit shrinks in
// proportion: what a slow log can't store soon had better wait at its producers.
const creditDelay = 100 * time.Millisecond

// creditFor is what a stream may have unanswered while a record takes so long.
func creditFor(delay time.Duration) (records, bytes int64) {
	part := min(1, float64(creditDelay)/float64(max(delay, 1)))
	return max(leastRecords, int64(part*creditRecords)), max(leastBytes, int64(part*creditBytes))
}

// account is the credit of one stream. One goroutine receives, another answers.
type account struct {
	unanswered atomicAmount // received, and not answered

	// granted is what the producer may have unanswered: what is, and what it has not used yet. Who answers changes it.
	granted atomicAmount
}

type atomicAmount struct{ records, bytes atomic.Int64 }

func (a *atomicAmount) add(records, bytes int64) (int64, int64) {
	return a.records.Add(records), a.bytes.Add(bytes)
}

// grant raises what is granted to what a stream may have at such a delay, and returns by how much.
func (a *account) grant(delay time.Duration) (records, bytes int64) {
	records, bytes = creditFor(delay)
	records = max(0, records-a.granted.records.Load())
	bytes = max(0, bytes-a.granted.bytes.Load())
	a.granted.add(records, bytes)
	return records, bytes
}

// receive takes a request from what is granted, and says whether it was.
func (a *account) receive(records, bytes int64) bool {
	r, b := a.unanswered.add(records, bytes)
	return r <= a.granted.records.Load() && b <= a.granted.bytes.Load()
}

// answer ends what a request used.
func (a *account) answer(records, bytes int64) {
	// In this order, or the next request could seem to be more than was granted.
	a.unanswered.add(-records, -bytes)
	a.granted.add(-records, -bytes)
}

// creditOf is the message that grants credit, or nil for none.
func creditOf(records, bytes int64) *keytrailv1.PublishStreamResponse {
	if records == 0 && bytes == 0 {
		return nil
	}
	return &keytrailv1.PublishStreamResponse{Event: &keytrailv1.PublishStreamResponse_Credit{
		Credit: &keytrailv1.Credit{Records: uint64(records), Bytes: uint64(bytes)},
	}}
}
