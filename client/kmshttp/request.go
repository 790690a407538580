package kmshttp

import (
	"bytes"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

const targetPrefix = "TrentService."

// operation returns the operation that r calls. It is empty, without an error,
// if r is no call of a KMS.
//
// Whatever a KMS might take for another operation than this one is an error:
// it would be recorded as what it is not.
func operation(r *http.Request, path string) (string, *refusal) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	targets := append(r.Header.Values("X-Amz-Target"), query["X-Amz-Target"]...)
	switch {
	case twofold(r.Header):
		return "", refuse(http.StatusBadRequest, "ValidationException", "There is a header that could be taken for another.")
	case len(targets) == 0:
		return "", nil
	}
	op, ok := strings.CutPrefix(targets[0], targetPrefix)
	if !ok && len(targets) == 1 {
		return "", nil
	}
	switch {
	case len(targets) > 1:
		return "", refuse(http.StatusBadRequest, "ValidationException", "There is more than one X-Amz-Target.")
	case err != nil:
		return "", refuse(http.StatusBadRequest, "ValidationException", "The query is malformed.")
	case !isName(op) || strings.Contains(op, "."): // some KMS' read what follows the last dot
		return "", refuse(http.StatusBadRequest, "UnknownOperationException", "")
	case r.URL.Path != path && (r.URL.Path != "" || path != "/"), r.URL.RawPath != "":
		return "", refuse(http.StatusNotFound, "UnknownOperationException", "The KMS is called at another path.")
	case r.Method != http.MethodPost:
		return "", refuse(http.StatusMethodNotAllowed, "UnknownOperationException", "Calls are POST requests.")
	case r.Header["Smithy-Protocol"] != nil:
		return "", refuse(http.StatusBadRequest, "UnknownOperationException", "Only AWS JSON 1.1 is served here.")
	case r.Header["Content-Encoding"] != nil:
		return "", refuse(http.StatusUnsupportedMediaType, "SerializationException", "Content-Encoding is not supported.")
	case !isJSON(r.Header["Content-Type"]):
		return "", refuse(http.StatusUnsupportedMediaType, "SerializationException", "Only the Content-Type application/x-amz-json-1.1 is served here.")
	case r.Header["Action"] != nil: // moto takes it for a form's
		return "", refuse(http.StatusBadRequest, "ValidationException", "There is a header that could be taken for another.")
	}
	for name := range query {
		if !strings.HasPrefix(name, "X-Amz-") || name != http.CanonicalHeaderKey(name) {
			return "", refuse(http.StatusBadRequest, "ValidationException", "The query may hold a SigV4 signature only.")
		}
	}
	return op, nil
}

// isName says whether s can be the name of an operation or an exception.
func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '.' && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= 128
}

// twofold says whether h has a header that CGI and WSGI, which know no dashes,
// take for one that decides what a call is.
func twofold(h http.Header) bool {
	for name := range h {
		if !strings.Contains(name, "_") {
			continue
		}
		dashed := http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
		if strings.HasPrefix(dashed, "X-Amz-") || strings.HasPrefix(dashed, "Content-") || dashed == "Smithy-Protocol" || dashed == "Transfer-Encoding" {
			return true
		}
	}
	return false
}

// isJSON says whether a request with this Content-Type is JSON in UTF-8 to
// everybody.
func isJSON(contentType []string) bool {
	if len(contentType) == 0 {
		return true
	}
	kind, params, err := mime.ParseMediaType(one(contentType))
	if err != nil || kind != "application/x-amz-json-1.1" && kind != "application/x-amz-json-1.0" && kind != "application/json" {
		return false
	}
	for name, value := range params {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			return false
		}
	}
	return true
}

// isForm says whether body names an Action if it is read as a form, which some
// KMS' do whatever it is.
func isForm(body []byte) bool {
	for part := range bytes.SplitSeq(bytes.ReplaceAll(body, []byte(";"), []byte("&")), []byte("&")) {
		name, _, _ := bytes.Cut(part, []byte("="))
		if len(name) > 3*len("Action") {
			continue
		}
		if text, err := url.QueryUnescape(string(name)); err == nil && strings.EqualFold(text, "Action") {
			return true
		}
	}
	return false
}
