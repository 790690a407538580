package record

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/types/known/timestamppb"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// ErrNotObject is the error of JSON that is valid and not an object.
var ErrNotObject = errors.New("not a JSON object")

// FromJSON decodes one CloudTrail record, a JSON object, without loss: see the
// package comment. It takes any JSON object, whether or not [Validate] would.
//
// It fails on what is not JSON, not UTF-8 or not an object, on objects with
// two members of one name at any depth, and on 10,000 levels of nesting; errors
// say at which byte.
func FromJSON(data []byte) (*keytrailv1.Record, error) {
	r, n, err := decodePrefix(data)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	if rest := trimSpace(data[n:]); len(rest) > 0 {
		return nil, fmt.Errorf("record: %w", &textError{len(data) - len(rest), errors.New("text after the JSON object")})
	}
	return r, nil
}

// decodePrefix decodes the record that data begins with and returns the length
// of its text. The error wraps [io.ErrUnexpectedEOF] if data ends before the
// record does.
func decodePrefix(data []byte) (*keytrailv1.Record, int, error) {
	d := newDecoder(data)
	defer d.release()
	switch d.json.PeekKind() {
	case '{':
	case 'n', 'f', 't', '"', '0', '[':
		return nil, 0, &textError{len(data) - len(trimSpace(data)), ErrNotObject}
	default:
		_, err := d.json.ReadToken()
		return nil, 0, syntaxError(err)
	}
	r := new(keytrailv1.Record)
	if err := d.object(recordFields, r); err != nil {
		return nil, 0, syntaxError(err)
	}
	n := int(d.json.InputOffset())
	if i := invalidUTF8(data[:n]); i >= 0 {
		return nil, 0, &textError{i, errors.New("not UTF-8")}
	}
	return r, n, nil
}

// textError says at which byte of a text something is wrong.
type textError struct {
	at  int
	err error
}

func (e *textError) Error() string { return fmt.Sprintf("at byte %d: %v", e.at, e.err) }
func (e *textError) Unwrap() error { return e.err }

// syntaxError puts an error of jsontext in the form of this package.
func syntaxError(err error) error {
	var s *jsontext.SyntacticError
	if !errors.As(err, &s) {
		// A text that ends where a value should begin.
		return &textError{0, fmt.Errorf("not JSON: %w", io.ErrUnexpectedEOF)}
	}
	if errors.Is(err, jsontext.ErrDuplicateName) {
		return &textError{int(s.ByteOffset), s.Err}
	}
	return &textError{int(s.ByteOffset), fmt.Errorf("not JSON: %w", s.Err)}
}

// invalidUTF8 returns where b stops being UTF-8, or -1.
func invalidUTF8(b []byte) int {
	if utf8.Valid(b) {
		return -1
	}
	for i := 0; ; {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n <= 1 {
			return i
		}
		i += n
	}
}

// decoder walks JSON text. jsontext checks the grammar, and names for being
// distinct.
type decoder struct {
	json jsontext.Decoder
	buf  bytes.Buffer
	data []byte
}

var decoders = sync.Pool{New: func() any { return new(decoder) }}

// Half a surrogate pair is valid JSON, and jsontext counts it as invalid
// UTF-8. So that is allowed here, and real invalid UTF-8 is looked for apart.
var lenient = jsontext.AllowInvalidUTF8(true)

// anyNames also lets names repeat: it finds where a value ends.
var anyNames = []jsontext.Options{lenient, jsontext.AllowDuplicateNames(true)}

func newDecoder(data []byte) *decoder {
	d := decoders.Get().(*decoder)
	d.reset(data, lenient)
	return d
}

func (d *decoder) reset(data []byte, opts ...jsontext.Options) {
	d.data = data
	// From a bytes.Buffer, jsontext reads in place.
	d.buf = *bytes.NewBuffer(data)
	d.json.Reset(&d.buf, opts...)
}

