package record

import (
	"google.golang.org/protobuf/types/known/timestamppb"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// Redact returns c without everything that [Recorder.Record] would not log, for
// producers: what must not be in a log then never leaves them. Record makes the
// same records of it as of c. Names and values stay as the API has them. Text
// that is not one JSON object becomes `[]`, which Record refuses at the same
// place; protobuf fields that this version does not know are removed. An error
// message that repeats a value which is not logged is replaced. c is not
// changed, and shares no memory with the result that can be written to.
func Redact(c *keytrailv1.Call) *keytrailv1.Call {
	if c == nil {
		return nil
	}
	op := operationOf(c)
	safe := &keytrailv1.Call{
		CallId:                       clone(c.CallId),
		Operation:                    clone(c.Operation),
		Region:                       clone(c.Region),
		AccountId:                    clone(c.AccountId),
		SourceIpAddress:              clone(c.SourceIpAddress),
		UserAgent:                    clone(c.UserAgent),
		VpcEndpointId:                clone(c.VpcEndpointId),
		VpcEndpointAccountId:         clone(c.VpcEndpointAccountId),
		RequestId:                    clone(c.RequestId),
		DryRun:                       c.DryRun,
		SessionCredentialFromConsole: c.SessionCredentialFromConsole,

		RequestParameters:   op.request.redacted(c.RequestParameters, apiNames),
		Response:            op.responseOf(c).redacted(c.Response, apiNames),
		AdditionalEventData: op.additional.redacted(c.AdditionalEventData, loggedNames),
		ServiceEventDetails: op.details.redacted(c.ServiceEventDetails, loggedNames),
	}
	if c.Time != nil {
		safe.Time = &timestamppb.Timestamp{Seconds: c.Time.Seconds, Nanos: c.Time.Nanos}
	}
	if c.Caller != nil || c.TlsDetails != nil {
		m := new(made)
		safe.Caller = m.caller(c.Caller)
		safe.TlsDetails = m.tlsDetails(c.TlsDetails)
	}
	if e := c.Error; e != nil {
		safe.Error = &keytrailv1.CallError{Code: clone(e.Code)}
		if e.Message != nil {
			message := op.safeMessage(c)
			safe.Error.Message = &message
		}
	}
	for _, k := range c.Keys {
		if k == nil {
			k = new(keytrailv1.CallKey)
		}
		safe.Keys = append(safe.Keys, &keytrailv1.CallKey{
			Arn:            clone(k.Arn),
			OwnerAccountId: clone(k.OwnerAccountId),
			AliasArn:       clone(k.AliasArn),
		})
	}
	return safe
}

// redacted is what of text the allow-list lets through, nil if that is nothing.
func (m *members) redacted(text []byte, s spelling) []byte {
	if text == nil {
		return nil
	}
	out, _, ok := m.appendAllowed(nil, text, s, s)
	switch {
	case !ok:
		return []byte("[]")
	case string(out) == "{}":
		return nil
	}
	return out
}

func clone(s *string) *string {
	if s == nil {
		return nil
	}
	c := *s
	return &c
}
