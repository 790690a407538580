package e2e

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/keytrail/keytrail/internal/sample"
	"github.com/keytrail/keytrail/record"
)

// sampleText returns n sample records as JSON, a string each.
func sampleText(t *testing.T, n int, seed uint64) []string {
	t.Helper()
	gen := sample.New(sample.Config{Seed: seed})
	var out []string
	for range n {
		text, err := record.AppendJSON(nil, gen.Next())
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(text))
	}
	return out
}

func zip(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestInputs: what users have, and what is wrong with it. The good records are
// in, the rest is named.
func TestInputs(t *testing.T) {
	b := startBus(t, "--data", t.TempDir())
	for seed, tt := range []struct {
		name   string
		text   func(r []string) string // of three records
		status int
		counts string
		named  string // in what is said on standard error
	}{
		{"lines", func(r []string) string { return strings.Join(r, "\n") }, 0, "3 0 0", ""},
		{"file of records", func(r []string) string { return `{"Records":[` + strings.Join(r, ",") + `]}` }, 0, "3 0 0", ""},
		{"zipped", func(r []string) string { return zip(t, `{"Records":[`+strings.Join(r, ",")+`]}`) }, 0, "3 0 0", ""},
		{"no records", func([]string) string { return `{"Records":[]}` }, 0, "0 0 0", ""},
		{"empty", func([]string) string { return "" }, 0, "0 0 0", ""},
		{"one record twice", func(r []string) string { return r[0] + "\n" + r[0] }, 0, "1 1 0", ""},
		{"a bad line", func(r []string) string { return r[0] + "\n{\"eventID\": oops}\n" + r[1] }, 1, "2 0 1", "record 2: "},
		{"a line cut off", func(r []string) string { return r[0] + "\n" + r[1][:50] + "\n" + r[2] }, 1, "2 0 1", "record 2: "},
		{"a wrong type", func(r []string) string {
			return r[0] + "\n" + strings.Replace(r[1], `"eventName":"`, `"eventName":["`, 1)
		}, 1, "1 0 1", "record 2: "},
		{"a number for a name", func(r []string) string {
			return `{"eventID":"x","eventName":7,"eventSource":"kms.amazonaws.com","eventTime":"2026-11-24T10:00:00Z"}`
		}, 1, "0 0 1", "record 1: eventName: "},
		{"no time", func([]string) string {
			return `{"eventID":"y","eventName":"Decrypt","eventSource":"kms.amazonaws.com"}`
		}, 1, "0 0 1", "record 1: eventTime: "},
		{"another conflict", func(r []string) string {
			return r[0] + "\n" + strings.Replace(r[0], `"eventVersion":"`, `"eventVersion":"9`, 1)
		}, 1, "1 0 1", "record 2: eventID: "},
		{"cut off", func(r []string) string { return `{"Records":[` + r[0] + "," + r[1] + "," + r[2][:60] }, 1, "2 0 1", "cut off"},
		{"zip cut off", func(r []string) string { z := zip(t, strings.Join(r, "\n")); return z[:len(z)-9] }, 1, "", "unexpected EOF"},
		{"not CloudTrail", func([]string) string { return "<html>" }, 1, "0 0 1", "not a CloudTrail file"},
		{"binary", func([]string) string { return "\x00\x01\x02" }, 1, "0 0 1", "not a CloudTrail file"},
		{"escapes for the terminal", func([]string) string {
			return `{"eventID":"z","eventName":"Decrypt","eventSource":"\u001b[31mred","eventTime":"2026-11-24T10:00:00Z"}`
		}, 1, "0 0 1", "eventSource"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log.json")
			text := tt.text(sampleText(t, 3, uint64(100+seed)))
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			r := must(t, tt.status, "bus", "publish", b.to, path)
			var published, duplicate, rejected int
			if _, err := fmt.Sscanf(r.out, "published=%d duplicate=%d rejected=%d\n", &published, &duplicate, &rejected); err != nil {
				t.Fatalf("%v in %q", err, r.out)
			}
			if got := fmt.Sprint(published, duplicate, rejected); tt.counts != "" && got != tt.counts {
				t.Errorf("published, duplicate, rejected: %s, want %s\n%s", got, tt.counts, r.err)
			}
			if !strings.Contains(r.err, tt.named) || rejected > 0 && !strings.Contains(r.err, path) || strings.Contains(r.err, "\x1b") {
				t.Errorf("it says %q, want the file and %q", r.err, tt.named)
			}
			// The same from standard input.
			again := try(t, strings.NewReader(text), "bus", "publish", b.to, "-")
			if want := fmt.Sprintf("published=0 duplicate=%d rejected=%d\n", published+duplicate, rejected); again.out != want {
				t.Errorf("from standard input, again: %q, want %q", again.out, want)
			}
		})
	}
}

