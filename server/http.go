package server

import (
	"fmt"
	"net/http"
	"net/http/pprof"

	"github.com/keytrail/keytrail/eventlog"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// httpHandler serves what operators and their tools look at.
func (s *Server) httpHandler(cfg Config) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(cfg.Registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := s.ready(); err != nil {
			http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	if cfg.Profiling {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// ready says why the bus should get no traffic.
func (s *Server) ready() error {
	select {
	case <-s.draining:
		return errDraining
	default:
		return s.log.Ready()
	}
}

func describe(log *eventlog.Log, info *eventlog.Info) *keytrailv1.DescribeLogResponse {
	out := &keytrailv1.DescribeLogResponse{
		Incarnation:    log.Incarnation().String(),
		Location:       info.Location,
		Messages:       info.Messages,
		Bytes:          info.Bytes,
		MaxBytes:       info.MaxBytes,
		MaxAge:         durationpb.New(info.MaxAge),
		Replicas:       uint32(info.Replicas),
		Durability:     info.Durability.String(),
		EarliestCursor: log.Cursor(info.First),
		LatestCursor:   log.Cursor(info.Head),
		Refusing:       info.Refusing,
	}
	if !info.FirstTime.IsZero() {
		out.EarliestTime, out.LatestTime = timestamppb.New(info.FirstTime), timestamppb.New(info.LastTime)
	}
	return out
}
