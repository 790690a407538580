package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Follow holds the client to the contract, also to what it says of requests
// that the real bus would take: one change at a time.
func (b *bus) Follow(call grpc.BidiStreamingServer[keytrailv1.FollowRequest, keytrailv1.SubscribeResponse]) error {
	req, err := call.Recv()
	if err != nil {
		return err
	}
	if req.GetOpen() == nil || refused(req.GetOpen().GetFilter()) {
		b.t.Errorf("a stream was opened with %v", req)
	}
	changes := make(chan *keytrailv1.ChangeFilter)
	go func() {
		last := uint64(0)
		for {
			req, err := call.Recv()
			if err != nil {
				return // the handler sees the end of the context
			}
			c := req.GetChange()
			if c.GetRevision() <= last {
				b.t.Errorf("after revision %d came %v", last, req)
			}
			last = c.GetRevision()
			select {
			case changes <- c:
			case <-call.Context().Done():
				return
			}
		}
	}()
	return b.deliver(req.GetOpen(), call, changes)
}

// Filters are lists of event names here: none is all, "" is faulty.
func named(names ...string) *keytrailv1.Filter {
	return &keytrailv1.Filter{Include: []*keytrailv1.Selector{{EventNames: names}}}
}

func refused(f *keytrailv1.Filter) bool {
	return len(f.GetInclude()) > 0 && slices.Contains(f.GetInclude()[0].GetEventNames(), "")
}

func wants(f *keytrailv1.Filter, rec *keytrailv1.Record) bool {
	return len(f.GetInclude()) == 0 || slices.Contains(f.GetInclude()[0].GetEventNames(), rec.GetEventName())
}

// mixed are records of the operations a and b in turn.
func mixed(from, to int) []*keytrailv1.Record {
	out := recs(from, to)
	for i, r := range out {
		r.EventName = proto.String([]string{"a", "b"}[(from+i)%2])
	}
	return out
}

// filtered follows a subscription by what it is told, and holds each record to
// the filter of its place.
type filtered struct {
	t      *testing.T
	s      *Subscription
	filter *keytrailv1.Filter            // that holds
	asked  map[uint64]*keytrailv1.Filter // without an answer
	pos    int                           // everything before it was considered
	told   []uint64                      // revisions that took effect
	no     []uint64                      // refused
}

func follow(t *testing.T, s *Subscription, f *keytrailv1.Filter) *filtered {
	return &filtered{t: t, s: s, filter: f, asked: make(map[uint64]*keytrailv1.Filter)}
}

func (f *filtered) set(filter *keytrailv1.Filter) uint64 {
	f.t.Helper()
	revision, err := f.s.SetFilter(filter)
	if err != nil {
		f.t.Fatal(err)
	}
	f.asked[revision] = filter
	return revision
}

func (f *filtered) next(log []*keytrailv1.Record) {
	f.t.Helper()
	ev, err := f.s.Next(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	to := f.pos
	if ev.Cursor != "" {
		if _, err := fmt.Sscanf(ev.Cursor, "c%d", &to); err != nil || to < f.pos || ev.Record != nil && to == f.pos {
			f.t.Fatalf("after c%d came %+v", f.pos, ev)
		}
	}
	for i := f.pos; i < to; i++ {
		delivered := ev.Record != nil && i == to-1
		if delivered && ev.Record.GetEventId() != log[i].GetEventId() || delivered != wants(f.filter, log[i]) {
			f.t.Fatalf("record %d with filter %v: event %+v", i, f.filter, ev)
		}
	}
	f.pos = to
	switch {
	case ev.FilterChanged != nil:
		rev := ev.FilterChanged.GetRevision()
		f.filter = f.answer(rev)
		f.told = append(f.told, rev)
	case ev.FilterRefused != nil:
		if !refused(f.answer(ev.FilterRefused.GetRevision())) {
			f.t.Fatalf("refused: %+v", ev)
		}
		f.no = append(f.no, ev.FilterRefused.GetRevision())
	}
}

// answer returns the filter of a revision, which must not have been answered.
func (f *filtered) answer(revision uint64) *keytrailv1.Filter {
	f.t.Helper()
	filter, ok := f.asked[revision]
	if !ok {
		f.t.Fatalf("revision %d is answered, which was answered before or not asked", revision)
	}
	for r := range f.asked {
		if r <= revision { // those before were replaced
			delete(f.asked, r)
		}
	}
	return filter
}

// However and wherever a stream breaks, each record is delivered if the filter
// of its place wants it, and each change is answered.
func TestSetFilterBreaks(t *testing.T) {
	for name, err := range map[string]error{
		"unavailable": status.Error(codes.Unavailable, "going away"), "drained": errDrain, "ends": errEnd, "cut": nil,
	} {
		for k := 1; k <= 12; k++ {
			t.Run(fmt.Sprintf("%s/%d", name, k), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBus(t)
					log := mixed(0, 30)
					b.append(log[:20]...)
					b.sent = func(n int) error {
						if n != k && n != k+1 && n != k+4 {
							return nil
						}
						if name == "cut" {
							b.cut(false)
							return status.Error(codes.Unavailable, "")
						}
						return err
					}
					s := subscribe(t, b.client(), SubscriptionConfig{Start: Earliest(), Mutable: true, Filter: named("a")})
					f := follow(t, s, named("a"))
					for i, filter := range []*keytrailv1.Filter{named("b"), named(""), nil, named("a")} {
						if i == 2 {
							b.append(log[20:]...)
						}
						for range i {
							f.next(log)
						}
						f.set(filter)
						for len(f.asked) > 0 {
							f.next(log)
						}
					}
					for f.pos < len(log) {
						f.next(log)
					}
					if fmt.Sprint(f.told, f.no) != "[1 3 4] [2]" {
						t.Errorf("%v took effect, %v were refused", f.told, f.no)
					}
				})
			})
		}
	}
}