// TestFolders: folders are walked, and what is not named like a log is left.
func TestFolders(t *testing.T) {
	b := startBus(t, "--data", t.TempDir())
	dir := t.TempDir()
	texts := sampleText(t, 6, 1)
	for i, name := range []string{"a.json", "deep/er/b.jsonl.gz", "deep/c.ndjson", "readme.txt", "d.JSON", "e.json.gz"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(texts[i]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := must(t, 0, "bus", "publish", b.to, dir)
	if r.out != "published=5 duplicate=0 rejected=0\n" || !strings.Contains(r.err, "skipped 1 entries") {
		t.Errorf("publish says %q %q", r.out, r.err)
	}
	r = must(t, 0, "bus", "publish", b.to, filepath.Join(dir, "readme.txt")) // named, so taken
	if r.out != "published=1 duplicate=0 rejected=0\n" {
		t.Errorf("publish says %q", r.out)
	}
}

// TestBusGoesAway: what could not be tried is not called rejected, and the exit
// status says so.
func TestBusGoesAway(t *testing.T) {
	b := startBus(t, "--data", t.TempDir())
	stdin, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	p := startWith(t, stdin, "bus", "publish", b.to, "--retry-for=1s", "-")
	texts := sampleText(t, 2, 1)
	if _, err := feed.WriteString(texts[0] + "\n"); err != nil {
		t.Fatal(err)
	}
	tail := start(t, "subscriber", "tail", b.to, "--from=earliest", "-o", "json", "--max=1")
	tail.wait() // the first record is in; its producer may not have heard of it
	b.kill()
	if _, err := feed.WriteString(texts[1] + "\n"); err != nil {
		t.Fatal(err)
	}
	if err := feed.Close(); err != nil {
		t.Fatal(err)
	}
	account := regexp.MustCompile(`^published=[01] duplicate=0 rejected=0\n$`)
	if status := p.wait(); status != 2 || !account.MatchString(p.out.String()) || !strings.Contains(p.err.String(), "not everything could be tried") {
		t.Errorf("status %d, %q\n%s", status, p.out, p.err)
	}
}

// TestTrim: an operator makes room; who had not read it all is told so.
func TestTrim(t *testing.T) {
	b := startBus(t, "--data", t.TempDir())
	publishSample(t, b, 10, 1)
	cursor := ""
	r := must(t, 0, "subscriber", "tail", b.to, "--from=earliest", "--max=1", "-o", "json")
	for _, word := range strings.Fields(r.err) {
		if strings.HasPrefix(word, "kt1") {
			cursor = strings.TrimRight(word, ".,;")
		}
	}
	if cursor == "" {
		t.Fatalf("tail does not say where to go on: %q", r.err)
	}
	r = must(t, 0, "bus", "log", "trim", b.to, "--before=0s")
	if !strings.HasPrefix(r.out, "trimmed before ") {
		t.Errorf("trim says %q", r.out)
	}
	publishSample(t, b, 5, 2)
	r = must(t, 1, "subscriber", "tail", b.to, "--from="+cursor, "--until-idle=500ms", "-o", "json")
	if !strings.Contains(r.err, "--allow-gap") {
		t.Errorf("a tail from what is gone says %q", r.err)
	}
	r = must(t, 3, "subscriber", "tail", b.to, "--from="+cursor, "--allow-gap", "--until-idle=500ms", "-o", "json")
	if n := len(lines(t, r.out)); n != 5 || !strings.Contains(r.err, "an operator has removed them") {
		t.Errorf("with a gap allowed came %d records, and %q", n, r.err)
	}
	r = must(t, 0, "bus", "log", "info", b.to)
	for _, want := range []string{"SYNCED", "batches", "kept for     90 days"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("log info prints\n%swithout %q", r.out, want)
		}
	}
}

// TestJSONIsCloudTrails: what tail prints can be published again.
func TestJSONIsCloudTrails(t *testing.T) {
	one, two := startBus(t, "--data", t.TempDir()), startBus(t, "--data", t.TempDir())
	publishSample(t, one, 100, 1)
	r := must(t, 0, "subscriber", "tail", one.to, "--from=earliest", "--until-idle=500ms", "-o", "json")
	if p := try(t, strings.NewReader(r.out), "bus", "publish", two.to, "-"); p.out != "published=100 duplicate=0 rejected=0\n" {
		t.Errorf("publish says %q\n%s", p.out, p.err)
	}
}
