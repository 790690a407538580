package record_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

// roundTrip takes JSON through a record and its stored bytes, and back.
func roundTrip(text []byte) (*keytrailv1.Record, error) {
	r, err := record.FromJSON(text)
	if err != nil {
		return nil, fmt.Errorf("FromJSON: %w", err)
	}
	encoded, err := record.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("Marshal: %w", err)
	}
	stored := new(keytrailv1.Record)
	if err := proto.Unmarshal(encoded, stored); err != nil {
		return nil, fmt.Errorf("Unmarshal: %w", err)
	}
	out, err := record.AppendJSON([]byte("before "), stored)
	if err != nil {
		return nil, fmt.Errorf("AppendJSON: %w", err)
	}
	out, ok := bytes.CutPrefix(out, []byte("before "))
	if !ok {
		return nil, errors.New("AppendJSON does not append")
	}
	if !sameJSON(text, out) {
		return nil, fmt.Errorf("became another JSON value:\n%s\n%s", text, out)
	}
	again, err := record.FromJSON(out)
	if err != nil {
		return nil, fmt.Errorf("FromJSON of AppendJSON: %w", err)
	}
	third, err := record.AppendJSON(nil, again)
	if err != nil || string(third) != string(out) {
		return nil, fmt.Errorf("AppendJSON is not stable (%v):\n%s\n%s", err, out, third)
	}
	return r, nil
}

