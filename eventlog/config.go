package eventlog

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Defaults of [Config].
const (
	DefaultStream       = "KEYTRAIL"
	DefaultMaxAge       = 90 * 24 * time.Hour
	DefaultDiskShare    = 0.75
	DefaultDiskReserve  = 512 << 20
	DefaultAckTimeout   = 10 * time.Second
	DefaultRecentFor    = 10 * time.Minute
	DefaultRecentBytes  = 512 << 20
	DefaultPendingBytes = 64 << 20
)

// Config says where the log is. Either Dir or URL is required. Other zero
// fields take the default in their comment.
type Config struct {
	// Dir is the folder of an embedded NATS server. It is made if absent; one
	// process at a time uses it.
	Dir string

	// Listen lets others subscribe to the embedded server, at a loopback
	// address such as "127.0.0.1:4222". They may subscribe to "kms.>" and do
	// nothing else. Default: no port.
	Listen string

	// URL is an external NATS server or cluster, "nats://host:4222"; several
	// are separated by commas.
	URL string

	// Creds is a NATS credentials file for URL. Default: none.
	Creds string

	// Stream is the name of the JetStream stream. Default "KEYTRAIL".
	Stream string

	// Replicas is how many copies a stream that is made at URL has. Default 1.
	// An existing stream keeps what it has.
	Replicas int

	// Unsynced acknowledges records at Dir before they are synced: they survive the end of the process, but not power
	// loss. Default: each is synced first, together with others.
	Unsynced bool

	// ServerSyncs says that the servers at URL sync each message before they acknowledge it
	// (sync_interval: always), which they do not tell by themselves. Default: they do not.
	ServerSyncs bool

	// MaxAge is how long messages are kept. Default: for a new log 90 days; one that
	// exists keeps what it has, for a setting that was forgotten must not remove
	// records.
	MaxAge time.Duration

	// MaxBytes is the size at which the log refuses records. Default: for Dir,
	// DiskShare of what the disk has free and the log already uses; for URL, no
	// limit. At URL it applies to an existing stream only when it is set.
	MaxBytes int64

	// DiskShare is the part of the disk for the default of MaxBytes. Default 0.75.
	DiskShare float64

	// DiskReserve is how many bytes the disk of Dir must have free for the log
	// to take records: JetStream stops for good on a full disk, so the log
	// stops before. Default 512 MiB, or 5 % of a disk that is small.
	DiskReserve int64

	// AckTimeout is how long the log waits for JetStream's acknowledgement.
	// Default 10s.
	AckTimeout time.Duration

	// RecentFor and RecentBytes bound the memory of event IDs. Default 10
	// minutes and 512 MiB.
	RecentFor   time.Duration
	RecentBytes int64

	// PendingBytes bounds the records that are submitted and not yet stored.
	// Default 64 MiB.
	PendingBytes int64

	// Logger. Default: [slog.Default].
	Logger *slog.Logger

	// Registerer takes the metrics. Default: none are kept.
	Registerer prometheus.Registerer

	syncHook syncHook // of tests; default: none
}

// Validate names every setting that cannot work.
func (c Config) Validate() error {
	_, err := c.withDefaults()
	return err
}

func (c Config) withDefaults() (Config, error) {
	c.Stream = cmp.Or(c.Stream, DefaultStream)
	c.DiskShare = cmp.Or(c.DiskShare, DefaultDiskShare)
	c.AckTimeout = cmp.Or(c.AckTimeout, DefaultAckTimeout)
	c.RecentFor = cmp.Or(c.RecentFor, DefaultRecentFor)
	c.RecentBytes = cmp.Or(c.RecentBytes, DefaultRecentBytes)
	c.PendingBytes = cmp.Or(c.PendingBytes, DefaultPendingBytes)
	c.Logger = cmp.Or(c.Logger, slog.Default())

	var errs []error
	refuse := func(f string, args ...any) { errs = append(errs, fmt.Errorf(f, args...)) }
	switch {
	case c.Dir == "" && c.URL == "":
		refuse("neither a data folder nor a NATS URL is set")
	case c.Dir != "" && c.URL != "":
		refuse("a data folder and a NATS URL are both set; the log is in one of them")
	}
	if c.URL != "" {
		if err := checkURLs(c.URL); err != nil {
			refuse("the NATS URL: %w", err)
		}
	}
	if c.URL != "" && c.Listen != "" {
		refuse("NATS listen address %s: only an embedded server listens", c.Listen)
	}
	if c.Dir != "" && c.Replicas > 1 {
		refuse("%d replicas: an embedded server has one; use a NATS cluster", c.Replicas)
	}
	if c.Dir != "" && c.Creds != "" {
		refuse("NATS credentials are for a NATS URL")
	}
	if c.Unsynced && c.URL != "" {
		refuse("--log-unsynced is for a log in a data folder; the servers at a NATS URL sync as they are configured")
	}
	if c.ServerSyncs && c.Dir != "" {
		refuse("--nats-synced is for a NATS URL; a log in a data folder is synced anyway")
	}
	if c.Listen != "" {
		if err := loopback(c.Listen); err != nil {
			refuse("NATS listen address %s: %w", c.Listen, err)
		}
	}
	for name, v := range map[string]int64{
		"replicas": int64(c.Replicas), "max age": int64(c.MaxAge), "max bytes": c.MaxBytes, "disk reserve": c.DiskReserve,
		"acknowledgement timeout": int64(c.AckTimeout), "recent time": int64(c.RecentFor),
		"recent bytes": c.RecentBytes, "pending bytes": c.PendingBytes,
	} {
		if v < 0 {
			refuse("%s is negative", name)
		}
	}
	if c.DiskShare < 0 || c.DiskShare > 1 {
		refuse("disk share %v is not between 0 and 1", c.DiskShare)
	}
	return c, errors.Join(errs...)
}

func loopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return errors.New("it must be a loopback address, for the port has no access control; for others use a NATS server of your own")
	}
	return nil
}
