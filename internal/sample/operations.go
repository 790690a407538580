package sample

import "slices"

// shape says how the record of an operation differs from that of a change to
// one key.
type shape uint32

const (
	readOnly     shape = 1 << iota
	crossAccount       // may be called on a key of another account
	noKeys             // resources is []
	noMember           // resources is absent
	twoKeys            // source, then destination
	keyAlias           // key, then alias
	aliasKey           // alias, then key
	internal           // the KMS acts by itself
	withContext        // takes an encryption context; services call it too
	attestable         // an enclave may call it
	optionalKey        // the request need not name the key
	material           // says which key material was used
	store              // touches the key's custom key store
)

// operation is one row of the table: what is logged of it, as templates (see
// template.go). An empty template is null.
type operation struct {
	name     string
	kinds    kind    // the keys that it is used on
	weight   float64 // among all operations of a kind of key
	shape    shape
	request  string
	response string
	extra    string // additionalEventData; absent when empty

	// Set by prepare.
	failures                                []*failure
	requestParts, responseParts, extraParts template
}

const (
	crypto   = readOnly | crossAccount | store
	cryptoIn = crypto | withContext | material // of data under symmetric keys
	inspect  = readOnly

	rare = 14 // enough to see it among 20,000 records

	keyOnly  = `{"keyId":"$k"}`
	keyOfOwn = `{"keyId":"$a"}` // a response that holds the key's ARN
	keyStore = `{"customKeyStoreId":"$y"}`
	storeFac = `"customKeyStoreName":"$s","clusterId":"$l"`
	metadata = `{"aWSAccountId":"$o","keyId":"$i","arn":"$a","creationDate":"$N",$Q,"description":"$D",` +
		`"keyUsage":"$U","origin":"$O","keyManager":"CUSTOMER","customerMasterKeySpec":"$S","keySpec":"$S",$L,$V}`
	tags = `[{"tagKey":"cost-center","tagValue":"$W-$n"},{"tagKey":"data-class","tagValue":"restricted"}]`
)

