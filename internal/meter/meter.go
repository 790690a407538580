// Package meter registers the metrics of a part that may be opened and closed
// more than once in a process.
package meter

import "github.com/prometheus/client_golang/prometheus"

// Set is the metrics of one part.
type Set []prometheus.Collector

// Register registers all of the set, or none. A nil registerer takes nothing.
func (s Set) Register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	for i, c := range s {
		if err := r.Register(c); err != nil {
			s[:i].Unregister(r)
			return err
		}
	}
	return nil
}

// Unregister takes the set back.
func (s Set) Unregister(r prometheus.Registerer) {
	if r == nil {
		return
	}
	for _, c := range s {
		r.Unregister(c)
	}
}
