package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// startRecording records to a file beside the test.
func (b *testBus) startRecording(t testing.TB, file string, args ...string) *running {
	t.Helper()
	return startProgram(t, append([]string{"record", "--bus", b.addr, file}, args...))
}

// record records to a file until the end of the log.
func (b *testBus) record(t testing.TB, file string, args ...string) (stderr string) {
	t.Helper()
	r := b.startRecording(t, file, append(args, "--until-idle", "0s")...)
	r.wait(t, statusOK)
	return r.err.String()
}

func (b *testBus) check(t testing.TB, status int, files ...string) (stdout, stderr string) {
	t.Helper()
	return run(t, status, append([]string{"check", "--bus", b.addr}, files...)...)
}

// waitRecords waits until a transcript has so many records.
func waitRecords(t testing.TB, file string, n int) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		text, err := os.ReadFile(file)
		if err == nil && bytes.Count(text, []byte(`{"kind":"record"`)) >= n {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain for %d records", n)
		}
	}
}

// TestRecordAndCheck records through restarts of the bus and of the recorder.
func TestRecordAndCheck(t *testing.T) {
	b := startBus(t)
	dir := t.TempDir()
	all, some, later := filepath.Join(dir, "all"), filepath.Join(dir, "some"), filepath.Join(dir, "later")
	where := []string{"--where", "event in (Decrypt, GenerateDataKey) and outcome = success"}
	b.publish(t, samples(30, 300)...)

	recording := b.startRecording(t, all, "--from", "earliest")
	filtered := b.startRecording(t, some, append(where, "--from", "earliest")...)
	waitRecords(t, all, 300)
	b.Restart()
	b.publish(t, samples(31, 300)...)
	waitRecords(t, all, 600)
	recording.cancel()
	recording.wait(t, statusOK)
	filtered.cancel()
	filtered.wait(t, statusOK)
	b.publish(t, samples(32, 300)...)

	live := b.startRecording(t, later, where...)
	waitKind(t, later, "checkpoint")
	b.publish(t, samples(33, 300)...)
	if stderr := b.record(t, all, "--from", "earliest"); !strings.Contains(stderr, "--from is ignored") {
		t.Errorf("stderr: %s", stderr)
	}
	b.record(t, some, where...)
	waitRecords(t, all, 1200)
	b.Restart()
	waitKind(t, later, "record")
	live.err.waitText(t, "connected again")
	live.cancel()
	live.wait(t, statusOK)

	stdout, _ := b.check(t, statusOK, all, some, later)
	if n := strings.Count(stdout, "promises 1–9 hold\n"); n != 3 || !strings.Contains(stdout, all+": 1,200 records, 0 gaps") {
		t.Errorf("stdout:\n%s", stdout)
	}

	t.Run("another filter", func(t *testing.T) {
		_, stderr := run(t, statusUsage, "record", "--bus", b.addr, all, "--failed")
		if !strings.Contains(stderr, "another filter") {
			t.Errorf("stderr: %s", stderr)
		}
	})
	t.Run("planted", func(t *testing.T) {
		text, err := os.ReadFile(some)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.SplitAfter(string(text), "\n")
		for _, tt := range []struct {
			name, promise string
			plant         func([]string) []string
		}{
			{"missing", "promise 2", func(l []string) []string { return append(l[:30:30], l[31:]...) }},
			{"swapped", "promise 1", func(l []string) []string {
				return append(append(l[:30:30], l[31], l[30]), l[32:]...)
			}},
			{"twice", "promise 3", func(l []string) []string { return append(append(l[:31:31], l[30]), l[31:]...) }},
		} {
			file := filepath.Join(dir, tt.name)
			if err := os.WriteFile(file, []byte(strings.Join(tt.plant(lines), "")), 0o600); err != nil {
				t.Fatal(err)
			}
			stdout, _ := b.check(t, statusBroken, file, all)
			if !strings.Contains(stdout, tt.promise) || !strings.Contains(stdout, "BROKEN") {
				t.Errorf("%s:\n%s", tt.name, stdout)
			}
		}
	})
	t.Run("no longer held", func(t *testing.T) {
		b.trim(t)
		b.publish(t, samples(34, 50)...)
		b.record(t, all, "--allow-gap")
		stdout, _ := b.check(t, statusOK, all)
		for _, part := range []string{"not checked: the log no longer holds what comes before", "1,250 records", "hold for all but 1,200 records"} {
			if !strings.Contains(stdout, part) {
				t.Errorf("lacks %q:\n%s", part, stdout)
			}
		}
		stdout, stderr := b.check(t, statusUsage, some)
		if !strings.Contains(stdout, "could not be compared with the log") || !strings.Contains(stderr, "not every transcript") {
			t.Errorf("%s\n%s", stdout, stderr)
		}
	})
	t.Run("another log", func(t *testing.T) {
		other := startBus(t)
		stdout, _ := other.check(t, statusBroken, all)
		if !strings.Contains(stdout, "promise 4") {
			t.Errorf("%s", stdout)
		}
	})
}

