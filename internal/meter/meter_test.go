package meter_test

import (
	"testing"

	"github.com/keytrail/keytrail/internal/meter"
	"github.com/prometheus/client_golang/prometheus"
)

func TestSet(t *testing.T) {
	gauge := func(name string) prometheus.Collector {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name})
	}
	reg := prometheus.NewRegistry()
	count := func() int {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		return len(families)
	}
	first := meter.Set{gauge("a"), gauge("b")}
	if err := first.Register(reg); err != nil || count() != 2 {
		t.Fatalf("registering two: %v, %d are there", err, count())
	}
	if err := (meter.Set{gauge("c"), gauge("b")}).Register(reg); err == nil || count() != 2 {
		t.Errorf("registering one that is there: %v, %d are there, want an error and 2", err, count())
	}
	first.Unregister(reg)
	if err := first.Register(reg); err != nil || count() != 2 {
		t.Errorf("registering again: %v, %d are there", err, count())
	}
	if err := first.Register(nil); err != nil {
		t.Error(err)
	}
	first.Unregister(nil)
}
