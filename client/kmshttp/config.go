package kmshttp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// Defaults of [Config].
const (
	DefaultMaxBody       = 1 << 20
	DefaultCallTimeout   = time.Minute
	DefaultRecordTimeout = 10 * time.Second
)

// Sink takes calls. Package spool has two.
type Sink interface {
	// Record returns nil once c is safe: stored at the bus, or spooled. Its
	// error must not repeat anything that c holds; it is logged.
	Record(ctx context.Context, c *keytrailv1.Call) error
}

// Identity is who an access key belongs to.
type Identity struct {
	// User is what calls say. It is not changed; the access key ID is added.
	User *keytrailv1.UserIdentity

	// Secret is the secret access key, with which the signature is verified
	// here. Empty: the KMS' word counts.
	Secret string
}

// Config tunes a handler. A zero field takes the default in its comment.
type Config struct {
	// Sink is required.
	Sink Sink

	// Identities returns who accessKeyID belongs to, false if it is not known.
	// It is called once a call, on its goroutine. Default: nobody is known.
	Identities func(ctx context.Context, accessKeyID string) (Identity, bool)

	// Region is that of calls without a signature, or whose caller is not
	// proven. Default: what the signature claims; calls without one are refused,
	// as no record could be made of them.
	Region string

	// Account is the account of calls that have neither a caller's account nor
	// a key, and the owner of keys of which only the ID is known when the
	// caller has no account. 12 digits. Default: none.
	Account string

	// Resolve returns the ARN of the key that keyID (an ID, an alias name or an
	// alias ARN) means in region: DescribeKey, with credentials of one's own.
	// It must not answer from a cache. It is asked only where neither the
	// answer nor the request has the ARN; an error means that there is none.
	// Default: an ID becomes an ARN in the account of the caller, or Account;
	// aliases stay unresolved.
	Resolve func(ctx context.Context, region, keyID string) (arn string, err error)

	// FailOpen lets answers go whose call the sink did not take. They are
	// logged, and have no record. Default: the answer is withheld.
	FailOpen bool

	// PassOthers passes on, unrecorded, what is no call of a KMS. A KMS that
	// speaks another protocol as well can then be used without a record.
	// Default: 404 UnknownOperationException.
	PassOthers bool

	// Path is that at which the KMS is called; calls at others are refused.
	// Default "/", the one of AWS.
	Path string

	// MaxBody is the most bytes of a request's body, and of an answer's.
	// Default 1 MiB.
	MaxBody int64

	// CallTimeout is how long the KMS may take. Default one minute.
	CallTimeout time.Duration

	// RecordTimeout is how long the sink may take. Default 10 s.
	RecordTimeout time.Duration

	// TrustedProxies are the addresses whose X-Forwarded-For is believed: the
	// source of a call is then the last address in it that is not one of
	// them. Default: none.
	TrustedProxies []netip.Prefix

	// Logger. Default: [slog.Default].
	Logger *slog.Logger

	// Now is the clock. Default: [time.Now].
	Now func() time.Time
}

func (c Config) withDefaults() (Config, error) {
	c.Path = cmp.Or(c.Path, "/")
	c.MaxBody = cmp.Or(c.MaxBody, DefaultMaxBody)
	c.CallTimeout = cmp.Or(c.CallTimeout, DefaultCallTimeout)
	c.RecordTimeout = cmp.Or(c.RecordTimeout, DefaultRecordTimeout)
	c.Logger = cmp.Or(c.Logger, slog.Default())
	if c.Identities == nil {
		c.Identities = func(context.Context, string) (Identity, bool) { return Identity{}, false }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	var errs []error
	if c.Sink == nil {
		errs = append(errs, errors.New("there is no Sink"))
	}
	if c.Region != "" && !isRegion(c.Region) {
		errs = append(errs, fmt.Errorf("no Region has the name %q, in Region", c.Region))
	}
	if c.Account != "" && !isAccount(c.Account) {
		errs = append(errs, fmt.Errorf("the account %q, in Account, is not 12 digits", c.Account))
	}
	if c.MaxBody < 0 {
		errs = append(errs, fmt.Errorf("MaxBody %d is negative", c.MaxBody))
	}
	if c.CallTimeout < 0 {
		errs = append(errs, fmt.Errorf("CallTimeout %s is negative", c.CallTimeout))
	}
	if c.RecordTimeout < 0 {
		errs = append(errs, fmt.Errorf("RecordTimeout %s is negative", c.RecordTimeout))
	}
	for i, p := range c.TrustedProxies {
		if !p.IsValid() {
			errs = append(errs, fmt.Errorf("TrustedProxies[%d] is not valid", i))
		}
	}
	return c, errors.Join(errs...)
}

// New wraps next, which speaks the KMS API. The package documentation says
// what the handler does.
func New(cfg Config, next http.Handler) (http.Handler, error) {
	cfg, err := cfg.withDefaults()
	if next == nil {
		err = errors.Join(err, errors.New("there is no handler"))
	}
	if err != nil {
		return nil, fmt.Errorf("kmshttp: %w", err)
	}
	return &handler{cfg: cfg, next: next}, nil
}

// isRegion says whether s looks like a Region: 1 to 32 lower-case letters,
// digits and dashes.
func isRegion(s string) bool {
	for i := range len(s) {
		if c := s[i]; c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return s != "" && len(s) <= 32
}

func isAccount(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) == 12
}
