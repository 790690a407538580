package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/keytrail/keytrail/internal/needs"
	"github.com/keytrail/keytrail/internal/sample"
	"github.com/keytrail/keytrail/record"
)

func TestDocumentedRecords(t *testing.T) {
	dir := needs.RealData(t, "aws-kms-docs")
	b := startBus(t, "--data", t.TempDir())
	rejects := filepath.Join(t.TempDir(), "rejects")
	r := must(t, 1, "bus", "publish", b.to, "--rejects", rejects, dir)
	if want := "published=61 duplicate=0 rejected=15\n"; r.out != want {
		t.Errorf("publish says %q, want %q", r.out, want)
	}
	info, err := os.Stat(rejects)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file of rejects: %v, %v; want mode 0600", info.Mode(), err)
	}
	text, err := os.ReadFile(rejects)
	if err != nil {
		t.Fatal(err)
	}
	codes := make(map[any]int)
	for _, l := range lines(t, string(text)) {
		codes[l["code"]]++
		if l["record"].(json.Number) != "1" || l["event"] == nil || l["reason"] == "" {
			t.Errorf("a reject without origin, reason or record: %v", l)
		}
		if got, want := l["event"], files(t, l["file"].(string))[0]; !reflect.DeepEqual(got, any(want)) {
			t.Errorf("the rejected record of %v differs from the file", l["file"])
		}
	}
	if codes["CONFLICT"] != 13 || codes["OTHER_SOURCE"] != 2 {
		t.Errorf("rejected by code: %v, want 13 CONFLICT and 2 OTHER_SOURCE", codes)
	}

	got := byID(t, tailAll(t, b))
	if len(got) != 61 {
		t.Errorf("%d records came out, want 61", len(got))
	}
	matched := 0
	for _, want := range files(t, dir) {
		if reflect.DeepEqual(got[want["eventID"].(string)], want) {
			matched++
		}
	}
	if matched != 61 {
		t.Errorf("%d of the files came out with the same JSON value, want 61", matched)
	}

	r = must(t, 1, "bus", "publish", b.to, "--new-event-ids", dir)
	if want := "published=74 duplicate=0 rejected=2\n"; r.out != want {
		t.Errorf("with new event IDs: %q, want %q", r.out, want)
	}
	// Nothing changes when it is published again.
	r = must(t, 1, "bus", "publish", b.to, dir)
	if want := "published=0 duplicate=61 rejected=15\n"; r.out != want {
		t.Errorf("again: %q, want %q", r.out, want)
	}
}

func TestRealRecords(t *testing.T) {
	all := needs.RealData(t, "invictus/records.jsonl")
	b := startBus(t, "--data", t.TempDir())
	r := must(t, 1, "bus", "publish", b.to, all)
	kms := make(map[string]map[string]any)
	for _, rec := range files(t, all) {
		if rec["eventSource"] == "kms.amazonaws.com" {
			kms[rec["eventID"].(string)] = rec
		}
	}
	if got, want := strings.TrimSpace(r.out), fmt.Sprintf("published=%d duplicate=0 rejected=%d", len(kms), len(files(t, all))-len(kms)); got != want {
		t.Errorf("publish says %q, want %q", got, want)
	}
	if got := strings.Count(r.err, "eventSource: "); got != len(files(t, all))-len(kms) {
		t.Errorf("%d records are listed as of another source", got)
	}
	if got := byID(t, tailAll(t, b)); !reflect.DeepEqual(got, kms) {
		t.Errorf("%d records came out, want the %d of KMS with the same JSON values", len(got), len(kms))
	}
}

