package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	grpcprom "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"github.com/keytrail/keytrail/eventlog"
	"github.com/keytrail/keytrail/fanout"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
)

// Limits of requests; the contract names them.
const (
	MaxItems        = 1000
	MaxRequestBytes = 4 << 20

	// maxStreams is how many calls one connection may have open.
	maxStreams = 10_000
)

// Config describes a bus. A zero field takes the default in its comment.
type Config struct {
	// Log and Hub configure the parts. Their Logger and Registerer are set by
	// [Start].
	Log eventlog.Config
	Hub fanout.Config

	// GRPC is where the services listen. Required. The server closes it.
	GRPC net.Listener

	// HTTP is where /metrics, /livez and /readyz are. Default: nowhere. The
	// server closes it.
	HTTP net.Listener

	// Profiling adds /debug/pprof to HTTP.
	Profiling bool

	// AllSources takes records of other services than KMS.
	AllSources bool

	// Recorder tunes what is recorded of calls.
	Recorder record.RecorderConfig

	// Logger. Default: [slog.Default].
	Logger *slog.Logger

	// Registry takes the metrics. Default: one of its own.
	Registry *prometheus.Registry
}

// Server is a running bus.
type Server struct {
	log    *eventlog.Log
	hub    *fanout.Hub
	ingest *ingest
	subs   *subscribe
	tries  *filters
	grpc   *grpc.Server
	calls  calls
	health *health.Server
	http   *http.Server // nil without Config.HTTP
	logger *slog.Logger

	serving sync.WaitGroup
	failed  chan error // a slot for each cause: why the server can't go on

	draining  chan struct{} // closed when Drain begins
	drainOnce sync.Once
}

// Start opens the log and serves. On an error nothing is left running, and the
// listeners are closed.
func Start(ctx context.Context, cfg Config) (_ *Server, err error) {
	defer func() {
		if err == nil {
			return
		}
		for _, l := range []net.Listener{cfg.GRPC, cfg.HTTP} {
			if l != nil {
				l.Close()
			}
		}
	}()
	if cfg.GRPC == nil {
		return nil, errors.New("no gRPC listener")
	}
	recorder, err := record.NewRecorder(cfg.Recorder)
	if err != nil {
		return nil, err
	}
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	if cfg.Registry == nil {
		cfg.Registry = prometheus.NewRegistry()
	}
	cfg.Log.Logger, cfg.Log.Registerer = cfg.Logger, cfg.Registry
	cfg.Hub.Logger, cfg.Hub.Registerer = cfg.Logger, cfg.Registry

	s := &Server{logger: cfg.Logger, failed: make(chan error, 3), draining: make(chan struct{})}
	if s.log, err = eventlog.Open(ctx, cfg.Log); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.log.Close()
		}
	}()
	if s.hub, err = fanout.New(ctx, s.log, cfg.Hub); err != nil {
		return nil, err
	}
	s.ingest = newIngest(s.log, record.Policy{AllSources: cfg.AllSources}, recorder, s.draining, cfg.Registry)
	s.grpc = newGRPC(cfg, &s.calls)
	keytrailv1.RegisterIngestServiceServer(s.grpc, s.ingest)
	s.subs = newSubscribe(s.log, s.hub, s.draining)
	keytrailv1.RegisterSubscribeServiceServer(s.grpc, s.subs)
	s.tries = newFilters(s.log, s.draining)
	keytrailv1.RegisterFilterServiceServer(s.grpc, s.tries)
	keytrailv1.RegisterLogServiceServer(s.grpc, &logService{log: s.log})
	s.health = health.NewServer()
	healthv1.RegisterHealthServer(s.grpc, s.health)
	for name := range s.grpc.GetServiceInfo() {
		s.health.SetServingStatus(name, healthv1.HealthCheckResponse_SERVING)
	}
	reflection.Register(s.grpc)

	s.serving.Go(func() {
		select {
		case <-s.log.Lost():
			s.failed <- s.log.Fault()
		case <-s.draining:
		}
	})
	s.serving.Go(func() {
		if err := s.grpc.Serve(cfg.GRPC); err != nil {
			s.failed <- fmt.Errorf("gRPC: %w", err)
		}
	})
	if cfg.HTTP != nil {
		s.http = &http.Server{Handler: s.httpHandler(cfg), ReadHeaderTimeout: 10 * time.Second}
		s.serving.Go(func() {
			if err := s.http.Serve(cfg.HTTP); !errors.Is(err, http.ErrServerClosed) {
				s.failed <- fmt.Errorf("HTTP: %w", err)
			}
		})
	}
	return s, nil
}

