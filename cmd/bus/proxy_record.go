package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/keytrail/keytrail/client"
	"github.com/keytrail/keytrail/client/spool"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	defaultSpoolBytes = 1 << 30
	leastSpoolBytes   = 1 << 20

	// asidePart is the part of the spool's bound that is for spooled calls which
	// the bus refuses. They are kept, in a folder of their own.
	asidePart = 16
	asideName = "refused"
)

// recording is what becomes of calls. It is the sink of the handler.
type recording struct {
	conn      *client.Client
	publisher *client.Publisher
	take      func(context.Context, *keytrailv1.Call) (spooled bool, err error)

	// Only to fail open.
	sink     *spool.FailOpen
	spool    *spool.Spool
	aside    *spool.Spool
	maxBytes int64
	recorder *record.Recorder

	calls   *prometheus.CounterVec
	seconds prometheus.Histogram
}

// The results of a call, as the metrics have them.
const (
	resultRecorded   = "recorded"
	resultSpooled    = "spooled"
	resultRefused    = "refused"
	resultUnrecorded = "unrecorded"
)

// newRecording opens what is needed to record at the bus. dir is the folder of
// the spool; without it, the proxy fails closed.
func newRecording(bus, dir string, maxBytes int64, logger *slog.Logger, registry prometheus.Registerer) (_ *recording, err error) {
	r := &recording{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keytrail_proxy_calls_total",
			Help: "Calls that the KMS answered, by what became of them: recorded; spooled; refused by the bus; unrecorded. The answer of the last two was withheld.",
		}, []string{"result"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "keytrail_proxy_record_seconds",
			Help:    "How long it took to record or spool a call: what the proxy adds to it.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 16), // to 8 s
		}),
	}
	for _, result := range []string{resultRecorded, resultSpooled, resultRefused, resultUnrecorded} {
		r.calls.WithLabelValues(result) // so that each is there from the start
	}
	registry.MustRegister(r.calls, r.seconds)
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close(context.Background()))
		}
	}()
	if r.conn, err = client.New(bus); err != nil {
		return nil, fmt.Errorf("--bus %s: %w", bus, err)
	}
	cfg := client.PublisherConfig{
		// A call that was refused has been done all the same: it is recorded as
		// soon as the bus is back, as many as there is memory for.
		RetryFor: -1,
		OnState: func(s client.State, err error) {
			if err != nil {
				logger.Warn("the bus is away or refuses", "bus", bus, "error", plain(err))
			} else {
				logger.Info("the bus answers", "bus", bus, "state", s)
			}
		},
	}
	if dir != "" {
		cfg.RetryFor = spool.DefaultWait // then it is in the spool, which tries again
	}
	if r.publisher, err = r.conn.NewPublisher(cfg); err != nil {
		return nil, err
	}
	publish := spool.Via(r.publisher.PublishCall)
	if dir == "" {
		closed := spool.FailClosed{Publish: publish}
		r.take = func(ctx context.Context, c *keytrailv1.Call) (bool, error) { return false, closed.Record(ctx, c) }
		return r, nil
	}
	return r, r.openSpool(dir, maxBytes, publish, logger, registry)
}

func (r *recording) openSpool(dir string, maxBytes int64, publish spool.Publish, logger *slog.Logger, registry prometheus.Registerer) (err error) {
	if r.recorder, err = record.NewRecorder(record.RecorderConfig{}); err != nil {
		return err
	}
	aside := maxBytes / asidePart
	r.maxBytes = maxBytes - aside
	open := func(dir string, limit int64) (*spool.Spool, error) {
		s, err := spool.Open(dir, spool.Config{Redact: record.Redact, MaxBytes: limit, Logger: logger})
		if errors.Is(err, spool.ErrInUse) {
			return nil, fmt.Errorf("--spool %s is in use, perhaps by another proxy: stop that one, or choose another folder", dir)
		}
		return s, err
	}
	if r.spool, err = open(dir, r.maxBytes); err != nil {
		return err
	}
	if r.aside, err = open(filepath.Join(dir, asideName), aside); err != nil {
		return err
	}
	r.sink, err = spool.NewFailOpen(spool.FailOpenConfig{Publish: publish, Spool: r.spool, Refused: r.aside, Logger: logger})
	if err != nil {
		return err
	}
	r.take = r.sink.RecordOrSpool
	gauge := func(name, help string, of func() float64) {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, of))
	}
	gauge("keytrail_proxy_spool_calls", "Calls in the spool, not yet with the bus.", func() float64 { return float64(r.spool.Len()) })
	gauge("keytrail_proxy_spool_bytes", "Size of the spool.", func() float64 { return float64(r.spool.Bytes()) })
	gauge("keytrail_proxy_spool_limit_bytes", "Size at which the spool is full, and answers are withheld.", func() float64 { return float64(r.maxBytes) })
	gauge("keytrail_proxy_spool_refused_calls", "Spooled calls that the bus refused, kept apart.", func() float64 { return float64(r.aside.Len()) })
	return nil
}

// Record takes a call of the handler.
func (r *recording) Record(ctx context.Context, c *keytrailv1.Call) error {
	start := time.Now()
	spooled, err := r.record(ctx, c)
	r.seconds.Observe(time.Since(start).Seconds())
	result := resultRecorded
	var refused *spool.RefusedError
	switch {
	case errors.As(err, &refused):
		result = resultRefused
	case err != nil:
		result = resultUnrecorded
	case spooled:
		result = resultSpooled
	}
	r.calls.WithLabelValues(result).Inc()
	return err
}

func (r *recording) record(ctx context.Context, c *keytrailv1.Call) (spooled bool, err error) {
	if r.recorder != nil {
		// A call that the bus will refuse must not be answered because it can be
		// spooled.
		if _, p := r.recorder.Record(c); p != nil {
			return false, &spool.RefusedError{
				Status:    keytrailv1.PublishStatus_PUBLISH_STATUS_REJECTED,
				Rejection: &keytrailv1.Rejection{Code: p.Code, Field: p.Field, Message: p.Message},
			}
		}
	}
	return r.take(ctx, c)
}

// ready says why the proxy should get no calls.
func (r *recording) ready(ctx context.Context) error {
	if r.spool != nil {
		if r.spool.Bytes() >= r.maxBytes-spool.MaxCallBytes {
			return errors.New("the spool is full")
		}
		return nil
	}
	if err := answers(ctx, r.conn, time.Second); err != nil {
		return fmt.Errorf("the bus is away: %s", plain(err))
	}
	return nil
}

// close ends all that was opened: first what uses the rest. Calls that have no
// result when ctx ends are given up; those in the spool stay there.
func (r *recording) close(ctx context.Context) error {
	var errs []error
	if r.sink != nil {
		r.sink.Close()
	}
	if r.publisher != nil {
		errs = append(errs, r.publisher.Close(ctx))
	}
	for _, s := range []*spool.Spool{r.spool, r.aside} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	if r.conn != nil {
		errs = append(errs, r.conn.Close())
	}
	return errors.Join(errs...)
}
