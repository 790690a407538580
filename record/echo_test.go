package record_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

const withheldMessage = "(withheld: it repeats a value that is not logged)"

// TestErrorMessages: a message is logged as it is, unless it repeats what is
// not logged.
func TestErrorMessages(t *testing.T) {
	const secret = `attack "at" dawn`
	blob := base64.StdEncoding.EncodeToString([]byte(secret))
	r, err := record.NewRecorder(record.RecorderConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, operation, params, message string
		withheld                         bool
	}{
		{"nothing repeated", "Encrypt", `{"KeyId":"k","Plaintext":"` + blob + `"}`, "1 validation error detected", false},
		{"an unlogged value", "Encrypt", `{"Plaintext":"` + blob + `"}`, "bad value '" + blob + "'", true},
		{"decoded", "Encrypt", `{"Plaintext":"` + blob + `"}`, "bad value " + secret, true},
		{"in hex", "Encrypt", `{"Plaintext":"` + blob + `"}`, "bad value " + hex.EncodeToString([]byte(secret)), true},
		{"text in base64", "Sign", fmt.Sprintf(`{"Message":%q}`, secret), "bad value " + blob, true},
		{"escaped", "Sign", fmt.Sprintf(`{"Message":%q}`, secret), fmt.Sprintf("bad value %q", secret), true},
		{"escaped otherwise than it was sent", "Sign", `{"Message":"attack \u0022at\u0022 dawn"}`, fmt.Sprintf("bad value %q", secret), true},
		{"decoded and escaped", "Encrypt", `{"Plaintext":"` + blob + `"}`, fmt.Sprintf("bad value %q", secret), true},
		{"escaped by code", "Encrypt", `{"Plaintext":"` + blob + `"}`, `bad value attack \u0022at\u0022 dawn`, true},
		{"in a URL", "Sign", fmt.Sprintf(`{"Message":%q}`, secret), "bad value " + url.QueryEscape(secret), true},
		{"in a path", "Sign", fmt.Sprintf(`{"Message":%q}`, secret), "bad value " + url.PathEscape(secret), true},
		{"without padding", "Encrypt", `{"Plaintext":"YXR0YWNrIGF0IGRhd24="}`, "bad value YXR0YWNrIGF0IGRhd24", true},
		{"text in base64, without padding", "Sign", `{"Message":"attacked"}`, "bad value YXR0YWNrZWQ", true},
		{"in the other alphabet", "Sign", `{"Message":"??>>??>>"}`, "bad value Pz8-Pj8_Pj4", true},
		{"within other base64", "Sign", fmt.Sprintf(`{"Message":%q}`, secret), "bad body " + base64.StdEncoding.EncodeToString([]byte(`{"Message":"`+secret+`"}`)), true},
		{"in capital hex", "Encrypt", `{"Plaintext":"` + blob + `"}`, fmt.Sprintf("bad value %X", secret), true},
		{"a number", "Encrypt", `{"Plaintext":4111111111111111}`, "bad value 4111111111111111", true},
		{"a logged number", "GenerateDataKey", `{"NumberOfBytes":4096,"KeySpec":4096}`, "no 4096", false},
		{"a percent sign", "Encrypt", `{"Plaintext":"` + blob + `"}`, `100% of \quotes\ and %zz \u12 \`, false},
		{"deep in an unknown member", "Encrypt", `{"Future":{"a":[{"b":"hunter2"}]}}`, "no hunter2", true},
		{"of a wrong type", "Encrypt", `{"KeyId":["hunter2"]}`, "no hunter2", true},
		{"a logged value", "Encrypt", `{"KeyId":"alias/x","EncryptionContext":{"a":"hunter2"}}`, "not alias/x with hunter2", false},
		{"a part of a logged value", "Encrypt", `{"KeyId":"` + keyA + `","GrantTokens":["` + keyA[len(keyA)-12:] + `"]}`, "no " + keyA, false},
		{"the name of a member", "Encrypt", `{"Plaintext":"` + blob + `"}`, "Plaintext is too long", false},
		{"too short to tell", "Encrypt", `{"Plaintext":"YQ=="}`, "a fault", false},
		{"an operation nobody knows", "Frobnicate", `{"KeyId":"alias/x"}`, "no alias/x", true},
		{"the beginning of a long value", "Sign", fmt.Sprintf(`{"Message":%q}`, strings.Repeat(secret, 50)), "bad value " + strings.Repeat(secret, 3), true},
		{"a long value that is cut off", "Sign", fmt.Sprintf(`{"Message":%q}`, strings.Repeat(secret, 50)), strings.Repeat("y", 1010) + strings.Repeat(secret, 50), true},
		{"past what is logged", "Sign", fmt.Sprintf(`{"Message":%q}`, secret), strings.Repeat("y", 1100) + secret, false},
		{"like a key's, and another", "Sign", `{"Message":"` + keyA[:len(keyA)-2] + `zz"}`, "no " + keyA[:len(keyA)-2] + "zz", true},
		{"among very many values", "Sign", `{"Message":[` + strings.Repeat(`"abcd",`, 2000) + `"x"]}`, "fine", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &keytrailv1.Call{
				CallId: new("c"), Operation: new(tt.operation), Region: new("us-west-2"), Time: timestamppb.New(time.Unix(1_700_000_000, 0)),
				Caller:            &keytrailv1.UserIdentity{Type: new("AWSAccount"), AccountId: new("111122223333")},
				RequestParameters: []byte(tt.params),
				Error:             &keytrailv1.CallError{Code: new("ValidationException"), Message: new(tt.message)},
			}
			want := tt.message[:min(len(tt.message), 1024)]
			if tt.withheld {
				want = withheldMessage
			}
			made, problem := r.Record(c)
			if problem != nil {
				t.Fatal(problem)
			}
			if got := made[0].GetErrorMessage(); got != want {
				t.Errorf("errorMessage %q, want %q", got, want)
			}
			safe := record.Redact(c)
			if got := safe.GetError().GetMessage(); got != want {
				t.Errorf("redacted: message %q, want %q", got, want)
			}
			again, problem := r.Record(safe)
			if problem != nil || !proto.Equal(again[0], made[0]) {
				t.Errorf("recorded after redaction: %v, %v\nwant %v", again, problem, made[0])
			}
		})
	}

	c := &keytrailv1.Call{Operation: new("Encrypt"), RequestParameters: []byte(`{"Plaintext":"hunter2"`), Error: &keytrailv1.CallError{Message: new("no hunter2")}}
	if got := record.Redact(c).GetError().GetMessage(); got != withheldMessage {
		t.Errorf("of parameters that are not JSON: message %q", got)
	}
}

func BenchmarkErrorMessage(b *testing.B) {
	dear := func(operation, params, message string) *keytrailv1.Call {
		c := callOf(operation, keyOfA)
		c.RequestParameters = []byte(params)
		c.Error = &keytrailv1.CallError{Code: proto.String("ValidationException"), Message: proto.String(message)}
		return c
	}
	denied := decryptCall()
	fail("AccessDeniedException")(denied)
	denied.Error.Message = proto.String("User: arn:aws:sts::111122223333:assumed-role/app/session is not authorized to perform: kms:Decrypt on resource: " + keyOfA)
	for _, bb := range []struct {
		name string
		call *keytrailv1.Call
	}{
		{"denied", denied},
		{"many values", dear("Sign", `{"Message":[`+strings.Repeat(`"abcdefgh",`, 999)+`"`+strings.Repeat("abcd", 50_000)+`"]}`, strings.Repeat("abc ", 10_000))},
		{"all known", dear("CreateKey", `{"Policy":"`+strings.Repeat("a", 200_000)+`","Tags":[`+strings.Repeat(`{"TagKey":"`+strings.Repeat("a", 31)+`b"},`, 900)+`{}]}`,
			strings.Repeat(strings.Repeat("a", 40)+"b", 30))},
	} {
		b.Run(bb.name, func(b *testing.B) {
			r := newRecorder(b, record.RecorderConfig{})
			b.ReportAllocs()
			for b.Loop() {
				if _, p := r.Record(bb.call); p != nil {
					b.Fatal(p)
				}
			}
		})
	}
}
