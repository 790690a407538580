package kmshttp

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

// members are those of a JSON object. A nil one has none.
type members map[string]jsontext.Value

// readMembers reads a JSON object. It refuses text that is not UTF-8, and
// members of one name at any depth, which readers disagree about.
func readMembers(text []byte) (members, bool) {
	var m members
	if err := json.Unmarshal(text, &m); err != nil || m == nil {
		return nil, false
	}
	return m, true
}

// text is the member name, if it is a string.
func (m members) text(name string) (string, bool) {
	v, ok := m[name]
	if !ok || v.Kind() != '"' {
		return "", false
	}
	var s string
	err := json.Unmarshal(v, &s)
	return s, err == nil
}

// object is the member name, if it is an object.
func (m members) object(name string) members {
	o, _ := readMembers(m[name])
	return o
}

// call is one call on its way through the handler.
type call struct {
	h         *handler
	r         *http.Request
	operation string
	body      []byte
	params    members

	claim    claim
	claimed  bool
	identity Identity
	named    bool // identity is set
	verified bool // the signature is right

	// Set by resolveBefore.
	before *keytrailv1.CallKey

	message *keytrailv1.Call // set by complete
}

// authenticate finds out who calls, as far as this side can.
func (c *call) authenticate(ctx context.Context) {
	if c.claim, c.claimed = claimOf(c.r); !c.claimed {
		return
	}
	c.identity, c.named = c.h.cfg.Identities(ctx, c.claim.accessKey)
	if c.named && c.identity.User == nil {
		c.identity.User = new(keytrailv1.UserIdentity)
	}
	if c.named && c.identity.Secret != "" {
		c.verified = c.claim.verify(ctx, c.r, c.body, c.identity.Secret, c.h.cfg.Now())
	}
}

// proven says whether the caller is who it says it is. accepted: the KMS took
// it for that.
func (c *call) proven(accepted bool) bool {
	if !c.named {
		return false
	}
	if c.identity.Secret != "" {
		return c.verified
	}
	return accepted
}

// caller is who calls, as the record has it.
func (c *call) caller(proven bool) *keytrailv1.UserIdentity {
	if !proven {
		u := &keytrailv1.UserIdentity{Type: new("Unknown")}
		if c.claimed {
			u.AccessKeyId = new(c.claim.accessKey)
		}
		return u
	}
	u := proto.CloneOf(c.identity.User)
	u.AccessKeyId = new(c.claim.accessKey)
	return u
}

// region is the Region that serves the call: "" if nobody knows.
func (c *call) region(proven bool) string {
	if c.claimed && c.claim.region != "" && (proven || c.h.cfg.Region == "") {
		return c.claim.region
	}
	return c.h.cfg.Region
}

// complete makes the message of the call, now that the KMS has answered.
func (c *call) complete(ctx context.Context, a *answer) {
	cfg := &c.h.cfg
	m := &keytrailv1.Call{
		CallId:    new(newCallID()),
		Operation: new(c.operation),
		Time:      timestamppb.New(cfg.Now()),
	}
	c.message = m
	if c.params != nil {
		m.RequestParameters = c.body
	}
	m.DryRun = string(c.params["DryRun"]) == "true"

	var response members
	accepted, found := a.success(), a.success()
	if a.success() {
		response = c.setResponse(ctx, a)
	} else {
		code, message := errorOf(a)
		m.Error = &keytrailv1.CallError{Code: new(code)}
		if message != "" {
			m.Error.Message = new(message)
		}
		// What an answer says that the KMS did not finish is not certain.
		f := failures[code]
		accepted, found = f.known, f.found
	}

	proven := c.proven(accepted)
	m.Caller = c.caller(proven)
	if cfg.Account != "" {
		m.AccountId = new(cfg.Account)
	}
	region := c.region(proven)
	if found {
		m.Keys = c.keys(ctx, response, region, m.Caller.GetAccountId())
	}
	if region == "" && len(m.Keys) > 0 {
		region = regionOf(m.Keys[0].GetArn())
	}
	if region != "" {
		m.Region = new(region)
	}

	if ip := sourceOf(c.r, cfg.TrustedProxies); ip != "" {
		m.SourceIpAddress = new(ip)
	}
	if ua := c.r.UserAgent(); ua != "" {
		m.UserAgent = new(cutText(ua))
	}
	if id := a.sent.Get("X-Amzn-Requestid"); id != "" {
		m.RequestId = new(cutText(id))
	}
	m.TlsDetails = tlsOf(c.r)
}

