package kmshttp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/keytrail/keytrail/client/kmshttp"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// arns are the keys of a call.
func arns(c *keytrailv1.Call) (all []string) {
	for _, k := range c.GetKeys() {
		all = append(all, k.GetArn())
	}
	return all
}

// checkCall holds c to what every call of alice's SDK has.
func checkCall(t *testing.T, r *rig, c *keytrailv1.Call, operation string, keys ...string) {
	t.Helper()
	seen := r.kms.last()
	if id, err := uuid.Parse(c.GetCallId()); err != nil || id.Version() != 7 {
		t.Errorf("call ID %q is no UUIDv7", c.GetCallId())
	}
	if c.GetOperation() != operation {
		t.Errorf("operation %q, want %q", c.GetOperation(), operation)
	}
	if d := time.Since(c.GetTime().AsTime()); d < 0 || d > time.Minute {
		t.Errorf("time %v", c.GetTime().AsTime())
	}
	if c.GetRegion() != region {
		t.Errorf("region %q", c.GetRegion())
	}
	want := user("alice")
	want.AccessKeyId = new(aliceKey)
	if !proto.Equal(c.GetCaller(), want) {
		t.Errorf("caller %v, want %v", c.GetCaller(), want)
	}
	if got := strings.Join(arns(c), " "); got != strings.Join(keys, " ") {
		t.Errorf("keys %q, want %q", got, keys)
	}
	if !bytes.Equal(c.GetRequestParameters(), seen.request) {
		t.Errorf("parameters %s, the KMS saw %s", c.GetRequestParameters(), seen.request)
	}
	if c.GetError() == nil && !bytes.Equal(c.GetResponse(), seen.got) {
		t.Errorf("response %s, the KMS gave %s", c.GetResponse(), seen.got)
	}
	if c.GetError() != nil && c.Response != nil {
		t.Error("a failed call has a response")
	}
	if c.GetSourceIpAddress() != "127.0.0.1" || !strings.HasPrefix(c.GetUserAgent(), "aws-sdk-go-v2/") {
		t.Errorf("source %q, user agent %q", c.GetSourceIpAddress(), c.GetUserAgent())
	}
	if _, err := uuid.Parse(c.GetRequestId()); err != nil {
		t.Errorf("request ID %q", c.GetRequestId())
	}
	tls := c.GetTlsDetails()
	if tls.GetTlsVersion() != "TLSv1.3" || !strings.HasPrefix(tls.GetCipherSuite(), "TLS_") ||
		tls.GetKeyExchange() != "X25519MLKEM768" || tls.GetClientProvidedHostHeader() != r.server.Listener.Addr().String() {
		t.Errorf("TLS details %v", tls)
	}
}

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

func TestOperations(t *testing.T) {
	r := newRig(t, kmshttp.Config{}, nil)
	c, ctx := r.alice(), t.Context()

	made, err := c.CreateKey(ctx, &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	key := *made.KeyMetadata.Arn
	checkCall(t, r, r.sink.only(t), "CreateKey", key)
	other := r.key()

	if _, err := c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: made.KeyMetadata.KeyId}); err != nil {
		t.Fatal(err)
	}
	checkCall(t, r, r.sink.only(t), "DescribeKey", key)

	if _, err := c.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/app"), TargetKeyId: &key}); err != nil {
		t.Fatal(err)
	}
	m := r.sink.only(t)
	checkCall(t, r, m, "CreateAlias", key)
	if alias := m.GetKeys()[0].GetAliasArn(); alias != "arn:aws:kms:eu-west-1:111122223333:alias/app" {
		t.Errorf("alias %q", alias)
	}
	if m.Response != nil {
		t.Errorf("response %q of an operation that has none", m.Response)
	}

	plain := []byte("attack at dawn")
	bound := map[string]string{"app": "keytrail"}
	sealed, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: aws.String("alias/app"), Plaintext: plain, EncryptionContext: bound})
	if err != nil {
		t.Fatal(err)
	}
	checkCall(t, r, r.sink.only(t), "Encrypt", key)

	opened, err := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob, EncryptionContext: bound})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(opened.Plaintext, plain) {
		t.Errorf("decrypted %q", opened.Plaintext)
	}
	checkCall(t, r, r.sink.only(t), "Decrypt", key)

	if _, err := c.ReEncrypt(ctx, &kms.ReEncryptInput{CiphertextBlob: sealed.CiphertextBlob, SourceEncryptionContext: bound, DestinationKeyId: &other}); err != nil {
		t.Fatal(err)
	}
	checkCall(t, r, r.sink.only(t), "ReEncrypt", key, other)

	data, err := c.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: &other, KeySpec: types.DataKeySpecAes256})
	if err != nil {
		t.Fatal(err)
	}
	m = r.sink.only(t)
	checkCall(t, r, m, "GenerateDataKey", other)
	var extra map[string]string
	if err := json.Unmarshal(m.GetAdditionalEventData(), &extra); err != nil || extra["keyMaterialId"] != *data.KeyMaterialId || len(extra) != 1 {
		t.Errorf("additional event data %s, %v", m.GetAdditionalEventData(), err)
	}

	if _, err := c.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &key}); err != nil {
		t.Fatal(err)
	}
	checkCall(t, r, r.sink.only(t), "DisableKey", key)
}

