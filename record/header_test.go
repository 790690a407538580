package record_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

// sameHeader checks that the encoded bytes of r have r's header. The header
// that it decodes into was used before.
func sameHeader(r *keytrailv1.Record, encoded []byte) error {
	want := record.HeaderOf(r)
	got := record.Header{EventID: "old", ReadOnly: true, Keys: []string{"old", "old"}}
	if err := got.Decode(encoded); err != nil {
		return fmt.Errorf("Decode: %w", err)
	}
	if !slices.Equal(got.Keys, want.Keys) {
		return fmt.Errorf("Decode: keys %q, want %q", got.Keys, want.Keys)
	}
	got.Keys, want.Keys = nil, nil
	if !reflect.DeepEqual(got, want) {
		return fmt.Errorf("Decode: %+v, want %+v", got, want)
	}
	return nil
}

const keyA, keyB = "arn:aws:kms:us-west-2:111122223333:key/a", "arn:aws-cn:kms:cn-north-1:111122223333:key/mrk-b"

func resources(arns ...string) *keytrailv1.ResourceList {
	list := new(keytrailv1.ResourceList)
	for _, arn := range arns {
		list.Entries = append(list.Entries, &keytrailv1.Resource{Arn: new(arn), Type: new("AWS::KMS::Key")})
	}
	return list
}

func TestHeaderOf(t *testing.T) {
	r := &keytrailv1.Record{
		EventId: new("id"), EventName: new("name"), EventSource: new("source"), RecipientAccountId: new("account"),
		AwsRegion: new("region"), ErrorCode: new("code"), ReadOnly: new(true),
		Resources: resources(keyB, "arn:aws:kms:us-west-2:111122223333:alias/x", keyA, keyB, ""),
	}
	want := record.Header{EventID: "id", EventName: "name", EventSource: "source", Account: "account",
		Region: "region", ErrorCode: "code", ReadOnly: true, Keys: []string{keyB, keyA}}
	if got := record.HeaderOf(r); !reflect.DeepEqual(got, want) {
		t.Errorf("HeaderOf = %+v, want %+v", got, want)
	}
	if got := record.HeaderOf(nil); !reflect.DeepEqual(got, record.Header{}) {
		t.Errorf("HeaderOf(nil) = %+v, want zero", got)
	}
}

func TestHeaderKeepsManyKeysDistinct(t *testing.T) {
	var arns, want []string
	for i := range 100 {
		arn := fmt.Sprintf("%s%d", keyA, i%40)
		arns = append(arns, arn)
		if i < 40 {
			want = append(want, arn)
		}
	}
	r := &keytrailv1.Record{Resources: resources(arns...)}
	if got := record.HeaderOf(r).Keys; !slices.Equal(got, want) {
		t.Errorf("HeaderOf: keys %q, want %q", got, want)
	}
	if err := sameHeader(r, mustMarshal(t, r)); err != nil {
		t.Error(err)
	}
}

func mustMarshal(t testing.TB, r *keytrailv1.Record) []byte {
	t.Helper()
	encoded, err := record.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

// encodings are bytes that protobuf decodes although Marshal would not write
// them, and some that nobody decodes.
var encodings = []struct {
	name    string
	encoded []byte
}{
	{"nothing", nil},
	{"reversed", join(str(8, "source"), field(5, field(1, str(1, keyA))), str(2, "name"), str(1, "id"))},
	{"the last counts", join(str(1, "a"), str(2, "x"), str(1, "b"), str(2, ""))},
	{"lists are joined", join(field(5, field(1, str(1, keyA))), str(1, "id"), field(5, join(field(1, str(1, keyB)), field(1, str(1, keyA)))))},
	{"an entry's last ARN counts", field(5, field(1, join(str(1, keyA), str(2, "1"), str(1, keyB))))},
	{"an entry's last ARN is empty", field(5, field(1, join(str(1, keyA), str(1, ""))))},
	{"unknown fields", join(str(2000, "x"), str(1, "id"), []byte{0xfb, 0x01, 0x08, 0x01, 0xfc, 0x01}, str(7, "code"))},
	{"other wire types", join([]byte{0x08, 0x05}, []byte{0x28, 0x01}, str(6, "\x01"), []byte{0x30, 0x01})},
	{"other wire types below", field(5, join([]byte{0x08, 0x01}, field(1, join([]byte{0x08, 0x01}, str(1, keyA)))))},
	{"read only, then not", []byte{0x30, 0x01, 0x30, 0x00}},
	{"read only as a large number", []byte{0x30, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}},
	{"field number 0", []byte{0x02, 0x00}},
	{"cut off", []byte{0x0a, 0x05, 'a'}},
	{"cut off below", field(5, []byte{0x0a, 0x05, 'a'})},
	{"end of no group", []byte{0x0c}},
}

func str(num protowire.Number, s string) []byte { return field(num, []byte(s)) }

func field(num protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), v)
}

