package filter

import (
	"bufio"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/internal/needs"
	"github.com/keytrail/keytrail/internal/sample"
	"github.com/keytrail/keytrail/record"
)

func warningsOf(t *testing.T, where string) []string {
	t.Helper()
	return mustCompile(t, &keytrailv1.Filter{Where: where}).Warnings()
}

// existing paths are ones that records have, of each kind.
var existingPaths = []string{
	"eventName", "userIdentity", "userIdentity.arn", "userIdentity.sessionContext.sessionIssuer.userName",
	"userIdentity.sessionContext.webIdFederationData", "userIdentity.sessionContext.webIdFederationData.attributes.sub",
	"userIdentity.onBehalfOf.userId", "userIdentity.inScopeOf.issuerType", "tlsDetails.tlsVersion", "addendum.reason",
	"resources", "resources[].ARN", "resources[].arn", "resources[].type", "readOnly", "sessionCredentialFromConsole",
	"requestParameters", "requestParameters.keyId", `requestParameters.encryptionContext["aws:s3:arn"]`, "requestParameters.constraints.encryptionContextSubset.a",
	"requestParameters.tags[].tagKey", "requestParameters.tagKeys", "requestParameters.tagKeys[]", "requestParameters.operations[]",
	"requestParameters.policy", "json(requestParameters.policy).Statement[].Principal.AWS", "requestParameters.policy.Statement[].Effect",
	"requestParameters.clusterId", "requestParameters.destinationEncryptionContext.x", "requestParameters.replicaRegion", "requestParameters.primaryRegion",
	"responseElements.keyId", "responseElements.keyMetadata.aWSAccountId", "responseElements.keyMetadata.multiRegionConfiguration.replicaKeys[].region",
	"responseElements.replicaKeyMetadata.keyId", "responseElements.replicaPolicy", "additionalEventData.recipient.attestationDocumentEnclavePCR0",
	"additionalEventData.keyMaterialId", "serviceEventDetails.keyId", "serviceEventDetails.rotationType",
	"eventContext.tagContext", "edgeDeviceDetails.x", "json(userAgent).x",
}

func TestNoWarnings(t *testing.T) {
	for _, path := range existingPaths {
		if w := warningsOf(t, path+" = true or exists "+path); strings.Contains(strings.Join(w, " "), "no record") {
			t.Errorf("%s: %q", path, w)
		}
	}
	for _, where := range []string{
		"event in (Decrypt, Generate*) or event matches \"^Re\" or nocase(event) = decrypt or event $= Key",
		"account = 210987654321 or account ~ \"2109*\" or accountOf(principal) = aws or eventSource = kms.amazonaws.com",
		"sourceIP = 10.0.0.1 or sourceIP cidr 10.0.0.0/8 or sourceIPAddress = kms.amazonaws.com or sourceIPAddress = \"AWS Internal\"",
		"resources[] (ARN = x and accountId = y) or requestParameters.tags[] (tagKey = a and tagValue = b) or requestParameters.operations[] ([] = Decrypt)",
		"json(requestParameters.policy).Statement[] (anything = x)",
		"key in (5a1b7c1e-4c1f-4d7e-9a51-000000000001, mrk-*, arn:*:key/mrk-*) or key ^= 5a1b or key $= payroll or accountOf(key) = 210987654321",
		"principal = arn:aws:iam::*:root or userIdentity.arn ~ \"*/ops\" or json(requestParameters.policy).Statement[].Principal = \"*\"",
	} {
		if w := warningsOf(t, where); len(w) > 0 {
			t.Errorf("%s: %q", where, w)
		}
	}
}

