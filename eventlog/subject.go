package eventlog

import (
	"errors"
	"fmt"

	"github.com/keytrail/keytrail/record"
)

// SubjectRoot is the first token of every subject of the log.
const SubjectRoot = "kms"

// MaxSubject is the longest subject in bytes. NATS closes a connection that
// sends a control line of more than 4,096.
const MaxSubject = 4000

// Key tokens that are no key ARN.
const (
	noKey    = "-"
	multiKey = "multi"
)

// ErrSubject: the routing fields of the record are too long together.
var ErrSubject = errors.New("account, Region, key and event name are too long to route")

// Subject returns the subject of a record:
//
//	kms.<recipient account>.<region>.<key>.<event name>
//
// The key is the ARN; "-" when the record names none and "multi" when it names
// several.
func Subject(h *record.Header) (string, error) {
	key := noKey
	switch len(h.Keys) {
	case 0:
	case 1:
		key = h.Keys[0]
	default:
		key = multiKey
	}
	buf := make([]byte, 0, 160)
	buf = append(buf, SubjectRoot...)
	for _, token := range [...]string{h.Account, h.Region, key, h.EventName} {
		buf = append(buf, '.')
		buf = AppendToken(buf, token)
	}
	if len(buf) > MaxSubject {
		return "", fmt.Errorf("%w: %d bytes, the limit is %d", ErrSubject, len(buf), MaxSubject)
	}
	return string(buf), nil
}

// AppendToken appends s as one token of a subject: what NATS gives a meaning
// is written as %XX, and so is "%" itself, so that tokens can be read back. An
// empty s becomes "-"; so does "-", for nothing needs to tell the two apart.
func AppendToken(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, noKey...)
	}
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		switch c := s[i]; {
		case c <= ' ' || c == 0x7f || c == '.' || c == '*' || c == '>' || c == '%':
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return dst
}
