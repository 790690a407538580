package record

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// Limits of a call's fields, in bytes.
const (
	maxCallID    = 256
	maxOperation = 256
	maxARN       = 2048

	// MaxCallBytes is the largest encoded call that is recorded.
	MaxCallBytes = 262144
)

// dryRunCode is the error of a dry run that would have succeeded.
const dryRunCode = "DryRunOperationException"

// checkedCall is a call that can be recorded, with what its checks found.
type checkedCall struct {
	*keytrailv1.Call
	op   *Operation
	size int // encoded; at most, unless it is long

	code   string // why the call failed; "" if it did not
	denied bool   // refused for want of access

	keys    [2]keyARN
	aliases [2]string // the ARN; "" if the call gives none
	keyN    int

	region  string // of the second record; "" if there is none
	callers string // the caller's account, "" if it has none
}

// operationOf returns the catalogue's row, or the one for unknown operations.
func operationOf(c *keytrailv1.Call) *Operation {
	if op, known := operationsByName[c.GetOperation()]; known {
		return op
	}
	return &unknownOperation
}

// failed reports whether the call had no effect and no response.
func failed(c *keytrailv1.Call) bool { return c.Error != nil || c.DryRun }

// responseOf is what the records of c take from its response.
func (op *Operation) responseOf(c *keytrailv1.Call) *members {
	switch {
	case failed(c):
		return unknownOperation.response
	case op.Class == Cryptographic:
		return op.facts
	}
	return op.response
}

func callProblem(code keytrailv1.RejectionCode, field, message string) *Problem {
	return &Problem{code, "call." + field, message}
}

// check is the first problem of the call but for its JSON text.
func (c *checkedCall) check() *Problem {
	if len(c.Keys) > len(c.keys) {
		return callProblem(codeInvalid, "keys", "must be at most 2 keys")
	}
	if p := c.checkHidden(); p != nil {
		return p
	}
	texts := textsOf(c.Call)
	// Few calls are so long that their exact size matters.
	if c.size = c.atMost(&texts); c.size > MaxBytes/2 {
		c.size = proto.Size(c.Call)
	}
	if c.size > MaxCallBytes {
		return &Problem{codeTooLarge, "call", fmt.Sprintf("encoded, the call is longer than %d bytes", MaxCallBytes)}
	}
	if p := c.checkTexts(&texts); p != nil {
		return p
	}
	c.op = operationOf(c.Call)
	if p := c.checkRequired(); p != nil {
		return p
	}
	if p := c.checkKeys(); p != nil {
		return p
	}
	return c.checkAccounts()
}

// checkHidden refuses protobuf fields that nobody here can see.
func (c *checkedCall) checkHidden() *Problem {
	hidden := func(field string) *Problem {
		return &Problem{codeInvalid, field, "has protobuf fields that this bus does not know: upgrade the bus before its producers"}
	}
	switch session := c.Caller.GetSessionContext(); {
	case unknownIn(c.Call):
		return hidden("call")
	case c.Time != nil && unknownIn(c.Time):
		return hidden("call.time")
	case c.Caller != nil && unknownIn(c.Caller):
		return hidden("call.caller")
	case session != nil && unknownIn(session):
		return hidden("call.caller.session_context")
	case session.GetAttributes() != nil && unknownIn(session.Attributes):
		return hidden("call.caller.session_context.attributes")
	case session.GetSessionIssuer() != nil && unknownIn(session.SessionIssuer):
		return hidden("call.caller.session_context.session_issuer")
	case c.Error != nil && unknownIn(c.Error):
		return hidden("call.error")
	case c.TlsDetails != nil && unknownIn(c.TlsDetails):
		return hidden("call.tls_details")
	}
	for i, k := range c.Keys {
		if k != nil && unknownIn(k) {
			return hidden(fmt.Sprintf("call.keys[%d]", i))
		}
	}
	return nil
}

// callText is a string of a call and its field.
type callText struct{ name, text string }

type callTexts [35]callText

