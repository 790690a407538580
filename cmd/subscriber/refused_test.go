package main

import (
	"errors"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// refusing is a bus whose log is away.
type refusing struct {
	keytrailv1.UnimplementedSubscribeServiceServer
}

func (refusing) Subscribe(*keytrailv1.SubscribeRequest, grpc.ServerStreamingServer[keytrailv1.SubscribeResponse]) error {
	return status.Error(codes.Unavailable, "the log is away")
}

// TestRefusedIsSaid: a bus that answers and begins no stream is not met with
// silence.
func TestRefusedIsSaid(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	keytrailv1.RegisterSubscribeServiceServer(srv, refusing{})
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := srv.Serve(lis); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("serve: %v", err)
		}
	}()
	defer func() { srv.Stop(); <-served }()
	r := startProgram(t, []string{"tail", "--bus", lis.Addr().String()}, func(p *program) { p.GiveUpAfter = 500 * time.Millisecond })
	r.err.waitText(t, "does not begin the stream (the log is away)")
}
