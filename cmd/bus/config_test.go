package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var sizeTests = []struct {
	text string
	want size // -1: refused
}{
	{"0", 0}, {"1073741824", 1 << 30}, {"500MB", 500e6}, {"20GiB", 20 << 30}, {"1.5KiB", 1536}, {"7B", 7},
	{"", -1}, {"GB", -1}, {"-1", -1}, {"1 GB", -1}, {"1gb", -1}, {"1e30", -1}, {"NaN", -1}, {"99999999TiB", -1}, {"5iB", -1},
}

func FuzzParseSize(f *testing.F) {
	for _, tt := range sizeTests {
		f.Add(tt.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if v, err := parseSize(text); err == nil && v < 0 {
			t.Errorf("%q is %d bytes", text, v)
		}
	})
}

func TestParseSize(t *testing.T) {
	for _, tt := range sizeTests {
		if got, err := parseSize(tt.text); (err != nil) != (tt.want < 0) || err == nil && got != tt.want {
			t.Errorf("parseSize(%q) = %d, %v; want %d", tt.text, got, err, tt.want)
		}
	}
}

func TestParseConfig(t *testing.T) {
	known := map[string]bool{"data": true, "pprof": true, "grpc-listen": true, "log-max-age": true}
	for name, tt := range map[string]struct {
		yaml, err string
		want      map[string]any
	}{
		"values":       {"data: /var/lib/x\npprof: true\nlog-max-age: 30d # comment\n", "", map[string]any{"data": "/var/lib/x", "pprof": true, "log-max-age": "30d"}},
		"other bools":  {"pprof: True\n", "", map[string]any{"pprof": true}},
		"false":        {"pprof: FALSE\n", "", map[string]any{"pprof": false}},
		"no value":     {"data:\n", `key "data" has no value`, nil},
		"empty value":  {"data: ''\n", `key "data" has no value`, nil},
		"empty":        {"", "", nil},
		"comment only": {"# nothing\n", "", nil},
		"misspelt":     {"data: x\ngrpc-lisen: y\n", `line 2: unknown key "grpc-lisen"; did you mean "grpc-listen"?`, nil},
		"underscore":   {"grpc_listen: y\n", `did you mean "grpc-listen"?`, nil},
		"far off":      {"zzzzzz: y\n", `unknown key "zzzzzz"`, nil},
		"twice":        {"data: x\ndata: y\n", "data", nil},
		"list":         {"data: [x]\n", `key "data" wants a single value`, nil},
		"no mapping":   {"- data\n", "want a mapping", nil},
		"no YAML":      {"\t: {", "yaml", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseConfig([]byte(tt.yaml), known)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || len(got) != len(tt.want) {
				t.Fatalf("got %v, %v; want %v", got, err, tt.want)
			}
			for k, v := range tt.want {
				if got[k] != v {
					t.Errorf("%s is %v, want %v", k, got[k], v)
				}
			}
		})
	}
}

func runBus(t *testing.T, args ...string) (status int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	p := program{args: args, stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr}
	status = p.run(t.Context())
	return status, stdout.String(), stderr.String()
}

