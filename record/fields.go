package record

import (
	"google.golang.org/protobuf/types/known/timestamppb"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// The tables below are the one list of what CloudTrail writes: each message's
// members under CloudTrail's names and in its usual order, with the fields
// that hold them. Reading, writing and checking all go by them.

var recordFields = newObject(
	func(m *keytrailv1.Record) *[]byte { return &m.Verbatim },
	text("eventVersion", func(m *keytrailv1.Record) **string { return &m.EventVersion }),
	message("userIdentity", userIdentityFields, func(m *keytrailv1.Record) **keytrailv1.UserIdentity { return &m.UserIdentity }),
	moment("eventTime", func(m *keytrailv1.Record) **timestamppb.Timestamp { return &m.EventTime }),
	text("eventSource", func(m *keytrailv1.Record) **string { return &m.EventSource }),
	text("eventName", func(m *keytrailv1.Record) **string { return &m.EventName }),
	text("awsRegion", func(m *keytrailv1.Record) **string { return &m.AwsRegion }),
	text("sourceIPAddress", func(m *keytrailv1.Record) **string { return &m.SourceIpAddress }),
	text("userAgent", func(m *keytrailv1.Record) **string { return &m.UserAgent }),
	text("errorCode", func(m *keytrailv1.Record) **string { return &m.ErrorCode }),
	text("errorMessage", func(m *keytrailv1.Record) **string { return &m.ErrorMessage }),
	freeForm("requestParameters", func(m *keytrailv1.Record) *[]byte { return &m.RequestParameters }),
	freeForm("responseElements", func(m *keytrailv1.Record) *[]byte { return &m.ResponseElements }),
	freeForm("additionalEventData", func(m *keytrailv1.Record) *[]byte { return &m.AdditionalEventData }),
	text("requestID", func(m *keytrailv1.Record) **string { return &m.RequestId }),
	text("eventID", func(m *keytrailv1.Record) **string { return &m.EventId }),
	boolean("readOnly", func(m *keytrailv1.Record) **bool { return &m.ReadOnly }),
	resourceList("resources", resourceFields, func(m *keytrailv1.Record) **keytrailv1.ResourceList { return &m.Resources }),
	text("eventType", func(m *keytrailv1.Record) **string { return &m.EventType }),
	text("apiVersion", func(m *keytrailv1.Record) **string { return &m.ApiVersion }),
	boolean("managementEvent", func(m *keytrailv1.Record) **bool { return &m.ManagementEvent }),
	text("recipientAccountId", func(m *keytrailv1.Record) **string { return &m.RecipientAccountId }),
	freeForm("serviceEventDetails", func(m *keytrailv1.Record) *[]byte { return &m.ServiceEventDetails }),
	text("sharedEventID", func(m *keytrailv1.Record) **string { return &m.SharedEventId }),
	text("vpcEndpointId", func(m *keytrailv1.Record) **string { return &m.VpcEndpointId }),
	text("vpcEndpointAccountId", func(m *keytrailv1.Record) **string { return &m.VpcEndpointAccountId }),
	text("eventCategory", func(m *keytrailv1.Record) **string { return &m.EventCategory }),
	message("addendum", addendumFields, func(m *keytrailv1.Record) **keytrailv1.Addendum { return &m.Addendum }),
	boolean("sessionCredentialFromConsole", func(m *keytrailv1.Record) **bool { return &m.SessionCredentialFromConsole }),
	freeForm("edgeDeviceDetails", func(m *keytrailv1.Record) *[]byte { return &m.EdgeDeviceDetails }),
	message("tlsDetails", tlsDetailsFields, func(m *keytrailv1.Record) **keytrailv1.TlsDetails { return &m.TlsDetails }),
	freeForm("eventContext", func(m *keytrailv1.Record) *[]byte { return &m.EventContext }),
)

var userIdentityFields = newObject(
	func(m *keytrailv1.UserIdentity) *[]byte { return &m.Verbatim },
	text("type", func(m *keytrailv1.UserIdentity) **string { return &m.Type }),
	text("principalId", func(m *keytrailv1.UserIdentity) **string { return &m.PrincipalId }),
	text("arn", func(m *keytrailv1.UserIdentity) **string { return &m.Arn }),
	text("accountId", func(m *keytrailv1.UserIdentity) **string { return &m.AccountId }),
	text("accessKeyId", func(m *keytrailv1.UserIdentity) **string { return &m.AccessKeyId }),
	text("userName", func(m *keytrailv1.UserIdentity) **string { return &m.UserName }),
	message("sessionContext", sessionContextFields, func(m *keytrailv1.UserIdentity) **keytrailv1.SessionContext { return &m.SessionContext }),
	text("invokedBy", func(m *keytrailv1.UserIdentity) **string { return &m.InvokedBy }),
	text("identityProvider", func(m *keytrailv1.UserIdentity) **string { return &m.IdentityProvider }),
	text("credentialId", func(m *keytrailv1.UserIdentity) **string { return &m.CredentialId }),
	freeForm("onBehalfOf", func(m *keytrailv1.UserIdentity) *[]byte { return &m.OnBehalfOf }),
	freeForm("inScopeOf", func(m *keytrailv1.UserIdentity) *[]byte { return &m.InScopeOf }),
)

var sessionContextFields = newObject(
	func(m *keytrailv1.SessionContext) *[]byte { return &m.Verbatim },
	message("sessionIssuer", sessionIssuerFields, func(m *keytrailv1.SessionContext) **keytrailv1.SessionIssuer { return &m.SessionIssuer }),
	freeForm("webIdFederationData", func(m *keytrailv1.SessionContext) *[]byte { return &m.WebIdFederationData }),
	message("attributes", sessionAttributesFields, func(m *keytrailv1.SessionContext) **keytrailv1.SessionAttributes { return &m.Attributes }),
	text("sourceIdentity", func(m *keytrailv1.SessionContext) **string { return &m.SourceIdentity }),
	text("ec2RoleDelivery", func(m *keytrailv1.SessionContext) **string { return &m.Ec2RoleDelivery }),
	text("ec2IssuedInVpc", func(m *keytrailv1.SessionContext) **string { return &m.Ec2IssuedInVpc }),
	text("assumedRoot", func(m *keytrailv1.SessionContext) **string { return &m.AssumedRoot }),
)

var sessionAttributesFields = newObject(
	func(m *keytrailv1.SessionAttributes) *[]byte { return &m.Verbatim },
	text("creationDate", func(m *keytrailv1.SessionAttributes) **string { return &m.CreationDate }),
	text("mfaAuthenticated", func(m *keytrailv1.SessionAttributes) **string { return &m.MfaAuthenticated }),
)

var sessionIssuerFields = newObject(
	func(m *keytrailv1.SessionIssuer) *[]byte { return &m.Verbatim },
	text("type", func(m *keytrailv1.SessionIssuer) **string { return &m.Type }),
	text("principalId", func(m *keytrailv1.SessionIssuer) **string { return &m.PrincipalId }),
	text("arn", func(m *keytrailv1.SessionIssuer) **string { return &m.Arn }),
	text("accountId", func(m *keytrailv1.SessionIssuer) **string { return &m.AccountId }),
	text("userName", func(m *keytrailv1.SessionIssuer) **string { return &m.UserName }),
)

var resourceFields = newObject(
	func(m *keytrailv1.Resource) *[]byte { return &m.Verbatim },
	text("accountId", func(m *keytrailv1.Resource) **string { return &m.AccountId }),
	text("type", func(m *keytrailv1.Resource) **string { return &m.Type }),
	text("ARN", func(m *keytrailv1.Resource) **string { return &m.Arn }).
		orSpelt("arn", func(m *keytrailv1.Resource) **bool { return &m.ArnLowerCase }),
)

var tlsDetailsFields = newObject(
	func(m *keytrailv1.TlsDetails) *[]byte { return &m.Verbatim },
	text("tlsVersion", func(m *keytrailv1.TlsDetails) **string { return &m.TlsVersion }),
	text("cipherSuite", func(m *keytrailv1.TlsDetails) **string { return &m.CipherSuite }),
	text("clientProvidedHostHeader", func(m *keytrailv1.TlsDetails) **string { return &m.ClientProvidedHostHeader }),
	text("keyExchange", func(m *keytrailv1.TlsDetails) **string { return &m.KeyExchange }),
)

var addendumFields = newObject(
	func(m *keytrailv1.Addendum) *[]byte { return &m.Verbatim },
	text("reason", func(m *keytrailv1.Addendum) **string { return &m.Reason }),
	text("updatedFields", func(m *keytrailv1.Addendum) **string { return &m.UpdatedFields }),
	text("originalRequestID", func(m *keytrailv1.Addendum) **string { return &m.OriginalRequestId }),
	text("originalEventID", func(m *keytrailv1.Addendum) **string { return &m.OriginalEventId }),
)
