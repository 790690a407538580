package record

import (
	"cmp"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Kind is the JSON type of a [Value].
type Kind uint8

// Missing is the kind of no value: the zero Value.
const (
	Missing Kind = iota
	Null
	Boolean
	Number
	String
	List
	Object
)

func (k Kind) String() string {
	switch k {
	case Null:
		return "null"
	case Boolean:
		return "boolean"
	case Number:
		return "number"
	case String:
		return "string"
	case List:
		return "list"
	case Object:
		return "object"
	}
	return "missing"
}

// Value is a JSON value of a record, read through a [View]; it is small, and
// valid until the View's next Reset. The zero Value is missing, and all that
// is asked of it is missing or empty.
type Value struct {
	v    *View
	kind Kind
	form shape
	at   place // what form says
}

// shape is how the record holds a value.
type shape uint8

const (
	asNode     shape = iota // at.start is the index of a node
	asText                  // at is where the text is, as it is
	asBoolean               // at.start is 1 for true
	asSection               // at.start is the section
	asResource              // at is the message of one resource
	asList                  // of the resources
)

// Kind returns the JSON type of x.
func (x Value) Kind() Kind { return x.kind }

// Text returns a string as it is, without quotes and escapes, a number as it is
// written in JSON, "true" or "false"; it returns "" for all else. Half a surrogate
// pair in a string is U+FFFD.
func (x Value) Text() string {
	switch {
	case x.kind == Missing:
		return ""
	case x.form == asText:
		return x.v.text(x.at)
	case x.form == asBoolean:
		if x.at.start == 1 {
			return "true"
		}
		return "false"
	case x.form != asNode:
		return ""
	}
	switch x.kind {
	case String:
		return x.v.text(x.v.unescaped(x.at.start))
	case Number, Boolean:
		return x.v.text(x.v.nodes[x.at.start].text)
	}
	return ""
}

// Member returns the member of an object with exactly this name. Of several
// with one name it is the last, as in most readers of JSON. In the entries of
// resources, a member that real records spell both ARN and arn is found by
// either name; the one that the entry has is preferred.
func (x Value) Member(name string) Value {
	if x.kind != Object {
		return Value{}
	}
	switch x.form {
	case asNode:
		return x.v.node(x.v.find(x.at.start, name))
	case asSection:
		return x.v.member(uint8(x.at.start), name)
	case asResource:
		return x.v.resourceMember(x.at, name)
	}
	return Value{}
}

// Elements yields the elements of a list in order. The loop
//
//	for e := range x.Elements
//
// allocates nothing, as long as its body keeps to itself.
func (x Value) Elements(yield func(Value) bool) {
	if x.kind != List {
		return
	}
	v := x.v
	if x.form == asList {
		for _, p := range v.resources() {
			if !yield(Value{v, Object, asResource, p}) {
				return
			}
		}
		return
	}
	for i := x.at.start + 1; i < v.nodes[x.at.start].next; i = v.nodes[i].next {
		if !yield(v.node(i)) {
			return
		}
	}
}

// Members yields the members of an object as [AppendJSON] orders them. It
// allocates as little as Elements. A name that comes twice, which only documents in
// strings can have, is yielded twice.
func (x Value) Members(yield func(string, Value) bool) {
	if x.kind != Object {
		return
	}
	v := x.v
	switch x.form {
	case asSection:
		s := uint8(x.at.start)
		sec := &sections[s]
		v.need(s)
		var verbatim uint32
		if v.set[s]&(1<<verbatimNumber) != 0 {
			verbatim = v.root(sec.base + verbatimNumber)
		}
		for i, f := range sec.of.fields {
			var member Value
			if n := sec.numbers[i]; v.replaced[s]&(1<<n) != 0 {
				member = v.node(v.find(verbatim, f.name))
			} else {
				member = v.typed(s, n)
			}
			if member.kind != Missing && !yield(f.name, member) {
				return
			}
		}
		v.unknown(sec.of, verbatim, false, yield)
	case asResource:
		v.resourceMembers(x.at, yield)
	default:
		for i := x.at.start + 1; i < v.nodes[x.at.start].next; i = v.nodes[i].next {
			if !yield(v.text(v.nodes[i].name), v.node(i)) {
				return
			}
		}
	}
}

// unknown yields the members of a verbatim field's tree that replace no field.
func (v *View) unknown(of *object, verbatim uint32, other bool, yield func(string, Value) bool) {
	if verbatim == 0 {
		return
	}
	for i := verbatim + 1; i < v.nodes[verbatim].next; i = v.nodes[i].next {
		name := v.text(v.nodes[i].name)
		if f := of.byName[name]; f != nil && (f.other == "" || (f.other == name) == other) {
			continue
		}
		if !yield(name, v.node(i)) {
			return
		}
	}
}

// Document returns the JSON document in a string, missing if the string is not
// one. It is parsed once a record, however many ask. Of an object or a list it
// is the value itself: the KMS' policies come either way. Of all else it is
// missing.
func (x Value) Document() Value {
	switch x.kind {
	case List, Object:
		return x
	case String:
	default:
		return Value{}
	}
	v := x.v
	if x.form == asNode {
		i := x.at.start
		switch root := v.nodes[i].last; root {
		case 0:
			root = cmp.Or(v.parse(v.unescaped(i)), noDocument)
			v.nodes[i].last = root
			return x.Document()
		case noDocument:
			return Value{}
		default:
			return v.node(root)
		}
	}
	return v.node(v.document(x.at))
}

// document returns the root of the JSON document at p.
func (v *View) document(p place) uint32 {
	root, parsed := v.documents[p]
	if !parsed {
		root = v.parse(p)
		if v.documents == nil {
			v.documents = make(map[place]uint32)
		}
		v.documents[p] = root
	}
	return root
}

// AppendJSON appends x to dst as JSON text, nothing if it's missing.
func (x Value) AppendJSON(dst []byte) []byte {
	switch {
	case x.kind == Missing:
		return dst
	case x.kind == String:
		dst, _ = appendString(dst, x.Text())
		return dst
	case x.form == asNode:
		return appendCompact(dst, x.v.memory(x.v.nodes[x.at.start].text))
	case x.kind == Boolean:
		return append(dst, x.Text()...)
	case x.kind == List:
		dst = append(dst, '[')
		first := true
		for e := range x.Elements {
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = e.AppendJSON(dst)
		}
		return append(dst, ']')
	}
	dst = append(dst, '{')
	first := true
	for name, member := range x.Members {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst, _ = appendString(dst, name)
		dst = append(dst, ':')
		dst = member.AppendJSON(dst)
	}
	return append(dst, '}')
}

// Root returns the record itself, an object.
func (v *View) Root() Value { return Value{v: v, kind: Object, form: asSection} }

// Value returns what is at f.
func (v *View) Value(f Field) Value {
	v.need(f.section)
	if v.foreign&(1<<f.section) == 0 && v.replaced[f.section]&(1<<f.number) == 0 {
		return v.typed(f.section, f.number)
	}
	return v.parent(f.section).Member(slots[f.slot].name())
}

// Text returns the string at f; it is not ok if f is missing or no string.
func (v *View) Text(f Field) (s string, ok bool) {
	v.need(f.section)
	// What isn't set in a foreign section may be in a verbatim field above.
	if f.isText && v.set[f.section]&^v.replaced[f.section]&(1<<f.number) != 0 {
		return v.text(v.at[f.slot]), true
	}
	if x := v.Value(f); x.kind == String {
		return x.Text(), true
	}
	return "", false
}

// parent returns the object whose members the fields of section s are, also if
// a verbatim field above has it.
func (v *View) parent(s uint8) Value {
	if s == 0 {
		return v.Root()
	}
	sec := &sections[s]
	if v.foreign&(1<<s) == 0 {
		return Value{v, Object, asSection, place{uint32(s), 0}}
	}
	return v.parent(sec.parent).Member(slots[sections[sec.parent].base+sec.number].name())
}

// member returns a member of section s.
func (v *View) member(s uint8, name string) Value {
	v.need(s)
	sec := &sections[s]
	if v.set[s]&(1<<verbatimNumber) != 0 {
		if i := v.find(v.root(sec.base+verbatimNumber), name); i != 0 {
			return v.node(i)
		}
	}
	if n := sec.numberOf(name); n != 0 {
		return v.typed(s, n)
	}
	return Value{}
}

// typed returns the value of a field of section s, which is indexed, whatever
// its verbatim field says.
func (v *View) typed(s, number uint8) Value {
	if v.set[s]&(1<<number) == 0 {
		return Value{}
	}
	i := sections[s].base + number
	at := &slots[i]
	if at.field == nil {
		return Value{} // the zero Field
	}
	p := v.at[i]
	switch at.field.kind {
	case kindText:
		return Value{v, String, asText, p}
	case kindBoolean:
		return v.booleanValue(p)
	case kindFreeForm:
		return v.node(v.root(i))
	case kindMoment:
		return v.moment(i)
	case kindList:
		return Value{v: v, kind: List, form: asList}
	default:
		return Value{v, Object, asSection, place{uint32(at.child), 0}}
	}
}

func (v *View) booleanValue(p place) Value {
	x := Value{v: v, kind: Boolean, form: asBoolean}
	if v.boolean(p) {
		x.at.start = 1
	}
	return x
}

// root returns the root of the JSON text in slot i of a section that is
// indexed.
func (v *View) root(i uint8) uint32 {
	at := &slots[i]
	if bit := uint32(1) << at.number; v.read[at.section]&bit == 0 {
		v.read[at.section] |= bit
		v.roots[i] = v.parse(v.at[i])
	}
	return v.roots[i]
}

// moment returns the time in slot i, as text in scratch memory.
func (v *View) moment(i uint8) Value {
	at := &slots[i]
	if bit := uint32(1) << at.number; v.read[at.section]&bit == 0 {
		v.read[at.section] |= bit
		text := v.mark()
		if t, ok := timeOf(v.memory(v.at[i])); ok {
			v.scratch = t.AppendFormat(v.scratch, time.RFC3339Nano)
		}
		v.at[i] = v.since(text)
	}
	if p := v.at[i]; p.start < p.end {
		return Value{v, String, asText, p}
	}
	return Value{}
}

// timeOf decodes a timestamp; it is not ok if it's out of range or none.
func timeOf(b []byte) (t time.Time, ok bool) {
	const first, last = -62135596800, 253402300799 // the years 1 to 9999, in seconds since 1970
	var seconds int64
	var nanos int32
	for pos := 0; pos < len(b); {
		f := fieldAt(b, pos)
		if f.end < 0 {
			return t, false
		}
		pos = f.end
		if f.typ != protowire.VarintType {
			continue
		}
		n, _ := protowire.ConsumeVarint(b[f.start:])
		switch f.num {
		case 1:
			seconds = int64(n)
		case 2:
			nanos = int32(n)
		}
	}
	if seconds < first || seconds > last || nanos < 0 || nanos >= 1e9 {
		return t, false
	}
	return time.Unix(seconds, int64(nanos)).UTC(), true
}

// resourceMember returns a member of the resource at p.
func (v *View) resourceMember(p place, name string) Value {
	r, ok := v.resource(p)
	if !ok {
		return Value{}
	}
	if x := v.resourceExactly(&r, name); x.kind != Missing {
		return x
	}
	f := resourceFields.byName[name]
	switch {
	case f == nil || f.other == "":
		return Value{}
	case name == f.other:
		return v.resourceExactly(&r, f.name)
	default:
		return v.resourceExactly(&r, f.other)
	}
}

func (v *View) resourceExactly(r *resource, name string) Value {
	if i := v.find(v.resourceVerbatim(r), name); i != 0 {
		return v.node(i)
	}
	f := resourceFields.byName[name]
	if f == nil || f.other != "" && (name == f.other) != v.spelt(r) {
		return Value{}
	}
	return v.resourceText(r, f)
}

func (v *View) resourceText(r *resource, f *field) Value {
	n := resourceSection.numbers[f.index]
	if r.set&(1<<n) == 0 {
		return Value{}
	}
	return Value{v, String, asText, r.at[n]}
}

// resourceVerbatim returns the root of the resource's verbatim field, 0 if it
// has none.
func (v *View) resourceVerbatim(r *resource) uint32 {
	if r.set&(1<<verbatimNumber) == 0 {
		return 0
	}
	root := v.document(r.at[verbatimNumber])
	if v.nodes[root].kind != Object {
		return 0
	}
	return root
}

// spelt reports whether the resource's ARN is spelt arn.
func (v *View) spelt(r *resource) bool {
	return r.set&(1<<numLowerCase) != 0 && v.boolean(r.at[numLowerCase])
}

func (v *View) resourceMembers(p place, yield func(string, Value) bool) {
	r, ok := v.resource(p)
	if !ok {
		return
	}
	verbatim, other := v.resourceVerbatim(&r), v.spelt(&r)
	for _, f := range resourceFields.fields {
		name := f.name
		if f.other != "" && other {
			name = f.other
		}
		member := v.node(v.find(verbatim, name))
		if member.kind == Missing {
			member = v.resourceText(&r, f)
		}
		if member.kind != Missing && !yield(name, member) {
			return
		}
	}
	v.unknown(resourceFields, verbatim, other, yield)
}