func (d *decoder) release() {
	d.reset(nil) // let go of the caller's memory
	decoders.Put(d)
}

// value reads the next value and returns its text, a part of d.data.
func (d *decoder) value() ([]byte, error) {
	v, err := d.json.ReadValue()
	if err != nil {
		return nil, err
	}
	end := int(d.json.InputOffset())
	return d.data[end-len(v) : end], nil
}

// object reads an object into m.
func (d *decoder) object(o *object, m any) error {
	if _, err := d.json.ReadToken(); err != nil {
		return err
	}
	var keep verbatim
	var first uint64 // fields that came under their first name
	var held struct {
		f           *field
		name, value []byte
	}
	for {
		k := d.json.PeekKind()
		if k == '}' {
			break
		}
		if k != '"' && k != 0 {
			// jsontext would read the value first, and might say that it is cut
			// off: then a Reader would wait for more.
			return &jsontext.SyntacticError{ByteOffset: d.json.InputOffset(), Err: errors.New("no member name where one should be")}
		}
		name, err := d.value()
		if err != nil {
			return err
		}
		f, other := o.lookup(name)
		if f == nil || other {
			v, err := d.value()
			switch {
			case err != nil:
				return err
			case other: // what it means depends on the members after it
				held.f, held.name, held.value = f, name, v
			default:
				keep.add(name, v)
			}
			continue
		}
		first |= 1 << f.index
		v, exact, err := d.member(f, m)
		if err != nil {
			return err
		}
		if !exact {
			keep.add(name, v)
		}
	}
	if _, err := d.json.ReadToken(); err != nil {
		return err
	}
	if f := held.f; f != nil {
		exact := false
		if first&(1<<f.index) == 0 {
			exact = f.read(m, held.value)
			if f.has(m) {
				yes := true
				*f.spelt(m) = &yes
			}
		}
		if !exact {
			keep.add(held.name, held.value)
		}
	}
	*o.verbatim(m) = keep.object()
	return nil
}

// lookup returns the field of a member by its quoted name, nil if it has none,
// and whether the name is its other one.
func (o *object) lookup(quoted []byte) (f *field, other bool) {
	name := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		var err error
		if name, err = jsontext.AppendUnquote(nil, quoted); err != nil {
			return nil, false
		}
	}
	f = o.byName[string(name)]
	return f, f != nil && f.other != "" && f.other == string(name)
}

// member reads the value of f into m. It returns the text of the value when
// the field does not hold it exactly.
func (d *decoder) member(f *field, m any) (v []byte, exact bool, err error) {
	switch k := d.json.PeekKind(); {
	case f.kind == kindMessage && k == '{':
		return nil, true, d.object(f.of, f.child(m, true))
	case f.kind == kindList && k == '[':
		return d.resources(f, m)
	}
	if v, err = d.value(); err != nil {
		return nil, false, err
	}
	return v, f.read(m, v), nil
}

// resources reads an array of resources. If one of them is not an object the
// list can't hold the array, and its text is returned.
func (d *decoder) resources(f *field, m any) (v []byte, exact bool, err error) {
	if _, err := d.json.ReadToken(); err != nil {
		return nil, false, err
	}
	start := int(d.json.InputOffset()) - 1
	list := new(keytrailv1.ResourceList)
	exact = true
	for d.json.PeekKind() != ']' {
		if d.json.PeekKind() != '{' {
			exact = false
			if err := d.json.SkipValue(); err != nil {
				return nil, false, err
			}
			continue
		}
		e := new(keytrailv1.Resource)
		if err := d.object(f.of, e); err != nil {
			return nil, false, err
		}
		list.Entries = append(list.Entries, e)
	}
	if _, err := d.json.ReadToken(); err != nil {
		return nil, false, err
	}
	if exact {
		*f.list(m) = list
	}
	return d.data[start:d.json.InputOffset()], exact, nil
}

