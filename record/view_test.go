package record_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

// checkView holds a View of encoded bytes to what protobuf, AppendJSON and
// encoding/json make of them. The View was used for other records before.
func checkView(v *record.View, encoded []byte) error {
	r := new(keytrailv1.Record)
	errOf := v.Reset(encoded)
	if proto.Unmarshal(encoded, r) != nil {
		lookAtAll(v.Root()) // must not panic
		return nil
	}
	if errOf != nil {
		return fmt.Errorf("Reset: %w, protobuf takes it", errOf)
	}
	if err := sameHot(v, record.HeaderOf(r)); err != nil {
		return err
	}
	var arns []string
	for _, e := range r.GetResources().GetEntries() {
		if e.GetArn() != "" {
			arns = append(arns, e.GetArn())
		}
	}
	if !slices.Equal(v.ResourceARNs(), arns) {
		return fmt.Errorf("ResourceARNs = %q, want %q", v.ResourceARNs(), arns)
	}
	text, err := record.AppendJSON(nil, r)
	if err != nil {
		lookAtAll(v.Root())
		return nil // not a record that the bus stores
	}
	want, err := plainJSON(text)
	if err != nil {
		return err
	}
	if err := sameFields(v, want, nil); err != nil {
		return err
	}
	if err := sameValue(v.Root(), want); err != nil {
		return fmt.Errorf("%w\nof %s", err, text)
	}
	return nil
}

func sameHot(v *record.View, h record.Header) error {
	i, known := record.OperationIndex(h.EventName)
	if !known {
		i = -1
	}
	got := record.Header{EventID: v.EventID(), EventName: v.EventName(), EventSource: v.EventSource(), Account: v.Account(),
		Region: v.Region(), ErrorCode: v.ErrorCode(), ReadOnly: v.ReadOnly()}
	if g, w := fmt.Sprintf("%q %d %q", fmt.Sprint(got), v.Operation(), v.Keys()), fmt.Sprintf("%q %d %q", fmt.Sprint(withoutKeys(h)), i, h.Keys); g != w {
		return fmt.Errorf("hot fields %s, want %s", g, w)
	}
	return nil
}

func withoutKeys(h record.Header) record.Header {
	h.Keys = nil
	return h
}

func plainJSON(text []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}

// sameValue compares x with what encoding/json decoded, in every way that a
// Value can be read, and what lies below them.
func sameValue(x record.Value, want any) error { return sameBelow(x, want, 0) }

func sameBelow(x record.Value, want any, depth int) error {
	if depth < 4 { // deeper down it is text that was compared above
		if again, err := plainJSON(x.AppendJSON(nil)); err != nil || !reflect.DeepEqual(again, want) {
			return fmt.Errorf("AppendJSON: %v, %s, want %s", err, again, want)
		}
	}
	switch want := want.(type) {
	case map[string]any:
		if x.Kind() != record.Object || x.Text() != "" {
			return fmt.Errorf("%v %q, want an object", x.Kind(), x.Text())
		}
		seen := 0
		for name, member := range x.Members {
			seen++
			w, ok := want[name]
			if !ok {
				return fmt.Errorf("member %q, want none", name)
			}
			if err := sameBelow(member, w, depth+1); err != nil {
				return fmt.Errorf("member %q: %w", name, err)
			}
		}
		if seen != len(want) {
			return fmt.Errorf("%d members, want %d", seen, len(want))
		}
		for name, w := range want {
			if err := sameBelow(x.Member(name), w, depth+1); err != nil {
				return fmt.Errorf("Member(%q): %w", name, err)
			}
		}
		if y := x.Member("no such member"); y.Kind() != record.Missing {
			return fmt.Errorf("a member that is not there is a %v", y.Kind())
		}
	case []any:
		if x.Kind() != record.List || x.Text() != "" {
			return fmt.Errorf("%v %q, want a list", x.Kind(), x.Text())
		}
		i := 0
		for e := range x.Elements {
			if i == len(want) {
				return fmt.Errorf("more than %d elements", i)
			}
			if err := sameBelow(e, want[i], depth+1); err != nil {
				return fmt.Errorf("element %d: %w", i, err)
			}
			i++
		}
		if i != len(want) {
			return fmt.Errorf("%d elements, want %d", i, len(want))
		}
	case string:
		return sameScalar(x, record.String, want)
	case json.Number:
		return sameScalar(x, record.Number, want.String())
	case bool:
		return sameScalar(x, record.Boolean, fmt.Sprint(want))
	case nil:
		return sameScalar(x, record.Null, "")
	}
	return nil
}

