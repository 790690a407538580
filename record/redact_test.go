package record_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

// apiMembers are all members that requests and responses of the API have, at
// any depth, and some that none has.
var apiMembers = strings.Fields(`
	AWSAccountId AccessKeyId AliasArn AliasName Aliases Arn AttestationDocument
	BypassPolicyLockoutSafetyCheck CiphertextBlob CiphertextForRecipient
	CloudHsmClusterId CloudTrailEventId ConnectionErrorCode ConnectionState
	Connectivity Constraints CreationDate CurrentKeyMaterialId CustomKeyStoreId
	CustomKeyStoreName CustomKeyStoreType CustomKeyStores CustomerMasterKeySpec
	DeletionDate Description DestinationEncryptionAlgorithm
	DestinationEncryptionContext DestinationKeyId DestinationKeyMaterialId DryRun
	DryRunModifiers Enabled EncapsulatedKey EncapsulationAlgorithm EncryptedKeyMaterial
	EncryptionAlgorithm EncryptionAlgorithms EncryptionContext
	EncryptionContextEquals EncryptionContextSubset ExpirationModel GrantId
	GrantToken GrantTokens GranteePrincipal GranteeServicePrincipal Grants Id
	ImportState ImportToken ImportType IncludeKeyMaterial IssuingAccount
	KeyAgreementAlgorithm KeyAgreementAlgorithms KeyArn KeyCreationDate
	KeyEncryptionAlgorithm KeyId KeyLastUsage KeyManager KeyMaterialDescription
	KeyMaterialId KeyMaterialState KeyMetadata KeyOrigin KeyPairSpec
	KeyRotationEnabled KeySpec KeyState KeyStorePassword KeyUsage Keys
	KmsRequestId LastUpdatedDate Limit Mac MacAlgorithm MacAlgorithms MacValid
	Marker Message MessageType MultiRegion MultiRegionConfiguration
	MultiRegionKeyType Name NewCustomKeyStoreName NextMarker NextRotationDate
	NumberOfBytes OnDemandRotationStartDate Operation Operations Origin
	ParametersValidTo PendingDeletionWindowInDays PendingWindowInDays Plaintext
	Policy PolicyName PolicyNames PrimaryKey PrimaryRegion PrivateKeyCiphertextBlob
	PrivateKeyPlaintext PublicKey RawSecretAccessKey Recipient Region
	ReplicaKeyMetadata ReplicaKeys ReplicaPolicy ReplicaRegion ReplicaTags
	RetiringPrincipal RetiringServicePrincipal RotationDate RotationPeriodInDays
	RotationType Rotations SharedSecret Signature SignatureValid SigningAlgorithm
	SigningAlgorithms SourceEncryptionAlgorithm SourceEncryptionContext SourceKeyId
	SourceKeyMaterialId TagKey TagKeys TagValue Tags TargetKeyId Timestamp
	TrackingStartDate Truncated TrustAnchorCertificate UriEndpoint UriPath ValidTo
	VpcEndpointServiceName VpcEndpointServiceOwner WrappingAlgorithm
	WrappingKeySpec XksKeyConfiguration XksKeyId XksProxyAuthenticationCredential
	XksProxyConfiguration XksProxyConnectivity XksProxyUriEndpoint XksProxyUriPath
	XksProxyVpcEndpointServiceName XksProxyVpcEndpointServiceOwner
	BackingKey BackingKeys BackingKeysDeletionStatus ClusterId PreviousKeyMaterialId
	AttestationDocumentModuleId AttestationDocumentEnclavePCR0
	FutureSecret SecretAccessKey plainText PLAINTEXT keyid KEYID`)

// sensitive are the members that the model of the API marks as sensitive, and
// what else must never be logged.
var sensitive = strings.Fields(`
	Plaintext PrivateKeyPlaintext SharedSecret Message KeyStorePassword AccessKeyId
	RawSecretAccessKey CiphertextBlob CiphertextForRecipient PrivateKeyCiphertextBlob
	Signature Mac ImportToken EncryptedKeyMaterial GrantToken GrantTokens
	EncapsulatedKey AttestationDocument KeyEncryptionAlgorithm
	FutureSecret SecretAccessKey plainText PLAINTEXT keyid KEYID`)

