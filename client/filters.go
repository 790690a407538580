package client

import (
	"context"
	"errors"
	"io"
	"iter"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// ExplainFilter asks the bus how it understands a filter and, unless r is nil,
// why it does or does not match r. A faulty filter is INVALID_ARGUMENT, which
// says where the fault is.
func (c *Client) ExplainFilter(ctx context.Context, f *keytrailv1.Filter, r *keytrailv1.Record) (*keytrailv1.ExplainFilterResponse, error) {
	return keytrailv1.NewFilterServiceClient(c.conn).ExplainFilter(ctx, &keytrailv1.ExplainFilterRequest{Filter: f, Record: r})
}

// TryFilter runs a filter over what the log holds. It yields the bus' reports,
// one a second at least, the last of which is done; or, last, an error.
// Leaving the loop ends the trial.
func (c *Client) TryFilter(ctx context.Context, req *keytrailv1.TryFilterRequest) iter.Seq2[*keytrailv1.TryFilterResponse, error] {
	return func(yield func(*keytrailv1.TryFilterResponse, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		call, err := keytrailv1.NewFilterServiceClient(c.conn).TryFilter(ctx, req)
		if err != nil {
			yield(nil, err)
			return
		}
		for {
			report, err := call.Recv()
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(report, err) || err != nil {
				return
			}
		}
	}
}
