package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keytrail/keytrail/client"
	"github.com/keytrail/keytrail/client/spool"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Each secret begins with planted and ends with a number. Of an envelope that
// is refused, values begin with refused: an SDK sends them, and nobody may repeat
// them. marker is where something may be logged, and shows that a search finds
// what is there.
const (
	planted = "SECRET7f3a91"
	refused = "REFUSED7f3a91"
	marker  = "MARKER7f3a91"
)

// sensitiveMembers are those that the model of the KMS API marks as sensitive,
// what opens things, and names that no operation has.
var sensitiveMembers = strings.Fields(`
	Plaintext PrivateKeyPlaintext SharedSecret Message KeyStorePassword AccessKeyId RawSecretAccessKey
	XksProxyAuthenticationCredential CiphertextBlob CiphertextForRecipient PrivateKeyCiphertextBlob
	Signature Mac ImportToken EncryptedKeyMaterial GrantToken GrantTokens EncapsulatedKey
	AttestationDocument KeyEncryptionAlgorithm TrustAnchorCertificate PublicKey
	FutureSecret SecretAccessKey plaintext plainText PLAINTEXT keyid KEYID encryptioncontext`)

// noText are the members that are no strings.
var noText = strings.Fields(`
	Limit NumberOfBytes PendingWindowInDays RotationPeriodInDays BypassPolicyLockoutSafetyCheck DryRun MultiRegion
	DeletionDate ValidTo DryRunModifiers Operations TagKeys SourceEncryptionContext DestinationEncryptionContext
	ReplicaKeyMetadata ReplicaTags`)

// planter makes calls that are full of secrets.
type planter struct {
	n     int // secrets
	calls int
}

func (p *planter) plain() string {
	p.n++
	return fmt.Sprintf("%s-%d", planted, p.n)
}

// secret is another one each time, as text or as the API has blobs.
func (p *planter) secret() string {
	s := p.plain()
	if p.n%2 == 0 {
		return base64.StdEncoding.EncodeToString([]byte(s))
	}
	return s
}

// text is an object with secrets in all members that must not be logged, in each
// shape, and beside and within those that may be. Its names are the API's, or as
// they are logged.
func (p *planter) text(allowed string, logged bool) []byte {
	spelt, misspelt := strings.Clone, lowerFirst
	if logged {
		spelt, misspelt = lowerFirst, strings.Clone
	}
	may := make(map[string]bool)
	o := make(map[string]any)
	set := func(name string, v any) { o[spelt(name)] = v }
	for entry := range strings.FieldsSeq(allowed) {
		entry, _, _ = strings.Cut(entry, "=")
		name, _, _ := strings.Cut(entry, ":")
		may[name] = true
		o[misspelt(name)] = p.secret()
		if slices.Contains(noText, name) {
			set(name, p.secret())
			continue
		}
		set(name, map[string]any{"Plaintext": p.secret(), spelt(name): []any{p.secret()}}) // for what is text
	}
	for i, name := range sensitiveMembers {
		if name == "PublicKey" && may["KeyAgreementAlgorithm"] {
			continue // the other party's, which is logged
		}
		// Three calls in a row have each as text at least once, and once as something else.
		switch s := p.secret(); (i + p.calls) % 4 {
		case 0:
			o[name] = map[string]any{spelt("KeyId"): s, "Deep": []any{map[string]any{"Value": s}}}
		case 1:
			o[name] = []any{s, map[string]any{spelt("TagKey"): s}}
		default:
			o[name] = s
		}
		if logged {
			o[lowerFirst(name)] = p.secret()
		}
	}
	o[p.plain()] = 5
	set("EncryptionContext", map[string]any{"tenant": marker, "nested": map[string]any{"Plaintext": p.secret()}, "list": []any{p.secret()}})
	set("Tags", []any{map[string]any{"TagKey": "team", "TagValue": marker, "Plaintext": p.secret(), "tagKey": p.secret()}, p.secret(), []any{p.secret()}})
	set("Constraints", map[string]any{"EncryptionContextEquals": map[string]any{"tenant": marker, "x": []any{p.secret()}}, "Plaintext": p.secret()})
	set("KeyMetadata", map[string]any{"KeyId": "k", "Plaintext": p.secret(), "Arn": []any{p.secret()},
		"MultiRegionConfiguration": map[string]any{"PrimaryKey": map[string]any{"Secret": p.secret()}, "ReplicaKeys": []any{map[string]any{"Secret": p.secret()}}}})
	set("Recipient", map[string]any{spelt("AttestationDocument"): p.secret(), spelt("KeyEncryptionAlgorithm"): p.secret(),
		spelt("AttestationDocumentModuleId"): marker, spelt("AttestationDocumentEnclavePCR0"): []any{p.secret()}})
	set("ReplicaRegion", "eu-west-1")
	set("PrimaryRegion", "eu-west-1")
	set("AliasName", "alias/a")
	text, err := json.Marshal(o)
	if err != nil {
		panic(err) // strings and numbers
	}
	if p.n%3 == 0 {
		text = bytes.ReplaceAll(text, []byte(planted), []byte(escaped(planted)))
	}
	return text
}