func TestFailedOperations(t *testing.T) {
	r := newRig(t, kmshttp.Config{}, nil)
	c := r.alice()
	key, off := r.key(), r.key()
	r.kms.keys[off[len(off)-36:]].disabled = true
	const none = "arn:aws:kms:eu-west-1:999999999999:key/00000000-0000-0000-0000-000000000000"
	for _, tt := range []struct {
		name string
		call func(context.Context) error
		op   string
		code string
		keys []string
	}{
		{"disabled", func(ctx context.Context) error {
			_, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &off, Plaintext: []byte("x")})
			return err
		}, "Encrypt", "DisabledException", []string{off}},
		{"dry run", func(ctx context.Context) error {
			_, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &key, Plaintext: []byte("x"), DryRun: aws.Bool(true)})
			return err
		}, "Encrypt", "DryRunOperationException", []string{key}},
		{"no such key", func(ctx context.Context) error {
			_, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: aws.String(none), Plaintext: []byte("x")})
			return err
		}, "Encrypt", "NotFoundException", nil},
		{"only the ID is known", func(ctx context.Context) error {
			_, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: aws.String(off[len(off)-36:]), Plaintext: []byte("x")})
			return err
		}, "Encrypt", "DisabledException", []string{off}},
		{"bad ciphertext", func(ctx context.Context) error {
			_, err := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: []byte("junk")})
			return err
		}, "Decrypt", "InvalidCiphertextException", nil},
		{"not in this KMS", func(ctx context.Context) error {
			_, err := c.GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: &key})
			return err
		}, "GetKeyPolicy", "UnsupportedOperationException", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.call(t.Context()); code(err) != tt.code {
				t.Errorf("the SDK says %v, want %s", err, tt.code)
			}
			m := r.sink.only(t)
			checkCall(t, r, m, tt.op, tt.keys...)
			if m.GetError().GetCode() != tt.code {
				t.Errorf("error %v, want %s", m.GetError(), tt.code)
			}
			if m.GetDryRun() != (tt.name == "dry run") {
				t.Errorf("dry run = %v", m.GetDryRun())
			}
		})
	}
}

// TestIdentity: a caller is named only when that is proven.
func TestIdentity(t *testing.T) {
	now := time.Now
	for _, tt := range []struct {
		name       string
		id, secret string
		deny       string // what the KMS says
		skew       time.Duration
		want       string // who; "" is Unknown
	}{
		{"verified", aliceKey, aliceSecret, "", 0, "alice"},
		{"verified, whatever the KMS says", aliceKey, aliceSecret, "ThrottlingException", 0, "alice"},
		{"forged", aliceKey, "a guess", "", 0, ""},
		{"forged and denied", aliceKey, "a guess", "AccessDeniedException", 0, ""},
		{"four minutes old", aliceKey, aliceSecret, "", 4 * time.Minute, "alice"},
		{"six minutes old", aliceKey, aliceSecret, "", 6 * time.Minute, ""},
		{"six minutes ahead", aliceKey, aliceSecret, "", -6 * time.Minute, ""},
		{"accepted", bobKey, bobSecret, "", 0, "bob"},
		{"denied, so known", bobKey, bobSecret, "AccessDeniedException", 0, "bob"},
		{"not authenticated", bobKey, bobSecret, "UnrecognizedClientException", 0, ""},
		{"wrong signature", bobKey, bobSecret, "InvalidSignatureException", 0, ""},
		{"perhaps not authenticated", bobKey, bobSecret, "ValidationException", 0, ""},
		{"unknown key", "AKIAMALLORYEXAMPLE", "x", "", 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, kmshttp.Config{Account: "444455556666", Now: func() time.Time { return now().Add(tt.skew) }}, nil)
			key := r.key()
			if tt.deny != "" {
				r.kms.deny[tt.id] = tt.deny
			}
			_, err := r.client(tt.id, tt.secret).DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: &key})
			if code(err) != tt.deny {
				t.Fatal(err)
			}
			m := r.sink.only(t)
			want := &keytrailv1.UserIdentity{Type: new("Unknown")}
			if tt.want != "" {
				want = user(tt.want)
			}
			want.AccessKeyId = new(tt.id)
			if !proto.Equal(m.GetCaller(), want) {
				t.Errorf("caller %v, want %v", m.GetCaller(), want)
			}
			if m.GetAccountId() != "444455556666" {
				t.Errorf("account %q", m.GetAccountId())
			}
			if found := tt.deny == "" || tt.deny == "AccessDeniedException"; found != (len(m.GetKeys()) == 1) {
				t.Errorf("keys %q after %q", arns(m), tt.deny)
			}
		})
	}
}

