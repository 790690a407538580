package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/keytrail/keytrail/client"
	"github.com/keytrail/keytrail/internal/sample"
	"google.golang.org/protobuf/proto"
)

// publishTarget is the least rate that the project holds itself to, in records
// a second.
const publishTarget = 20_000

type publishCmd struct {
	Records int  `help:"How many records (default ${default})." default:"240000"`
	Bytes   int  `help:"Encoded size of a record (default ${default})." default:"1024"`
	Keys    int  `help:"How many keys (default ${default})." default:"1000"`
	Uniform bool `help:"Use keys evenly, instead of by Zipf's law with exponent 1.1."`
	Alone   int  `help:"How many records to publish one at a time (default ${default})." default:"1000"`
}

func (c *publishCmd) Run(ctx context.Context, all *cli) (err error) {
	bus, err := startBus()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bus.done()) }()
	conn, err := client.New(bus.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	gen := sample.New(sample.Config{Seed: 1, Keys: c.Keys, Uniform: c.Uniform, Bytes: c.Bytes, Start: time.Now().UTC()})

	rate, err := c.full(ctx, conn, gen)
	if err != nil {
		return err
	}
	alone, err := c.alone(ctx, conn, gen)
	if err != nil {
		return err
	}
	busMemory, err := peakMemory(bus.cmd.Process.Pid)
	if err != nil {
		return err
	}
	ownMemory, err := peakMemory(os.Getpid())
	if err != nil {
		return err
	}
	const mib = 1 << 20
	return report(os.Stdout, []row{
		row{Name: "publish rate", Unit: "records/s", Ours: rate.perSecond()}.atLeast(publishTarget),
		{Name: "publish bytes", Unit: "MB/s", Ours: float64(rate.bytes) / rate.took.Seconds() / 1e6},
		{Name: "acknowledged p50, at full rate", Unit: "ms", Ours: rate.percentile(50)},
		{Name: "acknowledged p99, at full rate", Unit: "ms", Ours: rate.percentile(99)},
		{Name: "acknowledged p50, one at a time", Unit: "ms", Ours: alone.percentile(50)},
		{Name: "acknowledged p99, one at a time", Unit: "ms", Ours: alone.percentile(99)},
		{Name: "peak memory of the bus", Unit: "MiB", Ours: busMemory / mib},
		{Name: "peak memory of the producer", Unit: "MiB", Ours: ownMemory / mib},
	}, all.JSON)
}

// run is what one phase measured.
type run struct {
	took      time.Duration
	bytes     int
	latencies []time.Duration
}

func (r *run) perSecond() float64 { return float64(len(r.latencies)) / r.took.Seconds() }

// percentile is in milliseconds.
func (r *run) percentile(p int) float64 {
	if len(r.latencies) == 0 {
		return 0
	}
	slices.Sort(r.latencies)
	return r.latencies[min(len(r.latencies)-1, len(r.latencies)*p/100)].Seconds() * 1e3
}

// full publishes as fast as the bus takes it.
func (c *publishCmd) full(ctx context.Context, conn *client.Client, gen *sample.Generator) (*run, error) {
	pub, err := conn.NewPublisher(client.PublisherConfig{BatchRecords: 1000})
	if err != nil {
		return nil, err
	}
	out := &run{latencies: make([]time.Duration, 0, c.Records)}
	var failed error
	start := time.Now()
	for range c.Records {
		rec := gen.Next()
		out.bytes += proto.Size(rec)
		at := time.Now()
		// Callbacks come one at a time, and Close waits for the last.
		err := pub.PublishFunc(ctx, rec, func(x *client.Pending) {
			if res, err := x.Result(ctx); err != nil {
				failed = err
			} else if !x.Stored() && failed == nil {
				failed = fmt.Errorf("a record was not stored: %v", res)
			}
			out.latencies = append(out.latencies, time.Since(at))
		})
		if err != nil {
			return nil, errors.Join(err, pub.Close(ctx))
		}
	}
	err = pub.Close(ctx)
	out.took = time.Since(start)
	return out, errors.Join(err, failed)
}

// alone publishes one record after the other, each when the one before is
// acknowledged.
func (c *publishCmd) alone(ctx context.Context, conn *client.Client, gen *sample.Generator) (*run, error) {
	pub, err := conn.NewPublisher(client.PublisherConfig{})
	if err != nil {
		return nil, err
	}
	out := &run{}
	start := time.Now()
	for range c.Alone {
		rec := gen.Next()
		at := time.Now()
		x, err := pub.Publish(ctx, rec)
		if err != nil {
			return nil, errors.Join(err, pub.Close(ctx))
		}
		res, err := x.Result(ctx)
		if err == nil && !x.Stored() {
			err = fmt.Errorf("a record was not stored: %v", res)
		}
		if err != nil {
			return nil, errors.Join(err, pub.Close(ctx))
		}
		out.latencies = append(out.latencies, time.Since(at))
	}
	out.took = time.Since(start)
	return out, pub.Close(ctx)
}
