package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keytrail/keytrail/internal/needs"
)

// plaintext is what no record, log, store or metric may hold.
const plaintext = planted + " attack at dawn"

const motoAccount = "123456789012"

// startMoto starts a KMS and returns its address.
func startMoto(t *testing.T) string {
	t.Helper()
	addr := addrs(t, 1)[0]
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	moto := start(t, needs.Program(t, "moto_server"), "-H", "127.0.0.1", "-p", port)
	moto.untilIn(moto.err, "KMS", contains("Running on"))
	return addr
}

// proxy is a running `bus proxy`.
type proxy struct {
	*process
	args       []string
	kms, admin string // addresses
}

func startProxy(t *testing.T, args ...string) *proxy {
	t.Helper()
	a := addrs(t, 2)
	p := &proxy{kms: a[0], admin: a[1], args: append([]string{"proxy", "--listen", a[0], "--http-listen", a[1]}, args...)}
	p.restart(t)
	return p
}

func (p *proxy) restart(t *testing.T) {
	t.Helper()
	p.process = start(t, "bus", p.args...)
	p.until("banner", contains("Ctrl-C"))
}

// untilReady waits until the proxy says that it can record.
func (p *proxy) untilReady() {
	p.t.Helper()
	eventually(p.t, "a proxy that is ready", func() bool {
		res, err := http.Get("http://" + p.admin + "/readyz")
		if err != nil {
			p.t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
}

// metrics reads the metrics at an address.
func metrics(t *testing.T, addr string) string {
	t.Helper()
	res, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// eventually waits until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit, again := time.After(waitFor), time.NewTicker(20*time.Millisecond)
	defer again.Stop()
	for !ok() {
		select {
		case <-again.C:
		case <-limit:
			t.Fatalf("never: %s", what)
		}
	}
}

// awsCLI runs the AWS CLI as one of the access keys of identitiesFile.
type awsCLI struct {
	t                     *testing.T
	program, endpoint, ca string
	key, secret           string
}

func (a awsCLI) as(key, secret string) awsCLI {
	a.key, a.secret = key, secret
	return a
}

// kms runs a command, which must end with the given status.
func (a awsCLI) kms(status int, args ...string) result {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), waitFor)
	defer cancel()
	cmd := exec.CommandContext(ctx, a.program, append([]string{"kms", "--endpoint-url", a.endpoint, "--output", "json"}, args...)...)
	home := a.t.TempDir()
	cmd.Env = append(environment(), "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true", "AWS_MAX_ATTEMPTS=1", "AWS_DEFAULT_REGION=eu-west-1",
		"AWS_CONFIG_FILE="+filepath.Join(home, "config"), "AWS_SHARED_CREDENTIALS_FILE="+filepath.Join(home, "credentials"),
		"AWS_ACCESS_KEY_ID="+a.key, "AWS_SECRET_ACCESS_KEY="+a.secret, "AWS_CA_BUNDLE="+a.ca)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		a.t.Fatalf("aws kms %v: %v\n%s%s", args, err, out.Bytes(), errs.Bytes())
	}
	r := result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
	if r.status != status {
		a.t.Fatalf("aws kms %v ended with %d, want %d\n%s%s", args, r.status, status, r.out, r.err)
	}
	return r
}

// answer is a member of the answer of a command that succeeds, such as
// "KeyMetadata.Arn".
func (a awsCLI) answer(path string, args ...string) string {
	a.t.Helper()
	var v any
	r := a.kms(0, args...)
	if err := json.Unmarshal([]byte(r.out), &v); err != nil {
		a.t.Fatalf("aws kms %v: %v\n%s", args, err, r.out)
	}
	for name := range strings.SplitSeq(path, ".") {
		object, _ := v.(map[string]any)
		v = object[name]
	}
	text, _ := v.(string)
	if text == "" {
		a.t.Fatalf("aws kms %v answers without %s\n%s", args, path, r.out)
	}
	return text
}

// identitiesFile has alice, whose signature the proxy verifies, and bob.
func identitiesFile(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "identities.yaml")
	text := `
AKIAALICE:
  identity: {type: IAMUser, principalId: AIDAALICE, arn: "arn:aws:iam::123456789012:user/alice", accountId: "123456789012", userName: alice}
  secret: secret of alice
AKIABOB:
  identity: {type: IAMUser, arn: "arn:aws:iam::123456789012:user/bob", accountId: "123456789012", userName: bob}
`
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// certificate makes a certificate for loopback, which signs itself.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// blob writes bytes for the AWS CLI to read.
func blob(t *testing.T, data []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return "fileb://" + name
}

