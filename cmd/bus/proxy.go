package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"sync"
	"time"

	"github.com/keytrail/keytrail/client/kmshttp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// proxyCmd records the calls of a KMS.
type proxyCmd struct {
	busFlag
	Upstream string `help:"URL of the KMS, http or https. A path in it is put before that of each request, which a KMS that checks signatures will not take." required:"" placeholder:"URL"`
	Listen   string `help:"Address at which clients call the KMS (default ${default})." default:"127.0.0.1:9442" placeholder:"ADDR"`
	TLSCert  string `name:"tls-cert" help:"PEM file of the certificate chain to serve with. Default: no TLS." type:"path" placeholder:"FILE"`
	TLSKey   string `name:"tls-key" help:"PEM file of its private key." type:"path" placeholder:"FILE"`

	Identities string `help:"YAML file that says which access key belongs to whom. Default: all callers are of type Unknown." type:"path" placeholder:"FILE"`
	Account    string `help:"Account of calls by unknown callers that have no key, 12 digits. Default: none, and such calls are refused." placeholder:"ID"`
	Region     string `help:"Region of calls whose caller is not proven. Default: what the signature claims, and calls without one are refused." placeholder:"NAME"`
	Resolve    bool   `help:"Ask the KMS, with DescribeKey, which key an alias or a key ID means. Credentials: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN."`

	FailOpen      bool   `name:"fail-open" help:"While the bus is away, answer, and keep the calls in --spool. Default: answer nothing that is not recorded."`
	Spool         string `help:"Folder of the calls that are not yet with the bus, for --fail-open." type:"path" placeholder:"DIR"`
	SpoolMaxBytes size   `name:"spool-max-bytes" help:"Size at which the spool is full, and answers are withheld again; at least 1MiB. Default: 1GiB." placeholder:"SIZE"`

	PassOthers   bool     `name:"pass-others" help:"Pass on, unrecorded, what is no call of a KMS. Default: refuse it."`
	TrustedProxy []string `name:"trusted-proxy" help:"Network of proxies whose X-Forwarded-For says where a call comes from; may be repeated. Default: none." placeholder:"CIDR"`

	HTTPListen string `name:"http-listen" help:"Address of /metrics, /livez and /readyz; 'off' for none (default ${default})." default:"off" placeholder:"ADDR"`
	logFlags
	DrainTimeout time.Duration `name:"drain-timeout" help:"How long a stopping proxy waits for calls to end (default ${default})." default:"20s" placeholder:"DURATION"`
}

func (c *proxyCmd) Help() string {
	return `Clients use the proxy as the endpoint of their KMS. Host and signed headers pass unchanged, so a KMS that checks signatures must know the name that clients call the proxy by.

A call is recorded before it is answered. While the bus is away the answer is withheld, with status 503, although the KMS has acted; see --fail-open.

The file of --identities has the userIdentity of each access key, as CloudTrail spells it. With the secret, the proxy verifies signatures itself; without it, a caller is known only if the KMS accepted the call, so it must check signatures:

  AKIAIOSFODNN7EXAMPLE:
    identity:
      type: IAMUser
      arn: arn:aws:iam::111122223333:user/alice
      accountId: "111122223333"
      userName: alice
    secret: the-secret-access-key   # optional; the file must then have mode 0600

It is read once. SSL_CERT_FILE names other certificate authorities for an https KMS; HTTPS_PROXY and NO_PROXY are followed.`
}

// proxySettings are the flags, read and checked.
type proxySettings struct {
	upstream   *url.URL
	tls        *tls.Config // nil: no TLS
	identities identities
	trusted    []netip.Prefix
	spoolBytes int64
}

var (
	accountID  = regexp.MustCompile(`^\d{12}$`)
	regionName = regexp.MustCompile(`^[a-z0-9-]{1,32}$`) // what kmshttp takes
)

