package record_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

func TestFieldOf(t *testing.T) {
	for _, tt := range []struct {
		path  string
		taken int
	}{
		{"eventName", 1},
		{"userIdentity", 1},
		{"userIdentity arn", 2},
		{"userIdentity sessionContext sessionIssuer arn", 4},
		{"userIdentity sessionContext sessionIssuer arn x", 4},
		{"userIdentity sessionContext webIdFederationData attributes", 3},
		{"userIdentity nothing", 1},
		{"requestParameters keyId", 1},
		{"resources ARN", 1},
		{"addendum originalEventID", 2},
		{"verbatim", 0},
		{"eventname", 0},
		{"event_name", 0},
		{"arnLowerCase", 0},
		{"", 0},
	} {
		f, taken := record.FieldOf(strings.Fields(tt.path)...)
		if taken != tt.taken || (f == record.Field{}) != (taken == 0) {
			t.Errorf("FieldOf(%s) = %v, %d, want %d taken", tt.path, f, taken, tt.taken)
		}
		longer, _ := record.FieldOf(append(strings.Fields(tt.path)[:taken:taken], "x")...)
		if longer != f {
			t.Errorf("the Field of %s is %v, and %v with more behind it", tt.path, f, longer)
		}
	}
}

func TestFieldNames(t *testing.T) {
	if got := record.FieldNames(); !slices.Equal(sorted(got), sorted(strings.Fields(topNames))) {
		t.Errorf("FieldNames() = %q, want those of %s", got, topNames)
	}
	for _, tt := range []struct{ path, want string }{
		{"resources", "accountId type ARN"},
		{"userIdentity sessionContext attributes", "creationDate mfaAuthenticated"},
		{"eventName", ""},
		{"requestParameters", ""},
		{"resources ARN", ""},
		{"nothing", ""},
	} {
		if got := record.FieldNames(strings.Fields(tt.path)...); strings.Join(got, " ") != tt.want || tt.want == "" && got != nil {
			t.Errorf("FieldNames(%s) = %q, want %s", tt.path, got, tt.want)
		}
	}
}

func sorted(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return s
}

func TestOperationIndex(t *testing.T) {
	i := 0
	for op := range record.Operations() {
		if got, known := record.OperationIndex(op.Name); got != i || !known || record.OperationAt(i) != op {
			t.Errorf("OperationIndex(%s) = %d, %v, want %d", op.Name, got, known, i)
		}
		for _, name := range []string{op.Name + "s", op.Name[1:], strings.ToLower(op.Name), op.Name[:len(op.Name)-1]} {
			_, want := record.LookupOperation(name)
			if _, known := record.OperationIndex(name); known != want {
				t.Errorf("OperationIndex(%q): known is %v", name, known)
			}
		}
		i++
	}
	if i != record.NumOperations {
		t.Errorf("NumOperations = %d, want %d", record.NumOperations, i)
	}
	if _, known := record.OperationIndex(""); known {
		t.Error("an operation without a name is known")
	}
	if record.OperationAt(-1) != nil || record.OperationAt(record.NumOperations) != nil {
		t.Error("OperationAt returns rows that the catalogue does not have")
	}
}

// TestViewForgets: what one record holds is not seen in the next, broken
// records included.
func TestViewForgets(t *testing.T) {
	r, err := record.FromJSON([]byte(allFields))
	if err != nil {
		t.Fatal(err)
	}
	full := mustMarshal(t, r)
	v := new(record.View)
	for _, next := range [][]byte{nil, {0x0a, 0x05, 'a'}, append(bytes.Clone(full), 0x0c)} {
		if err := v.Reset(full); err != nil {
			t.Fatal(err)
		}
		lookAtAll(v.Root())
		if len(v.ResourceARNs()) == 0 || v.Operation() < 0 {
			t.Fatal("the full record is read as if it were not")
		}
		if err := v.Reset(next); (err == nil) != (next == nil) {
			t.Errorf("Reset of %d bytes: %v", len(next), err)
		}
		if err := sameHot(v, record.Header{}); err != nil {
			t.Error(err)
		}
		if got := string(v.Root().AppendJSON(nil)); got != "{}" || v.ResourceARNs() != nil && len(v.ResourceARNs()) > 0 {
			t.Errorf("a record without fields reads as %s", got)
		}
	}
}

