package filter

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

const (
	success = keytrailv1.Outcome_OUTCOME_SUCCESS
	failure = keytrailv1.Outcome_OUTCOME_FAILURE
	denied  = keytrailv1.Outcome_OUTCOME_DENIED
)

type (
	pbFilter   = keytrailv1.Filter
	pbSelector = keytrailv1.Selector
)

func include(s ...*pbSelector) *pbFilter { return &pbFilter{Include: s} }

func mustCompile(t testing.TB, f *pbFilter) *Filter {
	t.Helper()
	c, err := Compile(f)
	if err != nil {
		t.Fatalf("Compile(%v): %v", f, err)
	}
	return c
}

var matchTests = []struct {
	name   string
	filter *pbFilter
	header record.Header
	want   bool
}{
	{"nil matches all", nil, record.Header{}, true},
	{"empty matches all", &pbFilter{}, record.Header{EventName: "Decrypt"}, true},
	{"event name", include(&pbSelector{EventNames: []string{"Decrypt"}}), record.Header{EventName: "Decrypt"}, true},
	{"event name is whole", include(&pbSelector{EventNames: []string{"GenerateDataKey"}}), record.Header{EventName: "GenerateDataKeyPair"}, false},
	{"event name respects case", include(&pbSelector{EventNames: []string{"decrypt"}}), record.Header{EventName: "Decrypt"}, false},
	{"event name wildcard", include(&pbSelector{EventNames: []string{"GenerateDataKey*"}}), record.Header{EventName: "GenerateDataKeyPair"}, true},
	{"any value of a field", include(&pbSelector{EventNames: []string{"Sign", "Verify"}}), record.Header{EventName: "Verify"}, true},
	{"all fields", include(&pbSelector{EventNames: []string{"Sign"}, Regions: []string{"eu-north-1"}}), record.Header{EventName: "Sign"}, false},
	{"any selector", include(&pbSelector{EventNames: []string{"Sign"}}, &pbSelector{Regions: []string{"eu-north-1"}}), record.Header{EventName: "Sign"}, true},
	{"key ARN", include(&pbSelector{Keys: []string{keyA}}), record.Header{Keys: []string{keyA}}, true},
	{"other key ARN", include(&pbSelector{Keys: []string{keyA}}), record.Header{Keys: []string{keyB}}, false},
	{"key ID", include(&pbSelector{Keys: []string{record.KeyID(keyA)}}), record.Header{Keys: []string{keyA}}, true},
	{"key ID is not compared with the ARN", include(&pbSelector{Keys: []string{"arn*"}}), record.Header{Keys: []string{keyA}}, false},
	{"ARN is not compared with the key ID", include(&pbSelector{Keys: []string{":*" + record.KeyID(keyA)}}), record.Header{Keys: []string{keyA}}, false},
	{"key ID wildcard", include(&pbSelector{Keys: []string{"mrk-*"}}), record.Header{Keys: []string{keyMRK}}, true},
	{"key ARN wildcard spans separators", include(&pbSelector{Keys: []string{"arn:*:210987654321:*"}}), record.Header{Keys: []string{keyMRK}}, true},
	{"second key of a record", include(&pbSelector{Keys: []string{keyB}}), record.Header{Keys: []string{keyA, keyB}}, true},
	{"star key needs a key", include(&pbSelector{Keys: []string{"*"}}), record.Header{}, false},
	{"account is no wildcard", include(&pbSelector{Accounts: []string{"2109*"}}), record.Header{Account: "210987654321"}, false},
	{"absent account", include(&pbSelector{Accounts: []string{"210987654321"}}), record.Header{}, false},
	{"region", include(&pbSelector{Regions: []string{"us-west-2"}}), record.Header{Region: "us-west-2"}, true},
	{"read only", include(&pbSelector{ReadOnly: proto.Bool(true)}), record.Header{ReadOnly: true}, true},
	{"absent read only is a change", include(&pbSelector{ReadOnly: proto.Bool(false)}), record.Header{}, true},
	{"success", include(&pbSelector{Outcomes: []keytrailv1.Outcome{success}}), record.Header{ErrorCode: "AccessDenied"}, false},
	{"failure", include(&pbSelector{Outcomes: []keytrailv1.Outcome{failure}}), record.Header{ErrorCode: "DisabledException"}, true},
	{"denied is a failure", include(&pbSelector{Outcomes: []keytrailv1.Outcome{failure}}), record.Header{ErrorCode: "AccessDenied"}, true},
	{"a failure need not be denied", include(&pbSelector{Outcomes: []keytrailv1.Outcome{denied}}), record.Header{ErrorCode: "DisabledException"}, false},
	{"denied", include(&pbSelector{Outcomes: []keytrailv1.Outcome{success, denied}}), record.Header{ErrorCode: "AccessDeniedException"}, true},
	{"exclude from all", &pbFilter{Exclude: []*pbSelector{{EventNames: []string{"Decrypt"}}}}, record.Header{EventName: "Decrypt"}, false},
	{"exclude leaves others", &pbFilter{Exclude: []*pbSelector{{EventNames: []string{"Decrypt"}}}}, record.Header{EventName: "Sign"}, true},
	{"exclude wins", &pbFilter{
		Include: []*pbSelector{{EventNames: []string{"*"}}},
		Exclude: []*pbSelector{{Regions: []string{"us-west-2"}}},
	}, record.Header{EventName: "Sign", Region: "us-west-2"}, false},
}

