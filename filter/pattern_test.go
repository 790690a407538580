package filter

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// patternRecords are records for patterns, by name: what differs from the one
// they are all made of.
var patternRecords = map[string]string{
	"decrypt": `"eventName":"Decrypt","readOnly":true,"sourceIPAddress":"192.0.2.7",
		"userIdentity":{"type":"AssumedRole","arn":"arn:aws:sts::111122223333:assumed-role/app/s","accountId":"111122223333"},
		"requestParameters":{"encryptionContext":{"tenant":"t-17","stage":"prod"},"encryptionAlgorithm":"SYMMETRIC_DEFAULT"},"responseElements":null,
		"resources":[{"ARN":"arn:aws:kms:eu-west-1:111122223333:key/a","accountId":"111122223333","type":"AWS::KMS::Key"}]`,
	"denied": `"eventName":"ScheduleKeyDeletion","readOnly":false,"errorCode":"AccessDenied","sourceIPAddress":"workmail.eu-west-1.amazonaws.com",
		"userIdentity":{"type":"IAMUser","arn":"arn:aws:iam::444455556666:user/Eve","invokedBy":"AWS Internal"},
		"requestParameters":{"pendingWindowInDays":7,"keyId":"a*b","force":true,"nothing":null,"empty":"","five":"5"},"resources":[]`,
	"lists": `"eventName":"CreateGrant","sourceIPAddress":"2001:db8::1",
		"requestParameters":{"operations":["Encrypt","Decrypt"],"sizes":[1,[20,300]],"none":[],"mixed":["x",null,5,true],
			"tags":[{"tagKey":"team","tagValue":"red"},{"tagKey":"stage","tagValue":"prod"},[{"tagKey":"deep"}]],"object":{"a":1}},
		"resources":[{"ARN":"arn:aws:kms:eu-west-1:111122223333:key/a","type":"AWS::KMS::Key"},{"ARN":"arn:aws:kms:eu-west-1:444455556666:alias/b","accountId":"444455556666"}]`,
	"service": `"eventName":"RotateKey","eventType":"AwsServiceEvent","userIdentity":{"accountId":"111122223333","invokedBy":"AWS Internal"},
		"errorCode":null,"serviceEventDetails":{"keyId":"a","when":["x",{"y":"z"}]}`,
}

func patternRecord(name string) string {
	common := `"eventID":"1","eventSource":"kms.amazonaws.com","eventTime":"2026-11-24T10:00:00Z","awsRegion":"eu-west-1","recipientAccountId":"111122223333"`
	if !strings.Contains(patternRecords[name], `"eventType"`) {
		common += `,"eventType":"AwsApiCall"`
	}
	return "{" + common + "," + patternRecords[name] + "}"
}

