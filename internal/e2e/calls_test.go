package e2e

import (
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

const exampleCalls = "../../examples/kms-calls.jsonl"

// TestCalls publishes the example calls and compares the records with those
// that were checked by hand.
func TestCalls(t *testing.T) {
	dir := t.TempDir()
	b := startBus(t, "--data", dir)
	said := must(t, 0, "bus", "publish", b.to, "--calls", exampleCalls)
	if said.out != "published=8 duplicate=0 rejected=0\n" || said.err != "" {
		t.Errorf("publish says %q, %q", said.out, said.err)
	}
	got := byID(t, tailAll(t, b))
	want := byID(t, files(t, "testdata/kms-calls.records.jsonl"))
	for id := range want {
		if !reflect.DeepEqual(got[id], want[id]) {
			t.Errorf("event %s\ngot  %v\nwant %v", id, got[id], want[id])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d records, want %d", len(got), len(want))
	}

	// However the file comes, its calls are told apart as duplicates.
	text, err := os.ReadFile(exampleCalls)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "calls.jsonl.gz"), []byte(zip(t, string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
	again := must(t, 0, "bus", "publish", b.to, "--calls", folder)
	piped := try(t, strings.NewReader(string(text)), "bus", "publish", b.to, "--calls", "-")
	for _, r := range []result{again, piped} {
		if r.status != 0 || r.out != "published=0 duplicate=8 rejected=0\n" {
			t.Errorf("published again: status %d, %q, %q", r.status, r.out, r.err)
		}
	}

	// A setting that changes what owners see.
	b.kill()
	b = startBus(t, "--data", t.TempDir(), "--call-owners-view=full", "--call-not-enriched=RotateKey,DisableKey")
	must(t, 0, "bus", "publish", b.to, "--calls", exampleCalls)
	full := byID(t, tailAll(t, b))
	for id, rec := range want {
		user, _ := full[id]["userIdentity"].(map[string]any)
		wasReduced := rec["userIdentity"].(map[string]any)["type"] == "AWSAccount"
		if wasReduced && user["userName"] != "bob" {
			t.Errorf("the owner's copy %s shows the caller as %v", id, user)
		}
		if name := rec["eventName"]; (name == "RotateKey" || name == "DisableKey") && full[id]["responseElements"] != nil {
			t.Errorf("%v is enriched: %v", name, full[id]["responseElements"])
		}
	}
}

// TestBadCalls: what is wrong with a line is told by file, line and field, and
// costs no other line; nothing of a call gets into messages or rejects.
func TestBadCalls(t *testing.T) {
	b := startBus(t, "--data", t.TempDir())
	const envelope = `"time":"2026-11-24T10:00:00Z","region":"us-west-2","caller":{"type":"Root","accountId":"111122223333"}`
	const key = `"keys":[{"arn":"arn:aws:kms:us-west-2:111122223333:key/k"}]`
	bad := []struct{ line, want string }{
		{`{"operation":"hunter2`, "not JSON: it is cut off"},
		{`{"operation":"Encrypt","tiem":"hunter2"}`, "tiem: is no member of a call: check its spelling"},
		{`{` + envelope + `,` + key + `}`, "call.operation: is required"},
		{`{"operation":"Encrypt","time":"2026-11-24T10:00:00Z","region":"us-west-2",` + key + `}`, "call.caller: is required: who called"},
		{`{"operation":"Encrypt","region":"us-west-2","caller":{"type":"Root"},` + key + `}`, "call.time: is required"},
		{`{"operation":"Encrypt",` + envelope + `}`, "call.keys[0]: is required of a call that succeeded: the key that the KMS resolved the request to"},
		{`{"operation":"Encrypt",` + envelope + `,"keys":[{"arn":"hunter2"}]}`, "call.keys[0].arn: must be arn:<partition>:kms:<region>:<account of 12 digits>:key/<id>"},
		{`{"operation":"Encrypt",` + envelope + `,"keys":[{"arn":"arn:aws:kms:us-west-2:111122223333:key/k","ownerAccountId":"999999999999"}]}`, "call.keys[0].owner_account_id: contradicts the ARN: it must be the account there, or not set"},
		{`{"operation":"Encrypt",` + envelope + `,` + key + `,"requestParameters":["hunter2"]}`, "call.request_parameters: must be one JSON object in UTF-8, with distinct names"},
	}
	var text strings.Builder
	in := filepath.Join(t.TempDir(), "calls.jsonl")
	for _, l := range bad {
		text.WriteString(l.line + "\n" + `{"operation":"Encrypt",` + envelope + `,` + key + `,"requestParameters":{"Plaintext":"hunter2"}}` + "\n")
	}
	if err := os.WriteFile(in, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	said := must(t, 1, "bus", "publish", b.to, "--calls", in)
	for i, l := range bad {
		if line := "rejected: " + in + " line " + strconv.Itoa(2*i+1) + ": " + l.want + "\n"; !strings.Contains(said.err, line) {
			t.Errorf("no line %q", line)
		}
	}
	if said.out != "published=9 duplicate=0 rejected=9\n" {
		t.Errorf("publish says %q\n%s", said.out, said.err)
	}
	rejects := filepath.Join(t.TempDir(), "rejects")
	must(t, 1, "bus", "publish", b.to, "--calls", "--rejects", rejects, in)
	kept, err := os.ReadFile(rejects)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(kept), `"line":`); n != 9 {
		t.Errorf("the file of rejects has %d lines:\n%s", n, kept)
	}
	if strings.Contains(said.err+string(kept), "hunter2") {
		t.Errorf("a value of a call is told:\n%s\n%s", said.err, kept)
	}
	// Calls without an ID are new each time.
	if got := len(tailAll(t, b)); got != 18 {
		t.Errorf("the log holds %d records, want 18", got)
	}
}
