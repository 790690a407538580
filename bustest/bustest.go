// Package bustest gives a test a whole bus: in this process, over an in-memory
// connection, with a real log in a folder that goes away with the test.
package bustest

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/keytrail/keytrail/eventlog"
	"github.com/keytrail/keytrail/server"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
)

// Bus is a bus of a test. It ends with the test.
type Bus struct {
	// Server is the running server; Restart replaces it.
	Server *server.Server

	// Dir is its data folder.
	Dir string

	tb     testing.TB
	change []func(*server.Config)
	dial   chan *bufconn.Listener // holds the listener of the running server
}

// Start starts a bus. Each change is applied to its configuration, now and at each
// restart.
func Start(tb testing.TB, change ...func(*server.Config)) *Bus {
	tb.Helper()
	b := &Bus{tb: tb, Dir: tb.TempDir(), change: change, dial: make(chan *bufconn.Listener, 1)}
	b.start()
	tb.Cleanup(b.Stop)
	return b
}

func (b *Bus) start() {
	b.tb.Helper()
	lis := bufconn.Listen(1 << 20)
	cfg := server.Config{
		Log:    eventlog.Config{Dir: b.Dir, MaxBytes: 4 << 30, DiskReserve: 1},
		GRPC:   lis,
		Logger: slog.New(slog.NewTextHandler(b.tb.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	for _, f := range b.change {
		f(&cfg)
	}
	var err error
	if b.Server, err = server.Start(b.tb.Context(), cfg); err != nil {
		b.tb.Fatalf("starting a bus: %v", err)
	}
	b.dial <- lis
}

// Stop drains the bus, if it runs.
func (b *Bus) Stop() {
	b.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := b.Drain(ctx); err != nil {
		b.tb.Logf("stopping the bus: %v", err)
	}
}

// Drain stops the bus within a time, if it runs.
func (b *Bus) Drain(ctx context.Context) error {
	if b.Server == nil {
		return nil
	}
	<-b.dial
	srv := b.Server
	b.Server = nil
	return srv.Drain(ctx)
}

// Restart stops the bus and starts it again on the same data. Connections made
// by Dial find the new one.
func (b *Bus) Restart() {
	b.tb.Helper()
	b.Stop()
	b.start()
}

// Target is what a client dials, with the options of [Bus.DialOptions].
const Target = "passthrough:///bustest"

// DialOptions make a client find the bus, also after a restart.
func (b *Bus) DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			select {
			case lis := <-b.dial:
				b.dial <- lis
				return lis.DialContext(ctx)
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}),
	}
}

// Dial connects to the bus. The connection ends with the test.
func (b *Bus) Dial() *grpc.ClientConn {
	b.tb.Helper()
	conn, err := grpc.NewClient(Target, b.DialOptions()...)
	if err != nil {
		b.tb.Fatal(err)
	}
	b.tb.Cleanup(func() { conn.Close() })
	return conn
}
