package record_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"github.com/keytrail/keytrail/internal/needs"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// samples are JSON objects that a record must hold without loss, real habits
// of CloudTrail and odd ones. They are the seeds of the fuzz tests as well.
var samples = []struct{ name, json string }{
	{"typical", typical},
	{"empty", `{}`},
	{"read only as a string", `{"eventID":"a","readOnly":"true","managementEvent":"false"}`},
	{"read only in other words", `{"readOnly":"TRUE","managementEvent":1}`},
	{"from the console, as a string", `{"sessionCredentialFromConsole":"true"}`},
	{"from the console, as a boolean", `{"sessionCredentialFromConsole":true}`},
	{"arn in lower case", `{"resources":[{"arn":"arn:aws:kms:us-west-2:111122223333:key/k","accountId":"1"},{"ARN":"arn:aws:kms:us-west-2:111122223333:key/l"}]}`},
	{"arn and ARN", `{"resources":[{"arn":"x","ARN":"y"},{"ARN":"y","arn":"x"},{"ARN":null,"arn":"x"},{"arn":null,"ARN":"x"}]}`},
	{"arn of other types", `{"resources":[{"arn":null},{"arn":5},{"ARN":{}},{"arn":"\ud800"}]}`},
	{"resources null", `{"resources":null}`},
	{"resources empty", `{"resources":[]}`},
	{"resources of an empty object", `{"resources":[{}]}`},
	{"resources not all objects", `{"resources":[{"ARN":"x"},null,5,"s",[]]}`},
	{"resources an object", `{"resources":{"ARN":"x"}}`},
	{"nulls at the top", nullsOf(topNames)},
	{"empty strings at the top", valuesOf(topNames, `""`)},
	{"numbers at the top", valuesOf(topNames, `0`)},
	{"objects at the top", valuesOf(topNames, `{}`)},
	{"arrays at the top", valuesOf(topNames, `[]`)},
	{"nulls below", fmt.Sprintf(`{"userIdentity":%s,"tlsDetails":%s,"addendum":%s,"resources":[%s]}`,
		nullsOf("type principalId arn accountId accessKeyId userName sessionContext invokedBy identityProvider credentialId onBehalfOf inScopeOf"),
		nullsOf("tlsVersion cipherSuite clientProvidedHostHeader keyExchange"),
		nullsOf("reason updatedFields originalRequestID originalEventID"),
		nullsOf("ARN accountId type"))},
	{"nulls in a session", fmt.Sprintf(`{"userIdentity":{"sessionContext":%s}}`,
		nullsOf("attributes sessionIssuer webIdFederationData sourceIdentity ec2RoleDelivery ec2IssuedInVpc assumedRoot"))},
	{"empty session", `{"userIdentity":{"sessionContext":{"attributes":{},"sessionIssuer":{},"webIdFederationData":{}}}}`},
	{"wrong types in a session", `{"userIdentity":{"sessionContext":{"attributes":{"creationDate":1,"mfaAuthenticated":false},"sessionIssuer":{"arn":[]},"sourceIdentity":{}}}}`},
	{"unknown members everywhere", `{"x":1,"userIdentity":{"x":{"y":[1,2]},"sessionContext":{"x":null,"attributes":{"x":""},"sessionIssuer":{"x":0}}},"resources":[{"x":1,"ARN":"a","y":2}],"tlsDetails":{"x":true},"addendum":{"x":false},"y":[]}`},
	{"Java dates", `{"eventTime":"Aug 10, 2022, 10:38:27 PM","responseElements":{"deletionDate":"Apr 12, 2021 18:58:30 PM"}}`},
	{"time with a fraction", `{"eventTime":"2024-01-15T08:22:11.000Z"}`},
	{"time with nanoseconds and more", `{"eventTime":"2024-01-15T08:22:11.1234567891Z"}`},
	{"time with an offset", `{"eventTime":"2024-01-15T08:22:11+02:00"}`},
	{"time in lower case", `{"eventTime":"2024-01-15t08:22:11z"}`},
	{"time that can't be", `{"eventTime":"2024-02-30T08:22:11Z"}`},
	{"time before all times", `{"eventTime":"0000-01-01T00:00:00Z"}`},
	{"time in escapes", `{"eventTime":"2024-01-15T08:22:11\u005a"}`},
	{"request ID that is no UUID", `{"requestID":"create-123456789012-758241111-1415220618"}`},
	{"numbers", `{"requestParameters":{"a":9007199254740993,"b":-0,"c":1e400,"d":1.50,"e":-0.0,"f":1E+2},"x":123456789012345678901234567890}`},
	{"lone surrogates", `{"userAgent":"a\ud800b","eventName":"\udc00","x":"\ud800","\ud801":1,"requestParameters":{"\udfff":"\ud800\ud800"},"userIdentity":{"userName":"\ud83d"}}`},
	{"surrogate pair", `{"userAgent":"\ud83d\ude00 😀"}`},
	{"replacement character", `{"userAgent":"\ufffd"}`},
	{"escapes", `{"userAgent":"\"\\\/\b\f\n\r\t\u0000\u003d<>&\u2028","requestParameters":{"marker":"\u003d\u003D"}}`},
	{"names in escapes", `{"event\u0049D":"a","userIdentit\u0079":{"\u0061rn":"x"},"\u0078":1}`},
	{"names that need escapes", `{"":1,"a\"b":2,"\\":3,"\n":4}`},
	{"names in another case", `{"eventid":"a","EventID":"b","eventID":"c"}`},
	{"members from other messages", `{"verbatim":{},"event_id":"x","ARN":"y","arn":1}`},
	{"a policy as text and as an object", `{"requestParameters":{"policy":"{\n  \"Version\" : \"2012-10-17\"\n}"},"responseElements":{"policy":{"Version":"2012-10-17"}}}`},
	{"free-form members of other types", `{"requestParameters":"x","responseElements":[],"additionalEventData":5,"eventContext":true}`},
	{"white space", " {\r\n\t\"eventID\" : \"a  b\" ,\n \"requestParameters\" : { \"k\" : [ 1 , \" x \\\" \" ] } , \"x\" : [ ] }\n"},
	{"big", `{"eventID":"a","requestParameters":{"p":"` + strings.Repeat("xyz ", 5000) + `"}}`},
}

