package record_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

const (
	missing     = keytrailv1.RejectionCode_REJECTION_CODE_MISSING_FIELD
	wrongType   = keytrailv1.RejectionCode_REJECTION_CODE_WRONG_TYPE
	invalid     = keytrailv1.RejectionCode_REJECTION_CODE_INVALID_VALUE
	tooLarge    = keytrailv1.RejectionCode_REJECTION_CODE_TOO_LARGE
	otherSource = keytrailv1.RejectionCode_REJECTION_CODE_OTHER_SOURCE
	none        = keytrailv1.RejectionCode_REJECTION_CODE_UNSPECIFIED
)

// least is a record that is valid and has no more than it must.
func least() *keytrailv1.Record {
	return &keytrailv1.Record{EventId: new("id"), EventName: new("Decrypt"), EventSource: new(record.EventSource), EventTime: timestamppb.New(timestamppb.Now().AsTime())}
}

// with returns JSON of a valid record with members added.
func with(members string) string {
	return `{"eventID":"id","eventName":"Decrypt","eventSource":"kms.amazonaws.com","eventTime":"2026-10-01T10:20:30Z",` + members + `}`
}

func checkProblem(t *testing.T, p *record.Problem, code keytrailv1.RejectionCode, field string) {
	t.Helper()
	switch {
	case p == nil && code != none:
		t.Errorf("Validate: no problem, want %v in %q", code, field)
	case p != nil && (p.Code != code || p.Field != field):
		t.Errorf("Validate: %v in %q (%s), want %v in %q", p.Code, p.Field, p.Message, code, field)
	}
}

