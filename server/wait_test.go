package server

import (
	"errors"
	"testing"

	"github.com/keytrail/keytrail/eventlog"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// TestFailedInPart: a request whose only call was stored in part fails as a whole,
// with the reason.
func TestFailedInPart(t *testing.T) {
	refused := eventlog.Result{Status: eventlog.StatusFailed, Err: eventlog.ErrFull}
	for _, logged := range [][]eventlog.Result{
		{{Status: eventlog.StatusStored}, refused},
		{refused, {Status: eventlog.StatusStored}},
		{{Status: eventlog.StatusDuplicate}, {Status: eventlog.StatusConflict}, refused},
	} {
		j := &job{ingest: new(ingest), results: []*keytrailv1.PublishResult{new(keytrailv1.PublishResult)}}
		for range logged {
			j.entries = append(j.entries, origin{call: true})
		}
		if results, err := j.settle(logged); results != nil || !errors.Is(err, eventlog.ErrFull) {
			t.Errorf("%v: %v, %v", logged, results, err)
		}
	}
}
