package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keytrail/keytrail/client"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/internal/when"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// busFlag says where the bus is.
type busFlag struct {
	Bus string `help:"Address of the bus (default ${default})." default:"127.0.0.1:9440" placeholder:"ADDR"`
}

// patience is how long a command waits for a bus to answer at all.
const patience = 5 * time.Second

// dial connects to the bus and makes sure that one is there.
func (f *busFlag) dial(ctx context.Context) (*client.Client, error) {
	c, err := client.New(f.Bus)
	if err != nil {
		return nil, fmt.Errorf("--bus %s: %w", f.Bus, err)
	}
	if err := answers(ctx, c, patience); err != nil {
		return nil, errors.Join(f.explain(err), c.Close())
	}
	return c, nil
}

// answers says within timeout whether a bus is there that takes records.
func answers(ctx context.Context, c *client.Client, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, err := healthv1.NewHealthClient(c.Conn()).Check(ctx, &healthv1.HealthCheckRequest{Service: keytrailv1.IngestService_ServiceDesc.ServiceName})
	return err
}

// explain turns a status into a line for people.
func (f *busFlag) explain(err error) error {
	st, ok := status.FromError(err)
	switch {
	case !ok:
		return err
	case (st.Code() == codes.Unavailable || st.Code() == codes.DeadlineExceeded) && len(st.Details()) == 0: // a bus gives details
		return fmt.Errorf("no bus answers at %s (%s): start one with `bus serve`, or say where it is with --bus", f.Bus, st.Message())
	case st.Code() == codes.Unimplemented || st.Code() == codes.NotFound:
		return fmt.Errorf("what answers at %s is not a Keytrail bus, or an older one (%s)", f.Bus, st.Message())
	}
	return fmt.Errorf("the bus at %s answered: %s (%v)", f.Bus, st.Message(), st.Code())
}

// plain is an error without the words that gRPC puts around a status.
func plain(err error) string {
	var st interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &st) {
		return err.Error()
	}
	if errors.Is(err, client.ErrGaveUp) {
		return "gave up: " + st.GRPCStatus().Message()
	}
	return st.GRPCStatus().Message()
}

type logCmd struct {
	Info logInfoCmd `cmd:"" help:"Show what the log holds."`
	Trim logTrimCmd `cmd:"" help:"Remove the oldest records. It can't be undone."`
}

type logInfoCmd struct{ busFlag }

func (c *logInfoCmd) Run(ctx context.Context, p *program) error {
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	info, err := keytrailv1.NewLogServiceClient(conn.Conn()).DescribeLog(ctx, &keytrailv1.DescribeLogRequest{})
	if err != nil {
		return c.explain(err)
	}
	row := func(name, f string, args ...any) {
		fmt.Fprintf(p.stdout, "%-12s %s\n", name, fmt.Sprintf(f, args...))
	}
	row("location", "%s", info.GetLocation())
	row("incarnation", "%s", info.GetIncarnation())
	row("batches", "%d", info.GetMessages())
	if limit := info.GetMaxBytes(); limit > 0 {
		row("size", "%s of %s (%.1f %%)", bytesText(info.GetBytes()), bytesText(limit), 100*float64(info.GetBytes())/float64(limit))
	} else {
		row("size", "%s, no limit", bytesText(info.GetBytes()))
	}
	row("kept for", "%s", ageText(info.GetMaxAge().AsDuration()))
	row("durability", "%s, %d replica(s)", info.GetDurability(), info.GetReplicas())
	if t := info.GetEarliestTime(); t != nil {
		row("earliest", "%s  %s", t.AsTime().Format(time.RFC3339), info.GetEarliestCursor())
		row("latest", "%s  %s", info.GetLatestTime().AsTime().Format(time.RFC3339), info.GetLatestCursor())
	} else {
		row("earliest", "none  %s", info.GetEarliestCursor())
	}
	if why := info.GetRefusing(); why != "" {
		row("REFUSING", "%s", why)
	}
	return nil
}

type logTrimCmd struct {
	busFlag
	Before string `help:"Remove what was stored before this time: RFC 3339, a date, or an age such as 30d." required:"" placeholder:"TIME"`
}

func (c *logTrimCmd) Run(ctx context.Context, p *program) error {
	before, err := when.Time(c.Before, time.Now())
	if err != nil {
		return fmt.Errorf("--before: %w", err)
	}
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	res, err := keytrailv1.NewLogServiceClient(conn.Conn()).TrimLog(ctx, &keytrailv1.TrimLogRequest{StoredBefore: timestamppb.New(before)})
	if err != nil {
		return c.explain(err)
	}
	_, err = fmt.Fprintf(p.stdout, "trimmed before %s: %d batches, %s; the log now starts at %s\n",
		before.UTC().Format(time.RFC3339), res.GetRemovedMessages(), bytesText(res.GetRemovedBytes()), res.GetEarliestCursor())
	return err
}