func TestValidateJSON(t *testing.T) {
	const secret = "s3cret"
	long := strings.Repeat("x", 300)
	for _, tt := range []struct {
		name, json string
		code       keytrailv1.RejectionCode
		field      string
	}{
		{"least", with(`"x":1`), none, ""},
		{"typical", typical, none, ""},
		{"empty", `{}`, missing, "eventID"},
		{"no ID", `{"eventName":"a","eventSource":"kms.amazonaws.com","eventTime":"2026-10-01T10:20:30Z"}`, missing, "eventID"},
		{"empty ID", `{"eventID":"","eventName":"a","eventSource":"kms.amazonaws.com","eventTime":"2026-10-01T10:20:30Z"}`, missing, "eventID"},
		{"null ID", `{"eventID":null,"eventName":"a","eventSource":"kms.amazonaws.com","eventTime":"2026-10-01T10:20:30Z"}`, missing, "eventID"},
		{"no name", `{"eventID":"a","eventSource":"kms.amazonaws.com","eventTime":"2026-10-01T10:20:30Z"}`, missing, "eventName"},
		{"no source", `{"eventID":"a","eventName":"a","eventTime":"2026-10-01T10:20:30Z"}`, missing, "eventSource"},
		{"no time", `{"eventID":"a","eventName":"a","eventSource":"kms.amazonaws.com"}`, missing, "eventTime"},
		{"null time", `{"eventID":"a","eventName":"a","eventSource":"kms.amazonaws.com","eventTime":null}`, missing, "eventTime"},
		{"other source", `{"eventID":"a","eventName":"a","eventSource":"s3cret.amazonaws.com","eventTime":"2026-10-01T10:20:30Z"}`, otherSource, "eventSource"},
		{"ID a number", `{"eventID":5}`, wrongType, "eventID"},
		{"time a number", `{"eventTime":5}`, wrongType, "eventTime"},
		{"Java time", `{"eventTime":"Aug 10, 2022, 10:38:27 PM"}`, invalid, "eventTime"},
		{"ID with half a surrogate pair", `{"eventID":"\ud800"}`, invalid, "eventID"},
		{"long ID", `{"eventID":"` + long + `","eventName":"a","eventSource":"kms.amazonaws.com","eventTime":"2026-10-01T10:20:30Z"}`, tooLarge, "eventID"},
		{"long name", `{"eventID":"a","eventName":"` + long + `","eventSource":"kms.amazonaws.com","eventTime":"2026-10-01T10:20:30Z"}`, tooLarge, "eventName"},
		{"long account", with(`"recipientAccountId":"` + long[:65] + `"`), tooLarge, "recipientAccountId"},
		{"long region", with(`"awsRegion":"` + long[:65] + `"`), tooLarge, "awsRegion"},
		{"account and region as long as may be", with(`"recipientAccountId":"` + long[:64] + `","awsRegion":"` + long[:64] + `"`), none, ""},
		{"too large", with(`"userAgent":"` + strings.Repeat("x", record.MaxBytes) + `"`), tooLarge, ""},

		{"nulls where none is needed", with(`"userIdentity":null,"awsRegion":null,"readOnly":null,"resources":null,"requestParameters":null,"tlsDetails":null,"errorCode":null`), none, ""},
		{"nulls below", with(`"userIdentity":{"arn":null,"sessionContext":null},"resources":[{"ARN":null,"type":null}]`), none, ""},
		{"booleans as strings", with(`"readOnly":"true","managementEvent":"false","sessionCredentialFromConsole":"true"`), none, ""},
		{"half surrogate pairs", with(`"userAgent":"\ud800","requestParameters":{"a":"\ud800"},"x":"\udfff"`), none, ""},
		{"unknown members", with(`"x":{"y":1},"userIdentity":{"x":[]},"resources":[{"x":1}]`), none, ""},
		{"empty objects", with(`"userIdentity":{"sessionContext":{"attributes":{},"sessionIssuer":{}}},"addendum":{},"resources":[{}]`), none, ""},
		{"arn and ARN", with(`"resources":[{"arn":5,"ARN":"x"}]`), none, ""},

		{"boolean in other words", with(`"readOnly":"` + secret + `"`), wrongType, "readOnly"},
		{"boolean a number", with(`"managementEvent":1`), wrongType, "managementEvent"},
		{"string a number", with(`"errorCode":5`), wrongType, "errorCode"},
		{"object a string", with(`"requestParameters":"` + secret + `"`), wrongType, "requestParameters"},
		{"object an array", with(`"responseElements":[]`), wrongType, "responseElements"},
		{"message a string", with(`"userIdentity":"` + secret + `"`), wrongType, "userIdentity"},
		{"message in a message", with(`"userIdentity":{"sessionContext":{"attributes":[1]}}`), wrongType, "userIdentity.sessionContext.attributes"},
		{"string in a message in a message", with(`"userIdentity":{"sessionContext":{"sessionIssuer":{"arn":{}}}}`), wrongType, "userIdentity.sessionContext.sessionIssuer.arn"},
		{"mfaAuthenticated a boolean", with(`"userIdentity":{"sessionContext":{"attributes":{"mfaAuthenticated":true}}}`), wrongType, "userIdentity.sessionContext.attributes.mfaAuthenticated"},
		{"object in a message", with(`"userIdentity":{"onBehalfOf":"x"}`), wrongType, "userIdentity.onBehalfOf"},
		{"resources an object", with(`"resources":{}`), wrongType, "resources"},
		{"resource a string", with(`"resources":[{},{},"` + secret + `"]`), wrongType, "resources[2]"},
		{"ARN a number", with(`"resources":[{"ARN":"x"},{"ARN":5}]`), wrongType, "resources[1].ARN"},
		{"arn a number", with(`"resources":[{"arn":5}]`), wrongType, "resources[0].arn"},
		{"ARN null and arn", with(`"resources":[{"ARN":null,"arn":"x"}]`), invalid, "resources[0].arn"},
		{"tlsDetails.tlsVersion", with(`"tlsDetails":{"tlsVersion":1.3}`), wrongType, "tlsDetails.tlsVersion"},
		{"addendum.reason", with(`"addendum":{"reason":false}`), wrongType, "addendum.reason"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := record.FromJSON([]byte(tt.json))
			if err != nil {
				t.Fatal(err)
			}
			p := record.Validate(r, record.Policy{})
			checkProblem(t, p, tt.code, tt.field)
			if p != nil && strings.Contains(p.Error(), secret) {
				t.Errorf("the problem repeats a value: %v", p)
			}
		})
	}
}

// TestEveryTimeIsTaken: other spellings of RFC 3339 are.
func TestEveryTimeIsTaken(t *testing.T) {
	for _, s := range []string{"2026-10-01T10:20:30Z", "2026-10-01T10:20:30.123456789Z", "2026-10-01T10:20:30.1234567890123Z",
		"2026-10-01T10:20:30+02:00", "2026-10-01T10:20:30-00:00", "2026-10-01t10:20:30z", "2026-10-01 10:20:30Z"} {
		r, err := record.FromJSON([]byte(`{"eventID":"id","eventName":"n","eventSource":"kms.amazonaws.com","eventTime":"` + s + `"}`))
		if err != nil {
			t.Fatal(err)
		}
		if p := record.Validate(r, record.Policy{}); p != nil {
			t.Errorf("eventTime %q: %v", s, p)
		}
	}
}