const (
	// maxText is the most of a header that a record has.
	maxText = 1 << 10

	// maxLogged is the most bytes of a request that may be logged: the answer
	// may repeat them, and one call must fit into a message to the bus.
	maxLogged = 100 << 10
)

// cutText is the beginning of a client's text that a record can have: with a
// longer one, the client could have a call served that nothing takes.
func cutText(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") // no part of a character
}

// loggedBytes is how much of a request would be recorded.
func loggedBytes(operation string, body []byte) int {
	if len(body) <= maxLogged {
		return len(body) // little enough
	}
	return len(record.Redact(&keytrailv1.Call{Operation: &operation, RequestParameters: body}).GetRequestParameters())
}

// setResponse puts the answer into the message, and returns its members.
func (c *call) setResponse(ctx context.Context, a *answer) members {
	if a.tooLarge || len(a.body) == 0 {
		return nil
	}
	text := a.text()
	if string(bytes.TrimSpace(text)) == "null" {
		return nil // what moto says instead of nothing
	}
	response, ok := readMembers(text)
	if !ok {
		// The call happened, so it is recorded, with what is certain.
		c.h.cfg.Logger.WarnContext(ctx, "kmshttp: an answer is not one JSON object without repeated names: it is recorded without it",
			"call_id", c.message.GetCallId(), "operation", c.operation)
		return nil
	}
	c.message.Response = text
	extra := make(members)
	for name, as := range map[string]string{
		"KeyMaterialId":            "keyMaterialId",
		"SourceKeyMaterialId":      "sourceKeyMaterialId",
		"DestinationKeyMaterialId": "destinationKeyMaterialId",
	} {
		if _, ok := response.text(name); ok {
			extra[as] = response[name]
		}
	}
	if len(extra) > 0 {
		if b, err := json.Marshal(extra, json.Deterministic(true)); err == nil {
			c.message.AdditionalEventData = b
		}
	}
	return response
}

// newCallID is a UUIDv7: it fails only if the system has no randomness, when
// nothing else works either.
func newCallID() string { return uuid.Must(uuid.NewV7()).String() }

// sourceOf is the address that r comes from: past the proxies that are
// trusted, the last that one of them saw.
func sourceOf(r *http.Request, trusted []netip.Prefix) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	at, err := netip.ParseAddr(host)
	if err != nil {
		return "" // a Unix socket
	}
	at = at.Unmap().WithZone("")
	seen := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(seen) {
		if !slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(at) }) {
			break
		}
		next, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break
		}
		at = next.Unmap().WithZone("")
	}
	return at.String()
}

// tlsOf describes the connection of r, nil if it has no TLS.
func tlsOf(r *http.Request) *keytrailv1.TlsDetails {
	if r.TLS == nil {
		return nil
	}
	d := &keytrailv1.TlsDetails{
		TlsVersion:  new(strings.Replace(tls.VersionName(r.TLS.Version), "TLS ", "TLSv", 1)),
		CipherSuite: new(tls.CipherSuiteName(r.TLS.CipherSuite)),
	}
	if r.Host != "" {
		d.ClientProvidedHostHeader = new(cutText(r.Host))
	}
	if r.TLS.CurveID != 0 {
		d.KeyExchange = new(curveName(r.TLS.CurveID))
	}
	return d
}

// curveName is the name that CloudTrail has for a key exchange: that of IANA.
func curveName(id tls.CurveID) string {
	switch id {
	case tls.CurveP256:
		return "secp256r1"
	case tls.CurveP384:
		return "secp384r1"
	case tls.CurveP521:
		return "secp521r1"
	case tls.X25519:
		return "x25519"
	default:
		return fmt.Sprint(id) // X25519MLKEM768
	}
}
