package record

import (
	"google.golang.org/protobuf/types/known/timestamppb"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// made is the memory of one record: all its messages and strings in one piece,
// for a record would otherwise be some forty small ones.
type made struct {
	record     keytrailv1.Record
	time       timestamppb.Timestamp
	identity   keytrailv1.UserIdentity
	session    keytrailv1.SessionContext
	attributes keytrailv1.SessionAttributes
	issuer     keytrailv1.SessionIssuer
	tls        keytrailv1.TlsDetails
	resources  keytrailv1.ResourceList
	resource   [2]keytrailv1.Resource
	entries    [2]*keytrailv1.Resource

	texts [32]string // each is used once; few records have more
	used  int
	flags [3]bool
}

// text returns a new *string of s.
func (m *made) text(s string) *string {
	if m.used == len(m.texts) {
		more := new(string)
		*more = s
		return more
	}
	p := &m.texts[m.used]
	m.used++
	*p = s
	return p
}

// same returns a new *string of what s points to; nil for nil.
func (m *made) same(s *string) *string {
	if s == nil {
		return nil
	}
	return m.text(*s)
}

// caller is a copy of u without its verbatim fields, which no allow-list covers.
func (m *made) caller(u *keytrailv1.UserIdentity) *keytrailv1.UserIdentity {
	if u == nil {
		return nil
	}
	c := &m.identity
	c.Type = m.same(u.Type)
	c.PrincipalId = m.same(u.PrincipalId)
	c.Arn = m.same(u.Arn)
	c.AccountId = m.same(u.AccountId)
	c.AccessKeyId = m.same(u.AccessKeyId)
	c.UserName = m.same(u.UserName)
	c.InvokedBy = m.same(u.InvokedBy)
	c.IdentityProvider = m.same(u.IdentityProvider)
	c.CredentialId = m.same(u.CredentialId)
	c.OnBehalfOf = onBehalfOf.identity(u.OnBehalfOf)
	c.InScopeOf = inScopeOf.identity(u.InScopeOf)
	c.SessionContext = m.sessionContext(u.SessionContext)
	return c
}

// reduced is what the owner of a key sees of u: which account and principal
// called, and of a service, which service.
func (m *made) reduced(u *keytrailv1.UserIdentity) *keytrailv1.UserIdentity {
	c := &m.identity
	if u.GetType() == serviceType {
		c.Type = m.text(serviceType)
		c.InvokedBy = m.same(u.InvokedBy)
		return c
	}
	c.Type = m.text(reducedType)
	c.PrincipalId = m.same(u.PrincipalId)
	c.AccountId = m.same(u.AccountId)
	return c
}

func (m *made) sessionContext(s *keytrailv1.SessionContext) *keytrailv1.SessionContext {
	if s == nil {
		return nil
	}
	c := &m.session
	c.WebIdFederationData = webIDFederationData.identity(s.WebIdFederationData)
	c.SourceIdentity = m.same(s.SourceIdentity)
	c.Ec2RoleDelivery = m.same(s.Ec2RoleDelivery)
	c.Ec2IssuedInVpc = m.same(s.Ec2IssuedInVpc)
	c.AssumedRoot = m.same(s.AssumedRoot)
	if a := s.Attributes; a != nil {
		c.Attributes = &m.attributes
		c.Attributes.CreationDate = m.same(a.CreationDate)
		c.Attributes.MfaAuthenticated = m.same(a.MfaAuthenticated)
	}
	if i := s.SessionIssuer; i != nil {
		c.SessionIssuer = &m.issuer
		c.SessionIssuer.Type = m.same(i.Type)
		c.SessionIssuer.UserName = m.same(i.UserName)
		c.SessionIssuer.PrincipalId = m.same(i.PrincipalId)
		c.SessionIssuer.Arn = m.same(i.Arn)
		c.SessionIssuer.AccountId = m.same(i.AccountId)
	}
	return c
}

// tlsDetails is a copy of t without its verbatim field.
func (m *made) tlsDetails(t *keytrailv1.TlsDetails) *keytrailv1.TlsDetails {
	if t == nil {
		return nil
	}
	c := &m.tls
	c.TlsVersion = m.same(t.TlsVersion)
	c.CipherSuite = m.same(t.CipherSuite)
	c.ClientProvidedHostHeader = m.same(t.ClientProvidedHostHeader)
	c.KeyExchange = m.same(t.KeyExchange)
	return c
}

// The members of the caller's JSON objects, which are spelt as CloudTrail does.
var (
	onBehalfOf          = newMembers("UserId IdentityStoreArn")
	inScopeOf           = newMembers("SourceArn SourceAccount IssuerType CredentialsIssuedTo")
	webIDFederationData = newMembers("FederatedProvider Attributes")
)

// identity is what the allow-list lets through of an object of the caller's.
// It is null for null, and `[]` for what is neither, which the checks refuse.
func (m *members) identity(text []byte) []byte {
	if text == nil {
		return nil
	}
	if k, err := jsonKind(text); err == nil && k == 'n' {
		return []byte("null")
	}
	out, _, ok := m.appendAllowed(nil, text, loggedNames, loggedNames)
	if !ok {
		return []byte("[]")
	}
	return out
}