// TestProxy calls a KMS with the AWS CLI through the proxy, and reads what the
// calls were recorded as.
func TestProxy(t *testing.T) {
	program := needs.Program(t, "aws")
	moto := startMoto(t)
	dir := t.TempDir()
	b := startBus(t, "--data", dir, "--log-level=debug")
	cert, key := certificate(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAPROXY") // of --resolve
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret of the proxy")
	p := startProxy(t, "--upstream=http://"+moto, b.to, "--identities", identitiesFile(t), "--account", motoAccount,
		"--resolve", "--tls-cert", cert, "--tls-key", key, "--log-level=debug")
	alice := awsCLI{t: t, program: program, endpoint: "https://" + p.kms, ca: cert, key: "AKIAALICE", secret: "secret of alice"}
	bob, mallory := alice.as("AKIABOB", "anything"), alice.as("AKIAALICE", "not hers")
	tail := start(t, "subscriber", "tail", b.to, "--from=earliest", "-o", "json")
	human := start(t, "subscriber", "tail", b.to, "--from=earliest")

	first := alice.answer("KeyMetadata.Arn", "create-key", "--description", "first")
	second := alice.answer("KeyMetadata.Arn", "create-key")
	id := first[strings.LastIndexByte(first, '/')+1:]
	alice.kms(0, "create-alias", "--alias-name=alias/first", "--target-key-id", id)
	sealed, err := base64.StdEncoding.DecodeString(alice.answer("CiphertextBlob", "encrypt", "--key-id=alias/first",
		"--plaintext", blob(t, []byte(plaintext)), "--encryption-context=app=shop"))
	if err != nil {
		t.Fatal(err)
	}
	if got := alice.answer("Plaintext", "decrypt", "--ciphertext-blob", blob(t, sealed), "--encryption-context=app=shop"); got != base64.StdEncoding.EncodeToString([]byte(plaintext)) {
		t.Fatalf("decrypted to %q", got)
	}
	bob.answer("KeyId", "re-encrypt", "--ciphertext-blob", blob(t, sealed), "--source-encryption-context=app=shop", "--destination-key-id", second)
	alice.kms(0, "disable-key", "--key-id", id)
	refused := alice.kms(255, "decrypt", "--ciphertext-blob", blob(t, []byte(plaintext)))
	if !strings.Contains(refused.err, "InvalidCiphertextException") {
		t.Errorf("the refused call says %q", refused.err)
	}
	mallory.kms(0, "describe-key", "--key-id", second)
	alice.kms(0, "delete-alias", "--alias-name=alias/first")
	bob.kms(0, "list-keys")

	const calls = 11
	for _, p := range []*process{tail, human} {
		p.until("all records", func(s string) bool { return countLines(s) >= calls })
	}
	records := lines(t, tail.out.String())
	if len(records) != calls {
		t.Fatalf("%d records of %d calls", len(records), calls)
	}
	users := map[string]map[string]any{
		"alice":   {"type": "IAMUser", "principalId": "AIDAALICE", "arn": "arn:aws:iam::123456789012:user/alice", "accountId": motoAccount, "userName": "alice", "accessKeyId": "AKIAALICE"},
		"bob":     {"type": "IAMUser", "arn": "arn:aws:iam::123456789012:user/bob", "accountId": motoAccount, "userName": "bob", "accessKeyId": "AKIABOB"},
		"mallory": {"type": "Unknown", "accessKeyId": "AKIAALICE"},
	}
	const algorithm = `"encryptionAlgorithm":"SYMMETRIC_DEFAULT"`
	alias := strings.Replace(first, "key/"+id, "alias/first", 1)
	keyID := `{"keyId":"` + first + `"}`
	for i, want := range []struct {
		name, user, request, response, code string
		readOnly                            bool
		resources                           []string
	}{
		{"CreateKey", "alice", `{"description":"first"}`, "", "", false, []string{first}},
		{"CreateKey", "alice", `null`, "", "", false, []string{second}},
		{"CreateAlias", "alice", `{"aliasName":"alias/first","targetKeyId":"` + id + `"}`, keyID, "", false, []string{first, alias}},
		{"Encrypt", "alice", `{"keyId":"alias/first","encryptionContext":{"app":"shop"},` + algorithm + `}`, "null", "", true, []string{first}},
		{"Decrypt", "alice", `{"encryptionContext":{"app":"shop"},` + algorithm + `}`, "null", "", true, []string{first}},
		{"ReEncrypt", "bob", `{"sourceEncryptionContext":{"app":"shop"},"destinationKeyId":"` + second + `","sourceEncryptionAlgorithm":"SYMMETRIC_DEFAULT","destinationEncryptionAlgorithm":"SYMMETRIC_DEFAULT"}`, "null", "", true, []string{first, second}},
		{"DisableKey", "alice", `{"keyId":"` + id + `"}`, keyID, "", false, []string{first}},
		{"Decrypt", "alice", `{` + algorithm + `}`, "null", "InvalidCiphertextException", true, []string{}},
		{"DescribeKey", "mallory", `{"keyId":"` + second + `"}`, "null", "", true, []string{second}},
		{"DeleteAlias", "alice", `{"aliasName":"alias/first"}`, keyID, "", false, []string{alias, first}},
		{"ListKeys", "bob", `null`, "null", "", true, []string{}},
	} {
		rec := records[i]
		resources := []any{}
		for _, arn := range want.resources {
			resources = append(resources, map[string]any{"accountId": motoAccount, "type": "AWS::KMS::Key", "ARN": arn})
		}
		expected := map[string]any{
			"eventVersion": "1.11", "eventSource": "kms.amazonaws.com", "eventName": want.name, "awsRegion": "eu-west-1",
			"sourceIPAddress": "127.0.0.1", "userIdentity": any(users[want.user]), "requestParameters": parsed(t, want.request), "resources": any(resources),
			"readOnly": want.readOnly, "eventType": "AwsApiCall", "managementEvent": true, "eventCategory": "Management", "recipientAccountId": motoAccount,
			"tlsDetails": parsed(t, `{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_128_GCM_SHA256","clientProvidedHostHeader":"`+p.kms+`"}`),
		}
		if want.code != "" {
			expected["errorCode"] = want.code
		}
		if want.response != "" {
			expected["responseElements"] = parsed(t, want.response)
		} else if metadata, _ := rec["responseElements"].(map[string]any)["keyMetadata"].(map[string]any); metadata["arn"] != want.resources[0] || metadata["keyState"] != "Enabled" {
			t.Errorf("%d %s answers %v", i, want.name, rec["responseElements"])
		}
		// What differs from run to run, and from one OpenSSL to another.
		for _, name := range []string{"eventID", "eventTime", "requestID", "userAgent"} {
			if text, _ := rec[name].(string); text == "" {
				t.Errorf("%d %s has no %s", i, want.name, name)
			}
			delete(rec, name)
		}
		if details, _ := rec["tlsDetails"].(map[string]any); details != nil {
			delete(details, "keyExchange")
			details["cipherSuite"] = "TLS_AES_128_GCM_SHA256"
		}
		if want.response == "" {
			delete(rec, "responseElements")
		}
		if !reflect.DeepEqual(rec, expected) {
			t.Errorf("record %d\ngot  %v\nwant %v", i, rec, expected)
		}
	}

	look := places{"metrics of the bus": []byte(metrics(t, b.http)), "metrics of the proxy": []byte(metrics(t, p.admin))}
	if !strings.Contains(string(look["metrics of the proxy"]), `keytrail_proxy_calls_total{result="recorded"} 11`) {
		t.Errorf("the proxy's metrics\n%s", look["metrics of the proxy"])
	}
	for _, process := range []*process{tail, human, p.process, b.process} {
		process.signal(syscall.SIGTERM)
		if status := process.wait(); status != 0 {
			t.Errorf("%v ended with %d\n%s", process.cmd.Args, status, process.err)
		}
		look[strings.Join(process.cmd.Args, " ")] = []byte(process.out.String() + process.err.String())
	}
	if err := look.addTree(dir); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{planted, "attack at dawn", "secret of"} {
		for _, where := range look.has(secret) {
			t.Errorf("%q is in %s", secret, where)
		}
	}
	if found := strings.Join(look.has("AIDAALICE"), "\n"); !strings.Contains(found, ".blk") {
		t.Errorf("the search finds what was stored only in\n%s", found)
	}
}

func parsed(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

// TestProxyFailsClosed: without a bus there is no answer; what the KMS has done
// all the same is recorded when the bus is back.
func TestProxyFailsClosed(t *testing.T) {
	program := needs.Program(t, "aws")
	moto := startMoto(t)
	b := startBus(t, "--data", t.TempDir())
	p := startProxy(t, "--upstream=http://"+moto, b.to, "--identities", identitiesFile(t), "--account", motoAccount)
	alice := awsCLI{t: t, program: program, endpoint: "http://" + p.kms, key: "AKIAALICE", secret: "secret of alice"}
	alice.kms(0, "create-key", "--description=before")
	b.kill()
	if r := alice.kms(255, "create-key", "--description=without"); r.out != "" || !strings.Contains(r.err, "DependencyTimeoutException") {
		t.Errorf("without a bus: %q, %q", r.out, r.err)
	}
	if text := metrics(t, p.admin); !strings.Contains(text, `keytrail_proxy_calls_total{result="unrecorded"} 1`) {
		t.Errorf("metrics\n%s", text)
	}
	if res, err := http.Get("http://" + p.admin + "/readyz"); err != nil || res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("readyz without a bus: %v, %v", res, err)
	} else {
		res.Body.Close()
	}
	b.restart(t)
	p.untilReady()
	alice.kms(0, "create-key", "--description=after")
	tail := start(t, "subscriber", "tail", b.to, "--from=earliest", "-o", "json")
	tail.until("three records", func(s string) bool { return countLines(s) >= 3 })
	var descriptions []string
	for _, rec := range lines(t, tail.out.String()) {
		params, _ := rec["requestParameters"].(map[string]any)
		text, _ := params["description"].(string)
		descriptions = append(descriptions, text)
	}
	if got := strings.Join(descriptions, " "); got != "before without after" {
		t.Errorf("recorded: %s", got)
	}
}

// TestProxyFailsOpen: without a bus, calls are answered and kept, through the
// death of the proxy too, and are all recorded once.
func TestProxyFailsOpen(t *testing.T) {
	program := needs.Program(t, "aws")
	moto := startMoto(t)
	b := startBus(t, "--data", t.TempDir())
	dir := filepath.Join(t.TempDir(), "spool")
	p := startProxy(t, "--upstream=http://"+moto, b.to, "--identities", identitiesFile(t), "--account", motoAccount, "--fail-open", "--spool", dir)
	alice := awsCLI{t: t, program: program, endpoint: "http://" + p.kms, key: "AKIAALICE", secret: "secret of alice"}
	key := alice.answer("KeyMetadata.KeyId", "create-key")
	b.kill()
	for range 3 {
		alice.kms(0, "encrypt", "--key-id", key, "--plaintext", blob(t, []byte(plaintext)), "--encryption-context=app=shop")
	}
	if text := metrics(t, p.admin); !strings.Contains(text, "keytrail_proxy_spool_calls 3\n") || !strings.Contains(text, `keytrail_proxy_calls_total{result="spooled"} 3`) {
		t.Errorf("metrics\n%s", text)
	}
	p.kill()
	look := places{}
	if err := look.addTree(dir); err != nil {
		t.Fatal(err)
	}
	for _, where := range look.has(planted) {
		t.Errorf("the plaintext is in %s", where)
	}
	if len(look.has("shop")) == 0 {
		t.Error("the search finds nothing in the spool")
	}

	p.restart(t) // before there is a bus
	alice.kms(0, "disable-key", "--key-id", key)
	b.restart(t)
	eventually(t, "an empty spool", func() bool { return strings.Contains(metrics(t, p.admin), "keytrail_proxy_spool_calls 0\n") })
	alice.kms(0, "enable-key", "--key-id", key)
	records := tailAll(t, b)
	byID(t, records)
	var names []string
	for _, rec := range records {
		names = append(names, rec["eventName"].(string))
	}
	if got := strings.Join(names, " "); got != "CreateKey Encrypt Encrypt Encrypt DisableKey EnableKey" {
		t.Errorf("recorded: %s", got)
	}
}