func TestWarnings(t *testing.T) {
	for _, tt := range []struct{ where, want string }{
		{"requestParameters.keyID = x", "no record of the KMS' operations has requestParameters.keyID; did you mean requestParameters.keyId?"},
		{"exists requestParameters.keyIdentifier", "no record of the KMS' operations has requestParameters.keyIdentifier"},
		{"requestParameters.encrytionContext.a = x", "no record of the KMS' operations has requestParameters.encrytionContext; did you mean requestParameters.encryptionContext?"},
		{"requestParameters.keyId.x = x", "no record of the KMS' operations has requestParameters.keyId.x"},
		{"requestParameters.arn = x", "no record of the KMS' operations has requestParameters.arn; did you mean userIdentity.arn or resources[].ARN?"},
		{"responseElements.arn = x", "no record of the KMS' operations has responseElements.arn; did you mean responseElements.keyMetadata.arn or responseElements.replicaKeyMetadata.arn?"},
		{"requestParameters.tags.tagKey = x", "requestParameters.tags is a list, so that requestParameters.tags.tagKey is never there; did you mean requestParameters.tags[].tagKey?"},
		{"requestParameters.tags[] (tagkey = x)", "no record of the KMS' operations has tagkey in requestParameters.tags[]; did you mean tagKey?"},
		{`["new"] = x`, `no record of the KMS' operations has ["new"]`},
		{`["key"] = x`, `no record of the KMS' operations has ["key"]; did you mean key?`},
		{`userIdentity["new"].x = x`, `no record of the KMS' operations has userIdentity["new"]`},
		{"json(requestParameters.polcy).x = x", "no record of the KMS' operations has requestParameters.polcy; did you mean requestParameters.policy?"},
		{"event = Decript", `no operation of the KMS that this version knows has a name that matches "Decript"; did you mean Decrypt?`},
		{"event = decrypt", `no operation of the KMS that this version knows has a name that matches "decrypt"; did you mean Decrypt?`},
		{"event != kms:Decrypt", `no operation of the KMS that this version knows has a name that matches "kms:Decrypt"; did you mean Decrypt?`},
		{"event in (Decrypt, Foo*)", `no operation of the KMS that this version knows has a name that matches "Foo*"`},
		{`event matches "^x"`, `no operation of the KMS that this version knows has a name that matches "^x"`},
		{"errorCode is not null", "errorCode is not null also holds where it is missing; write exists errorCode for where it is there"},
		{"not requestParameters.policy is null", "requestParameters.policy is not null also holds where it is missing; write exists requestParameters.policy for where it is there"},
		{"json(requestParameters.policy).Statement.Effect = Allow", "json(requestParameters.policy).Statement is a list in most policies, whose members are not looked at; write json(requestParameters.policy).Statement[], which is also right for a single one"},
		{"key = alias/payroll", `"alias/payroll" finds calls about the alias itself, such as UpdateAlias; for calls that use its key give the key ID or key ARN`},
		{`cel("event in ['decrypt', 'Encrypt']")`, `no operation of the KMS that this version knows has a name that matches "decrypt"; did you mean Decrypt?`},
		{`cel("requestParameters.keyid == 'x'")`, "no record of the KMS' operations has requestParameters.keyid; did you mean requestParameters.keyId?"},
		{"event < 5", "eventName holds no numbers, and only numbers have an order"},
		{"eventSource = kms", `no service is called "kms" in a record; they are like kms.amazonaws.com`},
		{"account = 1234", `no account is called "1234"; they have 12 digits`},
		{"account in (210987654321, 12345678901x)", `no account is called "12345678901x"; they have 12 digits`},
		{"sourceIP = 10.0.0.0/8", "sourceIP is never 10.0.0.0/8; write sourceIP cidr 10.0.0.0/8 for an address in that block"},
		{"sourceIPAddress = 10.0.0.0/8", "sourceIPAddress is never 10.0.0.0/8; write sourceIPAddress cidr 10.0.0.0/8 for an address in that block"},
		{"key = payroll", `no key ID is "payroll", and names of aliases begin with "alias/"`},
		{"key = arn*", `"arn*" is compared with key IDs and names of aliases; write "arn:" to compare with ARNs`},
		{`key != "arn:aws:kms:*"`, `key is compared with "arn:aws:kms:*" as it is; for a wildcard, leave out the quotes or write ~`},
		{`principal = "arn:aws:iam::*:root"`, `principal is compared with "arn:aws:iam::*:root" as it is; for a wildcard, leave out the quotes or write ~`},
		{`userIdentity.arn in (x, "*/ops")`, `userIdentity.arn is compared with "*/ops" as it is; for a wildcard, leave out the quotes or write ~`},
		{"sourceIP = kms.amazonaws.com", `sourceIP is never "kms.amazonaws.com", for it holds addresses alone; sourceIPAddress has names of hosts as well`},
	} {
		if got := warningsOf(t, tt.where); !slices.Equal(got, []string{tt.want}) {
			t.Errorf("%s: warnings\n%q\nwant\n%q", tt.where, got, tt.want)
		}
	}
}

// TestWarningsAreFew: whatever a filter holds, there are not many of them, and
// none twice.
func TestWarningsAreFew(t *testing.T) {
	if w := warningsOf(t, "event = a or event = a"); len(w) != 1 {
		t.Errorf("the same twice: %q", w)
	}
	var names []string
	for c := 'a'; c <= 'z'; c++ {
		names = append(names, strings.Repeat(string(c), 5))
	}
	if w := warningsOf(t, "event in ("+strings.Join(names, ", ")+")"); len(w) != maxWarnings {
		t.Errorf("%d warnings, want %d", len(w), maxWarnings)
	}
}

