package record

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/proto"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// Compact removes insignificant white space from the JSON text that r holds, as
// stored records have it: so two producers that lay out the same record
// differently publish the same record. It leaves alone what is not JSON, which
// is for [Validate] to refuse.
func Compact(r *keytrailv1.Record) { recordFields.compact(r) }

func (o *object) compact(m any) {
	compactText(o.verbatim(m))
	for _, f := range o.fields {
		switch f.kind {
		case kindFreeForm:
			compactText(f.json(m))
		case kindMessage:
			if c := f.child(m, false); c != nil {
				f.of.compact(c)
			}
		case kindList:
			for _, e := range (*f.list(m)).GetEntries() {
				if e != nil {
					f.of.compact(e)
				}
			}
		}
	}
}

func compactText(slot *[]byte) {
	// Most text has no white space outside of strings, and little of it there.
	if !bytes.ContainsAny(*slot, " \n\r\t") {
		return
	}
	v := jsontext.Value(bytes.Clone(*slot)) // the caller may share the bytes
	if v.Compact(jsontext.AllowInvalidUTF8(true), jsontext.PreserveRawStrings(true)) == nil {
		*slot = v
	}
}

// unknownIn reports whether m holds fields of the wire format that this version
// does not know. What nobody here can see must not be stored: no rule on what a
// record may hold could be applied to it.
func unknownIn(m any) bool {
	p, ok := m.(proto.Message)
	return ok && len(p.ProtoReflect().GetUnknown()) > 0
}
