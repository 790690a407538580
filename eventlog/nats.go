package eventlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"golang.org/x/sys/unix"
)

// Errors of [Open], each wrapped with what to do.
var (
	// ErrInUse: another process has the data folder open.
	ErrInUse = errors.New("the data folder is in use by another bus")

	// ErrUnreachable: no NATS server answers.
	ErrUnreachable = errors.New("NATS is unreachable")
)

// storage is where the log's stream lives: a server in this process and its folder,
// or a connection to servers elsewhere.
type storage struct {
	conn   *nats.Conn
	server *server.Server // nil when external
	lock   *os.File       // nil when external
	disk   *disk          // nil when external
}

// connectTimeout bounds every step of opening the log.
const connectTimeout = 10 * time.Second

func openStorage(cfg Config) (_ *storage, err error) {
	s := &storage{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	opts := []nats.Option{
		nats.Name("keytrail bus"),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // else two refusals close the connection for good
		nats.ReconnectWait(500 * time.Millisecond),
		nats.Timeout(connectTimeout),
		// What is published while disconnected fails at once: a message that were sent after a reconnect could be stored
		// after its record was reported as failed.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				cfg.Logger.Warn("NATS disconnected", "error", err)
			}
		}),
		nats.ReconnectHandler(func(c *nats.Conn) { cfg.Logger.Info("NATS connected again", "server", c.ConnectedUrlRedacted()) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { cfg.Logger.Warn("NATS", "error", err) }),
	}
	if cfg.Dir == "" {
		if cfg.Creds != "" {
			opts = append(opts, nats.UserCredentials(cfg.Creds))
		}
		if s.conn, err = nats.Connect(cfg.URL, opts...); err != nil {
			return nil, fmt.Errorf("%w at %s (%v): start it, or give another --nats-url", ErrUnreachable, redact(cfg.URL), withoutURL(err))
		}
		return s, nil
	}
	if s.lock, err = lockDir(cfg.Dir); err != nil {
		return nil, err
	}
	if s.disk, err = openDisk(cfg); err != nil {
		return nil, err
	}
	keys, err := nkeys.CreateUser()
	if err != nil {
		return nil, fmt.Errorf("embedded NATS server: %w", err)
	}
	user, err := keys.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("embedded NATS server: %w", err)
	}
	if s.server, err = startServer(cfg, user); err != nil {
		return nil, err
	}
	opts = append(opts, nats.InProcessServer(s.server), nats.Nkey(user, keys.Sign))
	if s.conn, err = nats.Connect("", opts...); err != nil {
		return nil, fmt.Errorf("connecting to the embedded NATS server: %w", err)
	}
	return s, nil
}

// lockDir makes dir and takes the lock that keeps a second bus out. The kernel gives
// it back when the process ends, however it ends.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w: make it writable, or choose another with --data", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data folder: %w: make it writable, or choose another with --data", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s: stop that one, or choose another folder with --data", ErrInUse, dir)
		}
		return nil, fmt.Errorf("locking the data folder %s: %w", dir, err)
	}
	return f, nil
}

// startServer starts the embedded server. user is the public key of the bus,
// the only one that may do more than listen in.
func startServer(cfg Config, user string) (*server.Server, error) {
	anyone, err := nkeys.CreateUser() // its private key is forgotten
	if err != nil {
		return nil, fmt.Errorf("embedded NATS server: %w", err)
	}
	listener, err := anyone.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("embedded NATS server: %w", err)
	}
	all := &server.SubjectPermission{Allow: []string{">"}}
	opts := &server.Options{
		ServerName: "keytrail",
		JetStream:  true,
		StoreDir:   filepath.Join(cfg.Dir, "nats"),
		// The stream has its own limit. The server's default is what the disk had free when it
		// started: less than the log's own size after a restart on a fuller disk.
		JetStreamMaxStore:  1 << 60,
		JetStreamMaxMemory: 64 << 20,
		DontListen:         cfg.Listen == "",
		NoSigs:             true,
		Nkeys: []*server.NkeyUser{
			{Nkey: user, Permissions: &server.Permissions{Publish: all, Subscribe: all}},
			{Nkey: listener, Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Deny: []string{">"}},
				Subscribe: &server.SubjectPermission{Allow: []string{SubjectRoot + ".>"}},
			}},
		},
		NoAuthUser: listener, // who connects without a name
	}
	if !cfg.Unsynced {
		opts.SyncInterval = commitsOnly
	}
	if cfg.Listen != "" {
		host, port, err := net.SplitHostPort(cfg.Listen)
		if err != nil {
			return nil, fmt.Errorf("NATS listen address: %w", err)
		}
		n, err := strconv.Atoi(port)
		if err != nil {
			return nil, fmt.Errorf("NATS listen address: port %q is not a number", port)
		}
		if n == 0 {
			n = server.RANDOM_PORT
		} else if probe, err := net.Listen("tcp", cfg.Listen); err != nil {
			// The server only logs this, and ends the process.
			return nil, fmt.Errorf("NATS listen address: %w: choose another with --nats-listen", err)
		} else if err := probe.Close(); err != nil {
			return nil, fmt.Errorf("NATS listen address: %w", err)
		}
		opts.Host, opts.Port = host, n
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("embedded NATS server: %w", err)
	}
	log := &serverLog{log: cfg.Logger.With("from", "nats-server")}
	srv.SetLoggerV2(log, false, false, false)
	srv.Start()
	if !srv.ReadyForConnections(connectTimeout) {
		srv.Shutdown()
		srv.WaitForShutdown()
		return nil, fmt.Errorf("the embedded NATS server in %s does not start: %s", cfg.Dir, log.last())
	}
	return srv, nil
}

