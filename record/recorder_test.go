package record_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

// marker is in every value of a bad call; no message may repeat it.
const marker = "hush"

var badCalls = []struct {
	name   string
	op     string
	change func(*keytrailv1.Call)
	code   string // without REJECTION_CODE_
	field  string
}{
	{"no call ID", "Decrypt", func(c *keytrailv1.Call) { c.CallId = nil }, "MISSING_FIELD", "call.call_id"},
	{"long call ID", "Decrypt", func(c *keytrailv1.Call) { c.CallId = proto.String(strings.Repeat(marker, 65)) }, "TOO_LARGE", "call.call_id"},
	{"no operation", "Decrypt", func(c *keytrailv1.Call) { c.Operation = proto.String("") }, "MISSING_FIELD", "call.operation"},
	{"long operation", "Decrypt", func(c *keytrailv1.Call) { c.Operation = proto.String(strings.Repeat(marker, 65)) }, "TOO_LARGE", "call.operation"},
	{"no time", "Decrypt", func(c *keytrailv1.Call) { c.Time = nil }, "MISSING_FIELD", "call.time"},
	{"no such time", "Decrypt", func(c *keytrailv1.Call) { c.Time = &timestamppb.Timestamp{Nanos: -1} }, "INVALID_VALUE", "call.time"},
	{"no Region", "Decrypt", func(c *keytrailv1.Call) { c.Region = nil }, "MISSING_FIELD", "call.region"},
	{"no such Region", "Decrypt", func(c *keytrailv1.Call) { c.Region = proto.String(marker + "\x00") }, "INVALID_VALUE", "call.region"},
	{"no caller", "Decrypt", func(c *keytrailv1.Call) { c.Caller = nil }, "MISSING_FIELD", "call.caller"},
	{"nobody", "Decrypt", func(c *keytrailv1.Call) { c.Caller = new(keytrailv1.UserIdentity) }, "MISSING_FIELD", "call.caller.type"},
	{"no account", "Decrypt", func(c *keytrailv1.Call) { c.Caller.AccountId = proto.String(marker) }, "INVALID_VALUE", "call.caller.account_id"},
	{"no account anywhere", "GenerateRandom", func(c *keytrailv1.Call) { c.Caller.AccountId, c.Keys = nil, nil }, "MISSING_FIELD", "call.account_id"},
	{"another account that is none", "GenerateRandom", func(c *keytrailv1.Call) { c.AccountId = proto.String(marker) }, "INVALID_VALUE", "call.account_id"},
	{"error without a code", "Decrypt", func(c *keytrailv1.Call) { c.Error = &keytrailv1.CallError{Message: proto.String(marker)} }, "MISSING_FIELD", "call.error.code"},
	{"no key", "Decrypt", func(c *keytrailv1.Call) { c.Keys = nil }, "MISSING_FIELD", "call.keys[0]"},
	{"one key of two", "ReEncrypt", func(c *keytrailv1.Call) {}, "MISSING_FIELD", "call.keys[1]"},
	{"two keys of one", "Decrypt", func(c *keytrailv1.Call) { c.Keys = append(c.Keys, c.Keys[0]) }, "INVALID_VALUE", "call.keys"},
	{"three keys", "GenerateRandom", func(c *keytrailv1.Call) { c.Keys = append(c.Keys, c.Keys[0], c.Keys[0]) }, "INVALID_VALUE", "call.keys"},
	{"key without an ARN", "Decrypt", func(c *keytrailv1.Call) { c.Keys[0] = nil }, "MISSING_FIELD", "call.keys[0].arn"},
	{"key that is an alias", "Decrypt", func(c *keytrailv1.Call) {
		c.Keys[0].Arn = proto.String("arn:aws:kms:us-west-2:111122223333:alias/" + marker)
	}, "INVALID_VALUE", "call.keys[0].arn"},
	{"key of no account", "Decrypt", func(c *keytrailv1.Call) {
		c.Keys[0].Arn = proto.String("arn:aws:kms:us-west-2:" + marker + ":key/k")
	}, "INVALID_VALUE", "call.keys[0].arn"},
	{"second key bad", "ReEncrypt", func(c *keytrailv1.Call) {
		c.Keys = append(c.Keys, &keytrailv1.CallKey{Arn: proto.String(marker)})
	}, "INVALID_VALUE", "call.keys[1].arn"},
	{"long ARN", "Decrypt", func(c *keytrailv1.Call) { c.Keys[0].Arn = proto.String(keyOfA + strings.Repeat(marker, 600)) }, "TOO_LARGE", "call.keys[0].arn"},
	{"owner contradicts", "Decrypt", func(c *keytrailv1.Call) { c.Keys[0].OwnerAccountId = proto.String(accountB) }, "INVALID_VALUE", "call.keys[0].owner_account_id"},
	{"alias of another Region", "CreateAlias", func(c *keytrailv1.Call) {
		c.Keys[0].AliasArn = proto.String("arn:aws:kms:us-east-1:111122223333:alias/" + marker)
	}, "INVALID_VALUE", "call.keys[0].alias_arn"},
	{"no alias", "DeleteAlias", func(c *keytrailv1.Call) {}, "MISSING_FIELD", "call.keys[0].alias_arn"},
	{"no other Region", "ReplicateKey", func(c *keytrailv1.Call) {}, "MISSING_FIELD", "call.request_parameters"},
	{"no such other Region", "UpdatePrimaryRegion", func(c *keytrailv1.Call) {
		c.RequestParameters = []byte(`{"PrimaryRegion":"` + marker + `:"}`)
	}, "INVALID_VALUE", "call.request_parameters"},
	{"an error code that is no name", "Decrypt", func(c *keytrailv1.Call) { c.Error = &keytrailv1.CallError{Code: proto.String(marker + " x")} }, "INVALID_VALUE", "call.error.code"},
	{"the other Region is the same", "UpdatePrimaryRegion", request(`{"PrimaryRegion":"us-west-2"}`), "INVALID_VALUE", "call.request_parameters"},
	{"a key of an operation on key stores", "DeleteCustomKeyStore", func(c *keytrailv1.Call) {}, "INVALID_VALUE", "call.keys"},
	{"request that is an array", "Decrypt", request(`["` + marker + `"]`), "WRONG_TYPE", "call.request_parameters"},
	{"request that is null", "Decrypt", request(`null`), "WRONG_TYPE", "call.request_parameters"},
	{"request that is nothing", "Decrypt", request(``), "WRONG_TYPE", "call.request_parameters"},
	{"request that is cut off", "Decrypt", request(`{"KeyId":"` + marker), "WRONG_TYPE", "call.request_parameters"},
	{"request with text after it", "Decrypt", request(`{} ` + marker), "WRONG_TYPE", "call.request_parameters"},
	{"request with a name twice", "Decrypt", request(`{"` + marker + `":1,"` + marker + `":2}`), "WRONG_TYPE", "call.request_parameters"},
	{"request with a name twice below", "Decrypt", request(`{"x":[{"` + marker + `":1,"` + marker + `":2}]}`), "WRONG_TYPE", "call.request_parameters"},
	{"request that is not UTF-8", "Decrypt", request("{\"KeyId\":\"" + marker + "\xff\"}"), "WRONG_TYPE", "call.request_parameters"},
	{"response", "Decrypt", func(c *keytrailv1.Call) { c.Response = []byte(marker) }, "WRONG_TYPE", "call.response"},
	{"response of a failed call", "Decrypt", func(c *keytrailv1.Call) { c.DryRun, c.Response = true, []byte(marker) }, "WRONG_TYPE", "call.response"},
	{"details", "Decrypt", func(c *keytrailv1.Call) { c.ServiceEventDetails = []byte("5") }, "WRONG_TYPE", "call.service_event_details"},
	{"additional", "Decrypt", func(c *keytrailv1.Call) { c.AdditionalEventData = []byte("5") }, "WRONG_TYPE", "call.additional_event_data"},
	{"a user agent that is not UTF-8", "Decrypt", func(c *keytrailv1.Call) { c.UserAgent = proto.String(marker + "\xff") }, "INVALID_VALUE", "call.user_agent"},
	{"an issuer that is not UTF-8", "Decrypt", func(c *keytrailv1.Call) {
		c.Caller.SessionContext.SessionIssuer.UserName = proto.String(marker + "\xff")
	}, "INVALID_VALUE", "call.caller.session_context.session_issuer.user_name"},
	{"on behalf of a number", "Decrypt", func(c *keytrailv1.Call) { c.Caller.OnBehalfOf = []byte("5") }, "WRONG_TYPE", "call.caller.on_behalf_of"},
	{"too large", "Decrypt", request(`{"x":"` + strings.Repeat(marker, 1<<16) + `"}`), "TOO_LARGE", "call"},
	{"hidden fields", "Decrypt", func(c *keytrailv1.Call) { hide(c) }, "INVALID_VALUE", "call"},
	{"hidden in the caller", "Decrypt", func(c *keytrailv1.Call) { hide(c.Caller) }, "INVALID_VALUE", "call.caller"},
	{"hidden in the issuer", "Decrypt", func(c *keytrailv1.Call) { hide(c.Caller.SessionContext.SessionIssuer) }, "INVALID_VALUE", "call.caller.session_context.session_issuer"},
	{"hidden in a key", "Decrypt", func(c *keytrailv1.Call) { hide(c.Keys[0]) }, "INVALID_VALUE", "call.keys[0]"},
	{"hidden in TLS details", "Decrypt", func(c *keytrailv1.Call) { hide(c.TlsDetails) }, "INVALID_VALUE", "call.tls_details"},
}