// A stream that breaks right after a change resumes from the change, not from
// the last record before it.
func TestSetFilterResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		log := mixed(0, 4) // a, b, a, b
		b.append(log[0])
		b.sent = func(n int) error {
			if n == 3 { // after the record and the checkpoint
				return status.Error(codes.Unavailable, "")
			}
			return nil
		}
		s := subscribe(t, b.client(), SubscriptionConfig{Start: Earliest(), Mutable: true, Filter: named("a")})
		f := follow(t, s, named("a"))
		f.next(log)
		f.next(log)
		b.append(log[1])
		synctest.Wait() // the bus has passed it over
		f.set(named("b"))
		f.next(log)
		if fmt.Sprint(f.told) != "[1]" || f.pos != 2 {
			t.Fatalf("%v took effect at %d", f.told, f.pos)
		}
		b.append(log[2:]...)
		for f.pos < len(log) {
			f.next(log)
		}
		if got := fmt.Sprint(b.starts); got != "[earliest c2]" {
			t.Errorf("streams started at %s", got)
		}
	})
}

// Filters that are set while the bus is away are asked for when it is back: the
// first and the last.
func TestSetFilterAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		b.cut(true)
		s := subscribe(t, b.client(), SubscriptionConfig{Start: Earliest(), Mutable: true})
		f := follow(t, s, nil)
		for range 100 {
			f.set(named("b"))
			time.Sleep(time.Second)
		}
		f.set(named("a"))
		log := mixed(0, 10)
		b.append(log...)
		b.up()
		for f.pos < len(log) || len(f.asked) > 0 {
			f.next(log)
		}
		if fmt.Sprint(f.told) != "[1 101]" {
			t.Errorf("%v took effect", f.told)
		}
	})
}

// A filter may be set at any time, while another goroutine is in Next.
func TestSetFilterConcurrently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		s := subscribe(t, b.client(), SubscriptionConfig{Mutable: true})
		var wg sync.WaitGroup
		last := make(chan uint64, 1)
		wg.Go(func() {
			var rev uint64
			for range 50 {
				var err error
				if rev, err = s.SetFilter(named("a")); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Millisecond)
			}
			last <- rev
		})
		told := uint64(0)
		for told < 50 {
			ev, err := s.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if c := ev.FilterChanged; c != nil {
				if c.GetRevision() <= told {
					t.Errorf("revision %d after %d", c.GetRevision(), told)
				}
				told = c.GetRevision()
			}
		}
		wg.Wait()
		if rev := <-last; rev != 50 {
			t.Errorf("the last revision is %d", rev)
		}
	})
}

func TestSetFilterRefusedHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		c := b.client()
		if _, err := subscribe(t, c, SubscriptionConfig{}).SetFilter(nil); err == nil || !strings.Contains(err.Error(), "Mutable") {
			t.Errorf("a subscription that is not mutable: %v", err)
		}
		s := subscribe(t, c, SubscriptionConfig{Mutable: true})
		for name, f := range map[string]*keytrailv1.Filter{
			"long":      named(strings.Repeat("x", maxFilterBytes)),
			"not UTF-8": named("\xff"),
		} {
			if rev, err := s.SetFilter(f); err == nil {
				t.Errorf("%s: taken as revision %d", name, rev)
			}
		}
		s.Close(context.Background())
		if _, err := s.SetFilter(nil); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// A bus without Follow says so.
func TestMutableUnimplemented(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		b.opened = func(int) error { return status.Error(codes.Unimplemented, "method Follow not implemented") }
		s := subscribe(t, b.client(), SubscriptionConfig{Mutable: true})
		if ev, err := s.Next(t.Context()); status.Code(err) != codes.Unimplemented {
			t.Errorf("%v, %v", ev, err)
		}
		if _, err := s.SetFilter(nil); status.Code(err) != codes.Unimplemented {
			t.Errorf("SetFilter: %v", err)
		}
	})
}
