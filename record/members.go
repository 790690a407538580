package record

import "strings"

// form is what JSON a member may be. Anything else that is sent under its name
// is not logged.
type form uint8

const (
	aText      form = iota + 1 // a string
	aNumber                    // a number, kept digit by digit
	aBoolean                   // true or false
	aTime                      // seconds since 1970 or RFC 3339, logged as CloudTrail has times
	textList                   // an array of strings
	aContext                   // an object of strings with names that callers choose
	anObject                   // an object of members
	objectList                 // an array of such objects
)

// forms says what each member of the API is. A name means the same in all
// operations. Members that no operation logs are not here.
var forms = []struct {
	form  form
	names string
}{
	{aText, `
		AliasName Arn AWSAccountId CloudHsmClusterId CurrentKeyMaterialId
		CustomerMasterKeySpec CustomKeyStoreId CustomKeyStoreName CustomKeyStoreType
		Description DestinationEncryptionAlgorithm DestinationKeyId EncryptionAlgorithm
		EncapsulationAlgorithm ExpirationModel GrantId GranteePrincipal
		GranteeServicePrincipal Id ImportType IncludeKeyMaterial KeyAgreementAlgorithm KeyId KeyManager
		KeyMaterialDescription KeyMaterialId KeyPairSpec KeySpec KeyState KeyUsage
		MacAlgorithm Marker MessageType MultiRegionKeyType Name NewCustomKeyStoreName
		Origin Policy PolicyName PrimaryRegion PublicKey Region ReplicaPolicy
		ReplicaRegion RetiringPrincipal RetiringServicePrincipal SigningAlgorithm
		SourceEncryptionAlgorithm SourceKeyId TagKey TagValue TargetKeyId
		WrappingAlgorithm WrappingKeySpec XksKeyId XksProxyConnectivity
		XksProxyUriEndpoint XksProxyUriPath XksProxyVpcEndpointServiceName
		XksProxyVpcEndpointServiceOwner`},
	{aNumber, `Limit NumberOfBytes PendingDeletionWindowInDays PendingWindowInDays RotationPeriodInDays`},
	{aBoolean, `BypassPolicyLockoutSafetyCheck DryRun Enabled MultiRegion`},
	{aTime, `CreationDate DeletionDate ValidTo`},
	{textList, `
		DryRunModifiers EncryptionAlgorithms KeyAgreementAlgorithms MacAlgorithms
		Operations SigningAlgorithms TagKeys`},
	{aContext, `
		DestinationEncryptionContext EncryptionContext EncryptionContextEquals
		EncryptionContextSubset SourceEncryptionContext`},

	// Of additionalEventData and serviceEventDetails only. The backing keys are
	// strings of JSON.
	{aText, `
		BackingKey BackingKeys BackingKeysDeletionStatus ClusterId
		CurrentKeyMaterialId DestinationKeyMaterialId KeyOrigin PreviousKeyMaterialId
		RotationType SourceKeyMaterialId`},
	{aText, attestation},

	// Of the caller's identity only. Attributes are of a web identity.
	{aText, `
		CredentialsIssuedTo FederatedProvider IdentityStoreArn IssuerType SourceAccount
		SourceArn UserId`},
	{aContext, `Attributes`},
}