func lowerFirst(name string) string { return strings.ToLower(name[:1]) + name[1:] }

// call is one of an operation on keys of another account: how is "" for one that
// succeeds, "failed", or "dry run".
func (p *planter) call(op *record.Operation, how, id string) *keytrailv1.Call {
	p.calls++
	c := &keytrailv1.Call{
		CallId:    proto.String(id),
		Operation: proto.String(op.Name),
		Time:      timestamppb.New(time.Unix(1_700_000_000, 0)),
		Region:    proto.String("us-west-2"),
		UserAgent: proto.String(agent(id)),

		RequestParameters:   p.text(op.Request, false),
		Response:            p.text(op.Response, false),
		AdditionalEventData: p.text(op.Additional, true),
		ServiceEventDetails: p.text(op.Details, true),
	}
	if !op.Class.Internal() {
		object := func(member string) []byte {
			return fmt.Appendf(nil, `{"x":%q,%q:[%q]}`, p.secret(), member, p.secret())
		}
		c.Caller = &keytrailv1.UserIdentity{
			Type:       proto.String("IAMUser"),
			AccountId:  proto.String("111122223333"),
			UserName:   proto.String("alice"),
			OnBehalfOf: object("userId"),
			InScopeOf:  object("sourceArn"),
			Verbatim:   object("type"),
			SessionContext: &keytrailv1.SessionContext{
				WebIdFederationData: object("attributes"),
				Verbatim:            object("sourceIdentity"),
				Attributes:          &keytrailv1.SessionAttributes{Verbatim: object("creationDate")},
				SessionIssuer:       &keytrailv1.SessionIssuer{Verbatim: object("arn")},
			},
		}
		c.TlsDetails = &keytrailv1.TlsDetails{TlsVersion: proto.String("TLSv1.3"), Verbatim: object("tlsVersion")}
	}
	keys := map[record.Keys]int{record.OneKey: 1, record.KeyThenAlias: 1, record.AliasThenKey: 1, record.TwoKeys: 2}[op.Keys]
	for i := range keys {
		c.Keys = append(c.Keys, &keytrailv1.CallKey{Arn: proto.String(fmt.Sprintf("arn:aws:kms:us-west-2:44445555666%d:key/k", i))})
	}
	if keys == 0 && c.Caller == nil {
		c.AccountId = proto.String("111122223333")
	}
	switch how {
	case "failed":
		s := p.plain()
		c.RequestParameters = append([]byte(`{"NewText":"`+s+`",`), c.RequestParameters[1:]...)
		quoted := [...]string{s, base64.StdEncoding.EncodeToString([]byte(s)), hex.EncodeToString([]byte(s)), escaped(s)}[p.n%4]
		c.Error = &keytrailv1.CallError{Code: proto.String("ValidationException"), Message: proto.String("the value " + quoted + " is wrong")}
	case "dry run":
		c.DryRun = true
	}
	return c
}

