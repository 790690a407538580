package filter

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// selectorRecords are records for selectors, by name.
var selectorRecords = map[string]string{
	"read":    `"eventName":"Decrypt","readOnly":true,"eventCategory":"Management","eventType":"AwsApiCall","userIdentity":{"arn":"arn:aws:iam::111122223333:role/app"}`,
	"write":   `"eventName":"DisableKey","readOnly":false,"eventCategory":"Management","eventType":"AwsApiCall","sessionCredentialFromConsole":"true","userIdentity":{"arn":"arn:aws:iam::111122223333:user/Eve"}`,
	"old":     `"eventName":"CreateKey","userIdentity":{"type":"AWSAccount"}`,
	"service": `"eventName":"RotateKey","readOnly":false,"eventCategory":"Management","eventType":"AwsServiceEvent"`,
	"network": `"eventName":"Decrypt","readOnly":true,"eventCategory":"NetworkActivity","eventType":"AwsVpceEvent","errorCode":"VpceAccessDenied","vpcEndpointId":"vpce-1"`,
}

func selectorRecord(name string) string {
	return `{"eventID":"1","eventSource":"kms.amazonaws.com","eventTime":"2026-11-24T10:00:00Z",` + selectorRecords[name] + "}"
}

// management is one selector for Management events, with more field selectors.
func management(more string) string {
	if more != "" {
		more = "," + more
	}
	return `[{"FieldSelectors":[{"Field":"eventCategory","Equals":["Management"]}` + more + `]}]`
}

var selectorTests = []struct {
	name, selectors, want string
}{
	{"all", management(""), "old read service write"},
	{"changes", management(`{"Field":"readOnly","Equals":["false"]}`), "old service write"},
	{"reads", management(`{"Field":"readOnly","Equals":["true"]}`), "read"},
	{"either", management(`{"Field":"readOnly","Equals":["true","false"]}`), "old read service write"},
	{"without the KMS", management(`{"Field":"eventSource","NotEquals":["kms.amazonaws.com"]}`), ""},
	{"without others", management(`{"Field":"eventSource","NotEquals":["rdsdata.amazonaws.com"]}`), "old read service write"},
	{"of the KMS", management(`{"Field":"eventSource","StartsWith":["kms."],"EndsWith":["nothing"]}`), "old read service write"},
	{"operations", management(`{"Field":"eventName","Equals":["Decrypt"],"StartsWith":["Dis"],"EndsWith":["ateKey"]}`), "old read service write"},
	{"some operations", management(`{"Field":"eventName","Equals":["Decrypt"],"StartsWith":["Dis"]}`), "read write"},
	{"some but", management(`{"Field":"eventName","EndsWith":["Key"],"NotEquals":["CreateKey"],"NotStartsWith":["Rot","X"]}`), "write"},
	{"not any of", management(`{"Field":"eventName","NotEquals":["Decrypt","DisableKey"],"NotEndsWith":["eKey"]}`), ""},
	{"case counts", management(`{"Field":"eventName","Equals":["decrypt"]}`), ""},
	{"callers", management(`{"Field":"userIdentity.arn","EndsWith":[":role/app"]}`), "read"},
	{"not a caller, or none", management(`{"Field":"userIdentity.arn","NotEndsWith":[":role/app"]}`), "old service write"},
	{"from the console", management(`{"Field":"sessionCredentialFromConsole","Equals":["true"]}`), "write"},
	{"not from the console", management(`{"Field":"sessionCredentialFromConsole","NotEquals":["true"]}`), "old read service"},
	{"no service events", management(`{"Field":"eventType","NotEquals":["AwsServiceEvent"]}`), "old read write"},
	{"two selectors", `[{"Name":"a","FieldSelectors":[{"Field":"eventCategory","Equals":["Management"]},{"Field":"readOnly","Equals":["true"]}]},
		{"Name":"a","FieldSelectors":[{"Field":"eventName","Equals":["CreateKey"]},{"Field":"eventCategory","Equals":["Management"]}]}]`, "old read"},
	{"network", `[{"FieldSelectors":[{"Field":"eventCategory","Equals":["NetworkActivity"]},{"Field":"eventSource","Equals":["kms.amazonaws.com"]},
		{"Field":"errorCode","Equals":["VpceAccessDenied"]},{"Field":"vpcEndpointId","StartsWith":["vpce-"]}]}]`, "network"},
	{"data beside", `[{"FieldSelectors":[{"Field":"eventCategory","Equals":["Data"]},{"Field":"resources.type","Equals":["AWS::S3::Object"]}]},
		{"FieldSelectors":[{"Field":"eventCategory","Equals":["Management"]},{"Field":"eventName","Equals":["Decrypt"]}]}]`, "read"},
	{"as printed", `{"TrailARN":"arn:aws:cloudtrail:eu-west-1:111122223333:trail/t","AdvancedEventSelectors":` + management(`{"Field":"eventName","Equals":["Decrypt"]}`) + `}`, "read"},
}