func request(text string) func(*keytrailv1.Call) {
	return func(c *keytrailv1.Call) { c.RequestParameters = []byte(text) }
}

func hide(m proto.Message) {
	m.ProtoReflect().SetUnknown([]byte{0xfa, 0x3f, 4, 'h', 'u', 's', 'h'})
}

func TestBadCalls(t *testing.T) {
	r := newRecorder(t, record.RecorderConfig{})
	for _, tt := range badCalls {
		t.Run(tt.name, func(t *testing.T) {
			c := callOf(tt.op, keyOfA)
			tt.change(c)
			records, p := r.Record(c)
			if p == nil || records != nil {
				t.Fatal("taken")
			}
			if p.Field != tt.field || p.Code.String() != "REJECTION_CODE_"+tt.code {
				t.Errorf("%v at %s, want %s at %s", p.Code, p.Field, tt.code, tt.field)
			}
			if strings.Contains(p.Error(), marker) {
				t.Errorf("the message repeats a value: %s", p.Error())
			}
			if strings.HasPrefix(tt.name, "hidden") {
				return // Redact removes what it does not know
			}
			if _, again := r.Record(record.Redact(c)); !reflect.DeepEqual(p, again) && tt.name != "too large" {
				t.Errorf("redacted, the problem is %v, want %v", again, p)
			}
		})
	}
	if _, p := r.Record(nil); p == nil || p.Field != "call.call_id" {
		t.Errorf("a nil call: %v", p)
	}
}

