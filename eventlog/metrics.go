package eventlog

import (
	"time"

	"github.com/keytrail/keytrail/internal/meter"
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	bytes, maxBytes, messages prometheus.Gauge
	nearlyFull                prometheus.Gauge
	refusing                  prometheus.GaugeFunc
	recentIDs, recentWindow   prometheus.GaugeFunc
	delay                     prometheus.GaugeFunc
	records, written          prometheus.Counter
	batches                   prometheus.Counter
	seconds, commits          prometheus.Histogram
}

func newMetrics(l *Log) *metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "keytrail_log_" + name, Help: help})
	}
	gaugeFunc := func(name, help string, f func() float64) prometheus.GaugeFunc {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "keytrail_log_" + name, Help: help}, f)
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "keytrail_log_" + name, Help: help})
	}
	return &metrics{
		bytes:      gauge("bytes", "Bytes that the log holds."),
		maxBytes:   gauge("max_bytes", "Bytes at which the log refuses records; 0: no limit."),
		nearlyFull: gauge("nearly_full", "1 when the log holds 80 % or more of what it may: give it room or trim it."),
		messages:   gauge("messages", "Messages that the log holds, each a batch of records."),
		refusing: gaugeFunc("refusing", "1 while the log refuses records because it or its disk is full.", func() float64 {
			if l.refusing.Load() != nil {
				return 1
			}
			return 0
		}),
		recentIDs: gaugeFunc("recent_event_ids", "Event IDs that the log remembers, to store each once.", func() float64 {
			n, _ := l.recent.size(time.Now())
			return float64(n)
		}),
		recentWindow: gaugeFunc("recent_window_seconds", "For how long back the log remembers every event ID: what is published again within it is not stored again.", func() float64 {
			_, w := l.recent.size(time.Now())
			return w.Seconds()
		}),
		delay: gaugeFunc("delay_seconds", "How long a record takes into the log at present; producers get less credit while it is long.", func() float64 {
			return l.Delay().Seconds()
		}),
		records: counter("records_total", "Records sent to JetStream by this bus."),
		written: counter("record_bytes_total", "Encoded bytes of the records sent to JetStream by this bus."),
		batches: counter("batches_total", "Messages sent to JetStream by this bus."),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "keytrail_log_window_seconds",
			Help:    "Time from the begin of a window until its records are stored, and synced if the log does that.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15),
		}),
		commits: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "keytrail_log_sync_seconds",
			Help:    "Time that a sync of the log took; a window waits for one.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}),
	}
}

func (m *metrics) all() meter.Set {
	return meter.Set{m.bytes, m.maxBytes, m.messages, m.nearlyFull, m.refusing, m.recentIDs, m.recentWindow, m.delay, m.records, m.written, m.batches, m.seconds, m.commits}
}

func (m *metrics) observe(info *Info) {
	m.bytes.Set(float64(info.Bytes))
	m.maxBytes.Set(float64(info.MaxBytes))
	m.messages.Set(float64(info.Messages))
	m.nearlyFull.Set(0)
	if info.nearlyFull() {
		m.nearlyFull.Set(1)
	}
}

func (m *metrics) window(w *window, now time.Time) {
	m.records.Add(float64(w.records))
	m.written.Add(float64(w.bytes))
	m.batches.Add(float64(len(w.messages)))
	m.seconds.Observe(now.Sub(w.started).Seconds())
}
