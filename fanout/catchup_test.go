package fanout

import (
	"testing"

	"github.com/keytrail/keytrail/eventlog"
)

// TestMatchingHoldsNothingUp: while a subscription that is behind asks its filter,
// which may take its time, the hub can still pass it over.
func TestMatchingHoldsNothingUp(t *testing.T) {
	hub := &Hub{cfg: Config{QueueBytes: 1 << 20}}
	s := &Subscription{hub: hub, behind: true, next: eventlog.Position{Seq: 7, Index: 1}}
	records := [][]byte{[]byte("a"), []byte("b"), []byte("c"), []byte("d")}
	b, _ := frameBatch(eventlog.Incarnation(1), &eventlog.Batch{Seq: 7, Records: records}, eventlog.Position{}, nil)
	asked := ""
	taken := s.takeBatch(b, func(encoded []byte) bool {
		if !s.mu.TryLock() {
			t.Fatal("the filter is asked with mu held")
		}
		s.mu.Unlock()
		asked += string(encoded)
		return string(encoded) != "c"
	})
	if !taken || asked != "bcd" || len(s.queue) != 2 || s.considered != 3 || s.next != b.end() {
		t.Errorf("taken: %v, asked about %q, %d queued, %d considered, next %v", taken, asked, len(s.queue), s.considered, s.next)
	}
}
