package record

import (
	"encoding/base64"
	"encoding/hex"
	"strings"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// withheld is logged instead of an error message that repeats what is not
// logged: a KMS may quote the very value that it refuses.
const withheld = "(withheld: it repeats a value that is not logged)"

// leastEcho is the shortest value that is looked for: shorter ones are in any
// text by chance.
const leastEcho = 4

// safeMessage is the call's error message, or withheld.
func (op *Operation) safeMessage(c *keytrailv1.Call) string {
	message := c.Error.GetMessage()
	if message == "" || message == withheld {
		return message
	}
	known := []string{c.GetOperation(), c.GetRegion(), c.GetAccountId(), c.Caller.GetArn(), c.Caller.GetUserName(), c.Error.GetCode()}
	for _, k := range c.Keys {
		known = append(known, k.GetArn(), k.GetAliasArn())
	}
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
		if !ok {
			return withheld
		}
		_ = eachString(logged, func(quoted []byte) {
			s, _ := unquote(quoted)
			known = append(known, s)
		})
		if repeats(message, part.text, known) {
			return withheld
		}
	}
	return message
}

// repeats reports whether message holds a string of the JSON text, in any form
// that a program might print, but for those that are known.
func repeats(message string, text []byte, known []string) bool {
	found := false
	err := eachString(text, func(quoted []byte) {
		s, _ := unquote(quoted)
		forms := append(make([]string, 0, 8), s, string(quoted[1:len(quoted)-1]))
		for _, e := range [...]*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
			if blob, err := e.DecodeString(s); err == nil {
				forms = append(forms, string(blob), hex.EncodeToString(blob))
			}
		}
		forms = append(forms, base64.StdEncoding.EncodeToString([]byte(s)), hex.EncodeToString([]byte(s)))
		for _, f := range forms {
			if len(f) < leastEcho || !strings.Contains(message, f) {
				continue
			}
			isKnown := false
			for _, k := range known {
				isKnown = isKnown || strings.Contains(k, f)
			}
			found = found || !isKnown
		}
	})
	return found || err != nil
}

// eachString calls do with each string of JSON text that is a value, quoted.
func eachString(text []byte, do func(quoted []byte)) error {
	d := newDecoder(text)
	defer d.release()
	for d.json.PeekKind() != 0 {
		quoted := d.json.PeekKind() == '"'
		switch kind, n := d.json.StackIndex(d.json.StackDepth()); {
		case !quoted:
			if _, err := d.json.ReadToken(); err != nil {
				return err
			}
		default:
			v, err := d.value()
			if err != nil {
				return err
			}
			if kind != '{' || n%2 == 1 { // not a name
				do(v)
			}
		}
	}
	return nil
}