// TestLongCalls fills one string or object after another up to the limit of a
// call, and over it.
func TestLongCalls(t *testing.T) {
	r := newRecorder(t, record.RecorderConfig{})
	for _, tt := range []struct {
		name string
		fill func(c *keytrailv1.Call, n int)
	}{
		{"request", func(c *keytrailv1.Call, n int) { c.RequestParameters = fmt.Appendf(nil, `{"x":"%*d"}`, n, 0) }},
		{"response", func(c *keytrailv1.Call, n int) { c.Response = fmt.Appendf(nil, `{"x":"%*d"}`, n, 0) }},
		{"user agent", func(c *keytrailv1.Call, n int) { c.UserAgent = proto.String(strings.Repeat("x", n)) }},
		{"verbatim", func(c *keytrailv1.Call, n int) { c.Caller.SessionContext.Attributes.Verbatim = make([]byte, n) }},
	} {
		c := callOf("Decrypt", keyOfA)
		tt.fill(c, 1<<17)
		short := record.MaxCallBytes - proto.Size(c)
		tt.fill(c, 1<<17+short)
		if n := proto.Size(c); n != record.MaxCallBytes {
			t.Fatalf("%s: %d bytes", tt.name, n)
		}
		if _, p := r.Record(c); p != nil {
			t.Errorf("%s: %v", tt.name, p)
		}
		tt.fill(c, 1<<17+short+1)
		if _, p := r.Record(c); p == nil || p.Field != "call" {
			t.Errorf("%s, one byte more: %v", tt.name, p)
		}
	}
	c := callOf("Decrypt", keyOfA)
	c.Caller.PrincipalId = proto.String(strings.Repeat("x", record.MaxCallBytes-proto.Size(c)-30))
	if _, p := r.Record(c); p == nil || p.Field != "call" {
		t.Errorf("a record over the limit: %v", p)
	}
}

