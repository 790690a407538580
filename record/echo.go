package record

import (
	"encoding/base64"
	"encoding/hex"
	"index/suffixarray"
	"iter"
	"regexp"
	"strconv"
	"strings"
	"sync"

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
	parts := [...]struct {
		text []byte
		list *members
		s    spelling
	}{
		{c.RequestParameters, op.request, apiNames},
		{c.Response, op.responseOf(c), apiNames},
		{c.AdditionalEventData, op.additional, loggedNames},
		{c.ServiceEventDetails, op.details, loggedNames},
	}
	for _, part := range parts {
		if part.text == nil {
			continue
		}
		logged, _, ok := part.list.appendAllowed(nil, part.text, part.s, part.s)
		if !ok {
			return withheld
		}
		known = appendValues(known, logged)
	}
	e := newEcho(message, known)
	for _, part := range parts {
		if e.repeats(part.text) {
			return withheld
		}
	}
	return cutText(message)
}

// echo is an error message in which values are looked for.
type echo struct {
	views []string // the message as it is, and without escapes
	known func() *suffixarray.Index
}

func newEcho(message string, known []string) *echo {
	// What begins in the part that is logged shows within this.
	window := message[:min(len(message), maxShortText+mostEcho)]
	e := &echo{views: []string{window}}
	if strings.IndexByte(window, '\\') >= 0 {
		e.views = append(e.views, withoutBackslashes(window))
	}
	if strings.ContainsAny(window, "%+") {
		e.views = append(e.views, withoutPercents(window))
	}
	// An index, for both what is known and what is looked for may be long.
	e.known = sync.OnceValue(func() *suffixarray.Index {
		return suffixarray.New([]byte(strings.Join(known, "\x00")))
	})
	return e
}

// repeats reports whether the message holds a string or number of the JSON
// object text, or its beginning, in a form that a program might print, but for
// those that are known.
func (e *echo) repeats(text []byte) bool {
	values := 0
	for v := range eachValue(text) {
		if values++; values > mostValues || e.prints(v) {
			return true
		}
		if blob, ok := fromBase64(v); ok && e.prints(blob) {
			return true
		}
	}
	return false
}

// prints reports whether the message holds the value, as it is, in hexadecimal
// or in base64: alone, or within a longer text that was encoded.
func (e *echo) prints(value string) bool {
	digits := hex.EncodeToString([]byte(value))
	if e.holds(value) || e.holds(digits) || e.holds(strings.ToUpper(digits)) {
		return true
	}
	before := "\x00\x00"
	for shift := range 3 {
		encoded := base64.RawStdEncoding.EncodeToString([]byte(before[:shift] + value))
		// The characters at the ends hold bits of what is around the value. A
		// short one is looked for alone only.
		if len(value) >= 2*leastEcho {
			encoded = encoded[(8*shift+5)/6 : len(encoded)-1]
		} else if shift > 0 {
			break
		}
		if e.holds(encoded) || e.holds(otherAlphabet.Replace(encoded)) {
			return true
		}
	}
	return false
}

// holds reports whether the message has form, or its beginning, and not from
// what is known.
func (e *echo) holds(form string) bool {
	if len(form) < leastEcho {
		return false
	}
	begun := form[:min(len(form), mostEcho)]
	for _, view := range e.views {
		if strings.Contains(view, begun) && (!e.knows(begun) || strings.Contains(view, form) && !e.knows(form)) {
			return true
		}
	}
	return false
}

func (e *echo) knows(s string) bool { return len(e.known().Lookup([]byte(s), 1)) > 0 }

// The alphabets of base64, one as the other.
var (
	otherAlphabet = strings.NewReplacer("+", "-", "/", "_")
	usualAlphabet = strings.NewReplacer("-", "+", "_", "/")
)

// fromBase64 decodes base64 of either alphabet, with and without padding.
func fromBase64(s string) (string, bool) {
	blob, err := base64.RawStdEncoding.DecodeString(usualAlphabet.Replace(strings.TrimRight(s, "=")))
	return string(blob), err == nil
}

var (
	escapes  = regexp.MustCompile(`\\(?:u[0-9a-fA-F]{4}|.)`)
	percents = regexp.MustCompile(`%[0-9a-fA-F]{2}|\+`)
)

// withoutBackslashes is s without the escapes of JSON.
func withoutBackslashes(s string) string {
	return escapes.ReplaceAllStringFunc(s, func(e string) string {
		if len(e) == len(`\u0000`) {
			n, _ := strconv.ParseUint(e[2:], 16, 16)
			return string(rune(n))
		}
		if i := strings.IndexByte("bfnrt", e[1]); i >= 0 {
			return "\b\f\n\r\t"[i : i+1]
		}
		return e[1:]
	})
}

// withoutPercents is s without the escapes of URLs.
func withoutPercents(s string) string {
	return percents.ReplaceAllStringFunc(s, func(e string) string {
		if e == "+" {
			return " "
		}
		n, _ := strconv.ParseUint(e[1:], 16, 8)
		return string([]byte{byte(n)})
	})
}

// appendValues appends the first values of text.
func appendValues(values []string, text []byte) []string {
	n := 0
	for v := range eachValue(text) {
		if values = append(values, v); n == mostValues {
			break
		}
		n++
	}
	return values
}

// eachValue yields each string and number of a JSON object that is a value, the
// strings unquoted. The text is valid, or nil.
func eachValue(text []byte) iter.Seq[string] {
	return func(yield func(string) bool) {
		d := newDecoder(text)
		defer d.release()
		for kind := d.json.PeekKind(); kind != 0; kind = d.json.PeekKind() {
			if kind != '"' && kind != '0' {
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
			if in == '{' && before%2 == 0 {
				continue // a name
			}
			s := string(v)
			if kind == '"' {
				s, _ = unquote(v)
			}
			if !yield(s) {
				return
			}
		}
	}
}
