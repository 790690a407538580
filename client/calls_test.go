package client

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/uuid"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func encryptCall() *keytrailv1.Call {
	return &keytrailv1.Call{
		Operation:         proto.String("Encrypt"),
		Time:              &timestamppb.Timestamp{Seconds: 1_700_000_000},
		Region:            proto.String("us-west-2"),
		Caller:            &keytrailv1.UserIdentity{Type: proto.String("Root"), AccountId: proto.String("111122223333")},
		RequestParameters: []byte(`{"KeyId":"alias/a","Plaintext":"aHVudGVyMg=="}`),
		Response:          []byte(`{"CiphertextBlob":"AQIDhunter2"}`),
		Keys:              []*keytrailv1.CallKey{{Arn: proto.String("arn:aws:kms:us-west-2:111122223333:key/k")}},
	}
}

// TestPublishCall: what is sent is redacted, and the same, under one call ID,
// through all attempts.
func TestPublishCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		var sent [][]byte
		b.before = func(n int, req *keytrailv1.PublishStreamRequest) error {
			for _, item := range req.GetItems() {
				text, err := proto.MarshalOptions{Deterministic: true}.Marshal(item.GetCall())
				if err != nil {
					t.Error(err)
				}
				sent = append(sent, text)
			}
			if n <= 2 {
				return status.Error(codes.Unavailable, "going away")
			}
			return nil
		}
		b.judge = func(*keytrailv1.Record) *keytrailv1.PublishResult {
			return &keytrailv1.PublishResult{Status: keytrailv1.PublishStatus_PUBLISH_STATUS_STORED, EventIds: []string{"e1", "e2"}}
		}
		p := newPublisher(t, b.client(), PublisherConfig{})
		c := encryptCall()
		given := proto.CloneOf(c)
		result, err := p.PublishCallWait(t.Context(), c)
		if err != nil || len(result.GetEventIds()) != 2 {
			t.Fatalf("result %v, %v", result, err)
		}
		if !proto.Equal(c, given) {
			t.Errorf("the call was changed to %v", c)
		}
		if len(sent) != 3 || !bytes.Equal(sent[0], sent[1]) || !bytes.Equal(sent[1], sent[2]) {
			t.Fatalf("sent %q, want one call three times", sent)
		}
		var got keytrailv1.Call
		if err := proto.Unmarshal(sent[0], &got); err != nil {
			t.Fatal(err)
		}
		id, err := uuid.Parse(got.GetCallId())
		if err != nil || id.Version() != 7 {
			t.Errorf("call ID %q, want a UUIDv7", got.GetCallId())
		}
		if bytes.Contains(sent[0], []byte("hunter2")) || bytes.Contains(sent[0], []byte("aHVudGVyMg")) || !bytes.Contains(sent[0], []byte("alias/a")) {
			t.Errorf("sent %q", sent[0])
		}

		// A call ID that was given stays; another call gets another.
		c.CallId = proto.String("mine")
		for _, call := range []*keytrailv1.Call{c, given} {
			if _, err := p.PublishCallWait(t.Context(), call); err != nil {
				t.Fatal(err)
			}
		}
		var mine, other keytrailv1.Call
		if err := proto.Unmarshal(sent[3], &mine); err != nil || mine.GetCallId() != "mine" {
			t.Errorf("call ID %q, %v", mine.GetCallId(), err)
		}
		if err := proto.Unmarshal(sent[4], &other); err != nil || other.GetCallId() == got.GetCallId() || other.GetCallId() == "" {
			t.Errorf("another call has the call ID %q, %v", other.GetCallId(), err)
		}
	})
}

// TestCallRefusedHere: what cannot be sent is answered without the bus.
func TestCallRefusedHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		b.judge = func(*keytrailv1.Record) *keytrailv1.PublishResult {
			return &keytrailv1.PublishResult{Status: keytrailv1.PublishStatus_PUBLISH_STATUS_STORED}
		}
		p := newPublisher(t, b.client(), PublisherConfig{})
		invalid, long, fine := encryptCall(), encryptCall(), encryptCall()
		invalid.UserAgent = proto.String("\xff")
		long.RequestParameters = []byte(`{"EncryptionContext":{"a":"` + strings.Repeat("x", 262144) + `"}}`)
		fine.RequestParameters = []byte(`{"Plaintext":"` + strings.Repeat("x", 262144) + `"}`) // is dropped
		for _, tt := range []struct {
			name string
			call *keytrailv1.Call
			code keytrailv1.RejectionCode
		}{
			{"not UTF-8", invalid, keytrailv1.RejectionCode_REJECTION_CODE_INVALID_VALUE},
			{"too long", long, keytrailv1.RejectionCode_REJECTION_CODE_TOO_LARGE},
			{"too long for what is dropped", fine, 0},
			{"nil, for the bus to refuse", nil, 0},
		} {
			got := make(chan *keytrailv1.PublishResult, 1)
			if err := p.PublishCallFunc(t.Context(), tt.call, func(x *Pending) {
				result, err := x.Result(t.Context())
				if err != nil {
					t.Error(err)
				}
				got <- result
			}); err != nil {
				t.Fatal(err)
			}
			if code := (<-got).GetRejection().GetCode(); code != tt.code {
				t.Errorf("%s: %v, want %v", tt.name, code, tt.code)
			}
		}
		if n := len(b.seen()); n != 2 {
			t.Errorf("the bus saw %d requests, want 2", n)
		}
	})
}
