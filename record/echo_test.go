package record_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
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

// BenchmarkErrorMessage: the dearest call that there can be.
func BenchmarkErrorMessage(b *testing.B) {
	r := newRecorder(b, record.RecorderConfig{})
	c := callOf("Sign", keyOfA)
	c.RequestParameters = []byte(`{"Message":[` + strings.Repeat(`"abcdefgh",`, 999) + `"` + strings.Repeat("abcd", 50_000) + `"]}`)
	c.Error = &keytrailv1.CallError{Code: proto.String("ValidationException"), Message: proto.String(strings.Repeat("abc ", 10_000))}
	b.ReportAllocs()
	for b.Loop() {
		if _, p := r.Record(c); p != nil {
			b.Fatal(p)
		}
	}
}
