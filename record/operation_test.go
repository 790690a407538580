package record_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/keytrail/keytrail/record"
)

// specified is the operation table of the specification: class (Cryptographic,
// Management, Read-only inspection, Service event), readOnly, whether event
// history names a resource, responseElements.keyId (Y: enriched, own: the API's),
// the number of resources, and use across accounts.
const specified = `
CancelKeyDeletion                   M false Y own 1      no
ConnectCustomKeyStore               M false n -   absent no
CreateAlias                         M false Y Y   2      no
CreateCustomKeyStore                M false n -   absent no
CreateGrant                         M false Y Y   1      yes
CreateKey                           M false Y -   1      no
Decapsulate                         C true  n -   1      yes
Decrypt                             C true  n -   1      yes
DeleteAlias                         M false Y Y   2      no
DeleteCustomKeyStore                M false n -   absent no
DeleteExpiredKeyMaterial            S false Y -   1      n/a
DeleteImportedKeyMaterial           M false Y own 1      no
DeleteKey                           S false Y Y   1      n/a
DeriveSharedSecret                  C true  n -   1      yes
DescribeCustomKeyStores             R true  n -   absent no
DescribeKey                         R true  n -   1      yes
DisableKey                          M false Y Y   1      no
DisableKeyRotation                  M false Y -   1      no
DisconnectCustomKeyStore            M false n -   absent no
EnableKey                           M false Y Y   1      no
EnableKeyRotation                   M false Y Y   1      no
Encapsulate                         C true  n -   1      yes
Encrypt                             C true  n -   1      yes
GenerateDataKey                     C true  n -   1      yes
GenerateDataKeyPair                 C true  n -   1      yes
GenerateDataKeyPairWithoutPlaintext C true  n -   1      yes
GenerateDataKeyWithoutPlaintext     C true  n -   1      yes
GenerateMac                         C true  n -   1      yes
GenerateRandom                      C true  n -   0      n/a
GetKeyLastUsage                     R true  n -   1      no
GetKeyPolicy                        R true  n -   1      no
GetKeyRotationStatus                R true  n -   1      yes
GetParametersForImport              R true  n -   1      no
GetPublicKey                        R true  n -   1      yes
ImportKeyMaterial                   M false Y Y   1      no
ListAliases                         R true  n -   0      no
ListGrants                          R true  n -   1      yes
ListKeyPolicies                     R true  n -   1      no
ListKeyRotations                    R true  n -   1      no
ListKeys                            R true  n -   0      no
ListResourceTags                    R true  n -   1      no
ListRetirableGrants                 R true  n -   0      no
PutKeyPolicy                        M false Y -   1      no
ReEncrypt                           C true  n -   2      yes
ReplicateKey                        M false Y -   1      no
RetireGrant                         M false Y -   1      yes
RevokeGrant                         M false Y -   1      yes
RotateKey                           S false Y Y   1      n/a
RotateKeyOnDemand                   M false Y own 1      no
ScheduleKeyDeletion                 M false Y own 1      no
Sign                                C true  n -   1      yes
SynchronizeMultiRegionKey           S false Y Y   1      n/a
TagResource                         M false Y Y   1      no
UntagResource                       M false Y Y   1      no
UpdateAlias                         M false Y Y   2      no
UpdateCustomKeyStore                M false n -   absent no
UpdateKeyDescription                M false Y -   1      no
UpdatePrimaryRegion                 M false Y Y   1      no
Verify                              C true  n -   1      yes
VerifyMac                           C true  n -   1      yes
`

func TestCatalogue(t *testing.T) {
	rows := strings.Split(strings.TrimSpace(specified), "\n")
	if len(rows) != 60 {
		t.Fatalf("%d rows, want 60", len(rows))
	}
	var names []string
	for _, row := range rows {
		f := strings.Fields(row)
		names = append(names, f[0])
		op, known := record.LookupOperation(f[0])
		if !known {
			t.Errorf("%s is not in the catalogue", f[0])
			continue
		}
		if got := described(op); !slices.Equal(got, f) {
			t.Errorf("the catalogue has  %s\nspecified is       %s", strings.Join(got, " "), strings.Join(f, " "))
		}
	}
	var got []string
	for op := range record.Operations() {
		got = append(got, op.Name)
	}
	slices.Sort(got)
	slices.Sort(names)
	if !slices.Equal(got, names) {
		t.Errorf("operations are %v\nwant %v", got, names)
	}
}

// described is the row of a specification that op would have.
func described(op *record.Operation) []string {
	yes := func(b bool, yes, no string) string {
		if b {
			return yes
		}
		return no
	}
	class := map[record.Class]string{
		record.Cryptographic: "C", record.Management: "M", record.Inspection: "R",
		record.ServiceEvent: "S", record.InternalCall: "S",
	}[op.Class]
	keyID := map[record.KeyIDSource]string{record.NoKeyID: "-", record.OwnKeyID: "own", record.Enriched: "Y"}[op.KeyID]
	keys := map[record.Keys]string{
		record.Absent: "absent", record.AnyKeys: "0", record.OneKey: "1", record.TwoKeys: "2",
		record.KeyThenAlias: "2", record.AliasThenKey: "2",
	}[op.Keys]
	across := yes(op.CrossAccount, "yes", "no")
	if op.Class.Internal() || op.Name == "GenerateRandom" {
		across = "n/a"
	}
	return []string{op.Name, class, yes(op.ReadOnly, "true", "false"), yes(op.ChangesKey, "Y", "n"), keyID, keys, across}
}

// TestCatalogueOddities checks what the specification says outside its columns.
func TestCatalogueOddities(t *testing.T) {
	for name, want := range map[string]record.Keys{
		"CreateAlias": record.KeyThenAlias, "DeleteAlias": record.AliasThenKey, "UpdateAlias": record.AliasThenKey,
	} {
		if op, _ := record.LookupOperation(name); op.Keys != want {
			t.Errorf("%s lists its key and alias in the other order", name)
		}
	}
	for name, want := range map[string]record.Class{
		"SynchronizeMultiRegionKey": record.InternalCall, "RotateKey": record.ServiceEvent,
		"DeleteKey": record.ServiceEvent, "DeleteExpiredKeyMaterial": record.ServiceEvent,
	} {
		if op, _ := record.LookupOperation(name); op.Class != want {
			t.Errorf("%s is a %v, want %v", name, op.Class, want)
		}
	}
	for op := range record.Operations() {
		if op.ReadOnly && op.Response != "" {
			t.Errorf("%s is read-only and logs its response", op.Name)
		}
		for list := range strings.FieldsSeq(op.Request + " " + op.Response + " " + op.Details) {
			for _, never := range strings.Fields("Plaintext Ciphertext Private SharedSecret Message Signature Mac Token EncryptedKeyMaterial Password Credential Recipient Certificate") {
				name, _, _ := strings.Cut(list, "=")
				if strings.Contains(name, never) && name != "MessageType" && name != "MacAlgorithm" && name != "MacAlgorithms" {
					t.Errorf("%s logs %s", op.Name, name)
				}
			}
		}
	}
}

func TestLookupOperation(t *testing.T) {
	for _, name := range []string{"", "decrypt", "DECRYPT", "Decrypt ", "TrentService.Decrypt", "GetEverything"} {
		if _, known := record.LookupOperation(name); known {
			t.Errorf("%q is in the catalogue", name)
		}
	}
	if n := testing.AllocsPerRun(100, func() { record.LookupOperation("GenerateDataKeyPairWithoutPlaintext") }); n != 0 {
		t.Errorf("LookupOperation allocates %v times", n)
	}
}