const topNames = "eventVersion userIdentity eventTime eventSource eventName awsRegion sourceIPAddress userAgent errorCode errorMessage " +
	"requestParameters responseElements additionalEventData requestID eventID readOnly resources eventType apiVersion managementEvent " +
	"recipientAccountId serviceEventDetails sharedEventID vpcEndpointId vpcEndpointAccountId eventCategory addendum " +
	"sessionCredentialFromConsole edgeDeviceDetails tlsDetails eventContext"

// typical is a record of about 1 KiB as KMS writes most.
const typical = `{"eventVersion":"1.11","userIdentity":{"type":"AssumedRole","principalId":"AROAEXAMPLE:session","arn":"arn:aws:sts::111122223333:assumed-role/app/session","accountId":"111122223333","accessKeyId":"ASIAEXAMPLE","sessionContext":{"sessionIssuer":{"type":"Role","principalId":"AROAEXAMPLE","arn":"arn:aws:iam::111122223333:role/app","accountId":"111122223333","userName":"app"},"attributes":{"creationDate":"2026-10-01T10:00:00Z","mfaAuthenticated":"false"}}},"eventTime":"2026-10-01T10:20:30Z","eventSource":"kms.amazonaws.com","eventName":"Decrypt","awsRegion":"us-west-2","sourceIPAddress":"192.0.2.7","userAgent":"aws-sdk-go-v2/1.30","requestParameters":{"encryptionContext":{"tenant":"t-17"},"encryptionAlgorithm":"SYMMETRIC_DEFAULT"},"responseElements":null,"requestID":"0d2b7a4c-6a55-4b5e-9f0c-0a4c2f9f7b11","eventID":"5a1f3e52-7d0c-4b1e-8a44-3e1a2d5b6c70","readOnly":true,"resources":[{"accountId":"111122223333","type":"AWS::KMS::Key","ARN":"arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"}],"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"111122223333","eventCategory":"Management","tlsDetails":{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_256_GCM_SHA384","clientProvidedHostHeader":"kms.us-west-2.amazonaws.com"}}`

func nullsOf(names string) string { return valuesOf(names, "null") }

func valuesOf(names, value string) string {
	var b strings.Builder
	for i, name := range strings.Fields(names) {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q:%s", name, value)
	}
	return "{" + b.String() + "}"
}

// sameJSON is the oracle of losslessness: encoding/json reads both texts, and
// numbers count by their digits. Marks stand in for half surrogate pairs, which
// encoding/json would make U+FFFD.
func sameJSON(a, b []byte) bool {
	va, errA := anyJSON(a)
	vb, errB := anyJSON(b)
	return errA == nil && errB == nil && reflect.DeepEqual(va, vb)
}

func anyJSON(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(markSurrogates(text)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("text after the value")
	}
	return v, nil
}

// markSurrogates writes the escape \udXXX as U+FDD0 (no character) and dXXX if
// it stands alone.
func markSurrogates(text []byte) []byte {
	surrogate := func(i int, lead bool) bool {
		if i+6 > len(text) || text[i] != '\\' || text[i+1] != 'u' || text[i+2]|0x20 != 'd' {
			return false
		}
		c := text[i+3] | 0x20
		return c >= 'c' && c <= 'f' && !lead || (c == '8' || c == '9' || c == 'a' || c == 'b') && lead
	}
	var out []byte
	for i := 0; i < len(text); {
		switch {
		case text[i] != '\\' || i+1 == len(text):
			out = append(out, text[i])
			i++
		case surrogate(i, true) && surrogate(i+6, false):
			out = append(out, text[i:i+12]...)
			i += 12
		case surrogate(i, true), surrogate(i, false):
			out = append(out, "\ufdd0"...)
			out = append(out, bytes.ToLower(text[i+2:i+6])...)
			i += 6
		default:
			out = append(out, text[i:i+2]...)
			i += 2
		}
	}
	return out
}

// realRecord is a record from outside the project.
type realRecord struct {
	name string // file and line
	json []byte
}

func realRecords(t testing.TB) []realRecord {
	t.Helper()
	var records []realRecord
	err := filepath.WalkDir(needs.RealData(t, "."), func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch filepath.Ext(path) {
		case ".json":
			text, err := os.ReadFile(path)
			records = append(records, realRecord{filepath.Base(path), text})
			return err
		case ".jsonl":
			text, err := os.ReadFile(path)
			for i, line := range bytes.Split(bytes.TrimSpace(text), []byte("\n")) {
				var wrapped struct{ Record json.RawMessage }
				if json.Unmarshal(line, &wrapped) == nil && wrapped.Record != nil {
					line = wrapped.Record
				}
				records = append(records, realRecord{fmt.Sprintf("%s:%d", filepath.Base(path), i+1), line})
			}
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(records) < 3000 {
		t.Fatalf("found %d real records in %s, want 3000 or more", len(records), needs.RealData(t, "."))
	}
	return records
}
