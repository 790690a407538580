package record_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/internal/needs"
	"github.com/keytrail/keytrail/record"
)

// documentedDifferences are the members that come out otherwise than in AWS's
// documentation, by file, with the reason.
var documentedDifferences = map[string]map[string]string{
	"CreateKey-1":           {"responseElements": "AWSAccountId is spelt so in this sample only"},
	"CreateKey-3":           {"sharedEventID": "a slip: the resource is another account's"},
	"DeleteAlias":           {"resources": "a slip: the alias is in another Region than its key"},
	"ImportKeyMaterial":     {"requestParameters": "validTo in a form that CloudTrail no longer writes, which no API time gives"},
	"ScheduleKeyDeletion-1": {"responseElements": "deletionDate with hour 18 and PM, which no API time gives"},
	"UpdatePrimaryRegion-2": {"responseElements": "older than the enrichment; it has no resources to take the key from"},

	// Older than encryptionAlgorithm.
	"ec2two-Decrypt":             {"requestParameters": "no encryptionAlgorithm"},
	"service-cloudtrail-Decrypt": {"requestParameters": "no encryptionAlgorithm"},
	"usage-Decrypt":              {"requestParameters": "no encryptionAlgorithm"},

	"service-cloudtrail-GenerateDataKey-1": {
		"eventType":     "an AwsServiceEvent although an API was called",
		"sharedEventID": "older than shared event IDs",
	},
	"service-cloudtrail-GenerateDataKey-2": {
		"eventType":     "an AwsServiceEvent although an API was called",
		"sharedEventID": "older than shared event IDs",
	},
	"service-workmail-Decrypt": {
		"requestParameters": "no encryptionAlgorithm",
		"sharedEventID":     "the service's own account got a copy, which a call does not name",
	},
	"service-workmail-Encrypt": {
		"requestParameters": "no encryptionAlgorithm",
		"sharedEventID":     "the service's own account got a copy, which a call does not name",
	},
}

// TestDocumented makes calls of AWS's documented records and records them
// again.
func TestDocumented(t *testing.T) {
	dir := needs.RealData(t, "aws-kms-docs")
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	cfg := record.RecorderConfig{OwnersView: record.CallerFull}
	seen := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		documented, err := record.FromJSON(text)
		if err != nil {
			t.Fatal(err)
		}
		if documented.GetEventSource() != record.EventSource {
			continue
		}
		seen++
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			c := callFrom(t, documented)
			account := documented.GetRecipientAccountId()
			if name == "UpdatePrimaryRegion-2" {
				return // the second record of the first one's call, below
			}
			records := recordsOf(t, cfg, c)
			i := slices.IndexFunc(records, func(r *keytrailv1.Record) bool { return r.GetRecipientAccountId() == account })
			if i < 0 {
				t.Fatalf("no record for the account %s", account)
			}
			compareDocumented(t, name, documented, records[i])
			if name == "UpdatePrimaryRegion-1" {
				text, err := os.ReadFile(filepath.Join(dir, "UpdatePrimaryRegion-2.json"))
				if err != nil {
					t.Fatal(err)
				}
				second, err := record.FromJSON(text)
				if err != nil {
					t.Fatal(err)
				}
				compareDocumented(t, "UpdatePrimaryRegion-2", second, records[1])
			}
		})
	}
	if seen != 74 {
		t.Errorf("%d documented records of KMS, want 74", seen)
	}
}

func compareDocumented(t *testing.T, name string, documented, made *keytrailv1.Record) {
	t.Helper()
	want, got := fieldsOf(t, documented), fieldsOf(t, made)
	// What differs everywhere: our version and IDs, and what older records lack.
	delete(got, "eventVersion")
	delete(want, "eventVersion")
	delete(got, "eventID")
	delete(want, "eventID")
	want["managementEvent"], want["eventCategory"] = true, "Management"
	if list, ok := want["resources"].([]any); ok {
		for _, e := range list {
			e.(map[string]any)["type"] = "AWS::KMS::Key"
		}
	}
	op, _ := record.LookupOperation(documented.GetEventName())
	if op.KeyID == record.Enriched && documented.ErrorCode == nil {
		// The samples are older than the enrichment.
		response, _ := want["responseElements"].(map[string]any)
		if response == nil {
			response = make(map[string]any)
			want["responseElements"] = response
		}
		for _, e := range append(documented.GetResources().GetEntries(), made.GetResources().GetEntries()...) {
			if record.IsKeyARN(e.GetArn()) {
				response["keyId"] = e.GetArn()
				break
			}
		}
	}
	differences := documentedDifferences[name]
	for _, member := range slices.Sorted(maps.Keys(joined(want, got))) {
		reason, expected := differences[member]
		if same := reflect.DeepEqual(want[member], got[member]); same == expected {
			t.Errorf("%s: %s\ngot  %s\nwant %s\nbut expected: %s", name, member, textOf(t, got[member]), textOf(t, want[member]), reason)
		}
	}
}

func joined(a, b map[string]any) map[string]any {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// callFrom is the call of which CloudTrail could have made the record.
func callFrom(t *testing.T, r *keytrailv1.Record) *keytrailv1.Call {
	c := &keytrailv1.Call{
		CallId:                       proto.String("documented"),
		Operation:                    r.EventName,
		Time:                         r.EventTime,
		Region:                       r.AwsRegion,
		SourceIpAddress:              r.SourceIpAddress,
		UserAgent:                    r.UserAgent,
		TlsDetails:                   r.TlsDetails,
		VpcEndpointId:                r.VpcEndpointId,
		VpcEndpointAccountId:         r.VpcEndpointAccountId,
		RequestId:                    r.RequestId,
		RequestParameters:            apiJSON(t, r.RequestParameters, r.GetEventName()),
		Response:                     apiJSON(t, r.ResponseElements, r.GetEventName()),
		AdditionalEventData:          r.AdditionalEventData,
		ServiceEventDetails:          r.ServiceEventDetails,
		SessionCredentialFromConsole: r.GetSessionCredentialFromConsole(),
	}
	if r.ErrorCode != nil {
		c.Error = &keytrailv1.CallError{Code: r.ErrorCode, Message: r.ErrorMessage}
	}
	if r.UserIdentity.Type != nil {
		c.Caller = r.UserIdentity
	}
	for _, e := range r.GetResources().GetEntries() {
		if record.IsKeyARN(e.GetArn()) {
			c.Keys = append(c.Keys, &keytrailv1.CallKey{Arn: e.Arn})
		}
	}
	return c
}

// apiJSON is logged JSON as the API has it, nil for null.
func apiJSON(t *testing.T, text []byte, operation string) []byte {
	if len(text) == 0 || string(text) == "null" {
		return nil
	}
	v, err := anyJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(apiValue(v))
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(operation, "CustomKeyStore") {
		out = bytes.ReplaceAll(out, []byte(`"ClusterId":`), []byte(`"CloudHsmClusterId":`))
	}
	return out
}

func apiValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any)
		for name, value := range v {
			name = strings.ToUpper(name[:1]) + name[1:]
			if !strings.Contains(name, "EncryptionContext") {
				value = apiValue(value)
			}
			out[name] = value
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = apiValue(v[i])
		}
		return out
	case string:
		if at, err := time.Parse("Jan 2, 2006, 3:04:05 PM", v); err == nil {
			return at.Unix()
		}
	}
	return v
}
