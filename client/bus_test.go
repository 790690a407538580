package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// bus is a bus in memory that keeps to the contract strictly and breaks it
// where a test asks for that. It runs in a synctest bubble.
type bus struct {
	keytrailv1.UnimplementedIngestServiceServer
	keytrailv1.UnimplementedSubscribeServiceServer

	t      testing.TB
	lis    *bufconn.Listener
	srv    *grpc.Server
	window amount // the credit of a stream; none at all when zero in records

	// Faults. All are called without mu; nil: none.

	// opened is called for each PublishStream, or Subscribe, before anything
	// else; its error ends the stream. n counts from 1.
	opened func(n int) error
	// before is called for each request before it is looked at. n counts
	// requests of all streams from 1.
	before func(n int, req *keytrailv1.PublishStreamRequest) error
	// after is called when the records of a request are in the log, before
	// it is answered.
	after func(n int, req *keytrailv1.PublishStreamRequest) error
	// lingers makes half-closed streams stay.
	lingers bool
	// judge may give a record another result than the bus would.
	judge func(rec *keytrailv1.Record) *keytrailv1.PublishResult
	// answer may change an answer.
	answer func(*keytrailv1.PublishResults)
	// sent is called after each message of a Subscribe; n counts messages of
	// all streams from 1.
	sent func(n int) error

	batch    int // records in a batch of Subscribe; default 3
	earliest int // positions before this are no longer held

	mu       sync.Mutex // guards the fields below
	down     bool       // refuses connections
	conns    map[net.Conn]bool
	streams  int
	requests []seen
	starts   []string // of Subscribe
	messages int      // of Subscribe
	log      []*keytrailv1.Record
	ids      map[string]*keytrailv1.Record
	grown    chan struct{} // closed and replaced when log grows
}

// seen is a request as the bus got it.
type seen struct {
	stream int
	at     time.Time
	ids    []string
}

func newBus(t testing.TB) *bus {
	b := &bus{
		t:      t,
		lis:    bufconn.Listen(1 << 20),
		window: amount{4000, 8 << 20},
		batch:  3,
		conns:  make(map[net.Conn]bool),
		ids:    make(map[string]*keytrailv1.Record),
		grown:  make(chan struct{}),
	}
	b.srv = grpc.NewServer(
		grpc.MaxRecvMsgSize(maxRequestBytes),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second}),
	)
	keytrailv1.RegisterIngestServiceServer(b.srv, b)
	keytrailv1.RegisterSubscribeServiceServer(b.srv, b)
	var wg sync.WaitGroup
	wg.Go(func() {
		// A short test may be over before this begins.
		if err := b.srv.Serve(b.lis); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(func() {
		b.srv.Stop()
		wg.Wait()
	})
	return b
}

// client connects to the bus.
func (b *bus) client(opts ...grpc.DialOption) *Client {
	b.t.Helper()
	opts = append(opts, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.down {
			return nil, errors.New("connection refused")
		}
		conn, err := b.lis.DialContext(ctx)
		if err == nil {
			b.conns[conn] = true
		}
		return conn, err
	}))
	c, err := New("passthrough:///bus", opts...)
	if err != nil {
		b.t.Fatalf("New: %v", err)
	}
	b.t.Cleanup(func() {
		if err := c.Close(); err != nil {
			b.t.Logf("Client.Close: %v", err) // some tests have closed it
		}
	})
	return c
}

// cut closes all connections, and refuses new ones if down.
func (b *bus) cut(down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down = down
	for c := range b.conns {
		c.Close()
	}
	clear(b.conns)
}

// up takes connections again.
func (b *bus) up() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down = false
}

// stored lists the event IDs in the log, in order.
func (b *bus) stored() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var ids []string
	for _, rec := range b.log {
		ids = append(ids, rec.GetEventId())
	}
	return ids
}

func (b *bus) seen() []seen {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.requests)
}

func (b *bus) open() error {
	b.mu.Lock()
	b.streams++
	n := b.streams
	b.mu.Unlock()
	if b.opened != nil {
		return b.opened(n)
	}
	return nil
}

// append stores records as another producer would.
func (b *bus) append(recs ...*keytrailv1.Record) {
	for _, rec := range recs {
		b.store(rec)
	}
}

