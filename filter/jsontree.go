package filter

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// maxJSONDepth bounds how deep a dialect's JSON may be nested. Below an object
// of a pattern there are at most four more levels.
const maxJSONDepth = MaxDepth + 4

// jsonValue is a value in a dialect's JSON text that knows where it stands, so
// that errors can point.
type jsonValue struct {
	kind    jsontext.Kind
	at      int          // byte offset
	text    string       // of a string without quotes and escapes; of a number as written
	members []jsonMember // of an object
	items   []*jsonValue // of an array
}

type jsonMember struct {
	name  string
	at    int // byte offset of the name
	value *jsonValue
}

// jsonText is a dialect's JSON text.
type jsonText struct {
	text string
	json *jsontext.Decoder
}

// parseJSON reads a text that is one JSON value, in which no object names a
// member twice.
func parseJSON(text string) (*jsonText, *jsonValue, error) {
	t := &jsonText{text: text, json: jsontext.NewDecoder(strings.NewReader(text))}
	v, err := t.value(0)
	if err != nil {
		return nil, nil, err
	}
	after := t.next()
	switch _, err := t.json.ReadToken(); {
	case errors.Is(err, io.EOF):
		return t, v, nil
	case err != nil:
		return nil, nil, t.syntaxError(err)
	}
	return nil, nil, t.errorf(after, "is followed by something else; give one JSON value")
}

func (t *jsonText) value(depth int) (*jsonValue, error) {
	kind := t.json.PeekKind()
	v := &jsonValue{kind: kind, at: t.next()}
	token, err := t.json.ReadToken()
	switch {
	case err != nil:
		return nil, t.syntaxError(err)
	case depth > maxJSONDepth:
		return nil, t.errorf(v.at, "is nested more than %d deep; write it flatter", MaxDepth)
	}
	switch kind {
	case '"', '0':
		v.text = token.String()
	case '[':
		for t.json.PeekKind() != ']' {
			item, err := t.value(depth + 1)
			if err != nil {
				return nil, err
			}
			v.items = append(v.items, item)
		}
	case '{':
		for t.json.PeekKind() != '}' {
			m := jsonMember{at: t.next()}
			name, err := t.json.ReadToken()
			if err != nil {
				return nil, t.syntaxError(err)
			}
			m.name = name.String()
			if m.value, err = t.value(depth + 1); err != nil {
				return nil, err
			}
			v.members = append(v.members, m)
		}
	default:
		return v, nil
	}
	if kind == '[' || kind == '{' {
		if _, err := t.json.ReadToken(); err != nil {
			return nil, t.syntaxError(err)
		}
	}
	return v, nil
}

// next is where the next token begins.
func (t *jsonText) next() int {
	at := int(t.json.InputOffset())
	return at + len(t.text[at:]) - len(strings.TrimLeft(t.text[at:], " \t\r\n,:"))
}

// syntaxError is for people what a decoder says.
func (t *jsonText) syntaxError(err error) error {
	var s *jsontext.SyntacticError
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName) && errors.As(err, &s):
		return t.errorf(int(s.ByteOffset), "the same name is there already; a reader would keep only one of them")
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return t.errorf(len(t.text), "the JSON ends too early")
	case errors.As(err, &s):
		return t.errorf(int(s.ByteOffset), "not JSON: %v", s.Err)
	}
	return t.errorf(0, "not JSON: %v", err)
}

// errorf makes an error about what stands at an offset of the text.
func (t *jsonText) errorf(at int, format string, args ...any) *Error {
	return &Error{
		Message: placeOf(t.text, at) + ": " + fmt.Sprintf(format, args...),
		Text:    t.text,
		Offset:  at,
	}
}

// kindName is what people call a value.
func (v *jsonValue) kindName() string {
	switch v.kind {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case 'n':
		return "null"
	}
	return "a boolean"
}

// jsonPlace is where in a text a value is, for people. nil is the whole text.
type jsonPlace struct {
	up   *jsonPlace
	name string // of a member
	item int    // or of an item, from 1
}

func (p *jsonPlace) member(name string) *jsonPlace { return &jsonPlace{up: p, name: name} }
func (p *jsonPlace) at(i int) *jsonPlace           { return &jsonPlace{up: p, item: i + 1} }

// String is "detail.eventName[0]: ", and nothing for the whole text.
func (p *jsonPlace) String() string {
	if p == nil {
		return ""
	}
	var names []string
	for ; p != nil; p = p.up {
		if p.item > 0 {
			names = append(names, fmt.Sprintf("[%d]", p.item-1))
		} else {
			names = append(names, "."+shortened(p.name))
		}
	}
	slices.Reverse(names)
	return strings.TrimPrefix(strings.Join(names, ""), ".") + ": "
}

// fail makes an error about the value v at a place.
func (t *jsonText) fail(v *jsonValue, at *jsonPlace, format string, args ...any) *Error {
	return t.errorf(v.at, "%v%s", at, fmt.Sprintf(format, args...))
}