func TestSelectors(t *testing.T) {
	names := make([]string, 0, len(selectorRecords))
	for name := range selectorRecords {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, tt := range selectorTests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, name := range names {
				if checkSelectors(t, tt.selectors, selectorRecord(name)) {
					got = append(got, name)
				}
			}
			if got := strings.Join(got, " "); got != tt.want {
				t.Errorf("matches %q, want %q", got, tt.want)
			}
			if _, err := compileSelectors(tt.selectors); err != nil {
				t.Error(err)
			}
		})
	}
}

// naiveSelector is an advanced event selector as the AWS SDKs have it.
type naiveSelector struct {
	FieldSelectors []struct {
		Field                                                               string
		Equals, StartsWith, EndsWith, NotEquals, NotStartsWith, NotEndsWith []string
	}
}

// selectorOracle reports whether valid selectors want a record.
func selectorOracle(t rapid.TB, selectors string, r map[string]any) bool {
	var list []naiveSelector
	if json.Unmarshal([]byte(selectors), &list) != nil {
		var doc map[string]json.RawMessage
		if err := json.Unmarshal([]byte(selectors), &doc); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(doc["AdvancedEventSelectors"], &list); err != nil {
			t.Fatal(err)
		}
	}
	return slices.ContainsFunc(list, func(s naiveSelector) bool {
		for _, f := range s.FieldSelectors {
			value, has := fieldOf(r, strings.Split(f.Field, ".")...)
			switch {
			case f.Field == "eventCategory" && !has:
				value, has = "Management", true
			case f.Field == "readOnly":
				value, has = map[bool]string{true: "true", false: "false"}[value == "true"], true
			}
			is := func(test func(value, s string) bool, values []string) bool {
				return has && slices.ContainsFunc(values, func(s string) bool { return test(value, s) })
			}
			equal := func(a, b string) bool { return a == b }
			positive := len(f.Equals)+len(f.StartsWith)+len(f.EndsWith) > 0
			if positive && !is(equal, f.Equals) && !is(strings.HasPrefix, f.StartsWith) && !is(strings.HasSuffix, f.EndsWith) ||
				is(equal, f.NotEquals) || is(strings.HasPrefix, f.NotStartsWith) || is(strings.HasSuffix, f.NotEndsWith) {
				return false
			}
		}
		return true
	})
}

// fieldOf returns a scalar of a record as text.
func fieldOf(r map[string]any, names ...string) (string, bool) {
	var v any = r
	for _, name := range names {
		m, ok := v.(map[string]any)
		if !ok {
			return "", false
		}
		v = m[name]
	}
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return map[bool]string{true: "true", false: "false"}[v], true
	case json.Number:
		return string(v), true
	}
	return "", false
}

// checkSelectors holds selectors on a record to the oracle, and reports whether
// they want it.
func checkSelectors(t rapid.TB, selectors, text string) bool {
	e, err := compileSelectors(selectors)
	if err != nil {
		if bad, ok := err.(*Error); !ok || bad.Offset < 0 || bad.Offset > len(selectors) || bad.Text != selectors {
			t.Fatalf("%s: the error %#v points nowhere", selectors, err)
		}
		return false
	}
	checkPrints(t, e)
	v, decoded, ok := viewOfJSON(t, text)
	if !ok {
		return false
	}
	got := e.holds(scope{view: v})
	if want := selectorOracle(t, selectors, decoded); got != want {
		t.Fatalf("selectors %s on record %s: %v, the oracle says %v; translated to %s", selectors, text, got, want, e.text())
	}
	return got
}

