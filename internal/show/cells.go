package show

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

// none stands for what a record does not say.
const none = "-"

func orNone(s string) string {
	if s == "" {
		return none
	}
	return Text(s)
}

// eventTime is when the call completed, in UTC. Fractions are left out.
func eventTime(r *keytrailv1.Record) string {
	t := r.GetEventTime()
	if t == nil {
		return none
	}
	return t.AsTime().Format(time.RFC3339)
}

func outcome(h *record.Header) string {
	switch {
	case !h.Failed():
		return "ok"
	case h.Denied():
		return "DENIED"
	default:
		return Text(h.ErrorCode)
	}
}

// who says who called, and through which service.
func who(u *keytrailv1.UserIdentity) string {
	name, service := caller(u), u.GetInvokedBy()
	switch {
	case name == "" && service == "":
		return orNone(u.GetType())
	case name == "":
		return Text(service)
	case service == "":
		return Text(name)
	default:
		return Text(name) + " via " + Text(strings.TrimSuffix(service, ".amazonaws.com"))
	}
}

// caller is the name of a principal as people know it; "" when a service, or
// nobody, is behind the call.
func caller(u *keytrailv1.UserIdentity) string {
	switch u.GetType() {
	case "Root": // its userName is an alias of the account
		return "root"
	case "AWSAccount": // a stranger, of whom the owner of a key may know this much
		if u.GetAccountId() != "" {
			return "account " + u.GetAccountId()
		}
	case "AWSService":
		return ""
	}
	if u.GetUserName() != "" {
		return u.GetUserName()
	}
	for _, kind := range []string{":assumed-role/", ":federated-user/", ":user/", ":role/"} {
		if _, name, ok := strings.Cut(u.GetArn(), kind); ok && name != "" {
			return name
		}
	}
	if u.GetArn() != "" {
		return u.GetArn()
	}
	return u.GetPrincipalId()
}

// keys are the IDs of the keys that the call was about, and the alias that
// the caller wrote for the key, if it did.
func keys(r *keytrailv1.Record, h *record.Header) string {
	ids := make([]string, 0, 2)
	for _, arn := range h.Keys {
		ids = append(ids, Text(record.KeyID(arn)))
	}
	alias := requestedAlias(r)
	if len(ids) == 0 {
		return orNone(alias)
	}
	s := strings.Join(ids, ",")
	if alias != "" {
		s += " (" + Text(alias) + ")"
	}
	return s
}

// requestedAlias is the alias in the request that stood for the key, or "".
func requestedAlias(r *keytrailv1.Record) string {
	if !bytes.Contains(r.GetRequestParameters(), []byte("alias/")) { // spares parsing most requests
		return ""
	}
	var request struct {
		KeyID json.RawMessage `json:"keyId"`
		Alias json.RawMessage `json:"aliasName"`
	}
	if json.Unmarshal(r.GetRequestParameters(), &request) != nil {
		return ""
	}
	for _, member := range []json.RawMessage{request.KeyID, request.Alias} {
		var name string
		if len(member) == 0 || json.Unmarshal(member, &name) != nil {
			continue // another shape than KMS gives it
		}
		if i := strings.Index(name, "alias/"); i == 0 || i > 0 && name[i-1] == ':' {
			return name[i:] // an ARN's account and Region would only take space
		}
	}
	return ""
}
