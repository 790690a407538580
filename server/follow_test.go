package server_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keytrail/keytrail/bustest"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// following is a Follow call.
type following struct {
	t      *testing.T
	stream grpc.BidiStreamingClient[keytrailv1.FollowRequest, keytrailv1.SubscribeResponse]
	ids    []string // records that came
	cursor string   // of what came last
}

// follow opens a stream and waits until it is at the head.
func follow(t *testing.T, conn *grpc.ClientConn, req *keytrailv1.SubscribeRequest) *following {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	stream, err := keytrailv1.NewSubscribeServiceClient(conn).Follow(ctx)
	if err != nil {
		t.Fatal(err)
	}
	f := &following{t: t, stream: stream}
	f.send(&keytrailv1.FollowRequest{Request: &keytrailv1.FollowRequest_Open{Open: req}})
	f.until(func(m *keytrailv1.SubscribeResponse) bool { return m.GetCheckpoint().GetAtHead() })
	return f
}

func (f *following) send(req *keytrailv1.FollowRequest) {
	f.t.Helper()
	if err := f.stream.Send(req); err != nil {
		f.t.Fatal(err)
	}
}

func change(revision uint64, f *keytrailv1.Filter) *keytrailv1.FollowRequest {
	return &keytrailv1.FollowRequest{Request: &keytrailv1.FollowRequest_Change{
		Change: &keytrailv1.ChangeFilter{Revision: revision, Filter: f},
	}}
}

// until receives until ok holds of a message, which it returns.
func (f *following) until(ok func(*keytrailv1.SubscribeResponse) bool) *keytrailv1.SubscribeResponse {
	f.t.Helper()
	for {
		m, err := f.stream.Recv()
		if err != nil {
			f.t.Fatal(err)
		}
		for _, d := range m.GetBatch().GetRecords() {
			f.ids = append(f.ids, d.GetRecord().GetEventId())
			f.cursor = d.GetCursor()
		}
		if c := m.GetFilterChanged().GetCursor(); c != "" {
			f.cursor = c
		}
		if ok(m) {
			return m
		}
	}
}

func (f *following) untilRecords(n int) {
	f.t.Helper()
	if len(f.ids) < n {
		f.until(func(*keytrailv1.SubscribeResponse) bool { return len(f.ids) >= n })
	}
}

func (f *following) untilChanged(revision uint64) {
	f.t.Helper()
	f.until(func(m *keytrailv1.SubscribeResponse) bool { return m.GetFilterChanged().GetRevision() == revision })
}

func named(names ...string) *keytrailv1.Filter {
	return &keytrailv1.Filter{Include: []*keytrailv1.Selector{{EventNames: names}}}
}

// called is a record of an operation.
func called(id, name string) *keytrailv1.Record {
	r := decrypt(id)
	r.EventName = proto.String(name)
	return r
}

func TestFollow(t *testing.T) {
	b := bustest.Start(t)
	conn := b.Dial()
	f := follow(t, conn, &keytrailv1.SubscribeRequest{Filter: named("Decrypt")})
	publish(t, conn, called("a", "Encrypt"), called("b", "Decrypt"))
	f.untilRecords(1)
	f.send(change(3, named("Encrypt")))
	f.untilChanged(3)
	at := f.cursor
	publish(t, conn, called("c", "Decrypt"), called("d", "Encrypt"))
	f.untilRecords(2)

	// A faulty filter is refused, and the one before holds on.
	f.send(change(4, named("Decrypt", "")))
	refused := f.until(func(m *keytrailv1.SubscribeResponse) bool { return m.GetFilterRefused() != nil }).GetFilterRefused()
	if refused.GetRevision() != 4 || refused.GetField() != "filter.include[0].event_names[1]" || !strings.Contains(refused.GetMessage(), "empty") {
		t.Errorf("refused: %v", refused)
	}
	publish(t, conn, called("e", "Decrypt"), called("f", "Encrypt"))
	f.untilRecords(3)

	// No filter is all records. The stream goes on when there are no more changes.
	f.send(change(1<<60, nil))
	f.untilChanged(1 << 60)
	if err := f.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	publish(t, conn, called("g", "Decrypt"), called("h", "Encrypt"))
	f.untilRecords(5)
	if want := []string{"b", "d", "f", "g", "h"}; !slices.Equal(f.ids, want) {
		t.Errorf("got %v, want %v", f.ids, want)
	}

	// The cursor of a change resumes where it took effect.
	rest, _ := untilHead(t, conn, &keytrailv1.SubscribeRequest{Filter: named("Encrypt"), Start: &keytrailv1.SubscribeRequest_Cursor{Cursor: at}})
	if len(rest) != 3 || rest[0].GetRecord().GetEventId() != "d" {
		t.Errorf("after the first change came %v", rest)
	}
}

