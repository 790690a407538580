package eventlog

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/keytrail/keytrail/internal/sample"
	"github.com/keytrail/keytrail/record"
)

// BenchmarkSubmit stores records of 1 KiB, each once, in submissions of 1,000 of which ten are on their way.
func BenchmarkSubmit(b *testing.B) {
	for _, keys := range []string{"zipf", "uniform"} {
		for _, synced := range []bool{true, false} {
			b.Run(fmt.Sprintf("%s/synced=%v", keys, synced), func(b *testing.B) {
				l := testLog(b, Config{Unsynced: !synced})
				gen := sample.New(sample.Config{Seed: rand.Uint64(), Keys: 1000, Uniform: keys == "uniform", Bytes: 1024})
				const each, most = 1000, 10
				entries := make([]Entry, b.N)
				for i := range entries {
					r := gen.Next()
					enc, err := record.Marshal(r)
					if err != nil {
						b.Fatal(err)
					}
					if entries[i], err = NewEntry(record.HeaderOf(r), enc); err != nil {
						b.Fatal(err)
					}
				}
				b.SetBytes(1024)
				b.ReportAllocs()
				b.ResetTimer()
				tickets := make(chan Ticket, most)
				done := make(chan int)
				go func() {
					stored := 0
					for ticket := range tickets {
						<-ticket.Done()
						for _, r := range ticket.sub.results {
							if r.Status == StatusStored {
								stored++
							}
						}
					}
					done <- stored
				}()
				for len(entries) > 0 {
					n := min(each, len(entries))
					ticket, err := l.Submit(b.Context(), entries[:n])
					if err != nil {
						b.Fatal(err)
					}
					tickets <- ticket
					entries = entries[n:]
				}
				close(tickets)
				if stored := <-done; stored != b.N {
					b.Fatalf("%d of %d were stored", stored, b.N)
				}
				b.StopTimer()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
			})
		}
	}
}