func sameScalar(x record.Value, kind record.Kind, text string) error {
	if x.Kind() != kind || x.Text() != text {
		return fmt.Errorf("%v %q, want %v %q", x.Kind(), x.Text(), kind, text)
	}
	for range x.Elements {
		return fmt.Errorf("%v has an element", kind)
	}
	for range x.Members {
		return fmt.Errorf("%v has a member", kind)
	}
	if y := x.Member("a"); y.Kind() != record.Missing {
		return fmt.Errorf("%v has member a", kind)
	}
	return nil
}

// sameFields compares all typed fields at and below a path with what is at
// their paths in root.
func sameFields(v *record.View, root any, path []string) error {
	for _, name := range record.FieldNames(path...) {
		path := append(slices.Clone(path), name)
		f, taken := record.FieldOf(path...)
		if taken != len(path) { // an entry of resources
			continue
		}
		want, there := at(root, path)
		x := v.Value(f)
		if !there {
			if x.Kind() != record.Missing {
				return fmt.Errorf("%v is a %v, want nothing", path, x.Kind())
			}
		} else if err := sameValue(x, want); err != nil {
			return fmt.Errorf("%v: %w", path, err)
		}
		text, ok := v.Text(f)
		if s, isText := want.(string); s != text || isText != ok {
			return fmt.Errorf("Text of %v: %q, %v, want %v", path, text, ok, want)
		}
		if err := sameFields(v, root, path); err != nil {
			return err
		}
	}
	return nil
}

func at(v any, path []string) (any, bool) {
	for _, name := range path {
		m, _ := v.(map[string]any)
		var ok bool
		if v, ok = m[name]; !ok {
			return nil, false
		}
	}
	return v, true
}

// lookAtAll looks at everything below x and into every document.
func lookAtAll(x record.Value) {
	x.Text()
	x.AppendJSON(nil)
	if x.Kind() == record.String {
		lookAtAll(x.Document())
	}
	for e := range x.Elements {
		lookAtAll(e)
	}
	for name, m := range x.Members {
		x.Member(name)
		lookAtAll(m)
	}
}