func TestValidateAllSources(t *testing.T) {
	r := least()
	r.EventSource = new("s3.amazonaws.com")
	checkProblem(t, record.Validate(r, record.Policy{}), otherSource, "eventSource")
	checkProblem(t, record.Validate(r, record.Policy{AllSources: true}), none, "")
	r.EventSource = new("")
	checkProblem(t, record.Validate(r, record.Policy{AllSources: true}), missing, "eventSource")
}

// TestValidateBuilt has what a producer can build by hand and JSON can't be
// read to.
func TestValidateBuilt(t *testing.T) {
	for _, tt := range []struct {
		name  string
		build func(r *keytrailv1.Record)
		code  keytrailv1.RejectionCode
		field string
	}{
		{"least", func(*keytrailv1.Record) {}, none, ""},
		{"string not UTF-8", func(r *keytrailv1.Record) { r.UserAgent = new("\xff") }, invalid, "userAgent"},
		{"string below not UTF-8", func(r *keytrailv1.Record) { r.Resources = resources("a", "\xff") }, invalid, "resources[1].ARN"},
		{"arn not UTF-8", func(r *keytrailv1.Record) {
			r.Resources = resources("\xff")
			r.Resources.Entries[0].ArnLowerCase = new(true)
		}, invalid, "resources[0].arn"},
		{"nil resource", func(r *keytrailv1.Record) {
			r.Resources = &keytrailv1.ResourceList{Entries: []*keytrailv1.Resource{nil}}
		}, none, ""},
		{"nil resource and verbatim", func(r *keytrailv1.Record) {
			r.Resources = &keytrailv1.ResourceList{Entries: []*keytrailv1.Resource{nil}}
			r.Verbatim = []byte(`{"x":1}`)
		}, none, ""},
		{"time out of range", func(r *keytrailv1.Record) { r.EventTime.Nanos = -1 }, invalid, "eventTime"},
		{"bytes no JSON", func(r *keytrailv1.Record) { r.RequestParameters = []byte("{") }, wrongType, "requestParameters"},
		{"bytes empty", func(r *keytrailv1.Record) { r.RequestParameters = []byte{} }, wrongType, "requestParameters"},
		{"bytes a number", func(r *keytrailv1.Record) { r.ResponseElements = []byte("5") }, wrongType, "responseElements"},
		{"bytes true", func(r *keytrailv1.Record) { r.ResponseElements = []byte("true") }, wrongType, "responseElements"},
		{"bytes two values", func(r *keytrailv1.Record) { r.ResponseElements = []byte("{} {}") }, wrongType, "responseElements"},
		{"bytes not UTF-8", func(r *keytrailv1.Record) { r.EventContext = []byte("{\"\xff\":1}") }, wrongType, "eventContext"},
		{"bytes with a duplicate", func(r *keytrailv1.Record) { r.EventContext = []byte(`{"a":1,"a":2}`) }, wrongType, "eventContext"},
		{"bytes below", func(r *keytrailv1.Record) { r.UserIdentity = &keytrailv1.UserIdentity{InScopeOf: []byte("[]")} }, wrongType, "userIdentity.inScopeOf"},
		{"bytes with white space", func(r *keytrailv1.Record) { r.RequestParameters = []byte(" { } ") }, none, ""},
		{"verbatim an array", func(r *keytrailv1.Record) { r.Verbatim = []byte("[]") }, wrongType, "verbatim"},
		{"verbatim empty", func(r *keytrailv1.Record) { r.Verbatim = []byte{} }, wrongType, "verbatim"},
		{"verbatim below", func(r *keytrailv1.Record) { r.TlsDetails = &keytrailv1.TlsDetails{Verbatim: []byte("null")} }, wrongType, "tlsDetails.verbatim"},
		{"verbatim of a resource", func(r *keytrailv1.Record) {
			r.Resources = resources("a")
			r.Resources.Entries[0].Verbatim = []byte("{")
		}, wrongType, "resources[0].verbatim"},
		{"verbatim an empty object", func(r *keytrailv1.Record) { r.Verbatim = []byte("{}") }, none, ""},

		{"another ID", func(r *keytrailv1.Record) { r.Verbatim = []byte(`{"eventID":"b"}`) }, invalid, "eventID"},
		{"another ID, in escapes", func(r *keytrailv1.Record) { r.Verbatim = []byte(`{"event\u0049D":"b"}`) }, invalid, "eventID"},
		{"the same ID", func(r *keytrailv1.Record) { r.Verbatim = []byte(`{"eventID":"id"}`) }, none, ""},
		{"no ID after all", func(r *keytrailv1.Record) { r.Verbatim = []byte(`{"eventID":null}`) }, invalid, "eventID"},
		{"ID of another type", func(r *keytrailv1.Record) { r.Verbatim = []byte(`{"eventID":5}`) }, wrongType, "eventID"},
		{"ID in verbatim only", func(r *keytrailv1.Record) { r.EventId = nil; r.Verbatim = []byte(`{"eventID":"b"}`) }, invalid, "eventID"},
		{"another time", func(r *keytrailv1.Record) { r.Verbatim = []byte(`{"eventTime":"2001-01-01T00:00:00.5Z"}`) }, invalid, "eventTime"},
		{"an error in verbatim only", func(r *keytrailv1.Record) { r.Verbatim = []byte(`{"errorCode":"AccessDenied"}`) }, invalid, "errorCode"},
		{"an error that verbatim denies", func(r *keytrailv1.Record) { r.ErrorCode = new("a"); r.Verbatim = []byte(`{"errorCode":null}`) }, invalid, "errorCode"},
		{"read only against verbatim", func(r *keytrailv1.Record) { r.ReadOnly = new(true); r.Verbatim = []byte(`{"readOnly":"false"}`) }, invalid, "readOnly"},
		{"read only as verbatim", func(r *keytrailv1.Record) { r.ReadOnly = new(true); r.Verbatim = []byte(`{"readOnly":"true"}`) }, none, ""},
		{"resources that verbatim denies", func(r *keytrailv1.Record) { r.Resources = resources(keyA); r.Verbatim = []byte(`{"resources":null}`) }, invalid, "resources"},
		{"fewer resources", func(r *keytrailv1.Record) { r.Resources = resources(keyA); r.Verbatim = []byte(`{"resources":[]}`) }, invalid, "resources"},
		{"other resources", func(r *keytrailv1.Record) {
			r.Resources = resources(keyA)
			r.Verbatim = []byte(`{"resources":[{"ARN":"x","type":"AWS::KMS::Key"}]}`)
		}, invalid, "resources[0].ARN"},
		{"another ARN", func(r *keytrailv1.Record) {
			r.Resources = resources(keyA)
			r.Resources.Entries[0].Verbatim = []byte(`{"ARN":"x"}`)
		}, invalid, "resources[0].ARN"},
		{"arn in verbatim only", func(r *keytrailv1.Record) {
			r.Resources = &keytrailv1.ResourceList{Entries: []*keytrailv1.Resource{{Verbatim: []byte(`{"arn":"x"}`)}}}
		}, invalid, "resources[0].ARN"},
		{"ARN beside a typed arn", func(r *keytrailv1.Record) {
			r.Resources = resources(keyA)
			r.Resources.Entries[0].ArnLowerCase = new(true)
			r.Resources.Entries[0].Verbatim = []byte(`{"ARN":"x"}`)
		}, invalid, "resources[0].arn"},
		{"a message in verbatim only", func(r *keytrailv1.Record) { r.Verbatim = []byte(`{"userIdentity":{"arn":"x"}}`) }, invalid, "userIdentity"},
		{"a wrong type hidden in a message", func(r *keytrailv1.Record) {
			r.UserIdentity = new(keytrailv1.UserIdentity)
			r.Verbatim = []byte(`{"userIdentity":{"arn":5}}`)
		}, wrongType, "userIdentity.arn"},
		{"a message against verbatim", func(r *keytrailv1.Record) {
			r.UserIdentity = &keytrailv1.UserIdentity{Arn: new("a")}
			r.Verbatim = []byte(`{"userIdentity":{"arn":"x"}}`)
		}, invalid, "userIdentity.arn"},
		{"bytes against verbatim", func(r *keytrailv1.Record) {
			r.RequestParameters = []byte(`{"a":1}`)
			r.Verbatim = []byte(`{"requestParameters":{"a":2}}`)
		}, invalid, "requestParameters"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := least()
			tt.build(r)
			checkProblem(t, record.Validate(r, record.Policy{}), tt.code, tt.field)
		})
	}
	checkProblem(t, record.Validate(nil, record.Policy{}), missing, "eventID")
}