func TestMatch(t *testing.T) {
	for _, tt := range matchTests {
		t.Run(tt.name, func(t *testing.T) {
			f := mustCompile(t, tt.filter)
			if got := f.Match(headerView(t, &tt.header)); got != tt.want {
				t.Errorf("Match = %v, want %v", got, tt.want)
			}
			if got := slowMatch(tt.filter, &tt.header); got != tt.want {
				t.Errorf("slowMatch = %v, want %v", got, tt.want)
			}
			if got := mustCompile(t, &pbFilter{Where: f.String()}).Match(headerView(t, &tt.header)); got != tt.want {
				t.Errorf("Match = %v as text, %s; want %v", got, f, tt.want)
			}
		})
	}
}

// FuzzMatch holds Match to slowMatch, with filters and records from a few
// values that often meet. Its seeds are rapid's own.
func FuzzMatch(f *testing.F) { f.Fuzz(rapid.MakeFuzz(checkMatch)) }

func TestMatchAgainstSlow(t *testing.T) { rapid.Check(t, checkMatch) }

func checkMatch(t *rapid.T) {
	f, h := drawFilter(t), drawHeader(t)
	c, err := Compile(f)
	if err != nil {
		t.Fatalf("Compile(%v): %v", f, err)
	}
	if got, want := c.Match(headerView(t, h)), slowMatch(f, h); got != want {
		t.Errorf("Compile(%v).Match(%+v) = %v, slowMatch says %v", f, *h, got, want)
	}
}

// headerView is a view of a record that has the fields of h.
func headerView(t rapid.TB, h *record.Header) *record.View {
	t.Helper()
	set := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	rec := &keytrailv1.Record{
		EventId: set(h.EventID), EventName: set(h.EventName), EventSource: set(h.EventSource),
		RecipientAccountId: set(h.Account), AwsRegion: set(h.Region), ErrorCode: set(h.ErrorCode),
	}
	if h.ReadOnly {
		rec.ReadOnly = &h.ReadOnly
	}
	for _, arn := range h.Keys {
		if rec.Resources == nil {
			rec.Resources = new(keytrailv1.ResourceList)
		}
		rec.Resources.Entries = append(rec.Resources.Entries, &keytrailv1.Resource{Arn: &arn})
	}
	return viewOf(t, rec)
}

// slowMatch reads the contract word by word, over the header of a record, as the
// filters of a selector's first fields were matched before there were others.
func slowMatch(f *pbFilter, h *record.Header) bool {
	included := len(f.GetInclude()) == 0
	for _, s := range f.GetInclude() {
		included = included || slowSelect(s, h)
	}
	for _, s := range f.GetExclude() {
		if slowSelect(s, h) {
			return false
		}
	}
	return included
}

func slowSelect(s *pbSelector, h *record.Header) bool {
	holds := func(values []string, holds func(string) bool) bool {
		any := len(values) == 0
		for _, v := range values {
			any = any || holds(v)
		}
		return any
	}
	outcome := len(s.Outcomes) == 0
	for _, o := range s.Outcomes {
		outcome = outcome ||
			o == success && h.ErrorCode == "" ||
			o == failure && h.ErrorCode != "" ||
			o == denied && strings.HasPrefix(h.ErrorCode, "AccessDenied")
	}
	return outcome &&
		(s.ReadOnly == nil || s.GetReadOnly() == h.ReadOnly) &&
		holds(s.EventNames, func(v string) bool { return slowGlob(v, h.EventName) }) &&
		holds(s.Accounts, func(v string) bool { return v == h.Account }) &&
		holds(s.Regions, func(v string) bool { return v == h.Region }) &&
		holds(s.Keys, func(v string) bool {
			for _, arn := range h.Keys {
				compared := arn
				if !strings.Contains(v, ":") {
					compared = strings.SplitN(arn, "key/", 2)[1]
				}
				if slowGlob(v, compared) {
					return true
				}
			}
			return false
		})
}