// patternTests are also what the fuzzing begins with. want are the names of the
// records that match.
var patternTests = []struct {
	name, pattern, want string
}{
	{"exact", `{"eventName":["Decrypt"]}`, "decrypt"},
	{"any of the values", `{"eventName":["Decrypt","CreateGrant"]}`, "decrypt lists"},
	{"case counts", `{"eventName":["decrypt"]}`, ""},
	{"all of the fields", `{"eventName":["Decrypt","CreateGrant"],"sourceIPAddress":["192.0.2.7"]}`, "decrypt"},
	{"below", `{"userIdentity":{"type":["IAMUser"]}}`, "denied"},
	{"boolean", `{"readOnly":[true]}`, "decrypt"},
	{"a quoted boolean is another type", `{"readOnly":["true"]}`, ""},
	{"number", `{"requestParameters":{"pendingWindowInDays":[7]}}`, "denied"},
	{"number, written otherwise", `{"requestParameters":{"pendingWindowInDays":[70e-1]}}`, "denied"},
	{"a quoted number is another type", `{"requestParameters":{"pendingWindowInDays":["7"]}}`, ""},
	{"a number is not the quoted one", `{"requestParameters":{"five":[5]}}`, ""},
	{"text of digits", `{"requestParameters":{"five":["5"]}}`, "denied"},
	{"account", `{"recipientAccountId":["111122223333"]}`, "decrypt denied lists service"},
	{"null", `{"requestParameters":{"nothing":[null]}}`, "denied"},
	{"null of an object", `{"responseElements":[null]}`, "decrypt"},
	{"null of a text", `{"errorCode":[null]}`, "service"},
	{"null in a list", `{"requestParameters":{"mixed":[null]}}`, "lists"},
	{"null is not missing", `{"requestParameters":{"absent":[null]}}`, ""},
	{"empty", `{"requestParameters":{"empty":[""]}}`, "denied"},
	{"empty is not null", `{"requestParameters":{"nothing":[""]}}`, ""},

	{"prefix", `{"eventName":[{"prefix":"De"}]}`, "decrypt"},
	{"prefix of digits", `{"requestParameters":{"sizes":[{"prefix":"3"}]}}`, ""},
	{"any prefix", `{"requestParameters":{"mixed":[{"prefix":""}],"sizes":[{"exists":true}]}}`, "lists"},
	{"any prefix wants a string", `{"requestParameters":{"sizes":[{"prefix":""}]}}`, ""},
	{"suffix", `{"eventName":[{"suffix":"Grant"}]}`, "lists"},
	{"prefix without case", `{"eventName":[{"prefix":{"equals-ignore-case":"dEC"}}]}`, "decrypt"},
	{"suffix without case", `{"eventName":[{"suffix":{"equals-ignore-case":"GRANT"}}]}`, "lists"},
	{"without case", `{"eventName":[{"equals-ignore-case":"decrypt"}]}`, "decrypt"},
	{"wildcard", `{"eventName":[{"wildcard":"*e*K*y*"}]}`, "denied service"},
	{"wildcard without one", `{"eventName":[{"wildcard":"Decrypt"}]}`, "decrypt"},
	{"wildcard is anchored", `{"eventName":[{"wildcard":"*rypt*x"}]}`, ""},
	{"a star in text", `{"requestParameters":{"keyId":[{"wildcard":"a\\*b"}]}}`, "denied"},
	{"a star in text at the end", `{"requestParameters":{"keyId":[{"wildcard":"*\\*"}]}}`, ""},
	{"a star and text", `{"requestParameters":{"keyId":[{"wildcard":"*\\**"}]}}`, "denied"},
	{"stars everywhere", `{"requestParameters":{"keyId":[{"wildcard":"*a\\**b"}]}}`, "denied"},
	{"a star is not any text", `{"eventName":[{"wildcard":"D\\*t"}]}`, ""},

	{"anything but", `{"eventName":[{"anything-but":"Decrypt"}]}`, "denied lists service"},
	{"anything but some", `{"eventName":[{"anything-but":["Decrypt","CreateGrant"]}]}`, "denied service"},
	{"anything but a prefix", `{"eventName":[{"anything-but":{"prefix":"De"}}]}`, "denied lists service"},
	{"anything but prefixes", `{"eventName":[{"anything-but":{"prefix":["De","Cr"]}}]}`, "denied service"},
	{"anything but a suffix", `{"eventName":[{"anything-but":{"suffix":"t"}}]}`, "denied service"},
	{"anything but, without case", `{"eventName":[{"anything-but":{"equals-ignore-case":["DECRYPT","CREATEGRANT"]}}]}`, "denied service"},
	{"anything but a wildcard", `{"eventName":[{"anything-but":{"wildcard":"*Key*"}}]}`, "decrypt lists"},
	{"anything but numbers", `{"requestParameters":{"pendingWindowInDays":[{"anything-but":[1,7.0]}]}}`, ""},
	{"anything but a number takes other types", `{"requestParameters":{"keyId":[{"anything-but":7}]}}`, "denied"},
	{"anything but wants something", `{"userIdentity":{"invokedBy":[{"anything-but":"x"}]}}`, "denied service"},
	{"anything but takes null", `{"requestParameters":{"nothing":[{"anything-but":"x"}]}}`, "denied"},
	{"anything but takes the null of a text", `{"errorCode":[{"anything-but":"x"}]}`, "denied service"},
	{"anything but, or nothing", `{"userIdentity":{"invokedBy":[{"anything-but":"AWS Internal"},{"exists":false}]}}`, "decrypt lists"},
	{"anything but of a list", `{"requestParameters":{"operations":[{"anything-but":"Encrypt"}]}}`, "lists"},
	{"anything but all of a list", `{"requestParameters":{"operations":[{"anything-but":["Encrypt","Decrypt"]}]}}`, ""},
	{"anything but of an object", `{"requestParameters":{"object":[{"anything-but":"x"}]}}`, ""},

	{"more than", `{"requestParameters":{"pendingWindowInDays":[{"numeric":[">",6.5]}]}}`, "denied"},
	{"range", `{"requestParameters":{"pendingWindowInDays":[{"numeric":[">=",7,"<",8]}]}}`, "denied"},
	{"range for one element", `{"requestParameters":{"sizes":[{"numeric":[">",1,"<",20]}]}}`, ""},
	{"range in a list of lists", `{"requestParameters":{"sizes":[{"numeric":[">",20,"<=",300]}]}}`, "lists"},
	{"equal number", `{"requestParameters":{"sizes":[{"numeric":["=",20]}]}}`, "lists"},
	{"numeric wants numbers", `{"requestParameters":{"five":[{"numeric":["=",5]}]}}`, ""},

	{"exists", `{"userIdentity":{"invokedBy":[{"exists":true}]}}`, "denied service"},
	{"exists as null", `{"requestParameters":{"nothing":[{"exists":true}]}}`, "denied"},
	{"exists in a list", `{"requestParameters":{"mixed":[{"exists":true}]}}`, "lists"},
	{"an empty list does not exist", `{"requestParameters":{"none":[{"exists":true}]}}`, ""},
	{"an object does not exist", `{"requestParameters":{"object":[{"exists":true}]}}`, ""},
	{"does not exist", `{"errorCode":[{"exists":false}]}`, "decrypt lists"},
	{"does not exist, beside another", `{"requestParameters":{"keyId":["a*b"],"absent":[{"exists":false}]}}`, "denied"},
	{"an object is missing as a value", `{"requestParameters":[{"exists":false}]}`, "decrypt denied lists service"},
	{"nothing of what is not there exists", `{"requestParameters":{"a":{"b":[{"exists":false}],"c":[{"exists":false}]}}}`, "decrypt denied lists service"},

	{"block", `{"sourceIPAddress":[{"cidr":"192.0.2.0/24"}]}`, "decrypt"},
	{"block of v6", `{"sourceIPAddress":[{"cidr":"2001:db8::/32"}]}`, "lists"},
	{"a host is in no block", `{"sourceIPAddress":[{"cidr":"0.0.0.0/0"}]}`, "decrypt"},

	{"or", `{"$or":[{"eventName":["Decrypt"]},{"userIdentity":{"type":["IAMUser"]}}]}`, "decrypt denied"},
	{"or and more", `{"recipientAccountId":["111122223333"],"$or":[{"eventName":["Decrypt"]},{"readOnly":[false]}]}`, "decrypt denied"},
	{"or within or", `{"$or":[{"readOnly":[true],"$or":[{"eventName":["x"]},{"errorCode":[{"exists":false}]}]},{"eventName":["CreateGrant"]}]}`, "decrypt lists"},
	{"or below", `{"requestParameters":{"$or":[{"pendingWindowInDays":[7]},{"operations":["Decrypt"]}]}}`, "denied lists"},

	{"in a list", `{"requestParameters":{"operations":["Decrypt"]}}`, "lists"},
	{"in a list of lists", `{"requestParameters":{"sizes":[300]}}`, "lists"},
	{"objects in a list", `{"requestParameters":{"tags":{"tagKey":["stage"]}}}`, "lists"},
	{"one object of a list", `{"requestParameters":{"tags":{"tagKey":["stage"],"tagValue":["prod"]}}}`, "lists"},
	{"two objects of a list", `{"requestParameters":{"tags":{"tagKey":["team"],"tagValue":["prod"]}}}`, ""},
	{"an object of a list in it", `{"requestParameters":{"tags":{"tagKey":["deep"],"tagValue":[{"exists":false}]}}}`, "lists"},
	{"no object of a list", `{"requestParameters":{"tags":{"tagValue":[{"exists":false}]}}}`, "decrypt denied service"},
	{"value or none", `{"requestParameters":{"tags":{"tagKey":[{"exists":false},"x"],"tagValue":["red",{"exists":false}]}}}`, "decrypt denied service"},
	{"or in an element", `{"requestParameters":{"tags":{"tagKey":["team"],"$or":[{"tagValue":["prod"]},{"more":["x"]}]}}}`, ""},
	{"resource", `{"resources":{"ARN":[{"suffix":"alias/b"}]}}`, "lists"},
	{"one resource", `{"resources":{"ARN":[{"suffix":"alias/b"}],"type":["AWS::KMS::Key"]}}`, ""},
	{"a resource without a type", `{"resources":{"ARN":[{"suffix":"alias/b"}],"type":[{"exists":false}]}}`, "lists"},
	{"a resource of another account", `{"resources":{"accountId":[{"anything-but":"111122223333"}]}}`, "lists"},
	{"no resource", `{"resources":{"ARN":[{"exists":false}]}}`, "denied service"},
	{"objects beside values", `{"serviceEventDetails":{"when":{"y":["z"]}}}`, "service"},
	{"a context", `{"requestParameters":{"encryptionContext":{"tenant":["t-17"],"stage":[{"anything-but":"test"}]}}}`, "decrypt"},

	{"envelope", `{"source":["aws.kms"],"detail-type":["AWS API Call via CloudTrail"],"detail":{"eventName":["Decrypt"]}}`, "decrypt"},
	{"service events", `{"detail-type":["AWS Service Event via CloudTrail"]}`, "service"},
	{"any type", `{"detail-type":[{"prefix":"AWS "}]}`, "decrypt denied lists service"},
	{"members of the envelope", `{"account":["111122223333"],"region":[{"prefix":"eu-"}],"time":[{"prefix":"2026-11-24"}],"version":["0"],"id":[{"exists":true}],"resources":[{"exists":false}]}`, "decrypt denied lists service"},
	{"or around", `{"$or":[{"source":["aws.s3"]},{"detail":{"eventName":["Decrypt"]}}]}`, "decrypt"},
	{"any source", `{"source":[{"anything-but":"aws.s3"}],"detail":{"readOnly":[false]}}`, "denied"},

	{"unknown member", `{"newMember":["x"]}`, ""},
	{"unknown member, missing", `{"newMember":{"a":[{"exists":false}]}}`, "decrypt denied lists service"},
	{"escapes", `{"event\u004eame":["\u0044ecrypt"]}`, "decrypt"},
}

