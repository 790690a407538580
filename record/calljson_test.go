package record_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

const wholeCall = `{"callId":"c-1","operation":"CreateAlias","time":"2026-11-24T10:00:00Z","region":"us-west-2",
	"caller":{"type":"AssumedRole","principalId":"AROA:x","accountId":"111122223333","sessionContext":{"attributes":{"mfaAuthenticated":"true"}}},
	"accountId":"111122223333","requestParameters":{"AliasName":"alias/a"},"response":{},"error":{"code":"AlreadyExistsException","message":"m"},
	"sourceIPAddress":"192.0.2.1","userAgent":"aws-cli","tlsDetails":{"tlsVersion":"TLSv1.3"},"vpcEndpointId":"vpce-1","vpcEndpointAccountId":"444455556666",
	"requestID":"r-1","keys":[{"arn":"` + keyA + `","ownerAccountId":"111122223333","aliasArn":"arn:aws:kms:us-west-2:111122223333:alias/a"}],
	"serviceEventDetails":{"a":1},"additionalEventData":{"b":[2]},"dryRun":true,"sessionCredentialFromConsole":true}`

func TestCallFromJSON(t *testing.T) {
	c, err := record.CallFromJSON([]byte(wholeCall))
	if err != nil {
		t.Fatal(err)
	}
	want := &keytrailv1.Call{
		CallId: new("c-1"), Operation: new("CreateAlias"), Time: timestamppb.New(time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)), Region: new("us-west-2"),
		Caller: &keytrailv1.UserIdentity{Type: new("AssumedRole"), PrincipalId: new("AROA:x"), AccountId: new("111122223333"),
			SessionContext: &keytrailv1.SessionContext{Attributes: &keytrailv1.SessionAttributes{MfaAuthenticated: new("true")}}},
		AccountId: new("111122223333"), RequestParameters: []byte(`{"AliasName":"alias/a"}`), Response: []byte(`{}`),
		Error:           &keytrailv1.CallError{Code: new("AlreadyExistsException"), Message: new("m")},
		SourceIpAddress: new("192.0.2.1"), UserAgent: new("aws-cli"), TlsDetails: &keytrailv1.TlsDetails{TlsVersion: new("TLSv1.3")},
		VpcEndpointId: new("vpce-1"), VpcEndpointAccountId: new("444455556666"), RequestId: new("r-1"),
		Keys:                []*keytrailv1.CallKey{{Arn: new(keyA), OwnerAccountId: new("111122223333"), AliasArn: new("arn:aws:kms:us-west-2:111122223333:alias/a")}},
		ServiceEventDetails: []byte(`{"a":1}`), AdditionalEventData: []byte(`{"b":[2]}`), DryRun: true, SessionCredentialFromConsole: true,
	}
	if !proto.Equal(c, want) {
		t.Errorf("got  %v\nwant %v", c, want)
	}
	// Every field of a call can be written.
	fields := c.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if !c.ProtoReflect().Has(fields.Get(i)) {
			t.Errorf("%s has no member", fields.Get(i).Name())
		}
	}
	nothing, err := record.CallFromJSON([]byte(`{"operation":null,"caller":null,"requestParameters":null,"keys":null,"error":null,"tlsDetails":null,"time":null,"dryRun":null}`))
	if err != nil || !proto.Equal(nothing, &keytrailv1.Call{}) {
		t.Errorf("of null members: %v, %v", nothing, err)
	}
}

var badCallTexts = []struct{ text, field, message string }{
	{``, "", "not JSON: it is cut off"},
	{`{"operation":`, "", "not JSON: it is cut off"},
	{`{"operation":x}`, "", "not JSON, at byte 13"},
	{`{} {}`, "", "not JSON, at byte 3"},
	{`[]`, "", "must be a JSON object"},
	{`{"operation":"a","operation":"b"}`, "", "has two members of one name, at byte 17"},
	{`{"requestParameters":{"a":1,"a":2}}`, "", "has two members of one name, at byte 28"},
	{`{"operation":5}`, "operation", "must be a string"},
	{`{"dryRun":"yes"}`, "dryRun", "must be true or false"},
	{`{"time":"hunter2"}`, "time", "must be a time such as 2026-11-24T10:00:00Z"},
	{`{"time":5}`, "time", "must be a time such as 2026-11-24T10:00:00Z"},
	{`{"keys":{}}`, "keys", "must be an array"},
	{`{"keys":["hunter2"]}`, "keys[0]", "must be a JSON object"},
	{`{"keys":[{},{"ARN":"hunter2"}]}`, "keys[1].ARN", "is no member of keys[1]: check its spelling"},
	{`{"error":"hunter2"}`, "error", "must be a JSON object"},
	{`{"error":{"code":{}}}`, "error.code", "must be a string"},
	{`{"request_parameters":{}}`, "request_parameters", "is no member of a call: check its spelling"},
	{`{"caller":"hunter2"}`, "caller", "must be a JSON object"},
	{`{"caller":{"account":"hunter2"}}`, "caller.account", "is no member that CloudTrail has there: check its spelling"},
	{`{"caller":{"accountId":111122223333}}`, "caller.accountId", "has another JSON type than in CloudTrail"},
	{`{"caller":{"sessionContext":{"attributes":{"mfaAuthenticated":true}}}}`, "caller.sessionContext.attributes.mfaAuthenticated", "has another JSON type than in CloudTrail"},
	{`{"tlsDetails":{"version":"hunter2"}}`, "tlsDetails.version", "is no member that CloudTrail has there: check its spelling"},
	{"{\"userAgent\":\"\xff\"}", "", "not JSON, at byte 14"},
}

