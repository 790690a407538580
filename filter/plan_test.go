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