func TestFailedCalls(t *testing.T) {
	c := decryptCall()
	c.Keys = nil // not resolved
	fail("NotFoundException")(c)
	r := recordsOf(t, record.RecorderConfig{}, c)[0]
	if r.GetErrorCode() != "NotFoundException" || r.GetErrorMessage() != "no" || string(r.ResponseElements) != "null" {
		t.Errorf("got %v", r)
	}
	if r.Resources == nil || len(r.Resources.Entries) != 0 {
		t.Errorf("resources are %v, want []", r.Resources)
	}

	// A code as it is on the wire is the exception all the same.
	for _, code := range []string{"com.amazonaws.kms#AccessDeniedException", "AccessDeniedException:http://internal.amazon.com/"} {
		c = decryptCall()
		c.Keys[0].Arn = proto.String(keyOfB)
		fail(code)(c)
		if made := recordsOf(t, record.RecorderConfig{}, c); len(made) != 1 || made[0].GetErrorCode() != "AccessDeniedException" || made[0].SharedEventId != nil {
			t.Errorf("%s: %v", code, made)
		}
	}

	c = decryptCall()
	c.DryRun = true
	r = recordsOf(t, record.RecorderConfig{}, c)[0]
	if r.GetErrorCode() != "DryRunOperationException" || r.ErrorMessage != nil {
		t.Errorf("dry run: %q, %q", r.GetErrorCode(), r.GetErrorMessage())
	}

	c = callOf("DisableKey", keyOfA)
	c.DryRun = true
	if r = recordsOf(t, record.RecorderConfig{}, c)[0]; string(r.ResponseElements) != "null" {
		t.Errorf("responseElements of a dry run are %s", r.ResponseElements)
	}
}

func TestResourcesStates(t *testing.T) {
	for op, want := range map[string]string{
		"GenerateRandom":          `[]`,
		"ListKeys":                `[]`,
		"CreateCustomKeyStore":    `null`,
		"DescribeCustomKeyStores": `null`,
		"Transmogrify":            `null`,
	} {
		r := recordsOf(t, record.RecorderConfig{}, callOf(op))[0]
		if got := textOf(t, fieldsOf(t, r)["resources"]); got != want {
			t.Errorf("%s: resources are %s, want %s", op, got, want)
		}
	}
	c := callOf("ListAliases", keyOfA)
	if n := len(recordsOf(t, record.RecorderConfig{}, c)[0].GetResources().GetEntries()); n != 1 {
		t.Errorf("ListAliases of a key lists %d resources", n)
	}
}

func TestUnknownOperation(t *testing.T) {
	c := callOf("Transmogrify", keyOfA)
	c.RequestParameters, c.Response = []byte(`{"KeyId":"k"}`), []byte(`{"KeyId":"k"}`)
	c.AdditionalEventData = []byte(`{"keyMaterialId":"m"}`)
	got := fieldsOf(t, recordsOf(t, record.RecorderConfig{}, c)[0])
	for member, want := range map[string]string{
		"eventName": `"Transmogrify"`, "readOnly": "false", "eventType": `"AwsApiCall"`,
		"requestParameters": "null", "responseElements": "null", "additionalEventData": "null",
	} {
		if text := textOf(t, got[member]); text != want {
			t.Errorf("%s is %s, want %s", member, text, want)
		}
	}
}