// viewTests are encoded records in forms that samples and encodings lack.
var viewTests = []struct {
	name    string
	encoded []byte
}{
	{"a message in parts", join(
		field(10, join(str(1, "a"), str(3, "arn1"), field(8, field(2, str(4, "issuer"))))), str(1, "id"),
		field(10, join(str(3, "arn2"), field(8, field(2, str(1, "Role"))), field(8, join(str(4, "src"), field(1, str(2, "true")))))))},
	{"a time in parts", join(field(9, []byte{0x08, 0x05, 0x10, 0x07}), field(9, []byte{0x08, 0x06}))},
	{"a message of another type, then one", join([]byte{0x50, 0x01}, field(10, str(1, "a")), []byte{0x50, 0x01})},
	{"a message within a list in parts", join(field(5, field(1, str(2, "1"))), field(5, nil), field(5, field(1, join(str(1, keyA), []byte{0x20, 0x01}))))},
	{"the last text counts", join(str(15, `{"a":1}`), str(15, `{"b":2}`))},
	{"a broken message", join(str(1, "id"), field(10, []byte{0x0a, 0x05}))},
	{"broken JSON", join(str(1, "id"), str(15, `{"a":`), str(16, ""), str(17, `{}x`), str(100, `{"x"}`))},
	{"verbatim is no object", join(str(1, "id"), str(100, `[1]`))},
	{"verbatim at length", join(str(1, "id"), str(100, `{"eventID":null,"x":1}`), str(100, ` { "eventID" : "b" , "y":{"z":[]}}`))},
	{"verbatim over messages", join(field(10, join(str(3, "x"), field(8, field(2, str(4, "issuer"))))), field(30, str(1, "v")), field(5, field(1, str(1, keyA))),
		str(100, `{"userIdentity":{"arn":"y","sessionContext":{"sessionIssuer":{"arn":"z"}}},"tlsDetails":null,"resources":{"ARN":1}}`))},
	{"verbatim over a nested message", field(10, join(field(8, field(2, str(4, "issuer"))), str(100, `{"sessionContext":{"sessionIssuer":{"arn":"z"}},"user\u004eame":"u"}`)))},
	{"verbatim in resources", field(5, join(
		field(1, join(str(1, keyA), str(100, `{"ARN":5,"arn":6,"x":7,"type":null}`))),
		field(1, join(str(1, keyB), []byte{0x20, 0x01}, str(100, `{"ARN":5,"x":7}`))),
		field(1, join([]byte{0x20, 0x01}, str(100, `{"arn":5}`))),
		field(1, join(str(1, keyA), str(100, `nonsense`)))))},
	{"time", mustEncode(&keytrailv1.Record{EventTime: &timestamppb.Timestamp{Seconds: -62135596800, Nanos: 1}})},
	{"time out of range", mustEncode(&keytrailv1.Record{EventTime: &timestamppb.Timestamp{Seconds: -62135596801}})},
	{"deep", str(15, strings.Repeat(`[`, 9_000)+strings.Repeat(`]`, 9_000))},
	{"too deep", str(15, strings.Repeat(`{"a":`, 11_000)+"1"+strings.Repeat(`}`, 11_000))},
	{"a length where a boolean should be", join(str(1, "id"), str(6, "\x01"), str(21, "\x01"))},
	{"a boolean of three bytes that looks like one and a field", join([]byte{0xa8, 0x01, 0x80, 0xc2, 0x01}, field(27, str(1, strings.Repeat("x", 213))))},
	{"long lengths", join(str(1, strings.Repeat("x", 200)), str(13, strings.Repeat("y", 20_000)), str(23, strings.Repeat("z", 300)), str(24, "end"))},
}

func mustEncode(r *keytrailv1.Record) []byte {
	encoded, err := record.Marshal(r)
	if err != nil {
		panic(err)
	}
	return encoded
}

// everyEncoding are all encoded records of this package's tables, and odd
// bytes.
func everyEncoding(t testing.TB, do func(name string, encoded []byte)) {
	for _, tt := range samples {
		if r, err := record.FromJSON([]byte(tt.json)); err == nil {
			do(tt.name, mustMarshal(t, r))
		}
	}
	r, err := record.FromJSON([]byte(allFields))
	if err != nil {
		t.Fatal(err)
	}
	do("all fields", mustMarshal(t, r))
	for _, tt := range encodings {
		do(tt.name, tt.encoded)
	}
	for _, tt := range viewTests {
		do(tt.name, tt.encoded)
	}
}

