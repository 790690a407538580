package record

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/types/known/timestamppb"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// callJSON is a [keytrailv1.Call] as JSON, for people: the names are
// CloudTrail's where it has one.
type callJSON struct {
	CallID                       *string        `json:"callId"`
	Operation                    *string        `json:"operation"`
	Time                         *time.Time     `json:"time"`
	Region                       *string        `json:"region"`
	Caller                       jsontext.Value `json:"caller"`
	AccountID                    *string        `json:"accountId"`
	RequestParameters            jsontext.Value `json:"requestParameters"`
	Response                     jsontext.Value `json:"response"`
	Error                        *errorJSON     `json:"error"`
	SourceIPAddress              *string        `json:"sourceIPAddress"`
	UserAgent                    *string        `json:"userAgent"`
	TLSDetails                   jsontext.Value `json:"tlsDetails"`
	VPCEndpointID                *string        `json:"vpcEndpointId"`
	VPCEndpointAccountID         *string        `json:"vpcEndpointAccountId"`
	RequestID                    *string        `json:"requestID"`
	Keys                         []keyJSON      `json:"keys"`
	ServiceEventDetails          jsontext.Value `json:"serviceEventDetails"`
	AdditionalEventData          jsontext.Value `json:"additionalEventData"`
	DryRun                       bool           `json:"dryRun"`
	SessionCredentialFromConsole bool           `json:"sessionCredentialFromConsole"`
}

type errorJSON struct {
	Code    *string `json:"code"`
	Message *string `json:"message"`
}

type keyJSON struct {
	ARN            *string `json:"arn"`
	OwnerAccountID *string `json:"ownerAccountId"`
	AliasARN       *string `json:"aliasArn"`
}

// CallFromJSON reads a call from a JSON object such as
//
//	{"operation":"Decrypt","time":"2026-11-24T10:00:00Z","region":"us-west-2",
//	 "caller":{"type":"IAMUser","accountId":"111122223333","userName":"alice"},
//	 "requestParameters":{"EncryptionContext":{"app":"shop"}},
//	 "keys":[{"arn":"arn:aws:kms:us-west-2:111122223333:key/1234abcd"}]}
//
// The members are the fields of [keytrailv1.Call], in camel case, as CloudTrail
// spells them where it has them (sourceIPAddress, requestID). caller and
// tlsDetails are as in a record; requestParameters and response are as the API
// has them. null is as if the member were absent. Members that a call does not
// have are refused, so that a misspelt one is not lost.
//
// Whether the call can be recorded is for [Recorder.Record] to say. The error is
// a [*Problem] whose field is spelt as in the text, and repeats no value of it.
func CallFromJSON(data []byte) (*keytrailv1.Call, error) {
	var t callJSON
	if err := json.Unmarshal(data, &t, json.RejectUnknownMembers(true)); err != nil {
		return nil, callJSONProblem(err)
	}
	c := &keytrailv1.Call{
		CallId:               t.CallID,
		Operation:            t.Operation,
		Region:               t.Region,
		AccountId:            t.AccountID,
		RequestParameters:    orNothing(t.RequestParameters),
		Response:             orNothing(t.Response),
		SourceIpAddress:      t.SourceIPAddress,
		UserAgent:            t.UserAgent,
		VpcEndpointId:        t.VPCEndpointID,
		VpcEndpointAccountId: t.VPCEndpointAccountID,
		RequestId:            t.RequestID,
		ServiceEventDetails:  orNothing(t.ServiceEventDetails),
		AdditionalEventData:  orNothing(t.AdditionalEventData),
		DryRun:               t.DryRun,

		SessionCredentialFromConsole: t.SessionCredentialFromConsole,
	}
	if t.Time != nil {
		c.Time = timestamppb.New(*t.Time)
	}
	if text := orNothing(t.Caller); text != nil {
		c.Caller = new(keytrailv1.UserIdentity)
		if err := readWhole(text, "caller", userIdentityFields, c.Caller); err != nil {
			return nil, err
		}
	}
	if text := orNothing(t.TLSDetails); text != nil {
		c.TlsDetails = new(keytrailv1.TlsDetails)
		if err := readWhole(text, "tlsDetails", tlsDetailsFields, c.TlsDetails); err != nil {
			return nil, err
		}
	}
	if t.Error != nil {
		c.Error = &keytrailv1.CallError{Code: t.Error.Code, Message: t.Error.Message}
	}
	for _, k := range t.Keys {
		c.Keys = append(c.Keys, &keytrailv1.CallKey{Arn: k.ARN, OwnerAccountId: k.OwnerAccountID, AliasArn: k.AliasARN})
	}
	return c, nil
}