// operations is the 56 public operations and 4 internal ones. The weights are
// made up; what matters is that Decrypt and GenerateDataKey dwarf the rest.
var operations = prepare([]operation{
	// Cryptography.
	{name: "Decrypt", kinds: symmetricKinds | rsa, weight: 5400, shape: cryptoIn | attestable | optionalKey, request: `{$K"encryptionAlgorithm":"$e"$c}`},
	{name: "GenerateDataKey", kinds: symmetricKinds, weight: 2500, shape: cryptoIn | attestable, request: `{"keyId":"$k",$z$c}`},
	{name: "GenerateDataKeyWithoutPlaintext", kinds: symmetricKinds, weight: 450, shape: cryptoIn, request: `{"keyId":"$k",$z$c}`},
	{name: "Encrypt", kinds: symmetricKinds | rsa, weight: 450, shape: cryptoIn, request: `{"keyId":"$k","encryptionAlgorithm":"$e"$c}`},
	{name: "ReEncrypt", kinds: symmetricKinds, weight: 120, shape: readOnly | crossAccount | twoKeys | optionalKey, request: `{$J"sourceEncryptionAlgorithm":"$e","sourceEncryptionContext":{$C},"destinationKeyId":"$d","destinationEncryptionAlgorithm":"$e","destinationEncryptionContext":{$C}}`, extra: `{"sourceKeyMaterialId":"$m","destinationKeyMaterialId":"$f"}`},
	{name: "GenerateDataKeyPair", kinds: symmetric | multiRegion | imported, weight: 40, shape: cryptoIn | attestable, request: `{"keyId":"$k","keyPairSpec":"$p"$c}`},
	{name: "GenerateDataKeyPairWithoutPlaintext", kinds: symmetric | multiRegion | imported, weight: 40, shape: cryptoIn, request: `{"keyId":"$k","keyPairSpec":"$p"$c}`},
	{name: "GenerateRandom", kinds: anyKind, weight: 40, shape: readOnly | noKeys | attestable},
	{name: "Sign", kinds: signing, weight: 4000, shape: crypto, request: `{"keyId":"$k","messageType":"DIGEST","signingAlgorithm":"$e"}`},
	{name: "Verify", kinds: signing, weight: 1500, shape: crypto, request: `{"keyId":"$k","messageType":"DIGEST","signingAlgorithm":"$e"}`},
	{name: "GenerateMac", kinds: hmac, weight: 5000, shape: crypto, request: `{"keyId":"$k","macAlgorithm":"$e"}`},
	{name: "VerifyMac", kinds: hmac, weight: 3500, shape: crypto, request: `{"keyId":"$k","macAlgorithm":"$e"}`},
	{name: "DeriveSharedSecret", kinds: agreement, weight: 6000, shape: crypto | attestable, request: `{"keyId":"$k","keyAgreementAlgorithm":"$e"}`},
	{name: "Encapsulate", kinds: kem, weight: 4000, shape: crypto, request: `{"keyId":"$k","encapsulationAlgorithm":"$e"}`},
	{name: "Decapsulate", kinds: kem, weight: 4000, shape: crypto, request: `{"keyId":"$k","encapsulationAlgorithm":"$e"}`},

	// Looking.
	{name: "DescribeKey", kinds: anyKind, weight: 330, shape: inspect | crossAccount, request: keyOnly},
	{name: "GetPublicKey", kinds: asymmetricKinds, weight: 300, shape: inspect | crossAccount, request: keyOnly},
	{name: "GetKeyPolicy", kinds: anyKind, weight: 40, shape: inspect, request: `{"keyId":"$k","policyName":"default"}`},
	{name: "GetKeyRotationStatus", kinds: anyKind, weight: 40, shape: inspect | crossAccount, request: keyOnly},
	{name: "GetKeyLastUsage", kinds: anyKind, weight: 20, shape: inspect, request: keyOnly},
	{name: "GetParametersForImport", kinds: imported, weight: 250, shape: inspect, request: `{"keyId":"$k","wrappingAlgorithm":"RSAES_OAEP_SHA_256","wrappingKeySpec":"RSA_4096"}`},
	{name: "ListAliases", kinds: anyKind, weight: 40, shape: inspect | noKeys, request: `{"limit":100}`},
	{name: "ListGrants", kinds: anyKind, weight: 20, shape: inspect | crossAccount, request: `{"keyId":"$k","limit":50}`},
	{name: "ListKeyPolicies", kinds: anyKind, weight: rare, shape: inspect, request: keyOnly},
	{name: "ListKeyRotations", kinds: anyKind, weight: rare, shape: inspect, request: `{"keyId":"$k","includeKeyMaterial":"ALL_KEY_MATERIAL"}`},
	{name: "ListKeys", kinds: anyKind, weight: 30, shape: inspect | noKeys, request: `{"limit":1000}`},
	{name: "ListResourceTags", kinds: anyKind, weight: 40, shape: inspect, request: keyOnly},
	{name: "ListRetirableGrants", kinds: anyKind, weight: rare, shape: inspect | noKeys, request: `{"retiringPrincipal":"$g"}`},
	{name: "DescribeCustomKeyStores", kinds: anyKind, weight: rare, shape: inspect | noMember, request: keyStore},

	// Changes to keys.
	{name: "CreateKey", kinds: anyKind, weight: rare, request: `{"policy":"$P","description":"$D","keyUsage":"$U","keySpec":"$S","origin":"$O","multiRegion":$v,"bypassPolicyLockoutSafetyCheck":false,"tags":` + tags + `}`, response: `{"keyMetadata":` + metadata + `}`},
	{name: "EnableKey", kinds: anyKind, weight: rare, request: keyOnly, response: keyOfOwn},
	{name: "DisableKey", kinds: anyKind, weight: rare, request: keyOnly, response: keyOfOwn},
	{name: "ScheduleKeyDeletion", kinds: anyKind, weight: rare, request: `{"keyId":"$k","pendingWindowInDays":$w}`, response: `{"keyId":"$a",$T"pendingWindowInDays":$w}`},
	{name: "CancelKeyDeletion", kinds: anyKind, weight: rare, request: keyOnly, response: keyOfOwn},
	{name: "UpdateKeyDescription", kinds: anyKind, weight: rare, request: `{"keyId":"$k","description":"$D"}`},
	{name: "PutKeyPolicy", kinds: anyKind, weight: rare, request: `{"keyId":"$k","policyName":"default","policy":"$P","bypassPolicyLockoutSafetyCheck":false}`},
	{name: "TagResource", kinds: anyKind, weight: rare, request: `{"keyId":"$k","tags":` + tags + `}`, response: keyOfOwn},
	{name: "UntagResource", kinds: anyKind, weight: rare, request: `{"keyId":"$k","tagKeys":["cost-center"]}`, response: keyOfOwn},
	{name: "EnableKeyRotation", kinds: symmetric | multiRegion, weight: rare, request: `{"keyId":"$k","rotationPeriodInDays":365}`, response: keyOfOwn},
	{name: "DisableKeyRotation", kinds: symmetric | multiRegion, weight: rare, request: keyOnly},
	{name: "RotateKeyOnDemand", kinds: symmetric | multiRegion | imported, weight: rare, request: keyOnly, response: `{"keyId":"$i"}`},
	{name: "ImportKeyMaterial", kinds: imported, weight: 250, request: `{"keyId":"$k","validTo":"$X","expirationModel":"KEY_MATERIAL_EXPIRES","importType":"EXISTING_KEY_MATERIAL"}`, response: `{"keyId":"$a","keyMaterialId":"$m"}`},
	{name: "DeleteImportedKeyMaterial", kinds: imported, weight: 250, request: `{"keyId":"$k","keyMaterialId":"$m"}`, response: `{"keyId":"$a","keyMaterialId":"$m"}`},
	{name: "ReplicateKey", kinds: multiRegion, weight: 150, request: `{"keyId":"$k","replicaRegion":"$R","policy":"$P","bypassPolicyLockoutSafetyCheck":false}`, response: `{"replicaKeyMetadata":` + metadata + `,"replicaPolicy":"$P","replicaTags":[]}`},
	{name: "UpdatePrimaryRegion", kinds: multiRegion, weight: 150, request: `{"keyId":"$k","primaryRegion":"$R"}`, response: keyOfOwn},

	// Aliases and grants.
	{name: "CreateAlias", kinds: anyKind, weight: rare, shape: keyAlias, request: `{"aliasName":"$A","targetKeyId":"$i"}`, response: keyOfOwn},
	{name: "UpdateAlias", kinds: anyKind, weight: rare, shape: aliasKey, request: `{"aliasName":"$A","targetKeyId":"$i"}`, response: keyOfOwn},
	{name: "DeleteAlias", kinds: anyKind, weight: rare, shape: aliasKey, request: `{"aliasName":"$A"}`, response: keyOfOwn},
	{name: "CreateGrant", kinds: anyKind, weight: 30, shape: crossAccount, request: `{"keyId":"$k","granteePrincipal":"$g","operations":["DescribeKey","CreateGrant"],"name":"$W-$n"}`, response: `{"grantId":"$h","keyId":"$a"}`},
	{name: "RetireGrant", kinds: anyKind, weight: rare, shape: crossAccount, extra: `{"grantId":"$h"}`},
	{name: "RevokeGrant", kinds: anyKind, weight: rare, shape: crossAccount, request: `{"keyId":"$k","grantId":"$h"}`},

	// Custom key stores.
	{name: "CreateCustomKeyStore", kinds: anyKind, weight: rare, shape: noMember, request: `{` + storeFac + `}`, response: keyStore},
	{name: "ConnectCustomKeyStore", kinds: anyKind, weight: rare, shape: noMember, request: keyStore, extra: `{` + storeFac + `}`},
	{name: "DisconnectCustomKeyStore", kinds: anyKind, weight: rare, shape: noMember, request: keyStore, extra: `{` + storeFac + `}`},
	{name: "UpdateCustomKeyStore", kinds: anyKind, weight: rare, shape: noMember, request: `{"customKeyStoreId":"$y","clusterId":"$l"}`, extra: `{` + storeFac + `}`},
	{name: "DeleteCustomKeyStore", kinds: anyKind, weight: rare, shape: noMember, request: keyStore, extra: `{` + storeFac + `}`},

	// What the KMS does by itself.
	{name: "RotateKey", kinds: symmetric | multiRegion, weight: rare, shape: internal, response: keyOfOwn},
	{name: "DeleteKey", kinds: anyKind, weight: rare, shape: internal, response: keyOfOwn},
	{name: "DeleteExpiredKeyMaterial", kinds: imported, weight: 250, shape: internal},
	{name: "SynchronizeMultiRegionKey", kinds: multiRegion, weight: 200, shape: internal, response: keyOfOwn},
})

