package record

// The columns of the catalogue that say yes or no.
const (
	readOnly = true
	changing = false

	aKey   = true // changes a particular key
	noKey  = false
	across = true // callers of other accounts can be allowed
	within = false
)

// Facts that several operations have in additionalEventData. KeyMaterialId and
// its kin are taken from the response where the call does not give them.
const (
	inStore   = "CustomKeyStoreId XksKeyId"
	symmetric = inStore + " KeyMaterialId"
	attested  = symmetric + " Recipient"
	ofStore   = "CustomKeyStoreName ClusterId"
)

const xksProxy = "XksProxyUriEndpoint XksProxyUriPath XksProxyVpcEndpointServiceName " +
	"XksProxyVpcEndpointServiceOwner XksProxyConnectivity"

// catalogue is all that Keytrail knows of single operations. Its columns are
// the fields of [Operation], in their order:
//
//	name, class, read-only, changes a particular key, responseElements.keyId, resources, cross-account,
//	    members logged of the request, of the response, additionalEventData, serviceEventDetails, second record
//
// A member that is not named here is logged nowhere. Never named: key material
// and data in any form (Plaintext, PrivateKeyPlaintext, SharedSecret, Message,
// CiphertextBlob, CiphertextForRecipient, PrivateKeyCiphertextBlob, Signature,
// Mac, EncryptedKeyMaterial), what opens things (ImportToken, GrantToken,
// GrantTokens, KeyStorePassword, XksProxyAuthenticationCredential), and
// documents without use in a log (Recipient of a request,
// TrustAnchorCertificate).
var catalogue = [...]Operation{
	row("CancelKeyDeletion", Management, changing, aKey, OwnKeyID, OneKey, within,
		"KeyId", "KeyId", "", "", ""),
	row("ConnectCustomKeyStore", Management, changing, noKey, NoKeyID, Absent, within,
		"CustomKeyStoreId", "", ofStore, "", ""),
	row("CreateAlias", Management, changing, aKey, Enriched, KeyThenAlias, within,
		"AliasName TargetKeyId", "", "", "", ""),
	row("CreateCustomKeyStore", Management, changing, noKey, NoKeyID, Absent, within,
		"CustomKeyStoreName CloudHsmClusterId:clusterId CustomKeyStoreType "+xksProxy, "CustomKeyStoreId", "", "", ""),
	row("CreateGrant", Management, changing, aKey, Enriched, OneKey, across,
		"KeyId GranteePrincipal GranteeServicePrincipal RetiringPrincipal RetiringServicePrincipal Operations Constraints Name DryRun", "GrantId", "", "", ""),
	row("CreateKey", Management, changing, aKey, NoKeyID, OneKey, within,
		"Policy Description KeyUsage CustomerMasterKeySpec KeySpec Origin CustomKeyStoreId BypassPolicyLockoutSafetyCheck Tags MultiRegion XksKeyId", "KeyMetadata", "BackingKey", "", ""),
	row("Decapsulate", Cryptographic, readOnly, noKey, NoKeyID, OneKey, across,
		"KeyId EncapsulationAlgorithm DryRun", "", inStore, "", ""),
	row("Decrypt", Cryptographic, readOnly, noKey, NoKeyID, OneKey, across,
		"KeyId EncryptionContext EncryptionAlgorithm=SYMMETRIC_DEFAULT DryRun DryRunModifiers", "", attested, "", ""),
	row("DeleteAlias", Management, changing, aKey, Enriched, AliasThenKey, within,
		"AliasName", "", "", "", ""),
	row("DeleteCustomKeyStore", Management, changing, noKey, NoKeyID, Absent, within,
		"CustomKeyStoreId", "", ofStore, "", ""),
	row("DeleteImportedKeyMaterial", Management, changing, aKey, OwnKeyID, OneKey, within,
		"KeyId KeyMaterialId", "KeyId KeyMaterialId", "", "", ""),
	row("DeriveSharedSecret", Cryptographic, readOnly, noKey, NoKeyID, OneKey, across,
		"KeyId KeyAgreementAlgorithm PublicKey DryRun", "", inStore+" Recipient", "", ""),
	row("DescribeCustomKeyStores", Inspection, readOnly, noKey, NoKeyID, Absent, within,
		"CustomKeyStoreId CustomKeyStoreName Limit Marker", "", "", "", ""),
	row("DescribeKey", Inspection, readOnly, noKey, NoKeyID, OneKey, across,
		"KeyId", "", "", "", ""),
	row("DisableKey", Management, changing, aKey, Enriched, OneKey, within,
		"KeyId", "", "", "", ""),
	row("DisableKeyRotation", Management, changing, aKey, NoKeyID, OneKey, within,
		"KeyId", "", "", "", ""),
	row("DisconnectCustomKeyStore", Management, changing, noKey, NoKeyID, Absent, within,
		"CustomKeyStoreId", "", ofStore, "", ""),
	row("EnableKey", Management, changing, aKey, Enriched, OneKey, within,
		"KeyId", "", "", "", ""),
	row("EnableKeyRotation", Management, changing, aKey, Enriched, OneKey, within,
		"KeyId RotationPeriodInDays", "", "", "", ""),
	row("Encapsulate", Cryptographic, readOnly, noKey, NoKeyID, OneKey, across,
		"KeyId EncapsulationAlgorithm DryRun", "", inStore, "", ""),
	row("Encrypt", Cryptographic, readOnly, noKey, NoKeyID, OneKey, across,
		"KeyId EncryptionContext EncryptionAlgorithm=SYMMETRIC_DEFAULT DryRun", "", symmetric, "", ""),
	row("GenerateDataKey", Cryptographic, readOnly, noKey, NoKeyID, OneKey, across,
		"KeyId EncryptionContext KeySpec NumberOfBytes DryRun", "", attested, "", ""),
	row("GenerateDataKeyPair", Cryptographic, readOnly, noKey, NoKeyID, OneKey, across,
		"KeyId EncryptionContext KeyPairSpec DryRun", "", attested, "", ""),
	row("GenerateDataKeyPairWithoutPlaintext", Cryptographic, readOnly, noKey, NoKeyID, OneKey, across,
		"KeyId EncryptionContext KeyPairSpec DryRun", "", symmetric, "", ""),
	row("GenerateDataKeyWithoutPlaintext", Cryptographic, readOnly, noKey, NoKeyID, OneKey, across,
		"KeyId EncryptionContext KeySpec NumberOfBytes DryRun", "", symmetric, "", ""),
	row("GenerateMac", Cryptographic, readOnly, noKey, NoKeyID, OneKey, across,
		"KeyId MacAlgorithm DryRun", "", inStore, "", ""),
	row("GenerateRandom", Cryptographic, readOnly, noKey, NoKeyID, AnyKeys, within,
		"", "", "CustomKeyStoreId Recipient", "", ""),
	row("GetKeyLastUsage", Inspection, readOnly, noKey, NoKeyID, OneKey, within,
		"KeyId", "", "", "", ""),
	row("GetKeyPolicy", Inspection, readOnly, noKey, NoKeyID, OneKey, within,
		"KeyId PolicyName", "", "", "", ""),
	row("GetKeyRotationStatus", Inspection, readOnly, noKey, NoKeyID, OneKey, across,
		"KeyId", "", "", "", ""),
	row("GetParametersForImport", Inspection, readOnly, noKey, NoKeyID, OneKey, within,
		"KeyId WrappingAlgorithm WrappingKeySpec", "", "", "", ""),
	row("GetPublicKey", Inspection, readOnly, noKey, NoKeyID, OneKey, across,
		"KeyId", "", "", "", ""),
	row("ImportKeyMaterial", Management, changing, aKey, Enriched, OneKey, within,
		"KeyId KeyMaterialId ValidTo ExpirationModel ImportType KeyMaterialDescription", "KeyMaterialId", "", "", ""),
	row("ListAliases", Inspection, readOnly, noKey, NoKeyID, AnyKeys, within,
		"KeyId Limit Marker", "", "", "", ""),
	row("ListGrants", Inspection, readOnly, noKey, NoKeyID, OneKey, across,
		"KeyId GrantId GranteePrincipal GranteeServicePrincipal Limit Marker", "", "", "", ""),
	row("ListKeyPolicies", Inspection, readOnly, noKey, NoKeyID, OneKey, within,
		"KeyId Limit Marker", "", "", "", ""),
	row("ListKeyRotations", Inspection, readOnly, noKey, NoKeyID, OneKey, within,
		"KeyId IncludeKeyMaterial Limit Marker", "", "", "", ""),
	row("ListKeys", Inspection, readOnly, noKey, NoKeyID, AnyKeys, within,
		"Limit Marker", "", "", "", ""),
	row("ListResourceTags", Inspection, readOnly, noKey, NoKeyID, OneKey, within,
		"KeyId Limit Marker", "", "", "", ""),
	row("ListRetirableGrants", Inspection, readOnly, noKey, NoKeyID, AnyKeys, within,
		"RetiringPrincipal RetiringServicePrincipal Limit Marker", "", "", "", ""),
	row("PutKeyPolicy", Management, changing, aKey, NoKeyID, OneKey, within,
		"KeyId PolicyName Policy BypassPolicyLockoutSafetyCheck", "", "", "", ""),
	row("ReEncrypt", Cryptographic, readOnly, noKey, NoKeyID, TwoKeys, across,
		"SourceKeyId SourceEncryptionContext SourceEncryptionAlgorithm=SYMMETRIC_DEFAULT DestinationKeyId DestinationEncryptionContext DestinationEncryptionAlgorithm=SYMMETRIC_DEFAULT DryRun DryRunModifiers", "", inStore+" SourceKeyMaterialId DestinationKeyMaterialId", "", ""),
	row("ReplicateKey", Management, changing, aKey, NoKeyID, OneKey, within,
		"KeyId ReplicaRegion Policy BypassPolicyLockoutSafetyCheck Description Tags", "ReplicaKeyMetadata ReplicaPolicy ReplicaTags", "", "", "CreateKey@ReplicaRegion"),
	row("RetireGrant", Management, changing, aKey, NoKeyID, OneKey, across,
		"KeyId GrantId DryRun", "", "GrantId", "", ""),
	row("RevokeGrant", Management, changing, aKey, NoKeyID, OneKey, across,
		"KeyId GrantId DryRun", "", "", "", ""),
	row("RotateKeyOnDemand", Management, changing, aKey, OwnKeyID, OneKey, within,
		"KeyId", "KeyId", "", "", ""),
	row("ScheduleKeyDeletion", Management, changing, aKey, OwnKeyID, OneKey, within,
		"KeyId PendingWindowInDays", "KeyId DeletionDate KeyState PendingWindowInDays", "CustomKeyStoreId ClusterId BackingKeys", "", ""),
	row("Sign", Cryptographic, readOnly, noKey, NoKeyID, OneKey, across,
		"KeyId MessageType SigningAlgorithm DryRun", "", inStore, "", ""),
	row("TagResource", Management, changing, aKey, Enriched, OneKey, within,
		"KeyId Tags", "", "", "", ""),
	row("UntagResource", Management, changing, aKey, Enriched, OneKey, within,
		"KeyId TagKeys", "", "", "", ""),
	row("UpdateAlias", Management, changing, aKey, Enriched, AliasThenKey, within,
		"AliasName TargetKeyId", "", "", "", ""),
	row("UpdateCustomKeyStore", Management, changing, noKey, NoKeyID, Absent, within,
		"CustomKeyStoreId NewCustomKeyStoreName CloudHsmClusterId:clusterId "+xksProxy, "", ofStore, "", ""),
	row("UpdateKeyDescription", Management, changing, aKey, NoKeyID, OneKey, within,
		"KeyId Description", "", "", "", ""),
	row("UpdatePrimaryRegion", Management, changing, aKey, Enriched, OneKey, within,
		"KeyId PrimaryRegion", "", "", "", "UpdatePrimaryRegion@PrimaryRegion"),
	row("Verify", Cryptographic, readOnly, noKey, NoKeyID, OneKey, across,
		"KeyId MessageType SigningAlgorithm DryRun", "", inStore, "", ""),
	row("VerifyMac", Cryptographic, readOnly, noKey, NoKeyID, OneKey, across,
		"KeyId MacAlgorithm DryRun", "", inStore, "", ""),

	// What the KMS does of its own accord. The member KeyId of the details is filled in.
	row("DeleteExpiredKeyMaterial", ServiceEvent, changing, aKey, NoKeyID, OneKey, within,
		"", "", "", "KeyId KeyMaterialId", ""),
	row("DeleteKey", ServiceEvent, changing, aKey, Enriched, OneKey, within,
		"", "", "CustomKeyStoreId ClusterId BackingKeys BackingKeysDeletionStatus", "", ""),
	row("RotateKey", ServiceEvent, changing, aKey, Enriched, OneKey, within,
		"", "", "", "KeyId RotationType KeyOrigin PreviousKeyMaterialId CurrentKeyMaterialId", ""),
	row("SynchronizeMultiRegionKey", InternalCall, changing, aKey, Enriched, OneKey, within,
		"", "", "", "", ""),
}

// What second records log of their calls, beside what their operation logs.
var (
	// moved is what UpdatePrimaryRegion's logs as sent; its key is filled in.
	moved = newMembers("PrimaryRegion")

	// replica is what the CreateKey of ReplicateKey logs of the response.
	replica = newMembers("ReplicaKeyMetadata:keyMetadata")
)

// answersWrappingKey is the operation whose PublicKey is sensitive: who puts
// another in its place gets the key material that is imported.
const answersWrappingKey = "GetParametersForImport"
