package main

import (
	"bytes"
	"compress/gzip"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/keytrail/keytrail/filter"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

var update = flag.Bool("update", false, "write the golden files of this test anew")

// golden compares text with a file, which -update writes.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, text, want)
	}
}

// publicPolicy has every kind of clause that there is.
const publicPolicy = `(event = PutKeyPolicy and json(requestParameters.policy).Statement[] (Effect = Allow and (Principal = "*" or Principal.AWS = "*")))
	or not (event = Decrypt and region = us-west-2) and outcome = success # most are
	or requestParameters.encryptionContext["aws:s3:arn"] *= payroll`

// numbers lists n numbers.
func numbers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, ", %d", 1000+i)
	}
	return b.String()[2:]
}

// policyRecord is a record that publicPolicy wants.
const policyRecord = `{"eventID":"policy","eventTime":"2026-11-24T10:00:00Z","eventSource":"kms.amazonaws.com","eventName":"PutKeyPolicy","awsRegion":"us-west-2",
	"userIdentity":{"type":"IAMUser","userName":"mallory\u001b[2J","arn":"arn:aws:iam::111122223333:user/mallory"},"recipientAccountId":"111122223333",
	"errorCode":"AccessDenied","requestParameters":{"policyName":"default",
	"policy":"{\"Statement\":[{\"Effect\":\"Deny\",\"Principal\":\"*\"},{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"*\"},\"Sid\":\"\\u009b31m\"}]}"}}`

func TestExplain(t *testing.T) {
	one := file(t, "policy.json", policyRecord)
	tests := []struct {
		golden string
		status int
		args   []string
	}{
		{"plain.txt", statusOK, []string{"--where", publicPolicy, "--not-account", "322098765432"}},
		{"one-clause.txt", statusOK, []string{"--event", "Decrypt"}},
		{"long.txt", statusOK, []string{"--where", "requestParameters.encryptionContext.shard in (" + numbers(60) + ") and outcome = failure"}},
		{"warning.txt", statusOK, []string{"--where", "requestParameters.encryptionContxt.service = payroll", "--key", "alias/payroll"}},
		{"match.txt", statusOK, []string{"--where", publicPolicy, "--record", one}},
		{"no-match.txt", statusNoMatch, []string{"--where", publicPolicy, "--event", "Decrypt", "--where", "exists errorMessage or sourceIP cidr 10.0.0.0/8", "--record", one}},
		{"color.txt", statusOK, []string{"--where", publicPolicy, "--record", one, "--color", "always"}},
		{"records.txt", statusOK, []string{"--where", "event in (Decrypt, GenerateDataKey*)", "--failed", "--record", examples, "--max", "2"}},
		{"none-matches.txt", statusNoMatch, []string{"--event", "PutKeyPolicy", "--record", examples, "--max", "0"}},
	}
	for _, tt := range tests {
		t.Run(tt.golden, func(t *testing.T) {
			stdout, stderr := run(t, tt.status, append([]string{"explain"}, tt.args...)...)
			golden(t, tt.golden, stdout)
			if stderr != "" {
				t.Errorf("stderr: %s", stderr)
			}
			for _, bad := range []string{"\x1b[2J", "\u009b"} {
				if strings.Contains(stdout, bad) {
					t.Errorf("what others wrote reaches the terminal: %q", bad)
				}
			}
		})
	}
}

// TestExplainReads: records come in every shape that bus publish takes.
func TestExplainReads(t *testing.T) {
	line := strings.ReplaceAll(policyRecord, "\n", " ")
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write([]byte(line + "\n" + line)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, text string
		status     int
		stdout     string // within
		stderr     string // within
	}{
		{"one", policyRecord, statusOK, "match     record 1  policy\n", ""},
		{"lines", line + "\n" + line, statusOK, "2 records considered, 2 matched (100 %)\n", ""},
		{"a list", `{"Records":[` + line + "," + line + "]}", statusOK, "2 records considered, 2 matched", ""},
		{"gzip", packed.String(), statusOK, "2 records considered, 2 matched", ""},
		{"one of them bad", line + "\n{\"no\":1}\n" + line, statusUsage, "2 records considered, 2 matched", "record 2, at byte"},
		{"cut off", line + "\n" + line[:200], statusUsage, "match     record 1", "could not be read to its end"},
		{"something else", "hello", statusUsage, "", "not a CloudTrail file"},
		{"nothing", "", statusUsage, "", "holds no records"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, from := range []string{file(t, "x", tt.text), "-"} {
				r := startProgram(t, []string{"explain", "--event", "PutKeyPolicy", "--record", from}, func(p *program) { p.Stdin = strings.NewReader(tt.text) })
				r.wait(t, tt.status)
				if out, errs := r.out.String(), r.err.String(); !strings.Contains(out, tt.stdout) || !strings.Contains(errs, tt.stderr) || (errs != "") != (tt.stderr != "") {
					t.Errorf("stdout:\n%s\nstderr:\n%s", out, errs)
				}
			}
		})
	}
}