// addr is where the embedded server listens, or "".
func (s *storage) addr() string {
	if s.server == nil {
		return ""
	}
	if a, ok := s.server.Addr().(*net.TCPAddr); ok && a != nil {
		return a.String()
	}
	return ""
}

// end ends the connection and the server.
func (s *storage) end() {
	if s.conn != nil {
		s.conn.Close()
	}
	if s.server != nil {
		s.server.Shutdown()
		s.server.WaitForShutdown()
	}
}

// close ends everything. The next start takes the log as it finds it, unless the disk was closed before.
func (s *storage) close() {
	s.end()
	if s.disk != nil {
		s.disk.abandon()
	}
	if s.lock != nil {
		s.lock.Close()
	}
}

// openStream finds the stream or makes it, and reads its incarnation.
func openStream(ctx context.Context, cfg Config, js jetstream.JetStream, d *disk) (jetstream.Stream, Incarnation, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	stream, err := js.Stream(ctx, cfg.Stream)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		if d != nil {
			if vacant, err := d.vacant(); err != nil {
				return nil, 0, fmt.Errorf("data folder: %w", err)
			} else if !vacant {
				return nil, 0, fmt.Errorf("the data folder %s holds records, but what JetStream knows of their stream %s is damaged: restore %s from a backup, or choose another folder with --data", cfg.Dir, cfg.Stream, filepath.Join(d.stream, metaName))
			}
		}
		return makeStream(ctx, cfg, js)
	case err != nil:
		return nil, 0, fmt.Errorf("stream %s: %w", cfg.Stream, err)
	}
	info := stream.CachedInfo()
	if info.Config.Discard != jetstream.DiscardNew {
		return nil, 0, fmt.Errorf("stream %s drops old records to make room (discard: old), and an audit log must not: set discard to new", cfg.Stream)
	}
	want := info.Config
	if cfg.MaxAge != 0 {
		want.MaxAge = cfg.MaxAge
		if want.MaxAge < info.Config.MaxAge || info.Config.MaxAge == 0 {
			cfg.Logger.Warn("the log keeps records for less long than before; those that are older go now", "before", info.Config.MaxAge, "now", want.MaxAge)
		}
	}
	if cfg.Dir != "" || cfg.MaxBytes != 0 {
		if want.MaxBytes, err = maxBytes(cfg, info.State.Bytes); err != nil {
			return nil, 0, err
		}
	}
	if want.MaxAge != info.Config.MaxAge || want.MaxBytes != info.Config.MaxBytes {
		if stream, err = js.UpdateStream(ctx, want); err != nil {
			return nil, 0, fmt.Errorf("changing the limits of stream %s: %w", cfg.Stream, err)
		}
	}
	inc, err := strconv.ParseUint(info.Config.Metadata[metaIncarnation], 16, 64)
	if err != nil {
		return nil, 0, fmt.Errorf("stream %s was not made by Keytrail (its metadata has no %s): choose another name with --nats-stream", cfg.Stream, metaIncarnation)
	}
	return stream, Incarnation(inc), nil
}

// Members of the stream's metadata.
const (
	metaIncarnation = "keytrail.incarnation" // see Incarnation
	metaTrimmed     = "keytrail.trimmed"     // everything before this sequence was trimmed, or had expired by then
)

