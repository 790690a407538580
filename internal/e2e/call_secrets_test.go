package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keytrail/keytrail/client"
	"github.com/keytrail/keytrail/client/spool"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Each secret begins with planted and ends with a number; marker is where
// something may be logged, and shows that a search finds what is there.
const (
	planted = "SECRET7f3a91"
	marker  = "MARKER7f3a91"
)

// sensitiveMembers are those that the model of the KMS API marks as sensitive,
// what opens things, and names that no operation has.
var sensitiveMembers = strings.Fields(`
	Plaintext PrivateKeyPlaintext SharedSecret Message KeyStorePassword AccessKeyId RawSecretAccessKey
	XksProxyAuthenticationCredential CiphertextBlob CiphertextForRecipient PrivateKeyCiphertextBlob
	Signature Mac ImportToken EncryptedKeyMaterial GrantToken GrantTokens EncapsulatedKey
	AttestationDocument KeyEncryptionAlgorithm TrustAnchorCertificate
	FutureSecret SecretAccessKey plaintext plainText PLAINTEXT keyid KEYID encryptioncontext`)

// planter makes calls that are full of secrets.
type planter struct{ n int }

// secret is another one each time, as text or as the API has blobs.
func (p *planter) secret() string {
	p.n++
	s := fmt.Sprintf("%s-%d", planted, p.n)
	if p.n%2 == 0 {
		return base64.StdEncoding.EncodeToString([]byte(s))
	}
	return s
}

// object has secrets in all members that must not be logged, in each shape, and
// beside and within those that may be.
func (p *planter) object(allowed string) map[string]any {
	o := make(map[string]any)
	for entry := range strings.FieldsSeq(allowed) {
		entry, _, _ = strings.Cut(entry, "=")
		name, _, _ := strings.Cut(entry, ":")
		o[name] = map[string]any{"Plaintext": p.secret(), name: []any{p.secret()}} // no member has this form, but for objects
		if strings.HasSuffix(name, "EncryptionContext") {                          // an object of strings, all logged
			o[name] = []any{p.secret(), map[string]any{"tenant": p.secret()}}
		}
	}
	for i, name := range sensitiveMembers {
		switch s := p.secret(); i % 4 {
		case 0:
			o[name] = map[string]any{"KeyId": s, "Deep": []any{map[string]any{"Value": s}}}
		case 1:
			o[name] = []any{s, map[string]any{"TagKey": s}}
		default:
			o[name] = s
		}
	}
	o["EncryptionContext"] = map[string]any{"tenant": marker, "nested": map[string]any{"Plaintext": p.secret()}, "list": []any{p.secret()}}
	o["Tags"] = []any{map[string]any{"TagKey": "team", "TagValue": marker, "Plaintext": p.secret()}, p.secret()}
	o["Constraints"] = map[string]any{"EncryptionContextEquals": map[string]any{"tenant": marker, "x": []any{p.secret()}}, "Plaintext": p.secret()}
	o["KeyMetadata"] = map[string]any{"KeyId": "k", "Plaintext": p.secret(), "MultiRegionConfiguration": map[string]any{"PrimaryKey": map[string]any{"Secret": p.secret()}}}
	o["Recipient"] = map[string]any{"AttestationDocument": p.secret(), "KeyEncryptionAlgorithm": p.secret()}
	o["ReplicaRegion"], o["PrimaryRegion"], o["AliasName"] = "eu-west-1", "eu-west-1", "alias/a"
	return o
}

// call is one of an operation: how is "" for one that succeeds, "failed", or
// "dry run".
func (p *planter) call(op *record.Operation, how, id string) (*keytrailv1.Call, error) {
	c := &keytrailv1.Call{
		CallId:    proto.String(id),
		Operation: proto.String(op.Name),
		Time:      timestamppb.New(time.Unix(1_700_000_000, 0)),
		Region:    proto.String("us-west-2"),
		Caller:    &keytrailv1.UserIdentity{Type: proto.String("Root"), AccountId: proto.String("111122223333")},
	}
	keys := map[record.Keys]int{record.OneKey: 1, record.KeyThenAlias: 1, record.AliasThenKey: 1, record.TwoKeys: 2}[op.Keys]
	for i := range keys {
		c.Keys = append(c.Keys, &keytrailv1.CallKey{Arn: proto.String(fmt.Sprintf("arn:aws:kms:us-west-2:111122223333:key/k%d", i))})
	}
	switch how {
	case "failed":
		c.Error = &keytrailv1.CallError{Code: proto.String("ValidationException"), Message: proto.String("a value is wrong")}
	case "dry run":
		c.DryRun = true
	}
	for _, part := range []struct {
		to      *[]byte
		allowed string
	}{
		{&c.RequestParameters, op.Request}, {&c.Response, op.Response},
		{&c.AdditionalEventData, op.Additional}, {&c.ServiceEventDetails, op.Details},
	} {
		text, err := json.Marshal(p.object(part.allowed))
		if err != nil {
			return nil, err
		}
		*part.to = text
	}
	if how == "failed" {
		last := fmt.Sprintf("%s-%d", planted, p.n)
		quoted := map[int]string{0: last, 1: base64.StdEncoding.EncodeToString([]byte(last)), 2: hex.EncodeToString([]byte(last))}
		c.Error.Message = proto.String("the value " + quoted[p.n%3] + " is wrong")
	}
	return c, nil
}