// agent is the user agent of a call, which is logged: it shows where the call
// came to.
func agent(id string) string { return marker + "/" + id + ";" }

// hide puts a secret into protobuf fields that nobody knows.
func (p *planter) hide(messages ...proto.Message) {
	for _, m := range messages {
		if m.ProtoReflect().IsValid() {
			m.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 999, protowire.BytesType), p.secret()))
		}
	}
}

// badCalls are refused. Their objects hold secrets; their envelopes, which the SDK
// sends, hold what nobody may repeat.
var badCalls = []struct {
	name  string
	field string
	spoil func(c *keytrailv1.Call)
}{
	{"ARN", "call.keys[0].arn", func(c *keytrailv1.Call) { c.Keys[0].Arn = proto.String(refused) }},
	{"ARN of an alias", "call.keys[0].arn", func(c *keytrailv1.Call) {
		c.Keys[0].Arn = proto.String("arn:aws:kms:us-west-2:111122223333:alias/" + refused)
	}},
	{"long ARN", "call.keys[0].arn", func(c *keytrailv1.Call) { *c.Keys[0].Arn += strings.Repeat(refused, 200) }},
	{"owner", "call.keys[0].owner_account_id", func(c *keytrailv1.Call) { c.Keys[0].OwnerAccountId = proto.String(refused) }},
	{"alias", "call.keys[0].alias_arn", func(c *keytrailv1.Call) { c.Keys[0].AliasArn = proto.String(refused) }},
	{"no key", "call.keys[0]", func(c *keytrailv1.Call) { c.Keys = nil }},
	{"two keys", "call.keys", func(c *keytrailv1.Call) { c.Keys = append(c.Keys, c.Keys...) }},
	{"Region", "call.region", func(c *keytrailv1.Call) { c.Region = proto.String(refused + "/") }},
	{"account", "call.account_id", func(c *keytrailv1.Call) { c.AccountId = proto.String(refused) }},
	{"caller's account", "call.caller.account_id", func(c *keytrailv1.Call) { c.Caller.AccountId = proto.String(refused) }},
	{"time", "call.time", func(c *keytrailv1.Call) { c.Time.Nanos = -1 }},
	{"call ID", "call.call_id", func(c *keytrailv1.Call) { c.CallId = proto.String(strings.Repeat(refused, 30)) }},
	{"operation", "call.operation", func(c *keytrailv1.Call) { c.Operation = proto.String(strings.Repeat(refused, 30)) }},
	{"error without a code", "call.error.code", func(c *keytrailv1.Call) {
		c.Error = &keytrailv1.CallError{Message: proto.String(planted + " is " + refused)}
		c.RequestParameters = []byte(`{"Plaintext":"` + planted + `"}`)
	}},
	{"on behalf of", "call.caller.on_behalf_of", func(c *keytrailv1.Call) { c.Caller.OnBehalfOf = []byte(`["` + planted + `"]`) }},
	{"array", "call.request_parameters", func(c *keytrailv1.Call) { c.RequestParameters = []byte(`["` + planted + `"]`) }},
	{"cut off", "call.request_parameters", func(c *keytrailv1.Call) { c.RequestParameters = []byte(`{"Plaintext":"` + planted) }},
	{"name twice", "call.response", func(c *keytrailv1.Call) { c.Response = []byte(`{"` + planted + `":1,"` + planted + `":2}`) }},
	{"not UTF-8", "call.response", func(c *keytrailv1.Call) { c.Response = []byte(`{"a":"` + planted + "\xff\"}") }},
	{"text", "call.additional_event_data", func(c *keytrailv1.Call) { c.AdditionalEventData = []byte(planted) }},
	{"string", "call.service_event_details", func(c *keytrailv1.Call) { c.ServiceEventDetails = []byte(`"` + planted + `"`) }},
}

