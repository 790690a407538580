package main

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/internal/needs"
	"github.com/keytrail/keytrail/record"
)

const examples = "../../examples/kms-records.json"

// readRecords reads the records of CloudTrail files, each event ID once, and
// leaves out what a bus would not take.
func readRecords(t testing.TB, root string) []*keytrailv1.Record {
	t.Helper()
	var out []*keytrailv1.Record
	seen := make(map[string]bool)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(filepath.Ext(path), "json") {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		for in := record.NewReader(file); ; {
			r, err := in.Next()
			if err == io.EOF {
				return nil
			}
			if err != nil || seen[r.GetEventId()] || record.Validate(r, record.Policy{}) != nil {
				continue
			}
			seen[r.GetEventId()] = true
			out = append(out, r)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// object is a record as plain JSON, for predicates that know nothing of filters.
type object map[string]any

// text is the text at a path, "" where there is none.
func (o object) text(path ...string) string {
	s, _ := o.at(path...).(string)
	return s
}

func (o object) at(path ...string) any {
	var v any = map[string]any(o)
	for _, name := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

func (o object) resources() []object {
	var out []object
	list, _ := o.at("resources").([]any)
	for _, e := range list {
		if m, ok := e.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

func (o object) eventIn(names ...string) bool { return slices.Contains(names, o.text("eventName")) }
func (o object) failed() bool                 { return o.text("errorCode") != "" }

// account is the account in an ARN.
func account(arn string) string {
	parts := strings.Split(arn, ":")
	if len(parts) < 6 || parts[0] != "arn" {
		return ""
	}
	return parts[4]
}

// formTests are filters in each form, and what each says, written again in Go.
func formTests(t testing.TB) []formTest {
	return []formTest{
		{"--where", []string{"--where", "event in (Decrypt, GenerateDataKey*) and outcome = success and not principal ~ \"*payroll*\""}, func(o object) bool {
			callers := o.text("userIdentity", "arn") + "\n" + o.text("userIdentity", "sessionContext", "sessionIssuer", "arn") + "\n" + o.text("userIdentity", "invokedBy")
			return (o.eventIn("Decrypt") || strings.HasPrefix(o.text("eventName"), "GenerateDataKey")) && !o.failed() && !strings.Contains(callers, "payroll")
		}},
		{"--where, of a free-form member", []string{"--where", `requestParameters.encryptionContext.service in (payroll, claims) or exists requestParameters.encryptionContext["aws:s3:arn"]`}, func(o object) bool {
			service := o.text("requestParameters", "encryptionContext", "service")
			return service == "payroll" || service == "claims" || o.at("requestParameters", "encryptionContext", "aws:s3:arn") != nil
		}},
		{"--where, of one element", []string{"--where", `resources[] (type = "AWS::KMS::Key" and accountOf(ARN) in (322098765432, 123837392027))`}, func(o object) bool {
			return slices.ContainsFunc(o.resources(), func(r object) bool {
				return r.text("type") == "AWS::KMS::Key" && slices.Contains([]string{"322098765432", "123837392027"}, account(r.text("ARN")))
			})
		}},
		{"--where twice, and flags", []string{"--where", "event = Decrypt or event = GenerateMac # either", "--where", "exists userIdentity.invokedBy or region = us-west-2", "--not-account", "322098765432"}, func(o object) bool {
			return o.eventIn("Decrypt", "GenerateMac") && (o.at("userIdentity", "invokedBy") != nil || o.text("awsRegion") == "us-west-2") && o.text("recipientAccountId") != "322098765432"
		}},
		{"--pattern", []string{"--pattern", file(t, "pattern.json", `{"eventName":[{"prefix":"Generate"},"Decrypt"],"userIdentity":{"invokedBy":[{"exists":false}]},"awsRegion":[{"anything-but":["us-west-2"]}]}`)}, func(o object) bool {
			name, region := o.text("eventName"), o.text("awsRegion")
			return (name == "Decrypt" || strings.HasPrefix(name, "Generate")) && o.at("userIdentity", "invokedBy") == nil && region != "" && region != "us-west-2"
		}},
		{"--pattern for the envelope, with --where", []string{"--pattern", file(t, "envelope.json", `{"source":["aws.kms"],"detail":{"userIdentity":{"type":["AssumedRole"]},"sourceIPAddress":[{"suffix":".amazonaws.com"}]}}`), "--where", "event = Decrypt"}, func(o object) bool {
			return o.text("eventSource") == "kms.amazonaws.com" && o.eventIn("Decrypt") && o.text("userIdentity", "type") == "AssumedRole" && strings.HasSuffix(o.text("sourceIPAddress"), ".amazonaws.com")
		}},
		{"--selectors", []string{"--selectors", file(t, "selectors.json", managementEvent), "--event", "*Key*"}, func(o object) bool {
			category := o.at("eventCategory") // which old records do not have
			return (category == nil || category == "Management") && fmt.Sprint(o.at("readOnly")) != "true" && strings.Contains(o.text("eventName"), "Key")
		}},
		{"--cel", []string{"--cel", `has(userIdentity.accountId) && has(recipientAccountId) && userIdentity.accountId != recipientAccountId || eventName.startsWith("Generate")`}, func(o object) bool {
			caller, owner := o.text("userIdentity", "accountId"), o.text("recipientAccountId")
			return caller != "" && owner != "" && caller != owner || strings.HasPrefix(o.text("eventName"), "Generate")
		}},
	}
}

type formTest struct {
	name string
	args []string
	want func(object) bool
}

func TestForms(t *testing.T) {
	t.Run("examples", func(t *testing.T) { testForms(t, readRecords(t, examples)) })
	t.Run("real records", func(t *testing.T) { testForms(t, readRecords(t, needs.RealData(t, "."))) })
}

func testForms(t *testing.T, records []*keytrailv1.Record) {
	b := startBus(t)
	b.publish(t, records...)
	for _, tt := range formTests(t) {
		t.Run(tt.name, func(t *testing.T) {
			var want []string
			for _, r := range records {
				text, err := record.AppendJSON(nil, r)
				if err != nil {
					t.Fatal(err)
				}
				var o object
				if err := json.Unmarshal(text, &o); err != nil {
					t.Fatal(err)
				}
				if tt.want(o) {
					want = append(want, r.GetEventId())
				}
			}
			if len(want) == 0 || len(want) == len(records) {
				t.Fatalf("the test tells nothing: %d of %d records match", len(want), len(records))
			}
			stdout, stderr := b.tail(t, statusOK, append(tt.args, "--from", "earliest", "--until-idle", "0s")...)
			if strings.Contains(stderr, "warning") {
				t.Errorf("stderr: %s", stderr)
			}
			got := eventIDs(t, stdout)
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%d records, want %d", len(got), len(want))
			}
		})
	}
}