func (b *bus) store(rec *keytrailv1.Record) *keytrailv1.PublishResult {
	if b.judge != nil {
		if result := b.judge(rec); result != nil {
			return result
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	id := rec.GetEventId()
	switch before := b.ids[id]; {
	case id == "":
		return rejected(&record.Problem{Code: keytrailv1.RejectionCode_REJECTION_CODE_MISSING_FIELD, Message: "eventID is required."})
	case before != nil && proto.Equal(before, rec):
		return &keytrailv1.PublishResult{
			Status:   keytrailv1.PublishStatus_PUBLISH_STATUS_DUPLICATE,
			EventIds: []string{id},
		}
	case before != nil:
		return &keytrailv1.PublishResult{
			Status:    keytrailv1.PublishStatus_PUBLISH_STATUS_CONFLICT,
			Rejection: &keytrailv1.Rejection{Code: keytrailv1.RejectionCode_REJECTION_CODE_CONFLICT},
		}
	}
	b.ids[id] = rec
	b.log = append(b.log, rec)
	close(b.grown)
	b.grown = make(chan struct{})
	return &keytrailv1.PublishResult{
		Status:   keytrailv1.PublishStatus_PUBLISH_STATUS_SYNCED,
		Cursor:   cursorAt(len(b.log)),
		EventIds: []string{id},
	}
}

// PublishStream reads as fast as the producer sends, so that it sees whether
// the producer keeps to its credit.
func (b *bus) PublishStream(call grpc.BidiStreamingServer[keytrailv1.PublishStreamRequest, keytrailv1.PublishStreamResponse]) error {
	if err := b.open(); err != nil {
		return err
	}
	b.mu.Lock()
	stream := b.streams
	b.mu.Unlock()
	if b.window.records > 0 {
		if err := call.Send(creditOf(b.window)); err != nil {
			return err
		}
	}

	var mu sync.Mutex // guards out
	var out amount
	requests := make(chan *keytrailv1.PublishStreamRequest, 100_000)
	go func() {
		defer close(requests)
		var last uint64
		for {
			req, err := call.Recv()
			if err != nil {
				return // handled below: the context has ended, or it is EOF
			}
			if req.GetNumber() <= last {
				b.t.Errorf("request %d after request %d", req.GetNumber(), last)
			}
			last = req.GetNumber()
			if n := len(req.GetItems()); n < 1 || n > maxRequestRecords {
				b.t.Errorf("request of %d items", n)
			}
			mu.Lock()
			out.add(sizeOf(req))
			if out.records > b.window.records || out.bytes > b.window.bytes {
				b.t.Errorf("%d unanswered, credit is %d", out, b.window)
			}
			mu.Unlock()
			requests <- req
		}
	}()

	for {
		var req *keytrailv1.PublishStreamRequest
		select {
		case req = <-requests:
		case <-call.Context().Done():
			return status.FromContextError(call.Context().Err()).Err()
		}
		if req == nil {
			if b.lingers {
				<-call.Context().Done()
			}
			return nil
		}
		b.mu.Lock()
		s := seen{stream: stream, at: time.Now()}
		for _, item := range req.GetItems() {
			s.ids = append(s.ids, item.GetRecord().GetEventId())
		}
		b.requests = append(b.requests, s)
		n := len(b.requests)
		b.mu.Unlock()
		if b.before != nil {
			if err := b.before(n, req); err != nil {
				return fault(call.Context(), err)
			}
		}
		results := &keytrailv1.PublishResults{Number: req.GetNumber()}
		for _, item := range req.GetItems() {
			results.Results = append(results.Results, b.store(item.GetRecord()))
		}
		if b.after != nil {
			if err := b.after(n, req); err != nil {
				return fault(call.Context(), err)
			}
		}
		if b.answer != nil {
			b.answer(results)
		}
		mu.Lock()
		out.sub(sizeOf(req))
		mu.Unlock()
		err := call.Send(&keytrailv1.PublishStreamResponse{Event: &keytrailv1.PublishStreamResponse_Results{Results: results}})
		if err == nil {
			err = call.Send(creditOf(sizeOf(req)))
		}
		if err != nil {
			return err
		}
	}
}

func sizeOf(req *keytrailv1.PublishStreamRequest) amount {
	return amount{uint64(len(req.GetItems())), uint64(proto.Size(req))}
}

func creditOf(a amount) *keytrailv1.PublishStreamResponse {
	return &keytrailv1.PublishStreamResponse{Event: &keytrailv1.PublishStreamResponse_Credit{
		Credit: &keytrailv1.Credit{Records: a.records, Bytes: a.bytes},
	}}
}

// cursorAt is the cursor at a position: after that many records.
func cursorAt(pos int) string { return "c" + strconv.Itoa(pos) }

func (b *bus) Subscribe(req *keytrailv1.SubscribeRequest, call grpc.ServerStreamingServer[keytrailv1.SubscribeResponse]) error {
	return b.deliver(req, call, nil)
}

// subscriber is the sending side of Subscribe or Follow.
type subscriber interface {
	Send(*keytrailv1.SubscribeResponse) error
	Context() context.Context
}

func (b *bus) deliver(req *keytrailv1.SubscribeRequest, call subscriber, changes <-chan *keytrailv1.ChangeFilter) error {
	pos, err := b.subscribe(req, call, changes)
	if errors.Is(err, errDrain) {
		call.Send(&keytrailv1.SubscribeResponse{Event: &keytrailv1.SubscribeResponse_Draining{
			Draining: &keytrailv1.Draining{Cursor: cursorAt(pos)},
		}})
		return later(codes.Unavailable, time.Second)
	}
	return fault(call.Context(), err)
}

// errDrain is a fault that makes the bus drain a subscriber's stream.
var errDrain = errors.New("drain")

// subscribe serves a stream and returns the position it got to.
func (b *bus) subscribe(req *keytrailv1.SubscribeRequest, call subscriber, changes <-chan *keytrailv1.ChangeFilter) (pos int, _ error) {
	b.mu.Lock()
	pos = len(b.log)
	earliest := b.earliest
	switch start := req.GetStart().(type) {
	case *keytrailv1.SubscribeRequest_Earliest:
		pos = earliest
		b.starts = append(b.starts, "earliest")
	case *keytrailv1.SubscribeRequest_Cursor:
		pos, _ = strconv.Atoi(strings.TrimPrefix(start.Cursor, "c"))
		b.starts = append(b.starts, start.Cursor)
	case *keytrailv1.SubscribeRequest_StoredTime:
		b.starts = append(b.starts, start.StoredTime.AsTime().Format(time.RFC3339))
	default:
		b.starts = append(b.starts, "now")
	}
	b.mu.Unlock()
	if err := b.open(); err != nil {
		return pos, err
	}

	send := func(event *keytrailv1.SubscribeResponse) error {
		if err := call.Send(event); err != nil {
			return err
		}
		b.mu.Lock()
		b.messages++
		n := b.messages
		b.mu.Unlock()
		if b.sent != nil {
			return b.sent(n)
		}
		return nil
	}
	if pos < earliest {
		if !req.GetAllowGap() {
			return pos, withDetails(codes.OutOfRange, "the cursor has expired", &errdetails.ErrorInfo{
				Reason:   "CURSOR_EXPIRED",
				Metadata: map[string]string{"earliest_cursor": cursorAt(earliest), "earliest_time": "2026-10-20T07:08:09.5Z"},
			})
		}
		if err := send(&keytrailv1.SubscribeResponse{Event: &keytrailv1.SubscribeResponse_Gap{Gap: &keytrailv1.Gap{
			AfterCursor: cursorAt(pos), Cursor: cursorAt(earliest), Reason: keytrailv1.GapReason_GAP_REASON_EXPIRED,
		}}}); err != nil {
			return pos, err
		}
		pos = earliest
	}

	interval := 10 * time.Second
	if d := req.GetCheckpointInterval(); d != nil {
		interval = d.AsDuration()
	}
	told := false // a checkpoint at the head was sent
	filter := req.GetFilter()
	change := func(c *keytrailv1.ChangeFilter) error {
		if refused(c.GetFilter()) {
			return send(&keytrailv1.SubscribeResponse{Event: &keytrailv1.SubscribeResponse_FilterRefused{
				FilterRefused: &keytrailv1.FilterRefused{Revision: c.GetRevision(), Field: "filter", Message: "no"},
			}})
		}
		filter = c.GetFilter()
		return send(&keytrailv1.SubscribeResponse{Event: &keytrailv1.SubscribeResponse_FilterChanged{
			FilterChanged: &keytrailv1.FilterChanged{Revision: c.GetRevision(), Cursor: cursorAt(pos)},
		}})
	}
	for {
		select {
		case c := <-changes:
			if err := change(c); err != nil {
				return pos, err
			}
		default:
		}
		b.mu.Lock()
		rest := b.log[pos:]
		grown := b.grown
		b.mu.Unlock()
		if len(rest) > 0 {
			rest = rest[:min(len(rest), b.batch)]
			batch := &keytrailv1.Batch{}
			for i, rec := range rest {
				if wants(filter, rec) {
					batch.Records = append(batch.Records, &keytrailv1.Delivered{Cursor: cursorAt(pos + i + 1), Record: rec})
				}
			}
			pos += len(rest)
			if len(batch.Records) == 0 {
				continue
			}
			if err := send(&keytrailv1.SubscribeResponse{Event: &keytrailv1.SubscribeResponse_Batch{Batch: batch}}); err != nil {
				return pos, err
			}
			continue
		}
		if !told {
			told = true
			if err := send(checkpointAt(pos)); err != nil {
				return pos, err
			}
		}
		select {
		case <-grown:
		case c := <-changes:
			if err := change(c); err != nil {
				return pos, err
			}
		case <-time.After(interval):
			told = false
		case <-call.Context().Done():
			return pos, status.FromContextError(call.Context().Err()).Err()
		}
	}
}

func checkpointAt(pos int) *keytrailv1.SubscribeResponse {
	return &keytrailv1.SubscribeResponse{Event: &keytrailv1.SubscribeResponse_Checkpoint{
		Checkpoint: &keytrailv1.Checkpoint{Cursor: cursorAt(pos), AtHead: true},
	}}
}

func withDetails(code codes.Code, message string, d proto.Message) error {
	s := status.New(code, message)
	switch d := d.(type) {
	case *errdetails.ErrorInfo:
		s, _ = s.WithDetails(d)
	case *errdetails.RetryInfo:
		s, _ = s.WithDetails(d)
	}
	return s.Err()
}

// later is a status with a time to try again.
func later(code codes.Code, d time.Duration) error {
	return withDetails(code, "not now", &errdetails.RetryInfo{RetryDelay: durationpb.New(d)})
}

// rec is record number i.
func rec(i int) *keytrailv1.Record {
	return &keytrailv1.Record{
		EventId:     proto.String(idOf(i)),
		EventName:   proto.String("Decrypt"),
		EventSource: proto.String("kms.amazonaws.com"),
	}
}

func recs(from, to int) []*keytrailv1.Record {
	var out []*keytrailv1.Record
	for i := from; i < to; i++ {
		out = append(out, rec(i))
	}
	return out
}

func idOf(i int) string { return fmt.Sprintf("id-%06d", i) }

// idsOf are those of records from to to.
func idsOf(from, to int) []string {
	var ids []string
	for i := from; i < to; i++ {
		ids = append(ids, idOf(i))
	}
	return ids
}

// once makes a fault happen a single time.
func once(err error) func() error {
	var o sync.Once
	return func() (out error) {
		o.Do(func() { out = err })
		return out
	}
}

// wantIDs compares event IDs, in order.
func wantIDs(t testing.TB, what string, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	count := make(map[string]int)
	for _, id := range want {
		count[id]++
	}
	for _, id := range got {
		count[id]--
	}
	maps.DeleteFunc(count, func(_ string, n int) bool { return n == 0 })
	if len(count) == 0 {
		t.Fatalf("%s: the right %d IDs in another order:\n%s", what, len(got), strings.Join(got, " "))
	}
	t.Fatalf("%s: %d IDs, want %d; missing (+) or too many (-): %v", what, len(got), len(want), count)
}

// errEnd is a fault that ends a stream without an error.
var errEnd = errors.New("end")

// errHang is a fault that makes the bus say nothing more on a stream.
var errHang = errors.New("hang")

// fault is err as a handler returns it.
func fault(ctx context.Context, err error) error {
	if errors.Is(err, errHang) {
		<-ctx.Done()
	}
	if errors.Is(err, errEnd) {
		return nil
	}
	return err
}
