package server

import (
	"testing"

	"google.golang.org/grpc"
)

// sink is a stream that keeps what is sent.
type sink struct {
	grpc.ServerStream
	sent []any
}

func (s *sink) SendMsg(m any) error {
	s.sent = append(s.sent, m)
	return nil
}

// TestOutlet: nothing follows the last message, not even the refusal of a
// filter.
func TestOutlet(t *testing.T) {
	s := new(sink)
	o := &outlet{stream: s}
	for i, last := range []bool{false, false, true, false, true} {
		if err := o.send(i, last); err != nil {
			t.Error(err)
		}
	}
	if len(s.sent) != 3 {
		t.Errorf("sent %v, want 0 to 2", s.sent)
	}
}
