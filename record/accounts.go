package record

import (
	"cmp"
	"crypto/sha1"

	"github.com/google/uuid"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// eventSpace is the namespace of the event IDs that are made of calls. It must
// never change: a call that is published again would be recorded again.
var eventSpace = uuid.MustParse("741ddefc-870c-4d9e-b752-85f0ee73c982")

// Parts that a record plays in its call, for event IDs.
const (
	partCall   = "call"
	partSecond = "second"
	partShared = "shared"
)

// eventID is the UUID of version 5 of a call's record. Account, Region and part
// have no NUL bytes.
func eventID(callID, account, region, part string) string {
	// uuid.NewSHA1 by hand, which allocates nothing.
	var room [512]byte
	text := append(room[:0], eventSpace[:]...)
	text = append(append(text, account...), 0)
	text = append(append(text, region...), 0)
	text = append(append(text, part...), 0)
	text = append(text, callID...)
	sum := sha1.Sum(text)
	id := uuid.UUID(sum[:16])
	id[6] = id[6]&0x0f | 5<<4
	id[8] = id[8]&0x3f | 0x80
	return id.String()
}

// recipients returns the accounts that get a record, the caller's first.
func (p *plan) recipients() (accounts [3]string, n int) {
	add := func(account string) {
		for _, a := range accounts[:n] {
			if a == account {
				return
			}
		}
		accounts[n] = account
		n++
	}
	if p.callers != "" {
		add(p.callers)
	}
	if p.callers == "" || !p.denied {
		for _, k := range p.keys[:p.keyN] {
			if p.denied && n > 0 {
				break
			}
			add(k.owner())
		}
	}
	if n == 0 {
		add(p.GetAccountId())
	}
	return accounts, n
}

// records makes the records of the call.
func (p *plan) records() []*keytrailv1.Record {
	accounts, n := p.recipients()
	count := n
	if p.region != "" {
		count++
	}
	shared := ""
	if n > 1 {
		shared = eventID(p.GetCallId(), "", p.GetRegion(), partShared)
	}
	records := make([]*keytrailv1.Record, 0, count)
	for _, account := range accounts[:n] {
		records = append(records, p.record(account, shared))
	}
	if p.region != "" {
		records = append(records, p.secondRecord(accounts[0]))
	}
	return records
}

// envelope makes what all records of the call have in common.
func (p *plan) envelope(op *Operation, name, account, region, part string) *made {
	m := new(made)
	m.flags = [3]bool{op.ReadOnly, true, true}
	m.time.Seconds = p.Time.Seconds

	r := &m.record
	r.EventId = m.text(eventID(p.GetCallId(), account, region, part))
	r.EventName = m.text(name)
	r.RecipientAccountId = m.text(account)
	r.AwsRegion = m.text(region)
	r.ReadOnly = &m.flags[0]
	r.EventSource = m.text(EventSource)
	r.EventTime = &m.time
	r.EventVersion = m.text(p.version)
	r.EventCategory = m.text(categoryOf)
	r.ManagementEvent = &m.flags[1]
	if p.SessionCredentialFromConsole {
		r.SessionCredentialFromConsole = &m.flags[2]
	}

	r.EventType = m.text("AwsApiCall")
	if op.Class == ServiceEvent {
		*r.EventType = "AwsServiceEvent"
	} else if p.RequestId != nil {
		r.RequestId = m.text(cutText(p.GetRequestId()))
	}
	r.SourceIpAddress, r.UserAgent = m.same(p.SourceIpAddress), m.same(p.UserAgent)
	if op.Class.Internal() {
		if r.SourceIpAddress == nil {
			r.SourceIpAddress = m.text(internalActor)
		}
		if r.UserAgent == nil {
			r.UserAgent = m.text(internalActor)
		}
	}
	if r.UserAgent != nil {
		*r.UserAgent = cutText(*r.UserAgent)
	}
	r.VpcEndpointId = m.same(p.VpcEndpointId)
	r.VpcEndpointAccountId = m.same(p.VpcEndpointAccountId)
	r.TlsDetails = m.tlsDetails(p.TlsDetails)
	return m
}

// record makes the record of the call for one account.
func (p *plan) record(account, shared string) *keytrailv1.Record {
	m := p.envelope(p.op, p.GetOperation(), account, p.GetRegion(), partCall)
	r := &m.record
	if p.code != "" {
		r.ErrorCode = m.text(cutText(p.code))
		if p.message != "" {
			r.ErrorMessage = m.text(p.message)
		}
	}
	if shared != "" {
		r.SharedEventId = m.text(shared)
	}
	r.RequestParameters = p.request
	r.ResponseElements = p.response
	r.AdditionalEventData = p.additional
	r.ServiceEventDetails = p.details

	foreign := p.callers != "" && p.callers != account
	switch {
	case p.op.Class.Internal() && p.Caller.GetType() == "" && p.Caller.GetInvokedBy() == "":
		r.UserIdentity = &m.identity
		m.identity.AccountId = m.text(cmp.Or(p.callers, account))
		m.identity.InvokedBy = m.text(internalActor)
	case foreign && !p.full:
		r.UserIdentity = m.reduced(p.Caller)
	default:
		r.UserIdentity = m.caller(p.Caller)
	}
	p.addResources(m, account, p.trim && account != p.callers)
	return r
}

// addResources lists keys and aliases in CloudTrail's order.
func (p *plan) addResources(m *made, account string, trim bool) {
	if p.op.Keys == Absent || p.op == &unknownOperation && p.keyN == 0 {
		return
	}
	m.resources.Entries = m.entries[:0:len(m.entries)]
	add := func(arn, owner string) {
		e := &m.resource[len(m.resources.Entries)]
		e.Arn, e.AccountId, e.Type = m.text(arn), m.text(owner), m.text(keyType)
		m.resources.Entries = append(m.resources.Entries, e)
	}
	for i, k := range p.keys[:p.keyN] {
		if trim && k.owner() != account {
			continue
		}
		switch alias := p.aliases[i]; {
		case alias != "" && p.op.Keys == AliasThenKey:
			add(alias, k.owner())
			add(k.arn, k.owner())
		case alias != "" && p.op.Keys == KeyThenAlias:
			add(k.arn, k.owner())
			add(alias, k.owner())
		default:
			add(k.arn, k.owner())
		}
	}
	m.record.Resources = &m.resources
}

// secondRecord makes the record in the other Region, where the KMS acts for the
// caller.
func (p *plan) secondRecord(account string) *keytrailv1.Record {
	op := p.op.second
	m := p.envelope(op, op.Name, account, p.region, partSecond)
	r := &m.record
	r.UserIdentity = m.caller(p.Caller)
	r.UserIdentity.InvokedBy = m.text(secondActor)
	key := p.keys[0].in(p.region)

	r.ResponseElements = []byte("null")
	if op == p.op {
		// The new primary's record names the key there, and no resources.
		buf, _, _ := moved.appendAllowed(nil, p.RequestParameters, apiNames, loggedNames)
		r.RequestParameters = appendMember(buf, 0, "keyId", key)
		if !p.notEnriched[op.Name] {
			r.ResponseElements = appendMember(nil, 0, "keyId", key)
		}
		return r
	}
	// What both operations log.
	sent := p.op.request.redacted(p.RequestParameters, apiNames)
	buf, _, _ := op.request.appendAllowed(nil, sent, apiNames, loggedNames)
	r.RequestParameters, _ = cutObject(buf, 0, maxParameters, true)
	if p.Response != nil {
		buf, _, _ = replica.appendAllowed(nil, p.Response, apiNames, loggedNames)
		r.ResponseElements, _ = cutObject(buf, 0, maxParameters, true)
	}
	m.resources.Entries = append(m.entries[:0:len(m.entries)], &m.resource[0])
	m.resource[0].Arn, m.resource[0].AccountId, m.resource[0].Type = m.text(key), m.text(p.keys[0].owner()), m.text(keyType)
	r.Resources = &m.resources
	return r
}
