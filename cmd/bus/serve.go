package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/keytrail/keytrail/eventlog"
	"github.com/keytrail/keytrail/record"
	"github.com/keytrail/keytrail/server"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sys/unix"
)

// serveFlags configure a bus.
type serveFlags struct {
	Data       string `help:"Folder of the log, when NATS is embedded. Default: keytrail-data." placeholder:"DIR" type:"path"`
	GRPCListen string `name:"grpc-listen" help:"Address of the gRPC services (default ${default})." default:"127.0.0.1:9440" placeholder:"ADDR"`
	HTTPListen string `name:"http-listen" help:"Address of /metrics, /livez and /readyz; 'off' for none (default ${default})." default:"127.0.0.1:9441" placeholder:"ADDR"`
	NATSListen string `name:"nats-listen" help:"Loopback address at which NATS clients may subscribe to the embedded server." placeholder:"ADDR"`

	NATSURL      string `name:"nats-url" help:"NATS server or cluster that holds the log, instead of the embedded one." placeholder:"URL"`
	NATSCreds    string `name:"nats-creds" help:"NATS credentials file for --nats-url." type:"path" placeholder:"FILE"`
	NATSStream   string `name:"nats-stream" help:"Name of the log's stream (default ${default})." default:"KEYTRAIL" placeholder:"NAME"`
	NATSReplicas int    `name:"nats-replicas" help:"Copies of each record, when the stream is made at --nats-url. 3 or more: records are REPLICATED when acknowledged (default ${default})." default:"1" placeholder:"N"`

	NATSSynced bool `name:"nats-synced" help:"The servers at --nats-url sync each message before they acknowledge it (sync_interval: always): records are SYNCED when acknowledged."`

	LogUnsynced bool `name:"log-unsynced" help:"Acknowledge records before they are synced to the disk of --data: STORED instead of SYNCED."`

	LogMaxAge    days    `name:"log-max-age" help:"How long records are kept. Default: 90d for a new log, and what it was for one that exists." placeholder:"AGE"`
	LogMaxBytes  size    `name:"log-max-bytes" help:"Size at which the log refuses records. Default: --log-disk-share of the disk." placeholder:"SIZE"`
	LogDiskShare float64 `name:"log-disk-share" help:"Part of the disk, free space and the log's own, that the log may fill (default ${default})." default:"0.75" placeholder:"PART"`

	LogDiskReserve size `name:"log-disk-reserve" help:"Free space that the log leaves on its disk. Default: 512MiB, or 5 % of a disk that is small." placeholder:"SIZE"`

	CallEventVersion string   `name:"call-event-version" help:"The eventVersion of records that are made of calls (default ${default})." default:"1.11" placeholder:"VERSION"`
	CallOwnersView   string   `name:"call-owners-view" help:"What the owner of a key sees of a caller of another account: ${enum}. Reduced: account and principal ID, as CloudTrail shows (default ${default})." enum:"reduced,full" default:"reduced" placeholder:"VIEW"`
	CallTrimKeys     bool     `name:"call-trim-keys" help:"Leave the keys of third accounts out of the owners' copies of a ReEncrypt."`
	CallNotEnriched  []string `name:"call-not-enriched" help:"Operations whose responseElements.keyId is not filled in, of those for which CloudTrail's documentation has it." placeholder:"OPERATION"`

	AllSources bool `name:"all-sources" help:"Take records of services other than KMS."`
	Pprof      bool `help:"Serve /debug/pprof at --http-listen."`

	logFlags

	DrainTimeout time.Duration `name:"drain-timeout" help:"How long a stopping bus waits for its clients (default ${default})." default:"20s" placeholder:"DURATION"`
}

// logFlags say what a command that keeps running logs of itself.
type logFlags struct {
	LogLevel  string `name:"log-level" help:"What the command itself logs to standard error: ${enum} (default ${default})." enum:"debug,info,warn,error" default:"info" placeholder:"LEVEL"`
	LogFormat string `name:"log-format" help:"How: ${enum} (default ${default})." enum:"text,json" default:"text" placeholder:"FORMAT"`
}

func (f *logFlags) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.LogLevel)); err != nil {
		return nil, err
	}
	opt := &slog.HandlerOptions{Level: level}
	if f.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opt)), nil
	}
	return slog.New(slog.NewTextHandler(w, opt)), nil
}

// defaultData is where the log is when nothing else is said.
const defaultData = "keytrail-data"

func (f *serveFlags) config(logs io.Writer) (server.Config, error) {
	cfg := server.Config{
		Log: eventlog.Config{
			Dir:         f.Data,
			Listen:      f.NATSListen,
			URL:         f.NATSURL,
			Creds:       f.NATSCreds,
			Stream:      f.NATSStream,
			MaxAge:      time.Duration(f.LogMaxAge),
			MaxBytes:    int64(f.LogMaxBytes),
			DiskShare:   f.LogDiskShare,
			DiskReserve: int64(f.LogDiskReserve),
			Replicas:    f.NATSReplicas,
			Unsynced:    f.LogUnsynced,
			ServerSyncs: f.NATSSynced,
		},
		Profiling:  f.Pprof,
		AllSources: f.AllSources,
		Recorder: record.RecorderConfig{
			EventVersion: f.CallEventVersion,
			TrimKeys:     f.CallTrimKeys,
			NotEnriched:  f.CallNotEnriched,
		},
	}
	if f.CallOwnersView == "full" {
		cfg.Recorder.OwnersView = record.CallerFull
	}
	if _, err := record.NewRecorder(cfg.Recorder); err != nil {
		return cfg, fmt.Errorf("--call-event-version, --call-not-enriched: %w", err)
	}
	if f.Data == "" && f.NATSURL == "" {
		cfg.Log.Dir = defaultData
	}
	var err error
	if cfg.Logger, err = f.logger(logs); err != nil {
		return cfg, err
	}
	if f.DrainTimeout < 0 {
		return cfg, errors.New("--drain-timeout is negative")
	}
	return cfg, cfg.Log.Validate()
}

