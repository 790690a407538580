package record

import (
	"encoding/base64"
	"encoding/hex"
	"iter"
	"slices"
	"strings"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// withheld is logged instead of an error message that repeats what is not
// logged: a KMS may quote the very value that it refuses.
const withheld = "(withheld: it repeats a value that is not logged)"

const (
	// leastEcho is the shortest value that is looked for: shorter ones are in
	// any text by chance.
	leastEcho = 4

	// mostEcho is how much of a value shows that it is repeated, or begun.
	mostEcho = 32

	// mostValues is how many values are looked for. No call of a KMS has so
	// many: one that does has no message.
	mostValues = 1000
)

// safeMessage is the call's error message, not longer than is logged, or
// withheld.
func (op *Operation) safeMessage(c *keytrailv1.Call) string {
	message := c.Error.GetMessage()
	if message == "" || message == withheld {
		return message
	}
	known := []string{c.GetOperation(), c.GetRegion(), c.GetAccountId(), c.Caller.GetArn(), c.Caller.GetUserName(), c.Error.GetCode()}
	for _, k := range c.Keys {
		known = append(known, k.GetArn(), k.GetAliasArn())
	}
	// What begins in the part that is logged shows within this.
	window := message[:min(len(message), maxShortText+mostEcho)]
	for _, part := range [...]struct {
		text []byte
		list *members
		s    spelling
	}{
		{c.RequestParameters, op.request, apiNames},
		{c.Response, op.responseOf(c), apiNames},
		{c.AdditionalEventData, op.additional, loggedNames},
		{c.ServiceEventDetails, op.details, loggedNames},
	} {
		if part.text == nil {
			continue
		}
		logged, _, ok := part.list.appendAllowed(nil, part.text, part.s, part.s)
		if !ok || repeats(window, part.text, slices.Concat(known, stringsOf(logged))) {
			return withheld
		}
	}
	return cutText(message)
}

// repeats reports whether message holds a string of the JSON object text, or
// its beginning, in any form that a program might print, but for those that are
// known.
func repeats(message string, text []byte, known []string) bool {
	holds := func(form string) bool {
		if len(form) < leastEcho {
			return false
		}
		for _, f := range [...]string{form, form[:min(len(form), mostEcho)]} {
			if strings.Contains(message, f) && !slices.ContainsFunc(known, func(k string) bool { return strings.Contains(k, f) }) {
				return true
			}
		}
		return false
	}
	values := 0
	for quoted := range eachString(text) {
		s, _ := unquote(quoted)
		if values++; values > mostValues || holds(s) || holds(string(quoted[1:len(quoted)-1])) ||
			holds(base64.StdEncoding.EncodeToString([]byte(s))) || holds(hex.EncodeToString([]byte(s))) {
			return true
		}
		for _, e := range [...]*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
			if blob, err := e.DecodeString(s); err == nil && (holds(string(blob)) || holds(hex.EncodeToString(blob))) {
				return true
			}
		}
	}
	return false
}

// stringsOf are the first values of text that are strings.
func stringsOf(text []byte) (values []string) {
	for quoted := range eachString(text) {
		s, _ := unquote(quoted)
		if values = append(values, s); len(values) == mostValues {
			break
		}
	}
	return values
}

// eachString yields each string of a JSON object that is a value, quoted. The
// text is valid.
func eachString(text []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		d := newDecoder(text)
		defer d.release()
		for kind := d.json.PeekKind(); kind != 0; kind = d.json.PeekKind() {
			if kind != '"' {
				if _, err := d.json.ReadToken(); err != nil {
					return
				}
				continue
			}
			in, before := d.json.StackIndex(d.json.StackDepth())
			v, err := d.value()
			if err != nil {
				return
			}
			if isName := in == '{' && before%2 == 0; !isName && !yield(v) {
				return
			}
		}
	}
}