func TestCompileErrors(t *testing.T) {
	many := make([]string, MaxValues)
	for i := range many {
		many[i] = "x"
	}
	newer := &pbSelector{EventNames: []string{"Sign"}}
	newer.ProtoReflect().SetUnknown([]byte{0xf8, 0x07, 0x01}) // field 127
	newerFilter := &pbFilter{}
	newerFilter.ProtoReflect().SetUnknown([]byte{0xf8, 0x07, 0x01})
	for _, tt := range []struct {
		name   string
		filter *pbFilter
		field  string // "" if it compiles
	}{
		{"most values", include(&pbSelector{EventNames: many}), ""},
		{"too many values", include(&pbSelector{EventNames: many, ReadOnly: proto.Bool(true)}), "filter"},
		{"too many over both lists", &pbFilter{
			Include: []*pbSelector{{EventNames: many}},
			Exclude: []*pbSelector{{Outcomes: []keytrailv1.Outcome{success}}},
		}, "filter"},
		{"empty selector", include(&pbSelector{Regions: []string{"x"}}, &pbSelector{}), "filter.include[1]"},
		{"nil selector", &pbFilter{Exclude: []*pbSelector{nil}}, "filter.exclude[0]"},
		{"empty key", include(&pbSelector{Keys: []string{keyA, keyB, ""}}), "filter.include[0].keys[2]"},
		{"empty event name", include(&pbSelector{EventNames: []string{""}}), "filter.include[0].event_names[0]"},
		{"empty account", include(&pbSelector{Accounts: []string{""}}), "filter.include[0].accounts[0]"},
		{"empty region", include(&pbSelector{Regions: []string{""}}), "filter.include[0].regions[0]"},
		{"longest value", include(&pbSelector{Regions: []string{strings.Repeat("x", MaxValueBytes)}}), ""},
		{"too long a value", include(&pbSelector{Regions: []string{strings.Repeat("x", MaxValueBytes+1)}}), "filter.include[0].regions[0]"},
		{"unspecified outcome", include(&pbSelector{Outcomes: []keytrailv1.Outcome{success, 0}}), "filter.include[0].outcomes[1]"},
		{"unknown outcome", include(&pbSelector{Outcomes: []keytrailv1.Outcome{9}}), "filter.include[0].outcomes[0]"},
		{"field of a newer contract", include(newer), "filter.include[0]"},
		{"field of a newer filter", newerFilter, "filter"},
		{"read only false is a field", include(&pbSelector{ReadOnly: proto.Bool(false)}), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Compile(tt.filter)
			if tt.field == "" {
				if err != nil {
					t.Errorf("Compile: %v", err)
				}
				return
			}
			var e *Error
			if !errors.As(err, &e) || e.Field != tt.field || e.Message == "" {
				t.Errorf("Compile: error %v, want one of %s", err, tt.field)
			}
		})
	}
}

// TestCompileCopies proves that a caller may reuse what it compiled.
func TestCompileCopies(t *testing.T) {
	pb := include(&pbSelector{EventNames: []string{"Sign"}, ReadOnly: proto.Bool(true), Outcomes: []keytrailv1.Outcome{success}})
	f := mustCompile(t, pb)
	s := pb.Include[0]
	s.EventNames[0], *s.ReadOnly, s.Outcomes[0] = "Verify", false, failure
	if !f.Match(headerView(t, &record.Header{EventName: "Sign", ReadOnly: true})) {
		t.Error("a change of the message changed the filter")
	}
}

var (
	someKeys       = []string{keyA, keyB, keyMRK, strings.Replace(keyMRK, "eu-central-1", "us-west-2", 1)}
	someKeyValues  = append([]string{record.KeyID(keyA), record.KeyID(keyMRK), "mrk-*", "*", "arn:*", "*:key/5a*2", "*-nothing"}, someKeys...)
	someEvents     = []string{"Decrypt", "GenerateDataKey", "GenerateDataKeyPair", "Sign"}
	someEventNames = append([]string{"*", "Generate*", "*Key", "D*t", "decrypt"}, someEvents...)
	someAccounts   = []string{"210987654321", "322098765432"}
	someRegions    = []string{"us-west-2", "eu-central-1"}
)

func drawFilter(t *rapid.T) *pbFilter {
	selectors := rapid.SliceOfN(rapid.Custom(drawSelector), 0, 3)
	return &pbFilter{Include: selectors.Draw(t, "include"), Exclude: selectors.Draw(t, "exclude")}
}

func drawSelector(t *rapid.T) *pbSelector {
	some := func(from []string, label string) []string {
		return rapid.SliceOfN(rapid.SampledFrom(from), 0, 3).Draw(t, label)
	}
	s := &pbSelector{
		Keys:       some(someKeyValues, "keys"),
		EventNames: some(someEventNames, "event_names"),
		Accounts:   some(someAccounts, "accounts"),
		Regions:    some(someRegions, "regions"),
		Outcomes:   rapid.SliceOfN(rapid.SampledFrom([]keytrailv1.Outcome{success, failure, denied}), 0, 2).Draw(t, "outcomes"),
	}
	if rapid.Bool().Draw(t, "has read_only") || proto.Size(s) == 0 {
		s.ReadOnly = proto.Bool(rapid.Bool().Draw(t, "read_only"))
	}
	return s
}

func drawHeader(t *rapid.T) *record.Header {
	one := func(from []string, label string) string {
		return rapid.SampledFrom(append([]string{""}, from...)).Draw(t, label)
	}
	return &record.Header{
		EventName: rapid.SampledFrom(someEvents).Draw(t, "event name"), // no stored record is without

		Account:   one(someAccounts, "account"),
		Region:    one(someRegions, "region"),
		ErrorCode: one([]string{"AccessDenied", "AccessDeniedException", "DisabledException"}, "error code"),
		ReadOnly:  rapid.Bool().Draw(t, "read only"),
		Keys:      rapid.SliceOfN(rapid.SampledFrom(someKeys), 0, 3).Draw(t, "keys"),
	}
}