func TestPattern(t *testing.T) {
	names := make([]string, 0, len(patternRecords))
	for name := range patternRecords {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, tt := range patternTests {
		t.Run(tt.name, func(t *testing.T) {
			e, err := compilePattern(tt.pattern)
			if err != nil {
				t.Fatal(err)
			}
			checkPrints(t, e)
			var got []string
			for _, name := range names {
				v, decoded, ok := viewOfJSON(t, patternRecord(name))
				if !ok {
					t.Fatalf("%s is no record", name)
				}
				if e.holds(scope{view: v}) {
					got = append(got, name)
				}
				pattern, _ := decodeObject(tt.pattern)
				if want, known := oracle(pattern, decoded); !known || want != e.holds(scope{view: v}) {
					t.Errorf("of %s the oracle says %v (known: %v): %s", name, want, known, e.text())
				}
			}
			if got := strings.Join(got, " "); got != tt.want {
				t.Errorf("matches %q, want %q: %s", got, tt.want, e.text())
			}
		})
	}
}

// TestPatternText holds translations to what people would write.
func TestPatternText(t *testing.T) {
	for _, tt := range []struct{ pattern, want string }{
		{`{"eventName":["Decrypt",{"prefix":"Generate"}]}`, `event = Decrypt or event ^= Generate`},
		{`{"source":["aws.kms"],"detail-type":["AWS API Call via CloudTrail"],"detail":{"eventName":["DisableKey","ScheduleKeyDeletion"]}}`,
			`eventSource = kms.amazonaws.com and eventType = AwsApiCall and event in (DisableKey, ScheduleKeyDeletion)`},
		{`{"recipientAccountId":["111122223333"]}`, `string(account) = 111122223333`},
		{`{"errorCode":[{"exists":false}]}`, `not (exists errorCode or errorCode is null)`},
		{`{"userIdentity":{"invokedBy":[{"exists":false},{"anything-but":"AWS Internal"}]}}`, `userIdentity.invokedBy != "AWS Internal"`},
		{`{"userIdentity":{"type":[{"anything-but":["Root","Role"]}]}}`,
			`(exists userIdentity.type or userIdentity.type is null) and userIdentity.type not in (Root, Role)`},
		{`{"readOnly":[false]}`, `boolean(["readOnly"]) = false`},
		{`{"sourceIPAddress":[{"cidr":"10.0.0.0/8"},{"equals-ignore-case":"AWS Internal"}]}`,
			`sourceIPAddress cidr 10.0.0.0/8 or nocase(sourceIPAddress) = "AWS Internal"`},
		{`{"resources":{"ARN":[{"suffix":"/a"}]}}`, `resources[].ARN $= /a`},
		{`{"resources":{"ARN":[{"suffix":"/a"}],"type":["AWS::KMS::Key"]}}`, `resources[] (ARN $= /a and type = AWS::KMS::Key)`},
		{`{"requestParameters":{"keySpec":["RSA_2048"],"tags":{"tagKey":["a"],"tagValue":["b"]}}}`,
			`requestParameters.keySpec = RSA_2048 and requestParameters.tags[] (tagKey = a and tagValue = b)`},
		{`{"requestParameters":{"encryptionContext":{"aws:s3:arn":[{"wildcard":"arn:*:b/*"}]}}}`,
			`requestParameters.encryptionContext[]["aws:s3:arn"] ~ "arn:*:b/*"`},
		{`{"requestParameters":{"pendingWindowInDays":[{"numeric":["<",30]},{"numeric":[">=",50,"<",90]}]}}`,
			`requestParameters.pendingWindowInDays < 30 or requestParameters.pendingWindowInDays[] ([] >= 50 and [] < 90)`},
		{`{"requestParameters":{"keyId":[{"anything-but":"a"}]}}`,
			`requestParameters.keyId[] ((exists string([]) or exists number([]) or exists boolean([]) or [] is null) and [] != a)`},
	} {
		e, err := compilePattern(tt.pattern)
		if err != nil {
			t.Errorf("compilePattern(%s): %v", tt.pattern, err)
			continue
		}
		if got := e.text(); got != tt.want {
			t.Errorf("compilePattern(%s):\n %s, want\n %s", tt.pattern, got, tt.want)
		}
	}
}

// checkPrints wants the text form of a translation to be one that reads back.
func checkPrints(t rapid.TB, e *expr) {
	t.Helper()
	text := e.text()
	back, err := parseText(text)
	if err != nil {
		t.Fatalf("the text form does not read back: %v: %s", err, text)
	}
	if again := back.text(); again != text {
		t.Fatalf("the text form reads back as %s, from %s", again, text)
	}
}

var faultyPatterns = []struct {
	pattern, at, want string // at: what stands where the error points
}{
	{``, ``, "ends too early"},
	{`{"eventName":["a"]`, ``, "ends too early"},
	{`[]`, `[]`, "an event pattern is an object, and this is a list"},
	{`{}`, `{}`, "is an empty object"},
	{`{"eventName":["a"]} {}`, `{}`, "followed by something else"},
	{`{"eventName":["a"],}`, `,}`, "not JSON"},
	{"{\n \"eventName\": [\"a\"],\n \"eventName\": [\"b\"]}", `"eventName": ["b"]}`, "line 3, column 2: the same name is there already"},
	{`{"eventName":"a"}`, `"a"}`, "eventName: is a string, and must be a list of values or an object"},
	{`{"eventName":null}`, `null}`, "is null"},
	{`{"eventName":[]}`, `[]}`, "is an empty list"},
	{`{"eventName":[["a"]]}`, `["a"]]}`, "eventName[0]: is a list within a list"},
	{`{"userIdentity":{"type":{}}}`, `{}}}`, "userIdentity.type: is an empty object"},
	{`{"eventName":{"a":["b"]}}`, `"eventName"`, "eventName: a record has a single value there"},
	{`{"userIdentity":["a"]}`, `"userIdentity"`, "userIdentity: a record has an object there"},
	{`{"resources":["arn:aws:kms:eu-west-1:111122223333:key/a"]}`, `"resources"`, "resources: a record has an object there"},
	{`{"userIdentity.arn":["a"]}`, `"userIdentity.arn"`, `write {"userIdentity": {"arn": …}}`},
	{`{"eventName":[{"prefx":"a"}]}`, `"prefx"`, `eventName[0]: "prefx" is not possible here; use one of prefix, suffix, equals-ignore-case, wildcard, anything-but, numeric, exists, cidr; did you mean prefix?`},
	{`{"eventName":[{"prefix":"a","suffix":"b"}]}`, `{"prefix"`, "must have one member"},
	{`{"eventName":[{"prefix":5}]}`, `5}`, "eventName[0].prefix: is a number, and must be a string"},
	{`{"eventName":[{"prefix":{"wildcard":"a"}}]}`, `"wildcard"`, "use one of equals-ignore-case"},
	{`{"eventName":[{"anything-but":{"prefix":""}}]}`, `""}`, "anything-but.prefix: is empty"},
	{`{"eventName":[{"anything-but":["a",5]}]}`, `5]}`, "anything-but[1]: is a number beside a string"},
	{`{"eventName":[{"anything-but":[]}]}`, `[]}`, "is an empty list"},
	{`{"eventName":[{"anything-but":[{"prefix":"a"}]}]}`, `{"prefix"`, `write {"anything-but": {"prefix"`},
	{`{"eventName":[{"anything-but":null}]}`, `null`, "is null, and must be a string or a number"},
	{`{"eventName":[{"anything-but":{"numeric":["<",5]}}]}`, `"numeric"`, "use one of prefix, suffix, equals-ignore-case, wildcard"},
	{`{"eventName":[{"wildcard":"a**b"}]}`, `"a**b"`, "next to another"},
	{`{"eventName":[{"wildcard":"a\\b"}]}`, `"a\\b"`, "backslash"},
	{`{"eventName":[{"exists":"true"}]}`, `"true"`, "must be true or false"},
	{`{"a":[{"numeric":["<"]}]}`, `["<"]`, "must be a list such as"},
	{`{"a":[{"numeric":["!=",5]}]}`, `"!="`, `must be "=", "<"`},
	{`{"a":[{"numeric":["<","5"]}]}`, `"5"`, "is a string, and must be a number"},
	{`{"a":[{"numeric":["<",5,">",1]}]}`, `"<",5`, "a range has"},
	{`{"a":[{"numeric":[">",5,"<",5]}]}`, `[">",5`, "without numbers"},
	{`{"a":[{"numeric":["<",5000000001]}]}`, `5000000001`, "from -5e9 to 5e9"},
	{`{"a":[{"anything-but":-5e10}]}`, `-5e10`, "from -5e9 to 5e9"},
	{`{"sourceIPAddress":[{"cidr":"10.0.0.0"}]}`, `"10.0.0.0"`, "10.0.0.0/32"},
	{`{"sourceIPAddress":[{"cidr":"10.0.0.1/8"}]}`, `"10.0.0.1/8"`, "write 10.0.0.0/8"},
	{`{"sourceIPAddress":[{"cidr":"ten"}]}`, `"ten"`, "no CIDR block"},
	{`{"$or":{"eventName":["a"]}}`, `{"eventName"`, "$or: is an object, and must be a list of objects"},
	{`{"$or":[{"eventName":["a"]}]}`, `[{`, "at least two objects"},
	{`{"$or":[{"eventName":["a"]},"b"]}`, `"b"`, "$or[1]: is a string, and must be an object"},
	{`{"$or":[{"prefix":["a"]},{"eventName":["b"]}]}`, `"prefix"`, `"prefix" compares values`},
	{`{"eventName":["a"],"$or":[{"readOnly":[true]},{"eventName":["b"]}]}`, `"eventName":["b"]`, "$or[1].eventName: is asked for twice"},
	{`{"$or":[{"eventName":["a"]},{"eventName":["b"]}],"eventName":["c"]}`, `"eventName":["c"]`, "is asked for twice"},
	{`{"detail":{"eventName":["a"]},"eventName":["a"]}`, `"eventName":["a"]}`, `"eventName" is no member of the event around a record`},
	{`{"detial":{"eventName":["a"]},"source":["aws.kms"]}`, `"detial"`, "did you mean detail?"},
	{`{"detail":["a"]}`, `"detail"`, "detail: must be an object"},
	{`{"source":{"a":["b"]}}`, `"source"`, "source: must be a list"},
	{`{"source":["aws.s3"]}`, `"source"`, `source: is "aws.kms" for all records here, so this pattern matches nothing`},
	{`{"detail-type":["KMS CMK Deletion"]}`, `"detail-type"`, "AWS API Call via CloudTrail"},
	{`{"version":["1"],"detail":{"eventName":["a"]}}`, `"version"`, "matches nothing"},
	{`{"id":["a"],"detail":{"eventName":["a"]}}`, `"id"`, `ask for "eventID" in "detail"`},
	{`{"source":["aws.kms"],"resources":["a"]}`, `"resources"`, "is empty around all records"},
	{`{"eventName":[` + strings.Repeat(`"a",`, MaxValues) + `"last"]}`, `"last"`, "there are more than 1000 values"},
}

func TestFaultyPattern(t *testing.T) {
	for _, tt := range faultyPatterns {
		_, err := compilePattern(tt.pattern)
		e, ok := err.(*Error)
		if !ok {
			t.Errorf("compilePattern(%s): %v, want an *Error with %q", tt.pattern, err, tt.want)
			continue
		}
		if e.Text != tt.pattern || !strings.HasPrefix(tt.pattern[e.Offset:], tt.at) || !strings.Contains(e.Message, tt.want) {
			t.Errorf("compilePattern(%s): %q at %q, want %q at %q", tt.pattern, e.Message, tt.pattern[e.Offset:], tt.want, tt.at)
		}
	}
}

// TestPatternLimits holds hostile patterns to be refused, or taken, at once.
func TestPatternLimits(t *testing.T) {
	deep := func(n int, inner string) string {
		return `{"requestParameters":` + strings.Repeat(`{"a":`, n) + inner + strings.Repeat("}", n+1)
	}
	mixed := `{"a":["x",{"exists":false}],"b":["x",{"exists":false}]}`
	for range 20 {
		mixed = `{"a":` + mixed + `,"b":["x",{"exists":false}]}`
	}
	for _, tt := range []struct{ pattern, want string }{
		{deep(MaxDepth+10, `["x"]`), "is nested more than 32 deep"},
		{deep(5000, `["x"]`), "is nested more than 32 deep"},
		{strings.Repeat(`{"a":`, 20000), "is nested more than 32 deep"},
		{`{"requestParameters":` + mixed + `}`, "takes more than 1000 conditions"},
		{`{"eventName":["` + strings.Repeat("x", MaxValueBytes+1) + `"]}`, "use at most 2048"},
		{`{"eventName":[{"wildcard":"` + strings.Repeat("x*", 20000) + `"}]}`, "use at most 2048"},
		{`{"eventName":[{"wildcard":"a*b\\*` + strings.Repeat("x", MaxRegexpBytes) + `"}]}`, "use at most 512"},
	} {
		if _, err := compilePattern(tt.pattern); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("compilePattern(%.60s…): %v, want %q", tt.pattern, err, tt.want)
		}
	}
	if _, err := compilePattern(deep(20, `["x"]`)); err != nil {
		t.Error(err)
	}
}