// formsOf are the ways in which text may be written: what is looked for.
func formsOf(text string) map[string]string {
	forms := map[string]string{
		"raw": text, "hex": hex.EncodeToString([]byte(text)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(text))),
	}
	escaped := ""
	for _, c := range text {
		escaped += fmt.Sprintf(`\u%04x`, c)
	}
	forms["JSON-escaped"] = escaped
	for before := range 3 {
		// The characters that depend on nothing but text.
		all := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", before) + text))
		forms[fmt.Sprintf("base64 after %d bytes", before)] = all[(before*8+5)/6 : (before+len(text))*8/6]
	}
	return forms
}

// TestForms: the search finds what it is to find.
func TestForms(t *testing.T) {
	for before := range 4 {
		text := []byte(strings.Repeat("y", before) + planted + "-17")
		for _, written := range []string{
			string(text), base64.StdEncoding.EncodeToString(text), base64.RawURLEncoding.EncodeToString(text),
			hex.EncodeToString(text), fmt.Sprintf("%X", text),
		} {
			found := false
			for _, form := range formsOf(planted) {
				found = found || strings.Contains(written, form)
			}
			if !found {
				t.Errorf("%q is not found", written)
			}
		}
	}
}

// places are texts in which secrets are looked for, by what they are.
type places map[string][]byte

func (p places) addTree(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		p[path] = text
		return err
	})
}

// has lists the places where text is, in any form.
func (p places) has(text string) (found []string) {
	for name, content := range p {
		for form, written := range formsOf(text) {
			if bytes.Contains(content, []byte(written)) {
				found = append(found, fmt.Sprintf("%s (%s)", name, form))
			}
		}
	}
	return found
}

// wiretap passes connections on to a bus and keeps what clients send.
type wiretap struct {
	lis  net.Listener
	done sync.WaitGroup

	mu   sync.Mutex // guards sent
	sent bytes.Buffer
}

func newWiretap(t *testing.T, to string) *wiretap {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wiretap{lis: lis}
	w.done.Go(func() {
		for {
			in, err := lis.Accept()
			if err != nil {
				return // closed
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			w.done.Go(func() { io.Copy(in, out); in.Close() })
			w.done.Go(func() { io.Copy(io.MultiWriter(out, w), in); out.Close() })
		}
	})
	return w
}

func (w *wiretap) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent.Write(p)
}

// close ends it once its clients have gone.
func (w *wiretap) close() {
	w.lis.Close()
	w.done.Wait()
}

