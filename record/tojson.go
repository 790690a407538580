package record

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// AppendJSON appends r to dst as CloudTrail writes it: one line without
// insignificant white space, members in CloudTrail's usual order, unknown ones
// at the end of their object. A member of a `verbatim` field replaces the one
// that a typed field would give.
//
// It fails, and returns dst as it was, on what [Validate] refuses: a `bytes`
// field that is not JSON, a string that is not UTF-8, a time out of range.
func AppendJSON(dst []byte, r *keytrailv1.Record) ([]byte, error) {
	if r == nil {
		r = new(keytrailv1.Record)
	}
	out, err := recordFields.append(dst, r)
	if err != nil {
		return dst, fmt.Errorf("record: %w", err)
	}
	return out, nil
}

func (o *object) append(dst []byte, m any) ([]byte, error) {
	var over overrides
	if v := *o.verbatim(m); v != nil {
		var err error
		if over, err = o.overrides(m, v); err != nil {
			return dst, fmt.Errorf("verbatim: %w", err)
		}
	}
	dst = append(dst, '{')
	start := len(dst)
	for i, f := range o.fields {
		var replacement []byte
		if over.values != nil {
			replacement = over.values[i]
		}
		if replacement == nil && !f.has(m) {
			continue
		}
		if len(dst) > start {
			dst = append(dst, ',')
		}
		if f.isOther(m) {
			dst = append(dst, f.otherPrefix...)
		} else {
			dst = append(dst, f.prefix...)
		}
		if replacement != nil {
			dst = appendCompact(dst, replacement)
			continue
		}
		var err error
		if dst, err = f.append(dst, m); err != nil {
			return dst, fmt.Errorf("%s: %w", f.nameIn(m), err)
		}
	}
	for _, u := range over.unknown {
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = append(append(dst, u.name...), ':')
		dst = appendCompact(dst, u.value)
	}
	return append(dst, '}'), nil
}

// append appends the value of f, which is set.
func (f *field) append(dst []byte, m any) ([]byte, error) {
	switch f.kind {
	case kindText:
		return appendString(dst, **f.text(m))
	case kindBoolean:
		if **f.boolean(m) {
			return append(dst, "true"...), nil
		}
		return append(dst, "false"...), nil
	case kindFreeForm:
		v := *f.json(m)
		if _, err := jsonKind(v); err != nil {
			return dst, err
		}
		return appendCompact(dst, v), nil
	case kindMoment:
		t := *f.moment(m)
		if err := t.CheckValid(); err != nil {
			return dst, errors.New("time out of range")
		}
		dst = append(dst, '"')
		dst = t.AsTime().AppendFormat(dst, time.RFC3339Nano)
		return append(dst, '"'), nil
	case kindList:
		dst = append(dst, '[')
		for i, e := range (*f.list(m)).Entries {
			if i > 0 {
				dst = append(dst, ',')
			}
			var err error
			if dst, err = f.of.append(dst, entry(e)); err != nil {
				return dst, fmt.Errorf("entry %d: %w", i, err)
			}
		}
		return append(dst, ']'), nil
	default:
		return f.of.append(dst, f.child(m, false))
	}
}

// overrides is what a verbatim field holds, in the terms of its message.
type overrides struct {
	values  [][]byte // by field.index; nil when none
	unknown []jsonMember
}

type jsonMember struct{ name, value []byte } // JSON text

func (o *object) overrides(m any, v []byte) (overrides, error) {
	var over overrides
	err := eachMember(v, func(name, value []byte) {
		f, other := o.lookup(name)
		if f == nil || other != f.isOther(m) {
			over.unknown = append(over.unknown, jsonMember{name, value})
			return
		}
		if over.values == nil {
			over.values = make([][]byte, len(o.fields))
		}
		over.values[f.index] = value
	})
	return over, err
}

// eachMember calls do for each member of the JSON object v. Both slices are
// parts of v.
func eachMember(v []byte, do func(name, value []byte)) error {
	k, err := jsonKind(v)
	if err != nil {
		return err
	}
	if k != '{' {
		return ErrNotObject
	}
	d := newDecoder(v)
	defer d.release()
	if _, err := d.json.ReadToken(); err != nil {
		return err
	}
	for d.json.PeekKind() != '}' {
		name, err := d.value()
		if err != nil {
			return err
		}
		value, err := d.value()
		if err != nil {
			return err
		}
		do(name, value)
	}
	return nil
}

// jsonKind checks that v is one JSON value, with distinct names and in UTF-8,
// and returns the first byte of it.
func jsonKind(v []byte) (byte, error) {
	d := newDecoder(v)
	defer d.release()
	value, err := d.value()
	if err != nil {
		return 0, syntaxError(err)
	}
	if d.json.PeekKind() != 0 || len(trimSpace(v[d.json.InputOffset():])) > 0 {
		return 0, errors.New("text after the JSON value")
	}
	if !utf8.Valid(v) {
		return 0, errors.New("not UTF-8")
	}
	return value[0], nil
}

// appendString quotes s. Most strings have nothing to escape.
func appendString(dst []byte, s string) ([]byte, error) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			dst, err := jsontext.AppendQuote(dst, s)
			if err != nil {
				return dst, errors.New("not UTF-8")
			}
			return dst, nil
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"'), nil
}
