package sample_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/keytrail/keytrail/internal/sample"
	"github.com/keytrail/keytrail/record"
)

var update = flag.Bool("update", false, "write the example file anew")

// TestExampleFile keeps examples/kms-records.json what the generator makes: a
// log file as CloudTrail delivers them, for whoever has none.
func TestExampleFile(t *testing.T) {
	gen := sample.New(sample.Config{Seed: 7, Start: time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)})
	text := []byte(`{"Records":[`)
	for i := range 100 {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(text, '\n')
		var err error
		if text, err = record.AppendJSON(text, gen.Next()); err != nil {
			t.Fatal(err)
		}
	}
	text = append(text, "\n]}\n"...)
	path := filepath.Join("..", "..", "examples", "kms-records.json")
	if *update {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, text) {
		t.Errorf("%s is not what the generator makes: run go test ./internal/sample -run ExampleFile -update", path)
	}
}