// TestPrecedence: flags win over the environment, that over the file, and that
// over defaults.
func TestPrecedence(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "bus.yaml")
	if err := os.WriteFile(file, []byte("grpc-listen: 127.0.0.1:1001\nhttp-listen: 127.0.0.1:1002\ndata: "+dir+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KEYTRAIL_HTTP_LISTEN", "127.0.0.1:2002")
	t.Setenv("KEYTRAIL_CONFIG", file)
	for _, tt := range []struct{ args, want []string }{
		{nil, []string{"gRPC at 127.0.0.1:1001", "HTTP at 127.0.0.1:2002", "log in " + dir}},
		{[]string{"--http-listen", "off"}, []string{"gRPC at 127.0.0.1:1001", "HTTP at off"}},
		{[]string{"--grpc-listen", "127.0.0.1:3001", "--http-listen", "127.0.0.1:3002"}, []string{"gRPC at 127.0.0.1:3001", "HTTP at 127.0.0.1:3002"}},
	} {
		status, out, errs := runBus(t, append([]string{"check"}, tt.args...)...)
		for _, want := range tt.want {
			if status != 0 || !strings.Contains(out, want) {
				t.Errorf("check %v: status %d, %s%swant %q", tt.args, status, out, errs, want)
			}
		}
	}
}

func TestEmptyEnvironment(t *testing.T) {
	t.Setenv("KEYTRAIL_DATA", "")
	if status, out, errs := runBus(t, "check"); status != 64 || !strings.Contains(errs, "KEYTRAIL_DATA is set and empty") {
		t.Errorf("status %d, %s%s", status, out, errs)
	}
}

func TestCommandLine(t *testing.T) {
	for name, tt := range map[string]struct {
		args   []string
		status int
		want   string
	}{
		"help":         {[]string{"--help"}, 0, "Publish CloudTrail log files"},
		"publish help": {[]string{"publish", "--help"}, 0, "2  not everything could be tried"},
		"version":      {[]string{"version"}, 0, "bus "},
		"bad flag":     {[]string{"serve", "--no-such-flag"}, 64, "no-such-flag"},
		"bad size":     {[]string{"check", "--log-max-bytes", "lots"}, 64, "not a size"},
		"bad level":    {[]string{"check", "--log-level", "loud"}, 64, "--log-level"},
		"two logs":     {[]string{"check", "--data", "x", "--nats-url", "nats://h"}, 1, "both set"},
		"open NATS":    {[]string{"check", "--data", "x", "--nats-listen", ":4222"}, 1, "loopback"},
		"bad address":  {[]string{"check", "--grpc-listen", "nowhere"}, 1, "--grpc-listen"},
		"empty flag":   {[]string{"check", "--data", ""}, 64, "--data has no value"},
		"empty with =": {[]string{"check", "--data="}, 64, "--data has no value"},
		"broken URL":   {[]string{"check", "--nats-url", "nats://u:sec%ret@h"}, 1, "not a URL"},
		"endless demo": {[]string{"demo", "--rate", "NaN"}, 1, "--rate"},
		"demo of none": {[]string{"demo", "--records", "0"}, 1, "--records"},
	} {
		t.Run(name, func(t *testing.T) {
			status, out, errs := runBus(t, tt.args...)
			if status != tt.status || !strings.Contains(out+errs, tt.want) {
				t.Errorf("status %d, want %d\n%s%swant %q", status, tt.status, out, errs, tt.want)
			}
		})
	}
}

func TestDemo(t *testing.T) {
	status, out, errs := runBus(t, "demo", "--records", "400", "--rate", "2000", "--width", "100")
	if status != 0 || errs != "" {
		t.Fatalf("status %d\n%s", status, errs)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	last := lines[len(lines)-1]
	if !strings.HasPrefix(last, "400 records published = 400 stored; security: 400 = ") || !strings.HasSuffix(last, "; 0 lost") {
		t.Errorf("the last line is %q", last)
	}
	left, right := 0, 0
	for _, l := range lines[5 : len(lines)-2] {
		if n := len([]rune(l)); n > 100 {
			t.Errorf("a line of %d columns: %q", n, l)
		}
		before, after, ok := strings.Cut(l, "│")
		switch {
		case !ok || (strings.TrimSpace(before) == "") == (strings.TrimSpace(after) == ""):
			t.Errorf("a line is not of one side: %q", l)
		case strings.TrimSpace(after) == "":
			left++
		default:
			right++
		}
	}
	if left == 0 || right == 0 || !strings.Contains(last, "security: 400 = "+strconv.Itoa(left)+" matched") || !strings.Contains(last, "= "+strconv.Itoa(right)+" matched") {
		t.Errorf("%d lines on the left and %d on the right; the account says %q", left, right, last)
	}
}