func TestEnrichment(t *testing.T) {
	for op := range record.Operations() {
		if op.KeyID != record.Enriched {
			continue
		}
		c := callOf(op.Name, keyOfB)
		c.RequestParameters = []byte(`{"AliasName":"alias/a","PrimaryRegion":"eu-west-1"}`)
		c.Response = []byte(`{"GrantId":"g","KeyMaterialId":"m"}`)
		want := `{"keyId":"` + keyOfB + `"}`
		switch op.Name {
		case "CreateGrant":
			want = `{"grantId":"g","keyId":"` + keyOfB + `"}`
		case "ImportKeyMaterial":
			want = `{"keyMaterialId":"m","keyId":"` + keyOfB + `"}`
		}
		if got := string(recordsOf(t, record.RecorderConfig{}, c)[0].ResponseElements); got != want {
			t.Errorf("%s: responseElements are %s, want %s", op.Name, got, want)
		}
		got := string(recordsOf(t, record.RecorderConfig{NotEnriched: []string{op.Name}}, c)[0].ResponseElements)
		if strings.Contains(got, "keyId") {
			t.Errorf("%s, not to be enriched: responseElements are %s", op.Name, got)
		}
	}
}

func TestAdditionalEventData(t *testing.T) {
	for _, tt := range []struct{ given, response, want string }{
		{"", `{"KeyMaterialId":"m","Plaintext":"p"}`, `{"keyMaterialId":"m"}`},
		{`{"keyMaterialId":"n"}`, `{"KeyMaterialId":"m"}`, `{"keyMaterialId":"n"}`},
		{`{"customKeyStoreId":"c","backingKey":"b"}`, `{"KeyMaterialId":"m"}`, `{"customKeyStoreId":"c","keyMaterialId":"m"}`},
		{`{"recipient":{"attestationDocumentModuleId":"i","attestationDocumentEnclavePCR8":"8","attestationDocument":"d"}}`, `{}`,
			`{"recipient":{"attestationDocumentModuleId":"i","attestationDocumentEnclavePCR8":"8"}}`},
		{`{"other":1}`, `{}`, ``},
	} {
		c := decryptCall()
		c.Response = []byte(tt.response)
		if tt.given != "" {
			c.AdditionalEventData = []byte(tt.given)
		}
		if got := string(recordsOf(t, record.RecorderConfig{}, c)[0].AdditionalEventData); got != tt.want {
			t.Errorf("of %s and %s: %s, want %s", tt.given, tt.response, got, tt.want)
		}
	}
}

func TestLimits(t *testing.T) {
	c := decryptCall()
	long := strings.Repeat("é", 600)
	c.UserAgent, c.RequestId = &long, &long
	fail("X")(c)
	c.Error.Message = proto.String("x" + long)
	r := recordsOf(t, record.RecorderConfig{}, c)[0]
	for name, n := range map[string]int{r.GetUserAgent(): 1024, r.GetRequestId(): 1024, r.GetErrorMessage(): 1023} {
		if len(name) != n {
			t.Errorf("cut to %d bytes, want %d", len(name), n)
		}
	}
	c = callOf("PutKeyPolicy", keyOfA)
	c.RequestParameters = fmt.Appendf(nil, `{"Policy":"%s"}`, strings.Repeat("x", 100<<10))
	if got := string(recordsOf(t, record.RecorderConfig{}, c)[0].RequestParameters); got != `{"omitted":true}` {
		t.Errorf("%d bytes of parameters were kept", len(got))
	}
	c.RequestParameters = fmt.Appendf(nil, `{"Policy":"%s"}`, strings.Repeat("x", 100<<10-len(`{"policy":""}`)))
	if got := recordsOf(t, record.RecorderConfig{}, c)[0].RequestParameters; len(got) != 100<<10 {
		t.Errorf("%d bytes of parameters, want all", len(got))
	}
}

