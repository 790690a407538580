package client

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/internal/sample"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// benchBus in the environment makes the test program a bus for benchmarks.
const benchBus = "KEYTRAIL_CLIENT_BENCH_BUS"

// BenchmarkPublisher publishes records of 1 KiB over TCP to another process
// that answers everything at once, so that what is measured is the publisher:
// "client-µs/record" is all the CPU time of this process.
func BenchmarkPublisher(b *testing.B) {
	addr := startBenchBus(b)
	c, err := New(addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	gen := sample.New(sample.Config{Bytes: 1024})
	recs := make([]*keytrailv1.Record, 1000)
	for i := range recs {
		recs[i] = gen.Next()
	}
	for _, variant := range []string{"Publish", "PublishFunc"} {
		b.Run(variant, func(b *testing.B) {
			p, err := c.NewPublisher(PublisherConfig{})
			if err != nil {
				b.Fatal(err)
			}
			stored := 0
			count := func(x *Pending) {
				if x.Stored() {
					stored++
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			cpu := cpuTime(b)
			for i := range b.N {
				rec := recs[i%len(recs)]
				if variant == "Publish" {
					_, err = p.Publish(b.Context(), rec)
				} else {
					err = p.PublishFunc(b.Context(), rec, count)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			if err := p.Close(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64((cpuTime(b)-cpu).Microseconds())/float64(b.N), "client-µs/record")
			if variant == "PublishFunc" && stored != b.N {
				b.Errorf("%d of %d stored", stored, b.N)
			}
		})
	}
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// startBenchBus runs this program as a bus and returns its address.
func startBenchBus(b *testing.B) string {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), benchBus+"=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe() // it lives as long as this is open
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	})
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(addr)
}

// serveBench is the bus of startBenchBus: it walks over requests without
// decoding records.
func serveBench() error {
	lis, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		return err
	}
	srv := grpc.NewServer(grpc.MaxRecvMsgSize(maxRequestBytes), grpc.ForceServerCodecV2(walker{encoding.GetCodecV2("proto")}))
	keytrailv1.RegisterIngestServiceServer(srv, &benchIngest{})
	done := make(chan error)
	go func() { done <- srv.Serve(lis) }()
	fmt.Println(lis.Addr())
	io.Copy(io.Discard, os.Stdin) // until the parent is gone
	srv.Stop()
	return <-done
}

type benchIngest struct {
	keytrailv1.UnimplementedIngestServiceServer
}

func (*benchIngest) PublishStream(call grpc.BidiStreamingServer[keytrailv1.PublishStreamRequest, keytrailv1.PublishStreamResponse]) error {
	if err := call.Send(creditOf(amount{10_000, 16 << 20})); err != nil {
		return err
	}
	result := &keytrailv1.PublishResult{
		Status:   keytrailv1.PublishStatus_PUBLISH_STATUS_SYNCED,
		Cursor:   "kt1td-0-B13LuYBAQ",
		EventIds: []string{"a2de6122-bd76-4b55-abb8-fb717abd61f4"},
	}
	for {
		var req walked
		err := call.RecvMsg(&req)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		results := &keytrailv1.PublishResults{Number: req.number}
		for range req.size.records {
			results.Results = append(results.Results, result)
		}
		err = call.Send(&keytrailv1.PublishStreamResponse{Event: &keytrailv1.PublishStreamResponse_Results{Results: results}})
		if err == nil {
			err = call.Send(creditOf(req.size))
		}
		if err != nil {
			return err
		}
	}
}

// walked is what the bus of benchmarks looks at in a request.
type walked struct {
	number uint64
	size   amount
}

type walker struct{ encoding.CodecV2 }

func (w walker) Unmarshal(data mem.BufferSlice, v any) error {
	req, ok := v.(*walked)
	if !ok {
		return w.CodecV2.Unmarshal(data, v)
	}
	buf := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buf.Free()
	b := buf.ReadOnlyData()
	req.size.bytes = uint64(len(b))
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if field == numberField {
			req.number, n = protowire.ConsumeVarint(b)
		} else {
			n = protowire.ConsumeFieldValue(field, kind, b)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		if field == itemsField {
			req.size.records++
		}
		b = b[n:]
	}
	return nil
}