// read sets f in m from the text of a value, as far as f can hold it, and
// reports whether that is all that the text says.
func (f *field) read(m any, v []byte) (exact bool) {
	switch f.kind {
	case kindText:
		if v[0] == '"' {
			s, whole := unquote(v)
			*f.text(m) = &s
			return whole
		}
	case kindBoolean:
		switch string(v) {
		case "true", "false":
			b := v[0] == 't'
			*f.boolean(m) = &b
			return true
		case `"true"`, `"false"`:
			b := v[1] == 't'
			*f.boolean(m) = &b
		}
	case kindFreeForm:
		if v[0] == '{' || v[0] == 'n' {
			*f.json(m) = appendCompact(make([]byte, 0, len(v)), v)
			return true
		}
	case kindMoment:
		if v[0] == '"' {
			s, _ := unquote(v)
			t, usual := parseMoment(s)
			*f.moment(m) = t
			return usual
		}
	}
	return false
}

// unquote returns the string that v quotes. Half a surrogate pair becomes
// U+FFFD, as most readers have it; whole is then false.
func unquote(v []byte) (s string, whole bool) {
	if bytes.IndexByte(v, '\\') < 0 {
		return string(v[1 : len(v)-1]), true
	}
	b, err := jsontext.AppendUnquote(make([]byte, 0, len(v)), v)
	return string(b), err == nil
}

// parseMoment reads a time in any form of RFC 3339; nil if it is none. usual
// is true for the one form that CloudTrail writes.
func parseMoment(s string) (t *timestamppb.Timestamp, usual bool) {
	const form = "0000-00-00T00:00:00"
	if len(s) <= len(form) {
		return nil, false
	}
	// Package time takes more than RFC 3339 in some places (one digit for an
	// hour, a comma) and less in others (lower case, a space for the T).
	for i := range len(form) {
		switch c := s[i]; form[i] {
		case '0':
			if c < '0' || c > '9' {
				return nil, false
			}
		case 'T':
			if c != 'T' && c != 't' && c != ' ' {
				return nil, false
			}
		default:
			if c != form[i] {
				return nil, false
			}
		}
	}
	rest := s[len(form):]
	if rest[0] == ',' {
		return nil, false
	}
	usual = rest == "Z" && s[len("0000-00-00")] == 'T'
	strict := s
	if !usual {
		strict = strings.Replace(strings.ToUpper(s), " ", "T", 1)
	}
	parsed, err := time.Parse(time.RFC3339Nano, strict)
	if err != nil {
		return nil, false
	}
	t = timestamppb.New(parsed)
	if t.CheckValid() != nil {
		return nil, false
	}
	return t, usual
}

// verbatim collects members for a message's verbatim field.
type verbatim []byte

func (b *verbatim) add(quotedName, v []byte) {
	if len(*b) == 0 {
		*b = append(make(verbatim, 0, len(quotedName)+len(v)+3), '{')
	} else {
		*b = append(*b, ',')
	}
	*b = append(*b, quotedName...)
	*b = append(*b, ':')
	*b = appendCompact(*b, v)
}

// object returns the members as a JSON object, nil if there are none.
func (b *verbatim) object() []byte {
	if len(*b) == 0 {
		return nil
	}
	return append(*b, '}')
}

// appendCompact appends valid JSON text without its insignificant white space.
func appendCompact(dst, v []byte) []byte {
	for len(v) > 0 {
		switch v[0] {
		case ' ', '\t', '\r', '\n':
			v = v[1:]
			continue
		}
		n := 0
	run:
		for n < len(v) {
			switch v[n] {
			case ' ', '\t', '\r', '\n':
				break run
			case '"':
				for n++; v[n] != '"'; n++ {
					if v[n] == '\\' {
						n++
					}
				}
			}
			n++
		}
		dst = append(dst, v[:n]...)
		v = v[n:]
	}
	return dst
}

// trimSpace returns b without the white space before its first JSON token.
func trimSpace(b []byte) []byte { return bytes.TrimLeft(b, " \t\r\n") }
