package server_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keytrail/keytrail/bustest"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/internal/sample"
	"github.com/keytrail/keytrail/server"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func publish(t *testing.T, conn *grpc.ClientConn, records ...*keytrailv1.Record) []*keytrailv1.PublishResult {
	t.Helper()
	res, err := keytrailv1.NewIngestServiceClient(conn).Publish(t.Context(), &keytrailv1.PublishRequest{Items: items(records...)})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range res.GetResults() {
		if s := r.GetStatus(); s != keytrailv1.PublishStatus_PUBLISH_STATUS_SYNCED && s != keytrailv1.PublishStatus_PUBLISH_STATUS_STORED {
			t.Fatalf("publishing: %v", r)
		}
	}
	return res.GetResults()
}

// untilHead receives until the head: the records, and what else came.
func untilHead(t *testing.T, conn *grpc.ClientConn, req *keytrailv1.SubscribeRequest) (records []*keytrailv1.Delivered, gaps []*keytrailv1.Gap) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	stream, err := keytrailv1.NewSubscribeServiceClient(conn).Subscribe(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, m.GetBatch().GetRecords()...)
		if g := m.GetGap(); g != nil {
			gaps = append(gaps, g)
		}
		if c := m.GetCheckpoint(); c.GetAtHead() {
			if c.GetMatched() != uint64(len(records)) {
				t.Errorf("the checkpoint says %d matched, %d came", c.GetMatched(), len(records))
			}
			return records, gaps
		}
	}
}

var earliest = &keytrailv1.SubscribeRequest_Earliest{Earliest: &keytrailv1.Earliest{}}

// TestSameBytes: what comes out is what went in, through all of the bus, and
// each cursor resumes after its record.
func TestSameBytes(t *testing.T) {
	b := bustest.Start(t)
	conn := b.Dial()
	gen := sample.New(sample.Config{Seed: 2})
	sent := make(map[string]*keytrailv1.Record)
	for range 200 {
		r := gen.Next()
		sent[r.GetEventId()] = proto.CloneOf(r)
		publish(t, conn, r)
	}
	got, _ := untilHead(t, conn, &keytrailv1.SubscribeRequest{Start: earliest})
	if len(got) != len(sent) {
		t.Fatalf("%d records came out, %d went in", len(got), len(sent))
	}
	for _, d := range got {
		if want := sent[d.GetRecord().GetEventId()]; !proto.Equal(d.GetRecord(), want) {
			t.Errorf("came out: %v\nwent in: %v", d.GetRecord(), want)
		}
		if len(d.GetCursor()) == 0 || len(d.GetCursor()) > 64 || strings.ContainsAny(d.GetCursor(), " \n") {
			t.Errorf("cursor %q", d.GetCursor())
		}
	}
	for i := 0; i < len(got); i += 37 {
		rest, _ := untilHead(t, conn, &keytrailv1.SubscribeRequest{Start: &keytrailv1.SubscribeRequest_Cursor{Cursor: got[i].GetCursor()}})
		if len(rest) != len(got)-i-1 || len(rest) > 0 && rest[0].GetCursor() != got[i+1].GetCursor() {
			t.Errorf("after cursor %d came %d records, want %d", i, len(rest), len(got)-i-1)
		}
	}
}

func TestSubscribeRefused(t *testing.T) {
	b := bustest.Start(t)
	conn := b.Dial()
	old := publish(t, conn, decrypt("a"))[0].GetCursor()
	publish(t, conn, decrypt("b"))
	elsewhere := bustest.Start(t).Dial()
	foreign := publish(t, elsewhere, decrypt("a"))[0].GetCursor()

	trim, err := keytrailv1.NewLogServiceClient(conn).TrimLog(t.Context(), &keytrailv1.TrimLogRequest{StoredBefore: timestamppb.Now()})
	if err != nil || trim.GetRemovedMessages() != 2 {
		t.Fatalf("trim: %v, %v", trim, err)
	}
	cursor := func(c string) *keytrailv1.SubscribeRequest {
		return &keytrailv1.SubscribeRequest{Start: &keytrailv1.SubscribeRequest_Cursor{Cursor: c}}
	}
	for name, tt := range map[string]struct {
		req   *keytrailv1.SubscribeRequest
		code  codes.Code
		field string
	}{
		"no cursor":         {cursor("yesterday"), codes.InvalidArgument, "cursor"},
		"other log":         {cursor(foreign), codes.DataLoss, ""},
		"expired":           {cursor(old), codes.OutOfRange, ""},
		"checkpoint often":  {&keytrailv1.SubscribeRequest{CheckpointInterval: durationpb.New(time.Millisecond)}, codes.InvalidArgument, "checkpoint_interval"},
		"checkpoint seldom": {&keytrailv1.SubscribeRequest{CheckpointInterval: durationpb.New(2 * time.Hour)}, codes.InvalidArgument, "checkpoint_interval"},
		"bad time":          {&keytrailv1.SubscribeRequest{Start: &keytrailv1.SubscribeRequest_StoredTime{StoredTime: &timestamppb.Timestamp{Nanos: -1}}}, codes.InvalidArgument, "stored_time"},
		"bad filter": {&keytrailv1.SubscribeRequest{Filter: &keytrailv1.Filter{Include: []*keytrailv1.Selector{{EventNames: []string{"Decrypt", ""}}}}},
			codes.InvalidArgument, "filter.include[0].event_names[1]"},
	} {
		t.Run(name, func(t *testing.T) {
			stream, err := keytrailv1.NewSubscribeServiceClient(conn).Subscribe(t.Context(), tt.req)
			if err != nil {
				t.Fatal(err)
			}
			m, err := stream.Recv()
			if status.Code(err) != tt.code {
				t.Fatalf("got %v, %v; want %v", m, err, tt.code)
			}
			bad, _ := detail[*errdetails.BadRequest](err)
			if got := bad.GetFieldViolations(); tt.field != "" && (len(got) != 1 || got[0].GetField() != tt.field) {
				t.Errorf("violations %v, want field %s", got, tt.field)
			}
			if tt.code == codes.OutOfRange {
				info, ok := detail[*errdetails.ErrorInfo](err)
				if !ok || info.GetReason() != "CURSOR_EXPIRED" || info.GetMetadata()["earliest_cursor"] != trim.GetEarliestCursor() {
					t.Errorf("details %v, want the earliest cursor %s", info, trim.GetEarliestCursor())
				}
			}
		})
	}
	req := cursor(old)
	req.AllowGap = true
	publish(t, conn, decrypt("c"))
	records, gaps := untilHead(t, conn, req)
	if len(records) != 1 || len(gaps) != 1 || gaps[0].GetReason() != keytrailv1.GapReason_GAP_REASON_TRIMMED ||
		gaps[0].GetAfterCursor() != old || gaps[0].GetCursor() != trim.GetEarliestCursor() || gaps[0].Records != nil {
		t.Errorf("with a gap allowed: %v, %v", records, gaps)
	}
}