// listen opens the listeners of a bus.
func (f *serveFlags) listen(cfg *server.Config) (err error) {
	if cfg.GRPC, err = listen("grpc-listen", f.GRPCListen); err != nil {
		return err
	}
	if f.HTTPListen == "off" {
		return nil
	}
	if cfg.HTTP, err = listen("http-listen", f.HTTPListen); err != nil {
		return errors.Join(err, cfg.GRPC.Close())
	}
	return nil
}

func listen(flag, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return nil, fmt.Errorf("%s is in use, perhaps by another bus or proxy: stop that one, or choose another address with --%s", addr, flag)
	case err != nil:
		return nil, fmt.Errorf("%w: choose another address with --%s", err, flag)
	}
	return l, nil
}

type serveCmd struct{ serveFlags }

func (c *serveCmd) Run(ctx context.Context, p *program) error {
	cfg, err := c.config(p.stderr)
	if err != nil {
		return err
	}
	if err := c.listen(&cfg); err != nil {
		return err
	}
	cfg.Registry = prometheus.NewRegistry()
	cfg.Registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	grpcAddr, httpAddr := cfg.GRPC.Addr().String(), ""
	if cfg.HTTP != nil {
		httpAddr = cfg.HTTP.Addr().String()
	}
	srv, err := server.Start(ctx, cfg)
	if err != nil {
		return err
	}
	info, err := srv.Log().Info(ctx)
	if err == nil {
		banner(p.stdout, srv, info, grpcAddr, httpAddr)
	} else {
		cfg.Logger.Warn("serving, but the log does not say what it holds", "grpc", grpcAddr, "http", httpAddr, "error", err)
	}
	var failure error
	select {
	case <-ctx.Done():
	case failure = <-srv.Failed():
	}
	cfg.Logger.Info("draining; a second signal stops at once", "timeout", c.DrainTimeout)
	drainCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.DrainTimeout)
	defer cancel()
	if drainErr := srv.Drain(drainCtx); drainErr != nil {
		cfg.Logger.Warn("drained", "error", drainErr)
	}
	return failure
}

func banner(w io.Writer, srv *server.Server, info *eventlog.Info, grpcAddr, httpAddr string) {
	row := func(name, what, note string) { fmt.Fprintf(w, "  %-5s %-22s %s\n", name, what, note) }
	fmt.Fprintf(w, "Keytrail bus %s\n", version())
	row("gRPC", grpcAddr, "publish and subscribe")
	if httpAddr != "" {
		row("HTTP", httpAddr, "/metrics /livez /readyz")
	}
	if addr := srv.Log().NATSAddr(); addr != "" {
		row("NATS", addr, "subscribe to kms.>")
	}
	limit := "(no limit)"
	if info.MaxBytes > 0 {
		limit = "of " + bytesText(info.MaxBytes)
	}
	row("log", info.Location, fmt.Sprintf("holds %s %s; kept for %s; an acknowledged record is %v",
		bytesText(info.Bytes), limit, ageText(info.MaxAge), info.Durability))
	fmt.Fprintf(w, "\nPublish:  bus publish PATH…    Follow:  subscriber tail    Stop:  Ctrl-C\n")
}

func bytesText(n uint64) string {
	v, unit := float64(n), "B"
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if v < 1024 {
			break
		}
		v, unit = v/1024, u
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}

func ageText(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d == 0:
		return "ever"
	case d%day == 0:
		return fmt.Sprintf("%d days", d/day)
	}
	return d.String()
}

type checkCmd struct{ serveFlags }

// Run checks what can be checked without getting in the way of a bus that runs.
func (c *checkCmd) Run(p *program) error {
	cfg, err := c.config(p.stderr)
	if err != nil {
		return err
	}
	var errs []error
	for flag, addr := range map[string]string{"grpc-listen": c.GRPCListen, "http-listen": c.HTTPListen} {
		if flag == "http-listen" && addr == "off" {
			continue
		}
		if _, err := net.ResolveTCPAddr("tcp", addr); err != nil {
			errs = append(errs, fmt.Errorf("--%s %s: %w", flag, addr, err))
		}
	}
	if cfg.Log.Dir != "" {
		errs = append(errs, writable(cfg.Log.Dir))
	}
	if cfg.Log.Creds != "" {
		_, err := os.Stat(cfg.Log.Creds)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	where := cfg.Log.Dir
	if where == "" {
		where = "the NATS server"
	}
	_, err = fmt.Fprintf(p.stdout, "configuration ok: log in %s, gRPC at %s, HTTP at %s\n", where, c.GRPCListen, c.HTTPListen)
	return err
}

// writable says whether dir, or the nearest folder above it that exists, can be
// written to.
func writable(dir string) error {
	for {
		err := unix.Access(dir, unix.W_OK|unix.X_OK)
		if err == nil {
			return nil
		}
		parent := filepath.Dir(dir)
		if !errors.Is(err, unix.ENOENT) || parent == dir {
			return fmt.Errorf("data folder %s: %w: make it writable, or choose another with --data", dir, err)
		}
		dir = parent
	}
}