// TestValidateLimit: the largest record is taken, one byte more is not.
func TestValidateLimit(t *testing.T) {
	r := least()
	r.UserAgent = new("")
	r.UserAgent = new(strings.Repeat("x", record.MaxBytes-proto.Size(r)-2))
	if n := proto.Size(r); n != record.MaxBytes {
		t.Fatalf("the test made a record of %d bytes, want %d", n, record.MaxBytes)
	}
	checkProblem(t, record.Validate(r, record.Policy{}), none, "")
	r.UserAgent = new(*r.UserAgent + "x")
	checkProblem(t, record.Validate(r, record.Policy{}), tooLarge, "")
}

// TestRealRecordsAreValid: all KMS records are, but those that lack a
// required member, and three that a detection tool wrote anew with times that
// have no zone.
func TestRealRecordsAreValid(t *testing.T) {
	kms, zoneless := 0, 0
	for _, rec := range realRecords(t) {
		r, err := record.FromJSON(rec.json)
		if err != nil {
			t.Errorf("%s: %v", rec.name, err)
			continue
		}
		p := record.Validate(r, record.Policy{})
		if r.GetEventSource() != record.EventSource {
			if p == nil {
				t.Errorf("%s: a record of another source was taken", rec.name)
			}
			continue
		}
		kms++
		if lacks := lacking(t, rec.json); lacks != "" {
			if p == nil || p.Code != missing || p.Field != lacks {
				t.Errorf("%s lacks %s: %v", rec.name, lacks, p)
			}
		} else if r.EventTime == nil && strings.Contains(string(r.Verbatim), `"eventTime":"20`) {
			zoneless++
			checkProblem(t, p, invalid, "eventTime")
		} else if p != nil {
			t.Errorf("%s: %v", rec.name, p)
		}
	}
	if zoneless != 3 {
		t.Errorf("saw %d records with a time without zone, want 3", zoneless)
	}
	if kms < 300 {
		t.Errorf("saw %d KMS records, want 300 or more", kms)
	}
}

