package server_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keytrail/keytrail/bustest"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
	"github.com/keytrail/keytrail/server"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	caller = "444455556666"
	ownerA = "111122223333"
	ownerB = "555566667777"
)

// callBy is a call of caller's on keys of the owners.
func callBy(id, operation string, owners ...string) *keytrailv1.Call {
	c := &keytrailv1.Call{
		CallId:    proto.String(id),
		Operation: proto.String(operation),
		Time:      timestamppb.New(time.Unix(1_700_000_000, 0)),
		Region:    proto.String("us-west-2"),
		Caller:    &keytrailv1.UserIdentity{Type: proto.String("IAMUser"), AccountId: proto.String(caller), UserName: proto.String("bob")},
	}
	for _, owner := range owners {
		c.Keys = append(c.Keys, &keytrailv1.CallKey{Arn: proto.String("arn:aws:kms:us-west-2:" + owner + ":key/k")})
	}
	return c
}

func callItems(calls ...*keytrailv1.Call) []*keytrailv1.PublishItem {
	var out []*keytrailv1.PublishItem
	for _, c := range calls {
		out = append(out, &keytrailv1.PublishItem{Item: &keytrailv1.PublishItem_Call{Call: c}})
	}
	return out
}

// TestPublishCalls: a call becomes a record for each account, whose IDs its
// result names; it is stored once; and what is wrong with it costs no other.
func TestPublishCalls(t *testing.T) {
	b := bustest.Start(t)
	conn := b.Dial()
	ingest := keytrailv1.NewIngestServiceClient(conn)
	publish := func(items ...*keytrailv1.PublishItem) []*keytrailv1.PublishResult {
		t.Helper()
		res, err := ingest.Publish(t.Context(), &keytrailv1.PublishRequest{Items: items})
		if err != nil {
			t.Fatal(err)
		}
		return res.GetResults()
	}

	nobody, badKey, contradiction := callBy("nobody", "Decrypt", ownerA), callBy("bad key", "Decrypt", ownerA), callBy("contradiction", "Decrypt", ownerA)
	nobody.Caller = nil
	badKey.Keys[0].Arn = proto.String("hunter2")
	contradiction.Keys[0].OwnerAccountId = proto.String("999999999999")
	list := callBy("list", "Encrypt", ownerA)
	list.RequestParameters = []byte(`["hunter2"]`)
	mixed := slices.Concat(
		callItems(callBy("across", "Decrypt", ownerA), nobody, callBy("three", "ReEncrypt", ownerA, ownerB)),
		items(decrypt("a record")),
		callItems(badKey, contradiction, list, callBy("no key", "Decrypt")),
		[]*keytrailv1.PublishItem{{}},
		callItems(callBy("own", "Decrypt", caller)),
	)
	results := publish(mixed...)
	want := "SYNCED REJECTED:MISSING_FIELD:call.caller SYNCED SYNCED REJECTED:INVALID_VALUE:call.keys[0].arn " +
		"REJECTED:INVALID_VALUE:call.keys[0].owner_account_id REJECTED:WRONG_TYPE:call.request_parameters " +
		"REJECTED:MISSING_FIELD:call.keys[0] REJECTED:MISSING_FIELD: SYNCED"
	if got := summary(results); got != want {
		t.Fatalf("results\n%s\nwant\n%s", got, want)
	}
	for i, r := range results {
		if strings.Contains(r.String(), "hunter2") {
			t.Errorf("result %d repeats a value: %v", i, r)
		}
	}

	delivered, _ := untilHead(t, conn, &keytrailv1.SubscribeRequest{Start: earliest})
	byID := make(map[string]*keytrailv1.Record)
	for _, d := range delivered {
		byID[d.GetRecord().GetEventId()] = d.GetRecord()
	}
	for i, accounts := range map[int][]string{0: {caller, ownerA}, 2: {caller, ownerA, ownerB}, 9: {caller}} {
		ids := results[i].GetEventIds()
		if len(ids) != len(accounts) {
			t.Errorf("result %d names %q, want one for each of %q", i, ids, accounts)
			continue
		}
		for n, id := range ids {
			rec := byID[id]
			if rec.GetRecipientAccountId() != accounts[n] {
				t.Errorf("result %d: record %d is for %q, want %q", i, n, rec.GetRecipientAccountId(), accounts[n])
			}
			if shared := rec.GetSharedEventId(); shared != byID[ids[0]].GetSharedEventId() || (shared != "") != (len(ids) > 1) {
				t.Errorf("result %d: record %d has the shared event ID %q", i, n, shared)
			}
		}
		// The cursor is after the last of them: what came later follows, all of it.
		later := delivered
		for n, d := range delivered {
			if slices.Contains(ids, d.GetRecord().GetEventId()) {
				later = delivered[n+1:]
			}
		}
		after, _ := untilHead(t, conn, &keytrailv1.SubscribeRequest{Start: &keytrailv1.SubscribeRequest_Cursor{Cursor: results[i].GetCursor()}})
		if !slices.EqualFunc(after, later, func(a, b *keytrailv1.Delivered) bool { return proto.Equal(a, b) }) {
			t.Errorf("result %d: after its cursor come\n%v\nwant\n%v", i, after, later)
		}
	}
	if len(delivered) != 7 {
		t.Errorf("%d records, want 7", len(delivered))
	}

	// Again: nothing new. Another call under the ID: refused. Equal calls with
	// IDs of their own: two.
	again := publish(callItems(callBy("across", "Decrypt", ownerA), callBy("across", "Encrypt", ownerA), callBy("x", "Decrypt", ownerA), callBy("y", "Decrypt", ownerA))...)
	if got, want := summary(again), "DUPLICATE CONFLICT:CONFLICT:call.call_id SYNCED SYNCED"; got != want {
		t.Errorf("again: %s, want %s", got, want)
	}
	if !slices.Equal(again[0].GetEventIds(), results[0].GetEventIds()) || again[0].GetCursor() != results[0].GetCursor() {
		t.Errorf("again: %v, first %v", again[0], results[0])
	}
	if x, y := again[2].GetEventIds(), again[3].GetEventIds(); len(x) != 2 || slices.ContainsFunc(x, func(id string) bool { return slices.Contains(y, id) }) {
		t.Errorf("equal calls have the event IDs %q and %q", x, y)
	}
}

