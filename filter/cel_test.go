package filter

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

// encodedRecord is the record that is this JSON, as the bus stores it.
func encodedRecord(t rapid.TB, text string) []byte {
	t.Helper()
	r, err := record.FromJSON([]byte(text))
	if err != nil {
		t.Fatalf("record %s: %v", text, err)
	}
	encoded, err := record.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

// celView is a view of the record that is this JSON.
func celView(t rapid.TB, text string) *record.View {
	t.Helper()
	v := new(record.View)
	if err := v.Reset(encodedRecord(t, text)); err != nil {
		t.Fatal(err)
	}
	return v
}

func compileTestCEL(t rapid.TB, text string) *celExpr {
	t.Helper()
	e, err := compileCEL(text)
	if err != nil {
		t.Fatalf("compileCEL(%q): %v", text, err)
	}
	return e.cel
}

const (
	decrypt = `{"eventVersion":"1.11","userIdentity":{"type":"AssumedRole","principalId":"AROA:s","arn":"arn:aws:sts::111122223333:assumed-role/app/s",
		"accountId":"111122223333","sessionContext":{"sessionIssuer":{"type":"Role","arn":"arn:aws:iam::111122223333:role/app","accountId":"111122223333"},
		"attributes":{"creationDate":"2026-03-01T10:00:00Z","mfaAuthenticated":"false"}}},
		"eventTime":"2026-03-01T22:30:15Z","eventSource":"kms.amazonaws.com","eventName":"Decrypt","awsRegion":"eu-central-1","sourceIPAddress":"203.0.113.7",
		"userAgent":"aws-sdk-go-v2","errorCode":"AccessDenied","errorMessage":"not authorized",
		"requestParameters":{"encryptionContext":{"aws:s3:arn":"arn:aws:s3:::b","app":"pay","n":"7"},"encryptionAlgorithm":"SYMMETRIC_DEFAULT","limit":7,"half":0.5,"big":12345678901234567890,
			"list":[1,"x",null,true,{"k":"v"}],"nothing":null},
		"responseElements":null,"additionalEventData":{"keyMaterialId":"m"},"readOnly":true,"eventType":"AwsApiCall","managementEvent":true,
		"resources":[{"accountId":"444455556666","type":"AWS::KMS::Key","ARN":"arn:aws:kms:eu-central-1:444455556666:key/1234"},
			{"ARN":"arn:aws:kms:eu-central-1:444455556666:alias/pay"}],
		"recipientAccountId":"444455556666","eventCategory":"Management","tlsDetails":{"tlsVersion":"TLSv1.3"}}`

	putPolicy = `{"eventName":"PutKeyPolicy","eventSource":"kms.amazonaws.com","eventTime":"2026-03-01T08:00:00Z","userIdentity":{"type":"Root"},
		"sourceIPAddress":"backup.amazonaws.com","requestParameters":{"policy":"{\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":\"*\"},{\"Effect\":\"Deny\"}]}","bypass":false}}`

	bare = `{"eventName":"X","eventSource":"kms.amazonaws.com"}`
)

// celTests are also the seeds of the fuzz tests. fails is for expressions that
// hold neither themselves nor negated.
var celTests = []struct {
	expression, record string
	want               celOutcome
}{
	{`eventName == "Decrypt"`, decrypt, celHolds},
	{`eventName == 'Encrypt'`, decrypt, celHoldsNot},
	{`event == "Decrypt" && region.startsWith("eu-") && account == "444455556666"`, decrypt, celHolds},
	{`eventName in ["Encrypt", "Decrypt"]`, decrypt, celHolds},
	{`eventName in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "Decrypt"]`, decrypt, celHolds},
	{`eventName in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]`, decrypt, celHoldsNot},
	{`eventName.matches("^De.*t$")`, decrypt, celHolds},
	{`userIdentity.accountId != recipientAccountId`, decrypt, celHolds},
	{`userIdentity.accountId == recipientAccountId || userIdentity.type == "Root"`, putPolicy, celHolds},
	{`userIdentity.accountId == recipientAccountId && userIdentity.type == "Root"`, putPolicy, celFails},
	{`userIdentity.accountId != recipientAccountId`, bare, celFails},

	// Named fields.
	{`crossAccount`, decrypt, celHolds},
	{`crossAccount`, bare, celHoldsNot},
	{`readOnly && class == "cryptographic"`, decrypt, celHolds},
	{`!readOnly`, bare, celHolds},
	{`class == "read"`, bare, celFails},
	{`"denied" in outcome && "failure" in outcome && !("success" in outcome)`, decrypt, celHolds},
	{`outcome == ["success"]`, bare, celHolds},
	{`"1234" in key && "alias/pay" in key && "arn:aws:kms:eu-central-1:444455556666:key/1234" in key`, decrypt, celHolds},
	{`key.exists(k, k.endsWith("/pay")) && size(key) == 4`, decrypt, celHolds},
	{`principal.exists(p, p.contains(":role/"))`, decrypt, celHolds},
	{`principal.all(p, p == "") && key == []`, bare, celHolds},
	{`sourceIP == "203.0.113.7"`, decrypt, celHolds},
	{`sourceIP != ""`, putPolicy, celFails},

	// Times.
	{`eventTime.getHours() >= 22`, decrypt, celHolds},
	{`eventTime.getHours("Europe/Berlin") == 23 && eventTime.getDayOfWeek() == 0`, decrypt, celHolds},
	{`eventTime.getHours("+02:00") == 0 && eventTime.getDate("+02:00") == 2 && eventTime.getMinutes("-00:40") == 50`, decrypt, celHolds},
	{`eventTime.getFullYear() == 2026 && eventTime.getMonth() == 2 && eventTime.getDayOfMonth() == 0 && eventTime.getDayOfYear() == 59`, decrypt, celHolds},
	{`eventTime.getSeconds() == 15 && eventTime.getMilliseconds() == 0`, decrypt, celHolds},
	{`eventTime - timestamp(userIdentity.sessionContext.attributes.creationDate) > duration("12h")`, decrypt, celHolds},
	{`(eventTime - timestamp(userIdentity.sessionContext.attributes.creationDate)).getHours() == 12`, decrypt, celHolds},
	{`eventTime + duration("1h30m") == timestamp("2026-03-02T00:00:15Z")`, decrypt, celHolds},
	{`eventTime < timestamp("2026-03-01T22:30:15.000000001Z")`, decrypt, celHolds},
	{`int(eventTime) == 1772404215 && timestamp(1772404215) == eventTime`, decrypt, celHolds},
	{`string(eventTime) == "2026-03-01T22:30:15Z" && string(duration("90m")) == "5400s"`, decrypt, celHolds},
	{`eventTime < timestamp("2030-01-01T00:00:00Z")`, bare, celFails},
	{`dyn(duration("1h")).getFullYear() == 0`, decrypt, celFails},
	{`timestamp(eventName) == eventTime`, decrypt, celFails},
	{`eventTime + duration("2562047h") + duration("2562047h") + duration("2562047h") + duration("2562047h") > eventTime`, decrypt, celHolds},
	{`timestamp("9999-12-31T23:59:59Z") + duration("1s") > eventTime`, decrypt, celFails},
	{`timestamp("9999-12-31T23:59:59Z") - timestamp("0001-01-01T00:00:00Z") > duration("1s")`, decrypt, celFails},

	// Free-form members.
	{`requestParameters.encryptionContext.app == "pay"`, decrypt, celHolds},
	{`requestParameters.encryptionContext["aws:s3:arn"].startsWith("arn:aws:s3")`, decrypt, celHolds},
	{"requestParameters.encryptionContext.`app` == 'pay'", decrypt, celHolds},
	{`requestParameters["encryptionContext"]["app"] == "pay" && record.requestParameters.limit == 7`, decrypt, celHolds},
	{`requestParameters.encryptionContext.team == "x"`, decrypt, celFails},
	{`requestParameters.encryptionContext.exists(k, k == "app" && requestParameters.encryptionContext[k] == "pay")`, decrypt, celHolds},
	{`"app" in requestParameters.encryptionContext && !("team" in requestParameters.encryptionContext)`, decrypt, celHolds},
	{`responseElements == null && requestParameters.nothing == null`, decrypt, celHolds},
	{`responseElements == null`, bare, celFails},
	{`requestParameters.list[1] == "x" && requestParameters.list[4].k == "v" && requestParameters.list[0.0] == 1`, decrypt, celHolds},
	{`requestParameters.list[9] == 1`, decrypt, celFails},
	{`requestParameters.list[-1] == 1`, decrypt, celFails},
	{`requestParameters.list == [1, "x", null, true, {"k": "v"}]`, decrypt, celHolds},
	{`requestParameters.list.exists(x, x == "x") && requestParameters.list.exists_one(x, type(x) == bool)`, decrypt, celHolds},
	{`requestParameters.list.filter(x, type(x) == int).map(x, x + 1) == [2]`, decrypt, celHolds},
	{`requestParameters.list.map(x, type(x) == int, x * 3) == [3]`, decrypt, celHolds},
	{`requestParameters.list.all(x, x > 0)`, decrypt, celFails},
	{`requestParameters.list.exists(x, x > 0)`, decrypt, celHolds},
	{`size(requestParameters.list) == 5 && requestParameters.encryptionContext.size() == 3 && size("ö") == 1`, decrypt, celHolds},
	{`{"Decrypt": 5, "Encrypt": 6}[eventName] == 5 && eventName in {"Decrypt": 1}`, decrypt, celHolds},
	{`{"Encrypt": 6}[eventName] == 5`, decrypt, celFails},
	{`resources.exists(r, r.ARN.endsWith(":key/1234") && r.accountId != userIdentity.accountId)`, decrypt, celHolds},
	{`resources.exists(r, r.arn.endsWith("alias/pay"))`, decrypt, celHolds},
	{`resources.all(r, r.type == "AWS::KMS::Key")`, decrypt, celFails},
	{`resources[0].type == "AWS::KMS::Key" && size(resources) == 2`, decrypt, celHolds},
	{`json(requestParameters.policy).Statement.exists(s, s.Effect == "Allow" && s.Principal == "*")`, putPolicy, celHolds},
	{`[requestParameters.policy].exists(p, json(p).Statement[1].Effect == "Deny")`, putPolicy, celHolds},
	{`json(requestParameters.bypass) == 1`, putPolicy, celFails},
	{`json(requestParameters).bypass == false`, putPolicy, celHolds},

	// Numbers; digits in texts stay text.
	{`requestParameters.limit == 7 && requestParameters.limit == 7.0 && requestParameters.limit != "7"`, decrypt, celHolds},
	{`requestParameters.encryptionContext.n == 7`, decrypt, celHoldsNot},
	{`requestParameters.encryptionContext.n < 8`, decrypt, celFails},
	{`int(requestParameters.encryptionContext.n) < 8`, decrypt, celHolds},
	{`requestParameters.limit / 2 == 3 && requestParameters.limit % 2 == 1 && -requestParameters.limit < 0`, decrypt, celHolds},
	{`requestParameters.half < 1 && requestParameters.half * 2.0 == 1.0 && requestParameters.limit > 6.5`, decrypt, celHolds},
	{`requestParameters.half + 1 > 1`, decrypt, celFails},
	{`requestParameters.big > 9223372036854775807 && requestParameters.big > 1.0`, decrypt, celHolds},
	{`requestParameters.limit / 0 == 1`, decrypt, celFails},
	{`requestParameters.limit + 9223372036854775807 > 0`, decrypt, celFails},
	{`requestParameters.limit * 9223372036854775807 > 0`, decrypt, celFails},
	{`requestParameters.limit * -1317624576693539401 == -9223372036854775807`, decrypt, celHolds},
	{`dyn(4294967296) * -2147483648 < 0 && dyn(-4294967296) * -2147483647 > 0`, decrypt, celHolds},
	{`dyn(4294967296) * -2147483649 < 0`, decrypt, celFails},
	{`dyn(-4294967296) * -2147483648 > 0`, decrypt, celFails},
	{`dyn("x") < dyn(0.0) / dyn(0.0) || dyn(0.0) / dyn(0.0) == dyn(0.0) / dyn(0.0)`, decrypt, celHoldsNot},
	{`dyn(null) < dyn(0.0) / dyn(0.0)`, decrypt, celFails},
	{`-9223372036854775808 - requestParameters.limit < 0`, decrypt, celFails},
	{`double(requestParameters.limit) == 7.0 && string(requestParameters.limit) == "7" && string(0.5) == "0.5" && bool("true")`, decrypt, celHolds},
	{`1 < 2 ? eventName == "Decrypt" : false`, decrypt, celHolds},
	{`(eventName == "Decrypt" ? "a" + "b" : "c") == "ab" && [1] + [2] == [1, 2]`, decrypt, celHolds},
	{`errorCode + ": " + errorMessage == "AccessDenied: not authorized"`, decrypt, celHolds},

	// What is there.
	{`has(errorCode) && has(userIdentity.sessionContext) && has(requestParameters.encryptionContext.app)`, decrypt, celHolds},
	{`has(errorCode) || has(userIdentity.arn) || has(userIdentity.sessionContext.attributes.creationDate) || has(requestParameters.x)`, bare, celHoldsNot},
	{`has(requestParameters.encryptionContext.team)`, decrypt, celHoldsNot},
	{`has(requestParameters.nowhere.team)`, decrypt, celFails},
	{`has(requestParameters.limit.team)`, decrypt, celHoldsNot},
	{`has(requestParameters.nothing) && has(responseElements) && !has(responseElements.x)`, decrypt, celHolds},
	{`resources.exists(r, !has(r.type))`, decrypt, celHolds},
	{`resources.exists(eventName, has(eventName.ARN) && .eventName == "Decrypt")`, decrypt, celHolds},
	{`dyn(record).eventName == "Decrypt" && dyn(userIdentity).type == "AssumedRole"`, decrypt, celHolds},
	{`dyn(record).unknown == "Decrypt"`, decrypt, celFails},

	// An operand that decides absorbs errors.
	{`requestParameters.x == 1 || eventName == "Decrypt"`, decrypt, celHolds},
	{`requestParameters.x == 1 && eventName == "Encrypt"`, decrypt, celHoldsNot},
	{`requestParameters.limit || eventName == "Decrypt"`, decrypt, celHolds},
	{`requestParameters.limit`, decrypt, celFails},
	{`type(requestParameters.nothing) == null_type && type(eventTime) == google.protobuf.Timestamp && type(1) != type("")`, decrypt, celHolds},
	{`true`, bare, celHolds},
	{`size("0123456789012345678901234567890123456789012345678901234567890123456789") == 70`, bare, celHolds},
	{`principal.exists(class, class == "nobody")`, bare, celHoldsNot},
}

type celOutcome int

const (
	celHoldsNot celOutcome = iota
	celHolds
	celFails
)

func (o celOutcome) String() string { return [...]string{"false", "true", "failed"}[o] }

// outcomeOf evaluates c.
func outcomeOf(c *celExpr, v *record.View) celOutcome {
	r := &celRun{view: v, left: MaxCELSteps}
	switch x := c.root.eval(r); {
	case x.kind != celBool || r.left < 0:
		return celFails
	case x.num == 0:
		return celHoldsNot
	}
	return celHolds
}

func TestCEL(t *testing.T) {
	for _, tt := range celTests {
		c := compileTestCEL(t, tt.expression)
		v := celView(t, tt.record)
		if got := outcomeOf(c, v); got != tt.want {
			t.Errorf("%s\nis %v, want %v", tt.expression, got, tt.want)
		}
		if got := c.holds(v); got != (tt.want == celHolds) {
			t.Errorf("%s\nholds: %v, want %v", tt.expression, got, tt.want)
		}
	}
}

func TestCELErrors(t *testing.T) {
	for _, tt := range []struct{ expression, message string }{
		{`userIdentity.arm == "x"`, `column 14: the object userIdentity has no member arm; did you mean arn?`},
		{"true &&\n  userIdentity.sessionContext.sessionIssue.arn == \"x\"", `line 2, column 31: the object userIdentity.sessionContext has no member sessionIssue; did you mean sessionIssuer?`},
		{`eventname == "x"`, `column 1: a record has no member eventname; did you mean eventName?`},
		{`"ö" == eventname`, `column 8: a record has no member eventname; did you mean eventName?`},
		{`has(eventname)`, `column 4: the object record has no member eventname; did you mean eventName?`},
		{`resources.exists(r, r.Arn == "x")`, `column 23: the object resources has no member Arn; did you mean ARN?`},
		{`outcome == "failure"`, `column 9: outcome is a list; write "failure" in outcome`},
		{`"arn:x" != key`, `column 9: key is a list; write !("arn:x" in key)`},
		{`eventName == 1`, `column 11: == does not take string and int`},
		{`1.5 * 2.0 == 3`, `column 11: == does not take double and int; write 1.0 or double(x) for both to be double`},
		{`eventName.contains(1)`, `column 19: contains does not take string and int`},
		{`eventTime > "2026"`, `column 11: > does not take timestamp and string; write timestamp("2026-01-31T00:00:00Z") for a time`},
		{`eventName == Decrypt`, `column 14: a record has no member Decrypt; put texts in quotes: "Decrypt"`},
		{`eventName == "Decrypt" and true`, `column 24: write && instead of and`},
		{`eventName == "Decrypt" OR true`, `column 24: write || instead of OR`},
		{`not (eventName == "Decrypt")`, `column 5: write ! instead of not`},
		{`eventName == "Decrypt`, `column 14: the quotes that begin here are not closed`},
		{`eventName == 'Decrypt`, `column 14: the quotes that begin here are not closed`},
		{`errorCode == null`, `column 11: errorCode is never null; write !has(errorCode)`},
		{`null != userIdentity.arn`, `column 6: userIdentity.arn is never null; write has(userIdentity.arn)`},
		{`eventName == "a" ? true : 1`, `column 18: ?: takes a bool and two values of one type, and not bool and bool and int`},
		{`1`, `column 1: the expression is an int, not a condition; compare it with something`},
		{`eventName.startWith("x")`, `column 20: there is no function startWith; did you mean startsWith?`},
		{`eventName`, `column 1: the expression is a string, not a condition; compare it with something`},
		{`eventName && true`, `column 1: expected type 'bool' but found 'string'`},
		{`eventName ==`, `column 13: did not expect the end of the expression`},
		{`eventName = "x"`, `column 11: write == to compare`},
		{`"failed" in outcome`, `column 1: "failed" is no value of outcome; use one of success, failure, denied`},
		{`class == "crypto"`, `column 10: "crypto" is no value of class; use one of cryptographic, management, read, internal`},
		{`eventName == "x" && 1u == 1u`, `column 21: records have neither bytes nor unsigned integers; write the value without b or u`},
		{`eventName.matches(userAgent)`, `column 19: the regular expression of matches must be written as it is, not computed`},
		{`eventName.matches("(")`, `column 19: the regular expression is faulty: missing closing ): "("`},
		{`eventTime.getHours(awsRegion) == 1`, `column 20: the time zone must be written as it is, not computed`},
		{`eventTime.getHours("Europe/Berlim") == 1`, `column 20: "Europe/Berlim" is no time zone; write one such as Europe/Berlin or +02:00`},
		{`eventTime > timestamp("2026")`, `column 23: "2026" is no time such as "2026-01-31T00:00:00Z"`},
		{`duration("1d") > duration("1h")`, `column 10: "1d" is no duration such as "90m"`},
		{`{eventName: 1} == {}`, `column 2: the keys of a map must be texts, integers or true and false, as they are`},
		{`{"a": 1, "a": 2} == {}`, `column 10: this key is there twice; leave out one`},
		{`key.exists(a, key.exists(b, key.exists(c, c == "x")))`, `column 39: macros such as exists are nested more than 2 deep`},
		{`has("x")`, `column 5: has takes a member, such as has(errorCode) or has(requestParameters.keyId)`},
		{`nosuch(1)`, `column 7: there is no function nosuch`},
		{`google.protobuf.Timestamp{seconds: 1} == eventTime`, `column 26: an expression can't make objects of its own`},
		{"a\xff", `column 2: the text is not UTF-8 here`},
		{strings.Repeat("(", 300) + "true" + strings.Repeat(")", 300), `column 1: the expression is nested more than 100 deep; write it flatter`},
		{strings.Repeat("[]==[]||", 134) + "true", `has more than 400 operators and calls; compare with a list, or use several conditions`},
		{strings.Repeat("x", MaxCELBytes+1), `has 4097 bytes; use at most 4096`},
		{``, `column 1: did not expect the end of the expression`},
	} {
		_, err := compileCEL(tt.expression)
		if err == nil {
			t.Errorf("%s\ncompiles", tt.expression)
			continue
		}
		e, ok := err.(*Error)
		if !ok || e.Text != tt.expression || e.Offset > len(tt.expression) {
			t.Errorf("%s\n%#v", tt.expression, err)
		} else if e.Message != tt.message {
			t.Errorf("%.100s\n%s\nwant\n%s", tt.expression, e.Message, tt.message)
		}
	}
}

func TestCELInFilters(t *testing.T) {
	where := strings.Repeat("cel(\"true\") or ", MaxCEL)
	if _, err := Compile(&keytrailv1.Filter{Where: where + "event = x"}); err != nil {
		t.Error(err)
	}
	_, err := Compile(&keytrailv1.Filter{Where: where + "cel(\"true\")"})
	if want := "filter: holds more than 8 CEL expressions; join some of them with && or ||"; err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	_, err = Compile(&keytrailv1.Filter{Cel: "\n eventname"})
	if want := "filter.cel: line 2, column 2: a record has no member eventname; did you mean eventName?"; err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
}
