package filter

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/internal/needs"
	"github.com/keytrail/keytrail/record"
)

// rules are what public rule sets detect in the records of a KMS. Records are
// JSON objects; pattern, if there is one, says the same as an event pattern of
// EventBridge.
var rules = []struct {
	name, where, pattern string
	match, miss          []string
}{
	{
		name:    "a key was disabled or is to be deleted",
		where:   `event in (DisableKey, ScheduleKeyDeletion) and outcome = success`,
		pattern: `{"eventName": ["DisableKey", "ScheduleKeyDeletion"], "errorCode": [{"exists": false}]}`,
		match: []string{
			`{"eventName": "DisableKey"}`,
			`{"eventName": "ScheduleKeyDeletion", "requestParameters": {"keyId": "x", "pendingWindowInDays": 7}}`,
		},
		miss: []string{
			`{"eventName": "DisableKey", "errorCode": "AccessDenied"}`,
			`{"eventName": "DisableKeyRotation"}`,
			`{"eventName": "CancelKeyDeletion"}`,
		},
	},
	{
		name: "imported key material was used or deleted by anyone but a service",
		where: `event in (ImportKeyMaterial, DeleteImportedKeyMaterial) and
			userIdentity.type != AWSService and not exists userIdentity.invokedBy`,
		pattern: `{"eventName": ["ImportKeyMaterial", "DeleteImportedKeyMaterial"], "userIdentity": {
			"invokedBy": [{"exists": false}], "type": [{"exists": false}, {"anything-but": "AWSService"}]}}`,
		match: []string{
			`{"eventName": "ImportKeyMaterial", "userIdentity": {"type": "IAMUser"}}`,
			`{"eventName": "DeleteImportedKeyMaterial", "userIdentity": {"accountId": "210987654321"}}`,
		},
		miss: []string{
			`{"eventName": "ImportKeyMaterial", "userIdentity": {"type": "AWSService", "invokedBy": "rds.amazonaws.com"}}`,
			`{"eventName": "DeleteImportedKeyMaterial", "userIdentity": {"type": "AWSService"}}`,
			`{"eventName": "ImportKeyMaterial", "userIdentity": {"type": "IAMUser", "invokedBy": "cloudformation.amazonaws.com"}}`,
			`{"eventName": "GetParametersForImport", "userIdentity": {"type": "IAMUser"}}`,
		},
	},
	{
		name:    "the policy of a key was changed",
		where:   `event = PutKeyPolicy and outcome = success`,
		pattern: `{"eventName": ["PutKeyPolicy"], "errorCode": [{"exists": false}]}`,
		match:   []string{`{"eventName": "PutKeyPolicy", "requestParameters": {"policyName": "default"}}`},
		miss: []string{
			`{"eventName": "PutKeyPolicy", "errorCode": "MalformedPolicyDocumentException"}`,
			`{"eventName": "GetKeyPolicy"}`,
		},
	},
	{
		name: "a key was made public",
		where: `event in (PutKeyPolicy, CreateKey, ReplicateKey) and outcome = success and
			json(requestParameters.policy).Statement[] (
				Effect = Allow and (Principal = "*" or Principal.AWS = "*") and not exists Condition
			)`,
		match: []string{
			`{"eventName": "PutKeyPolicy", "requestParameters": {"policy": "{\"Statement\":[{\"Effect\":\"Deny\",\"Principal\":\"*\"},{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"kms:*\"}]}"}}`,
			`{"eventName": "PutKeyPolicy", "requestParameters": {"policy": "{\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":[\"arn:aws:iam::210987654321:root\",\"*\"]}}]}"}}`,
			`{"eventName": "PutKeyPolicy", "requestParameters": {"policy": {"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "kms:Decrypt"}]}}}`,
			`{"eventName": "CreateKey", "requestParameters": {"policy": {"Statement": {"Effect": "Allow", "Principal": {"AWS": "*"}}}}}`,
		},
		miss: []string{
			`{"eventName": "PutKeyPolicy", "requestParameters": {"policy": "{\"Statement\":[{\"Effect\":\"Deny\",\"Principal\":\"*\"},{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"arn:aws:iam::210987654321:root\"}}]}"}}`,
			`{"eventName": "PutKeyPolicy", "requestParameters": {"policy": "{\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Condition\":{\"StringEquals\":{\"kms:CallerAccount\":\"210987654321\"}}}]}"}}`,
			`{"eventName": "PutKeyPolicy", "errorCode": "AccessDenied", "requestParameters": {"policy": {"Statement": {"Effect": "Allow", "Principal": "*"}}}}`,
			`{"eventName": "PutKeyPolicy", "requestParameters": {"policy": "no JSON: \"Effect\":\"Allow\",\"Principal\":\"*\""}}`,
			`{"eventName": "PutKeyPolicy", "requestParameters": null}`,
			`{"eventName": "CreateKey"}`,
		},
	},
	{
		name: "everyone was allowed to encrypt",
		where: `event = PutKeyPolicy and json(requestParameters.policy).Statement[] (
			Effect = Allow and (Principal = "*" or Principal.AWS = "*") and nocase(Action) in ("kms:Encrypt", "kms:*", "*"))`,
		match: []string{
			`{"eventName": "PutKeyPolicy", "requestParameters": {"policy": "{\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":[\"kms:Decrypt\",\"kms:Encrypt\"]}]}"}}`,
			`{"eventName": "PutKeyPolicy", "requestParameters": {"policy": {"Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "KMS:*"}]}}}`,
		},
		miss: []string{
			`{"eventName": "PutKeyPolicy", "requestParameters": {"policy": "{\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"kms:DescribeKey\"},{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"arn:aws:iam::210987654321:root\"},\"Action\":\"kms:Encrypt\"}]}"}}`,
			`{"eventName": "PutKeyPolicy", "requestParameters": {"policy": {"Statement": [{"Effect": "Deny", "Principal": "*", "Action": "kms:Encrypt"}]}}}`,
		},
	},
	{
		name: "chosen encryption contexts were decrypted with one key",
		where: `event = Decrypt and key = ` + keyA + ` and
			requestParameters.encryptionContext["aws:s3:arn"] ^= "arn:aws:s3:::payroll/"`,
		pattern: `{"eventName": ["Decrypt"], "resources": {"ARN": ["` + keyA + `"]},
			"requestParameters": {"encryptionContext": {"aws:s3:arn": [{"prefix": "arn:aws:s3:::payroll/"}]}}}`,
		match: []string{
			`{"eventName": "Decrypt", "resources": [{"ARN": "` + keyA + `"}], "requestParameters": {"encryptionContext": {"a": "b", "aws:s3:arn": "arn:aws:s3:::payroll/2026"}}}`,
		},
		miss: []string{
			`{"eventName": "Decrypt", "resources": [{"ARN": "` + keyB + `"}], "requestParameters": {"encryptionContext": {"aws:s3:arn": "arn:aws:s3:::payroll/2026"}}}`,
			`{"eventName": "Decrypt", "resources": [{"ARN": "` + keyA + `"}], "requestParameters": {"encryptionContext": {"aws:s3:arn": "arn:aws:s3:::other"}}}`,
			`{"eventName": "Decrypt", "resources": [{"ARN": "` + keyA + `"}], "requestParameters": {"encryptionContext": {"aws": {"s3": {"arn": "arn:aws:s3:::payroll/2026"}}}}}`,
			`{"eventName": "Decrypt", "resources": [{"ARN": "` + keyA + `"}], "requestParameters": null}`,
			`{"eventName": "Encrypt", "resources": [{"ARN": "` + keyA + `"}], "requestParameters": {"encryptionContext": {"aws:s3:arn": "arn:aws:s3:::payroll/2026"}}}`,
		},
	},
	{
		name: "a key was replicated to another Region than those of a list",
		where: `event = ReplicateKey and exists requestParameters.replicaRegion and
			requestParameters.replicaRegion not in (eu-central-1, eu-west-1)`,
		pattern: `{"eventName": ["ReplicateKey"], "requestParameters": {"replicaRegion": [{"anything-but": ["eu-central-1", "eu-west-1"]}]}}`,
		match:   []string{`{"eventName": "ReplicateKey", "requestParameters": {"replicaRegion": "us-east-1"}}`},
		miss: []string{
			`{"eventName": "ReplicateKey", "requestParameters": {"replicaRegion": "eu-west-1"}}`,
			`{"eventName": "ReplicateKey", "requestParameters": {}}`,
			`{"eventName": "CreateKey", "requestParameters": {"replicaRegion": "us-east-1"}}`,
		},
	},
	{
		name:    "a call through a VPC endpoint was denied",
		where:   `exists vpcEndpointId and outcome = denied`,
		pattern: `{"vpcEndpointId": [{"exists": true}], "errorCode": [{"prefix": "AccessDenied"}]}`,
		match: []string{
			`{"eventName": "Decrypt", "vpcEndpointId": "vpce-1", "errorCode": "AccessDenied"}`,
			`{"eventName": "Decrypt", "vpcEndpointId": "vpce-1", "errorCode": "AccessDeniedException"}`,
		},
		miss: []string{
			`{"eventName": "Decrypt", "vpcEndpointId": "vpce-1", "errorCode": "DisabledException"}`,
			`{"eventName": "Decrypt", "vpcEndpointId": "vpce-1"}`,
			`{"eventName": "Decrypt", "errorCode": "AccessDenied"}`,
		},
	},
	{
		name:  "the caller is of another account",
		where: `crossAccount = true`,
		match: []string{`{"eventName": "Decrypt", "recipientAccountId": "210987654321", "userIdentity": {"type": "AWSAccount", "accountId": "322098765432"}}`},
		miss: []string{
			`{"eventName": "Decrypt", "recipientAccountId": "210987654321", "userIdentity": {"accountId": "210987654321"}}`,
			`{"eventName": "Decrypt", "recipientAccountId": "210987654321", "userIdentity": {"type": "AWSService", "invokedBy": "s3.amazonaws.com"}}`,
			`{"eventName": "Decrypt", "userIdentity": {"accountId": "322098765432"}}`,
		},
	},
	{
		name:  "Decrypt without the noise of EKS",
		where: `event = Decrypt and userIdentity.invokedBy != eks.amazonaws.com and sourceIPAddress != eks.amazonaws.com`,
		pattern: `{"eventName": ["Decrypt"],
			"userIdentity": {"invokedBy": [{"exists": false}, {"anything-but": "eks.amazonaws.com"}]},
			"sourceIPAddress": [{"exists": false}, {"anything-but": "eks.amazonaws.com"}]}`,
		match: []string{
			`{"eventName": "Decrypt", "sourceIPAddress": "198.51.100.7", "userIdentity": {"type": "IAMUser"}}`,
			`{"eventName": "Decrypt", "sourceIPAddress": "s3.amazonaws.com", "userIdentity": {"type": "AWSService", "invokedBy": "s3.amazonaws.com"}}`,
		},
		miss: []string{
			`{"eventName": "Decrypt", "sourceIPAddress": "eks.amazonaws.com", "userIdentity": {"invokedBy": "eks.amazonaws.com"}}`,
			`{"eventName": "Decrypt", "sourceIPAddress": "eks.amazonaws.com", "userIdentity": {"type": "AssumedRole"}}`,
			`{"eventName": "Encrypt", "sourceIPAddress": "198.51.100.7"}`,
		},
	},
	{
		name: "a person looks around",
		where: `event in (Describe*, Get*, List*) and (userIdentity.type in (IAMUser, Root, IdentityCenterUser) or
			userIdentity.arn ~ "arn:aws:sts::*:assumed-role/AWSReservedSSO_*") and not exists userIdentity.invokedBy`,
		pattern: `{"eventName": [{"prefix": "Describe"}, {"prefix": "Get"}, {"prefix": "List"}], "userIdentity": {
			"invokedBy": [{"exists": false}],
			"$or": [{"type": ["IAMUser", "Root", "IdentityCenterUser"]}, {"arn": [{"wildcard": "arn:aws:sts::*:assumed-role/AWSReservedSSO_*"}]}]}}`,
		match: []string{
			`{"eventName": "ListKeys", "userIdentity": {"type": "IAMUser", "arn": "arn:aws:iam::210987654321:user/amara"}}`,
			`{"eventName": "GetKeyPolicy", "userIdentity": {"type": "AssumedRole", "arn": "arn:aws:sts::210987654321:assumed-role/AWSReservedSSO_Admin_1/amara"}}`,
		},
		miss: []string{
			`{"eventName": "DescribeKey", "userIdentity": {"type": "AssumedRole", "arn": "arn:aws:sts::210987654321:assumed-role/app/i-0123"}}`,
			`{"eventName": "DescribeKey", "userIdentity": {"type": "IAMUser", "invokedBy": "cloudformation.amazonaws.com"}}`,
			`{"eventName": "Decrypt", "userIdentity": {"type": "IAMUser"}}`,
		},
	},
	{
		name: "credentials of an instance were used from a public address",
		where: `userIdentity.type = AssumedRole and userIdentity.arn ~ "arn:aws:sts::*:assumed-role/*/i-*" and
			exists sourceIP and not sourceIP cidr (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10, fc00::/7)`,
		pattern: `{"userIdentity": {"type": ["AssumedRole"], "arn": [{"wildcard": "arn:aws:sts::*:assumed-role/*/i-*"}]},
			"sourceIPAddress": [` + blocksWithout("0.0.0.0/0", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10") + `, ` +
			blocksWithout("::/0", "fc00::/7") + `]}`,
		match: []string{
			`{"eventName": "Decrypt", "sourceIPAddress": "198.51.100.7", "userIdentity": {"type": "AssumedRole", "arn": "arn:aws:sts::210987654321:assumed-role/app/i-0123456789"}}`,
			`{"eventName": "Decrypt", "sourceIPAddress": "2001:db8::7", "userIdentity": {"type": "AssumedRole", "arn": "arn:aws:sts::210987654321:assumed-role/app/i-0123456789"}}`,
		},
		miss: []string{
			`{"eventName": "Decrypt", "sourceIPAddress": "10.2.3.4", "userIdentity": {"type": "AssumedRole", "arn": "arn:aws:sts::210987654321:assumed-role/app/i-0123456789"}}`,
			`{"eventName": "Decrypt", "sourceIPAddress": "ec2.amazonaws.com", "userIdentity": {"type": "AssumedRole", "arn": "arn:aws:sts::210987654321:assumed-role/app/i-0123456789"}}`,
			`{"eventName": "Decrypt", "sourceIPAddress": "198.51.100.7", "userIdentity": {"type": "AssumedRole", "arn": "arn:aws:sts::210987654321:assumed-role/app/amara"}}`,
			`{"eventName": "Decrypt", "userIdentity": {"type": "AssumedRole", "arn": "arn:aws:sts::210987654321:assumed-role/app/i-0123456789"}}`,
		},
	},
}

// blocksWithout is what a pattern says for the addresses of a block that are
// not in some others: EventBridge cannot say it the other way round.
func blocksWithout(block string, others ...string) string {
	p := netip.MustParsePrefix(block)
	if slices.ContainsFunc(others, func(o string) bool {
		q := netip.MustParsePrefix(o)
		return q.Bits() <= p.Bits() && q.Overlaps(p)
	}) {
		return ""
	}
	if !slices.ContainsFunc(others, func(o string) bool { return netip.MustParsePrefix(o).Overlaps(p) }) {
		return `{"cidr": "` + block + `"}`
	}
	upper := p.Addr().AsSlice()
	upper[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	second, _ := netip.AddrFromSlice(upper)
	a := blocksWithout(netip.PrefixFrom(p.Addr(), p.Bits()+1).String(), others...)
	b := blocksWithout(netip.PrefixFrom(second, p.Bits()+1).String(), others...)
	if a == "" || b == "" {
		return a + b
	}
	return a + ", " + b
}

func TestRules(t *testing.T) {
	for _, tt := range rules {
		t.Run(tt.name, func(t *testing.T) {
			rule := mustCompile(t, &keytrailv1.Filter{Where: tt.where})
			if w := rule.Warnings(); len(w) > 0 {
				t.Errorf("warnings: %q", w)
			}
			forms := map[string]*Filter{
				"text":           rule,
				"canonical text": mustCompile(t, &keytrailv1.Filter{Where: rule.String()}),
			}
			if tt.pattern != "" {
				forms["pattern"] = mustCompile(t, &keytrailv1.Filter{Pattern: tt.pattern})
				forms["pattern for events"] = mustCompile(t, &keytrailv1.Filter{Pattern: `{"detail": ` + tt.pattern + `}`})
				if w := forms["pattern"].Warnings(); len(w) > 0 {
					t.Errorf("warnings for the pattern: %q", w)
				}
			}
			check := func(text string, want bool) {
				rec, err := record.FromJSON([]byte(text))
				if err != nil {
					t.Fatal(err)
				}
				if got := slowHolds(rule.root, rec); got != want {
					t.Errorf("by the specification: %v, want %v, for %s", got, want, text)
				}
				for form, f := range forms {
					if got := f.Match(viewOf(t, rec)); got != want {
						t.Errorf("as %s: %v, want %v, for %s", form, got, want, text)
					}
				}
			}
			for _, text := range tt.match {
				check(text, true)
			}
			for _, text := range tt.miss {
				check(text, false)
			}
		})
	}
}

// TestRealRecords holds matching to the oracle on real records, with filters of
// all tests.
func TestRealRecords(t *testing.T) {
	var filters []*Filter
	for _, tt := range rules {
		filters = append(filters, mustCompile(t, &keytrailv1.Filter{Where: tt.where}))
	}
	for _, tt := range canonicalTests {
		if !strings.Contains(tt.text, "cel(") {
			filters = append(filters, mustCompile(t, &keytrailv1.Filter{Where: tt.text}))
		}
	}
	matched := make(map[string]int)
	for _, rec := range realRecords(t) {
		v := viewOf(t, rec)
		for _, f := range filters {
			got, want := f.Match(v), slowHolds(f.root, rec)
			if got != want {
				t.Errorf("%s: %v, the specification says %v, for %s", f, got, want, jsonOf(rec))
			}
			if got {
				matched[f.String()]++
			}
		}
	}
	for _, where := range []string{rules[0].where, rules[2].where, rules[10].where} {
		if text := mustCompile(t, &keytrailv1.Filter{Where: where}).String(); matched[text] == 0 {
			t.Errorf("no real record matches %s", text)
		}
	}
}

// realRecords are the KMS' records of the real data.
func realRecords(t *testing.T) (list []*keytrailv1.Record) {
	t.Helper()
	add := func(text []byte) {
		var wrapped struct{ Record json.RawMessage }
		if json.Unmarshal(text, &wrapped) == nil && wrapped.Record != nil {
			text = wrapped.Record
		}
		rec, err := record.FromJSON(text)
		if err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		list = append(list, rec)
	}
	for _, name := range []string{"invictus/kms.jsonl", "panther/kms.jsonl", "cloudtrail-rs-traps.jsonl"} {
		data, err := os.ReadFile(needs.RealData(t, name))
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(data) {
			if len(bytes.TrimSpace(line)) > 0 {
				add(line)
			}
		}
	}
	files, err := filepath.Glob(filepath.Join(needs.RealData(t, "aws-kms-docs"), "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("files: %v, %v", files, err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		add(data)
	}
	return list
}
