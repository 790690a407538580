package server

import (
	"context"
	"sync"
	"time"

	"github.com/keytrail/keytrail/eventlog"
	"github.com/keytrail/keytrail/fanout"
	"github.com/keytrail/keytrail/filter"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// Bounds of a stream's checkpoint interval.
const (
	defaultCheckpoint = 10 * time.Second
	minCheckpoint     = 100 * time.Millisecond
	maxCheckpoint     = time.Hour
)

// subscribe implements keytrail.v1.SubscribeService.
type subscribe struct {
	keytrailv1.UnimplementedSubscribeServiceServer

	log      *eventlog.Log
	hub      *fanout.Hub
	draining <-chan struct{}

	compiling chan struct{} // a slot for each change whose filter is compiled

	// senders are the goroutines that send, and those that receive changes. Each ends when its handler has
	// returned, so the server waits for them after its calls.
	senders sync.WaitGroup
}

func newSubscribe(log *eventlog.Log, hub *fanout.Hub, draining <-chan struct{}) *subscribe {
	return &subscribe{log: log, hub: hub, draining: draining, compiling: make(chan struct{}, compilers())}
}

// drainGrace is how long a stream of a draining bus may take to send what it
// is sending, and its last message.
const drainGrace = 2 * time.Second

// Subscribe implements the RPC of that name. Send blocks while the client's
// flow-control window is full; only this subscription waits for it. A goroutine of
// its own sends, for that a client that does not read cannot hold up a bus that drains:
// Send ends when the handler returns.
func (s *subscribe) Subscribe(req *keytrailv1.SubscribeRequest, stream grpc.ServerStreamingServer[keytrailv1.SubscribeResponse]) error {
	sub, err := s.open(stream.Context(), req)
	if err != nil {
		return toStatus(s.log, err)
	}
	ended := make(chan error, 1)
	s.goSend(ended, func() error {
		defer sub.Close()
		return s.send(stream.Context(), sub, &outlet{stream: stream})
	})
	return s.await(ended)
}

func (s *subscribe) open(ctx context.Context, req *keytrailv1.SubscribeRequest) (*fanout.Subscription, error) {
	opt, err := s.options(req)
	if err != nil {
		return nil, err
	}
	return s.hub.Subscribe(ctx, opt)
}

// goSend runs what sends for a stream, and tells ended how it has ended.
func (s *subscribe) goSend(ended chan<- error, send func() error) {
	s.senders.Go(func() {
		var err error
		defer func() { ended <- recovered(recover(), err) }()
		err = send()
	})
}

// await returns what ends a stream, or soon after the bus began to drain an
// error.
func (s *subscribe) await(ended <-chan error) error {
	select {
	case err := <-ended:
		return err
	case <-s.draining:
	}
	grace := time.NewTimer(drainGrace)
	defer grace.Stop()
	select {
	case err := <-ended:
		return err
	case <-grace.C:
		return toStatus(s.log, errDraining)
	}
}

// send delivers until the subscription or the client ends.
func (s *subscribe) send(ctx context.Context, sub *fanout.Subscription, out *outlet) error {
	for {
		ev, err := sub.Next(ctx)
		if err != nil {
			return toStatus(s.log, err)
		}
		if err := out.send(s.response(ev), ev.Draining); err != nil {
			return err // the client is gone
		}
		if ev.Draining {
			return nil
		}
	}
}

func (s *subscribe) options(req *keytrailv1.SubscribeRequest) (opt fanout.Options, err error) {
	if opt.Filter, err = filter.Compile(req.GetFilter()); err != nil {
		return opt, err
	}
	opt.AllowGap = req.GetAllowGap()
	opt.CheckpointInterval = defaultCheckpoint
	if d := req.GetCheckpointInterval(); d != nil {
		opt.CheckpointInterval = d.AsDuration()
		if err := d.CheckValid(); err != nil || opt.CheckpointInterval < minCheckpoint || opt.CheckpointInterval > maxCheckpoint {
			return opt, invalid("checkpoint_interval", "it must be from %v to %v", minCheckpoint, maxCheckpoint)
		}
	}
	switch start := req.GetStart().(type) {
	case nil, *keytrailv1.SubscribeRequest_Now:
	case *keytrailv1.SubscribeRequest_Earliest:
		opt.Start = fanout.Earliest()
	case *keytrailv1.SubscribeRequest_StoredTime:
		if err := start.StoredTime.CheckValid(); err != nil {
			return opt, invalid("stored_time", "it is not a valid time")
		}
		opt.Start = fanout.At(start.StoredTime.AsTime())
	case *keytrailv1.SubscribeRequest_Cursor:
		pos, err := eventlog.ParseCursor(s.log.Incarnation(), start.Cursor)
		if err != nil {
			return opt, err
		}
		opt.Start = fanout.After(pos)
	}
	return opt, nil
}

// batchField is the field number of batch in keytrail.v1.SubscribeResponse.
const batchField = 1

// response is the message for an event. Records are not encoded again: their
// frames are shared by all streams.
func (s *subscribe) response(ev fanout.Event) any {
	switch {
	case len(ev.Frames) > 0:
		size := 0
		for _, f := range ev.Frames {
			size += len(f.Encoded)
		}
		head := protowire.AppendTag(make([]byte, 0, 8), batchField, protowire.BytesType)
		head = protowire.AppendVarint(head, uint64(size))
		buffers := make(mem.BufferSlice, 0, 1+len(ev.Frames))
		buffers = append(buffers, mem.SliceBuffer(head))
		for _, f := range ev.Frames {
			buffers = append(buffers, mem.SliceBuffer(f.Encoded))
		}
		return &frame{buffers}
	case ev.Gap != nil:
		return &keytrailv1.SubscribeResponse{Event: &keytrailv1.SubscribeResponse_Gap{Gap: &keytrailv1.Gap{
			AfterCursor: s.log.Cursor(ev.Gap.From),
			Cursor:      s.log.Cursor(ev.Gap.To),
			Reason:      gapReasons[ev.Gap.Reason],
		}}}
	case ev.FilterChanged != nil:
		return &keytrailv1.SubscribeResponse{Event: &keytrailv1.SubscribeResponse_FilterChanged{FilterChanged: &keytrailv1.FilterChanged{
			Cursor:   s.log.Cursor(ev.Position),
			Revision: ev.FilterChanged.Revision,
		}}}
	case ev.Draining:
		return &keytrailv1.SubscribeResponse{Event: &keytrailv1.SubscribeResponse_Draining{
			Draining: &keytrailv1.Draining{Cursor: s.log.Cursor(ev.Position)},
		}}
	}
	return &keytrailv1.SubscribeResponse{Event: &keytrailv1.SubscribeResponse_Checkpoint{Checkpoint: &keytrailv1.Checkpoint{
		Cursor:     s.log.Cursor(ev.Position),
		AtHead:     ev.Checkpoint.AtHead,
		Considered: ev.Checkpoint.Considered,
		Matched:    ev.Checkpoint.Matched,
	}}}
}

var gapReasons = map[fanout.GapReason]keytrailv1.GapReason{
	fanout.Expired:    keytrailv1.GapReason_GAP_REASON_EXPIRED,
	fanout.Trimmed:    keytrailv1.GapReason_GAP_REASON_TRIMMED,
	fanout.Unreadable: keytrailv1.GapReason_GAP_REASON_UNREADABLE,
	fanout.Missing:    keytrailv1.GapReason_GAP_REASON_MISSING,
}

// logService implements keytrail.v1.LogService.
type logService struct {
	keytrailv1.UnimplementedLogServiceServer

	log *eventlog.Log
}

// DescribeLog implements the RPC of that name.
func (s *logService) DescribeLog(ctx context.Context, _ *keytrailv1.DescribeLogRequest) (*keytrailv1.DescribeLogResponse, error) {
	info, err := s.log.Info(ctx)
	if err != nil {
		return nil, toStatus(s.log, err)
	}
	return describe(s.log, info), nil
}

// TrimLog implements the RPC of that name.
func (s *logService) TrimLog(ctx context.Context, req *keytrailv1.TrimLogRequest) (*keytrailv1.TrimLogResponse, error) {
	t := req.GetStoredBefore()
	switch {
	case t == nil:
		return nil, toStatus(s.log, invalid("stored_before", "it is required"))
	case t.CheckValid() != nil:
		return nil, toStatus(s.log, invalid("stored_before", "it is not a valid time"))
	case t.AsTime().After(time.Now()):
		return nil, toStatus(s.log, invalid("stored_before", "it is in the future"))
	}
	messages, bytes, err := s.log.Trim(ctx, t.AsTime())
	if err != nil {
		return nil, toStatus(s.log, err)
	}
	info, err := s.log.Info(ctx)
	if err != nil {
		return nil, toStatus(s.log, err)
	}
	return &keytrailv1.TrimLogResponse{RemovedMessages: messages, RemovedBytes: bytes, EarliestCursor: s.log.Cursor(info.First)}, nil
}
