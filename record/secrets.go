package record

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// Members of the KMS API that hold secrets, or what opens them: key material and
// data, in clear or wrapped, and credentials. CloudTrail never logs them. They
// are in lower case here; any spelling is refused.
var secretMembers = names(
	"plaintext", "ciphertextBlob", "ciphertextForRecipient",
	"privateKeyPlaintext", "privateKeyCiphertextBlob", "sharedSecret",
	"importToken", "encryptedKeyMaterial",
	"grantToken", "grantTokens",
	"keyStorePassword", "xksProxyAuthenticationCredential", "rawSecretAccessKey",
	"attestationDocument",
)

// Members that hold a caller's data, or a part of a credential, where an operation has
// them, in request and response. Elsewhere they are ordinary words.
var dataMembers = names("message", "mac", "signature", "accessKeyId")

// Members whose own members are named by callers, so that those names mean nothing:
// encryption contexts, and those in the constraints of grants.
var callersNames = names(
	"encryptionContext", "sourceEncryptionContext", "destinationEncryptionContext",
	"encryptionContextEquals", "encryptionContextSubset",
)

func names(list ...string) map[string]bool {
	set := make(map[string]bool, len(list))
	for _, n := range list {
		set[string(bytes.ToLower([]byte(n)))] = true
	}
	return set
}

// longestName is more than any name above has bytes.
const longestName = 40

// CheckSecrets refuses a record of KMS that holds a secret where its API has
// one; nil if it holds none. It is part of [Validate], and of its own for
// producers, which must not let such a record go. It is a block-list, for records that
// were redacted by whoever made them; it does not look for secrets in other places, and
// leaves text that is no JSON to Validate.
func CheckSecrets(r *keytrailv1.Record) *Problem {
	if r.GetEventSource() != EventSource {
		return nil
	}
	for _, f := range []struct {
		name string
		text []byte
		data bool
		key  bool
	}{
		{"requestParameters", r.RequestParameters, true, false},
		{"responseElements", r.ResponseElements, true, r.GetEventName() == answersWrappingKey},
		{"additionalEventData", r.AdditionalEventData, false, false},
		{"serviceEventDetails", r.ServiceEventDetails, false, false},
		{"", r.Verbatim, false, false},
	} {
		if len(f.text) == 0 || f.text[0] == 'n' {
			continue
		}
		d := newDecoder(f.text)
		s := secretSearch{json: &d.json, data: f.data, key: f.key}
		found := s.find()
		d.release()
		if !found {
			continue
		}
		where := s.path()
		if f.name != "" {
			where = f.name + "." + where
		}
		return &Problem{codeSecret, where, "must not be in a log: remove it where the record is made, and treat what it held as exposed"}
	}
	return nil
}

// secretSearch looks for a secret in JSON text that is known to be valid.
type secretSearch struct {
	json *jsontext.Decoder
	data bool // dataMembers are meant as well
	key  bool // and publicKey

	steps []string // to the secret that was found, the last first
}

// find reads a value and reports whether a secret is in it. It stops at the
// first.
func (s *secretSearch) find() bool {
	switch s.json.PeekKind() {
	case '{':
		return s.inObject(false)
	case '[':
		s.skipToken()
		for i := 0; s.json.PeekKind() != ']'; i++ {
			if s.json.PeekKind() == 0 {
				return false
			}
			if s.find() {
				s.steps = append(s.steps, fmt.Sprintf("[%d]", i))
				return true
			}
		}
		s.skipToken()
	default:
		s.skipValue()
	}
	return false
}

// inObject reads an object. named says that callers named its members.
func (s *secretSearch) inObject(named bool) bool {
	s.skipToken()
	for s.json.PeekKind() == '"' {
		quoted, err := s.json.ReadValue()
		if err != nil {
			return false
		}
		var buf [longestName]byte
		name := lowerName(buf[:0], quoted)
		null := s.json.PeekKind() == 'n'
		switch {
		case !named && !null && (secretMembers[string(name)] || s.data && dataMembers[string(name)] || s.key && string(name) == "publickey"):
			s.steps = append(s.steps, string(quoted[1:len(quoted)-1]))
			return true
		default:
			// quoted is only good until the next read.
			var kept [longestName]byte
			said := append(kept[:0], quoted[1:len(quoted)-1]...)
			found := false
			if !named && callersNames[string(name)] && s.json.PeekKind() == '{' {
				found = s.inObject(true)
			} else {
				found = s.find()
			}
			if found {
				s.steps = append(s.steps, string(said))
				return true
			}
		}
	}
	s.skipToken()
	return false
}

// path is where the secret is. The middle of a long path is left out.
func (s *secretSearch) path() string {
	var b strings.Builder
	for i, step := range slices.Backward(s.steps) {
		if b.Len() > 0 && step[:min(len(step), 1)] != "[" {
			b.WriteByte('.')
		}
		if b.WriteString(cutText(step)); i > 0 && b.Len() > maxShortText {
			b.WriteString("….")
			b.WriteString(cutText(s.steps[0]))
			break
		}
	}
	return b.String()
}

// skipToken and skipValue pass over text that was checked before; should it be
// bad all the same, PeekKind says so to the loops.
func (s *secretSearch) skipToken() { _, _ = s.json.ReadToken() }
func (s *secretSearch) skipValue() { _ = s.json.SkipValue() }

// lowerName appends the name in ASCII lower case, or nothing when it is longer
// than any that matters.
func lowerName(dst, quoted []byte) []byte {
	name := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		plain, err := jsontext.AppendUnquote(nil, quoted)
		if err != nil {
			return dst
		}
		name = plain
	}
	if len(name) > longestName {
		return dst
	}
	for _, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}
