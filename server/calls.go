package server

import (
	"context"
	"sync"

	"google.golang.org/grpc"
)

// calls counts the calls whose handlers run.
type calls struct {
	mu   sync.Mutex
	n    int           // guarded by mu
	idle chan struct{} // closed when n becomes 0; nil while nobody waits; guarded by mu
}

func (c *calls) enter() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

func (c *calls) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n--
	if c.n == 0 && c.idle != nil {
		close(c.idle)
		c.idle = nil
	}
}

// ended is closed once no handler runs. Only one may wait.
func (c *calls) ended() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	idle := make(chan struct{})
	if c.n == 0 {
		close(idle)
	} else {
		c.idle = idle
	}
	return idle
}

func (c *calls) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	c.enter()
	defer c.leave()
	return handler(ctx, req)
}

func (c *calls) stream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	c.enter()
	defer c.leave()
	return handler(srv, stream)
}
