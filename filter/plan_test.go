package filter

import "testing"

var indexedTests = []struct{ filter, want string }{
	{"true", "tried for every record"},
	{"false", "never tried: it matches no operation"},
	{"event = Encrypt and event = Decrypt", "never tried: it matches no operation"},
	{"outcome = failure", "tried for every record"},
	{"outcome = failure and class = management", "tried for every record of 27 operations"},
	{"event != Decrypt", "tried for every record of every operation but Decrypt"},
	{"not event in (Decrypt, Sign) and outcome = success", "tried for every record of every operation but Decrypt and Sign"},
	{`event matches "^Disable"`, "tried for every record of DisableKey, DisableKeyRotation and unknown ones"},
	{"event in (Decrypt, Encrypt)", "by event in (Decrypt, Encrypt)"},
	{"event = Disable*", "by event = Disable*, for DisableKey, DisableKeyRotation and unknown ones"},
	{"event = Decrypt and key = alias/payroll", "by key = alias/payroll, for Decrypt"},
	{"event in (Decrypt, Sign) and region = us-west-2", "by event in (Decrypt, Sign)"},
	{"errorCode = AccessDenied and sourceIP = 192.0.2.7 and region = us-west-2", "by sourceIP = 192.0.2.7"},
	{"key ~ arn:aws:kms:us-west-2:210987654321:key/5a1b* and event = Decrypt", `by key ~ "arn:aws:kms:us-west-2:210987654321:key/5a1b*", for Decrypt`},
	{"key ~ arn:* and requestParameters.keySpec = AES_256", "by requestParameters.keySpec = AES_256"},
	{"key = alias/a and event = Sign or principal = b and event = Verify", "by key = alias/a or principal = b, for Sign and Verify"},
	{"key = alias/a or event *= x", "tried for every record"},
	{"nocase(key) = alias/a", "tried for every record"},
	{"not key = alias/a", "tried for every record"},
	{"resources[] (type = x and ARN = y)", "by resources[] (type = x and ARN = y)"},
	{`cel("eventName == 'Decrypt' && size(errorCode) > 3")`, "by event = Decrypt, for Decrypt"},
}

func TestIndexed(t *testing.T) {
	for _, tt := range indexedTests {
		if got := compileText(t, tt.filter).Indexed(); got != tt.want {
			t.Errorf("Indexed of %s = %q, want %q", tt.filter, got, tt.want)
		}
	}
}

// TestDifferentFilters: filters that differ in one thing are not taken for equal,
// nor are places for one.
func TestDifferentFilters(t *testing.T) {
	filters := make(map[fingerprint]string)
	for _, text := range []string{
		"true", "false", "event = Sign", "event ^= Sign", "event $= Sign", "nocase(event) = Sign", "string(event) = Sign", "number(event) = 1", "event = 1",
		"not event = Sign", "event in (Sign, Verify)", "event = SignVerify", "exists event", "event is null", "account = Sign",
		"userIdentity.arn = x", "accountOf(userIdentity.arn) = x", `["userIdentity.arn"] = x`, "principal = x", "key = x",
		"json(requestParameters).a = x", "requestParameters[].a = x", "requestParameters.a = x", "requestParameters.a[] = x",
		"event = a and (account = b or region = c)", "event = a and account = b and region = c", "event = a or account = b or region = c",
		"event = a and (account = b or region = c) and eventSource = d", "event = a and (account = b or region = c or eventSource = d)",
		"resources[] (ARN = x and type = y)", "resources[] (ARN = x) and resources[] (type = y)", "resources[] (ARN = x or type = y)",
		`cel("eventName == 'Sign'")`, `cel("eventName == 'sign'")`,
	} {
		f := compileText(t, text)
		print := f.root.fingerprint()
		if other := filters[print]; other != "" {
			t.Errorf("%s is taken for %s", text, other)
		}
		filters[print] = text
		if again := compileText(t, f.root.text()); again.root.fingerprint() != print {
			t.Errorf("%s is not taken for itself", text)
		}
	}
	places := make(map[string]string)
	for _, text := range []string{
		"userIdentity.arn = x", "accountOf(userIdentity.arn) = x", `["userIdentity"]["arn[]"] = x`, "userIdentity.arn[] = x", "json(userIdentity.arn) = x",
		"key = x", `key = "arn:x"`, "principal = x", "accountOf(principal) = x", `["a"]["b"] = x`, `["a1:b"] = x`, `["a"][] = x`,
	} {
		key := newPlan(compileText(t, text).root).alternatives[0].anchors[0].from.key()
		if other := places[key]; other != "" {
			t.Errorf("the place of %s is taken for that of %s", text, other)
		}
		places[key] = text
	}
}
