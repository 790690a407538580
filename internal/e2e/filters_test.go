package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const exampleRecords = "../../examples/kms-records.json"

// TestFilterForms: the same wish in each form brings the same records, from the
// stream, from the file, and over what the log holds.
func TestFilterForms(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	b := startBus(t, "--data", filepath.Join(dir, "log"))
	if r := must(t, 0, "bus", "publish", b.to, exampleRecords); r.out != "published=100 duplicate=0 rejected=0\n" {
		t.Fatalf("publish says %s", r.out)
	}
	// Uses of keys in one Region that a service asked for, on behalf of another.
	const region = "us-west-2"
	want := make(map[string]bool)
	for _, r := range tailAll(t, b) {
		caller, _ := r["userIdentity"].(map[string]any)
		service, _ := caller["invokedBy"].(string)
		if r["awsRegion"] == region && r["eventName"] == "Decrypt" && strings.HasSuffix(service, ".amazonaws.com") {
			want[r["eventID"].(string)] = true
		}
	}
	if len(want) == 0 || len(want) == 100 {
		t.Fatalf("the test tells nothing: %d records match", len(want))
	}
	pattern := `{"eventName":["Decrypt"],"awsRegion":["us-west-2"],"userIdentity":{"invokedBy":[{"suffix":".amazonaws.com"}]}}`
	selectors := `[{"FieldSelectors":[{"Field":"eventCategory","Equals":["Management"]},{"Field":"eventName","Equals":["Decrypt"]}]}]`
	rest := `region = us-west-2 and userIdentity.invokedBy $= .amazonaws.com`
	for name, args := range map[string][]string{
		"where":     {"--where", "event = Decrypt and " + rest},
		"wheres":    {"--where", "event = Decrypt # the most of them", "--where", rest},
		"pattern":   {"--pattern", write("pattern.json", pattern)},
		"envelope":  {"--pattern", write("envelope.json", `{"source":["aws.kms"],"detail":`+pattern+`}`)},
		"selectors": {"--selectors", write("selectors.json", selectors), "--where", rest},
		"cel":       {"--cel", `eventName == "Decrypt" && awsRegion == "us-west-2" && has(userIdentity.invokedBy) && userIdentity.invokedBy.endsWith(".amazonaws.com")`},
		"flags":     {"--event", "Decrypt", "--region", region, "--where", `exists userIdentity.invokedBy`},
	} {
		t.Run(name, func(t *testing.T) {
			got := byID(t, tailAll(t, b, args...))
			for id := range got {
				if !want[id] {
					t.Errorf("%s is delivered and should not be", id)
				}
			}
			if len(got) != len(want) {
				t.Errorf("%d records are delivered, want %d", len(got), len(want))
			}
			summary := fmt.Sprintf("100 records considered, %d matched", len(want))
			if r := must(t, 0, "subscriber", append([]string{"explain", "--record", exampleRecords}, args...)...); !strings.Contains(r.out, summary) {
				t.Errorf("explain --record lacks %q:\n%s", summary, r.out)
			}
			if r := must(t, 0, "subscriber", append([]string{"explain", b.to, "--from", "1h"}, args...)...); !strings.Contains(r.out, summary) || !strings.Contains(r.out, "\nindex: ") || strings.HasSuffix(r.out, "index: \n") {
				t.Errorf("explain --from lacks %q or the index:\n%s", summary, r.out)
			}
		})
	}
	t.Run("nothing matches", func(t *testing.T) {
		must(t, 1, "subscriber", "explain", b.to, "--from", "1h", "--event", "PutKeyPolicy")
		must(t, 1, "subscriber", "explain", "--record", exampleRecords, "--event", "PutKeyPolicy")
	})
	t.Run("standard input", func(t *testing.T) {
		r := try(t, strings.NewReader(pattern), "subscriber", "tail", b.to, "--from", "earliest", "--until-idle", "500ms", "-o", "json", "--pattern", "-")
		if got := byID(t, lines(t, r.out)); len(got) != len(want) {
			t.Errorf("%d records, want %d\n%s", len(got), len(want), r.err)
		}
	})
	t.Run("a mistake", func(t *testing.T) {
		r := must(t, 2, "subscriber", "tail", b.to, "--where", "event = Decrypt and outcom = failure")
		for _, part := range []string{"column 21", "did you mean outcome?", "    event = Decrypt and outcom = failure\n" + strings.Repeat(" ", 4+20) + "^\n"} {
			if !strings.Contains(r.err, part) {
				t.Errorf("standard error lacks %q:\n%s", part, r.err)
			}
		}
	})
}