// serviceDetails is the serviceEventDetails of those that have them.
var serviceDetails = map[string]template{
	"RotateKey":                parse(`{"keyId":"$i","rotationType":"AUTOMATIC","keyOrigin":"$O","previousKeyMaterialId":"$h","currentKeyMaterialId":"$m"}`),
	"DeleteExpiredKeyMaterial": parse(`{"keyId":"$i","keyMaterialId":"$m"}`),
}

var (
	replicateKey = named("ReplicateKey")
	createKey    = named("CreateKey") // what ReplicateKey causes in the other Region
)

func named(name string) *operation {
	return &operations[slices.IndexFunc(operations, func(o operation) bool { return o.name == name })]
}

const accessDenied = "AccessDenied"

// failure is one way to fail.
type failure struct {
	code    string
	message string // a template; absent when empty
	weight  int

	// only lists the operations that fail so; nil is all those on a key.
	only []string

	// unresolved means that no key was found for what the caller sent.
	unresolved bool

	messageParts template // set by prepare
}

var failures = []*failure{
	{code: accessDenied, message: `$q may not perform kms:$E on $a`, weight: 8},
	{code: "NotFoundException", message: `No key $k in $r`, weight: 3, unresolved: true},
	{code: "ThrottlingException", message: "Too many requests", weight: 1},
	{code: "DisabledException", message: "$a is disabled", weight: 2},
	{code: "KMSInvalidStateException", message: "$a is pending deletion", weight: 3},
	{code: "KMSInternalException", weight: 1},
	{code: "DryRunOperationException", message: "The call would have succeeded", weight: 1, only: []string{"Decrypt", "Encrypt", "GenerateDataKey", "ReEncrypt", "Sign", "Verify", "GenerateMac", "CreateGrant"}},
	{code: "IncorrectKeyException", message: "The data was encrypted under another key than the call names", weight: 6, only: []string{"Decrypt", "ReEncrypt"}},
	{code: "InvalidCiphertextException", weight: 6, only: []string{"Decrypt", "ReEncrypt"}},
	{code: "InvalidKeyUsageException", weight: 3, only: []string{"Encrypt", "Sign", "GenerateMac", "DeriveSharedSecret"}},
	{code: "KMSInvalidSignatureException", weight: 20, only: []string{"Verify"}},
	{code: "KMSInvalidMacException", weight: 20, only: []string{"VerifyMac"}},
	{code: "AlreadyExistsException", message: "There is an alias of this name", weight: 5, only: []string{"CreateAlias"}},
	{code: "LimitExceededException", message: "The key has as many grants as it may have", weight: 3, only: []string{"CreateGrant"}},
	{code: "MalformedPolicyDocumentException", message: "The policy names a principal that does not exist", weight: 5, only: []string{"PutKeyPolicy"}},
	{code: "ExpiredImportTokenException", weight: 5, only: []string{"ImportKeyMaterial"}},
	{code: "CustomKeyStoreInvalidStateException", message: "The custom key store is not in a state for this", weight: 5, only: []string{"ConnectCustomKeyStore", "DisconnectCustomKeyStore", "UpdateCustomKeyStore", "DeleteCustomKeyStore"}},
}

// prepare parses the templates and gives each operation the ways in which it
// can fail, each as often as its weight says.
func prepare(ops []operation) []operation {
	for _, f := range failures {
		f.messageParts = parse(f.message)
	}
	for i := range ops {
		o := &ops[i]
		o.requestParts, o.responseParts, o.extraParts = parse(o.request), parse(o.response), parse(o.extra)
		for _, f := range failures {
			if o.failsBy(f) {
				o.failures = append(o.failures, slices.Repeat([]*failure{f}, f.weight)...)
			}
		}
	}
	return ops
}

func (o *operation) failsBy(f *failure) bool {
	switch {
	case f.only != nil:
		return slices.Contains(f.only, o.name)
	case f.unresolved && o.shape&(twoKeys|keyAlias|aliasKey) != 0:
		return false
	}
	return o.shape&(internal|noKeys|noMember) == 0
}
