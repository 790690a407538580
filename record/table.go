package record

import (
	"google.golang.org/protobuf/types/known/timestamppb"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// object is how one message is written in JSON. Messages are passed as `any`
// so that one reader, one writer and one checker serve all of them; the
// functions made by [newObject] and its kin know the type.
type object struct {
	fields []*field // in CloudTrail's order
	byName map[string]*field

	// verbatim returns where the message keeps what its fields can't hold.
	verbatim func(m any) *[]byte
}

// field is one member of an object and the message field that holds it.
type field struct {
	name   string // as CloudTrail spells it
	prefix string // the quoted name and a colon
	kind   kind
	index  int // in object.fields

	// The one of these that kind names is set. Each returns where the value
	// is kept in m.
	text    func(m any) **string
	boolean func(m any) **bool
	json    func(m any) *[]byte
	moment  func(m any) **timestamppb.Timestamp
	list    func(m any) **keytrailv1.ResourceList

	// child returns the nested message, or nil if it is not set and not to
	// be made.
	child func(m any, make bool) any

	// of describes nested messages.
	of *object

	// Another spelling of the name, and where its use is marked; rare.
	other       string
	otherPrefix string
	spelt       func(m any) **bool
}

// kind is the JSON type of a member and the form of the field that holds it.
type kind uint8

const (
	kindText kind = iota
	kindBoolean
	kindFreeForm // an object or null, kept as JSON text
	kindMoment   // a time, as 2006-01-02T15:04:05Z
	kindMessage  // an object
	kindList     // an array of objects
)

func newObject[M any](verbatim func(*M) *[]byte, fields ...*field) *object {
	o := &object{
		fields:   fields,
		byName:   make(map[string]*field),
		verbatim: func(m any) *[]byte { return verbatim(m.(*M)) },
	}
	for i, f := range fields {
		f.index = i
		f.prefix = `"` + f.name + `":`
		o.byName[f.name] = f
		if f.other != "" {
			f.otherPrefix = `"` + f.other + `":`
			o.byName[f.other] = f
		}
	}
	return o
}

func text[M any](name string, slot func(*M) **string) *field {
	return &field{name: name, kind: kindText, text: func(m any) **string { return slot(m.(*M)) }}
}

func boolean[M any](name string, slot func(*M) **bool) *field {
	return &field{name: name, kind: kindBoolean, boolean: func(m any) **bool { return slot(m.(*M)) }}
}

func freeForm[M any](name string, slot func(*M) *[]byte) *field {
	return &field{name: name, kind: kindFreeForm, json: func(m any) *[]byte { return slot(m.(*M)) }}
}

func moment[M any](name string, slot func(*M) **timestamppb.Timestamp) *field {
	return &field{name: name, kind: kindMoment, moment: func(m any) **timestamppb.Timestamp { return slot(m.(*M)) }}
}

func resourceList[M any](name string, of *object, slot func(*M) **keytrailv1.ResourceList) *field {
	return &field{name: name, kind: kindList, of: of, list: func(m any) **keytrailv1.ResourceList { return slot(m.(*M)) }}
}

func message[M, N any](name string, of *object, slot func(*M) **N) *field {
	return &field{name: name, kind: kindMessage, of: of, child: func(m any, make bool) any {
		p := slot(m.(*M))
		if *p == nil && make {
			*p = new(N)
		}
		if *p == nil {
			return nil // not a nil *N, which would be an `any` that is not nil
		}
		return *p
	}}
}

// orSpelt gives f a second name that real records use instead of the first.
func (f *field) orSpelt(other string, mark func(*keytrailv1.Resource) **bool) *field {
	f.other = other
	f.spelt = func(m any) **bool { return mark(m.(*keytrailv1.Resource)) }
	return f
}

// isOther reports whether m has f under its other name.
func (f *field) isOther(m any) bool {
	if f.spelt == nil {
		return false
	}
	mark := *f.spelt(m)
	return mark != nil && *mark
}

// nameIn returns f's name in m.
func (f *field) nameIn(m any) string {
	if f.isOther(m) {
		return f.other
	}
	return f.name
}

// has reports whether f is set in m.
func (f *field) has(m any) bool {
	switch f.kind {
	case kindText:
		return *f.text(m) != nil
	case kindBoolean:
		return *f.boolean(m) != nil
	case kindFreeForm:
		return *f.json(m) != nil
	case kindMoment:
		return *f.moment(m) != nil
	case kindList:
		return *f.list(m) != nil
	default:
		return f.child(m, false) != nil
	}
}

// entry is e, or an empty resource where a program has put a nil one, which
// protobuf writes as empty.
func entry(e *keytrailv1.Resource) *keytrailv1.Resource {
	if e == nil {
		return new(keytrailv1.Resource)
	}
	return e
}
