package sample

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

func take(cfg Config, n int) []*keytrailv1.Record {
	g := New(cfg)
	out := make([]*keytrailv1.Record, n)
	for i := range out {
		out[i] = g.Next()
	}
	return out
}

// corpus is for tests that only look.
var corpus = sync.OnceValue(func() []*keytrailv1.Record { return take(Config{Seed: 3}, 20_000) })

func TestSameSeedSameRecords(t *testing.T) {
	for _, cfg := range []Config{{Seed: 7}, {Seed: 7, Bytes: 1024}, {Seed: 7, Keys: 1, Accounts: 1}} {
		a, b := take(cfg, 2000), take(cfg, 2000)
		for i := range a {
			if !bytes.Equal(encode(t, a[i]), encode(t, b[i])) {
				t.Fatalf("%+v: record %d differs", cfg, i)
			}
		}
		cfg.Seed++
		if proto.Equal(a[0], New(cfg).Next()) {
			t.Errorf("%+v: another seed makes the same record", cfg)
		}
	}
}

func encode(t *testing.T, r *keytrailv1.Record) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRecordsAreValid(t *testing.T) {
	for _, records := range [][]*keytrailv1.Record{
		corpus(),
		take(Config{Seed: 1, Accounts: 1, Keys: 3}, 2000),
		take(Config{Seed: 2, Uniform: true, Bytes: 1024}, 2000),
	} {
		for _, r := range records {
			if p := record.Validate(r, record.Policy{}); p != nil {
				t.Fatalf("Validate: %v\n%v", p, r)
			}
			text, err := record.AppendJSON(nil, r)
			if err != nil {
				t.Fatalf("AppendJSON: %v\n%v", err, r)
			}
			back, err := record.FromJSON(text)
			if err != nil {
				t.Fatalf("FromJSON: %v\n%s", err, text)
			}
			if !proto.Equal(r, back) {
				t.Fatalf("round trip through JSON changes\n%s", text)
			}
		}
	}
}

func TestAllOperationsAppear(t *testing.T) {
	for _, cfg := range []Config{{}, {Uniform: true}, {Seed: 99, Bytes: 1024}} {
		count := make(map[string]int)
		for _, r := range take(cfg, 20_000) {
			count[r.GetEventName()]++
		}
		if len(operations) != 60 {
			t.Errorf("%d operations, want 60", len(operations))
		}
		for _, o := range operations {
			if count[o.name] == 0 {
				t.Errorf("%+v: no %s", cfg, o.name)
			}
		}
		if n := count["Decrypt"] + count["GenerateDataKey"]; n < 10_000 {
			t.Errorf("%+v: %d of 20,000 are Decrypt or GenerateDataKey, want most", cfg, n)
		}
	}
}

func TestEventIDsAreUnique(t *testing.T) {
	seen := make(map[string]bool)
	for seed := range uint64(2) {
		g := New(Config{Seed: seed})
		for range 50_000 {
			r := g.Next()
			if seen[r.GetEventId()] {
				t.Fatalf("event ID %s twice", r.GetEventId())
			}
			seen[r.GetEventId()] = true
		}
	}
}

func TestPopularity(t *testing.T) {
	count := func(cfg Config) []int {
		g := New(cfg)
		byKey := make(map[string]int)
		for range 20_000 {
			for _, e := range g.Next().GetResources().GetEntries() {
				byKey[e.GetArn()]++
			}
		}
		var out []int
		for _, arn := range g.Keys() {
			out = append(out, byKey[arn])
		}
		return out
	}
	n := count(Config{})
	if m := slices.Max(n); n[0] != m {
		t.Errorf("the first key has %d records, another %d", n[0], m)
	}
	if n[0] < 4*n[9] {
		t.Errorf("the first key has %d records, the tenth %d", n[0], n[9])
	}
	n = count(Config{Uniform: true})
	if lo, hi := slices.Min(n), slices.Max(n); hi > 2*lo {
		t.Errorf("uniform keys have %d to %d records", lo, hi)
	}
}

func TestKeysAreDistinct(t *testing.T) {
	g := New(Config{Keys: 5000, Accounts: 70})
	keys := g.Keys()
	for _, k := range keys {
		if !record.IsKeyARN(k) {
			t.Fatalf("%q is not a key ARN", k)
		}
	}
	slices.Sort(keys)
	if n := len(slices.Compact(keys)); n != 5000 {
		t.Errorf("%d distinct keys, want 5000", n)
	}
}

