package record_test

import (
	"encoding/json"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

const (
	accountA = "111122223333"
	accountB = "444455556666"
	accountC = "777788889999"
	keyOfA   = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	keyOfB   = "arn:aws:kms:us-west-2:444455556666:key/mrk-1234abcd12ab34cd56ef1234567890ab"
	keyOfC   = "arn:aws:kms:us-west-2:777788889999:key/0987dcba-09fe-87dc-65ba-ab0987654321"
)

// callOf is a call by a role of account A on these keys.
func callOf(operation string, keys ...string) *keytrailv1.Call {
	c := &keytrailv1.Call{
		CallId:    proto.String("0193f3a0-1111-7000-8000-000000000001"),
		Operation: proto.String(operation),
		Time:      &timestamppb.Timestamp{Seconds: 1790000000, Nanos: 999999999},
		Region:    proto.String("us-west-2"),
		Caller: &keytrailv1.UserIdentity{
			Type:        proto.String("AssumedRole"),
			PrincipalId: proto.String("AROAEXAMPLE:session"),
			Arn:         proto.String("arn:aws:sts::111122223333:assumed-role/app/session"),
			AccountId:   proto.String(accountA),
			AccessKeyId: proto.String("ASIAEXAMPLE"),
			SessionContext: &keytrailv1.SessionContext{
				SessionIssuer: &keytrailv1.SessionIssuer{
					Type: proto.String("Role"), PrincipalId: proto.String("AROAEXAMPLE"),
					Arn: proto.String("arn:aws:iam::111122223333:role/app"), AccountId: proto.String(accountA), UserName: proto.String("app"),
				},
				Attributes: &keytrailv1.SessionAttributes{CreationDate: proto.String("2026-10-01T10:00:00Z"), MfaAuthenticated: proto.String("false")},
			},
		},
		SourceIpAddress: proto.String("192.0.2.7"),
		UserAgent:       proto.String("aws-sdk-go-v2/1.30"),
		TlsDetails: &keytrailv1.TlsDetails{
			TlsVersion: proto.String("TLSv1.3"), CipherSuite: proto.String("TLS_AES_256_GCM_SHA384"),
			ClientProvidedHostHeader: proto.String("kms.us-west-2.amazonaws.com"),
		},
		RequestId: proto.String("0d2b7a4c-6a55-4b5e-9f0c-0a4c2f9f7b11"),
	}
	for _, k := range keys {
		c.Keys = append(c.Keys, &keytrailv1.CallKey{Arn: proto.String(k)})
	}
	return c
}

// decryptCall is the call that a KMS serves most.
func decryptCall() *keytrailv1.Call {
	c := callOf("Decrypt", keyOfA)
	c.RequestParameters = []byte(`{"CiphertextBlob":"AQICAHhLzqBdAAAAfjB8BgkqhkiG9w0BBwagbzBtAgEAMGgGCSqGSIb3DQEHATAeBglghkgBZQMEAS4wEQQMAAAAAAAAAAAAAAAAAgEQgDuAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","EncryptionContext":{"tenant":"t-17"}}`)
	c.Response = []byte(`{"KeyId":"` + keyOfA + `","Plaintext":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0","EncryptionAlgorithm":"SYMMETRIC_DEFAULT"}`)
	return c
}

func newRecorder(tb testing.TB, cfg record.RecorderConfig) *record.Recorder {
	tb.Helper()
	r, err := record.NewRecorder(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// recordsOf are the records of a call that must be good, each of which must be
// one that the bus takes.
func recordsOf(tb testing.TB, cfg record.RecorderConfig, c *keytrailv1.Call) []*keytrailv1.Record {
	tb.Helper()
	before := proto.Clone(c)
	records, problem := newRecorder(tb, cfg).Record(c)
	if problem != nil {
		tb.Fatalf("Record: %v", problem)
	}
	if !proto.Equal(before, c) {
		tb.Error("Record has changed the call")
	}
	for _, r := range records {
		if p := record.Validate(r, record.Policy{}); p != nil {
			tb.Errorf("a record of %s is not valid: %v", c.GetOperation(), p)
		}
		compact := proto.Clone(r).(*keytrailv1.Record)
		record.Compact(compact)
		if !proto.Equal(compact, r) {
			tb.Errorf("a record of %s is not compact", c.GetOperation())
		}
	}
	return records
}

// fieldsOf is a record as its JSON has it.
func fieldsOf(tb testing.TB, r *keytrailv1.Record) map[string]any {
	tb.Helper()
	text, err := record.AppendJSON(nil, r)
	if err != nil {
		tb.Fatal(err)
	}
	v, err := anyJSON(text)
	if err != nil {
		tb.Fatal(err)
	}
	return v.(map[string]any)
}

func textOf(tb testing.TB, v any) string {
	tb.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}