// Failed delivers why the server can't go on: a listener that stopped by itself, or a
// log that went back. Drain it then.
func (s *Server) Failed() <-chan error { return s.failed }

// Log is the server's log.
func (s *Server) Log() *eventlog.Log { return s.log }

// Drain ends the server: it takes nothing new, tells every stream its cursor,
// and waits for what is in flight, until ctx ends; then it cuts connections. It returns
// when everything is closed, with an error when it had to cut.
func (s *Server) Drain(ctx context.Context) error {
	var cut error
	s.drainOnce.Do(func() {
		s.health.Shutdown()
		close(s.draining)
		s.hub.Drain()
		cut = s.endCalls(ctx)
		s.ingest.receivers.Wait()
		s.subs.senders.Wait()
		s.tries.trials.Wait()
		s.hub.Close()
		s.log.Close()
		if s.http != nil {
			// Last, so that /readyz answers while the bus drains.
			s.http.Close()
		}
	})
	s.serving.Wait()
	return cut
}

// endCalls lets the calls end and ends the connections.
func (s *Server) endCalls(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.grpc.GracefulStop()
	}()
	select {
	case <-done:
		return nil
	case <-s.calls.ended():
		// What was sent is on its way. Who does not read it now gets it from its last
		// cursor, and must not hold up the others.
		select {
		case <-done:
			return nil
		case <-time.After(flushGrace):
		case <-ctx.Done():
		}
		s.grpc.Stop()
		<-done
		return nil
	case <-ctx.Done():
		s.grpc.Stop()
		<-done
		return errors.New("connections were cut: clients did not end their calls in time")
	}
}

// flushGrace is how long clients have to read what was sent when the last
// call has ended.
const flushGrace = 2 * time.Second

// Close is Drain without patience.
func (s *Server) Close() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Drain(ctx); err != nil {
		s.logger.Debug("closed at once", "error", err)
	}
}

func newGRPC(cfg Config, calls *calls) *grpc.Server {
	metrics := grpcprom.NewServerMetrics(grpcprom.WithServerHandlingTimeHistogram())
	cfg.Registry.MustRegister(metrics) // a registry of Start's own or the caller's, used once
	logger := logging.LoggerFunc(func(ctx context.Context, level logging.Level, msg string, fields ...any) {
		cfg.Logger.Log(ctx, slog.Level(level), msg, fields...)
	})
	logOptions := []logging.Option{
		logging.WithLogOnEvents(logging.FinishCall),
		logging.WithLevels(callLevel),
	}
	recoverOption := recovery.WithRecoveryHandlerContext(func(ctx context.Context, p any) error {
		cfg.Logger.ErrorContext(ctx, "a handler panicked", "panic", p, "stack", string(debug.Stack()))
		return status.Error(codes.Internal, "internal error; the bus has logged it")
	})
	return grpc.NewServer(
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(MaxRequestBytes),
		grpc.MaxConcurrentStreams(maxStreams),
		// A peer that is gone without a word is noticed, and its subscription freed, within 40 s.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(
			calls.unary,
			metrics.UnaryServerInterceptor(),
			logging.UnaryServerInterceptor(logger, logOptions...),
			recovery.UnaryServerInterceptor(recoverOption),
		),
		grpc.ChainStreamInterceptor(
			calls.stream,
			metrics.StreamServerInterceptor(),
			logging.StreamServerInterceptor(logger, logOptions...),
			recovery.StreamServerInterceptor(recoverOption),
		),
	)
}

// callLevel is how loud the end of a call is logged: what the client chose is
// quiet, what the operator must look at is not.
func callLevel(code codes.Code) logging.Level {
	switch code {
	case codes.OK, codes.Canceled, codes.DeadlineExceeded:
		return logging.LevelDebug
	case codes.Internal, codes.Unknown:
		return logging.LevelError
	case codes.Unavailable, codes.ResourceExhausted, codes.DataLoss:
		return logging.LevelWarn
	default:
		return logging.LevelInfo
	}
}