// textsOf are all strings of the call but those of its keys.
func textsOf(c *keytrailv1.Call) callTexts {
	u, s := c.Caller, c.Caller.GetSessionContext()
	a, issuer := s.GetAttributes(), s.GetSessionIssuer()
	return [...]callText{
		{"call_id", c.GetCallId()},
		{"operation", c.GetOperation()},
		{"region", c.GetRegion()},
		{"account_id", c.GetAccountId()},
		{"source_ip_address", c.GetSourceIpAddress()},
		{"user_agent", c.GetUserAgent()},
		{"vpc_endpoint_id", c.GetVpcEndpointId()},
		{"vpc_endpoint_account_id", c.GetVpcEndpointAccountId()},
		{"request_id", c.GetRequestId()},
		{"error.code", c.Error.GetCode()},
		{"error.message", c.Error.GetMessage()},
		{"tls_details.tls_version", c.TlsDetails.GetTlsVersion()},
		{"tls_details.cipher_suite", c.TlsDetails.GetCipherSuite()},
		{"tls_details.client_provided_host_header", c.TlsDetails.GetClientProvidedHostHeader()},
		{"tls_details.key_exchange", c.TlsDetails.GetKeyExchange()},
		{"caller.type", u.GetType()},
		{"caller.principal_id", u.GetPrincipalId()},
		{"caller.arn", u.GetArn()},
		{"caller.account_id", u.GetAccountId()},
		{"caller.access_key_id", u.GetAccessKeyId()},
		{"caller.user_name", u.GetUserName()},
		{"caller.invoked_by", u.GetInvokedBy()},
		{"caller.identity_provider", u.GetIdentityProvider()},
		{"caller.credential_id", u.GetCredentialId()},
		{"caller.session_context.source_identity", s.GetSourceIdentity()},
		{"caller.session_context.ec2_role_delivery", s.GetEc2RoleDelivery()},
		{"caller.session_context.ec2_issued_in_vpc", s.GetEc2IssuedInVpc()},
		{"caller.session_context.assumed_root", s.GetAssumedRoot()},
		{"caller.session_context.attributes.creation_date", a.GetCreationDate()},
		{"caller.session_context.attributes.mfa_authenticated", a.GetMfaAuthenticated()},
		{"caller.session_context.session_issuer.type", issuer.GetType()},
		{"caller.session_context.session_issuer.user_name", issuer.GetUserName()},
		{"caller.session_context.session_issuer.principal_id", issuer.GetPrincipalId()},
		{"caller.session_context.session_issuer.arn", issuer.GetArn()},
		{"caller.session_context.session_issuer.account_id", issuer.GetAccountId()},
	}
}

// atMost is no less than the size of the call, encoded. The call has no
// unknown fields.
func (c *checkedCall) atMost(texts *callTexts) int {
	const perField = 8 // bytes of tags and lengths
	u, s := c.Caller, c.Caller.GetSessionContext()
	n := perField * (len(texts) + 32)
	for i := range texts {
		n += len(texts[i].text)
	}
	for _, text := range [...][]byte{
		c.RequestParameters, c.Response, c.ServiceEventDetails, c.AdditionalEventData,
		u.GetOnBehalfOf(), u.GetInScopeOf(), s.GetWebIdFederationData(),
		u.GetVerbatim(), s.GetVerbatim(), s.GetAttributes().GetVerbatim(), s.GetSessionIssuer().GetVerbatim(),
		c.TlsDetails.GetVerbatim(),
	} {
		n += len(text)
	}
	for _, k := range c.Keys {
		n += len(k.GetArn()) + len(k.GetOwnerAccountId()) + len(k.GetAliasArn()) + 4*perField
	}
	return n
}

// checkTexts checks what protobuf checks on the wire, for calls that did not
// come over it, and the caller's JSON.
func (c *checkedCall) checkTexts(texts *callTexts) *Problem {
	u, s := c.Caller, c.Caller.GetSessionContext()
	for i := range texts {
		if f := &texts[i]; f.text != "" && !utf8.ValidString(f.text) {
			return callProblem(codeInvalid, f.name, "must be UTF-8")
		}
	}
	for _, f := range [...]struct {
		name string
		text []byte
	}{
		{"caller.on_behalf_of", u.GetOnBehalfOf()},
		{"caller.in_scope_of", u.GetInScopeOf()},
		{"caller.session_context.web_id_federation_data", s.GetWebIdFederationData()},
	} {
		if f.text == nil {
			continue
		}
		if k, err := jsonKind(f.text); err != nil || k != '{' && k != 'n' {
			return callProblem(codeWrongType, f.name, "must be a JSON object or null, with distinct names")
		}
	}
	return nil
}