// tooMuch are refused only past the SDK, which removes what is wrong with them.
var tooMuch = []struct {
	name  string
	field string
	spoil func(c *keytrailv1.Call)
}{
	{"large", "call", func(c *keytrailv1.Call) {
		c.RequestParameters = []byte(`{"Plaintext":"` + strings.Repeat(planted, 30_000) + `"}`)
	}},
	{"hidden", "call", func(c *keytrailv1.Call) { new(planter).hide(c) }},
	{"hidden in the caller", "call.caller", func(c *keytrailv1.Call) { new(planter).hide(c.Caller) }},
	{"hidden in a key", "call.keys[0]", func(c *keytrailv1.Call) { new(planter).hide(c.Keys[0]) }},
}

// hearings are what producers are told.
type hearings struct{ bytes.Buffer }

func (h *hearings) message(t *testing.T, m proto.Message) {
	t.Helper()
	text, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	h.Write(text)
	h.WriteString(prototext.Format(m))
}

// failure is of the error, which is a fault of its own that is expected.
func (h *hearings) failure(t *testing.T, want codes.Code, err error) {
	t.Helper()
	if status.Code(err) != want {
		t.Errorf("error %v, want %v", err, want)
		return
	}
	h.message(t, status.Convert(err).Proto())
	h.WriteString(err.Error())
}