func TestTimesInParameters(t *testing.T) {
	for in, want := range map[string]string{
		`1660171107`:                       `"Aug 10, 2022, 10:38:27 PM"`,
		`1660171107.999`:                   `"Aug 10, 2022, 10:38:27 PM"`,
		`1.660171107E9`:                    `"Aug 10, 2022, 10:38:27 PM"`,
		`1660171107000e-3`:                 `"Aug 10, 2022, 10:38:27 PM"`,
		`0`:                                `"Jan 1, 1970, 12:00:00 AM"`,
		`-0.0`:                             `"Jan 1, 1970, 12:00:00 AM"`,
		`-0.5`:                             `"Dec 31, 1969, 11:59:59 PM"`,
		`"2022-08-11T00:38:27.5+02:00"`:    `"Aug 10, 2022, 10:38:27 PM"`,
		`"2021-01-01T12:00:00Z"`:           `"Jan 1, 2021, 12:00:00 PM"`,
		`"Aug 10, 2022, 10:38:27 PM"`:      `null`,
		`"hush"`:                           `null`,
		`1e99`:                             `null`,
		`1e999999999999999999999999999999`: `null`,
		`253402300800`:                     `null`,
		`[1660171107]`:                     `null`,
		`true`:                             `null`,
	} {
		c := callOf("ImportKeyMaterial", keyOfA)
		c.RequestParameters = fmt.Appendf(nil, `{"KeyId":"k","ValidTo":%s}`, in)
		r := recordsOf(t, record.RecorderConfig{}, c)[0]
		wantAll := `{"keyId":"k","validTo":` + want + `}`
		if want == "null" {
			wantAll = `{"keyId":"k"}`
		}
		if got := string(r.RequestParameters); got != wantAll {
			t.Errorf("%s: got %s, want %s", in, got, wantAll)
		}
	}
}