// TestPublishCallInPart: when a part of a call's records is there, the rest is
// stored, and that is no duplicate.
func TestPublishCallInPart(t *testing.T) {
	conn := bustest.Start(t).Dial()
	ingest := keytrailv1.NewIngestServiceClient(conn)
	for part, name := range []string{"caller", "owner"} {
		t.Run(name, func(t *testing.T) {
			c := callBy(name, "Decrypt", ownerA)
			recorder, err := record.NewRecorder(record.RecorderConfig{})
			if err != nil {
				t.Fatal(err)
			}
			records, problem := recorder.Record(proto.CloneOf(c))
			if problem != nil || len(records) != 2 {
				t.Fatalf("%d records, %v", len(records), problem)
			}
			ids := []string{records[0].GetEventId(), records[1].GetEventId()}
			for _, step := range []struct {
				items []*keytrailv1.PublishItem
				want  string
				ids   []string
			}{
				{items(records[part]), "SYNCED", ids[part : part+1]},
				{callItems(c), "SYNCED", ids},
				{callItems(c), "DUPLICATE", ids},
				{items(records...), "DUPLICATE DUPLICATE", ids[:1]},
			} {
				res, err := ingest.Publish(t.Context(), &keytrailv1.PublishRequest{Items: step.items})
				if err != nil {
					t.Fatal(err)
				}
				if got := summary(res.GetResults()); got != step.want || !slices.Equal(res.GetResults()[0].GetEventIds(), step.ids) {
					t.Errorf("%s of %q, want %s of %q", got, res.GetResults()[0].GetEventIds(), step.want, step.ids)
				}
			}
		})
	}
	if delivered, _ := untilHead(t, conn, &keytrailv1.SubscribeRequest{Start: earliest}); len(delivered) != 4 {
		t.Errorf("%d records, want 4", len(delivered))
	}
}

// TestPublishCallsStream: the same over a stream.
func TestPublishCallsStream(t *testing.T) {
	b := bustest.Start(t)
	stream, err := keytrailv1.NewIngestServiceClient(b.Dial()).PublishStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&keytrailv1.PublishStreamRequest{Number: 1, Items: slices.Concat(
		callItems(callBy("a", "Decrypt", ownerA)), items(decrypt("r")), callItems(callBy("b", "", ownerA)))}); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	for {
		res, err := stream.Recv()
		if err != nil {
			t.Fatalf("no results: %v", err)
		}
		if res.GetResults() == nil {
			continue // credit
		}
		if got, want := summary(res.GetResults().GetResults()), "SYNCED SYNCED REJECTED:MISSING_FIELD:call.operation"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		break
	}
}

// TestPublishCallOnFullLog: a call is not stored when only a part of its
// records is, and the answer says so whichever part that is.
func TestPublishCallOnFullLog(t *testing.T) {
	b := bustest.Start(t, func(c *server.Config) { c.Log.MaxBytes = 200_000 })
	ingest := keytrailv1.NewIngestServiceClient(b.Dial())
	publish := func(items []*keytrailv1.PublishItem) (*keytrailv1.PublishResponse, error) {
		return ingest.Publish(t.Context(), &keytrailv1.PublishRequest{Items: items})
	}
	recorder, err := record.NewRecorder(record.RecorderConfig{})
	if err != nil {
		t.Fatal(err)
	}
	c := callBy("c", "Decrypt", ownerA)
	c.RequestParameters = []byte(`{"EncryptionContext":{"a":"` + strings.Repeat("x", 20_000) + `"}}`)
	records, problem := recorder.Record(c)
	if problem != nil {
		t.Fatal(problem)
	}
	if _, err := publish(items(records[0])); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		r := decrypt(fmt.Sprint(i))
		r.UserAgent = proto.String(strings.Repeat("x", 10_000))
		if _, err = publish(items(r)); err != nil {
			break
		}
	}
	res, err := publish(callItems(c))
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("alone: %v, %v; want RESOURCE_EXHAUSTED", res, err)
	}
	res, err = publish(append(callItems(c), items(decrypt(""))...))
	if err != nil || summary(res.GetResults()) != "NOT_STORED:LOG_FULL: REJECTED:MISSING_FIELD:eventID" {
		t.Errorf("mixed: %v, %v", summary(res.GetResults()), err)
	}
}
