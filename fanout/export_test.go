package fanout

// Interests is how many filters the hub's index holds.
func (h *Hub) Interests() int { return h.index.Len() }

// Behind reports whether s has to catch up.
func (s *Subscription) Behind() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.behind
}