func TestFollowRefused(t *testing.T) {
	b := bustest.Start(t)
	conn := b.Dial()
	open := &keytrailv1.FollowRequest{Request: &keytrailv1.FollowRequest_Open{Open: &keytrailv1.SubscribeRequest{}}}
	for name, tt := range map[string]struct {
		requests []*keytrailv1.FollowRequest
		field    string
	}{
		"nothing":              {nil, "open"},
		"empty":                {[]*keytrailv1.FollowRequest{{}}, "open"},
		"a change first":       {[]*keytrailv1.FollowRequest{change(1, nil)}, "open"},
		"opened twice":         {[]*keytrailv1.FollowRequest{open, open}, "change"},
		"empty after open":     {[]*keytrailv1.FollowRequest{open, {}}, "change"},
		"no revision":          {[]*keytrailv1.FollowRequest{open, change(0, nil)}, "change.revision"},
		"the same revision":    {[]*keytrailv1.FollowRequest{open, change(7, nil), change(7, nil)}, "change.revision"},
		"an older revision":    {[]*keytrailv1.FollowRequest{open, change(7, named("")), change(6, nil)}, "change.revision"},
		"a bad filter to open": {[]*keytrailv1.FollowRequest{{Request: &keytrailv1.FollowRequest_Open{Open: &keytrailv1.SubscribeRequest{Filter: named("")}}}}, "filter.include[0].event_names[0]"},
		"a bad interval": {[]*keytrailv1.FollowRequest{{Request: &keytrailv1.FollowRequest_Open{
			Open: &keytrailv1.SubscribeRequest{CheckpointInterval: durationpb.New(time.Millisecond)}}}}, "checkpoint_interval"},
	} {
		t.Run(name, func(t *testing.T) {
			stream, err := keytrailv1.NewSubscribeServiceClient(conn).Follow(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, req := range tt.requests {
				if err := stream.Send(req); err != nil {
					break // the status tells
				}
			}
			if err := stream.CloseSend(); err != nil {
				t.Fatal(err)
			}
			for err == nil {
				_, err = stream.Recv()
			}
			bad, _ := detail[*errdetails.BadRequest](err)
			if got := bad.GetFieldViolations(); status.Code(err) != codes.InvalidArgument || len(got) != 1 || got[0].GetField() != tt.field {
				t.Errorf("%v, %v; want field %s", err, got, tt.field)
			}
		})
	}
}

// TestFollowDrains: a stream that may change ends with its cursor too, and one
// that was never opened does not hold up the bus for long.
func TestFollowDrains(t *testing.T) {
	b := bustest.Start(t)
	conn := b.Dial()
	f := follow(t, conn, &keytrailv1.SubscribeRequest{})
	unopened, err := keytrailv1.NewSubscribeServiceClient(conn).Follow(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	publish(t, conn, decrypt("a"))
	f.untilRecords(1)
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		done <- b.Drain(ctx)
	}()
	m := f.until(func(m *keytrailv1.SubscribeResponse) bool { return m.GetDraining() != nil })
	if m.GetDraining().GetCursor() != f.cursor {
		t.Errorf("draining at %s, after %s", m.GetDraining().GetCursor(), f.cursor)
	}
	if _, err := unopened.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream that was not opened: %v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestFollowFlood: clients that change their filters as fast as they can hold
// up neither records nor each other, and are answered.
func TestFollowFlood(t *testing.T) {
	b := bustest.Start(t)
	conn := b.Dial()
	watch := follow(t, conn, &keytrailv1.SubscribeRequest{})
	const changes = 500
	var floods []*following
	for i := range 4 {
		f := follow(t, conn, &keytrailv1.SubscribeRequest{Filter: named("Decrypt")})
		floods = append(floods, f)
		go func() {
			for n := range changes {
				wanted := named("Decrypt", fmt.Sprint(n))
				if (n+i)%2 == 0 && n < changes-1 {
					wanted = named("Decrypt", "") // refused
				}
				if err := f.stream.Send(change(uint64(n+1), wanted)); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	var want []string
	for n := range 50 {
		id := fmt.Sprint("r", n)
		publish(t, conn, called(id, "Decrypt"))
		want = append(want, id)
	}
	watch.untilRecords(len(want))
	for _, f := range floods {
		f.untilChanged(changes)
		f.untilRecords(len(want))
		if !slices.Equal(f.ids, want) {
			t.Errorf("got %v, want %v", f.ids, want)
		}
	}
}
