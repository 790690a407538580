package record_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

const minimal = `"eventID":"1","eventName":"Decrypt","eventSource":"kms.amazonaws.com","eventTime":"2026-11-24T10:00:00Z"`

var secretTests = []struct {
	name, members string
	field         string // "": no secret
}{
	{"none", `"requestParameters":{"keyId":"a","encryptionAlgorithm":"SYMMETRIC_DEFAULT"},"responseElements":null`, ""},
	{"plaintext sent", `"requestParameters":{"keyId":"a","plaintext":"c2VjcmV0"}`, "requestParameters.plaintext"},
	{"plaintext answered", `"responseElements":{"plaintext":"c2VjcmV0"}`, "responseElements.plaintext"},
	{"as the API spells it", `"requestParameters":{"Plaintext":"c2VjcmV0"}`, "requestParameters.Plaintext"},
	{"shouted", `"requestParameters":{"PLAINTEXT":"c2VjcmV0"}`, "requestParameters.PLAINTEXT"},
	{"escaped", `"requestParameters":{"pl\u0061intext":"c2VjcmV0"}`, `requestParameters.pl\u0061intext`},
	{"null", `"responseElements":{"plaintext":null,"ciphertextBlob":null}`, ""},
	{"deep", `"requestParameters":{"a":[{"b":{}},{"c":{"rawSecretAccessKey":"s"}}]}`, "requestParameters.a[1].c.rawSecretAccessKey"},
	{"a credential", `"requestParameters":{"xksProxyAuthenticationCredential":{"accessKeyId":"x"}}`, "requestParameters.xksProxyAuthenticationCredential"},
	{"grant tokens", `"requestParameters":{"grantTokens":["t"]}`, "requestParameters.grantTokens"},
	{"additional data", `"additionalEventData":{"recipient":{"attestationDocument":"d"}}`, "additionalEventData.recipient.attestationDocument"},
	{"service event", `"serviceEventDetails":{"plaintext":"d"}`, "serviceEventDetails.plaintext"},
	{"beside the record", `"plaintext":"d"`, "plaintext"},
	{"message of Sign", `"requestParameters":{"message":"d"}`, "requestParameters.message"},
	{"a part of a credential", `"responseElements":{"customKeyStores":[{"xksProxyConfiguration":{"accessKeyId":"a"}}]}`, "responseElements.customKeyStores[0].xksProxyConfiguration.accessKeyId"},
	{"a public key", `"requestParameters":{"publicKey":"k"},"responseElements":{"publicKey":"k"}`, ""},
	{"message elsewhere", `"additionalEventData":{"message":"hello"},"errorMessage":"plaintext"`, ""},
	{"names that callers choose", `"requestParameters":{"encryptionContext":{"plaintext":"a","message":"b"},"constraints":{"encryptionContextSubset":{"mac":"c"}}}`, ""},
	{"below a name that callers choose", `"requestParameters":{"encryptionContext":{"plaintext":{"plaintext":"a"}}}`, "requestParameters.encryptionContext.plaintext.plaintext"},
	{"a context that is none", `"requestParameters":{"encryptionContext":[{"plaintext":"a"}]}`, "requestParameters.encryptionContext[0].plaintext"},
	{"tags", `"requestParameters":{"tags":[{"tagKey":"message","tagValue":"signature"}]}`, ""},
	{"a value like a name", `"requestParameters":{"keyId":"plaintext"}`, ""},
	{"a long name", `"requestParameters":{"` + strings.Repeat("x", 500) + `":{"plaintext":"d"}}`, "requestParameters." + strings.Repeat("x", 500) + ".plaintext"},
}

func TestCheckSecrets(t *testing.T) {
	for _, tt := range secretTests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := record.FromJSON([]byte("{" + minimal + "," + tt.members + "}"))
			if err != nil {
				t.Fatal(err)
			}
			p := record.Validate(r, record.Policy{})
			switch {
			case tt.field == "" && p != nil:
				t.Errorf("refused: %v", p)
			case tt.field != "" && (p == nil || p.Code != keytrailv1.RejectionCode_REJECTION_CODE_SECRET || p.Field != tt.field):
				t.Errorf("got %v, want SECRET at %s", p, tt.field)
			}
		})
	}
}