// checkPattern holds a pattern on a record to the oracle, and reports whether
// it matches.
func checkPattern(t rapid.TB, pattern, text string) bool {
	e, err := compilePattern(pattern)
	if err != nil {
		if bad, ok := err.(*Error); !ok || bad.Offset < 0 || bad.Offset > len(pattern) || bad.Text != pattern {
			t.Fatalf("%s: the error %#v points nowhere", pattern, err)
		}
		return false
	}
	checkPrints(t, e)
	v, event, ok := viewOfJSON(t, text)
	if !ok {
		return false
	}
	got := e.holds(scope{view: v})
	decoded, ok := decodeObject(pattern)
	if !ok {
		t.Fatalf("encoding/json does not read %s", pattern)
	}
	if hugeNumber(decoded) || hugeNumber(event) {
		return got
	}
	if want, known := oracle(decoded, event); known && got != want {
		t.Fatalf("pattern %s on record %s: %v, the oracle says %v; translated to %s", pattern, text, got, want, e.text())
	}
	return got
}

// hugeNumber reports whether v has a number that would keep math/big busy.
func hugeNumber(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		for _, m := range v {
			if hugeNumber(m) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, hugeNumber)
	case json.Number:
		_, exponent, ok := strings.Cut(strings.ToLower(string(v)), "e")
		return ok && len(exponent) > 4
	}
	return false
}