func TestPadding(t *testing.T) {
	for _, want := range []int{1024, 4096, 20_000} {
		larger := 0
		for i, r := range take(Config{Bytes: want}, 2000) {
			n := proto.Size(r)
			if n < want*9/10 {
				t.Fatalf("%d bytes: record %d, a %s, has %d", want, i, r.GetEventName(), n)
			}
			if n > want*11/10 {
				larger++
				if r.EventContext != nil {
					t.Fatalf("%d bytes: record %d, a %s, has %d after padding", want, i, r.GetEventName(), n)
				}
			}
		}
		if larger > 2000/20 {
			t.Errorf("%d bytes: %d of 2000 records are much larger", want, larger)
		}
	}
}

func TestTimeAscends(t *testing.T) {
	const n = 10_000
	cfg := Config{Start: time.Date(2026, 3, 1, 0, 0, 0, 5, time.UTC), Step: 100 * time.Millisecond}
	records := take(cfg, n)
	if got := records[0].EventTime.AsTime(); !got.Equal(cfg.Start.Truncate(time.Second)) {
		t.Errorf("the first event is at %v", got)
	}
	for i := range records[1:] {
		if records[i+1].EventTime.AsTime().Before(records[i].EventTime.AsTime()) || records[i].EventTime.Nanos != 0 {
			t.Fatalf("record %d: time %v", i, records[i].EventTime)
		}
	}
	span := records[n-1].EventTime.AsTime().Sub(cfg.Start)
	if want := n * cfg.Step; span < want*8/10 || span > want*12/10 {
		t.Errorf("%d records span %v, want about %v", n, span, want)
	}
}

// TestNothingSecret looks for the members of requests and responses that a
// KMS must not log.
func TestNothingSecret(t *testing.T) {
	secret := []string{
		"ciphertextBlob", "plaintext", "importToken", "encryptedKeyMaterial", "grantToken", "grantTokens", "signature",
		"mac", "message", "sharedSecret", "privateKeyPlaintext", "privateKeyCiphertextBlob", "publicKey",
		"keyStorePassword", "trustAnchorCertificate", "xksProxyAuthenticationCredential", "attestationDocument",
	}
	for _, r := range corpus() {
		for _, text := range [][]byte{r.RequestParameters, r.ResponseElements, r.AdditionalEventData, r.ServiceEventDetails, r.EventContext} {
			for _, name := range memberNames(t, text) {
				if slices.ContainsFunc(secret, func(s string) bool { return strings.EqualFold(s, name) }) {
					t.Fatalf("%s has %s: %s", r.GetEventName(), name, text)
				}
			}
		}
	}
}

