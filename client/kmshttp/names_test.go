package kmshttp

import "testing"

func TestReadParameters(t *testing.T) {
	for body, want := range map[string]bool{
		`{"KeyId":"a","Unknown":{"x":1}}`:                               true,
		`{"EncryptionContext":{"app":"a","App":"b"}}`:                   true,
		`{"Constraints":{"EncryptionContextEquals":{"keyid":"a"}}}`:     true,
		`{"SourceEncryptionContext":{"a":"b","A":"c"}}`:                 true,
		`{"Tags":[{"TagKey":"a"},{"TagKey":"b"}],"KeyId":"c"}`:          true,
		`{"KeyId":"a","keyid":"b"}`:                                     false,
		"{\"KeyId\":\"a\",\"\u212aeyId\":\"b\"}":                        false, // the Kelvin sign
		`{"keyId":"b"}`:                                                 false,
		`{"DryRun":false,"dryRun":true}`:                                false,
		`{"Tags":[{"TagKey":"a","tagkey":"b"}]}`:                        false,
		`{"Tags":[{"tagKey":"a"}]}`:                                     false,
		`{"Constraints":{"encryptionContextEquals":{"a":"b"}}}`:         false,
		"{\"Con\u017ftraints\":{}}":                                     false, // the long s
		`{"Unknown":{"x":1,"X":2}}`:                                     false,
		`{"EncryptionContext":{"a":"b"},"encryptioncontext":{"a":"c"}}`: false,
		`{"KeyId":"a","\u006beyId":"b"}`:                                false,
	} {
		if _, ok := readParameters([]byte(body)); ok != want {
			t.Errorf("%s: read %v, want %v", body, ok, want)
		}
	}
}