// orNothing is v, but nil where it is null or absent.
func orNothing(v jsontext.Value) []byte {
	if v.Kind() == 'n' {
		return nil
	}
	return v
}

// readWhole reads text, valid JSON, into m. It is an error if the fields can't
// hold all of it.
func readWhole(text []byte, field string, o *object, m any) error {
	d := newDecoder(text)
	defer d.release()
	if d.json.PeekKind() != '{' {
		return &Problem{codeWrongType, field, "must be a JSON object"}
	}
	if err := d.object(o, m); err != nil {
		return &Problem{codeInvalid, field, "must be JSON with distinct names"}
	}
	return o.verbatimProblem(field, m)
}

// verbatimProblem is about the first member that the fields of m can't hold.
func (o *object) verbatimProblem(field string, m any) error {
	if rest := *o.verbatim(m); rest != nil {
		var p *Problem
		err := eachMember(rest, func(name, _ []byte) {
			plain, _ := unquote(name)
			switch f := o.byName[plain]; {
			case p != nil:
			case f == nil:
				p = &Problem{codeInvalid, field + "." + plain, "is no member that CloudTrail has there: check its spelling"}
			default:
				p = &Problem{codeWrongType, field + "." + plain, "has another JSON type than in CloudTrail"}
			}
		})
		if p == nil || err != nil {
			p = &Problem{codeInvalid, field, "cannot be read"}
		}
		return p
	}
	for _, f := range o.fields {
		if f.kind != kindMessage {
			continue
		}
		if child := f.child(m, false); child != nil {
			if err := f.of.verbatimProblem(field+"."+f.name, child); err != nil {
				return err
			}
		}
	}
	return nil
}

// callJSONProblem says what is wrong without a value of the text.
func callJSONProblem(err error) *Problem {
	var wrong *json.SemanticError
	if !errors.As(err, &wrong) {
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return &Problem{codeInvalid, "", "not JSON: it is cut off"}
		}
		var bad *jsontext.SyntacticError
		if errors.As(err, &bad) && errors.Is(err, jsontext.ErrDuplicateName) {
			return &Problem{codeInvalid, "", fmt.Sprintf("has two members of one name, at byte %d", bad.ByteOffset)}
		}
		if errors.As(err, &bad) {
			return &Problem{codeInvalid, "", fmt.Sprintf("not JSON, at byte %d", bad.ByteOffset)}
		}
		return &Problem{codeInvalid, "", "not JSON"}
	}
	field := pathOf(wrong.JSONPointer)
	if errors.Is(err, json.ErrUnknownName) {
		parent := wrong.JSONPointer.Parent()
		message := "is no member of a call: check its spelling"
		if parent != "" {
			message = fmt.Sprintf("is no member of %s: check its spelling", pathOf(parent))
		}
		return &Problem{codeInvalid, field, message}
	}
	message := "must be a JSON object"
	switch t := wrong.GoType; {
	case t == reflect.TypeFor[time.Time]() || t == reflect.TypeFor[*time.Time]():
		message = "must be a time such as 2026-11-24T10:00:00Z"
	case t != nil && t.Kind() == reflect.String:
		message = "must be a string"
	case t != nil && t.Kind() == reflect.Bool:
		message = "must be true or false"
	case t != nil && t.Kind() == reflect.Slice:
		message = "must be an array"
	}
	return &Problem{codeWrongType, field, message}
}

// pathOf is /keys/0/arn as keys[0].arn.
func pathOf(p jsontext.Pointer) string {
	var b strings.Builder
	for token := range p.Tokens() {
		switch {
		case isDigits(token):
			fmt.Fprintf(&b, "[%s]", token)
		case b.Len() > 0:
			b.WriteString("." + token)
		default:
			b.WriteString(token)
		}
	}
	return b.String()
}
