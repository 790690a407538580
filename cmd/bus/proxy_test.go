package main

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"google.golang.org/protobuf/proto"
)

func TestIdentities(t *testing.T) {
	ids, err := parseIdentities([]byte(`
AKIAONE:
  identity:
    type: AssumedRole
    principalId: AROA:session
    accountId: 111122223333
    sessionContext:
      attributes: {mfaAuthenticated: true, creationDate: 2026-11-24T08:00:00Z}
      sessionIssuer: {type: Role, userName: deploy}
  secret: 12345
AKIATWO:
  identity: {type: Unknown, accessKeyId: AKIATWO}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := &keytrailv1.UserIdentity{
		Type: proto.String("AssumedRole"), PrincipalId: proto.String("AROA:session"), AccountId: proto.String("111122223333"),
		SessionContext: &keytrailv1.SessionContext{
			Attributes:    &keytrailv1.SessionAttributes{MfaAuthenticated: proto.String("true"), CreationDate: proto.String("2026-11-24T08:00:00Z")},
			SessionIssuer: &keytrailv1.SessionIssuer{Type: proto.String("Role"), UserName: proto.String("deploy")},
		},
	}
	if one := ids["AKIAONE"]; !proto.Equal(one.User, want) || one.Secret != "12345" {
		t.Errorf("got %v", one.User)
	}
	if len(ids) != 2 || ids.withSecret() != 1 {
		t.Errorf("%d identities, %d with a secret", len(ids), ids.withSecret())
	}
}

// badIdentities are files and parts of what is said of them. No error may repeat
// hunter2.
var badIdentities = []struct{ text, want string }{
	{"", "it names no access key"},
	{"{}", "it names no access key"},
	{"a: [hunter2", "not YAML"},
	{"- hunter2", "line 1: want a mapping of access key IDs to identities"},
	{"AK: hunter2", "line 1: want a mapping of identity and secret"},
	{"'AK ID': {identity: {type: Unknown}}", "line 1: no access key has such an ID"},
	{"AK: {secret: hunter2}", "line 1: there is no identity"},
	{"AK:\n  identity: {type: Unknown}\n  secret:", "line 3: secret is not a text"},
	{"AK:\n  identity: {type: Unknown}\n  secret: [hunter2]", "line 3: secret is not a text"},
	{"AK:\n  identity: {type: Unknown}\n  secrets: hunter2", `line 3: unknown member "secrets"`},
	{"AK:\n  identity: {type: hunter2}", "line 2: type is missing or unknown: it is one of Root, IAMUser,"},
	{"AK:\n  identity:\n    accountId: '111122223333'", "line 3: type is missing or unknown"},
	{"AK:\n  identity:\n    type: Root\n    accountId: hunter2", "line 4: accountId must be 12 digits"},
	{"AK:\n  identity:\n    type: Root\n    name: hunter2", `line 4: CloudTrail has no member "name" there`},
	{"AK:\n  identity:\n    type: Root\n    userName: {a: hunter2}", `line 4: CloudTrail has no member "userName" there, or it is of another kind`},
	{"AK:\n  identity:\n    type: Root\n    sessionContext:\n      issuer: hunter2", `line 5: CloudTrail has no member "issuer" there`},
	{"AK:\n  identity:\n    type: Root\n    onBehalfOf: {secret: hunter2}", "line 4: CloudTrail has no such members in onBehalfOf"},
	{"AK:\n  identity:\n    type: Root\n    accessKeyId: hunter2", "line 4: accessKeyId is not the access key"},
	{"AK:\n  identity:\n    type: Root\n    userName:", "line 4: there is no value"},
	{"AK: {identity: {type: Root}}\nAK: {identity: {type: Root}}", "is there twice"},
	{"AK: &a {identity: {type: Root}}\nBK: *a", "line 2: anchors"},
}

func TestBadIdentities(t *testing.T) {
	for _, tt := range badIdentities {
		_, err := parseIdentities([]byte(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.text, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the error repeats a value: %v", tt.text, err)
		}
	}
}

func FuzzIdentities(f *testing.F) {
	for _, tt := range badIdentities {
		f.Add(tt.text)
	}
	f.Add("AK: {identity: {type: Root, sessionContext: {attributes: {}}}, secret: s}")
	f.Fuzz(func(t *testing.T, text string) {
		ids, err := parseIdentities([]byte(text))
		if err != nil {
			return
		}
		for key, id := range ids {
			if id.User.GetType() == "" || !isAccessKey(key) {
				t.Errorf("%q is %v", key, id.User)
			}
		}
	})
}

// TestIdentitiesMode: others must not be able to read secrets.
func TestIdentitiesMode(t *testing.T) {
	name := filepath.Join(t.TempDir(), "ids")
	for _, tt := range []struct {
		text string
		mode os.FileMode
		ok   bool
	}{
		{"AK: {identity: {type: Root}, secret: s}", 0o600, true},
		{"AK: {identity: {type: Root}, secret: s}", 0o640, false},
		{"AK: {identity: {type: Root}}", 0o644, true},
	} {
		if err := os.WriteFile(name, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, tt.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := readIdentities(name); (err == nil) != tt.ok || err != nil && !strings.Contains(err.Error(), "chmod 600 "+name) {
			t.Errorf("%q with mode %o: %v", tt.text, tt.mode, err)
		}
	}
}

func TestProxyFlags(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "--upstream"},
		{[]string{"--upstream=kms.example"}, "--upstream: it does not begin with http:// or https://"},
		{[]string{"--upstream=https://user:hunter2@kms.example"}, "--upstream: it has more than a host and a path"},
		{[]string{"--upstream=https:///x"}, "--upstream: it names no host"},
		{[]string{"--upstream=http://kms", "--tls-cert=c"}, "--tls-cert and --tls-key go together"},
		{[]string{"--upstream=http://kms", "--tls-cert=/none", "--tls-key=/none"}, "--tls-cert and --tls-key: open /none"},
		{[]string{"--upstream=http://kms", "--identities=/none"}, "--identities: open /none"},
		{[]string{"--upstream=http://kms", "--account=1"}, "--account 1: an account is 12 digits"},
		{[]string{"--upstream=http://kms", "--region=EU west"}, "--region EU west"},
		{[]string{"--upstream=http://kms", "--fail-open"}, "--fail-open needs a folder"},
		{[]string{"--upstream=http://kms", "--spool=/tmp/x"}, "--spool and --spool-max-bytes are for --fail-open"},
		{[]string{"--upstream=http://kms", "--fail-open", "--spool=/tmp/x", "--spool-max-bytes=1KB"}, "--spool-max-bytes must be at least 1MiB"},
		{[]string{"--upstream=http://kms", "--trusted-proxy=here"}, "--trusted-proxy here: give a network"},
		{[]string{"--upstream=http://kms", "--drain-timeout=-1s"}, "--drain-timeout is negative"},
		{[]string{"--upstream=http://kms", "--resolve"}, "--resolve needs credentials"},
	} {
		t.Setenv("AWS_ACCESS_KEY_ID", "")
		var out, errs strings.Builder
		p := program{args: append([]string{"proxy"}, tt.args...), stdin: strings.NewReader(""), stdout: &out, stderr: &errs}
		if status := p.run(t.Context()); status == 0 || !strings.Contains(errs.String(), tt.want) || strings.Contains(errs.String(), "hunter2") {
			t.Errorf("%q: status %d, %q; want %q", tt.args, status, errs.String(), tt.want)
		}
	}
}

// TestPassedOn: what is signed reaches the KMS, and a client can't have a header
// dropped on the way.
func TestPassedOn(t *testing.T) {
	r := &http.Request{URL: &url.URL{}, Header: http.Header{
		"Authorization":   {"AWS4-HMAC-SHA256 Credential=a/b/c/kms/aws4_request, SignedHeaders=host;te;x-amz-target;x-forwarded-for, Signature=00"},
		"Connection":      {"X-Amz-Target, close"},
		"Te":              {"trailers"},
		"Upgrade":         {"websocket"},
		"X-Amz-Target":    {"TrentService.Decrypt"},
		"X-Forwarded-For": {"192.0.2.1"},
	}}
	got := passedOn(r)
	for name, want := range map[string]string{
		"Connection": "", "Te": "trailers", "Upgrade": "", "X-Amz-Target": "TrentService.Decrypt", "X-Forwarded-For": "192.0.2.1",
	} {
		if got.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, got.Get(name), want)
		}
	}
}