// attestation is what of an attestation document is logged: which module, and
// the values of its registers. The document itself never is.
const attestation = `
	AttestationDocumentModuleId AttestationDocumentEnclaveImageDigest
	AttestationDocumentEnclavePCR0 AttestationDocumentEnclavePCR1
	AttestationDocumentEnclavePCR2 AttestationDocumentEnclavePCR3
	AttestationDocumentEnclavePCR4 AttestationDocumentEnclavePCR5
	AttestationDocumentEnclavePCR6 AttestationDocumentEnclavePCR7
	AttestationDocumentEnclavePCR8 AttestationDocumentEnclavePCR9
	AttestationDocumentEnclavePCR10 AttestationDocumentEnclavePCR11
	AttestationDocumentEnclavePCR12 AttestationDocumentEnclavePCR13
	AttestationDocumentEnclavePCR14 AttestationDocumentEnclavePCR15
	AttestationDocumentNitroTPMPCR0 AttestationDocumentNitroTPMPCR1
	AttestationDocumentNitroTPMPCR2 AttestationDocumentNitroTPMPCR3
	AttestationDocumentNitroTPMPCR4 AttestationDocumentNitroTPMPCR5
	AttestationDocumentNitroTPMPCR6 AttestationDocumentNitroTPMPCR7
	AttestationDocumentNitroTPMPCR8 AttestationDocumentNitroTPMPCR9
	AttestationDocumentNitroTPMPCR10 AttestationDocumentNitroTPMPCR11
	AttestationDocumentNitroTPMPCR12 AttestationDocumentNitroTPMPCR13
	AttestationDocumentNitroTPMPCR14 AttestationDocumentNitroTPMPCR15
	AttestationDocumentNitroTPMPCR16 AttestationDocumentNitroTPMPCR17
	AttestationDocumentNitroTPMPCR18 AttestationDocumentNitroTPMPCR19
	AttestationDocumentNitroTPMPCR20 AttestationDocumentNitroTPMPCR21
	AttestationDocumentNitroTPMPCR22 AttestationDocumentNitroTPMPCR23`

const keyMetadata = `
	AWSAccountId KeyId Arn CreationDate Enabled Description KeyUsage KeyState
	DeletionDate ValidTo Origin CustomKeyStoreId CloudHsmClusterId ExpirationModel
	KeyManager CustomerMasterKeySpec KeySpec EncryptionAlgorithms SigningAlgorithms
	KeyAgreementAlgorithms MultiRegion MultiRegionConfiguration
	PendingDeletionWindowInDays MacAlgorithms XksKeyConfiguration
	CurrentKeyMaterialId`

// nested says which members an object, or an object of an array, may have.
var nested = []struct {
	form    form
	name    string
	members string
}{
	{anObject, "Constraints", "EncryptionContextSubset EncryptionContextEquals"},
	{objectList, "Tags", "TagKey TagValue"},
	{objectList, "ReplicaTags", "TagKey TagValue"},
	{anObject, "KeyMetadata", keyMetadata},
	{anObject, "ReplicaKeyMetadata", keyMetadata},
	{anObject, "MultiRegionConfiguration", "MultiRegionKeyType PrimaryKey ReplicaKeys"},
	{anObject, "PrimaryKey", "Arn Region"},
	{objectList, "ReplicaKeys", "Arn Region"},
	{anObject, "XksKeyConfiguration", "Id"},
	{anObject, "Recipient", attestation},
}

// members is an allow-list, compiled.
type members struct {
	list     []*member
	byName   map[string]*member // as the API spells it
	byLogged map[string]*member
}

// member is one entry of an allow-list.
type member struct {
	name, logged string // the API's name; CloudTrail's
	form         form
	of           *members // of objects
	index        int      // in members.list

	// instead is JSON text that is logged if the member was not sent; or "".
	instead string
}

// newMembers compiles an allow-list of the syntax of [Operation].
func newMembers(list string) *members {
	m := &members{byName: make(map[string]*member), byLogged: make(map[string]*member)}
	for i, entry := range strings.Fields(list) {
		entry, instead, filled := strings.Cut(entry, "=")
		name, logged, renamed := strings.Cut(entry, ":")
		if !renamed {
			logged = loggedName(name)
		}
		e := &member{name: name, logged: logged, index: i}
		if filled {
			e.instead = `"` + instead + `"`
		}
		e.form, e.of = formOf(name)
		m.list = append(m.list, e)
		m.byName[name] = e
		m.byLogged[logged] = e
	}
	return m
}

// formOf panics on a name that the tables do not have: a slip in the catalogue
// stops every test and program at its start.
func formOf(name string) (form, *members) {
	for _, f := range forms {
		for n := range strings.FieldsSeq(f.names) {
			if n == name {
				return f.form, nil
			}
		}
	}
	for _, n := range nested {
		if n.name == name {
			return n.form, newMembers(n.members)
		}
	}
	panic("record: the catalogue names a member without a form: " + name)
}

// loggedName is the API's name as CloudTrail spells it: AWSAccountId is
// aWSAccountId.
func loggedName(name string) string {
	return strings.ToLower(name[:1]) + name[1:]
}
