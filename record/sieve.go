package record

import (
	"bytes"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// spelling is whose names the members of a JSON object have.
type spelling uint8

const (
	apiNames spelling = iota
	loggedNames
)

// appendAllowed appends the JSON object text without every member that m does
// not name or that is not of its form, at any depth. Names in text are as from
// spells them and are written as to does; times change with them. What remains
// is not changed but for white space. seen has a bit for each member of m that
// was kept. It is not ok if text is not one JSON object in UTF-8 with distinct
// names.
func (m *members) appendAllowed(dst, text []byte, from, to spelling) (out []byte, seen uint64, ok bool) {
	if !utf8.Valid(text) {
		return dst, 0, false
	}
	d := newDecoder(text)
	defer d.release()
	s := sieve{d, from, to}
	if d.json.PeekKind() != '{' {
		return dst, 0, false
	}
	out, seen, err := s.object(dst, m)
	if err != nil || d.json.PeekKind() != 0 || len(trimSpace(text[d.json.InputOffset():])) > 0 {
		return dst, 0, false
	}
	return out, seen, true
}

// sieve walks JSON text and keeps what an allow-list names. Its methods read
// one value each. Their errors are the decoder's.
type sieve struct {
	*decoder
	from, to spelling
}

func (s *sieve) object(dst []byte, m *members) (out []byte, seen uint64, err error) {
	if _, err := s.json.ReadToken(); err != nil {
		return dst, 0, err
	}
	dst = append(dst, '{')
	for first := true; s.json.PeekKind() == '"'; {
		name, err := s.value()
		if err != nil {
			return dst, 0, err
		}
		e := m.lookup(name, s.from)
		if e == nil {
			if err := s.json.SkipValue(); err != nil {
				return dst, 0, err
			}
			continue
		}
		start := len(dst)
		if !first {
			dst = append(dst, ',')
		}
		var kept bool
		if dst, kept, err = s.member(s.appendName(dst, e), e); err != nil {
			return dst, 0, err
		}
		if !kept {
			dst = dst[:start]
			continue
		}
		first = false
		seen |= 1 << e.index
	}
	_, err = s.json.ReadToken()
	return append(dst, '}'), seen, err
}

func (s *sieve) appendName(dst []byte, e *member) []byte {
	name := e.name
	if s.to == loggedNames {
		name = e.logged
	}
	return appendName(dst, name)
}

// appendName appends a name that needs no escapes.
func appendName(dst []byte, name string) []byte {
	dst = append(dst, '"')
	dst = append(dst, name...)
	return append(dst, '"', ':')
}

// lookup returns the member with that name, nil if there is none.
func (m *members) lookup(quoted []byte, s spelling) *member {
	name := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		plain, err := jsontext.AppendUnquote(nil, quoted)
		if err != nil {
			return nil
		}
		name = plain
	}
	if s == loggedNames {
		return m.byLogged[string(name)]
	}
	return m.byName[string(name)]
}

// member appends the value of e. It is not kept if it is of another form.
func (s *sieve) member(dst []byte, e *member) (out []byte, kept bool, err error) {
	kind := s.json.PeekKind()
	switch {
	case e.form == anObject && kind == '{':
		dst, _, err = s.object(dst, e.of)
	case e.form == aContext && kind == '{':
		dst, err = s.context(dst)
	case (e.form == textList || e.form == objectList) && kind == '[':
		dst, err = s.array(dst, e)
	case e.form == aText && kind == '"', e.form == aNumber && kind == '0',
		e.form == aBoolean && (kind == 't' || kind == 'f'):
		v, err := s.value()
		return append(dst, v...), true, err
	case e.form == aTime && (kind == '"' || kind == '0'):
		v, err := s.value()
		if err != nil {
			return dst, false, err
		}
		logged, ok := appendJavaTime(dst, v)
		if s.to != loggedNames && ok {
			logged = append(dst, v...)
		}
		return logged, ok, nil
	default:
		return dst, false, s.json.SkipValue()
	}
	return dst, true, err
}

// context keeps strings under names that callers choose.
func (s *sieve) context(dst []byte) ([]byte, error) {
	if _, err := s.json.ReadToken(); err != nil {
		return dst, err
	}
	dst = append(dst, '{')
	for first := true; s.json.PeekKind() == '"'; {
		name, err := s.value()
		if err != nil {
			return dst, err
		}
		if s.json.PeekKind() != '"' {
			if err := s.json.SkipValue(); err != nil {
				return dst, err
			}
			continue
		}
		v, err := s.value()
		if err != nil {
			return dst, err
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, name...)
		dst = append(dst, ':')
		dst = append(dst, v...)
	}
	_, err := s.json.ReadToken()
	return append(dst, '}'), err
}

// array keeps strings, or objects of e's members.
func (s *sieve) array(dst []byte, e *member) ([]byte, error) {
	if _, err := s.json.ReadToken(); err != nil {
		return dst, err
	}
	dst = append(dst, '[')
	first := true
	for kind := s.json.PeekKind(); kind != ']'; kind = s.json.PeekKind() {
		start := len(dst)
		if !first {
			dst = append(dst, ',')
		}
		var err error
		switch {
		case e.form == textList && kind == '"':
			var v []byte
			v, err = s.value()
			dst = append(dst, v...)
		case e.form == objectList && kind == '{':
			dst, _, err = s.object(dst, e.of)
		default:
			dst = dst[:start]
			if err := s.json.SkipValue(); err != nil {
				return dst, err
			}
			continue
		}
		if err != nil {
			return dst, err
		}
		first = false
	}
	_, err := s.json.ReadToken()
	return append(dst, ']'), err
}

// textMember returns the string member of a JSON object, "" if it has none.
func textMember(object []byte, name string) (text string) {
	if object == nil {
		return ""
	}
	_ = eachMember(object, func(quoted, value []byte) {
		if n, _ := unquote(quoted); n == name && value[0] == '"' {
			text, _ = unquote(value)
		}
	})
	return text
}