// TestRealDialects holds patterns and selectors to their oracles on real records,
// and the patterns of rules to their texts.
func TestRealDialects(t *testing.T) {
	type form struct {
		pattern string
		text    *expr
	}
	var patterns []form
	for _, tt := range rules {
		if tt.pattern != "" {
			e, err := parseText(tt.where)
			if err != nil {
				t.Fatal(err)
			}
			patterns = append(patterns, form{tt.pattern, e})
		}
	}
	for _, r := range realRecords(t) {
		text := jsonOf(r)
		for _, p := range patterns {
			got := checkPattern(t, p.pattern, text)
			v, _, ok := viewOfJSON(t, text)
			if ok && got != p.text.holds(scope{view: v}) {
				t.Errorf("the pattern %s says %v, and not %s, for %s", p.pattern, got, p.text.text(), text)
			}
		}
		for _, tt := range selectorTests {
			checkSelectors(t, tt.selectors, text)
		}
	}
}

func FuzzPattern(f *testing.F) {
	for _, tt := range patternTests {
		for name := range patternRecords {
			f.Add(tt.pattern, patternRecord(name))
		}
	}
	for _, tt := range faultyPatterns {
		f.Add(tt.pattern, patternRecord("decrypt"))
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern) < 4<<10 && len(text) < 4<<10 {
			checkPattern(t, pattern, text)
		}
	})
}

func BenchmarkCompilePattern(b *testing.B) {
	const pattern = `{"source":["aws.kms"],"detail-type":["AWS API Call via CloudTrail"],"detail":{"eventName":["DisableKey","ScheduleKeyDeletion"],"resources":{"ARN":["arn:aws:kms:eu-west-1:111122223333:key/a"]},"errorCode":[{"exists":false}]}}`
	b.ReportAllocs()
	for b.Loop() {
		if _, err := compilePattern(pattern); err != nil {
			b.Fatal(err)
		}
	}
}
