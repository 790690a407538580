package sample

import (
	"encoding/hex"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"strings"
	"sync"
)

// world is what calls are about. It doesn't change once it is made.
type world struct {
	accounts   []account
	keys       []key
	popularity picker
	kms        principal // for what the KMS does by itself

	// peers lists the symmetric keys of each account and Region, between which
	// data can be re-encrypted.
	peers map[peering][]int32

	addresses, privateAddresses []string
}

type peering struct {
	account *account
	region  *region
}

type region struct {
	index int
	name  string
	host  string // of the KMS
}

var regions = func() []region {
	var out []region
	for i, name := range []string{"us-west-2", "eu-central-1", "ap-southeast-2", "us-east-1"} {
		out = append(out, region{i, name, "kms." + name + ".amazonaws.com"})
	}
	return out
}()

type account struct {
	id        string
	root      principal
	users     []principal
	roles     []principal // one for each session
	endpoints []endpoint  // by region.index
}

type endpoint struct{ id, host string }

// principal holds the members of a userIdentity. "" is absent.
type principal struct {
	typ, id, arn, account, accessKey, userName, invokedBy string

	// The session's role, of those who have one.
	role, roleID, roleARN string
	federation            string // JSON; only with a role
	delivery              string // ec2RoleDelivery

	console bool // a person at a console, whose session has attributes
}

type kind uint32

const (
	symmetric kind = 1 << iota // made by the KMS
	multiRegion
	imported
	cloudHSM
	external
	rsa
	signing
	hmac
	agreement
	kem

	symmetricKinds  = symmetric | multiRegion | imported | cloudHSM | external
	asymmetricKinds = rsa | signing | agreement | kem
	anyKind         = symmetricKinds | asymmetricKinds | hmac
)

// kinds of keys by popularity, again and again.
var kinds = [20]kind{
	symmetric, symmetric, multiRegion, symmetric, imported,
	symmetric, signing, symmetric, hmac, symmetric,
	cloudHSM, symmetric, rsa, symmetric, agreement,
	multiRegion, kem, symmetric, external, symmetric,
}

type key struct {
	arn, id string
	alias   string // "alias/…", or ""
	account *account
	region  *region
	replica *region // another Region; for multi-Region keys
	kind    kind
	seed    uint64 // all else that belongs to the key is derived from it
}

func keyARN(region, account, id string) string {
	return "arn:aws:kms:" + region + ":" + account + ":key/" + id
}

// inReplicaRegion returns the replica of k.
func (k *key) inReplicaRegion() *key {
	r := *k
	r.region, r.replica = k.replica, k.region
	r.arn = keyARN(r.region.name, r.account.id, r.id)
	return &r
}

var words = []string{
	"archive", "billing", "catalog", "claims", "exports", "fleet", "gateway", "inbox",
	"invoices", "ledger", "loyalty", "media", "orders", "payroll", "reports", "search",
	"sessions", "shipping", "telemetry", "warehouse",
}

func newWorld(cfg Config, rng *rand.Rand) world {
	w := world{
		accounts: make([]account, cfg.Accounts),
		keys:     make([]key, cfg.Keys),
		peers:    make(map[peering][]int32),
		kms:      principal{invokedBy: "AWS Internal"},
	}
	for i := range w.accounts {
		// A number that nobody would take for a real one; the step has no
		// factor in common with 10^12, so they differ.
		id := fmt.Sprintf("%012d", (210_987_654_321+uint64(i)*111_111_111_111)%1_000_000_000_000)
		w.accounts[i] = newAccount(id, rng)
	}
	weights := make([]float64, cfg.Keys)
	for i := range w.keys {
		k := &w.keys[i]
		k.kind = kinds[i%len(kinds)]
		k.account = &w.accounts[i%cfg.Accounts]
		k.region = &regions[[8]int{0, 0, 1, 0, 2, 0, 1, 3}[i/cfg.Accounts%8]]
		k.replica = &regions[(k.region.index+1)%len(regions)]
		k.seed = rng.Uint64()
		if k.kind == multiRegion {
			k.id = fmt.Sprintf("mrk-%016x%016x", rng.Uint64(), rng.Uint64())
		} else {
			k.id = string(appendUUID(nil, [2]uint64{rng.Uint64()&^0xf000 | 0x4000, rng.Uint64()&^(3<<62) | 1<<63}))
		}
		k.arn = keyARN(k.region.name, k.account.id, k.id)
		k.id = k.arn[len(k.arn)-len(k.id):] // one string less to keep for each of a million keys
		if i%4 != 3 {
			k.alias = fmt.Sprintf("alias/%s-%d", words[i%len(words)], i/len(words)+1)
		}
		if k.kind&symmetricKinds != 0 {
			at := peering{k.account, k.region}
			w.peers[at] = append(w.peers[at], int32(i))
		}
		weights[i] = 1
		if !cfg.Uniform {
			weights[i] = math.Pow(float64(i+1), -cfg.ZipfS)
		}
	}
	w.popularity = newPicker(weights)
	for range 200 {
		// The three ranges that are reserved for documentation.
		net := []string{"192.0.2", "198.51.100", "203.0.113"}[rng.IntN(3)]
		w.addresses = append(w.addresses, fmt.Sprintf("%s.%d", net, 1+rng.IntN(254)))
		w.privateAddresses = append(w.privateAddresses, fmt.Sprintf("10.%d.%d.%d", rng.IntN(4), rng.IntN(256), 1+rng.IntN(254)))
	}
	return w
}