// structures are the objects of the API: for each, members as the oracle has
// them. Lists of objects have [] before their members.
var structures = map[string]string{
	"Constraints":              "EncryptionContextEquals EncryptionContextSubset",
	"Tags":                     "[] TagKey TagValue",
	"ReplicaTags":              "[] TagKey TagValue",
	"KeyMetadata":              metadataMembers,
	"ReplicaKeyMetadata":       metadataMembers,
	"MultiRegionConfiguration": "MultiRegionKeyType PrimaryKey ReplicaKeys",
	"PrimaryKey":               "Arn Region",
	"ReplicaKeys":              "[] Arn Region",
	"XksKeyConfiguration":      "Id",
	"Recipient":                "AttestationDocumentModuleId AttestationDocumentEnclaveImageDigest AttestationDocumentEnclavePCR0 AttestationDocumentNitroTPMPCR4",
}

const metadataMembers = `AWSAccountId KeyId Arn CreationDate Enabled Description KeyUsage KeyState DeletionDate ValidTo Origin
	CustomKeyStoreId CloudHsmClusterId ExpirationModel KeyManager CustomerMasterKeySpec KeySpec EncryptionAlgorithms SigningAlgorithms
	KeyAgreementAlgorithms MultiRegion MultiRegionConfiguration PendingDeletionWindowInDays MacAlgorithms XksKeyConfiguration CurrentKeyMaterialId`

// vault hands out secrets that are each used at one place.
type vault struct {
	places map[string]string // by secret
	logged bool              // spell names as CloudTrail does
}

func (v *vault) secret(place string) string {
	s := fmt.Sprintf("Zq%05dxVault", len(v.places))
	v.places[s] = place
	return s
}

// plant fills an object with a secret in each of these members, as text, in
// lists and in objects. In the objects of the API it goes down to the last level.
func (v *vault) plant(place string, names []string, top bool) map[string]any {
	object := make(map[string]any)
	for i, name := range names {
		spelt := name
		if v.logged {
			spelt = strings.ToLower(name[:1]) + name[1:]
			if _, twice := object[spelt]; twice || spelt == "keyid" || spelt == "plainText" {
				continue
			}
		}
		at := place + "/" + name
		inner, isStructure := structures[name]
		switch {
		case strings.Contains(name, "EncryptionContext"):
			// Callers name the members, and all of them are logged.
			object[spelt] = map[string]any{"tenant": 5, "list": []any{v.secret(at + "/list")}}
		case isStructure:
			value := v.plant(at, append(strings.Fields(strings.TrimPrefix(inner, "[]")), sensitive...), false)
			object[spelt] = value
			if strings.HasPrefix(inner, "[]") {
				object[spelt] = []any{value, v.secret(at + "[]")}
			}
		case top && (i%9 == 0 || strings.HasPrefix(name, "XksProxyAuth")):
			object[spelt] = v.plant(at, sensitive, false)
		case i%7 == 0:
			object[spelt] = []any{v.secret(at + "[]"), []any{v.secret(at + "[][]")}}
		default:
			object[spelt] = v.secret(at)
		}
	}
	return object
}

// fill plants secrets in all parts of a call, or their first characters as
// escapes.
func (v *vault) fill(t *testing.T, c *keytrailv1.Call, escaped bool) {
	t.Helper()
	for _, part := range []struct {
		name   string
		logged bool
		text   *[]byte
	}{
		{"request", false, &c.RequestParameters},
		{"response", false, &c.Response},
		{"additional", true, &c.AdditionalEventData},
		{"details", true, &c.ServiceEventDetails},
	} {
		v.logged = part.logged
		text, err := json.Marshal(v.plant(part.name, apiMembers, true))
		if err != nil {
			t.Fatal(err)
		}
		if escaped {
			text = bytes.ReplaceAll(text, []byte(`"Zq`), []byte(`"\u005aq`))
		}
		*part.text = text
	}
}

// TestPlantedSecrets plants a secret in every member of the API, in every
// operation, and looks for them in what is recorded and redacted, and in what is
// refused.
func TestPlantedSecrets(t *testing.T) {
	operations := []string{"Transmogrify"}
	for op := range record.Operations() {
		operations = append(operations, op.Name)
	}
	for _, escaped := range []bool{false, true} {
		v := &vault{places: make(map[string]string)}
		full := callOf("", keyOfA)
		v.fill(t, full, escaped)
		for _, name := range operations {
			c := proto.Clone(full).(*keytrailv1.Call)
			c.Operation = &name
			switch name {
			case "ReEncrypt":
				c.Keys = callOf(name, keyOfA, keyOfB).Keys
			case "CreateAlias", "DeleteAlias", "UpdateAlias":
				c.Keys[0].AliasArn = proto.String("arn:aws:kms:us-west-2:111122223333:alias/a")
			}
			if op, known := record.LookupOperation(name); known && op.Keys == record.Absent {
				c.Keys = nil
			}
			v.searchRecords(t, c)
			v.searchProblems(t, c)
			fail("ValidationException")(c)
			v.searchRecords(t, c)
		}
	}
}