// TestCallSecrets plants a secret in every member that must not be logged, of
// every operation, and looks for them wherever a call comes to.
func TestCallSecrets(t *testing.T) {
	dir := t.TempDir()
	b := startBus(t, "--data", dir, "--log-level=debug")
	tap := newWiretap(t, b.grpc)
	conn, err := grpc.NewClient(b.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sdk, err := client.New(tap.lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	pub, err := sdk.NewPublisher(client.PublisherConfig{})
	if err != nil {
		t.Fatal(err)
	}
	spooled := filepath.Join(t.TempDir(), "spool")
	calls, err := spool.Open(spooled, spool.Config{Redact: record.Redact})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	look := places{}
	var answers bytes.Buffer
	keep := func(m proto.Message) {
		text, err := protojson.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		answers.Write(text)
	}
	ops := []*record.Operation{{Name: "InventedOperation"}}
	for op := range record.Operations() {
		ops = append(ops, op)
	}
	p := new(planter)
	var req keytrailv1.PublishRequest
	for _, op := range ops {
		for _, how := range []string{"", "failed", "dry run"} {
			if op.Class.Internal() && how == "dry run" {
				continue // nobody calls
			}
			c, err := p.call(op, how, op.Name+how)
			if err != nil {
				t.Fatal(err)
			}
			req.Items = append(req.Items, &keytrailv1.PublishItem{Item: &keytrailv1.PublishItem_Call{Call: c}})
			if err := calls.Add(c); err != nil {
				t.Fatal(err)
			}
			again := proto.CloneOf(c)
			again.CallId = nil
			result, err := pub.PublishCallWait(ctx, again)
			if err != nil || result.GetStatus() != keytrailv1.PublishStatus_PUBLISH_STATUS_STORED {
				t.Fatalf("%s %s, by the SDK: %v, %v", op.Name, how, result, err)
			}
			keep(result)
		}
	}
	// Past the SDK.
	ingest := keytrailv1.NewIngestServiceClient(conn)
	res, err := ingest.Publish(ctx, &req)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range res.GetResults() {
		if r.GetStatus() != keytrailv1.PublishStatus_PUBLISH_STATUS_STORED {
			t.Errorf("%s: %v", req.Items[i].GetCall().GetCallId(), r)
		}
	}
	keep(res)

	// What is refused, with a secret in what is wrong.
	var bad keytrailv1.PublishRequest
	for _, spoil := range []func(c *keytrailv1.Call, secret string){
		func(c *keytrailv1.Call, s string) { c.Keys[0].Arn = &s },
		func(c *keytrailv1.Call, s string) { c.Keys[0].OwnerAccountId = &s },
		func(c *keytrailv1.Call, s string) { c.Keys[0].AliasArn = &s },
		func(c *keytrailv1.Call, s string) { c.Region = proto.String(s + "/") },
		func(c *keytrailv1.Call, s string) { c.AccountId = &s },
		func(c *keytrailv1.Call, s string) { c.Caller.AccountId = &s },
		func(c *keytrailv1.Call, s string) { c.Caller.OnBehalfOf = []byte(`["` + s + `"]`) },
		func(c *keytrailv1.Call, s string) { c.Keys = nil },
		func(c *keytrailv1.Call, s string) { c.Time.Nanos = -1 },
		func(c *keytrailv1.Call, s string) { c.Operation = proto.String(strings.Repeat(s, 100)) },
		func(c *keytrailv1.Call, s string) { c.RequestParameters = []byte(`["` + s + `"]`) },
		func(c *keytrailv1.Call, s string) { c.RequestParameters = []byte(`{"Plaintext":"` + s) },
		func(c *keytrailv1.Call, s string) {
			c.Response = []byte(`{"` + s + `":1,"` + s + `":2}`)
		},
		func(c *keytrailv1.Call, s string) { c.Response = []byte(`{"a":"` + s + "\xff" + `"}`) },
		func(c *keytrailv1.Call, s string) {
			c.RequestParameters = []byte(`{"Plaintext":"` + strings.Repeat(s, 30_000) + `"}`)
		},
	} {
		decrypt, _ := record.LookupOperation("Decrypt")
		c, err := p.call(decrypt, "", fmt.Sprint("bad ", len(bad.Items)))
		if err != nil {
			t.Fatal(err)
		}
		spoil(c, p.secret())
		bad.Items = append(bad.Items, &keytrailv1.PublishItem{Item: &keytrailv1.PublishItem_Call{Call: c}})
	}
	refused, err := ingest.Publish(ctx, &bad)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range refused.GetResults() {
		if r.GetStatus() != keytrailv1.PublishStatus_PUBLISH_STATUS_REJECTED {
			t.Errorf("bad call %d: %v", i, r)
		}
	}
	keep(refused)

	if err := pub.Close(ctx); err != nil {
		t.Fatal(err)
	}
	sdk.Close()
	tap.close()
	look["what the SDK sent"] = tap.sent.Bytes()
	if err := calls.Close(); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{"tail": nil, "tail as JSON": {"-o", "json"}} {
		r := must(t, 0, "subscriber", append([]string{"tail", b.to, "--from=earliest", "--until-idle=500ms"}, args...)...)
		look[name] = []byte(r.out + r.err)
	}
	metrics, err := http.Get("http://" + b.http + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	look["metrics"], err = io.ReadAll(metrics.Body)
	metrics.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	look["answers"] = answers.Bytes()
	b.kill()
	look["the bus' output"] = []byte(b.out.String() + b.err.String())
	for _, root := range []string{dir, spooled} {
		if err := look.addTree(root); err != nil {
			t.Fatal(err)
		}
	}

	for _, where := range look.has(planted) {
		t.Errorf("a secret is in %s", where)
	}
	logged := strings.Join(look.has(marker), "\n")
	for _, where := range []string{"what the SDK sent", "tail as JSON", ".blk (raw)", ".calls (raw)"} {
		if !strings.Contains(logged, where) {
			t.Errorf("the search finds nothing in %s, but in\n%s", where, logged)
		}
	}
	for _, where := range []string{"metrics", "answers", "the bus' output"} {
		if len(look[where]) == 0 {
			t.Errorf("there is nothing in %s", where)
		}
	}
}