// settings checks the flags, and names all that can't work.
func (c *proxyCmd) settings() (s proxySettings, err error) {
	var errs []error
	fail := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	s.upstream, err = parseUpstream(c.Upstream)
	fail(err)
	switch {
	case (c.TLSCert == "") != (c.TLSKey == ""):
		fail(errors.New("--tls-cert and --tls-key go together: give both, or none"))
	case c.TLSCert != "":
		pair, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
		if err != nil {
			fail(fmt.Errorf("--tls-cert and --tls-key: %w: give PEM files of a certificate and its key", err))
		}
		s.tls = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	if c.Identities != "" {
		if s.identities, err = readIdentities(c.Identities); err != nil {
			fail(fmt.Errorf("--identities: %w", err))
		}
	}
	if c.Account != "" && !accountID.MatchString(c.Account) {
		fail(fmt.Errorf("--account %s: an account is 12 digits", c.Account))
	}
	if c.Region != "" && !regionName.MatchString(c.Region) {
		fail(fmt.Errorf("--region %s: no Region has such a name: give one such as eu-central-1", c.Region))
	}
	for _, text := range c.TrustedProxy {
		prefix, err := netip.ParsePrefix(text)
		if addr, aerr := netip.ParseAddr(text); err != nil && aerr == nil {
			prefix, err = addr.Prefix(addr.BitLen())
		}
		if err != nil {
			fail(fmt.Errorf("--trusted-proxy %s: give a network such as 10.0.0.0/8, or an address", text))
		}
		s.trusted = append(s.trusted, prefix.Masked())
	}
	switch s.spoolBytes = int64(c.SpoolMaxBytes); {
	case c.FailOpen && c.Spool == "":
		fail(errors.New("--fail-open needs a folder to keep calls in: give one with --spool"))
	case !c.FailOpen && (c.Spool != "" || c.SpoolMaxBytes != 0):
		fail(errors.New("--spool and --spool-max-bytes are for --fail-open: give that too, or leave them out"))
	case c.SpoolMaxBytes == 0:
		s.spoolBytes = defaultSpoolBytes
	case c.SpoolMaxBytes < leastSpoolBytes:
		fail(errors.New("--spool-max-bytes must be at least 1MiB"))
	}
	if c.DrainTimeout < 0 {
		fail(errors.New("--drain-timeout is negative"))
	}
	return s, errors.Join(errs...)
}

// warn says what of the settings may surprise.
func (c *proxyCmd) warn(s proxySettings, logger *slog.Logger) {
	if n := len(s.identities) - s.identities.withSecret(); n > 0 {
		logger.Warn("identities without a secret count only because the KMS accepted a call: make sure that it checks signatures, or give their secrets", "identities", n, "upstream", s.upstream.String())
	}
	if c.Account == "" {
		logger.Warn("without --account, calls by unknown callers that have no key cannot be recorded: they are not answered")
	}
	if c.PassOthers {
		logger.Warn("--pass-others: a KMS that speaks another protocol too can be used without a record")
	}
	if s.upstream.Scheme == "http" && !isLoopback(s.upstream.Hostname()) {
		logger.Warn("the way to the KMS is not encrypted: use https", "upstream", s.upstream.String())
	}
	if host, _, err := net.SplitHostPort(c.Listen); s.tls == nil && (err != nil || !isLoopback(host)) {
		logger.Warn("clients of other machines are served without encryption: give --tls-cert and --tls-key", "listen", c.Listen)
	}
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

func (c *proxyCmd) Run(ctx context.Context, p *program) (err error) {
	logger, err := c.logger(p.stderr)
	if err != nil {
		return err
	}
	s, err := c.settings()
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	transport := newTransport()
	defer transport.CloseIdleConnections()
	cfg := kmshttp.Config{
		Account:        c.Account,
		Region:         c.Region,
		PassOthers:     c.PassOthers,
		TrustedProxies: s.trusted,
		Logger:         logger,
		Identities: func(_ context.Context, accessKeyID string) (kmshttp.Identity, bool) {
			id, known := s.identities[accessKeyID]
			return id, known
		},
	}
	if c.Resolve {
		if cfg.Resolve, err = newResolver(s.upstream, transport, c.Region); err != nil {
			return err
		}
	}
	r, err := newRecording(c.Bus, c.Spool, s.spoolBytes, logger, registry)
	if err != nil {
		return err
	}
	cfg.Sink = r
	handler, err := kmshttp.New(cfg, newUpstream(s.upstream, transport, logger))
	if err != nil {
		return errors.Join(err, r.close(ctx))
	}
	servers := proxyServers{draining: make(chan struct{}), logger: logger, recording: r, failed: make(chan error, 2)}
	if err := servers.start(c, s, handler, registry); err != nil {
		return errors.Join(err, r.close(ctx))
	}
	c.banner(p.stdout, s, &servers)
	c.warn(s, logger)
	servers.running.Go(func() {
		if err := answers(ctx, r.conn, patience); err != nil && ctx.Err() == nil {
			logger.Warn("no bus answers: until one does, "+c.meanwhile(), "bus", c.Bus, "error", plain(err))
		}
	})

	var failure error
	select {
	case <-ctx.Done():
	case failure = <-servers.failed:
	}
	logger.Info("draining; a second signal stops at once", "timeout", c.DrainTimeout)
	drainCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.DrainTimeout)
	defer cancel()
	if err := servers.drain(drainCtx); err != nil {
		logger.Warn("drained", "error", err)
	}
	return failure
}

// meanwhile is what happens without a bus.
func (c *proxyCmd) meanwhile() string {
	if c.FailOpen {
		return "calls are kept in the spool"
	}
	return "calls are not answered"
}

func (c *proxyCmd) banner(w io.Writer, s proxySettings, servers *proxyServers) {
	row := func(name, what, note string) { fmt.Fprintf(w, "  %-5s %-28s %s\n", name, what, note) }
	fmt.Fprintf(w, "Keytrail proxy %s\n", version())
	scheme := "http://"
	if s.tls != nil {
		scheme = "https://"
	}
	row("KMS", scheme+servers.kmsAddr, "is "+s.upstream.String())
	row("bus", c.Bus, "gets the records")
	if c.FailOpen {
		row("mode", "fail-open", fmt.Sprintf("without a bus, calls are kept in %s, up to %s", c.Spool, bytesText(uint64(s.spoolBytes))))
	} else {
		row("mode", "fail-closed", "no answer without a record")
	}
	n, secret := len(s.identities), s.identities.withSecret()
	who := fmt.Sprintf("%d identities", n)
	if n == 1 {
		who = "1 identity"
	}
	row("who", who, fmt.Sprintf("%d with a secret, verified here; %d without, as the KMS says", secret, n-secret))
	if servers.httpAddr != "" {
		row("HTTP", servers.httpAddr, "/metrics /livez /readyz")
	}
	fmt.Fprintf(w, "\nUse:  aws kms --endpoint-url %s%s …    Stop:  Ctrl-C\n", scheme, servers.kmsAddr)
}

// proxyServers are the listening half of a proxy.
type proxyServers struct {
	logger    *slog.Logger
	recording *recording

	kms, http         *http.Server // http is nil without --http-listen
	kmsAddr, httpAddr string
	running           sync.WaitGroup
	calls             sync.WaitGroup // handlers, which go on when their client has gone
	draining          chan struct{}  // closed by drain
	failed            chan error     // a slot for each server: why it stopped by itself
}

// Timeouts of the server for clients. A call has a minute with the KMS and ten
// seconds to be recorded; --resolve adds at most three times ten.
const (
	headerTimeout = 10 * time.Second
	readTimeout   = time.Minute
	writeTimeout  = 3 * time.Minute
	idleTimeout   = 2 * time.Minute
)

// start listens and serves. On an error nothing is left running.
func (v *proxyServers) start(c *proxyCmd, s proxySettings, handler http.Handler, registry *prometheus.Registry) error {
	l, err := listen("listen", c.Listen)
	if err != nil {
		return err
	}
	var hl net.Listener
	if c.HTTPListen != "off" {
		if hl, err = listen("http-listen", c.HTTPListen); err != nil {
			return errors.Join(err, l.Close())
		}
		v.httpAddr = hl.Addr().String()
	}
	v.kmsAddr = l.Addr().String()
	v.kms = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			v.calls.Add(1)
			defer v.calls.Done()
			handler.ServeHTTP(w, r)
		}),
		TLSConfig:         s.tls,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(v.logger.Handler(), slog.LevelWarn),
	}
	serve := func(of string, srv *http.Server, serve func() error) {
		v.running.Go(func() {
			if err := serve(); !errors.Is(err, http.ErrServerClosed) {
				v.failed <- fmt.Errorf("%s: %w", of, err)
			}
		})
	}
	if s.tls != nil {
		serve("KMS", v.kms, func() error { return v.kms.ServeTLS(l, "", "") })
	} else {
		serve("KMS", v.kms, func() error { return v.kms.Serve(l) })
	}
	if hl != nil {
		v.http = &http.Server{Handler: v.operators(registry), ReadHeaderTimeout: headerTimeout}
		serve("HTTP", v.http, func() error { return v.http.Serve(hl) })
	}
	return nil
}

// operators serves what operators and their tools look at.
func (v *proxyServers) operators(registry *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		err := v.recording.ready(r.Context())
		select {
		case <-v.draining:
			err = errors.New("the proxy is stopping")
		default:
		}
		if err != nil {
			http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}

// drain ends the proxy: calls first, until ctx ends, then what records them,
// and last what operators look at. It returns when everything is closed.
func (v *proxyServers) drain(ctx context.Context) error {
	close(v.draining)
	var errs []error
	if err := v.kms.Shutdown(ctx); err != nil {
		errs = append(errs, errors.New("calls did not end in time: their connections were cut"), v.kms.Close())
	}
	if err := wait(ctx, &v.calls); err != nil {
		errs = append(errs, errors.New("calls did not end in time: they may be without a record"))
	}
	errs = append(errs, v.recording.close(ctx))
	if v.http != nil {
		errs = append(errs, v.http.Close())
	}
	v.running.Wait()
	return errors.Join(errs...)
}

// wait waits for w until ctx ends. What is left then ends with the process.
func wait(ctx context.Context, w *sync.WaitGroup) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