// searchRecords looks into everything that is made of a good call.
func (v *vault) searchRecords(t *testing.T, c *keytrailv1.Call) {
	t.Helper()
	op, _ := record.LookupOperation(c.GetOperation())
	safe := record.Redact(c)
	encoded, err := proto.Marshal(safe)
	if err != nil {
		t.Fatal(err)
	}
	v.search(t, c.GetOperation()+": the redacted call", string(encoded), op)
	records := recordsOf(t, record.RecorderConfig{}, c)
	again := recordsOf(t, record.RecorderConfig{}, safe)
	for i, r := range records {
		text, err := record.AppendJSON(nil, r)
		if err != nil {
			t.Fatal(err)
		}
		v.search(t, c.GetOperation()+": the record's JSON", string(text), op)
		v.search(t, c.GetOperation()+": the record", string(mustMarshal(t, r)), op)
		if len(again) != len(records) || !proto.Equal(again[i], r) {
			t.Errorf("%s: the redacted call makes another record", c.GetOperation())
		}
	}
}

// searchProblems breaks one object after another, after all of its secrets.
func (v *vault) searchProblems(t *testing.T, c *keytrailv1.Call) {
	t.Helper()
	for _, text := range []*[]byte{&c.RequestParameters, &c.Response, &c.AdditionalEventData, &c.ServiceEventDetails} {
		good := *text
		*text = append(slices.Clone(good[:len(good)-1]), `,"KeyId":"x","KeyId":"y"}`...)
		records, problem := newRecorder(t, record.RecorderConfig{}).Record(c)
		if records != nil || problem == nil {
			t.Fatalf("%s: a broken object was taken", c.GetOperation())
		}
		v.search(t, c.GetOperation()+": a problem", problem.Error(), nil)
		*text = good
	}
}

// planted finds secrets as they are and in JSON's escapes.
var planted = regexp.MustCompile(`(?:Z|\\+u005a)q\d{5}xVault`)

// search fails if text holds a secret, in any writing, from a place that op
// does not log.
func (v *vault) search(t *testing.T, where, text string, op *record.Operation) {
	t.Helper()
	for _, secret := range planted.FindAllString(text, -1) {
		place := v.places["Z"+secret[strings.IndexByte(secret, 'q'):]]
		if !mayLog(op, place) {
			t.Errorf("%s holds what was planted at %s", where, place)
		}
	}
	if strings.Contains(text, base64.StdEncoding.EncodeToString([]byte("Zq0"))) ||
		strings.Contains(strings.ToLower(text), hex.EncodeToString([]byte("xVault"))) {
		t.Errorf("%s holds a secret in base64 or hexadecimal", where)
	}
}

// mayLog reports whether op logs the member at that place.
func mayLog(op *record.Operation, place string) bool {
	if op == nil {
		return false
	}
	parts := strings.Split(place, "/")
	lists := map[string]string{
		"request": op.Request, "response": op.Response, "additional": op.Additional, "details": op.Details,
	}[parts[0]]
	if op.Class == record.Cryptographic && parts[0] == "response" {
		lists = "KeyMaterialId SourceKeyMaterialId DestinationKeyMaterialId"
	}
	for _, part := range parts[1:] {
		part = strings.TrimSuffix(part, "[]")
		if slices.Contains(sensitive, part) {
			return false
		}
		known := false
		for entry := range strings.FieldsSeq(lists) {
			entry, _, _ := strings.Cut(entry, "=")
			api, logged, renamed := strings.Cut(entry, ":")
			known = known || api == part && (!renamed || logged != "")
		}
		if !known {
			return false
		}
		lists = structures[part]
	}
	return true
}

// Forms of members for the oracle; all others are text.
var (
	numberMembers  = strings.Fields("Limit NumberOfBytes PendingDeletionWindowInDays PendingWindowInDays RotationPeriodInDays")
	booleanMembers = strings.Fields("BypassPolicyLockoutSafetyCheck DryRun Enabled MultiRegion")
	timeMembers    = strings.Fields("CreationDate DeletionDate ValidTo")
	listMembers    = strings.Fields("DryRunModifiers EncryptionAlgorithms KeyAgreementAlgorithms MacAlgorithms Operations SigningAlgorithms TagKeys")
	contextMembers = strings.Fields("DestinationEncryptionContext EncryptionContext EncryptionContextEquals EncryptionContextSubset SourceEncryptionContext")
)