// TestIncludeKeyMaterial: the API has an enumeration there, not a boolean.
func TestIncludeKeyMaterial(t *testing.T) {
	c := callOf("ListKeyRotations", keyOfA)
	c.RequestParameters = []byte(`{"KeyId":"k","IncludeKeyMaterial":"ALL_KEY_MATERIAL"}`)
	want := `{"keyId":"k","includeKeyMaterial":"ALL_KEY_MATERIAL"}`
	if got := string(recordsOf(t, record.RecorderConfig{}, c)[0].RequestParameters); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestRecorderConfig(t *testing.T) {
	_, err := record.NewRecorder(record.RecorderConfig{EventVersion: "1.x", OwnersView: 7, NotEnriched: []string{"Decrypt", "RotateKey"}})
	if err == nil {
		t.Fatal("taken")
	}
	for _, want := range []string{"EventVersion", "OwnersView", `"Decrypt"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
	if strings.Contains(err.Error(), "RotateKey") {
		t.Errorf("%v names a good setting", err)
	}
	r := recordsOf(t, record.RecorderConfig{EventVersion: "1.08"}, decryptCall())[0]
	if r.GetEventVersion() != "1.08" {
		t.Errorf("eventVersion is %s", r.GetEventVersion())
	}
}

// TestCallerIsFiltered checks that a caller has no members but CloudTrail's.
func TestCallerIsFiltered(t *testing.T) {
	c := decryptCall()
	c.Caller.Verbatim = []byte(`{"secret":"s"}`)
	c.Caller.OnBehalfOf = []byte(` { "userId" : "u", "secret" : "s", "identityStoreArn" : "a" } `)
	c.Caller.InScopeOf = []byte(`null`)
	c.Caller.SessionContext.WebIdFederationData = []byte(`{"federatedProvider":"p","attributes":{"aud":"x"},"token":"t"}`)
	c.Caller.SessionContext.SessionIssuer.Verbatim = []byte(`{"secret":"s"}`)
	c.TlsDetails.Verbatim = []byte(`{"secret":"s"}`)
	want := proto.Clone(c.Caller).(*keytrailv1.UserIdentity)
	want.Verbatim, want.SessionContext.SessionIssuer.Verbatim = nil, nil
	want.OnBehalfOf = []byte(`{"userId":"u","identityStoreArn":"a"}`)
	want.SessionContext.WebIdFederationData = []byte(`{"federatedProvider":"p","attributes":{"aud":"x"}}`)
	r := recordsOf(t, record.RecorderConfig{}, c)[0]
	if !proto.Equal(r.UserIdentity, want) || r.TlsDetails.Verbatim != nil {
		t.Errorf("got %v, %v", r.UserIdentity, r.TlsDetails)
	}
	if safe := record.Redact(c); !proto.Equal(safe.Caller, want) || safe.TlsDetails.Verbatim != nil {
		t.Errorf("redacted %v, %v", safe.Caller, safe.TlsDetails)
	}
}

// TestNothingIsShared checks that a record can be written to without the call
// or the other records noticing.
func TestNothingIsShared(t *testing.T) {
	c := callOf("ReEncrypt", keyOfB, keyOfC)
	c.Caller.OnBehalfOf = []byte(`{"userId": "u"}`)
	c.RequestParameters = []byte(`{"SourceKeyId":"k"}`)
	before := proto.Clone(c)
	records := recordsOf(t, record.RecorderConfig{OwnersView: record.CallerFull}, c)
	second := proto.Clone(records[1])
	scribble(records[0].ProtoReflect().Interface())
	safe := record.Redact(c)
	scribble(safe)
	if !proto.Equal(c, before) {
		t.Error("the call has changed")
	}
	if !proto.Equal(records[1], second) {
		t.Error("another record has changed")
	}
}

// scribble overwrites every string behind a pointer.
func scribble(m proto.Message) { scribbleValue(reflect.ValueOf(m).Elem()) }

func scribbleValue(v reflect.Value) {
	for i := range v.NumField() {
		if !v.Type().Field(i).IsExported() {
			continue
		}
		switch f := v.Field(i); {
		case f.Kind() == reflect.Pointer && !f.IsNil() && f.Elem().Kind() == reflect.Struct:
			scribbleValue(f.Elem())
		case f.Kind() == reflect.Pointer && !f.IsNil() && f.Elem().Kind() == reflect.String:
			f.Elem().SetString("scribble")
		}
	}
}

// FuzzRecord checks that what is made of any call can be stored, and that
// redacting changes nothing about it.
func FuzzRecord(f *testing.F) {
	for _, tt := range badCalls {
		c := callOf(tt.op, keyOfA)
		tt.change(c)
		if encoded, err := proto.Marshal(c); err == nil && len(encoded) < 1<<12 {
			f.Add(encoded)
		}
	}
	r := newRecorder(f, record.RecorderConfig{})
	f.Fuzz(func(t *testing.T, encoded []byte) {
		c := new(keytrailv1.Call)
		if proto.Unmarshal(encoded, c) != nil {
			return
		}
		before := proto.Clone(c)
		records, problem := r.Record(c)
		safe := record.Redact(c)
		if !proto.Equal(c, before) {
			t.Error("the call was changed")
		}
		if (problem == nil) != (len(records) > 0) || len(records) > 3 {
			t.Fatalf("%d records and %v", len(records), problem)
		}
		if problem != nil {
			return
		}
		again, problem := r.Record(safe)
		if problem != nil || len(again) != len(records) {
			t.Fatalf("redacted: %v", problem)
		}
		ids := make(map[string]bool)
		for i, made := range records {
			if !proto.Equal(made, again[i]) {
				t.Errorf("redacted, the call makes another record\n%v\n%v", made, again[i])
			}
			if p := record.Validate(made, record.Policy{}); p != nil {
				t.Errorf("not valid: %v", p)
			}
			ids[made.GetEventId()] = true
		}
		if len(ids) != len(records) {
			t.Error("two records have one event ID")
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	for _, bb := range []struct {
		name string
		call *keytrailv1.Call
	}{
		{"Decrypt", decryptCall()},
		{"Decrypt across accounts", func() *keytrailv1.Call {
			c := decryptCall()
			c.Keys[0].Arn = proto.String(keyOfB)
			return c
		}()},
	} {
		b.Run(bb.name, func(b *testing.B) {
			r := newRecorder(b, record.RecorderConfig{})
			var dst []byte
			var err error
			b.ReportAllocs()
			for b.Loop() {
				records, problem := r.Record(bb.call)
				if problem != nil {
					b.Fatal(problem)
				}
				for _, made := range records {
					if dst, err = record.AppendMarshal(dst[:0], made); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

func BenchmarkRedact(b *testing.B) {
	c := decryptCall()
	b.ReportAllocs()
	for b.Loop() {
		record.Redact(c)
	}
}

func BenchmarkLookupOperation(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		record.LookupOperation("GenerateDataKeyPairWithoutPlaintext")
	}
}