func makeStream(ctx context.Context, cfg Config, js jetstream.JetStream) (jetstream.Stream, Incarnation, error) {
	limit, err := maxBytes(cfg, 0)
	if err != nil {
		return nil, 0, err
	}
	inc, err := newIncarnation()
	if err != nil {
		return nil, 0, err
	}
	stream, err := js.CreateStream(ctx, jetstream.StreamConfig{
		Name:        cfg.Stream,
		Description: "Audit records; see keytrail.v1.StoredBatch",
		Subjects:    []string{SubjectRoot + ".>"},
		Storage:     jetstream.FileStorage,
		Replicas:    max(1, cfg.Replicas),
		MaxAge:      cmp.Or(cfg.MaxAge, DefaultMaxAge),
		MaxBytes:    limit,
		Discard:     jetstream.DiscardNew,
		AllowDirect: true,
		DenyDelete:  true,
		// One writer's IDs are kept apart by this package.
		Duplicates: 0,
		Metadata:   map[string]string{metaIncarnation: inc.String()},
	})
	if err != nil {
		return nil, 0, fmt.Errorf("making stream %s: %w", cfg.Stream, err)
	}
	return stream, inc, nil
}

// maxBytes is the size at which the log refuses. used counts as free, or each restart
// would shrink the limit by what the log has grown.
func maxBytes(cfg Config, used uint64) (int64, error) {
	switch {
	case cfg.MaxBytes != 0:
		return cfg.MaxBytes, nil
	case cfg.Dir == "":
		return -1, nil
	}
	free, err := diskFree(cfg.Dir)
	if err != nil {
		return 0, err
	}
	return max(1, int64(cfg.DiskShare*float64(free+int64(used)))), nil
}

// diskFree is what an ordinary user may still write to the disk of dir.
func diskFree(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// diskReserve is what the log leaves free on the disk of cfg.Dir.
func diskReserve(cfg Config) (int64, error) {
	if cfg.Dir == "" || cfg.DiskReserve != 0 {
		return cfg.DiskReserve, nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(cfg.Dir, &st); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: cfg.Dir, Err: err}
	}
	return min(DefaultDiskReserve, int64(st.Blocks)*int64(st.Bsize)/20), nil
}

// errURL is for NATS URLs that do not parse. The parser's own words quote parts of them, which may be those of a
// password.
var errURL = errors.New("it is not a URL; special characters in a name or password are written as %XX")

// withoutURL is err, unless that would quote a URL.
func withoutURL(err error) error {
	var quoting *url.Error
	if errors.As(err, &quoting) {
		return errURL
	}
	return err
}

// checkURLs says what is wrong with NATS URLs, without repeating them.
func checkURLs(urls string) error {
	for _, u := range strings.Split(urls, ",") {
		u = strings.TrimSpace(u)
		if !strings.Contains(u, "://") {
			u = "nats://" + u // as the client reads it
		}
		parsed, err := url.Parse(u)
		switch {
		case err != nil:
			return errURL
		case parsed.Host == "":
			return errors.New("it names no host; write nats://HOST:4222")
		}
	}
	return nil
}

// redact drops names and passwords from NATS URLs.
func redact(urls string) string {
	parts := strings.Split(urls, ",")
	for i, u := range parts {
		scheme, rest, found := strings.Cut(u, "://")
		if !found {
			scheme, rest = "", u
		} else {
			scheme += "://"
		}
		if at := strings.LastIndexByte(rest, '@'); at >= 0 {
			rest = rest[at+1:]
		}
		parts[i] = scheme + rest
	}
	return strings.Join(parts, ",")
}

// serverLog passes on what the embedded server logs.
type serverLog struct {
	log  *slog.Logger
	kept lastLine
}

func (l *serverLog) Noticef(f string, v ...any) { l.log.Debug(fmt.Sprintf(f, v...)) }
func (l *serverLog) Debugf(f string, v ...any)  { l.log.Debug(fmt.Sprintf(f, v...)) }
func (l *serverLog) Tracef(f string, v ...any)  { l.log.Debug(fmt.Sprintf(f, v...)) }
func (l *serverLog) Warnf(f string, v ...any)   { l.log.Warn(l.kept.set(fmt.Sprintf(f, v...))) }
func (l *serverLog) Errorf(f string, v ...any)  { l.log.Error(l.kept.set(fmt.Sprintf(f, v...))) }
func (l *serverLog) Fatalf(f string, v ...any)  { l.log.Error(l.kept.set(fmt.Sprintf(f, v...))) }
func (l *serverLog) last() string               { return l.kept.get() }
