package record

import (
	"iter"
	"strings"
)

// Operation is what the audit log knows of one operation of the KMS: one row of
// the catalogue.
type Operation struct {
	// Name is the operation as the API names it.
	Name string

	Class Class

	// ReadOnly is the record's readOnly.
	ReadOnly bool

	// ChangesKey reports whether the operation changes a particular key. Event
	// history gives such a call a resource type and a resource name.
	ChangesKey bool

	// KeyID is where responseElements.keyId comes from.
	KeyID KeyIDSource

	// Keys is what the record's resources list.
	Keys Keys

	// CrossAccount reports whether callers of other accounts than the key's
	// can be allowed to call it. Records are made by the accounts of a call,
	// whatever this says.
	CrossAccount bool

	// Request names the members of the request that are logged, parted by
	// spaces, as the API spells them. A member is logged under its name with a
	// small first letter, or under the name after a colon. What follows = is
	// logged if the member was not sent.
	Request string

	// Response names the members of the response that are logged.
	Response string

	// Additional names the members of additionalEventData, with a capital
	// first letter.
	Additional string

	// Details names the members of serviceEventDetails, with a capital first
	// letter. KeyId is filled in.
	Details string

	// Second is the operation of a second record in another Region and, after
	// @, the member of the request that names that Region. Only a successful
	// call has one.
	Second string

	request, response, additional, details *members
	facts                                  *members // of the response, for additionalEventData

	second       *Operation
	secondRegion string // the member of the request
}

// Class is the kind of an operation.
type Class uint8

const (
	// Cryptographic operations use a key. Their responses are never logged.
	Cryptographic Class = iota + 1

	// Management operations change a key or something about keys.
	Management

	// Inspection operations show the state of keys. Their responses are never
	// logged.
	Inspection

	// ServiceEvent is what the KMS does of its own accord, recorded as an
	// AwsServiceEvent without a request ID.
	ServiceEvent

	// InternalCall is what the KMS does of its own accord, recorded as an
	// AwsApiCall with a request ID.
	InternalCall
)

// Internal reports whether the KMS itself acts, and nobody calls.
func (c Class) Internal() bool { return c == ServiceEvent || c == InternalCall }

func (c Class) String() string {
	switch c {
	case Cryptographic:
		return "cryptographic"
	case Management:
		return "management"
	case Inspection:
		return "inspection"
	case ServiceEvent:
		return "service event"
	case InternalCall:
		return "internal call"
	}
	return "unknown"
}

// KeyIDSource is where responseElements.keyId comes from.
type KeyIDSource uint8

const (
	// NoKeyID means that there is none.
	NoKeyID KeyIDSource = iota

	// OwnKeyID is the KeyId of the API's response.
	OwnKeyID

	// Enriched is the ARN of the first key, though the API returns none.
	Enriched
)

// Keys is what a record lists as resources.
type Keys uint8

const (
	// Absent means that the record has no resources member.
	Absent Keys = iota

	// AnyKeys are the keys that the call has, `[]` when it has none.
	AnyKeys

	// OneKey is the key of the call.
	OneKey

	// TwoKeys are the source key and the destination key.
	TwoKeys

	// KeyThenAlias and AliasThenKey are a key and its alias.
	KeyThenAlias
	AliasThenKey
)

// LookupOperation returns the catalogue's row of the operation, which must not
// be changed.
func LookupOperation(name string) (op *Operation, known bool) {
	op, known = operationsByName[name]
	return op, known
}

// Operations yields the rows of the catalogue by name, those of internal
// operations last. They must not be changed.
func Operations() iter.Seq[*Operation] {
	return func(yield func(*Operation) bool) {
		for i := range catalogue {
			if !yield(&catalogue[i]) {
				return
			}
		}
	}
}

// unknownOperation stands in for what the catalogue does not name: nothing of
// request and response is logged, and it counts as a change.
var unknownOperation = row("", Management, changing, noKey, NoKeyID, AnyKeys, across,
	"", "", "", "", "")

// row makes one row of the catalogue.
func row(name string, class Class, readOnly, changesKey bool, keyID KeyIDSource, keys Keys, crossAccount bool,
	request, response, additional, details, second string,
) Operation {
	var facts []string
	for name := range strings.FieldsSeq(additional) {
		if strings.HasSuffix(name, "KeyMaterialId") {
			facts = append(facts, name)
		}
	}
	return Operation{
		Name: name, Class: class, ReadOnly: readOnly, ChangesKey: changesKey,
		KeyID: keyID, Keys: keys, CrossAccount: crossAccount,
		Request: request, Response: response, Additional: additional, Details: details, Second: second,
		request:    newMembers(request),
		response:   newMembers(response),
		additional: newMembers(additional),
		details:    newMembers(details),
		facts:      newMembers(strings.Join(facts, " ")),
	}
}

var operationsByName = indexCatalogue()

func indexCatalogue() map[string]*Operation {
	byName := make(map[string]*Operation, len(catalogue))
	for i := range catalogue {
		byName[catalogue[i].Name] = &catalogue[i]
	}
	for _, op := range byName {
		name, region, ok := strings.Cut(op.Second, "@")
		if !ok {
			continue
		}
		op.second = byName[name]
		op.secondRegion = region
	}
	return byName
}