func TestViewOfNothing(t *testing.T) {
	var x record.Value
	lookAtAll(x)
	if x.Kind() != record.Missing || x.Text() != "" || x.Document().Kind() != record.Missing || len(x.AppendJSON(nil)) > 0 {
		t.Errorf("the zero Value is %v %q", x.Kind(), x.Text())
	}
	var v record.View
	lookAtAll(v.Root())
	if err := sameHot(&v, record.Header{}); err != nil {
		t.Errorf("the zero View: %v", err)
	}
	for _, encoded := range [][]byte{nil, str(100, `{"x":1}`)} {
		if err := v.Reset(encoded); err != nil {
			t.Fatal(err)
		}
		if x := v.Value(record.Field{}); x.Kind() != record.Missing {
			t.Errorf("the zero Field is a %v", x.Kind())
		}
		if s, ok := v.Text(record.Field{}); ok {
			t.Errorf("the zero Field is %q", s)
		}
	}
}

// TestResourceARN: either name finds an ARN, and the exact one is preferred.
func TestResourceARN(t *testing.T) {
	v := new(record.View)
	for _, tt := range []struct{ json, upper, lower string }{
		{`{"ARN":"x"}`, `"x"`, `"x"`},
		{`{"arn":"x"}`, `"x"`, `"x"`},
		{`{"arn":"x","ARN":"y"}`, `"y"`, `"x"`},
		{`{"arn":"x","ARN":null}`, `null`, `"x"`},
		{`{"arn":5}`, `5`, `5`},
		{`{"Arn":"x"}`, ``, ``},
	} {
		r, err := record.FromJSON([]byte(`{"resources":[` + tt.json + `]}`))
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Reset(mustMarshal(t, r)); err != nil {
			t.Fatal(err)
		}
		for e := range v.Root().Member("resources").Elements {
			if upper, lower := string(e.Member("ARN").AppendJSON(nil)), string(e.Member("arn").AppendJSON(nil)); upper != tt.upper || lower != tt.lower {
				t.Errorf("%s: ARN %s and arn %s, want %s and %s", tt.json, upper, lower, tt.upper, tt.lower)
			}
		}
	}
}

// TestViewOfPolicies: KMS policies come as a string and as an object.
func TestViewOfPolicies(t *testing.T) {
	v := new(record.View)
	for _, tt := range []struct{ json, want string }{
		{`{"policy":"{\n  \"Statement\" : [ {\"Principal\":\"*\"} ]\n}"}`, `"*"`},
		{`{"policy":{"Statement":[{"Principal":{"AWS":["*"]}}]}}`, `{"AWS":["*"]}`},
		{`{"policy":"{\"Statement\":[{\"Principal\":1}],\"Statement\":[{\"Principal\":2}]}"}`, `2`},
		{`{"policy":"{"}`, ``},
		{`{"policy":5}`, ``},
		{`null`, ``},
	} {
		if err := v.Reset(mustMarshal(t, &keytrailv1.Record{RequestParameters: []byte(tt.json)})); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			got := ""
			for e := range v.Value(parameters).Member("policy").Document().Member("Statement").Elements {
				got += string(e.Member("Principal").AppendJSON(nil))
			}
			if got != tt.want {
				t.Errorf("%s: principal %s, want %s", tt.json, got, tt.want)
			}
		}
	}
}

// TestViewOfManyParts: what is at the limit of a record's size and asked for
// over and over takes its share of time. The test's own time limit is what
// would fail.
func TestViewOfManyParts(t *testing.T) {
	entry := field(1, join(str(1, keyA), str(100, `{"x":"[1]"}`)))
	nested := `1`
	for len(nested) < 100_000 {
		nested = quote(`{"a":` + nested + `}`)
	}
	for _, encoded := range [][]byte{
		field(5, bytes.Repeat(entry, record.MaxBytes/len(entry))),
		bytes.Repeat(field(5, entry), record.MaxBytes/len(entry)/2),
		bytes.Repeat(field(10, field(8, field(2, str(4, "x")))), record.MaxBytes/20),
		str(15, "["+strings.Repeat(`"[]",`, record.MaxBytes/6)+"0]"),
		str(15, strings.Repeat("[", record.MaxBytes)),
		str(15, `{"a":`+nested+`}`),
	} {
		v := new(record.View)
		for range 20 {
			if err := v.Reset(encoded); err != nil {
				t.Fatal(err)
			}
			v.Keys()
			for e := range v.Value(list).Elements {
				e.Member("x").Document()
			}
			for e := range v.Value(parameters).Elements {
				e.Document()
			}
			for x := v.Value(parameters).Member("a"); x.Kind() != record.Missing; {
				x = x.Document().Member("a")
			}
			textsOf(v, issuer)
		}
	}
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
