// Package sample makes KMS audit records: realistic ones, out of nothing but a
// seed, for demonstrations, tests and load tests.
//
// The records have the shape that CloudTrail gives to records of KMS, of all
// its public operations and those that the KMS does by itself. Accounts, names
// and addresses are invented. What they tell is plausible record by record, not
// as a history: a key that was deleted goes on being used.
//
// Which operations are logged how is data here, for sixty rows of a table. It
// is no reference: what a record means is defined in package record.
package sample

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// Defaults of a [Config].
const (
	DefaultAccounts = 3
	DefaultKeys     = 40
	DefaultZipfS    = 1.1
	DefaultStep     = time.Second
)

// DefaultStart is the event time of a first record by default.
var DefaultStart = time.Date(2026, time.January, 5, 8, 0, 0, 0, time.UTC)

// MaxBytes is the most that [Config].Bytes may ask for; a record is limited to
// 262,144 bytes.
const MaxBytes = 200_000

// Config says what records to make. A zero field takes the default in its
// comment.
type Config struct {
	// Seed chooses the records: the same seed and settings make the same
	// records, byte for byte, in the same build of this package. Other seeds
	// make other event IDs and keys.
	Seed uint64

	// Accounts is how many accounts there are. Default [DefaultAccounts].
	// With one, no call is cross-account.
	Accounts int

	// Keys is how many keys there are, over all accounts. Default
	// [DefaultKeys]. Kinds of keys repeat every 20, so that with fewer the
	// operations that need an absent kind do not occur.
	Keys int

	// ZipfS is how unequal the popularity of keys is: that of the n-th key is
	// in proportion to n to the power of -ZipfS. Default [DefaultZipfS].
	ZipfS float64

	// Uniform makes all keys equally popular, whatever ZipfS says.
	Uniform bool

	// Start is the event time of the first record, cut to the second. Default
	// [DefaultStart].
	Start time.Time

	// Step is the mean time between two calls. Event times never descend, and
	// are cut to the second. Default [DefaultStep].
	Step time.Duration

	// Bytes is about how large an encoded record is: smaller ones get a longer
	// encryption context, or tags. Those that are larger anyway stay so.
	// Default 0: no padding. At most [MaxBytes].
	Bytes int
}

// Generator makes records. It is not safe for concurrent use.
type Generator struct {
	world
	rng  *rand.Rand
	step time.Duration
	pad  int

	elapsed time.Duration // since start, of the last call
	start   time.Time

	// session is the time when sessions of the current hour began, as text.
	session   string
	sessionAt int64

	// second is the other record of the last call, if it makes two.
	second *keytrailv1.Record

	// buffers hold the JSON of the call in the making.
	request, response, extra, details []byte
}

// New returns a generator. It panics if a number in cfg is negative or Bytes is
// over its limit.
func New(cfg Config) *Generator {
	if cfg.Accounts < 0 || cfg.Keys < 0 || cfg.ZipfS < 0 || cfg.Step < 0 || cfg.Bytes < 0 || cfg.Bytes > MaxBytes {
		panic(fmt.Sprintf("sample: impossible configuration %+v", cfg))
	}
	if cfg.Accounts == 0 {
		cfg.Accounts = DefaultAccounts
	}
	if cfg.Keys == 0 {
		cfg.Keys = DefaultKeys
	}
	if cfg.ZipfS == 0 {
		cfg.ZipfS = DefaultZipfS
	}
	if cfg.Start.IsZero() {
		cfg.Start = DefaultStart
	}
	if cfg.Step == 0 {
		cfg.Step = DefaultStep
	}
	// ChaCha8, because generators of a load test run side by side with
	// neighbouring seeds, and must not make one event ID twice.
	var seed [32]byte
	copy(seed[:], "keytrail sample")
	binary.LittleEndian.PutUint64(seed[24:], cfg.Seed)
	rng := rand.New(rand.NewChaCha8(seed))
	return &Generator{
		world: newWorld(cfg, rng),
		rng:   rng,
		step:  cfg.Step,
		pad:   cfg.Bytes,
		start: cfg.Start.Truncate(time.Second),
	}
}

// Keys returns the ARNs of the keys, most popular first. Records may name
// others too: the replicas of multi-Region keys.
func (g *Generator) Keys() []string {
	arns := make([]string, len(g.keys))
	for i := range g.keys {
		arns[i] = g.keys[i].arn
	}
	return arns
}