func TestLogService(t *testing.T) {
	b := bustest.Start(t)
	conn := b.Dial()
	log := keytrailv1.NewLogServiceClient(conn)
	empty, err := log.DescribeLog(t.Context(), &keytrailv1.DescribeLogRequest{})
	if err != nil || empty.GetMessages() != 0 || empty.EarliestTime != nil || empty.GetDurability() != "SYNCED" {
		t.Errorf("an empty log: %v, %v", empty, err)
	}
	cursor := publish(t, conn, decrypt("a"))[0].GetCursor()
	full, err := log.DescribeLog(t.Context(), &keytrailv1.DescribeLogRequest{})
	if err != nil || full.GetMessages() != 1 || full.GetLatestCursor() != cursor || full.GetEarliestCursor() != empty.GetLatestCursor() || full.GetLocation() != b.Dir {
		t.Errorf("a log of one record at %s: %v, %v", cursor, full, err)
	}
	for name, before := range map[string]*timestamppb.Timestamp{"no time": nil, "the future": timestamppb.New(time.Now().Add(time.Hour)), "no valid time": {Nanos: -1}} {
		if _, err := log.TrimLog(t.Context(), &keytrailv1.TrimLogRequest{StoredBefore: before}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("trim before %s: %v", name, err)
		}
	}
	nothing, err := log.TrimLog(t.Context(), &keytrailv1.TrimLogRequest{StoredBefore: timestamppb.New(time.Unix(1, 0))})
	if err != nil || nothing.GetRemovedMessages() != 0 {
		t.Errorf("trim before everything: %v, %v", nothing, err)
	}
}

func TestHealthAndReflection(t *testing.T) {
	b := bustest.Start(t)
	conn := b.Dial()
	for _, service := range []string{"", "keytrail.v1.IngestService"} {
		h, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{Service: service})
		if err != nil || h.GetStatus() != healthv1.HealthCheckResponse_SERVING {
			t.Errorf("health of %q: %v, %v", service, h, err)
		}
	}
	stream, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	m, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range m.GetListServicesResponse().GetService() {
		names = append(names, s.GetName())
	}
	for _, want := range []string{"keytrail.v1.IngestService", "keytrail.v1.SubscribeService", "keytrail.v1.LogService"} {
		if !strings.Contains(strings.Join(names, " "), want) {
			t.Errorf("reflection lists %v, without %s", names, want)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
}

func TestHTTP(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := bustest.Start(t, func(c *server.Config) {
		c.HTTP = lis
		c.Log.MaxBytes = 1 // full from the start
	})
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	get := func(path string) (int, string) {
		t.Helper()
		res, err := (&http.Client{Transport: transport}).Get("http://" + lis.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(body)
	}
	if code, body := get("/readyz"); code != 200 {
		t.Errorf("/readyz: %d %s", code, body)
	}
	conn := b.Dial()
	if _, err := keytrailv1.NewIngestServiceClient(conn).Publish(t.Context(), &keytrailv1.PublishRequest{Items: items(decrypt("a"))}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("publishing to a log of one byte: %v", err)
	}
	if code, body := get("/readyz"); code != 503 || !strings.Contains(body, "full") || !strings.Contains(body, "bus log trim") {
		t.Errorf("/readyz of a full log: %d %s", code, body)
	}
	if code, _ := get("/livez"); code != 200 {
		t.Errorf("/livez of a full log: %d", code)
	}
	if code, body := get("/metrics"); code != 200 || !strings.Contains(body, "\nkeytrail_log_refusing 1\n") || !strings.Contains(body, "grpc_server_handled_total") {
		t.Errorf("/metrics: %d\n%s", code, body)
	}
	if code, _ := get("/debug/pprof/"); code != 404 {
		t.Errorf("/debug/pprof/ without the flag: %d", code)
	}
}