// waitKind waits until a transcript has an event of a kind.
func waitKind(t testing.TB, file, kind string) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		text, err := os.ReadFile(file)
		if err == nil && bytes.Contains(text, fmt.Appendf(nil, `{"kind":%q`, kind)) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain for a %s", kind)
		}
	}
}

func TestRecordStarts(t *testing.T) {
	b := startBus(t)
	dir := t.TempDir()
	cursors := b.publishInOrder(t, samples(40, 20)...)
	for _, from := range []string{"earliest", "1h", cursors[7], "now"} {
		file := filepath.Join(dir, from)
		b.record(t, file, "--from", from)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if !json.Valid([]byte(line)) {
				t.Errorf("no JSON: %s", line)
			}
		}
		stdout, _ := b.check(t, statusOK, file)
		if !strings.Contains(stdout, "promises 1–9 hold") {
			t.Errorf("from %s: %s", from, stdout)
		}
	}
	// The log now begins within what was recorded.
	res, err := keytrailv1.NewLogServiceClient(b.c.Conn()).TrimLog(t.Context(), &keytrailv1.TrimLogRequest{StoredBefore: timestamppb.Now()})
	if err != nil {
		t.Fatal(err)
	}
	b.publish(t, samples(41, 20)...)
	for _, from := range []string{"earliest", "1h", cursors[7], "now"} {
		file := filepath.Join(dir, from)
		b.record(t, file, "--allow-gap")
		stdout, _ := b.check(t, statusOK, file)
		if !strings.Contains(stdout, "promises 1–9 hold") {
			t.Errorf("from %s, trimmed to %s: %s", from, res.GetEarliestCursor(), stdout)
		}
	}
}

func TestRecordRefuses(t *testing.T) {
	dir := t.TempDir()
	foreign := filepath.Join(dir, "foreign")
	if err := os.WriteFile(foreign, []byte("what somebody needs"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stderr := run(t, statusError, "record", foreign)
	if text, err := os.ReadFile(foreign); err != nil || string(text) != "what somebody needs" || !strings.Contains(stderr, "not a transcript") {
		t.Errorf("%q, %v: %s", text, err, stderr)
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"check"}, "expected"},
		{[]string{"check", foreign}, "not a transcript"},
		{[]string{"check", filepath.Join(dir, "none")}, "no such file"},
		{[]string{"check", "--bus", "nowhere", foreign}, "HOST:PORT"},
		{[]string{"record", filepath.Join(dir, "x"), "--from", "yesterday"}, "--from"},
		{[]string{"record", filepath.Join(dir, "x"), "--until-idle=-1s"}, "negative"},
	} {
		_, stderr := run(t, statusUsage, tt.args...)
		if !strings.Contains(stderr, tt.want) {
			t.Errorf("%v: %s", tt.args, stderr)
		}
	}
}