// Next returns the next record. It is the caller's own and shares nothing that
// can be changed.
func (g *Generator) Next() *keytrailv1.Record {
	if r := g.second; r != nil {
		g.second = nil
		return r
	}
	k := &g.keys[g.popularity.pick(g.rng)]
	o := &operations[k.kind.operations().pick(g.rng)]
	c := call{op: o, key: k, account: k.account, recipient: k.account, region: k.region, seconds: g.start.Unix() + int64(g.elapsed/time.Second)}
	g.elapsed += time.Duration(g.rng.Int64N(2*int64(g.step) + 1))
	c.ids.event = g.uuid()
	c.ids.request = g.uuid()
	g.chooseCaller(&c)
	g.chooseOutcome(&c)
	g.chooseKeyForm(&c)
	g.writeJSON(&c)

	switch {
	case c.failure != nil && (c.failure.code == accessDenied || c.failure.unresolved):
		c.recipient = c.account // and nobody else
	case c.account != k.account:
		// The owner's copy first, with as much as an owner may know.
		c.shared = true
		c.ids.shared = g.uuid()
		c.reduced = true
		r := g.build(&c)
		c.reduced = false
		c.recipient = c.account
		c.ids.event = g.uuid()
		g.second = g.build(&c)
		return r
	case c.failure != nil:
	case o == replicateKey:
		r := g.build(&c)
		c.primary, c.key = k, k.inReplicaRegion()
		c.op, c.region = createKey, k.replica
		c.ids.event, c.ids.request = g.uuid(), g.uuid()
		g.writeJSON(&c)
		g.second = g.build(&c)
		return r
	case o.name == "UpdatePrimaryRegion":
		r := g.build(&c)
		c.region = k.replica
		c.service = &service{dns: "kms.amazonaws.com"}
		c.requested = k.arn
		c.ids.event = g.uuid()
		c.noResources = true
		g.writeJSON(&c)
		g.second = g.build(&c)
		return r
	}
	return g.build(&c)
}

// chance is true in n of 1,000 cases.
func (g *Generator) chance(n uint64) bool { return g.rng.Uint64N(1000) < n }

func one[E any](g *Generator, from []E) *E { return &from[g.rng.IntN(len(from))] }

// chooseCaller decides who calls, from where and through which service.
func (g *Generator) chooseCaller(c *call) {
	shape := c.op.shape
	if shape&internal != 0 {
		c.who = &g.kms
		return
	}
	if shape&crossAccount != 0 && len(g.accounts) > 1 && g.chance(40) {
		for c.account == c.key.account {
			c.account = one(g, g.accounts)
		}
		c.recipient = c.key.account
	} else if c.op.shape&withContext != 0 && c.key.kind&symmetricKinds != 0 {
		switch n := g.rng.Uint64N(100); {
		case n < 34:
			c.service = one(g, services)
		case n < 38:
			c.service = one(g, pureServices)
			c.who = &c.service.principal
		}
	}
	if c.service != nil {
		c.context = &c.service.context
	} else if shape&withContext != 0 && c.key.kind&symmetricKinds != 0 {
		c.context = one(g, applicationContexts)
	}
	people := shape&withContext == 0 && c.op.kinds == anyKind
	switch {
	case c.who != nil:
	case people && g.chance(8):
		c.who = &c.account.root
	case people && g.chance(450) || g.chance(120):
		c.who = one(g, c.account.users)
	default:
		c.who = one(g, c.account.roles)
	}
	if c.service != nil {
		return
	}
	if c.who.console && g.chance(200) {
		c.fromConsole = true
		c.address, c.agent = one(g, g.addresses), &consoleAgent
		return
	}
	c.tls = one(g, tlsProfiles)
	c.agent = one(g, agents)
	if c.who.role != "" && g.chance(250) {
		c.endpoint = &c.account.endpoints[c.region.index]
		c.address = one(g, g.privateAddresses)
	} else {
		c.address = one(g, g.addresses)
	}
}

// chooseOutcome lets about 3 % of the calls fail.
func (g *Generator) chooseOutcome(c *call) {
	if len(c.op.failures) > 0 && g.chance(30) {
		c.failure = *one(g, c.op.failures)
	}
}

// chooseKeyForm decides how the caller names the key.
func (g *Generator) chooseKeyForm(c *call) {
	k := c.key
	n := g.rng.Uint64N(100)
	switch {
	case c.failure != nil && c.failure.unresolved:
		c.requested = keyARN(k.region.name, k.account.id, string(appendUUID(nil, g.uuid())))
	case c.account != k.account && k.alias != "" && n < 20:
		c.requested = "arn:aws:kms:" + k.region.name + ":" + k.account.id + ":" + k.alias
	case c.account != k.account || n < 45 || c.service != nil:
		c.requested = k.arn
	case k.alias != "" && n < 65:
		c.requested = k.alias
	default:
		c.requested = k.id
	}
	if c.op.shape&twoKeys != 0 {
		c.dest = g.peer(k)
	}
	c.byID = n%3 == 0 || c.failure != nil || k.kind == rsa
	c.attested = c.op.shape&attestable != 0 && c.who.role != "" && c.service == nil && g.chance(15)
	c.window = 7 + n%24
}

// uuid is a random (version 4) UUID.
func (g *Generator) uuid() [2]uint64 {
	hi, lo := g.rng.Uint64(), g.rng.Uint64()
	return [2]uint64{hi&^0xf000 | 0x4000, lo&^(3<<62) | 1<<63}
}