// TestCallSecrets plants a secret in every member that must not be logged, of
// every operation, and looks for them wherever a call comes to: past the SDK, by
// it, and through a spool.
func TestCallSecrets(t *testing.T) {
	dir, spooled := t.TempDir(), filepath.Join(t.TempDir(), "spool")
	b := startBus(t, "--data", dir, "--log-level=debug")
	tap := newWiretap(t, b.grpc)
	conn, err := grpc.NewClient(b.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ingest := keytrailv1.NewIngestServiceClient(conn)
	sdk, err := client.New(tap.lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	pub, err := sdk.NewPublisher(client.PublisherConfig{})
	if err != nil {
		t.Fatal(err)
	}
	spoolLog := newOutput()
	calls, err := spool.Open(spooled, spool.Config{Redact: record.Redact, Logger: slog.New(slog.NewTextHandler(spoolLog, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*waitFor)
	defer cancel()

	look, p, heard := places{}, new(planter), new(hearings)
	publish := func(want keytrailv1.PublishStatus, field func(int) string, all ...*keytrailv1.Call) {
		t.Helper()
		for some := range slices.Chunk(all, 50) { // far less than 4 MiB
			res, err := ingest.Publish(ctx, &keytrailv1.PublishRequest{Items: callItems(some...)})
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range res.GetResults() {
				if r.GetStatus() != want || r.GetRejection().GetField() != field(i) {
					t.Errorf("%s: %v, want %v at %q", some[i].GetCallId(), r, want, field(i))
				}
			}
			heard.message(t, res)
		}
	}

	ops := []*record.Operation{{Name: "InventedOperation"}}
	for op := range record.Operations() {
		ops = append(ops, op)
	}
	came := make(map[string][]string) // IDs by way
	var past []*keytrailv1.Call
	var pending []*client.Pending
	for _, op := range ops {
		for _, how := range []string{"", "failed", "dry run"} {
			way := func(name string) *keytrailv1.Call {
				id := op.Name + "/" + how + "/" + name
				came[name] = append(came[name], id)
				c := p.call(op, how, id)
				if name != "past" {
					p.hide(c, c.Caller, c.Caller.GetSessionContext(), c.TlsDetails, c.Time, c.Error)
					for _, k := range c.Keys {
						p.hide(k)
					}
				}
				return c
			}
			past = append(past, way("past"))
			x, err := pub.PublishCall(ctx, way("sdk"))
			if err != nil {
				t.Fatal(err)
			}
			pending = append(pending, x)
			if err := calls.Add(way("spool")); err != nil {
				t.Fatal(err)
			}
		}
	}
	publish(keytrailv1.PublishStatus_PUBLISH_STATUS_SYNCED, func(int) string { return "" }, past...)
	for i, x := range pending {
		r, err := x.Result(ctx)
		if err != nil || r.GetStatus() != keytrailv1.PublishStatus_PUBLISH_STATUS_SYNCED {
			t.Errorf("%s: %v, %v", came["sdk"][i], r, err)
			continue
		}
		heard.message(t, r)
	}

	// What is refused: past the SDK, by it, and by it through the spool.
	encrypt, _ := record.LookupOperation("Encrypt")
	var bad []*keytrailv1.Call
	sink := spool.FailClosed{Publish: spool.Via(pub.PublishCall)}
	for _, tt := range slices.Concat(badCalls, tooMuch) {
		c := p.call(encrypt, "", "bad/"+tt.name)
		tt.spoil(c)
		bad = append(bad, c)
		if len(bad) > len(badCalls) {
			continue
		}
		var no *spool.RefusedError
		if err := sink.Record(ctx, c); !errors.As(err, &no) || no.Rejection.GetField() != tt.field {
			t.Errorf("%s, by the SDK: %v, want it refused for %s", tt.name, err, tt.field)
		} else {
			heard.message(t, no.Rejection)
			heard.WriteString(err.Error())
		}
		if err := calls.Add(c); err != nil {
			t.Fatal(err)
		}
	}
	publish(keytrailv1.PublishStatus_PUBLISH_STATUS_REJECTED, func(i int) string { return slices.Concat(badCalls, tooMuch)[i].field }, bad...)
	other := proto.CloneOf(past[0])
	other.Operation = proto.String("AnotherOperation")
	publish(keytrailv1.PublishStatus_PUBLISH_STATUS_CONFLICT, func(int) string { return "call.call_id" }, other)

	// What is no call, or too much of one.
	wrong := p.call(encrypt, "", "wrong")
	*wrong.UserAgent = refused + "\xff"
	if err := sink.Record(ctx, wrong); err == nil || !strings.Contains(err.Error(), "UTF-8") {
		t.Errorf("not UTF-8, by the SDK: %v", err)
	} else {
		heard.WriteString(err.Error())
	}
	if err := calls.Add(wrong); err == nil {
		t.Error("not UTF-8: it is spooled")
	} else {
		heard.WriteString(err.Error())
	}
	_, err = ingest.Publish(ctx, &keytrailv1.PublishRequest{Items: callItems(wrong)})
	heard.failure(t, codes.Internal, err)
	*wrong.UserAgent = refused + "\n"
	text, err := proto.Marshal(&keytrailv1.PublishRequest{Items: callItems(wrong)})
	if err != nil {
		t.Fatal(err)
	}
	for _, spoilt := range [][]byte{text[:len(text)-5], bytes.ReplaceAll(text, []byte(refused+"\n"), []byte(refused+"\xff"))} {
		err = conn.Invoke(ctx, keytrailv1.IngestService_Publish_FullMethodName, spoilt, new(keytrailv1.PublishResponse), grpc.ForceCodecV2(rawCodec{encoding.GetCodecV2("proto")}))
		heard.failure(t, codes.Internal, err)
	}
	wrong.Response = []byte(`{"Plaintext":"` + strings.Repeat(planted, 400_000) + `"}`)
	_, err = ingest.Publish(ctx, &keytrailv1.PublishRequest{Items: callItems(wrong)})
	heard.failure(t, codes.ResourceExhausted, err)

	// Out of the spool.
	look["spool"] = tree(t, spooled)
	results := make(map[keytrailv1.PublishStatus]int)
	running, stop := context.WithCancel(ctx)
	err = calls.Run(running, func(ctx context.Context, batch []*keytrailv1.Call) error {
		for _, c := range batch {
			r, err := pub.PublishCallWait(ctx, c)
			if err != nil {
				return err
			}
			results[r.GetStatus()]++
			heard.message(t, r)
		}
		if calls.Len() == len(batch) {
			stop()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || results[keytrailv1.PublishStatus_PUBLISH_STATUS_SYNCED] != len(came["spool"]) ||
		results[keytrailv1.PublishStatus_PUBLISH_STATUS_REJECTED] != len(badCalls) {
		t.Errorf("out of the spool: %v, %v; want %d stored and %d rejected", results, err, len(came["spool"]), len(badCalls))
	}
	if err := errors.Join(calls.Close(), pub.Close(ctx), sdk.Close()); err != nil {
		t.Fatal(err)
	}
	look["sent by the SDK"], look["answered to the SDK"] = tap.close()

	for name, args := range map[string][]string{"tail": nil, "tail as JSON": {"-o", "json"}} {
		tap := newWiretap(t, b.grpc)
		r := must(t, 0, "subscriber", append([]string{"tail", "--bus=" + tap.lis.Addr().String(), "--from=earliest", "--until-idle=500ms"}, args...)...)
		look[name], look[name+", its errors"] = []byte(r.out), []byte(r.err)
		_, look["stream of "+name] = tap.close()
	}
	look["metrics"] = []byte(metrics(t, b.http))
	b.kill()
	look["the bus' output"], look["the spool's log"] = []byte(b.out.String()+b.err.String()), []byte(spoolLog.String())
	look["answers"], look["store"] = heard.Bytes(), tree(t, dir)
	look.check(t, came)
}

// check fails on each secret, and where the search cannot see what is there.
func (p places) check(t *testing.T, came map[string][]string) {
	t.Helper()
	for _, where := range p.has(planted) {
		t.Errorf("a secret is in %s", where)
	}
	for _, where := range p.has(refused) {
		if !strings.HasPrefix(where, "spool (") && !strings.HasPrefix(where, "sent by the SDK (") {
			t.Errorf("a value of a refused call is in %s", where)
		}
	}
	for where, ways := range map[string][]string{
		"sent by the SDK": {"sdk", "spool"}, "spool": {"spool"}, "store": {"past", "sdk", "spool"},
		"tail as JSON": {"past", "sdk", "spool"}, "stream of tail": {"past", "sdk", "spool"}, "stream of tail as JSON": {"past", "sdk", "spool"},
	} {
		for _, way := range ways {
			for _, id := range came[way] {
				if !bytes.Contains(p[where], []byte(agent(id))) {
					t.Errorf("the search does not see %s in %s", id, where)
				}
			}
		}
		for _, known := range []string{`"tenant":"` + marker, `"` + lowerFirst("AttestationDocumentModuleId") + `":"` + marker} {
			if !bytes.Contains(p[where], []byte(known)) {
				t.Errorf("the search does not see %s in %s", known, where)
			}
		}
	}
	for where, known := range map[string]string{
		"tail": "InventedOperation", "answered to the SDK": "call.keys[0].arn", "answers": "PUBLISH_STATUS_REJECTED",
		"metrics": `keytrail_ingest_results_total{status="CONFLICT"} 1`, "the bus' output": "level=DEBUG",
	} {
		if !bytes.Contains(p[where], []byte(known)) {
			t.Errorf("the search does not see %q in %s", known, where)
		}
	}
}

func callItems(calls ...*keytrailv1.Call) []*keytrailv1.PublishItem {
	var out []*keytrailv1.PublishItem
	for _, c := range calls {
		out = append(out, &keytrailv1.PublishItem{Item: &keytrailv1.PublishItem_Call{Call: c}})
	}
	return out
}