func TestSamplesRoundTrip(t *testing.T) {
	for _, tt := range samples {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := roundTrip([]byte(tt.json)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRealRecordsRoundTrip(t *testing.T) {
	for _, rec := range realRecords(t) {
		if _, err := roundTrip(rec.json); err != nil {
			t.Errorf("%s: %v", rec.name, err)
		}
	}
}

// TestOracle keeps the oracle honest: it must tell these apart.
func TestOracle(t *testing.T) {
	for _, tt := range []struct{ a, b string }{
		{`{"a":null}`, `{}`},
		{`{"a":""}`, `{"a":null}`},
		{`{"a":1}`, `{"a":1.0}`},
		{`{"a":9007199254740993}`, `{"a":9007199254740992}`},
		{`{"a":"\ud800"}`, `{"a":"\ufffd"}`},
		{`{"a":"\ud800"}`, `{"a":"\ud801"}`},
		{`{"a":[]}`, `{"a":{}}`},
		{`{"a":true}`, `{"a":"true"}`},
	} {
		if sameJSON([]byte(tt.a), []byte(tt.b)) {
			t.Errorf("the oracle takes %s for %s", tt.a, tt.b)
		}
	}
	if !sameJSON([]byte(`{"a":1,"b":"\ud83d\ude00"}`), []byte(`{ "b":"😀", "a":1 }`)) {
		t.Error("the oracle tells equal values apart")
	}
}

func TestFromJSONSetsTypedFields(t *testing.T) {
	at := func(s string) *timestamppb.Timestamp {
		tm, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return timestamppb.New(tm)
	}
	for _, tt := range []struct {
		name, json string
		want       *keytrailv1.Record
	}{
		{"plain", `{"eventID":"a","readOnly":false}`,
			&keytrailv1.Record{EventId: new("a"), ReadOnly: new(false)}},
		{"empty string", `{"errorCode":""}`,
			&keytrailv1.Record{ErrorCode: new("")}},
		{"null", `{"errorCode":null,"requestParameters":null}`,
			&keytrailv1.Record{RequestParameters: []byte("null"), Verbatim: []byte(`{"errorCode":null}`)}},
		{"boolean as a string", `{"readOnly":"true"}`,
			&keytrailv1.Record{ReadOnly: new(true), Verbatim: []byte(`{"readOnly":"true"}`)}},
		{"time", `{"eventTime":"2026-10-01T10:20:30Z"}`,
			&keytrailv1.Record{EventTime: at("2026-10-01T10:20:30Z")}},
		{"time in another form", `{"eventTime":"2026-10-01T12:20:30.5+02:00"}`,
			&keytrailv1.Record{EventTime: at("2026-10-01T10:20:30.5Z"), Verbatim: []byte(`{"eventTime":"2026-10-01T12:20:30.5+02:00"}`)}},
		{"no time", `{"eventTime":"2026-10-01T1:20:30Z"}`,
			&keytrailv1.Record{Verbatim: []byte(`{"eventTime":"2026-10-01T1:20:30Z"}`)}},
		{"no time either", `{"eventTime":"2026-10-01T10:20:30,5Z"}`,
			&keytrailv1.Record{Verbatim: []byte(`{"eventTime":"2026-10-01T10:20:30,5Z"}`)}},
		{"half a surrogate pair", `{"errorCode":"\ud800"}`,
			&keytrailv1.Record{ErrorCode: new("\ufffd"), Verbatim: []byte(`{"errorCode":"\ud800"}`)}},
		{"white space", `{ "requestParameters" : { "a b" : [ 1 , 2 ] } , "x" : { } }`,
			&keytrailv1.Record{RequestParameters: []byte(`{"a b":[1,2]}`), Verbatim: []byte(`{"x":{}}`)}},
		{"resources", `{"resources":[{"arn":"a"},{"ARN":"b"}]}`,
			&keytrailv1.Record{Resources: &keytrailv1.ResourceList{Entries: []*keytrailv1.Resource{
				{Arn: new("a"), ArnLowerCase: new(true)}, {Arn: new("b")}}}}},
		{"empty resources", `{"resources":[]}`,
			&keytrailv1.Record{Resources: &keytrailv1.ResourceList{}}},
		{"empty message", `{"tlsDetails":{}}`,
			&keytrailv1.Record{TlsDetails: &keytrailv1.TlsDetails{}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := record.FromJSON([]byte(tt.json))
			if err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(got, tt.want) {
				t.Errorf("FromJSON(%s) = %v, want %v", tt.json, got, tt.want)
			}
		})
	}
}

// TestEveryFieldHasAMember sets each field of each message by JSON and wants
// nothing left in verbatim: a field that the tables lack would be.
func TestEveryFieldHasAMember(t *testing.T) {
	r, err := record.FromJSON([]byte(allFields))
	if err != nil {
		t.Fatal(err)
	}
	checkAllSet(t, "", r.ProtoReflect())
}

func TestFromJSONErrors(t *testing.T) {
	for _, tt := range []struct{ name, json, want string }{
		{"nothing", ``, "at byte 0: not JSON: unexpected EOF"},
		{"white space", ` `, "not JSON: unexpected EOF"},
		{"array", ` []`, "at byte 1: not a JSON object"},
		{"null", `null`, "at byte 0: not a JSON object"},
		{"word", `hello`, "at byte 0: not JSON: invalid character 'h'"},
		{"cut", `{"eventID":"a`, "at byte 13: not JSON: unexpected EOF"},
		{"comma", `{"eventID":"a",}`, "at byte 14: not JSON"},
		{"two objects", `{} {}`, "at byte 3: text after the JSON object"},
		{"duplicate", `{"eventID":"a","eventID":"b"}`, "at byte 15: duplicate"},
		{"duplicate in escapes", `{"eventID":"a","event\u0049D":"b"}`, "at byte 15: duplicate"},
		{"duplicate unknown", `{"x":1,"x":1}`, "at byte 7: duplicate"},
		{"duplicate below", `{"requestParameters":{"a":{"b":1,"b":2}}}`, "at byte 33: duplicate"},
		{"duplicate in a message", `{"userIdentity":{"arn":"a","arn":"b"}}`, "at byte 27: duplicate"},
		{"nested too deeply", `{"x":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`, "exceeded max depth"},
		{"not UTF-8", "{\"eventID\":\"a\xff\"}", "at byte 13: not UTF-8"},
		{"not UTF-8 in a name", "{\"\xc3\":1}", "at byte 2: not UTF-8"},
		{"not UTF-8 in free form", "{\"requestParameters\":{\"a\":\"\xed\xa0\x80\"}}", "at byte 27: not UTF-8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := record.FromJSON([]byte(tt.json))
			if err == nil {
				t.Fatalf("FromJSON(%q) = %v, want an error", tt.json, r)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("FromJSON(%q): %q, want %q in it", tt.json, err, tt.want)
			}
		})
	}
	if _, err := record.FromJSON([]byte(`{"a":`)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a cut record: %v, want io.ErrUnexpectedEOF in it", err)
	}
	if _, err := record.FromJSON([]byte(`5`)); !errors.Is(err, record.ErrNotObject) {
		t.Errorf("a number: %v, want ErrNotObject in it", err)
	}
}

func TestAppendJSON(t *testing.T) {
	for _, tt := range []struct {
		name string
		r    *keytrailv1.Record
		want string
	}{
		{"nil", nil, `{}`},
		{"order", &keytrailv1.Record{EventId: new("a"), EventName: new("Decrypt"), UserIdentity: &keytrailv1.UserIdentity{}},
			`{"userIdentity":{},"eventName":"Decrypt","eventID":"a"}`},
		{"override in its place", &keytrailv1.Record{EventId: new("a"), EventName: new("b"), EventSource: new("c"), Verbatim: []byte(`{"x":1,"eventName":null}`)},
			`{"eventSource":"c","eventName":null,"eventID":"a","x":1}`},
		{"white space in bytes", &keytrailv1.Record{RequestParameters: []byte("{ \"a\" :\n1 }"), Verbatim: []byte("{ \"x\" : [ 1, 2 ] }")},
			`{"requestParameters":{"a":1},"x":[1,2]}`},
		{"nil resource", &keytrailv1.Record{Resources: &keytrailv1.ResourceList{Entries: []*keytrailv1.Resource{nil, {Arn: new("a"), ArnLowerCase: new(true)}}}},
			`{"resources":[{},{"arn":"a"}]}`},
		{"fraction of a second", &keytrailv1.Record{EventTime: &timestamppb.Timestamp{Seconds: 1, Nanos: 500_000_000}},
			`{"eventTime":"1970-01-01T00:00:01.5Z"}`},
		{"empty verbatim", &keytrailv1.Record{Verbatim: []byte(`{}`)}, `{}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := record.AppendJSON(nil, tt.r)
			if err != nil || string(got) != tt.want {
				t.Errorf("AppendJSON = %s, %v, want %s", got, err, tt.want)
			}
		})
	}
}

// TestAppendJSONOrder: members come in the order in which CloudTrail writes
// them, so what CloudTrail wrote compactly comes back byte for byte.
func TestAppendJSONOrder(t *testing.T) {
	for _, want := range []string{typical, allFields} {
		r, err := record.FromJSON([]byte(want))
		if err != nil {
			t.Fatal(err)
		}
		got, err := record.AppendJSON(nil, r)
		if err != nil || string(got) != want {
			t.Errorf("AppendJSON: %v,\n%s\nwant\n%s", err, got, want)
		}
	}
}

// TestMarshalIsDeterministic: the bus compares records by their bytes, so the
// same JSON in another order of members must give the same.
func TestMarshalIsDeterministic(t *testing.T) {
	a, errA := record.FromJSON([]byte(`{"eventID":"a","userIdentity":{"arn":"b","type":"c"},"readOnly":true}`))
	b, errB := record.FromJSON([]byte(`{ "readOnly":true, "userIdentity":{"type":"c","arn":"b"}, "eventID":"a" }`))
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	if !bytes.Equal(mustMarshal(t, a), mustMarshal(t, b)) {
		t.Error("one record gives two encodings")
	}
	if _, err := record.Marshal(&keytrailv1.Record{EventId: new("\xff")}); err == nil {
		t.Error("Marshal takes a string that is not UTF-8")
	}
}

// TestConcurrentUse runs under the race detector: readers and writers share
// tables and pools.
func TestConcurrentUse(t *testing.T) {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, tt := range samples {
				r, err := roundTrip([]byte(tt.json))
				if err != nil {
					t.Error(err)
					continue
				}
				record.Validate(r, record.Policy{})
			}
		})
	}
	wg.Wait()
}

func TestAppendJSONErrors(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		r          *keytrailv1.Record
	}{
		{"bytes not JSON", "requestParameters: ", &keytrailv1.Record{RequestParameters: []byte("{")}},
		{"bytes empty", "requestParameters: ", &keytrailv1.Record{RequestParameters: []byte{}}},
		{"bytes with two values", "requestParameters: ", &keytrailv1.Record{RequestParameters: []byte("{}{}")}},
		{"verbatim an array", "verbatim: ", &keytrailv1.Record{Verbatim: []byte("[]")}},
		{"verbatim below", "tlsDetails: verbatim: ", &keytrailv1.Record{TlsDetails: &keytrailv1.TlsDetails{Verbatim: []byte("{")}}},
		{"string not UTF-8", "userIdentity: arn: ", &keytrailv1.Record{UserIdentity: &keytrailv1.UserIdentity{Arn: new("\xff")}}},
		{"time out of range", "eventTime: ", &keytrailv1.Record{EventTime: &timestamppb.Timestamp{Nanos: -1}}},
		{"resource", "resources: entry 1: ARN: ", &keytrailv1.Record{Resources: &keytrailv1.ResourceList{Entries: []*keytrailv1.Resource{{}, {Arn: new("\xff")}}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := record.AppendJSON([]byte("kept"), tt.r)
			if err == nil || !strings.Contains(err.Error(), tt.want) || string(got) != "kept" {
				t.Errorf("AppendJSON = %q, %v, want an error with %q", got, err, tt.want)
			}
		})
	}
}

// TestOracleMarksSurrogates: text that looks like an escape is not one.
func TestOracleMarksSurrogates(t *testing.T) {
	if sameJSON([]byte(`{"a":"\ud800"}`), []byte(`{"a":"\\ud800"}`)) {
		t.Error("the oracle takes an escaped backslash for half a surrogate pair")
	}
}

func FuzzFromJSON(f *testing.F) {
	for _, tt := range samples {
		f.Add([]byte(tt.json))
	}
	f.Add([]byte(allFields))
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := record.FromJSON(text); err != nil {
			return
		}
		r, err := roundTrip(text)
		if err != nil {
			t.Fatal(err)
		}
		encoded, err := record.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := sameHeader(r, encoded); err != nil {
			t.Error(err)
		}
		if p := record.Validate(r, record.Policy{AllSources: true}); p != nil && p.Code == keytrailv1.RejectionCode_REJECTION_CODE_UNSPECIFIED {
			t.Errorf("a problem without a code: %v", p)
		}
	})
}