func join(parts ...[]byte) []byte { return slices.Concat(parts...) }

func TestHeaderDecodeAgreesWithUnmarshal(t *testing.T) {
	for _, tt := range encodings {
		t.Run(tt.name, func(t *testing.T) { checkHeader(t, tt.encoded) })
	}
}

// checkHeader holds Header.Decode to protobuf's own decoding.
func checkHeader(t *testing.T, encoded []byte) {
	t.Helper()
	r := new(keytrailv1.Record)
	var h record.Header
	errOf := h.Decode(encoded)
	if proto.Unmarshal(encoded, r) != nil {
		return // Decode may not notice, as it looks at a part only
	}
	if errOf != nil {
		t.Fatalf("Decode: %v, protobuf takes it", errOf)
	}
	if err := sameHeader(r, encoded); err != nil {
		t.Error(err)
	}
}

func TestHeaderDecodeErrors(t *testing.T) {
	for _, name := range []string{"field number 0", "cut off", "cut off below", "end of no group"} {
		for _, tt := range encodings {
			if tt.name != name {
				continue
			}
			var h record.Header
			if err := h.Decode(tt.encoded); err == nil {
				t.Errorf("Decode of %q: no error", name)
			}
		}
	}
}

// TestHeaderOwnsItsStrings: the caller may use the encoded bytes again.
func TestHeaderOwnsItsStrings(t *testing.T) {
	encoded := mustMarshal(t, &keytrailv1.Record{EventId: new("id"), Resources: resources(keyA)})
	var h record.Header
	if err := h.Decode(encoded); err != nil {
		t.Fatal(err)
	}
	clear(encoded)
	if h.EventID != "id" || !slices.Equal(h.Keys, []string{keyA}) {
		t.Errorf("after the bytes were cleared, the header is %+v", h)
	}
}