var faultySelectors = []struct {
	selectors, at, want string
}{
	{``, ``, "ends too early"},
	{`"all"`, `"all"`, "is a string, and must be a list of advanced event selectors"},
	{`[]`, `[]`, "has no selectors"},
	{`[5]`, `5]`, "[0]: is a number"},
	{`[{}]`, `{}]`, "[0]: has no FieldSelectors"},
	{`[{"FieldSelectors":[]}]`, `[]}]`, "[0].FieldSelectors: must be a list of at least one"},
	{`[{"FieldSelectors":[{}]}]`, `{}]}]`, "[0].FieldSelectors[0]: has no Field"},
	{`[{"FieldSelectors":[{"Field":"eventName"}]}]`, `{"Field"`, "has no operator for eventName"},
	{`[{"FieldSelectors":[{"Field":"eventName","Equals":"Decrypt"}]}]`, `"Decrypt"`, "Equals: must be a list"},
	{`[{"FieldSelectors":[{"Field":"eventName","Equals":[5]}]}]`, `5]`, "is a number, and must be a string"},
	{`[{"FieldSelectors":[{"Field":"eventName","Equals":[""]}]}]`, `""]`, "has 0 bytes"},
	{`[{"FieldSelectors":[{"Field":"eventName","Equal":["a"]}]}]`, `"Equal"`, "did you mean Equals?"},
	{`[{"fieldSelectors":[{"field":"eventName","equals":["a"]}]}]`, `"fieldSelectors"`, `is how records spell it; the command line of AWS takes "FieldSelectors"`},
	{`[{"Name":5}]`, `5}`, "[0].Name: must be a string"},
	{`[{"FieldSelectors":[{"Field":"eventName","Equals":["a"]}]}]`, `{"FieldSelectors"`, "InvalidEventSelectorsException: the selector does not say which events it is for"},
	{management(`{"Field":"eventName","Equals":["a"]},{"Field":"eventName","NotEquals":["b"]}`), `{"Field":"eventName","NotEquals"`, "eventName is in this selector already"},
	{management(`{"Field":"resources.ARN","Equals":["a"]}`), `{"Field":"resources.ARN"`, `Management events have no field "resources.ARN" for selectors; use one of eventCategory,`},
	{management(`{"Field":"eventname","Equals":["a"]}`), `{"Field":"eventname"`, "did you mean eventName?"},
	{management(`{"Field":"readOnly","NotEquals":["true"]}`), `["true"]`, "readOnly takes Equals alone"},
	{management(`{"Field":"readOnly","Equals":["yes"]}`), `"yes"`, `"yes" is no value of readOnly; use true or false`},
	{management(`{"Field":"sessionCredentialFromConsole","Equals":["false"]}`), `"false"`, "use true"},
	{management(`{"Field":"eventName","Equals":["Get*"]}`), `"Get*"`, "use StartsWith"},
	{`[{"FieldSelectors":[{"Field":"eventCategory","NotEquals":["Data"]}]}]`, `{"Field"`, "eventCategory takes Equals with one value"},
	{`[{"FieldSelectors":[{"Field":"eventCategory","Equals":["Data","Management"]}]}]`, `{"Field"`, "eventCategory takes Equals with one value"},
	{`[{"FieldSelectors":[{"Field":"eventCategory","Equals":["Managment"]}]}]`, `{"FieldSelectors"`, "did you mean Management?"},
	{`[{"FieldSelectors":[{"Field":"eventCategory","Equals":["Data"]},{"Field":"resources.type","Equals":["AWS::S3::Object"]}]}]`, `[{"FieldSelectors"`, "match nothing"},
	{`[{"FieldSelectors":[{"Field":"eventCategory","Equals":["NetworkActivity"]}]}]`, `{"FieldSelectors"`, "needs an event source"},
	{`[{"ReadWriteType":"All","IncludeManagementEvents":true}]`, `"ReadWriteType"`, "is of basic event selectors"},
	{`{"TrailARN":"a","EventSelectors":[{"ReadWriteType":"All"}]}`, `"EventSelectors"`, "is of basic event selectors"},
	{`{"FieldSelectors":[]}`, `{"FieldSelectors"`, "put it into a list"},
	{`{"advancedEventSelectors":[]}`, `"advancedEventSelectors"`, "is how records spell it"},
	{`{"Trail":"a"}`, `{"Trail"`, `there is no "AdvancedEventSelectors"`},
	{`{"AdvancedEventSelectors":null}`, `null`, "AdvancedEventSelectors: is null, and must be a list"},
	{management(`{"Field":"eventName","Equals":[` + strings.Repeat(`"a",`, maxSelectorValues) + `"last"]}`), `"a","last"`, "InvalidEventSelectorsException: there are more than 500 values"},
	{management(`{"Field":"eventName","Equals":["` + strings.Repeat("a", maxSelectorValueBytes+1) + `"]}`), `"aaa`, "has 2049 bytes"},
	{`[{"Name":"` + strings.Repeat("a", maxSelectorName+1) + `"}]`, `"aaa`, "at most 1000"},
	{strings.Repeat("[", 20000), `[`, "is nested more than"},
}

