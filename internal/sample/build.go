package sample

import (
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// call is one call of the KMS, from which its records are built.
type call struct {
	op        *operation
	key, dest *key
	primary   *key // of which key is the replica
	failure   *failure
	who       *principal
	service   *service // that the call came through
	account   *account // the caller's
	recipient *account
	region    *region
	context   *template
	tls       *tlsProfile
	endpoint  *endpoint
	address   *string
	agent     *string

	requested string // the key, as the caller names it
	byID      bool   // the caller names it, where that is optional
	attested  bool
	window    uint64 // pendingWindowInDays
	seconds   int64  // Unix time

	shared      bool // another account has a copy
	reduced     bool // the owner's copy of another's call
	noResources bool
	fromConsole bool

	// paddable means that request ends with an encryption context.
	paddable bool

	ids struct{ event, request, shared [2]uint64 }
}

// writeJSON fills g's buffers with the free-form members of c's record. An
// empty buffer stands for a member that is absent.
func (g *Generator) writeJSON(c *call) {
	const null = "null"
	g.request = append(g.request[:0], null...)
	if c.op.request != "" {
		g.request = g.expand(g.request[:0], c.op.requestParts, c)
	}
	g.response = append(g.response[:0], null...)
	switch {
	case c.op.response == "" || c.failure != nil:
	case c.op == replicateKey: // which answers with the replica
		rc := *c
		rc.primary, rc.key = c.key, c.key.inReplicaRegion()
		g.response = g.expand(g.response[:0], c.op.responseParts, &rc)
	default:
		g.response = g.expand(g.response[:0], c.op.responseParts, c)
	}
	g.details = g.details[:0]
	if c.op.shape&internal != 0 {
		g.details = g.expand(g.details, serviceDetails[c.op.name], c)
	}
	g.extra = g.extra[:0]
	switch {
	case c.failure != nil && (c.failure.code == accessDenied || c.failure.unresolved):
	case c.op.extra != "":
		g.extra = g.expand(g.extra, c.op.extraParts, c)
	case c.op.name == "DeleteKey" && c.key.kind == cloudHSM:
		g.extra = g.expand(g.extra, deletedStatus, c)
	case c.op.name == "ScheduleKeyDeletion" && c.key.kind == cloudHSM:
		g.extra = g.expand(g.extra, deletedInHSM, c)
	case c.op.name == "CreateKey" && c.key.kind == cloudHSM:
		g.extra = g.expand(g.extra, createdInHSM, c)
	default:
		g.extra = g.use(g.extra, c)
	}
}

// use appends an object of what there is to say about a cryptographic call, if
// there is anything.
func (g *Generator) use(dst []byte, c *call) []byte {
	start := len(dst)
	add := func(t template) {
		if len(dst) == start {
			dst = append(dst, '{')
		} else {
			dst = append(dst, ',')
		}
		dst = g.expand(dst, t, c)
	}
	kind := c.key.kind
	switch {
	case c.op.shape&store != 0 && kind == cloudHSM:
		add(usedStore)
	case c.op.shape&store != 0 && kind == external:
		add(usedExternal)
	case c.op.shape&material != 0 && kind&symmetricKinds != 0 && c.failure == nil:
		add(usedMaterial)
	}
	if c.attested {
		add(usedEnclave)
	}
	if len(dst) > start {
		dst = append(dst, '}')
	}
	return dst
}

// block is a record with all that it points to, so that a record costs one
// allocation, not fifty.
type block struct {
	record     keytrailv1.Record
	time       timestamppb.Timestamp
	identity   keytrailv1.UserIdentity
	session    keytrailv1.SessionContext
	attributes keytrailv1.SessionAttributes
	issuer     keytrailv1.SessionIssuer
	tls        keytrailv1.TlsDetails
	list       keytrailv1.ResourceList
	resources  [2]keytrailv1.Resource
	entries    [2]*keytrailv1.Resource

	strings [48]string
	used    int
	bools   [3]bool
	usedB   int

	json []byte // free
}

func (b *block) str(s string) *string {
	p := &b.strings[b.used]
	b.used++
	*p = s
	return p
}

// opt is str, with "" for absent.
func (b *block) opt(s string) *string {
	if s == "" {
		return nil
	}
	return b.str(s)
}

func (b *block) boolean(v bool) *bool {
	p := &b.bools[b.usedB]
	b.usedB++
	*p = v
	return p
}

// copyJSON returns a copy of text that appending to can't spoil others, or
// nil if there is none.
func (b *block) copyJSON(text []byte) []byte {
	n := len(text)
	if n == 0 {
		return nil
	}
	out := b.json[:n:n]
	b.json = b.json[n:]
	copy(out, text)
	return out
}

// build makes the record of c, with g's buffers as its free-form members.
func (g *Generator) build(c *call) *keytrailv1.Record {
	b := &block{}
	b.json = make([]byte, len(g.request)+len(g.response)+len(g.extra)+len(g.details)+len(c.who.federation))
	event, request, shared := c.idText()

	r := &b.record
	r.EventId = b.str(event)
	r.EventName = b.str(c.op.name)
	r.RecipientAccountId = b.str(c.recipient.id)
	r.AwsRegion = b.str(c.region.name)
	b.addResources(c)
	r.ReadOnly = b.boolean(c.op.shape&readOnly != 0)
	if c.failure != nil {
		r.ErrorCode = b.str(c.failure.code)
		if c.failure.message != "" {
			r.ErrorMessage = b.str(string(g.expand(nil, c.failure.messageParts, c)))
		}
	}
	r.EventSource = b.str("kms.amazonaws.com")
	b.time.Seconds = c.seconds
	r.EventTime = &b.time
	g.addIdentity(b, c)
	r.EventVersion = b.str("1.11")
	switch {
	case c.op.shape&internal != 0:
		r.SourceIpAddress, r.UserAgent = b.str("AWS Internal"), b.str("AWS Internal")
	case c.service != nil:
		r.SourceIpAddress, r.UserAgent = b.str(c.service.dns), b.str(c.service.dns)
	default:
		r.SourceIpAddress, r.UserAgent = b.str(*c.address), b.str(*c.agent)
	}
	r.RequestParameters = b.copyJSON(g.request)
	r.ResponseElements = b.copyJSON(g.response)
	r.AdditionalEventData = b.copyJSON(g.extra)
	r.ServiceEventDetails = b.copyJSON(g.details)
	r.EventType = b.str("AwsApiCall")
	if c.op.shape&internal != 0 && c.op.name != "SynchronizeMultiRegionKey" {
		*r.EventType = "AwsServiceEvent"
	} else {
		r.RequestId = b.str(request)
	}
	r.ManagementEvent = b.boolean(true)
	if c.shared {
		r.SharedEventId = b.str(shared)
	}
	r.EventCategory = b.str("Management")
	if c.fromConsole {
		r.SessionCredentialFromConsole = b.boolean(true)
	}
	b.addConnection(c)
	if g.pad > 0 {
		g.padTo(r, c.paddable)
	}
	return r
}

func (c *call) idText() (event, request, shared string) {
	var buf [3 * 36]byte
	text := appendUUID(buf[:0], c.ids.event)
	text = appendUUID(text, c.ids.request)
	if c.shared {
		text = appendUUID(text, c.ids.shared)
	}
	s := string(text)
	return s[:36], s[36:72], s[72:]
}

func (b *block) addResources(c *call) {
	if c.op.shape&noMember != 0 || c.noResources {
		return
	}
	r := &b.record
	r.Resources = &b.list
	if c.op.shape&noKeys != 0 || c.failure != nil && c.failure.unresolved {
		return
	}
	k := c.key
	n := 1
	b.resource(0, k.arn, k.account.id)
	switch {
	case c.op.shape&twoKeys != 0:
		b.resource(1, c.dest.arn, c.dest.account.id)
		n = 2
	case c.op.shape&(keyAlias|aliasKey) != 0:
		b.resource(1, "arn:aws:kms:"+k.region.name+":"+k.account.id+":"+k.aliasName(), k.account.id)
		n = 2
	}
	if c.op.shape&aliasKey != 0 {
		b.entries[0], b.entries[1] = b.entries[1], b.entries[0]
	}
	b.list.Entries = b.entries[:n:n]
}

func (b *block) resource(i int, arn, account string) {
	e := &b.resources[i]
	e.Arn, e.AccountId, e.Type = b.str(arn), b.str(account), b.str("AWS::KMS::Key")
	b.entries[i] = e
}

func (g *Generator) addIdentity(b *block, c *call) {
	u, p := &b.identity, c.who
	b.record.UserIdentity = u
	if c.reduced {
		u.Type, u.PrincipalId, u.AccountId = b.str("AWSAccount"), b.str(p.id), b.str(p.account)
		return
	}
	u.Type, u.PrincipalId, u.Arn = b.opt(p.typ), b.opt(p.id), b.opt(p.arn)
	u.AccountId, u.AccessKeyId, u.UserName = b.opt(p.account), b.opt(p.accessKey), b.opt(p.userName)
	switch {
	case p.invokedBy != "":
		u.InvokedBy = b.str(p.invokedBy)
	case c.service != nil:
		u.InvokedBy = b.str(c.service.dns)
	}
	if c.op.shape&internal != 0 {
		u.AccountId = b.str(c.key.account.id)
	}
	if p.role == "" && !p.console {
		return
	}
	s := &b.session
	u.SessionContext = s
	s.Attributes = &b.attributes
	b.attributes.CreationDate = b.str(g.sessionTime(c.seconds))
	b.attributes.MfaAuthenticated = b.str(strconv.FormatBool(p.console))
	if p.role == "" {
		return
	}
	s.SessionIssuer = &b.issuer
	b.issuer.Type, b.issuer.UserName, b.issuer.PrincipalId = b.str("Role"), b.str(p.role), b.str(p.roleID)
	b.issuer.Arn, b.issuer.AccountId = b.str(p.roleARN), b.str(p.account)
	s.WebIdFederationData = b.copyJSON([]byte(p.federation))
	s.Ec2RoleDelivery = b.opt(p.delivery)
}

// sessionTime is when the sessions in use began: at the last full hour. The
// text is kept, since most calls are of the same hour as the one before.
func (g *Generator) sessionTime(seconds int64) string {
	if at := seconds - seconds%3600; at != g.sessionAt || g.session == "" {
		g.sessionAt, g.session = at, time.Unix(at, 0).UTC().Format(time.RFC3339)
	}
	return g.session
}

// addConnection adds what is known of the connection, which is only of those
// that clients make themselves.
func (b *block) addConnection(c *call) {
	if c.tls == nil || c.service != nil {
		return
	}
	r, host := &b.record, c.region.host
	if c.endpoint != nil {
		r.VpcEndpointId = b.str(c.endpoint.id)
		host = c.endpoint.host
	}
	r.TlsDetails = &b.tls
	b.tls.TlsVersion, b.tls.CipherSuite = b.str(c.tls.version), b.str(c.tls.suite)
	b.tls.ClientProvidedHostHeader, b.tls.KeyExchange = b.str(host), b.opt(c.tls.exchange)
}

// padTo makes r about g.pad bytes long.
func (g *Generator) padTo(r *keytrailv1.Record, paddable bool) {
	const (
		inContext = `,"trail":""}}`
		inTags    = `{"tagContext":{"principalTags":{"notes":""}}}`
		mostBytes = 8192 // of an encryption context
	)
	missing := g.pad - proto.Size(r)
	if paddable && missing > len(inContext) && missing < mostBytes-1000 {
		fill := missing - len(inContext) + 2 // its closing braces take the place of two
		old := r.RequestParameters
		text := make([]byte, 0, len(old)+missing+8)
		text = append(text, old[:len(old)-2]...)
		text = append(text, inContext[:len(inContext)-3]...)
		text = g.appendFiller(text, fill)
		r.RequestParameters = append(text, inContext[len(inContext)-3:]...)
		return
	}
	if fill := missing - len(inTags) - 4; fill > 0 { // 4: the field's number and length
		text := make([]byte, 0, missing+8)
		text = append(text, inTags[:len(inTags)-4]...)
		text = g.appendFiller(text, fill)
		r.EventContext = append(text, inTags[len(inTags)-4:]...)
	}
}

// appendFiller appends n characters that do not compress well, as the IDs and
// digests in real contexts do not.
func (g *Generator) appendFiller(dst []byte, n int) []byte {
	for end := len(dst) + n; ; {
		dst = appendHex(dst, g.rng.Uint64())
		if len(dst) >= end {
			return dst[:end]
		}
	}
}