func TestViewAgreesWithAppendJSON(t *testing.T) {
	v := new(record.View)
	everyEncoding(t, func(name string, encoded []byte) {
		if err := checkView(v, encoded); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
}

func TestViewOfRealRecords(t *testing.T) {
	v := new(record.View)
	for _, rec := range realRecords(t) {
		r, err := record.FromJSON(rec.json)
		if err != nil {
			t.Fatalf("%s: %v", rec.name, err)
		}
		if err := checkView(v, mustMarshal(t, r)); err != nil {
			t.Errorf("%s: %v", rec.name, err)
		}
	}
}

// FuzzView: whatever bytes a log holds.
func FuzzView(f *testing.F) {
	everyEncoding(f, func(_ string, encoded []byte) { f.Add(encoded) })
	v := new(record.View)
	f.Fuzz(func(t *testing.T, encoded []byte) {
		if err := checkView(v, encoded); err != nil {
			t.Error(err)
		}
	})
}

// FuzzViewJSON: whatever a free-form member, a verbatim field and the
// document in a string hold.
func FuzzViewJSON(f *testing.F) {
	for _, tt := range samples {
		f.Add([]byte(tt.json))
	}
	for _, s := range []string{`null`, `"x"`, `-0.0e+7`, `01`, `-`, `1.`, `1e`, `[1,]`, `{,}`, `{"a"}`, `{"a":1 "b":2}`, `"\ud83d\ude00\ud800"`, `"\u12g4"`, `"\x"`, "\"\x01\"",
		`{"a":1,"\u0061":2}`, `{"a":{"b":[{}]}} `, `[[],{},"",0]`, "\"\xff\"", "tru", "nulls", `"\`, `"`,
		"\"12345678\x1f12345678\"", "\"1234567\t\"", `"12345678\"12345678"`, `"1234567\\"`, `"123456\u0041\u00e912345678\n"`, "\"12345678\x80\xff 1234567\""} {
		f.Add([]byte(s))
	}
	v := new(record.View)
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := checkView(v, join(field(15, text), field(10, field(12, text)))); err != nil {
			t.Errorf("free-form: %v", err)
		}
		if err := checkView(v, join(str(1, "id"), field(100, text), field(10, field(100, text)))); err != nil {
			t.Errorf("verbatim: %v", err)
		}
		if err := checkDocument(v, text); err != nil {
			t.Errorf("document: %v", err)
		}
	})
}

// checkDocument reads text as the document in a typed text and in a string of
// free-form JSON. Unlike in a record, names may come twice there.
func checkDocument(v *record.View, text []byte) error {
	text = []byte(strings.ToValidUTF8(string(text), "?"))
	quoted, err := json.Marshal(string(text))
	if err != nil {
		return err
	}
	if err := v.Reset(join(field(13, text), field(15, []byte(`{"a":[`+string(quoted)+`]}`)))); err != nil {
		return err
	}
	var want any
	valid := json.Valid(text)
	if valid {
		if want, err = plainJSON(text); err != nil {
			return err
		}
	}
	for range 2 {
		docs := []record.Value{v.Root().Member("userAgent").Document()}
		for e := range v.Root().Member("requestParameters").Member("a").Elements {
			docs = append(docs, e.Document())
		}
		for _, doc := range docs {
			if !valid {
				if doc.Kind() != record.Missing {
					return fmt.Errorf("%s is no JSON, and the document a %v", text, doc.Kind())
				}
			} else if err := sameDocument(doc, want); err != nil {
				return fmt.Errorf("%s: %w", text, err)
			}
		}
		if len(docs) != 2 {
			return fmt.Errorf("%d documents, want 2", len(docs))
		}
	}
	return nil
}

// sameDocument is sameValue for what may have one name twice.
func sameDocument(x record.Value, want any) error {
	m, ok := want.(map[string]any)
	if !ok {
		if _, ok := want.([]any); !ok {
			return sameValue(x, want)
		}
		again, err := plainJSON(x.AppendJSON(nil))
		if a, b := fmt.Sprint(again), fmt.Sprint(want); err != nil || a != b {
			return fmt.Errorf("AppendJSON: %v, %s, want %s", err, a, b)
		}
		return nil
	}
	if x.Kind() != record.Object {
		return fmt.Errorf("a %v, want an object", x.Kind())
	}
	for name, w := range m {
		if err := sameDocument(x.Member(name), w); err != nil {
			return fmt.Errorf("Member(%q): %w", name, err)
		}
	}
	return nil
}