func (c *checkedCall) checkRequired() *Problem {
	for _, f := range [...]struct {
		name, text string
		limit      int
	}{
		{"call_id", c.GetCallId(), maxCallID},
		{"operation", c.GetOperation(), maxOperation},
		{"region", c.GetRegion(), maxRegion},
	} {
		if f.text == "" {
			return callProblem(codeMissing, f.name, "is required")
		}
		if len(f.text) > f.limit {
			return callProblem(codeTooLarge, f.name, fmt.Sprintf("must be at most %d bytes", f.limit))
		}
	}
	switch {
	case !isRegion(c.GetRegion()):
		return callProblem(codeInvalid, "region", "must be a Region: letters, digits, and - . _")
	case c.Time == nil:
		return callProblem(codeMissing, "time", "is required")
	case c.Time.CheckValid() != nil:
		return callProblem(codeInvalid, "time", "must be a time in the years 1 to 9999")
	case c.op.Class.Internal():
	case c.Caller == nil:
		return callProblem(codeMissing, "caller", "is required: who called")
	case c.Caller.GetType() == "":
		return callProblem(codeMissing, "caller.type", `is required: "Unknown" if it is not known who called`)
	}
	if c.Error != nil {
		if c.code = shortCode(c.Error.GetCode()); c.code == "" {
			return callProblem(codeMissing, "error.code", "is required of an error")
		}
		if !isName(c.code) {
			return callProblem(codeInvalid, "error.code", "must be the name of an exception: letters, digits, and - . _")
		}
		c.denied = (&Header{ErrorCode: c.code}).Denied()
	} else if c.DryRun {
		c.code = dryRunCode
	}
	return nil
}

// shortCode is the name of an exception without what it may have on the wire:
// "com.amazonaws.kms#NotFoundException:http://…".
func shortCode(code string) string {
	code = code[strings.IndexByte(code, '#')+1:]
	code, _, _ = strings.Cut(code, ":")
	return code
}

func (c *checkedCall) checkKeys() *Problem {
	for i, k := range c.Keys {
		if p := c.checkKey(i, k); p != nil {
			return p
		}
	}
	c.keyN = len(c.Keys)
	least, most := c.op.Keys.count()
	if c.keyN > most {
		return callProblem(codeInvalid, "keys", "has more keys than the operation is about")
	}
	if c.keyN < least && c.code == "" {
		return callProblem(codeMissing, fmt.Sprintf("keys[%d]", c.keyN), "is required of a call that succeeded: the key that the KMS resolved the request to")
	}
	return nil
}

// count is how many keys a call of the operation may have, and a successful one
// must have.
func (k Keys) count() (least, most int) {
	switch k {
	case OneKey, KeyThenAlias, AliasThenKey:
		return 1, 1
	case TwoKeys:
		return 2, 2
	case Absent:
		return 0, 0
	}
	return 0, 2
}

func (c *checkedCall) checkKey(i int, k *keytrailv1.CallKey) *Problem {
	problem := func(code keytrailv1.RejectionCode, field, message string) *Problem {
		return callProblem(code, fmt.Sprintf("keys[%d].%s", i, field), message)
	}
	arn, owner, alias := k.GetArn(), k.GetOwnerAccountId(), k.GetAliasArn()
	if arn == "" {
		return problem(codeMissing, "arn", "is required: the ARN of the key, not of an alias")
	}
	if len(arn) > maxARN {
		return problem(codeTooLarge, "arn", fmt.Sprintf("must be at most %d bytes", maxARN))
	}
	parts, ok := parseKeyARN(arn)
	if !ok || !isAccount(parts.owner()) || !utf8.ValidString(arn) {
		return problem(codeInvalid, "arn", "must be arn:<partition>:kms:<region>:<account of 12 digits>:key/<id>")
	}
	if k.OwnerAccountId != nil && owner != parts.owner() {
		return problem(codeInvalid, "owner_account_id", "contradicts the ARN: it must be the account there, or not set")
	}
	c.keys[i], c.aliases[i] = parts, alias
	if k.AliasArn == nil {
		return nil
	}
	if len(alias) > maxARN {
		return problem(codeTooLarge, "alias_arn", fmt.Sprintf("must be at most %d bytes", maxARN))
	}
	if !parts.isAliasARN(alias) || !utf8.ValidString(alias) {
		return problem(codeInvalid, "alias_arn", "must be the ARN of an alias of the key's Region and account")
	}
	return nil
}

func (c *checkedCall) checkAccounts() *Problem {
	c.callers = c.Caller.GetAccountId()
	switch {
	case c.callers != "" && !isAccount(c.callers):
		return callProblem(codeInvalid, "caller.account_id", "must be 12 digits")
	case c.GetAccountId() != "" && !isAccount(c.GetAccountId()):
		return callProblem(codeInvalid, "account_id", "must be 12 digits")
	case c.callers == "" && c.keyN == 0 && c.GetAccountId() == "":
		return callProblem(codeMissing, "account_id", "is required of a call without a caller's account and without a key")
	}
	return nil
}

func isAccount(s string) bool {
	return len(s) == 12 && strings.Trim(s, "0123456789") == ""
}

func isRegion(s string) bool { return isName(s) && len(s) <= maxRegion }

// isName reports whether s has nothing but letters, digits, and - . _
func isName(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_':
		default:
			return false
		}
	}
	return s != ""
}