// TestUnprovenRegion: a caller who is not proven does not choose the Region.
func TestUnprovenRegion(t *testing.T) {
	for _, tt := range []struct{ id, secret, want string }{
		{aliceKey, aliceSecret, region},
		{aliceKey, "a guess", "us-east-1"},
	} {
		r := newRig(t, kmshttp.Config{Region: "us-east-1"}, nil)
		key := r.key()
		if _, err := r.client(tt.id, tt.secret).DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: &key}); err != nil {
			t.Fatal(err)
		}
		if got := r.sink.only(t).GetRegion(); got != tt.want {
			t.Errorf("region %q, want %q", got, tt.want)
		}
	}
}

// TestResolve: an alias is resolved for each call anew, and before the call
// that removes it.
func TestResolve(t *testing.T) {
	var r *rig
	var asked []string
	r = newRig(t, kmshttp.Config{Resolve: func(_ context.Context, in, id string) (string, error) {
		asked = append(asked, in+" "+id)
		r.kms.mu.Lock()
		defer r.kms.mu.Unlock()
		key, fault := r.kms.find(id)
		if fault != nil {
			return "", errors.New("no " + id)
		}
		return key.arn, nil
	}}, nil)
	c, ctx := r.alice(), t.Context()
	one, two := r.key(), r.key()
	r.kms.deny["nobody"] = ""
	for _, key := range []string{one, two} {
		r.kms.aliases["alias/app"] = key[len(key)-36:]
		r.kms.keys[key[len(key)-36:]].disabled = true
		_, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: aws.String("alias/app"), Plaintext: []byte("x")})
		if code(err) != "DisabledException" {
			t.Fatal(err)
		}
		checkCall(t, r, r.sink.only(t), "Encrypt", key)
	}
	if _, err := c.DeleteAlias(ctx, &kms.DeleteAliasInput{AliasName: aws.String("alias/app")}); err != nil {
		t.Fatal(err)
	}
	m := r.sink.only(t)
	checkCall(t, r, m, "DeleteAlias", two)
	if alias := m.GetKeys()[0].GetAliasArn(); alias != "arn:aws:kms:eu-west-1:111122223333:alias/app" {
		t.Errorf("alias %q", alias)
	}
	if _, err := c.DeleteAlias(ctx, &kms.DeleteAliasInput{AliasName: aws.String("alias/app")}); code(err) != "NotFoundException" {
		t.Fatal(err)
	}
	checkCall(t, r, r.sink.only(t), "DeleteAlias")
	if len(asked) != 4 || asked[0] != "eu-west-1 alias/app" {
		t.Errorf("asked %q", asked)
	}
	if strings.Contains(r.logs.String(), "alias/app") {
		t.Errorf("the log repeats a parameter:\n%s", r.logs)
	}
}

// TestSource: forwarded addresses are believed from trusted proxies only.
func TestSource(t *testing.T) {
	for _, tt := range []struct {
		name, trusted, forwarded, want string
	}{
		{"nobody is trusted", "", "192.0.2.1", "127.0.0.1"},
		{"a trusted proxy", "127.0.0.0/8", "192.0.2.1", "192.0.2.1"},
		{"what the client made up", "127.0.0.0/8", "198.51.100.9, 192.0.2.1", "192.0.2.1"},
		{"two trusted proxies", "127.0.0.0/8 192.0.2.0/24", "198.51.100.9, 2001:db8::1, 192.0.2.1", "2001:db8::1"},
		{"junk", "127.0.0.0/8", "192.0.2.1, junk", "127.0.0.1"},
		{"no header", "127.0.0.0/8", "", "127.0.0.1"},
		{"a mapped address", "127.0.0.0/8", "::ffff:192.0.2.1", "192.0.2.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var cfg kmshttp.Config
			for p := range strings.FieldsSeq(tt.trusted) {
				cfg.TrustedProxies = append(cfg.TrustedProxies, prefix(t, p))
			}
			r := newRig(t, cfg, nil)
			var header []string
			if tt.forwarded != "" {
				header = []string{"X-Forwarded-For", tt.forwarded}
			}
			r.send(t, "CreateKey", "{}", header...)
			got := r.sink.only(t).GetSourceIpAddress()
			if got != tt.want || net.ParseIP(got) == nil {
				t.Errorf("source %q, want %q", got, tt.want)
			}
		})
	}
}

// TestUnsignedWithoutRegion: the KMS is not asked for what could not be
// recorded.
func TestUnsignedWithoutRegion(t *testing.T) {
	asked := false
	h, err := kmshttp.New(kmshttp.Config{Sink: new(sink), Logger: slog.New(slog.DiscardHandler)}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(`{"KeyId":"k"}`))
	r.Header.Set("X-Amz-Target", "TrentService.DisableKey")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "MissingAuthenticationTokenException") || asked {
		t.Errorf("status %d, %s; the KMS was asked: %t", w.Code, w.Body, asked)
	}
}
