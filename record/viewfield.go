package record

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// Field is a typed place in a record, resolved once, so that reading it
// compares no names. The zero Field is none, and always missing.
type Field struct {
	slot            uint8
	section, number uint8 // as in slot
	isText          bool
}

// FieldOf returns the longest beginning of a path that typed fields make, and
// how many of the names that takes. The rest of the path, if any, is for
// [Value.Member]: below a free-form member, in the entries of resources, or what
// no version of the contract names, which a verbatim field may hold. taken is 0
// when that is so of the first name.
func FieldOf(names ...string) (f Field, taken int) {
	for s := uint8(0); taken < len(names); {
		number := sections[s].numberOf(names[taken])
		if number == 0 {
			break
		}
		i := sections[s].base + number
		f = Field{slot: i, section: s, number: number, isText: slots[i].field.kind == kindText}
		taken++
		if s = slots[i].child; s == 0 {
			break
		}
	}
	return f, taken
}

// FieldNames returns the names of the members that the contract gives to the
// object, or to the objects of the array, at the end of the path, in
// CloudTrail's order. Without names that is the record itself. It returns nil
// where there are none, as below a free-form member.
func FieldNames(names ...string) []string {
	of := recordFields
	for _, name := range names {
		f := of.byName[name]
		if f == nil || f.of == nil {
			return nil
		}
		of = f.of
	}
	all := make([]string, len(of.fields))
	for i, f := range of.fields {
		all[i] = f.name
	}
	return all
}

// Fields have slots, all in one array of a [View]: those of a section are
// section.base and the number of the field in record.proto. A section is a
// message that a record has at most once. The verbatim field, whose number is
// larger than those of all others, stands in the place of number 0.
const (
	maxSections = 7
	maxSlots    = 72
	maxResource = 5

	verbatimField  = 100
	verbatimNumber = 0
	numLowerCase   = 4 // arn_lower_case of a Resource
)

// section is a message that a record has at most once, or a resource.
type section struct {
	of             *object
	base           uint8
	parent, number uint8 // where the section's message is, for all but the first

	last    uint8   // the largest number
	numbers []uint8 // by field.index

	// Bits of the numbers that are varints and that are messages.
	varints, messages uint32
}

// slot tells what is at a place of a View.
type slot struct {
	field           *field // nil: of no member's own
	section, number uint8
	child           uint8 // the section that the field is; 0: none
}

// name is the field's, "" if it has none.
func (s *slot) name() string {
	if s.field == nil {
		return ""
	}
	return s.field.name
}

var (
	sections        []section
	slots           []slot
	resourceSection section
)

func init() {
	addSection(recordFields, new(keytrailv1.Record), 0, 0)
	resourceSection = newSection(resourceFields, new(keytrailv1.Resource).ProtoReflect().Descriptor())
	if len(sections) > maxSections || len(slots) > maxSlots || resourceSection.last+1 > maxResource {
		panic(fmt.Sprintf("record: a View needs room for %d sections, %d slots and %d fields of a resource",
			len(sections), len(slots), resourceSection.last+1))
	}
}

func addSection(of *object, m proto.Message, parent, number uint8) {
	s := uint8(len(sections))
	messages := m.ProtoReflect().Descriptor()
	sec := newSection(of, messages)
	sec.base, sec.parent, sec.number = uint8(len(slots)), parent, number
	sections = append(sections, sec)
	for n := range sec.last + 1 {
		slots = append(slots, slot{section: s, number: n})
	}
	for i, f := range of.fields {
		at := &slots[sec.base+sec.numbers[i]]
		at.field = f
		if f.kind == kindMessage {
			at.child = uint8(len(sections))
			fd := messages.Fields().ByNumber(protoreflect.FieldNumber(sec.numbers[i]))
			child := m.ProtoReflect().NewField(fd).Message().Interface()
			n := sec.numbers[i]
			addSection(f.of, child, s, n)
		}
	}
}

// newSection finds the number of each field of a message by its name, which
// the contract spells with underscores and otherwise as CloudTrail does, but
// for case.
func newSection(of *object, m protoreflect.MessageDescriptor) section {
	byName := make(map[string]protoreflect.FieldDescriptor)
	for i := range m.Fields().Len() {
		fd := m.Fields().Get(i)
		byName[strings.ReplaceAll(string(fd.Name()), "_", "")] = fd
	}
	sec := section{of: of}
	add := func(name string) uint8 {
		fd := byName[strings.ToLower(name)]
		if fd == nil || fd.Number() > 31 {
			panic("record: no field of " + string(m.Name()) + " is " + name)
		}
		n := uint8(fd.Number())
		switch fd.Kind() {
		case protoreflect.BoolKind:
			sec.varints |= 1 << n
		case protoreflect.MessageKind:
			sec.messages |= 1 << n
		}
		sec.last = max(sec.last, n)
		return n
	}
	for _, f := range of.fields {
		sec.numbers = append(sec.numbers, add(f.name))
		if f.other != "" {
			add("arnLowerCase") // has no name of its own in JSON
		}
	}
	return sec
}

// numberOf returns the number of the field with this name, 0 if none has it.
func (sec *section) numberOf(name string) uint8 {
	f := sec.of.byName[name]
	if f == nil {
		return 0
	}
	return sec.numbers[f.index]
}