// slowFilter is the redactor over decoded JSON: it deletes what the list does
// not name. With logged, names and times become CloudTrail's.
func slowFilter(object map[string]any, list string, logged bool) map[string]any {
	out := make(map[string]any)
	for entry := range strings.FieldsSeq(list) {
		entry, instead, filled := strings.Cut(entry, "=")
		name, spelt, renamed := strings.Cut(entry, ":")
		if !renamed {
			spelt = strings.ToLower(name[:1]) + name[1:]
		}
		if !logged {
			spelt = name
		}
		if v, ok := slowValue(object[name], name, logged); ok {
			out[spelt] = v
		} else if filled && logged {
			out[spelt] = instead
		}
	}
	return out
}

func slowValue(v any, name string, logged bool) (any, bool) {
	members, isStructure := structures[name]
	_, isText := v.(string)
	switch {
	case isStructure && strings.HasPrefix(members, "[]"):
		list, ok := v.([]any)
		out := []any{}
		for _, e := range list {
			if m, ok := e.(map[string]any); ok {
				out = append(out, slowFilter(m, members[2:], logged))
			}
		}
		return out, ok
	case isStructure:
		m, ok := v.(map[string]any)
		return slowFilter(m, members, logged), ok
	case slices.Contains(contextMembers, name):
		m, ok := v.(map[string]any)
		out := make(map[string]any)
		for k, e := range m {
			if s, ok := e.(string); ok {
				out[k] = s
			}
		}
		return out, ok
	case slices.Contains(listMembers, name):
		list, ok := v.([]any)
		out := []any{}
		for _, e := range list {
			if s, ok := e.(string); ok {
				out = append(out, s)
			}
		}
		return out, ok
	case slices.Contains(numberMembers, name):
		_, ok := v.(json.Number)
		return v, ok
	case slices.Contains(booleanMembers, name):
		_, ok := v.(bool)
		return v, ok
	case slices.Contains(timeMembers, name):
		at, ok := slowTime(v)
		if ok && logged {
			return at, true
		}
		return v, ok
	}
	return v, isText
}

// slowTime is a time of the API in CloudTrail's words, by exact fractions.
func slowTime(v any) (string, bool) {
	var at time.Time
	switch v := v.(type) {
	case json.Number:
		if len(v) > 40 || len(v[strings.IndexAny(string(v)+"e", "eE"):]) > 5 {
			return "", false // too much for big.Rat; the caller leaves it out
		}
		n, ok := new(big.Rat).SetString(string(v))
		if !ok {
			return "", false
		}
		seconds := new(big.Int)
		seconds.Div(n.Num(), n.Denom())
		if !seconds.IsInt64() || seconds.Int64() > 1e12 || seconds.Int64() < -1e12 {
			return "", false
		}
		at = time.Unix(seconds.Int64(), 0).UTC()
	case string:
		var err error
		if at, err = time.Parse(time.RFC3339, v); err != nil {
			return "", false
		}
		at = at.UTC()
	default:
		return "", false
	}
	return at.Format("Jan 2, 2006, 3:04:05 PM"), at.Year() >= 1 && at.Year() <= 9999
}

var redactSeeds = []struct{ op, request, response string }{
	{"Decrypt", `{"CiphertextBlob":"x","EncryptionContext":{"a":"b","c":5,"d":null},"KeyId":"k"}`, `{"Plaintext":"p","KeyMaterialId":"m"}`},
	{"Encrypt", `{"KeyId":{"Plaintext":"x"},"keyId":"y","Plaintext":"p","EncryptionAlgorithm":null}`, `{}`},
	{"ScheduleKeyDeletion", `{"KeyId":"k","PendingWindowInDays":9007199254740993}`, `{"KeyId":"a","DeletionDate":1.660171107E9,"KeyState":"PendingDeletion"}`},
	{"CreateKey", `{"Tags":[{"TagKey":"a","TagValue":"b","x":1},5,[]],"Policy":"{ }","MultiRegion":true}`, `{"KeyMetadata":{"AWSAccountId":"1","CreationDate":"2022-08-10T22:38:27.9+02:00","ValidTo":-0.5,"MultiRegionConfiguration":{"PrimaryKey":{"Arn":"a","x":"y"},"ReplicaKeys":[{"Region":"r"}]}}}`},
	{"CreateGrant", `{"Operations":["Encrypt",5,"Decrypt"],"Constraints":{"EncryptionContextSubset":{"\ud800":"\ud83d\ude00"},"x":{}},"GrantTokens":["t"]}`, `{"GrantToken":"t","GrantId":"g"}`},
	{"CreateCustomKeyStore", `{"CloudHsmClusterId":"c","KeyStorePassword":"p","XksProxyAuthenticationCredential":{"AccessKeyId":"a","RawSecretAccessKey":"r"}}`, `{"CustomKeyStoreId":"i"}`},
	{"ImportKeyMaterial", ` { "Key\u0049d" : "k" , "ValidTo" : 253402300799.99e0 } `, `{"KeyMaterialId":"m","KeyId":"k"}`},
	{"Nothing", `{"KeyId":"k"}`, `{"KeyId":"k"}`},
	{"Decrypt", `[]`, `{"a":1,"a":2}`},
	{"Decrypt", `{"EncryptionContext":{"a":"b","a":"c"}}`, ``},
}