func newAccount(id string, rng *rand.Rand) account {
	a := account{
		id:   id,
		root: principal{typ: "Root", id: id, arn: "arn:aws:iam::" + id + ":root", account: id, accessKey: randomName(rng, "ASIASAMPLE", 20), console: true},
	}
	for i, name := range []string{"amara.okafor", "jonas.lindqvist", "mei.tanaka", "backup-agent"} {
		p := principal{typ: "IAMUser", id: randomName(rng, "AIDASAMPLE", 21), arn: "arn:aws:iam::" + id + ":user/" + name, account: id, userName: name}
		if p.console = i < 3; p.console {
			p.accessKey = randomName(rng, "ASIASAMPLE", 20)
		} else {
			p.accessKey = randomName(rng, "AKIASAMPLE", 20)
		}
		a.users = append(a.users, p)
	}
	for _, r := range []struct{ name, session, federation, delivery string }{
		{name: "orders-api", session: "i-0", delivery: "2.0"},
		{name: "ledger-writer", session: "ledger-writer-", federation: "{}"},
		{name: "report-builder", session: "report-builder-"},
		{name: "platform-admin", session: "amara.okafor", federation: "{}"},
		{name: "deploy-pipeline", session: "run-"},
		{name: "nightly-backup", session: "backup-"},
	} {
		roleID := randomName(rng, "AROASAMPLE", 21)
		for range 3 {
			session := r.session
			if session[len(session)-1] == '-' || r.delivery != "" {
				session += fmt.Sprintf("%016x", rng.Uint64())
			}
			a.roles = append(a.roles, principal{
				typ: "AssumedRole", id: roleID + ":" + session, arn: "arn:aws:sts::" + id + ":assumed-role/" + r.name + "/" + session,
				account: id, accessKey: randomName(rng, "ASIASAMPLE", 20),
				role: r.name, roleID: roleID, roleARN: "arn:aws:iam::" + id + ":role/" + r.name,
				federation: r.federation, delivery: r.delivery,
			})
		}
	}
	for _, r := range regions {
		vpce := fmt.Sprintf("vpce-0%016x", rng.Uint64())
		a.endpoints = append(a.endpoints, endpoint{vpce, fmt.Sprintf("%s-%08x.kms.%s.vpce.amazonaws.com", vpce, rng.Uint32(), r.name)})
	}
	return a
}

// randomName fills prefix up to n characters, in the alphabet of AWS' IDs.
func randomName(rng *rand.Rand, prefix string, n int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	var b strings.Builder
	b.WriteString(prefix)
	for b.Len() < n {
		b.WriteByte(alphabet[rng.IntN(len(alphabet))])
	}
	return b.String()
}

// peer returns a key to which data under k can be re-encrypted; k itself, if
// there is no other.
func (g *Generator) peer(k *key) *key {
	return &g.keys[*one(g, g.peers[peering{k.account, k.region}])]
}

// picker chooses indexes by weight in constant time (the alias method).
type picker struct {
	keep  []uint64 // below it, a cell yields its own index, else the other
	other []int32
}

func newPicker(weights []float64) picker {
	n := len(weights)
	p := picker{make([]uint64, n), make([]int32, n)}
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	scaled := make([]float64, n)
	var small, large []int32
	for i, w := range weights {
		scaled[i] = w / sum * float64(n)
		p.keep[i], p.other[i] = math.MaxUint64, int32(i)
		if scaled[i] < 1 {
			small = append(small, int32(i))
		} else {
			large = append(large, int32(i))
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		p.keep[s], p.other[s] = uint64(scaled[s]*math.MaxUint64), l
		if scaled[l] -= 1 - scaled[s]; scaled[l] < 1 {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	return p
}

// pick takes one random number: its high part chooses the cell, its low part
// one of the cell's two.
func (p picker) pick(rng *rand.Rand) int {
	i, low := bits.Mul64(rng.Uint64(), uint64(len(p.keep)))
	if low < p.keep[i] {
		return int(i)
	}
	return int(p.other[i])
}

// operations returns the choice of operations for keys of kind k.
func (k kind) operations() picker { return operationPickers()[bits.TrailingZeros32(uint32(k))] }

var operationPickers = sync.OnceValue(func() []picker {
	var out []picker
	for k := kind(1); k <= kem; k <<= 1 {
		weights := make([]float64, len(operations))
		for i, o := range operations {
			if o.kinds&k != 0 {
				weights[i] = o.weight
			}
		}
		out = append(out, newPicker(weights))
	}
	return out
})

func appendUUID(dst []byte, u [2]uint64) []byte {
	var text [36]byte
	var raw [16]byte
	for i := range 8 {
		raw[i], raw[8+i] = byte(u[0]>>(56-8*i)), byte(u[1]>>(56-8*i))
	}
	hex.Encode(text[0:8], raw[0:4])
	hex.Encode(text[9:13], raw[4:6])
	hex.Encode(text[14:18], raw[6:8])
	hex.Encode(text[19:23], raw[8:10])
	hex.Encode(text[24:36], raw[10:16])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return append(dst, text[:]...)
}
