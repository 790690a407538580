package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/keytrail/keytrail/bustest"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/internal/sample"
	"github.com/keytrail/keytrail/record"
	"github.com/keytrail/keytrail/server"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func decrypt(id string) *keytrailv1.Record {
	return &keytrailv1.Record{
		EventId:            proto.String(id),
		EventName:          proto.String("Decrypt"),
		EventSource:        proto.String(record.EventSource),
		EventTime:          timestamppb.New(time.Unix(1_700_000_000, 0)),
		RecipientAccountId: proto.String("111122223333"),
		AwsRegion:          proto.String("us-west-2"),
		ReadOnly:           proto.Bool(true),
	}
}

func items(records ...*keytrailv1.Record) []*keytrailv1.PublishItem {
	var out []*keytrailv1.PublishItem
	for _, r := range records {
		out = append(out, &keytrailv1.PublishItem{Item: &keytrailv1.PublishItem_Record{Record: r}})
	}
	return out
}

func summary(results []*keytrailv1.PublishResult) string {
	var out []string
	for _, r := range results {
		s := strings.TrimPrefix(r.GetStatus().String(), "PUBLISH_STATUS_")
		if r.GetRejection() != nil {
			s += ":" + strings.TrimPrefix(r.GetRejection().GetCode().String(), "REJECTION_CODE_") + ":" + r.GetRejection().GetField()
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func detail[T any](err error) (found T, ok bool) {
	for _, d := range status.Convert(err).Details() {
		if found, ok = d.(T); ok {
			return found, true
		}
	}
	return found, false
}

func TestPublish(t *testing.T) {
	b := bustest.Start(t)
	ingest := keytrailv1.NewIngestServiceClient(b.Dial())
	other := decrypt("a")
	other.EventName = proto.String("Encrypt")
	big := decrypt("big")
	big.UserAgent = proto.String(strings.Repeat("x", record.MaxBytes))
	foreign := decrypt("foreign")
	foreign.EventSource = proto.String("s3.amazonaws.com")
	nameless := decrypt("nameless")
	nameless.EventName = nil
	badJSON := decrypt("json")
	badJSON.RequestParameters = []byte(`{"plaintext":`)
	unknown := decrypt("unknown operation")
	unknown.EventName = proto.String("InventedOperation")

	res, err := ingest.Publish(t.Context(), &keytrailv1.PublishRequest{Items: append(
		items(decrypt("a"), decrypt(""), nameless, big, foreign, badJSON, unknown, decrypt("a"), other), &keytrailv1.PublishItem{})})
	if err != nil {
		t.Fatal(err)
	}
	want := "SYNCED REJECTED:MISSING_FIELD:eventID REJECTED:MISSING_FIELD:eventName REJECTED:TOO_LARGE: REJECTED:OTHER_SOURCE:eventSource " +
		"REJECTED:WRONG_TYPE:requestParameters SYNCED DUPLICATE CONFLICT:CONFLICT:eventID REJECTED:MISSING_FIELD:"
	if got := summary(res.GetResults()); got != want && got != strings.Replace(want, "WRONG_TYPE:requestP", "INVALID_VALUE:requestP", 1) {
		t.Errorf("results\n%s\nwant\n%s", got, want)
	}
	for i, r := range res.GetResults() {
		if strings.Contains(r.GetRejection().GetMessage(), "plaintext") {
			t.Errorf("result %d repeats a value: %s", i, r.GetRejection().GetMessage())
		}
		if stored := r.GetStatus() == keytrailv1.PublishStatus_PUBLISH_STATUS_SYNCED; stored && (r.GetCursor() == "" || len(r.GetEventIds()) != 1) {
			t.Errorf("result %d: a stored record without cursor or event ID: %v", i, r)
		}
	}
	if d, s := res.GetResults()[7].GetCursor(), res.GetResults()[0].GetCursor(); d != s {
		t.Errorf("the duplicate's cursor is %q, the record's %q", d, s)
	}
}

func TestPublishRefused(t *testing.T) {
	b := bustest.Start(t)
	ingest := keytrailv1.NewIngestServiceClient(b.Dial())
	many := make([]*keytrailv1.Record, server.MaxItems+1)
	for i := range many {
		many[i] = decrypt(fmt.Sprint(i))
	}
	wide := decrypt("wide")
	wide.UserAgent = proto.String(strings.Repeat("x", server.MaxRequestBytes))
	for name, tt := range map[string]struct {
		req   *keytrailv1.PublishRequest
		code  codes.Code
		field string
	}{
		"no items":       {&keytrailv1.PublishRequest{}, codes.InvalidArgument, "items"},
		"too many items": {&keytrailv1.PublishRequest{Items: items(many...)}, codes.InvalidArgument, "items"},
		"too large":      {&keytrailv1.PublishRequest{Items: items(wide)}, codes.ResourceExhausted, ""},
		"replicated":     {&keytrailv1.PublishRequest{Items: items(decrypt("a")), Require: keytrailv1.Durability_DURABILITY_REPLICATED}, codes.FailedPrecondition, ""},
		"unknown level":  {&keytrailv1.PublishRequest{Items: items(decrypt("a")), Require: 99}, codes.InvalidArgument, "require"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ingest.Publish(t.Context(), tt.req)
			if status.Code(err) != tt.code {
				t.Fatalf("error %v, want %v", err, tt.code)
			}
			bad, _ := detail[*errdetails.BadRequest](err)
			if got := bad.GetFieldViolations(); tt.field != "" && (len(got) != 1 || got[0].GetField() != tt.field) {
				t.Errorf("violations %v, want field %s", got, tt.field)
			}
			if _, ok := detail[*errdetails.RetryInfo](err); ok {
				t.Error("it says to try again, which cannot help")
			}
		})
	}
}

func TestFullLog(t *testing.T) {
	b := bustest.Start(t, func(c *server.Config) { c.Log.MaxBytes = 200_000 })
	ingest := keytrailv1.NewIngestServiceClient(b.Dial())
	for i := 0; ; i++ {
		r := decrypt(fmt.Sprint(i))
		r.UserAgent = proto.String(strings.Repeat("x", 10_000))
		_, err := ingest.Publish(t.Context(), &keytrailv1.PublishRequest{Items: items(r)})
		if err == nil && i < 100 {
			continue
		}
		retry, ok := detail[*errdetails.RetryInfo](err)
		if status.Code(err) != codes.ResourceExhausted || !ok || retry.GetRetryDelay().AsDuration() <= 0 {
			t.Errorf("a full log answers %v with %v; want RESOURCE_EXHAUSTED with RetryInfo", err, retry)
		}
		// Beside records that can be judged, the failure is the record's own.
		r.EventId = proto.String("last")
		res, err := ingest.Publish(t.Context(), &keytrailv1.PublishRequest{Items: items(r, decrypt(""))})
		if err != nil || summary(res.GetResults()) != "NOT_STORED:LOG_FULL: REJECTED:MISSING_FIELD:eventID" {
			t.Errorf("mixed: %v, %v", summary(res.GetResults()), err)
		}
		return
	}
}

func TestPublishStream(t *testing.T) {
	b := bustest.Start(t)
	stream, err := keytrailv1.NewIngestServiceClient(b.Dial()).PublishStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	recv := func() *keytrailv1.PublishStreamResponse {
		t.Helper()
		m, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	credit := recv().GetCredit()
	if credit.GetRecords() < server.MaxItems || credit.GetBytes() < server.MaxRequestBytes {
		t.Errorf("the first message grants %v, less than one request", credit)
	}
	gen := sample.New(sample.Config{Seed: 1})
	const requests, each = 20, 50
	sent := make(map[uint64]*keytrailv1.PublishStreamRequest)
	for n := range uint64(requests) {
		req := &keytrailv1.PublishStreamRequest{Number: 10 * n}
		for range each {
			req.Items = append(req.Items, items(gen.Next())...)
		}
		sent[req.Number] = req
		if err := stream.Send(req); err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	var next *keytrailv1.PublishStreamResponse
	// more takes credit off the stream, and notes what comes after it.
	more := func() error {
		for {
			m, err := stream.Recv()
			c := m.GetCredit()
			if next = m; err != nil || c == nil {
				return err
			}
			credit.Records += c.GetRecords()
			credit.Bytes += c.GetBytes()
		}
	}
	for n := range uint64(requests) {
		if err := more(); err != nil {
			t.Fatal(err)
		}
		res := next.GetResults()
		if res.GetNumber() != 10*n || len(res.GetResults()) != each {
			t.Fatalf("answer %d is to request %d with %d results", n, res.GetNumber(), len(res.GetResults()))
		}
		for i, r := range res.GetResults() {
			if want := sent[10*n].GetItems()[i].GetRecord().GetEventId(); r.GetStatus() != keytrailv1.PublishStatus_PUBLISH_STATUS_SYNCED || r.GetEventIds()[0] != want {
				t.Errorf("result %d of request %d: %v, want %s stored", i, n, r, want)
			}
		}
		credit.Records -= each
		credit.Bytes -= uint64(proto.Size(sent[10*n]))
	}
	if err := more(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last result: %v, %v; want the end", next, err)
	}
	if credit.GetRecords() < server.MaxItems || credit.GetBytes() < server.MaxRequestBytes {
		t.Errorf("in the end the producer has a credit of %v, less than one request", credit)
	}
}

func TestPublishStreamFaults(t *testing.T) {
	b := bustest.Start(t)
	ingest := keytrailv1.NewIngestServiceClient(b.Dial())
	full := make([]*keytrailv1.Record, server.MaxItems)
	for i := range full {
		full[i] = decrypt("") // rejected, and counted all the same
	}
	for name, tt := range map[string]struct {
		requests []*keytrailv1.PublishStreamRequest
		answers  int
		code     codes.Code
	}{
		"numbers fall":  {[]*keytrailv1.PublishStreamRequest{{Number: 2, Items: items(decrypt("a"))}, {Number: 2, Items: items(decrypt("b"))}}, 1, codes.InvalidArgument},
		"no items":      {[]*keytrailv1.PublishStreamRequest{{Number: 1}}, 0, codes.InvalidArgument},
		"not that good": {[]*keytrailv1.PublishStreamRequest{{Number: 1, Items: items(decrypt("a")), Require: keytrailv1.Durability_DURABILITY_REPLICATED}}, 0, codes.FailedPrecondition},
	} {
		t.Run(name, func(t *testing.T) {
			stream, err := ingest.PublishStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range tt.requests {
				if err := stream.Send(r); err != nil {
					t.Fatal(err)
				}
			}
			answers := 0
			for {
				m, err := stream.Recv()
				if err != nil {
					if status.Code(err) != tt.code || answers != tt.answers {
						t.Errorf("%d answers, then %v; want %d, then %v", answers, err, tt.answers, tt.code)
					}
					return
				}
				if m.GetResults() != nil {
					answers++
				}
			}
		})
	}
}

// TestDrain stops a bus under load: what was taken is answered, and the stream
// ends with a status that says to go on elsewhere.
func TestDrain(t *testing.T) {
	b := bustest.Start(t)
	conn := b.Dial()
	stream, err := keytrailv1.NewIngestServiceClient(conn).PublishStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sub, err := keytrailv1.NewSubscribeServiceClient(conn).Subscribe(t.Context(), &keytrailv1.SubscribeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	first, err := sub.Recv()
	if err != nil || !first.GetCheckpoint().GetAtHead() {
		t.Fatalf("the first message of an idle stream is %v, %v", first, err)
	}
	if err := stream.Send(&keytrailv1.PublishStreamRequest{Number: 1, Items: items(decrypt("a"))}); err != nil {
		t.Fatal(err)
	}
	got, err := sub.Recv()
	if err != nil || got.GetBatch().GetRecords()[0].GetRecord().GetEventId() != "a" {
		t.Fatalf("the subscriber got %v, %v", got, err)
	}
	cursor := got.GetBatch().GetRecords()[0].GetCursor()
	b.Stop()
	last, err := sub.Recv()
	if err != nil || last.GetDraining().GetCursor() != cursor {
		t.Errorf("the subscriber's last message is %v, %v; want draining at %s", last, err, cursor)
	}
	if _, err := sub.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("then %v, want the end", err)
	}
	answered := false
	for {
		m, err := stream.Recv()
		if err != nil {
			if _, ok := detail[*errdetails.RetryInfo](err); status.Code(err) != codes.Unavailable || !ok {
				t.Errorf("the producer's stream ended with %v, want UNAVAILABLE with RetryInfo", err)
			}
			break
		}
		answered = answered || m.GetResults().GetNumber() == 1
	}
	if !answered {
		t.Error("a record that was delivered was not answered")
	}
}

// TestDrainWithStalledClient: a subscriber that does not read delays a drain
// by the grace that it has, not until the connections are cut.
func TestDrainWithStalledClient(t *testing.T) {
	b := bustest.Start(t)
	conn := b.Dial()
	stream, err := keytrailv1.NewSubscribeServiceClient(conn).Subscribe(t.Context(), &keytrailv1.SubscribeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil { // the subscription is there
		t.Fatal(err)
	}
	for i := range 200 { // far more than the windows of the stream take
		r := decrypt(fmt.Sprint(i))
		r.UserAgent = proto.String(strings.Repeat("x", 50_000))
		if _, err := keytrailv1.NewIngestServiceClient(conn).Publish(t.Context(), &keytrailv1.PublishRequest{Items: items(r)}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := b.Drain(ctx); err != nil {
		t.Errorf("drain: %v", err)
	}
}