func TestHeaderDecodeReusesKeys(t *testing.T) {
	encoded := mustMarshal(t, &keytrailv1.Record{EventId: new("id"), Resources: resources(keyA, keyB)})
	var h record.Header
	allocs := testing.AllocsPerRun(100, func() {
		if err := h.Decode(encoded); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 1 {
		t.Errorf("Decode into a used header makes %v allocations, want 1", allocs)
	}
}

func FuzzHeader(f *testing.F) {
	for _, tt := range encodings {
		f.Add(tt.encoded)
	}
	for _, tt := range samples {
		if r, err := record.FromJSON([]byte(tt.json)); err == nil {
			f.Add(mustMarshal(f, r))
		}
	}
	f.Fuzz(checkHeader)
}

func TestOutcome(t *testing.T) {
	for _, tt := range []struct {
		code           string
		failed, denied bool
	}{
		{"", false, false},
		{"AccessDenied", true, true},
		{"AccessDeniedException", true, true},
		{"UnauthorizedOperation", true, true},
		{"Client.UnauthorizedOperation", true, true},
		{"NotAuthorized", true, true},
		{"IncorrectKeyException", true, false},
		{"accessdenied", true, false},
		{"Server.AccessDenied", true, false},
		{"KMSInvalidStateException", true, false},
	} {
		h := record.Header{ErrorCode: tt.code}
		if h.Failed() != tt.failed || h.Denied() != tt.denied {
			t.Errorf("error code %q: failed %v, denied %v, want %v, %v", tt.code, h.Failed(), h.Denied(), tt.failed, tt.denied)
		}
	}
}

func TestKeyARN(t *testing.T) {
	for _, tt := range []struct{ arn, id string }{
		{keyA, "a"},
		{keyB, "mrk-b"},
		{"arn:aws-us-gov:kms:us-gov-west-1:1:key/1234abcd-12ab-34cd-56ef-1234567890ab", "1234abcd-12ab-34cd-56ef-1234567890ab"},
		{"", ""},
		{"arn:aws:kms:us-west-2:111122223333:alias/a", ""},
		{"arn:aws:kms:us-west-2:111122223333:key/", ""},
		{"arn:aws:kms:us-west-2:111122223333:key/a/b", ""},
		{"arn:aws:kms:us-west-2:111122223333:key/a:b", ""},
		{"arn:aws:kms:us-west-2::key/a", ""},
		{"arn:aws:kms::111122223333:key/a", ""},
		{"arn::kms:us-west-2:111122223333:key/a", ""},
		{"arn:aws:s3:us-west-2:111122223333:key/a", ""},
		{"ARN:aws:kms:us-west-2:111122223333:key/a", ""},
		{"key/a", ""},
		{"1234abcd", ""},
	} {
		if got := record.KeyID(tt.arn); got != tt.id {
			t.Errorf("KeyID(%q) = %q, want %q", tt.arn, got, tt.id)
		}
		if got := record.IsKeyARN(tt.arn); got != (tt.id != "") {
			t.Errorf("IsKeyARN(%q) = %v", tt.arn, got)
		}
	}
}

// allFields has every member that the typed fields hold.
const allFields = `{"eventVersion":"1.11","userIdentity":{"type":"a","principalId":"b","arn":"c","accountId":"d","accessKeyId":"e","userName":"f",` +
	`"sessionContext":{"sessionIssuer":{"type":"a","principalId":"b","arn":"c","accountId":"d","userName":"e"},"webIdFederationData":{},` +
	`"attributes":{"creationDate":"a","mfaAuthenticated":"false"},"sourceIdentity":"a","ec2RoleDelivery":"2.0","ec2IssuedInVpc":"b","assumedRoot":"c"},` +
	`"invokedBy":"g","identityProvider":"h","credentialId":"i","onBehalfOf":{"userId":"j"},"inScopeOf":null},"eventTime":"2026-10-01T10:20:30Z",` +
	`"eventSource":"kms.amazonaws.com","eventName":"Decrypt","awsRegion":"us-west-2","sourceIPAddress":"192.0.2.7","userAgent":"a","errorCode":"b","errorMessage":"c",` +
	`"requestParameters":{"a":1},"responseElements":null,"additionalEventData":{},"requestID":"a","eventID":"b","readOnly":true,` +
	`"resources":[{"accountId":"a","type":"b","arn":"c"}],"eventType":"a","apiVersion":"b","managementEvent":true,"recipientAccountId":"111122223333",` +
	`"serviceEventDetails":{},"sharedEventID":"a","vpcEndpointId":"b","vpcEndpointAccountId":"c","eventCategory":"d",` +
	`"addendum":{"reason":"a","updatedFields":"b","originalRequestID":"c","originalEventID":"d"},"sessionCredentialFromConsole":true,` +
	`"edgeDeviceDetails":{},"tlsDetails":{"tlsVersion":"a","cipherSuite":"b","clientProvidedHostHeader":"c","keyExchange":"d"},"eventContext":{}}`

// checkAllSet wants every field set but verbatim, in m and below.
func checkAllSet(t *testing.T, path string, m protoreflect.Message) {
	t.Helper()
	for i := range m.Descriptor().Fields().Len() {
		f := m.Descriptor().Fields().Get(i)
		name := path + "." + string(f.Name())
		if set := m.Has(f); set == (f.Name() == "verbatim") {
			t.Errorf("%s: set is %v", name, set)
			continue
		}
		switch {
		case f.Message() == nil || f.Message().FullName() == "google.protobuf.Timestamp" || f.Name() == "verbatim":
		case f.IsList():
			for i := range m.Get(f).List().Len() {
				checkAllSet(t, name, m.Get(f).List().Get(i).Message())
			}
		default:
			checkAllSet(t, name, m.Get(f).Message())
		}
	}
}
