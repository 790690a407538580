package server_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/keytrail/keytrail/bustest"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/internal/sample"
	"github.com/keytrail/keytrail/record"
	"google.golang.org/grpc"
)

// TestThousandSubscribers: each of a thousand streams, a fifth of which stop
// reading, gets what its filter matches and nothing else; those that stopped
// get the rest when they read again.
func TestThousandSubscribers(t *testing.T) {
	b := bustest.Start(t)
	const streams, conns, records = 1000, 10, 3000
	gen := sample.New(sample.Config{Seed: 3, Keys: 100})
	keys := gen.Keys()
	want := make(map[string]int)
	var published []*keytrailv1.Record
	for range records {
		r := gen.Next()
		published = append(published, r)
		h := record.HeaderOf(r)
		for _, k := range h.Keys {
			want[k]++
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var pool []*grpc.ClientConn
	for range conns {
		pool = append(pool, b.Dial())
	}
	var ready, done sync.WaitGroup
	resume := make(chan struct{}) // closed when those that stall go on
	for i := range streams {
		ready.Add(1)
		done.Go(func() {
			key := keys[i%len(keys)]
			stream, err := keytrailv1.NewSubscribeServiceClient(pool[i%conns]).Subscribe(ctx, &keytrailv1.SubscribeRequest{
				Filter: &keytrailv1.Filter{Include: []*keytrailv1.Selector{{Keys: []string{key}}}},
			})
			if err == nil {
				_, err = stream.Recv() // the checkpoint at the head
			}
			ready.Done()
			if i%5 == 0 {
				<-resume
			}
			seen := make(map[string]bool)
			for err == nil && len(seen) < want[key] {
				var m *keytrailv1.SubscribeResponse
				if m, err = stream.Recv(); err != nil {
					break
				}
				for _, d := range m.GetBatch().GetRecords() {
					h := record.HeaderOf(d.GetRecord())
					if seen[h.EventID] || len(h.Keys) == 0 || h.Keys[0] != key && (len(h.Keys) < 2 || h.Keys[1] != key) {
						t.Errorf("stream %d of %s got %s of %v, or got it twice", i, key, h.EventID, h.Keys)
					}
					seen[h.EventID] = true
				}
			}
			if err != nil {
				t.Errorf("stream %d: %d of %d records, then %v", i, len(seen), want[key], err)
			}
		})
	}
	ready.Wait()
	for len(published) > 0 {
		n := min(500, len(published))
		publish(t, pool[0], published[:n]...)
		published = published[n:]
	}
	close(resume)
	done.Wait()
}
