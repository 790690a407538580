package filter

import (
	"net/netip"
	"strings"

	"github.com/keytrail/keytrail/record"
)

// namedField is a field that users think in and that no single member of a
// record holds.
type namedField uint8

const (
	pathOnly          namedField = iota
	fieldOutcome                 // success; failure; or failure and denied
	fieldKey                     // ARNs and IDs of the keys, ARNs and names of the aliases
	fieldPrincipal               // who called, by each of its names
	fieldCrossAccount            // whether the caller's account is another than the record's
	fieldClass                   // the kind of the operation
	fieldSourceIP                // the caller's address, if it is one
	fieldReadOnly                // whether the call changed nothing
)

// namedFields are the named fields by their names in the text form.
var namedFields = map[string]namedField{
	"outcome":      fieldOutcome,
	"key":          fieldKey,
	"principal":    fieldPrincipal,
	"crossAccount": fieldCrossAccount,
	"class":        fieldClass,
	"sourceIP":     fieldSourceIP,
	"readOnly":     fieldReadOnly,
}

// shortNames are other names for members of the record, and what they stand for.
// The canonical text uses the short one.
var shortNames = map[string]string{
	"event":   "eventName",
	"account": "recipientAccountId",
	"region":  "awsRegion",
}

// choices are the values that named fields can have; another one in a filter
// is an error, for it would match nothing.
var choices = map[namedField][]string{
	fieldOutcome:      {"success", "failure", "denied"},
	fieldCrossAccount: {"true", "false"},
	fieldClass:        {"cryptographic", "management", "read", "internal"},
	fieldReadOnly:     {"true", "false"},
}

// Typed places that named fields are made of.
var (
	callerARN     = fieldAt("userIdentity", "arn")
	callerAccount = fieldAt("userIdentity", "accountId")
	callerService = fieldAt("userIdentity", "invokedBy")
	issuerARN     = fieldAt("userIdentity", "sessionContext", "sessionIssuer", "arn")
	sourceAddress = fieldAt("sourceIPAddress")
)

func fieldAt(names ...string) record.Field {
	f, taken := record.FieldOf(names...)
	if taken != len(names) {
		panic("filter: " + strings.Join(names, ".") + " is no typed field of a record")
	}
	return f
}

// appendTexts appends the values of a named field.
func (n namedField) appendTexts(dst []string, v *record.View) []string {
	switch n {
	case fieldOutcome:
		switch {
		case v.ErrorCode() == "":
			return append(dst, "success")
		case record.Denied(v.ErrorCode()):
			return append(dst, "failure", "denied")
		}
		return append(dst, "failure")
	case fieldKey:
		for _, arn := range v.ResourceARNs() {
			dst = append(dst, arn)
			if id := keyOrAlias(arn); id != "" {
				dst = append(dst, id)
			}
		}
	case fieldPrincipal:
		for _, f := range [...]record.Field{callerARN, issuerARN, callerService} {
			if s, ok := v.Text(f); ok && s != "" {
				dst = append(dst, s)
			}
		}
	case fieldCrossAccount:
		return append(dst, yesNo(crossAccount(v)))
	case fieldClass:
		if c := class(v); c != "" {
			dst = append(dst, c)
		}
	case fieldSourceIP:
		if s, ok := v.Text(sourceAddress); ok && isAddress(s) {
			dst = append(dst, s)
		}
	case fieldReadOnly:
		return append(dst, yesNo(v.ReadOnly()))
	}
	return dst
}

func yesNo(b bool) string {
	if b {
		return "true"
	}
	return "false"
}

func crossAccount(v *record.View) bool {
	caller, ok := v.Text(callerAccount)
	return ok && caller != "" && v.Account() != "" && caller != v.Account()
}

// keyOrAlias is the key ID or the name of the alias that arn ends with, or ""
// if it is no ARN of a KMS.
func keyOrAlias(arn string) string {
	if record.IsKeyARN(arn) {
		return record.KeyID(arn)
	}
	if i := strings.Index(arn, ":alias/"); i >= 0 {
		return arn[i+1:]
	}
	return ""
}

// class is the kind of the record's operation, "" for one that the catalogue
// does not have.
func class(v *record.View) string {
	i := v.Operation()
	if i < 0 {
		return ""
	}
	return className(record.OperationAt(i).Class)
}

func className(c record.Class) string {
	switch {
	case c == record.Cryptographic:
		return "cryptographic"
	case c == record.Management:
		return "management"
	case c == record.Inspection:
		return "read"
	}
	return "internal"
}

func isAddress(s string) bool {
	// Nearly all that is none begins with a letter and holds no ":".
	if s == "" || s[0] > '9' && !strings.Contains(s, ":") {
		return false
	}
	_, err := netip.ParseAddr(s)
	return err == nil
}

// accountPart is the account in an ARN, "" if there is none.
func accountPart(arn string) string {
	if !strings.HasPrefix(arn, "arn:") {
		return ""
	}
	for range 4 {
		_, rest, ok := strings.Cut(arn, ":")
		if !ok {
			return ""
		}
		arn = rest
	}
	account, _, _ := strings.Cut(arn, ":")
	return account
}