// TestExplainAgreesWithTail: what is said to match is what a stream delivers.
func TestExplainAgreesWithTail(t *testing.T) {
	b := startBus(t)
	b.publish(t, readRecords(t, examples)...)
	for _, tt := range formTests(t) {
		t.Run(tt.name, func(t *testing.T) {
			tailed, _ := b.tail(t, statusOK, append(tt.args, "--from", "earliest", "--until-idle", "0s")...)
			explained, _ := run(t, statusOK, append([]string{"explain", "--record", examples, "--max", "1000"}, tt.args...)...)
			if got, want := strings.Count("\n"+explained, "\nmatch "), strings.Count(tailed, "\n"); got != want {
				t.Errorf("%d records are said to match, %d are delivered", got, want)
			}
		})
	}
}

// TestExplainedLines: lines stay within the page where nothing in them is too
// long, and every way to join clauses is known.
func TestExplainedLines(t *testing.T) {
	for _, text := range []string{publicPolicy, strings.Repeat("not (event = Decrypt and not (region = us-west-2 or ", 8) + "true" + strings.Repeat("))", 8)} {
		f, err := filter.Compile(&keytrailv1.Filter{Where: text})
		if err != nil {
			t.Fatal(err)
		}
		clauses := f.Clauses()
		for i, l := range clauseLines(clauses) {
			if parts := i+1 < len(clauses) && clauses[i+1].Depth > l.Depth; parts != l.heading {
				t.Errorf("%q is shown as %q", l.Text, l.text)
			}
		}
		stdout, _ := run(t, statusOK, "explain", "--where", text)
		_, tree, _ := strings.Cut(stdout, "\n")
		for line := range strings.Lines(tree) {
			if n := utf8.RuneCountInString(line); n > pageWidth+1 {
				t.Errorf("%d columns: %s", n, line)
			}
		}
	}
}

// TestExplainFollows: what a pipe brings is explained at once, and an
// interruption ends with what is known.
func TestExplainFollows(t *testing.T) {
	in, feed := io.Pipe()
	defer feed.Close()
	r := startProgram(t, []string{"explain", "--event", "PutKeyPolicy", "--record", "-", "--max", "1"}, func(p *program) { p.Stdin = in })
	for range 3 {
		if _, err := io.WriteString(feed, policyRecord+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	r.out.waitText(t, "match     record 1")
	r.cancel()
	r.wait(t, statusOK)
}

func TestFilterIsAwaited(t *testing.T) {
	for _, args := range [][]string{{"tail", "--pattern", "-"}, {"explain", "--selectors", "-"}} {
		in, feed := io.Pipe()
		r := startProgram(t, args, func(p *program) { p.Stdin = in })
		if _, err := io.WriteString(feed, "["); err != nil { // it is read from now
			t.Fatal(err)
		}
		r.cancel()
		r.wait(t, statusOK)
		feed.Close()
		if r.out.String()+r.err.String() != "" {
			t.Errorf("stdout %q, stderr %q", r.out, r.err)
		}
	}
}

var whereFlag = regexp.MustCompile(`--where '([^']*)'`)

// TestDocumentedFilters: what help and README give as examples is right.
func TestDocumentedFilters(t *testing.T) {
	var texts []string
	for line := range strings.Lines(filterHelp) {
		if text, ok := strings.CutPrefix(line, "    "); ok {
			texts = append(texts, strings.TrimSpace(text))
		}
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range whereFlag.FindAllStringSubmatch(string(readme), -1) {
		if !strings.Contains(m[1], "outcom ") { // the mistake that is shown
			texts = append(texts, m[1])
		}
	}
	if len(texts) < 8 {
		t.Fatalf("found only %q", texts)
	}
	for _, text := range texts {
		f, err := filter.Compile(&keytrailv1.Filter{Where: text})
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if len(f.Warnings()) > 0 {
			t.Errorf("%s: %v", text, f.Warnings())
		}
	}
}

// FuzzClauses: whatever clauses a bus sends, what is shown of them can be
// printed.
func FuzzClauses(f *testing.F) {
	for _, c := range someClauses() {
		f.Add(c.GetText(), "event = Decrypt", "\"\u009b\"", []byte{0, 1, 1, 2, 3, 3})
	}
	f.Fuzz(func(t *testing.T, whole, part, value string, depths []byte) {
		var clauses []filter.Clause
		for i, d := range depths {
			c := filter.Clause{Text: part, Depth: int(d % filter.MaxDepth), Values: []string{value, value}}
			if i%2 == 0 {
				c.Text, c.Held = whole, new(d%2 == 0)
			}
			clauses = append(clauses, c)
		}
		out := &output{}
		out.tree(clauses)
		out.verdicts(clauses)
		out.counts(clauses)
		for _, r := range string(out.buf) {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Fatalf("%q is printed", r)
			}
		}
	})
}
