package kmshttp

import (
	"net/http"
	"strings"
)

// failure is what an error code says about how far the KMS came.
type failure struct {
	// known: a KMS gives it only to a caller whom it has authenticated.
	known bool

	// found: a key, if the call names one, was looked up and is there.
	found bool
}

// failures lists the errors after which something is certain. ValidationException,
// ThrottlingException, KMSInternalException and the like may come before a
// signature is looked at, and are not here; nor is what says that it is wrong.
var failures = map[string]failure{
	// Refused by policy: who calls is clear. Which key it is, the request says.
	"AccessDenied":          {true, true},
	"AccessDeniedException": {true, true},

	// There is no such thing.
	"NotFoundException":                           {true, false},
	"CustomKeyStoreNotFoundException":             {true, false},
	"InvalidGrantIdException":                     {true, true},
	"InvalidGrantTokenException":                  {true, true},
	"InvalidCiphertextException":                  {true, true},
	"IncorrectKeyException":                       {true, true},
	"IncorrectKeyMaterialException":               {true, true},
	"IncorrectTrustAnchorException":               {true, false},
	"AlreadyExistsException":                      {true, true},
	"ConflictException":                           {true, true},
	"LimitExceededException":                      {true, true},
	"DisabledException":                           {true, true},
	"DryRunOperationException":                    {true, true},
	"ExpiredImportTokenException":                 {true, true},
	"InvalidImportTokenException":                 {true, true},
	"InvalidKeyUsageException":                    {true, true},
	"KeyUnavailableException":                     {true, true},
	"KMSInvalidMacException":                      {true, true},
	"KMSInvalidSignatureException":                {true, true},
	"KMSInvalidStateException":                    {true, true},
	"MalformedPolicyDocumentException":            {true, true},
	"TagException":                                {true, true},
	"CustomKeyStoreHasCMKsException":              {true, false},
	"CustomKeyStoreInvalidStateException":         {true, false},
	"CustomKeyStoreNameInUseException":            {true, false},
	"CloudHsmClusterInUseException":               {true, false},
	"CloudHsmClusterNotActiveException":           {true, false},
	"CloudHsmClusterNotFoundException":            {true, false},
	"CloudHsmClusterNotRelatedException":          {true, false},
	"XksKeyAlreadyInUseException":                 {true, false},
	"XksKeyNotFoundException":                     {true, false},
	"XksProxyUriInUseException":                   {true, false},
	"XksProxyUriEndpointInUseException":           {true, false},
	"XksKeyInvalidConfigurationException":         {true, false},
	"XksProxyUriUnreachableException":             {true, false},
	"XksProxyInvalidResponseException":            {true, false},
	"XksProxyVpcEndpointServiceNotFoundException": {true, false},
}

// errorOf returns the code and the message of a failed call. A KMS that says
// none gets the common error of AWS for its status.
func errorOf(a *answer) (code, message string) {
	if a.aborted || a.panicked != nil {
		return "InternalFailure", "The KMS did not finish its answer."
	}
	body, _ := readMembers(a.text())
	message, ok := body.text("message")
	if !ok {
		message, _ = body.text("Message")
	}
	typed, _ := body.text("__type")
	for _, s := range []string{a.sent.Get("X-Amzn-Errortype"), typed} {
		s = s[strings.LastIndexByte(s, '#')+1:] // "com.amazonaws.kms#NotFoundException"
		s, _, _ = strings.Cut(s, ":")           // "NotFoundException:http://…"
		if isName(s) {
			return s, message
		}
	}
	switch {
	case a.status == http.StatusTooManyRequests:
		code = "ThrottlingException"
	case a.status == http.StatusBadGateway, a.status == http.StatusServiceUnavailable, a.status == http.StatusGatewayTimeout:
		code = "ServiceUnavailable"
	case a.status >= 500:
		code = "InternalFailure"
	default:
		code = "UnknownError"
	}
	if message == "" {
		message = "The KMS answered " + http.StatusText(a.status) + "."
	}
	return code, message
}
