package record_test

import (
	"slices"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

func TestAccounts(t *testing.T) {
	service := &keytrailv1.UserIdentity{Type: proto.String("AWSService"), InvokedBy: proto.String("workmail.eu-west-1.amazonaws.com")}
	for _, tt := range []struct {
		name   string
		op     string
		keys   []string
		change func(*keytrailv1.Call)
		want   []string
	}{
		{"own key", "Decrypt", []string{keyOfA}, nil, []string{accountA}},
		{"another's key", "Decrypt", []string{keyOfB}, nil, []string{accountA, accountB}},
		{"no key", "GenerateRandom", nil, nil, []string{accountA}},
		{"denied", "Decrypt", []string{keyOfB}, fail("AccessDeniedException"), []string{accountA}},
		{"denied, in EC2's words", "Decrypt", []string{keyOfB}, fail("Client.UnauthorizedOperation"), []string{accountA}},
		{"failed, not denied", "Decrypt", []string{keyOfB}, fail("KMSInvalidStateException"), []string{accountA, accountB}},
		{"dry run", "Decrypt", []string{keyOfB}, func(c *keytrailv1.Call) { c.DryRun = true }, []string{accountA, accountB}},
		{"source and destination of two others", "ReEncrypt", []string{keyOfB, keyOfC}, nil, []string{accountA, accountB, accountC}},
		{"both of one other", "ReEncrypt", []string{keyOfB, keyOfB}, nil, []string{accountA, accountB}},
		{"own source", "ReEncrypt", []string{keyOfA, keyOfC}, nil, []string{accountA, accountC}},
		{"own destination", "ReEncrypt", []string{keyOfB, keyOfA}, nil, []string{accountA, accountB}},
		{"a service", "Decrypt", []string{keyOfB}, func(c *keytrailv1.Call) { c.Caller = service }, []string{accountB}},
		{"a service, denied", "ReEncrypt", []string{keyOfB, keyOfC}, func(c *keytrailv1.Call) {
			c.Caller = service
			fail("AccessDenied")(c)
		}, []string{accountB}},
		{"a service without a key", "GenerateRandom", nil, func(c *keytrailv1.Call) {
			c.Caller, c.AccountId = service, proto.String(accountC)
		}, []string{accountC}},
		{"an unknown operation", "Transmogrify", []string{keyOfB}, nil, []string{accountA, accountB}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := callOf(tt.op, tt.keys...)
			if tt.change != nil {
				tt.change(c)
			}
			records := recordsOf(t, record.RecorderConfig{}, c)
			var got, ids []string
			for _, r := range records {
				got = append(got, r.GetRecipientAccountId())
				ids = append(ids, r.GetEventId())
				if id, err := uuid.Parse(r.GetEventId()); err != nil || id.Version() != 5 {
					t.Errorf("event ID %s is not a UUID of version 5", r.GetEventId())
				}
				if shared := r.SharedEventId != nil; shared != (len(records) > 1) || r.GetSharedEventId() != records[0].GetSharedEventId() {
					t.Errorf("sharedEventID %q with %d accounts", r.GetSharedEventId(), len(records))
				}
				if n := len(r.GetResources().GetEntries()); n != len(tt.keys) {
					t.Errorf("%d resources for %d keys", n, len(tt.keys))
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("records for %v, want %v", got, tt.want)
			}
			slices.Sort(ids)
			if len(slices.Compact(ids)) != len(records) {
				t.Error("two records have one event ID")
			}
		})
	}
}

func fail(code string) func(*keytrailv1.Call) {
	return func(c *keytrailv1.Call) {
		c.Error = &keytrailv1.CallError{Code: proto.String(code), Message: proto.String("no")}
	}
}

func TestRetryMakesTheSameRecords(t *testing.T) {
	c := callOf("ReEncrypt", keyOfB, keyOfC)
	first := recordsOf(t, record.RecorderConfig{}, c)
	again := recordsOf(t, record.RecorderConfig{}, proto.Clone(c).(*keytrailv1.Call))
	c.CallId = proto.String("another call")
	other := recordsOf(t, record.RecorderConfig{}, c)
	for i := range first {
		if !proto.Equal(first[i], again[i]) {
			t.Errorf("record %d differs", i)
		}
		if first[i].GetEventId() == other[i].GetEventId() || first[i].GetSharedEventId() == other[i].GetSharedEventId() {
			t.Error("two equal calls have one event ID")
		}
	}
}

// TestEventIDs holds event IDs to what is in logs already.
func TestEventIDs(t *testing.T) {
	space := uuid.MustParse("741ddefc-870c-4d9e-b752-85f0ee73c982")
	records := recordsOf(t, record.RecorderConfig{}, callOf("Decrypt", keyOfB))
	for i, account := range []string{accountA, accountB} {
		want := uuid.NewSHA1(space, []byte(account+"\x00us-west-2\x00call\x00"+"0193f3a0-1111-7000-8000-000000000001")).String()
		if got := records[i].GetEventId(); got != want {
			t.Errorf("event ID %s, want %s", got, want)
		}
	}
	want := uuid.NewSHA1(space, []byte("\x00us-west-2\x00shared\x00"+"0193f3a0-1111-7000-8000-000000000001")).String()
	if got := records[0].GetSharedEventId(); got != want {
		t.Errorf("shared event ID %s, want %s", got, want)
	}
}

func TestOwnersView(t *testing.T) {
	c := callOf("Decrypt", keyOfB)
	reduced := recordsOf(t, record.RecorderConfig{}, c)
	if got, want := textOf(t, fieldsOf(t, reduced[1])["userIdentity"]), `{"accountId":"111122223333","principalId":"AROAEXAMPLE:session","type":"AWSAccount"}`; got != want {
		t.Errorf("the owner sees %s, want %s", got, want)
	}
	full := recordsOf(t, record.RecorderConfig{OwnersView: record.CallerFull}, c)
	for i, r := range []*keytrailv1.Record{reduced[0], full[0], full[1]} {
		if !proto.Equal(r.GetUserIdentity(), c.GetCaller()) {
			t.Errorf("%d: the caller is %v", i, r.GetUserIdentity())
		}
	}
}

// TestOwnersViewOfService: a service is shown as one, also to the owner of a
// key, and in the account of the service as it was reported.
func TestOwnersViewOfService(t *testing.T) {
	c := callOf("Decrypt", keyOfB)
	c.Caller = &keytrailv1.UserIdentity{Type: proto.String("AWSService"), AccountId: proto.String(accountA), InvokedBy: proto.String("workmail.eu-west-1.amazonaws.com")}
	records := recordsOf(t, record.RecorderConfig{}, c)
	for i, want := range []string{
		`{"accountId":"111122223333","invokedBy":"workmail.eu-west-1.amazonaws.com","type":"AWSService"}`,
		`{"invokedBy":"workmail.eu-west-1.amazonaws.com","type":"AWSService"}`,
	} {
		if got := textOf(t, fieldsOf(t, records[i])["userIdentity"]); got != want {
			t.Errorf("record %d shows %s, want %s", i, got, want)
		}
	}
}

// TestInternalCaller: the KMS is the caller of what it does of its own accord,
// however little is said of it.
func TestInternalCaller(t *testing.T) {
	for _, caller := range []*keytrailv1.UserIdentity{nil, {}, {AccountId: proto.String(accountA)}} {
		c := callOf("RotateKey", keyOfA)
		c.Caller = caller
		records := recordsOf(t, record.RecorderConfig{}, c)
		if got, want := textOf(t, fieldsOf(t, records[0])["userIdentity"]), `{"accountId":"111122223333","invokedBy":"AWS Internal"}`; got != want {
			t.Errorf("caller %v: %s, want %s", caller, got, want)
		}
	}
}

func TestTrimKeys(t *testing.T) {
	records := recordsOf(t, record.RecorderConfig{TrimKeys: true}, callOf("ReEncrypt", keyOfB, keyOfC))
	for i, want := range [][]string{{keyOfB, keyOfC}, {keyOfB}, {keyOfC}} {
		if h := record.HeaderOf(records[i]); !slices.Equal(h.Keys, want) {
			t.Errorf("record %d has keys %v, want %v", i, h.Keys, want)
		}
	}
}

// TestTrimKeysOfService: a service without an account has no copy, so both copies
// are for owners.
func TestTrimKeysOfService(t *testing.T) {
	c := callOf("ReEncrypt", keyOfB, keyOfC)
	c.Caller = &keytrailv1.UserIdentity{Type: proto.String("AWSService"), InvokedBy: proto.String("workmail.eu-west-1.amazonaws.com")}
	records := recordsOf(t, record.RecorderConfig{TrimKeys: true}, c)
	for i, want := range [][]string{{keyOfB}, {keyOfC}} {
		if h := record.HeaderOf(records[i]); !slices.Equal(h.Keys, want) {
			t.Errorf("record %d has keys %v, want %v", i, h.Keys, want)
		}
	}
}

// TestInternalCallerWithoutType: an empty caller, which some languages make of
// none, is filled in as well.
func TestInternalCallerWithoutType(t *testing.T) {
	c := callOf("RotateKey", keyOfA)
	c.Caller = new(keytrailv1.UserIdentity)
	got := fieldsOf(t, recordsOf(t, record.RecorderConfig{}, c)[0])
	if text, want := textOf(t, got["userIdentity"]), `{"accountId":"111122223333","invokedBy":"AWS Internal"}`; text != want {
		t.Errorf("userIdentity is %s, want %s", text, want)
	}
}

func TestInternalOperations(t *testing.T) {
	for _, tt := range []struct {
		op, details                string
		wantType, wantDetails, ids string
	}{
		{"RotateKey", `{"rotationType":"AUTOMATIC","secret":"s"}`, "AwsServiceEvent", `{"keyId":"1234abcd-12ab-34cd-56ef-1234567890ab","rotationType":"AUTOMATIC"}`, ""},
		{"DeleteExpiredKeyMaterial", "", "AwsServiceEvent", `{"keyId":"1234abcd-12ab-34cd-56ef-1234567890ab"}`, ""},
		{"DeleteKey", `{"keyId":"x"}`, "AwsServiceEvent", "null", ""},
		{"SynchronizeMultiRegionKey", "", "AwsApiCall", "null", "0d2b7a4c-6a55-4b5e-9f0c-0a4c2f9f7b11"},
	} {
		t.Run(tt.op, func(t *testing.T) {
			c := callOf(tt.op, keyOfA)
			c.Caller, c.SourceIpAddress, c.UserAgent, c.TlsDetails = nil, nil, nil, nil
			if tt.details != "" {
				c.ServiceEventDetails = []byte(tt.details)
			}
			records := recordsOf(t, record.RecorderConfig{}, c)
			got := fieldsOf(t, records[0])
			for member, want := range map[string]string{
				"userIdentity":        `{"accountId":"111122223333","invokedBy":"AWS Internal"}`,
				"sourceIPAddress":     `"AWS Internal"`,
				"userAgent":           `"AWS Internal"`,
				"eventType":           `"` + tt.wantType + `"`,
				"serviceEventDetails": tt.wantDetails,
				"requestParameters":   "null",
			} {
				if text := textOf(t, got[member]); text != want {
					t.Errorf("%s is %s, want %s", member, text, want)
				}
			}
			if records[0].GetRequestId() != tt.ids {
				t.Errorf("request ID %q, want %q", records[0].GetRequestId(), tt.ids)
			}
		})
	}
}

func TestSecondRegion(t *testing.T) {
	const mrk = "arn:aws:kms:us-west-2:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab"
	const there = "arn:aws:kms:eu-west-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab"

	c := callOf("ReplicateKey", mrk)
	c.RequestParameters = []byte(`{"KeyId":"mrk-1234abcd12ab34cd56ef1234567890ab","ReplicaRegion":"eu-west-1","Description":"d"}`)
	c.Response = []byte(`{"ReplicaKeyMetadata":{"Arn":"` + there + `","CreationDate":1.660171107E9},"ReplicaPolicy":"{}"}`)
	records := recordsOf(t, record.RecorderConfig{}, c)
	checkSecond(t, records, "CreateKey", map[string]string{
		"requestParameters": `{"description":"d"}`,
		"responseElements":  `{"keyMetadata":{"arn":"` + there + `","creationDate":"Aug 10, 2022, 10:38:27 PM"}}`,
		"resources":         `[{"ARN":"` + there + `","accountId":"111122223333","type":"AWS::KMS::Key"}]`,
	})

	c = callOf("UpdatePrimaryRegion", mrk)
	c.RequestParameters = []byte(`{"KeyId":"mrk-1234abcd12ab34cd56ef1234567890ab","PrimaryRegion":"eu-west-1"}`)
	records = recordsOf(t, record.RecorderConfig{}, c)
	checkSecond(t, records, "UpdatePrimaryRegion", map[string]string{
		"requestParameters": `{"keyId":"` + there + `","primaryRegion":"eu-west-1"}`,
		"responseElements":  `{"keyId":"` + there + `"}`,
	})
	if records[1].Resources != nil {
		t.Error("the second record of UpdatePrimaryRegion has resources")
	}

	fail("KMSInvalidStateException")(c)
	if records = recordsOf(t, record.RecorderConfig{}, c); len(records) != 1 {
		t.Errorf("a failed call made %d records", len(records))
	}
}

func checkSecond(t *testing.T, records []*keytrailv1.Record, event string, want map[string]string) {
	t.Helper()
	if len(records) != 2 {
		t.Fatalf("%d records, want 2", len(records))
	}
	a, b := records[0], records[1]
	if b.GetEventName() != event || a.GetAwsRegion() != "us-west-2" || b.GetAwsRegion() != "eu-west-1" {
		t.Errorf("second record is %s in %s", b.GetEventName(), b.GetAwsRegion())
	}
	if a.SharedEventId != nil || b.SharedEventId != nil || a.GetEventId() == b.GetEventId() || a.GetRequestId() != b.GetRequestId() {
		t.Error("the two must share their request ID and nothing else")
	}
	if a.GetUserIdentity().InvokedBy != nil || b.GetUserIdentity().GetInvokedBy() != "kms.amazonaws.com" {
		t.Error("only the second must be invoked by the KMS")
	}
	got := fieldsOf(t, b)
	for member, want := range want {
		if text := textOf(t, got[member]); text != want {
			t.Errorf("%s is %s, want %s", member, text, want)
		}
	}
}