func memberNames(t *testing.T, text []byte) []string {
	if text == nil {
		return nil
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	var names []string
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, value := range v {
				names = append(names, name)
				walk(value)
			}
		case []any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(v)
	return names
}

func TestShapes(t *testing.T) {
	var failed, shared int
	seen := make(map[string]bool)
	var last *keytrailv1.Record
	total := len(corpus())
	for _, r := range corpus() {
		n := len(r.GetResources().GetEntries())
		if r.ErrorCode != nil {
			failed++
			seen["failure "+r.GetErrorCode()] = true
			if string(r.ResponseElements) != "null" {
				t.Fatalf("failed %s has a response: %s", r.GetEventName(), r.ResponseElements)
			}
			if r.GetErrorCode() == "AccessDenied" && (r.SharedEventId != nil || r.GetRecipientAccountId() != r.GetUserIdentity().GetAccountId()) && r.GetUserIdentity().GetType() != "AWSService" {
				t.Fatalf("a denied call is told to another account: %v", r)
			}
		}
		switch r.GetEventName() {
		case "ReEncrypt", "CreateAlias", "UpdateAlias", "DeleteAlias":
			if n != 2 && r.ErrorCode == nil {
				t.Errorf("%s has %d resources", r.GetEventName(), n)
			}
		case "GenerateRandom", "ListKeys", "ListAliases", "ListRetirableGrants":
			if r.Resources == nil || n != 0 {
				t.Errorf("%s has resources %v", r.GetEventName(), r.Resources)
			}
		case "CreateCustomKeyStore", "ConnectCustomKeyStore", "DescribeCustomKeyStores":
			if r.Resources != nil {
				t.Errorf("%s has resources %v", r.GetEventName(), r.Resources)
			}
		case "Decrypt":
			if n == 0 && r.GetErrorCode() != "NotFoundException" || !r.GetReadOnly() || string(r.ResponseElements) != "null" {
				t.Errorf("not a Decrypt: %v", r)
			}
		case "RotateKey", "DeleteKey", "DeleteExpiredKeyMaterial":
			if r.RequestId != nil || r.GetEventType() != "AwsServiceEvent" || r.GetUserIdentity().Type != nil || r.GetSourceIpAddress() != "AWS Internal" {
				t.Errorf("not a service event: %v", r)
			}
		case "DisableKey":
			if r.ErrorCode == nil && !bytes.Contains(r.ResponseElements, []byte(r.Resources.Entries[0].GetArn())) {
				t.Errorf("DisableKey does not answer with the key: %s", r.ResponseElements)
			}
		}
		if id := r.SharedEventId; id != nil {
			shared++
			if last != nil && last.GetSharedEventId() == *id {
				u := r.GetUserIdentity()
				if last.GetEventId() == r.GetEventId() || last.GetRequestId() != r.GetRequestId() ||
					last.GetRecipientAccountId() == r.GetRecipientAccountId() ||
					u.GetAccountId() != r.GetRecipientAccountId() || last.GetUserIdentity().GetAccountId() != u.GetAccountId() {
					t.Fatalf("not copies of one call:\n%v\n%v", last, r)
				}
				if !bytes.Equal(last.RequestParameters, r.RequestParameters) {
					t.Fatalf("copies tell of different requests")
				}
			}
		}
		seen["identity "+r.GetUserIdentity().GetType()] = true
		seen["endpoint"] = seen["endpoint"] || r.VpcEndpointId != nil && strings.HasPrefix(r.GetSourceIpAddress(), "10.")
		seen["tls"] = seen["tls"] || r.TlsDetails != nil
		seen["forwarded"] = seen["forwarded"] || r.GetUserIdentity().GetType() == "AssumedRole" && r.GetUserIdentity().GetInvokedBy() == r.GetSourceIpAddress()
		seen["mrk"] = seen["mrk"] || n > 0 && strings.Contains(r.Resources.Entries[0].GetArn(), "key/mrk-")
		seen["key store"] = seen["key store"] || bytes.Contains(r.AdditionalEventData, []byte(`"xksKeyId"`))
		seen["enclave"] = seen["enclave"] || bytes.Contains(r.AdditionalEventData, []byte(`"recipient"`))
		seen["s3"] = seen["s3"] || bytes.Contains(r.RequestParameters, []byte(`"aws:s3:arn"`))
		last = r
	}
	if failed < total/50 || failed > total/25 {
		t.Errorf("%d of %d calls failed, want about 3 %%", failed, total)
	}
	if shared == 0 || shared%2 == 1 && last.SharedEventId == nil {
		t.Errorf("%d records are shared, want pairs", shared)
	}
	for _, want := range []string{
		"identity Root", "identity IAMUser", "identity AssumedRole", "identity AWSService", "identity AWSAccount", "identity ",
		"endpoint", "tls", "forwarded", "mrk", "key store", "enclave", "s3",
	} {
		if !seen[want] {
			t.Errorf("no record has %s", want)
		}
	}
	for _, f := range failures {
		if f.weight > 2 && !seen["failure "+f.code] && f.only == nil {
			t.Errorf("no call failed with %s", f.code)
		}
	}
}

// TestRecordsShareNothing changes all that a record points to, and expects the
// same of the rest as without.
func TestRecordsShareNothing(t *testing.T) {
	a, b := New(Config{Seed: 5, Bytes: 1024}), New(Config{Seed: 5, Bytes: 1024})
	for i := range 2000 {
		ra, rb := a.Next(), b.Next()
		if !proto.Equal(ra, rb) {
			t.Fatalf("record %d was changed through another", i)
		}
		for _, v := range [][]byte{rb.RequestParameters, rb.ResponseElements, rb.AdditionalEventData, rb.UserIdentity.SessionContext.GetWebIdFederationData()} {
			clear(v)
			_ = append(v, "spoilt"...)
		}
		for _, p := range []*string{rb.EventName, rb.UserAgent, rb.UserIdentity.Arn, rb.AwsRegion} {
			if p != nil {
				*p = "spoilt"
			}
		}
		proto.Reset(rb)
	}
}

func BenchmarkNext(b *testing.B) {
	for _, bb := range []struct {
		name string
		cfg  Config
	}{
		{"plain", Config{}},
		{"padded to 1 KiB", Config{Bytes: 1024}},
		{"uniform million keys", Config{Keys: 1_000_000, Accounts: 100, Uniform: true}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			g := New(bb.cfg)
			b.ReportAllocs()
			for b.Loop() {
				g.Next()
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

func BenchmarkMarshal(b *testing.B) {
	records := take(Config{}, 1000)
	n := 0
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		out, _ := proto.Marshal(records[i%len(records)])
		n += len(out)
	}
	b.ReportMetric(float64(n)/float64(b.N), "bytes/record")
}