func TestBadCallTexts(t *testing.T) {
	for _, tt := range badCallTexts {
		c, err := record.CallFromJSON([]byte(tt.text))
		var p *record.Problem
		if !errors.As(err, &p) || c != nil {
			t.Errorf("%s: %v, %v", tt.text, c, err)
			continue
		}
		if p.Field != tt.field || p.Message != tt.message {
			t.Errorf("%s: %q, %q; want %q, %q", tt.text, p.Field, p.Message, tt.field, tt.message)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error repeats a value: %v", tt.text, err)
		}
	}
}

// readCalls tells a file in short lines.
func readCalls(src io.Reader) (got []string) {
	r := record.NewCallReader(src)
	for {
		c, err := r.Next()
		var line *record.LineError
		switch {
		case err == io.EOF:
			return got
		case errors.As(err, &line):
			got = append(got, err.Error())
		case err != nil:
			return append(got, "ended: "+err.Error())
		default:
			got = append(got, fmt.Sprintf("%d %s", r.Line(), c.GetCallId()))
		}
	}
}

func TestCallReader(t *testing.T) {
	long := `{"callId":"` + strings.Repeat("x", record.MaxTextBytes) + `"}`
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"nothing", "", nil},
		{"blank lines", "\n \r\n\n", nil},
		{"two", "{\"callId\":\"a\"}\n{\"callId\":\"b\"}\n", []string{"1 a", "2 b"}},
		{"no end of line, blank lines, byte order mark", "\ufeff{\"callId\":\"a\"}\r\n\n{\"callId\":\"b\"}", []string{"1 a", "3 b"}},
		{"a bad line", "{\"callId\":\"a\"}\n{\"callId\n{\"callId\":\"b\"}\n", []string{"1 a", "line 2: record: not JSON: it is cut off", "3 b"}},
		{"a long line", "{\"callId\":\"a\"}\n" + long + "\n{\"callId\":\"b\"}\n", []string{"1 a", "line 2: longer than 2 MiB", "3 b"}},
		{"a long last line", long, []string{"line 1: longer than 2 MiB"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for how, src := range map[string]io.Reader{
				"at once":      strings.NewReader(tt.text),
				"half by half": iotest.HalfReader(strings.NewReader(tt.text)),
				"with its end": iotest.DataErrReader(strings.NewReader(tt.text)),
				"compressed":   bytes.NewReader(zip(tt.text)),
			} {
				if got := readCalls(src); !slices.Equal(got, tt.want) {
					t.Errorf("%s: got %q, want %q", how, got, tt.want)
				}
			}
		})
	}
	cut := zip("{\"callId\":\"a\"}\n{\"callId\":\"b\"}\n")
	got := readCalls(bytes.NewReader(cut[:len(cut)-10]))
	if len(got) == 0 || !strings.HasPrefix(got[len(got)-1], "ended: record: can't read on after line ") {
		t.Errorf("of a file that is cut off: %q", got)
	}
}

// FuzzCallFromJSON: a text is read or refused, and no value of it repeated.
func FuzzCallFromJSON(f *testing.F) {
	f.Add([]byte(wholeCall))
	for _, tt := range badCallTexts {
		f.Add([]byte(tt.text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := record.CallFromJSON(text)
		if (c == nil) == (err == nil) {
			t.Fatalf("%v and %v", c, err)
		}
		var p *record.Problem
		if err != nil && (!errors.As(err, &p) || p.Message == "") {
			t.Errorf("error %v", err)
		}
		if c != nil {
			if _, err := proto.Marshal(record.Redact(c)); err != nil {
				t.Errorf("a call that was read cannot be sent: %v", err)
			}
		}
	})
}