// FuzzRedact holds the redactor to slowFilter.
func FuzzRedact(f *testing.F) {
	for _, s := range redactSeeds {
		f.Add(s.op, s.request, s.response)
	}
	recorder, err := record.NewRecorder(record.RecorderConfig{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name, request, response string) {
		c := callOf(name, keyOfA)
		if name == "ReEncrypt" {
			c = callOf(name, keyOfA, keyOfB)
		}
		c.Keys[0].AliasArn = proto.String("arn:aws:kms:us-west-2:111122223333:alias/a")
		c.RequestParameters, c.Response = []byte(request), []byte(response)
		before := proto.Clone(c)
		records, problem := recorder.Record(c)
		safe := record.Redact(c)
		if !proto.Equal(before, c) {
			t.Error("the call was changed")
		}
		again, problem2 := recorder.Record(safe)
		if !reflect.DeepEqual(problem, problem2) || len(records) != len(again) {
			t.Fatalf("the call: %v; redacted: %v", problem, problem2)
		}
		if problem != nil {
			return
		}
		for i := range records {
			if !proto.Equal(records[i], again[i]) {
				t.Errorf("redacted, the call makes another record\n%v\n%v", records[i], again[i])
			}
			if p := record.Validate(records[i], record.Policy{}); p != nil {
				t.Errorf("not valid: %v", p)
			}
		}
		op, known := record.LookupOperation(name)
		if !known {
			op = new(record.Operation)
		}
		sent, err := anyJSON(c.RequestParameters)
		if err != nil {
			return // deeper than encoding/json goes
		}
		answered, err := anyJSON(c.Response)
		if err != nil {
			return
		}
		same(t, "the redacted request", safe.RequestParameters, slowFilter(sent.(map[string]any), op.Request, false))
		same(t, "requestParameters", records[0].RequestParameters, slowFilter(sent.(map[string]any), op.Request, true))
		want := slowFilter(answered.(map[string]any), op.Response, true)
		if op.KeyID == record.Enriched {
			want["keyId"] = keyOfA
		}
		same(t, "responseElements", records[0].ResponseElements, want)
	})
}

// same fails if text is not the object want; nil and null are no members.
func same(t *testing.T, what string, text []byte, want map[string]any) {
	t.Helper()
	got := make(map[string]any)
	if len(text) > 0 && string(text) != "null" {
		v, err := anyJSON(text)
		if err != nil {
			t.Fatal(err)
		}
		got = v.(map[string]any)
	}
	if _, cut := got["omitted"]; cut && len(want) > 0 {
		return
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %s, want %s", what, textOf(t, got), textOf(t, want))
	}
}

func TestRedactNil(t *testing.T) {
	if record.Redact(nil) != nil {
		t.Error("a call was made of nothing")
	}
	c := &keytrailv1.Call{Keys: []*keytrailv1.CallKey{nil}}
	if got := record.Redact(c); !proto.Equal(got, &keytrailv1.Call{Keys: []*keytrailv1.CallKey{{}}}) {
		t.Errorf("got %v", got)
	}
}

// TestRedactUnchecked: Redact comes before all checks, and stands what they
// would refuse.
func TestRedactUnchecked(t *testing.T) {
	c := callOf("Encrypt", keyOfA)
	c.Error = &keytrailv1.CallError{Code: new("ValidationException"), Message: new(strings.Repeat("\x80", 2000))}
	_, want := newRecorder(t, record.RecorderConfig{}).Record(c)
	_, got := newRecorder(t, record.RecorderConfig{}).Record(record.Redact(c))
	if want == nil || got == nil || *got != *want {
		t.Errorf("redacted: %v, want %v", got, want)
	}
}