// TestExamples runs the example files over the example records.
func TestExamples(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile("../examples/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	var file struct{ Records []json.RawMessage }
	if err := json.Unmarshal([]byte(read("kms-records.json")), &file); err != nil {
		t.Fatal(err)
	}
	pattern, selectors := 0, 0
	for _, r := range file.Records {
		if checkPattern(t, read("deletion.pattern.json"), string(r)) {
			pattern++
		}
		if checkSelectors(t, read("kms-changes.selectors.json"), string(r)) {
			selectors++
		}
	}
	if n := len(file.Records); pattern == 0 || pattern >= selectors || selectors == n {
		t.Errorf("of %d records %d match the pattern and %d the selectors", n, pattern, selectors)
	}
}

func TestFaultySelectors(t *testing.T) {
	for _, tt := range faultySelectors {
		_, err := compileSelectors(tt.selectors)
		e, ok := err.(*Error)
		if !ok {
			t.Errorf("compileSelectors(%.200s): %v, want an *Error with %q", tt.selectors, err, tt.want)
			continue
		}
		message := strings.ReplaceAll(e.Message, ": InvalidEventSelectorsException", "")
		if e.Text != tt.selectors || !strings.HasPrefix(tt.selectors[e.Offset:], tt.at) ||
			!strings.Contains(e.Message, tt.want) && !strings.Contains(message, tt.want) {
			t.Errorf("compileSelectors(%.200s): %q at %.40q, want %q at %q", tt.selectors, e.Message, tt.selectors[e.Offset:], tt.want, tt.at)
		}
	}
}

func FuzzSelectors(f *testing.F) {
	for _, tt := range selectorTests {
		for name := range selectorRecords {
			f.Add(tt.selectors, selectorRecord(name))
		}
	}
	for _, tt := range faultySelectors {
		f.Add(tt.selectors, selectorRecord("write"))
	}
	f.Fuzz(func(t *testing.T, selectors, text string) {
		checkSelectors(t, selectors, text)
	})
}

// TestRandomSelectors draws selectors from the few values that records have.
func TestRandomSelectors(t *testing.T) {
	fields := map[string][]string{
		"eventName":                    {"Decrypt", "DisableKey", "CreateKey", "De", "Key"},
		"eventSource":                  {"kms.amazonaws.com", "kms.", ".com", "rdsdata.amazonaws.com"},
		"eventType":                    {"AwsApiCall", "AwsServiceEvent", "Aws"},
		"userIdentity.arn":             {"arn:aws:iam::111122223333:role/app", "arn:", "/Eve"},
		"readOnly":                     {"true", "false"},
		"sessionCredentialFromConsole": {"true"},
	}
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	rapid.Check(t, func(rt *rapid.T) {
		var selectors []map[string]any
		for range rapid.IntRange(1, 3).Draw(rt, "selectors") {
			list := []map[string]any{{"Field": "eventCategory", "Equals": []string{"Management"}}}
			for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 3, rapid.ID).Draw(rt, "fields") {
				operators := []string{"Equals", "StartsWith", "EndsWith", "NotEquals", "NotStartsWith", "NotEndsWith"}
				if allowed := managedFields[name].operators; allowed != nil {
					operators = allowed
				}
				f := map[string]any{"Field": name}
				for _, o := range rapid.SliceOfNDistinct(rapid.SampledFrom(operators), 1, 2, rapid.ID).Draw(rt, "operators") {
					f[o] = rapid.SliceOfN(rapid.SampledFrom(fields[name]), 1, 2).Draw(rt, "values")
				}
				list = append(list, f)
			}
			selectors = append(selectors, map[string]any{"FieldSelectors": list})
		}
		text, err := json.Marshal(selectors)
		if err != nil {
			rt.Fatal(err)
		}
		if _, err := compileSelectors(string(text)); err != nil {
			rt.Fatalf("%s: %v", text, err)
		}
		for name := range selectorRecords {
			checkSelectors(rt, string(text), selectorRecord(name))
		}
	})
}
