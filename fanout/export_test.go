package fanout

// Interests is how many filters the hub's index holds.
func (h *Hub) Interests() int { return h.index.Len() }