// lacking returns the first required member that a record does not have.
func lacking(t *testing.T, text []byte) string {
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"eventID", "eventName", "eventSource", "eventTime"} {
		if s := fmt.Sprint(members[name]); members[name] == nil || s == "" {
			return name
		}
	}
	return ""
}

// FuzzValidate: whatever bytes a producer sends, Validate does not panic, and
// the JSON of what it takes reads back as what filters see.
func FuzzValidate(f *testing.F) {
	for _, tt := range samples {
		if r, err := record.FromJSON([]byte(tt.json)); err == nil {
			f.Add(mustMarshal(f, r))
		}
	}
	for _, tt := range encodings {
		f.Add(tt.encoded)
	}
	r := least()
	r.Verbatim = []byte(`{"eventID":"b"}`)
	f.Add(mustMarshal(f, r))
	f.Fuzz(func(t *testing.T, encoded []byte) {
		r := new(keytrailv1.Record)
		if proto.Unmarshal(encoded, r) != nil {
			return
		}
		text, err := record.AppendJSON(nil, r)
		if record.Validate(r, record.Policy{AllSources: true}) != nil {
			return
		}
		if err != nil {
			t.Fatalf("Validate takes what AppendJSON does not: %v", err)
		}
		again, err := record.FromJSON(text)
		if err != nil {
			t.Fatalf("Validate takes what FromJSON does not: %v\n%s", err, text)
		}
		if a, b := fmt.Sprintf("%+v", record.HeaderOf(r)), fmt.Sprintf("%+v", record.HeaderOf(again)); a != b {
			t.Errorf("filters see %s, JSON says %s", a, b)
		}
		if p := record.Validate(again, record.Policy{AllSources: true}); p != nil && p.Code != tooLarge {
			t.Errorf("valid before JSON, not after: %v\n%s", p, text)
		}
	})
}