// TestDeepSecret: a rejection says where a secret is, but not all of a path that
// is as long as the record.
func TestDeepSecret(t *testing.T) {
	const levels = 9000
	open, shut := strings.Repeat(`{"nnnnnnnnnn":[`, levels/2), strings.Repeat("]}", levels/2)
	r, err := record.FromJSON([]byte("{" + minimal + `,"requestParameters":{"a":1}}`))
	if err != nil {
		t.Fatal(err)
	}
	r.RequestParameters = []byte(open + `{"plaintext":"x"}` + shut)
	p := record.CheckSecrets(r)
	if p == nil || !strings.HasPrefix(p.Field, "requestParameters.nnnnnnnnnn[0].nnnnnnnnnn[0].") || len(p.Field) > 2000 {
		t.Fatalf("got %.200v", p)
	}
}

func TestWrappingKey(t *testing.T) {
	r, err := record.FromJSON([]byte(`{"eventID":"1","eventName":"GetParametersForImport","eventSource":"kms.amazonaws.com","eventTime":"2026-11-24T10:00:00Z","responseElements":{"publicKey":"k"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if p := record.Validate(r, record.Policy{}); p == nil || p.Field != "responseElements.publicKey" {
		t.Errorf("got %v", p)
	}
}

func TestOtherSourcesSecrets(t *testing.T) {
	r, err := record.FromJSON([]byte(`{"eventID":"1","eventName":"Publish","eventSource":"sns.amazonaws.com","eventTime":"2026-11-24T10:00:00Z","requestParameters":{"message":"m"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if p := record.Validate(r, record.Policy{AllSources: true}); p != nil {
		t.Errorf("a record of another service: %v", p)
	}
}

// FuzzCheckSecrets holds the search to one over decoded JSON.
func FuzzCheckSecrets(f *testing.F) {
	for _, tt := range secretTests {
		f.Add("{" + tt.members + "}")
	}
	secrets := strings.Fields("plaintext ciphertextblob ciphertextforrecipient privatekeyplaintext privatekeyciphertextblob sharedsecret importtoken " +
		"encryptedkeymaterial granttoken granttokens keystorepassword xksproxyauthenticationcredential rawsecretaccesskey attestationdocument")
	contexts := strings.Fields("encryptioncontext sourceencryptioncontext destinationencryptioncontext encryptioncontextequals encryptioncontextsubset")
	ascii := func(s string) string {
		return strings.Map(func(r rune) rune {
			if 'A' <= r && r <= 'Z' {
				return r + 'a' - 'A'
			}
			return r
		}, s)
	}
	var holds func(v any, data, key bool) bool
	holds = func(v any, data, key bool) bool {
		switch v := v.(type) {
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(v)) {
				low := ascii(name)
				if context, ok := v[name].(map[string]any); ok && slices.Contains(contexts, low) {
					if holds(slices.Collect(maps.Values(context)), data, key) {
						return true
					}
					continue
				}
				bad := slices.Contains(secrets, low) || data && slices.Contains([]string{"message", "mac", "signature", "accesskeyid"}, low) || key && low == "publickey"
				if bad && v[name] != nil || holds(v[name], data, key) {
					return true
				}
			}
		case []any:
			return slices.ContainsFunc(v, func(e any) bool { return holds(e, data, key) })
		}
		return false
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := record.FromJSON([]byte(text))
		if err != nil {
			return
		}
		source := record.EventSource
		r.EventSource = &source
		want := false
		for _, part := range []struct {
			text []byte
			data bool
			key  bool
		}{
			{r.GetRequestParameters(), true, false},
			{r.GetResponseElements(), true, r.GetEventName() == "GetParametersForImport"},
			{r.GetAdditionalEventData(), false, false}, {r.GetServiceEventDetails(), false, false}, {r.GetVerbatim(), false, false},
		} {
			var v any
			if len(part.text) > 0 {
				if err := json.Unmarshal(part.text, &v); err != nil {
					return // deeper than encoding/json goes
				}
			}
			want = want || holds(v, part.data, part.key)
		}
		if p := record.CheckSecrets(r); (p != nil) != want {
			t.Errorf("%s: got %v, want a secret: %t", text, p, want)
		}
	})
}
