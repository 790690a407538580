package record_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

func TestCompact(t *testing.T) {
	shared := []byte("{ \"a b\" : [ 1e400 , \"x\\ud800 y\" ] }")
	r := &keytrailv1.Record{
		RequestParameters: shared,
		ResponseElements:  []byte("null"),
		EventContext:      []byte("{ not json"),
		Verbatim:          []byte("{\n\t\"x\": 1\n}"),
		UserIdentity:      &keytrailv1.UserIdentity{SessionContext: &keytrailv1.SessionContext{WebIdFederationData: []byte("{ }")}},
		Resources:         &keytrailv1.ResourceList{Entries: []*keytrailv1.Resource{nil, {Verbatim: []byte(`{"y": 2}`)}}},
	}
	record.Compact(r)
	for _, tt := range []struct{ got, want string }{
		{string(r.GetRequestParameters()), `{"a b":[1e400,"x\ud800 y"]}`},
		{string(r.GetResponseElements()), "null"},
		{string(r.GetEventContext()), "{ not json"},
		{string(r.GetVerbatim()), `{"x":1}`},
		{string(r.GetUserIdentity().GetSessionContext().GetWebIdFederationData()), "{}"},
		{string(r.GetResources().GetEntries()[1].GetVerbatim()), `{"y":2}`},
	} {
		if tt.got != tt.want {
			t.Errorf("compacted to %s, want %s", tt.got, tt.want)
		}
	}
	if !strings.HasPrefix(string(shared), "{ ") {
		t.Error("the caller's bytes were changed")
	}
}

// TestUnknownFields: what this version can't see, it can't check.
func TestUnknownFields(t *testing.T) {
	hidden := protowire.AppendString(protowire.AppendTag(nil, 5000, protowire.BytesType), "secret")
	hide := func(m proto.Message) { m.ProtoReflect().SetUnknown(hidden) }
	for field, change := range map[string]func(*keytrailv1.Record){
		"":             func(r *keytrailv1.Record) { hide(r) },
		"userIdentity": func(r *keytrailv1.Record) { r.UserIdentity = &keytrailv1.UserIdentity{}; hide(r.UserIdentity) },
		"userIdentity.sessionContext": func(r *keytrailv1.Record) {
			s := &keytrailv1.SessionContext{}
			hide(s)
			r.UserIdentity = &keytrailv1.UserIdentity{SessionContext: s}
		},
		"resources": func(r *keytrailv1.Record) { r.Resources = &keytrailv1.ResourceList{}; hide(r.Resources) },
		"resources[0]": func(r *keytrailv1.Record) {
			e := &keytrailv1.Resource{}
			hide(e)
			r.Resources = &keytrailv1.ResourceList{Entries: []*keytrailv1.Resource{e}}
		},
	} {
		r, err := record.FromJSON([]byte(`{"eventID":"1","eventName":"Decrypt","eventSource":"kms.amazonaws.com","eventTime":"2026-11-24T10:00:00Z"}`))
		if err != nil {
			t.Fatal(err)
		}
		if p := record.Validate(r, record.Policy{}); p != nil {
			t.Fatal(p)
		}
		change(r)
		p := record.Validate(r, record.Policy{})
		if p == nil || p.Code != keytrailv1.RejectionCode_REJECTION_CODE_INVALID_VALUE || p.Field != field {
			t.Errorf("hidden in %q: %v", field, p)
		}
	}
}
