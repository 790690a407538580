package client

import (
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

const (
	// maxReceiveBytes is the largest message that a client takes from a bus.
	maxReceiveBytes = 16 << 20

	// A connection that carries a stream is probed after it was silent for
	// keepaliveTime, and given up when keepaliveTimeout passes without an
	// answer. Idle subscriptions hear a checkpoint more often than that.
	keepaliveTime    = 30 * time.Second
	keepaliveTimeout = 10 * time.Second
)

// Client is one connection to a bus. Publishers and subscriptions share it.
// Its methods may be called at the same time.
type Client struct {
	conn *grpc.ClientConn
}

// New makes a client of the bus at target, such as "localhost:7443" or any
// other target that gRPC resolves. It connects when it is first used, and
// again whenever the connection is lost.
//
// Without options the connection is not encrypted, which is meant for a bus on
// the same machine: pass [grpc.WithTransportCredentials] for any other. Options
// are applied after the client's own, so each of them may be replaced.
func New(target string, opts ...grpc.DialOption) (*Client, error) {
	own := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUserAgent(userAgent()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReceiveBytes)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		// gRPC's own waits between connection attempts grow to two minutes.
		// Streams back off by themselves, so the connection need not.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           grpcbackoff.Config{BaseDelay: minBackoff, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxBackoff / 2},
			MinConnectTimeout: 10 * time.Second,
		}),
	}
	conn, err := grpc.NewClient(target, append(own, opts...)...)
	if err != nil {
		return nil, err
	}
	return &Client{conn: conn}, nil
}

// Conn is the connection, for the services that this package does not wrap,
// such as keytrailv1.NewLogServiceClient.
func (c *Client) Conn() *grpc.ClientConn { return c.conn }

// Close closes the connection. Close the publishers and subscriptions first:
// what they have not finished fails.
func (c *Client) Close() error { return c.conn.Close() }

const modulePath = "github.com/keytrail/keytrail"

// userAgent is "keytrail-go/" and the version of this module in the program.
var userAgent = sync.OnceValue(func() string {
	version := "devel"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range append(info.Deps, &info.Main) {
			if m.Path == modulePath && m.Version != "" {
				version = strings.Trim(m.Version, "()")
			}
		}
	}
	return "keytrail-go/" + version
})