// TestPathsOfRealRecords: no path that a real record has is warned about.
func TestPathsOfRealRecords(t *testing.T) {
	f, err := os.Open(needs.RealData(t, "field-paths-kms.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	n := 0
	for lines.Scan() {
		path, _, _ := strings.Cut(lines.Text(), "\t")
		if path == "path" {
			continue
		}
		n++
		path = strings.ReplaceAll(path, ".{*}", `["any name"]`)
		if w := warningsOf(t, "exists "+path); len(w) > 0 {
			t.Errorf("%s: %q", path, w)
		}
	}
	if err := lines.Err(); err != nil || n < 100 {
		t.Errorf("%d paths: %v", n, err)
	}
}

// TestPathsOfGeneratedRecords does the same with all that the generator makes.
func TestPathsOfGeneratedRecords(t *testing.T) {
	warned := make(map[string]bool)
	var follow func(at cursor, path string, x any)
	follow = func(at cursor, path string, x any) {
		switch x := x.(type) {
		case map[string]any:
			for name, x := range x {
				if below := path + "." + name; at.lacks(name) {
					warned[below] = true
				} else {
					follow(at.member(name), below, x)
				}
			}
		case []any:
			for _, x := range x {
				follow(at.next(step{kind: stepEach}), path+"[]", x)
			}
		}
	}
	g := sample.New(sample.Config{Keys: 100})
	for range 3000 {
		follow(recordCursor, "", any(slowJSON(g.Next())))
	}
	if len(warned) > 0 {
		t.Errorf("generated records have these: %v", warned)
	}
}

func TestSuggestions(t *testing.T) {
	for _, tt := range []struct {
		path string
		want string
	}{
		{"userIdentity.arm", "userIdentity.arn"},
		{"UserIdentity.Arn", "userIdentity.arn"},
		{"userIdnetity.arn", "userIdentity.arn"},
		{"useridentityarn", "userIdentity.arn"},
		{"user_identity.arn", "userIdentity.arn"},
		{"detail.userIdentity.arn", "userIdentity.arn"},
		{"resources.ARN", "resources[].ARN"},
		{"arn", "userIdentity.arn or resources[].ARN"},
		{"keyId", "requestParameters.keyId or responseElements.keyId"},
		{"sessionIssuer.userName", "userIdentity.sessionContext.sessionIssuer.userName"},
		{"account_id", "userIdentity.accountId or resources[].accountId"},
		{"events", "event"},
		{"principle", "principal"},
		{"readonly", "readOnly"},
		{"source_ip_address", "sourceIPAddress"},
		{"error", "errorCode or errorMessage"},
		{"userIdentity.new", ""},
		{"foo", ""},
		{strings.Repeat("a", 10*maxSuggested), ""},
	} {
		if got := strings.Join(recordCursor.suggest(tt.path), " or "); got != tt.want {
			t.Errorf("suggest(%q) = %q, want %q", tt.path, got, tt.want)
		}
	}
}

func TestSlips(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"", "ab", 2},
		{"abc", "abc", 0},
		{"abc", "abd", 1},
		{"abc", "ab", 1},
		{"abc", "xabc", 1},
		{"abcd", "acbd", 1},
		{"abcd", "badc", 2},
		{"kitten", "sitting", 3},
		{"abcdef", "uvwxyz", 5},
	} {
		if got := slips(tt.a, tt.b, 5); got != tt.want {
			t.Errorf("slips(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
		if got := slips(tt.b, tt.a, 5); got != tt.want {
			t.Errorf("slips(%q, %q) = %d, want %d", tt.b, tt.a, got, tt.want)
		}
	}
}

// TestKnownTypedFields proves that each typed field is known where it is.
func TestKnownTypedFields(t *testing.T) {
	for _, name := range record.FieldNames() {
		if !recordCursor.knows(name) || recordCursor.refuses(name) {
			t.Errorf("%s is not known", name)
		}
		for _, below := range record.FieldNames(name) {
			at := recordCursor.follow([]step{{kind: stepMember, name: name}, {kind: stepEach}})
			if !at.knows(below) {
				t.Errorf("%s.%s is not known", name, below)
			}
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	for name, f := range map[string]*keytrailv1.Filter{
		"selector": {Include: []*keytrailv1.Selector{{Keys: []string{keyA}, EventNames: []string{"Decrypt", "Encrypt", "GenerateDataKey*"}}}},
		"text":     {Where: "key = " + keyA + " and event in (Decrypt, Encrypt, GenerateDataKey*)"},
		"longer":   {Where: rules[4].where},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.ReportMetric(float64(proto.Size(f)), "bytes")
			for b.Loop() {
				if _, err := Compile(f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
