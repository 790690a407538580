package eventlog

import (
	"sync"
	"time"
)

// pace knows how long windows take.
type pace struct {
	mu      sync.Mutex
	under   map[*window]struct{} // windows on their way; guarded by mu
	average time.Duration        // of those that are done, the newest weighing most; guarded by mu
}

// paceWeight is the share of the newest window in the average.
const paceWeight = 8 // one part of

func (p *pace) begin(w *window) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.under == nil {
		p.under = make(map[*window]struct{})
	}
	p.under[w] = struct{}{}
}

// end is for a window that is done, or of which nothing was sent.
func (p *pace) end(w *window, sent bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.under, w)
	if sent {
		p.average += (time.Since(w.started) - p.average) / paceWeight
	}
}

// Delay is how long a record takes into the log at present: what the last windows took, or longer when one that is on its way
// takes longer.
func (l *Log) Delay() time.Duration {
	p := &l.pace
	p.mu.Lock()
	defer p.mu.Unlock()
	delay := p.average
	for w := range p.under {
		delay = max(delay, time.Since(w.started))
	}
	return delay
}