func TestServeFaults(t *testing.T) {
	dir := t.TempDir()
	b := startBus(t, "--data", dir)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("no-such-key: 1\ngrpc_listen: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	free := addrs(t, 2)
	for name, tt := range map[string]struct {
		args   []string
		status int
		want   string
	}{
		"port taken":        {[]string{"serve", "--data", t.TempDir(), "--grpc-listen", b.grpc}, 1, "--grpc-listen"},
		"HTTP port taken":   {[]string{"serve", "--data", t.TempDir(), "--grpc-listen", free[0], "--http-listen", b.http}, 1, "--http-listen"},
		"folder in use":     {[]string{"serve", "--data", dir, "--grpc-listen", free[0], "--http-listen", free[1]}, 1, "in use by another bus"},
		"folder is a file":  {[]string{"serve", "--data", file, "--grpc-listen", free[0], "--http-listen", free[1]}, 1, "--data"},
		"NATS away":         {[]string{"serve", "--nats-url", "nats://127.0.0.1:1", "--grpc-listen", free[0], "--http-listen", "off"}, 1, "NATS is unreachable"},
		"config absent":     {[]string{"serve", "--config", file + "x"}, 64, "no such file"},
		"config unknown":    {[]string{"check", "--config", file}, 64, `did you mean "grpc-listen"?`},
		"check":             {[]string{"check", "--data", file}, 1, "--data"},
		"no bus to publish": {[]string{"publish", "--bus", free[0], file}, 1, "start one with `bus serve`"},
		"no such file":      {[]string{"publish", b.to, file + "x"}, 1, "no such file"},
		"trim when":         {[]string{"log", "trim", b.to, "--before", "then"}, 1, "--before"},
	} {
		t.Run(name, func(t *testing.T) {
			r := must(t, tt.status, "bus", tt.args...)
			last := strings.TrimSpace(r.err)
			if i := strings.LastIndexByte(last, '\n'); tt.status == 1 && i >= 0 {
				t.Errorf("more than one line:\n%s", r.err)
			}
			if !strings.Contains(r.err, tt.want) || r.out != "" && tt.status == 1 {
				t.Errorf("it says\n%s%swant a line with %q", r.out, r.err, tt.want)
			}
		})
	}
}

func TestSignals(t *testing.T) {
	b := startBus(t, "--data", t.TempDir())
	tail := start(t, "subscriber", "tail", b.to, "--from=earliest", "-o", "json")
	publishSample(t, b, 10, 1)
	tail.until("10 records", func(s string) bool { return strings.Count(s, "\n") == 10 })
	b.signal(syscall.SIGTERM)
	if status := b.wait(); status != 0 {
		t.Errorf("a drained bus ended with %d\n%s", status, b.err)
	}
	// The subscriber goes on with the next bus.
	b.restart(t)
	publishSample(t, b, 5, 2)
	tail.until("15 records", func(s string) bool { return strings.Count(s, "\n") == 15 })
	tail.signal(os.Interrupt)
	if status := tail.wait(); status != 0 {
		t.Errorf("an interrupted tail ended with %d\n%s", status, tail.err)
	}
	byID(t, lines(t, tail.out.String()))
}

// TestRequire: what the log can't promise is refused, and nothing is stored then.
func TestRequire(t *testing.T) {
	b := startBus(t, "--data", t.TempDir())
	file := filepath.Join(t.TempDir(), "one.json")
	text, err := record.AppendJSON(nil, sample.New(sample.Config{Seed: 1}).Next())
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		level  string
		status int
		out    string
		err    string
	}{
		{"replicated", 2, "published=0 duplicate=0 rejected=0\n", "durability REPLICATED was asked for; the log of this bus gives SYNCED"},
		{"durable", 1, "", "--require durable: write stored, replicated or synced"},
		{"SYNCED", 0, "published=1 duplicate=0 rejected=0\n", ""},
		{"stored", 0, "published=0 duplicate=1 rejected=0\n", ""},
	} {
		r := must(t, tt.status, "bus", "publish", b.to, "--require", tt.level, file)
		if r.out != tt.out || !strings.Contains(r.err, tt.err) {
			t.Errorf("--require %s: %q and %q, want %q and %q", tt.level, r.out, r.err, tt.out, tt.err)
		}
	}
}

// TestUnsyncedBus: a bus says what it promises.
func TestUnsyncedBus(t *testing.T) {
	b := startBus(t, "--data", t.TempDir(), "--log-unsynced")
	if !strings.Contains(b.out.String(), "an acknowledged record is STORED") {
		t.Errorf("it says %q", b.out)
	}
	if r := must(t, 0, "bus", "log", "info", b.to); !strings.Contains(r.out, "STORED") {
		t.Errorf("log info says %q", r.out)
	}
	for _, args := range [][]string{{"--data", t.TempDir(), "--nats-synced"}, {"--nats-url", "nats://127.0.0.1:1", "--log-unsynced"}} {
		if r := must(t, 1, "bus", append([]string{"check"}, args...)...); !strings.Contains(r.err, args[len(args)-1]) {
			t.Errorf("bus check %v says %q", args, r.err)
		}
	}
}
