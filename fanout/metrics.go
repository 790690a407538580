package fanout

import (
	"github.com/keytrail/keytrail/internal/meter"
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	records, delivered, fellBehind, gaps, changes prometheus.Counter
	subscriptions, behind, head                   prometheus.GaugeFunc
}

func newMetrics(h *Hub) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "keytrail_hub_" + name, Help: help})
	}
	gauge := func(name, help string, f func() float64) prometheus.GaugeFunc {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "keytrail_hub_" + name, Help: help}, func() float64 {
			h.mu.Lock()
			defer h.mu.Unlock()
			return f()
		})
	}
	return &metrics{
		records:    counter("records_total", "Records that the hub has read from the log."),
		delivered:  counter("delivered_total", "Records handed to subscriptions."),
		fellBehind: counter("fell_behind_total", "How often a subscription's queue was full, so that it went on from memory or the log."),
		gaps:       counter("gaps_total", "Ranges of the log that could not be delivered, counted for each reader that met one."),
		changes:    counter("filter_changes_total", "Changes of a subscription's filter that took effect."),
		subscriptions: gauge("subscriptions", "Open subscriptions.", func() float64 {
			return float64(len(h.subs))
		}),
		behind: gauge("subscriptions_behind", "Open subscriptions that are catching up.", func() float64 {
			n := 0
			for s := range h.subs {
				s.mu.Lock()
				if s.behind {
					n++
				}
				s.mu.Unlock()
			}
			return float64(n)
		}),
		head: gauge("head_sequence", "Sequence in the log up to which the hub has read.", func() float64 {
			return float64(h.head.Seq - 1)
		}),
	}
}

func (m *metrics) all() meter.Set {
	return meter.Set{m.records, m.delivered, m.fellBehind, m.gaps, m.changes, m.subscriptions, m.behind, m.head}
}
