package main

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/keytrail/keytrail/internal/sample"
)

// BenchmarkTail measures records a second from a log to a file. The bus runs
// in the same process.
func BenchmarkTail(b *testing.B) {
	const records = 200_000
	bus := startBus(b)
	g := sample.New(sample.Config{Seed: 1})
	for range records {
		if err := bus.pub.PublishFunc(b.Context(), g.Next(), nil); err != nil {
			b.Fatal(err)
		}
	}
	if err := bus.pub.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	for _, format := range []string{"json", "oneline"} {
		b.Run(format, func(b *testing.B) {
			for b.Loop() {
				file, err := os.Create(filepath.Join(b.TempDir(), "out"))
				if err != nil {
					b.Fatal(err)
				}
				p := &program{Args: bus.args("-o", format, "--from", "earliest", "--until-idle", "0s"), Stdout: file, Stderr: io.Discard}
				if status := p.Run(b.Context()); status != statusOK {
					b.Fatalf("exit status %d", status)
				}
				file.Close()
			}
			b.ReportMetric(records*float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
