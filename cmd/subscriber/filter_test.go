package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keytrail/keytrail/filter"
)

const (
	deniedPattern   = `{"detail":{"eventName":["Decrypt"],"errorCode":[{"prefix":"AccessDenied"}]}}`
	managementEvent = `[{"FieldSelectors":[{"Field":"eventCategory","Equals":["Management"]},{"Field":"readOnly","Equals":["false"]}]}]`
)

// file writes text to a file of the test.
func file(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFlagsMakeFilters(t *testing.T) {
	pattern, selectors := file(t, "pattern.json", deniedPattern), file(t, "selectors.json", managementEvent)
	tests := []struct {
		name  string
		flags filterFlags
		stdin string
		want  string // means the same
	}{
		{"none", filterFlags{}, "", ``},
		{"named", filterFlags{Event: []string{"Decrypt", "Gen*"}, Failed: new(true), NotRegion: []string{"eu-west-1"}}, "",
			`event in (Decrypt, Gen*) and outcome = failure and not region = eu-west-1`},
		{"an alias", filterFlags{Key: []string{"arn:aws:kms:eu-west-1:111122223333:alias/x"}}, "", `key ~ "arn:aws:kms:eu-west-1:111122223333:alias/x"`},
		{"one where", filterFlags{Where: []string{"event = Decrypt or outcome = denied"}}, "", `event = Decrypt or outcome = denied`},
		{"several, in which or binds looser", filterFlags{Where: []string{"event = Decrypt or event = Encrypt", "outcome = failure or outcome = denied"}}, "",
			`(event = Decrypt or event = Encrypt) and (outcome = failure or outcome = denied)`},
		{"several, with comments", filterFlags{Where: []string{"event = Decrypt # by anyone", "outcome = failure #whatever\n", "account = 111122223333"}}, "",
			`event = Decrypt and outcome = failure and account = 111122223333`},
		{"a pattern", filterFlags{Pattern: pattern}, "", `event = Decrypt and errorCode ^= AccessDenied`},
		{"a pattern on the standard input", filterFlags{Pattern: "-"}, deniedPattern, `event = Decrypt and errorCode ^= AccessDenied`},
		{"CEL", filterFlags{Cel: "userIdentity.accountId != recipientAccountId"}, "", `cel("userIdentity.accountId != recipientAccountId")`},
		{"all of them", filterFlags{Account: []string{"111122223333"}, Where: []string{"outcome = denied"}, Cel: "userIdentity.accountId != recipientAccountId", Pattern: pattern}, "",
			`account = 111122223333 and outcome = denied and cel("userIdentity.accountId != recipientAccountId") and event = Decrypt and errorCode ^= AccessDenied`},
		{"selectors", filterFlags{Selectors: selectors}, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wire, compiled, err := tt.flags.filter(strings.NewReader(tt.stdin))
			if err != nil {
				t.Fatal(err)
			}
			again, err := filter.Compile(wire)
			if err != nil || again.String() != compiled.String() {
				t.Errorf("the bus is told %s, %v; compiled is %s", again, err, compiled)
			}
			if tt.flags.given() != (tt.name != "none") {
				t.Errorf("given: %v", tt.flags.given())
			}
			if tt.name == "selectors" { // what they mean is for package filter to say
				if want := managementEvent; wire.GetSelectors() != want {
					t.Errorf("selectors are %s", wire.GetSelectors())
				}
				return
			}
			_, want, err := (&filterFlags{Where: nonEmpty(tt.want)}).filter(nil)
			if err != nil {
				t.Fatal(err)
			}
			if compiled.String() != want.String() {
				t.Errorf("got  %s\nwant %s", compiled, want)
			}
		})
	}
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// TestFaultsAreShown: who made a mistake is shown where.
func TestFaultsAreShown(t *testing.T) {
	dir := t.TempDir()
	path := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	tests := []struct {
		name  string
		args  []string
		want  []string // within standard error
		caret string   // the line that shows the fault, and its caret
	}{
		{"an operator", []string{"--where", "event == Decrypt"}, []string{"--where: column 7: ", `"="`},
			"    event == Decrypt\n          ^\n"},
		{"the second of two", []string{"--where", "event = Decrypt", "--where", "outcome = broken"}, []string{"--where: column 11: ", "success, failure, denied"},
			"    outcome = broken\n              ^\n"},
		{"a field", []string{"--where", `userIdentity.arm = "*/bob"`}, []string{"--where: ", "did you mean userIdentity.arn?"}, "    userIdentity.arm = \"*/bob\"\n"},
		{"on a line of many", []string{"--where", "event = Decrypt\n  annd outcome = failure"}, []string{"line 2, column 3"},
			"      annd outcome = failure\n      ^\n"},
		{"nothing", []string{"--where", " "}, []string{"there is no condition; write one such as event = Decrypt, or leave it out\nsubscriber: see"}, ""},
		{"CEL", []string{"--cel", "eventName == 1 +"}, []string{"--cel: "}, "    eventName == 1 +\n"},
		{"a pattern", []string{"--pattern", path("p.json", "{\n  \"eventName\": [{\"suffiks\": \"Key\"}]\n}\n")}, []string{"p.json: ", "suffix"},
			"      \"eventName\": [{\"suffiks\": \"Key\"}]\n"},
		{"selectors", []string{"--selectors", path("s.json", `[{"FieldSelectors":[{"Field":"eventCategory","Equals":["Management"]},{"Field":"eventNam","Equals":["Decrypt"]}]}]`)}, []string{"s.json: ", "eventName"},
			`"Field":"eventNam","Equals":[…` + "\n"},
		{"a file that is too long", []string{"--pattern", path("long.json", strings.Repeat(" ", 70_000))}, []string{"longer than 64 KiB"}, ""},
		{"too much together", []string{"--where", "event in (" + strings.Repeat("a,", 600) + "a)", "--where", "event in (" + strings.Repeat("b,", 600) + "b)"},
			[]string{"together", "1000 values"}, ""},
	}
	for _, command := range []string{"tail", "explain"} {
		for _, tt := range tests {
			t.Run(command+" "+tt.name, func(t *testing.T) {
				stdout, stderr := run(t, statusUsage, append([]string{command}, tt.args...)...)
				for _, want := range append(tt.want, tt.caret, "see `subscriber "+command+" --help`") {
					if !strings.Contains(stderr, want) {
						t.Errorf("stderr lacks %q:\n%s", want, stderr)
					}
				}
				if stdout != "" || tt.caret != "" && strings.Count(stderr, "^\n") != 1 {
					t.Errorf("stdout %q; stderr:\n%s", stdout, stderr)
				}
			})
		}
	}
}

func TestAliasIsExplained(t *testing.T) {
	b := startBus(t)
	_, stderr := b.tail(t, statusOK, "--from", "earliest", "--until-idle", "0s", "--key", "arn:aws:kms:eu-west-1:111122223333:alias/x")
	if strings.Count(stderr, "warning: ") != 1 || !strings.Contains(stderr, "calls about the alias itself") {
		t.Errorf("stderr: %s", stderr)
	}
}
