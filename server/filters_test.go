package server_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keytrail/keytrail/bustest"
	"github.com/keytrail/keytrail/eventlog"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/server"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func where(text string) *keytrailv1.Filter { return &keytrailv1.Filter{Where: text} }

func TestExplainFilter(t *testing.T) {
	b := bustest.Start(t)
	filters := keytrailv1.NewFilterServiceClient(b.Dial())
	const text = "event = Decrypt and region = eu-west-1"
	checked, err := filters.ExplainFilter(t.Context(), &keytrailv1.ExplainFilterRequest{Filter: where(text)})
	if err != nil {
		t.Fatal(err)
	}
	if checked.GetText() != text || checked.Matched != nil || len(checked.GetClauses()) != 3 || checked.GetIndex() == "" || checked.GetClauses()[1].Held != nil {
		t.Errorf("checked: %v", checked)
	}
	explained, err := filters.ExplainFilter(t.Context(), &keytrailv1.ExplainFilterRequest{Filter: where(text), Record: decrypt("a")})
	if err != nil {
		t.Fatal(err)
	}
	clauses := explained.GetClauses()
	if explained.Matched == nil || explained.GetMatched() || len(clauses) != 3 || clauses[0].GetHeld() || !clauses[1].GetHeld() || clauses[2].GetHeld() {
		t.Errorf("explained: %v", explained)
	}
	if v := clauses[2].GetValues(); len(v) != 1 || v[0] != `"us-west-2"` || clauses[2].GetDepth() != 1 {
		t.Errorf("of the Region: %v", clauses[2])
	}
	odd, err := filters.ExplainFilter(t.Context(), &keytrailv1.ExplainFilterRequest{Filter: where("requestParameters.keyid = x")})
	if err != nil || len(odd.GetWarnings()) != 1 || !strings.Contains(odd.GetWarnings()[0].GetMessage(), "requestParameters.keyId") {
		t.Errorf("a field that no record has: %v, %v", odd, err)
	}
}

func TestFilterFaults(t *testing.T) {
	b := bustest.Start(t)
	conn := b.Dial()
	filters := keytrailv1.NewFilterServiceClient(conn)
	for name, tt := range map[string]struct {
		req   *keytrailv1.TryFilterRequest
		field string
	}{
		"no filter":    {&keytrailv1.TryFilterRequest{}, "filter"},
		"a bad filter": {&keytrailv1.TryFilterRequest{Filter: where("event =")}, "filter.where"},
		"a bad time":   {&keytrailv1.TryFilterRequest{Filter: where(""), StoredTime: &timestamppb.Timestamp{Nanos: -1}}, "stored_time"},
	} {
		stream, err := filters.TryFilter(t.Context(), tt.req)
		if err != nil {
			t.Fatal(err)
		}
		_, err = stream.Recv()
		errs := map[string]error{"try": err}
		if tt.req.StoredTime == nil {
			_, errs["explain"] = filters.ExplainFilter(t.Context(), &keytrailv1.ExplainFilterRequest{Filter: tt.req.GetFilter()})
		}
		for call, err := range errs {
			bad, _ := detail[*errdetails.BadRequest](err)
			if got := bad.GetFieldViolations(); status.Code(err) != codes.InvalidArgument || len(got) != 1 || got[0].GetField() != tt.field {
				t.Errorf("%s, %s: %v; want field %s", call, name, err, tt.field)
			}
		}
	}
}

// try runs a trial and returns its last report.
func try(t *testing.T, conn *grpc.ClientConn, req *keytrailv1.TryFilterRequest) *keytrailv1.TryFilterResponse {
	t.Helper()
	stream, err := keytrailv1.NewFilterServiceClient(conn).TryFilter(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if m.GetDone() {
			if m, err := stream.Recv(); err == nil {
				t.Errorf("after the last report came %v", m)
			}
			return m
		}
	}
}

func TestTryFilter(t *testing.T) {
	b := bustest.Start(t)
	conn := b.Dial()
	empty := try(t, conn, &keytrailv1.TryFilterRequest{Filter: where("event = Decrypt")})
	if empty.GetConsidered() != 0 || len(empty.GetClauses()) != 1 || empty.GetText() != "event = Decrypt" || empty.GetIndex() == "" {
		t.Errorf("an empty log: %v", empty)
	}
	for i := range 10 {
		publish(t, conn, called(fmt.Sprint("d", i), "Decrypt"), called(fmt.Sprint("e", i), "Encrypt"), called(fmt.Sprint("s", i), "Sign"))
	}
	time.Sleep(2 * time.Millisecond) // what follows is stored later, by the log's clock
	between := timestamppb.Now()
	publish(t, conn, called("d", "Decrypt"), called("e", "Encrypt"))
	for name, tt := range map[string]struct {
		req                 *keytrailv1.TryFilterRequest
		considered, matched uint64
		limited             bool
	}{
		"all":               {&keytrailv1.TryFilterRequest{Filter: where("")}, 32, 32, false},
		"some":              {&keytrailv1.TryFilterRequest{Filter: where("event = Encrypt")}, 32, 11, false},
		"from a time":       {&keytrailv1.TryFilterRequest{Filter: where("event = Decrypt"), StoredTime: between}, 2, 1, false},
		"from the future":   {&keytrailv1.TryFilterRequest{Filter: where(""), StoredTime: timestamppb.New(time.Now().Add(time.Hour))}, 0, 0, false},
		"limited":           {&keytrailv1.TryFilterRequest{Filter: where("event = Decrypt"), Limit: 4}, 4, 2, true},
		"limited by a lot":  {&keytrailv1.TryFilterRequest{Filter: where("event = Decrypt"), Limit: 31}, 31, 11, true},
		"as many as it may": {&keytrailv1.TryFilterRequest{Filter: where("event = Decrypt"), Limit: 32}, 32, 11, false},
	} {
		got := try(t, conn, tt.req)
		if got.GetConsidered() != tt.considered || got.GetMatched() != tt.matched || got.GetLimited() != tt.limited || got.GetGaps() != 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
	both := try(t, conn, &keytrailv1.TryFilterRequest{Filter: where("event = Decrypt and region = eu-west-1")})
	if c := both.GetClauses(); len(c) != 3 || c[1].GetHeldRecords() != 11 || c[2].GetHeldRecords() != 0 || c[2].GetDecidedRecords() != 11 || c[1].Held != nil {
		t.Errorf("clauses %v", c)
	}
}

// TestTryFilterGaps: what the bus can't read is counted.
func TestTryFilterGaps(t *testing.T) {
	srv, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	defer srv.WaitForShutdown()
	defer srv.Shutdown()
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	b := bustest.Start(t, func(c *server.Config) { c.Log = eventlog.Config{URL: srv.ClientURL()} })
	defer b.Stop()
	conn := b.Dial()
	nc, err := nats.Connect(srv.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	publish(t, conn, decrypt("a"))
	newer := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 99)
	for range 2 {
		if _, err := nc.Request("kms.1.r.-.Decrypt", newer, 10*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	publish(t, conn, decrypt("b"))
	if got := try(t, conn, &keytrailv1.TryFilterRequest{Filter: where("")}); got.GetConsidered() != 2 || got.GetGaps() != 2 {
		t.Errorf("two records and two unreadable messages: %v", got)
	}
}
