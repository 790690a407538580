package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	peer, ratio := 2.0, 1.5
	rows := []row{
		row{Name: "fast enough", Unit: "records/s", Ours: 30_000}.atLeast(20_000),
		row{Name: "too slow", Unit: "records/s", Ours: 3}.atLeast(20_000),
		{Name: "compared", Unit: "ms", Ours: 3, Peer: &peer, Ratio: &ratio},
	}
	var table bytes.Buffer
	if err := report(&table, rows, false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"fast enough  30000  records/s  -     -      20000   yes", "too slow     3      records/s  -     -      20000   NO", "compared     3      ms         2     1.5    -       -"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table is\n%swithout %q", table.String(), want)
		}
	}
	var objects bytes.Buffer
	if err := report(&objects, rows, true); err != nil {
		t.Fatal(err)
	}
	want := `{"name":"fast enough","unit":"records/s","ours":30000,"target":20000,"ok":true}
{"name":"too slow","unit":"records/s","ours":3,"target":20000,"ok":false}
{"name":"compared","unit":"ms","ours":3,"peer":2,"ratio":1.5}
`
	if objects.String() != want {
		t.Errorf("the objects are\n%swant\n%s", objects.String(), want)
	}
}

// TestPublish runs the command as a user does, with few records.
func TestPublish(t *testing.T) {
	program := filepath.Join(t.TempDir(), "loadtest")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(program, "publish", "--json", "--records", "3000", "--alone", "20")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	figures := make(map[string]float64)
	for line := range strings.Lines(string(out)) {
		var r row
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		figures[r.Name] = r.Ours
	}
	if len(figures) != 8 {
		t.Errorf("%d figures, want 8: %v", len(figures), figures)
	}
	for name, v := range figures {
		if v <= 0 {
			t.Errorf("%s is %v", name, v)
		}
	}
	if p50, p99 := figures["acknowledged p50, at full rate"], figures["acknowledged p99, at full rate"]; p50 > p99 {
		t.Errorf("p50 %v is above p99 %v", p50, p99)
	}
}

// TestMatch runs the command as a user does; it checks by itself that index and list
// find the same.
func TestMatch(t *testing.T) {
	var out bytes.Buffer
	c := matchCmd{Short: true, Records: 200, Bytes: 1024, Keys: 50, Seed: 1}
	rows, err := c.rows()
	if err != nil {
		t.Fatal(err)
	}
	if err := reportMatch(&out, rows, true); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		var r matchRow
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if r.Walk <= 0 || r.Both <= 0 || r.List <= 0 || r.Ratio <= 0 || r.Matches <= 0 || r.Add <= 0 || r.Target <= 0 {
			t.Errorf("a figure is missing in %s", line)
		}
	}
	if len(rows) != 5 {
		t.Errorf("%d rows, want 5", len(rows))
	}
	out.Reset()
	if err := reportMatch(&out, rows, false); err != nil || strings.Count(out.String(), "\n") != 6 {
		t.Errorf("%v; the table is\n%s", err, out.String())
	}
}
