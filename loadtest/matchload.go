package main

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"google.golang.org/protobuf/proto"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

// matchLoad is a set of filters.
type matchLoad struct {
	name    string
	filters int
	target  float64 // microseconds a record; of a candidate if cel

	freeForm bool // one in fifty reads a free-form member
	cel      bool
}

// eventsAskedFor are what subscribers want to know of a key.
var eventsAskedFor = [][]string{
	{"Decrypt"},
	{"Decrypt", "GenerateDataKey"},
	{"Encrypt", "ReEncrypt"},
	{"DisableKey", "ScheduleKeyDeletion"},
	{"CreateGrant", "PutKeyPolicy", "RevokeGrant"},
	{"DescribeKey", "GetKeyPolicy", "ListGrants"},
	{"GenerateDataKey", "GenerateDataKeyWithoutPlaintext"},
	{"Sign", "Verify"},
	{"DeleteImportedKeyMaterial", "ImportKeyMaterial"},
	{"EnableKeyRotation", "RotateKeyOnDemand"},
}

// draft makes the filters, encoded: a key and some events each; a fifth with a beginning of a key's ARN or
// of events' names, a tenth with a condition on the caller or on the error code.
func (l *matchLoad) draft(seed uint64, keys []string) ([][]byte, error) {
	rng := rand.New(rand.NewPCG(seed, uint64(l.filters)))
	drafts := make([][]byte, l.filters)
	for i := range drafts {
		key := keys[rng.IntN(len(keys))]
		events := eventsAskedFor[rng.IntN(len(eventsAskedFor))]
		s := &keytrailv1.Selector{Keys: []string{key}, EventNames: events}
		switch i % 10 {
		case 3:
			s.Keys = []string{strings.TrimSuffix(key, record.KeyID(key)) + record.KeyID(key)[:8] + "*"}
		case 6:
			s.EventNames = []string{[]string{"Generate*", "List*", "Get*", "*KeyMaterial", "Re*"}[rng.IntN(5)]}
		case 9:
			s.Conditions = []*keytrailv1.Condition{
				{Field: "errorCode", Operator: keytrailv1.Operator_OPERATOR_EQUALS, Values: []string{"AccessDenied"}},
				{Field: "userIdentity.arn", Operator: keytrailv1.Operator_OPERATOR_WILDCARD, Values: []string{"arn:aws:sts::*:assumed-role/deploy-pipeline/*"}},
				{Field: "principal", Operator: keytrailv1.Operator_OPERATOR_ENDS_WITH, Values: []string{":role/orders-api"}},
			}[rng.IntN(3):][:1]
		}
		if l.freeForm && i%50 == 0 {
			s.Conditions = append(s.Conditions, &keytrailv1.Condition{
				Field: "requestParameters.encryptionContext.service", Operator: keytrailv1.Operator_OPERATOR_EQUALS, Values: []string{"payroll", "media"},
			})
		}
		f := &keytrailv1.Filter{Include: []*keytrailv1.Selector{s}}
		if l.cel {
			s.EventNames = nil
			f.Cel = fmt.Sprintf(`userIdentity.accountId != recipientAccountId || size(eventName) > %d`, 20+i)
		}
		encoded, err := proto.Marshal(f)
		if err != nil {
			return nil, err
		}
		drafts[i] = encoded
	}
	return drafts, nil
}
