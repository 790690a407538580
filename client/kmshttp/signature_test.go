package kmshttp

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const (
	testKeyID  = "ASIATESTEXAMPLE"
	testSecret = "test-secret"
	testBody   = `{"KeyId":"alias/app"}`
)

var testTime = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func unsigned() *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://kms.example/", strings.NewReader(testBody))
	r.Header.Set("X-Amz-Target", "TrentService.Encrypt")
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Custom", "a   b")
	r.Header.Set("User-Agent", "tests")
	return r
}

func payloadHash(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}

// sign signs r as the SDK does.
func sign(t *testing.T, r *http.Request, token, service string) *http.Request {
	t.Helper()
	keys := aws.Credentials{AccessKeyID: testKeyID, SecretAccessKey: testSecret, SessionToken: token}
	if err := v4.NewSigner().SignHTTP(t.Context(), keys, r, payloadHash(testBody), service, "eu-west-1", testTime); err != nil {
		t.Fatal(err)
	}
	return r
}

// presign returns r with its signature in the query.
func presign(t *testing.T, r *http.Request) *http.Request {
	t.Helper()
	q := r.URL.Query()
	q.Set("X-Amz-Expires", "900")
	r.URL.RawQuery = q.Encode()
	keys := aws.Credentials{AccessKeyID: testKeyID, SecretAccessKey: testSecret, SessionToken: "to/ken="}
	uri, header, err := v4.NewSigner().PresignHTTP(t.Context(), keys, r, payloadHash(testBody), "kms", "eu-west-1", testTime)
	if err != nil {
		t.Fatal(err)
	}
	p := httptest.NewRequest(http.MethodPost, uri, strings.NewReader(testBody))
	p.Header = header
	return p
}

// signAnything signs the named headers of r with a signer of its own, as an SDK
// does that signs others than Go's.
func signAnything(r *http.Request, names ...string) *http.Request {
	r.Header.Set("X-Amz-Date", testTime.Format(timeFormat))
	slices.Sort(names)
	var canonical strings.Builder
	canonical.WriteString("POST\n/\n\n")
	for _, n := range names {
		value := strings.Join(strings.Fields(strings.Join(r.Header.Values(n), ",")), " ")
		if n == "host" {
			value = r.Host
		}
		canonical.WriteString(n + ":" + value + "\n")
	}
	signed := strings.Join(names, ";")
	canonical.WriteString("\n" + signed + "\n" + payloadHash(testBody))
	scope := testTime.Format("20060102") + "/eu-west-1/kms/aws4_request"
	text := algorithm + "\n" + testTime.Format(timeFormat) + "\n" + scope + "\n" + payloadHash(canonical.String())
	key := []byte("AWS4" + testSecret)
	for _, part := range append(strings.Split(scope, "/"), text) {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(part))
		key = h.Sum(nil)
	}
	r.Header.Set("Authorization", algorithm+" Credential="+testKeyID+"/"+scope+",SignedHeaders="+signed+",Signature="+hex.EncodeToString(key))
	return r
}

func TestVerify(t *testing.T) {
	header := func(change func(*http.Request)) func(*testing.T) *http.Request {
		return func(t *testing.T) *http.Request {
			r := sign(t, unsigned(), "", "kms")
			change(r)
			return r
		}
	}
	query := func(change func(*http.Request)) func(*testing.T) *http.Request {
		return func(t *testing.T) *http.Request {
			r := presign(t, unsigned())
			change(r)
			return r
		}
	}
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	same := func(*http.Request) {}
	for _, tt := range []struct {
		name string
		make func(*testing.T) *http.Request
		body string // "": the one that was signed
		at   time.Duration
		want bool
	}{
		{"header", header(same), "", 0, true},
		{"with a session token", func(t *testing.T) *http.Request { return sign(t, unsigned(), "to/ken=", "kms") }, "", 0, true},
		{"more headers than were signed", header(set("X-Forwarded-For", "192.0.2.1")), "", 0, true},
		{"white space in a header", header(set("X-Custom", "a b")), "", 0, true},
		{"another body", header(same), `{"KeyId":"alias/App"}`, 0, false},
		{"another operation", header(set("X-Amz-Target", "TrentService.Decrypt")), "", 0, false},
		{"another header", header(set("X-Custom", "c")), "", 0, false},
		{"a header less", header(func(r *http.Request) { r.Header.Del("X-Custom") }), "", 0, false},
		{"another host", header(func(r *http.Request) { r.Host = "kms.other" }), "", 0, false},
		{"another path", header(func(r *http.Request) { r.URL.Path = "/x" }), "", 0, false},
		{"another query", header(func(r *http.Request) { r.URL.RawQuery = "X-Amz-Foo=1" }), "", 0, false},
		{"another method", header(func(r *http.Request) { r.Method = http.MethodPut }), "", 0, false},
		{"another date", header(set("X-Amz-Date", testTime.Add(time.Second).Format(timeFormat))), "", 0, false},
		{"a token that was not signed", header(set("X-Amz-Security-Token", "x")), "", 0, false},
		{"five minutes old", header(same), "", 5 * time.Minute, true},
		{"older", header(same), "", 5*time.Minute + time.Second, false},
		{"from the future", header(same), "", -5*time.Minute - time.Second, false},
		{"for another service", func(t *testing.T) *http.Request { return sign(t, unsigned(), "", "sts") }, "", 0, false},
		{"User-Agent is signed", func(*testing.T) *http.Request {
			return signAnything(unsigned(), "host", "user-agent", "x-amz-date", "x-amz-target")
		}, "", 0, true},
		{"User-Agent is signed and changed", func(*testing.T) *http.Request {
			r := signAnything(unsigned(), "host", "user-agent", "x-amz-date", "x-amz-target")
			r.Header.Set("User-Agent", "other")
			return r
		}, "", 0, false},
		{"the operation is not signed", func(*testing.T) *http.Request {
			return signAnything(unsigned(), "host", "x-amz-date")
		}, "", 0, false},
		{"the date is not signed", func(*testing.T) *http.Request {
			return signAnything(unsigned(), "host", "x-amz-target")
		}, "", 0, false},
		{"the host is not signed", func(*testing.T) *http.Request {
			return signAnything(unsigned(), "x-amz-date", "x-amz-target")
		}, "", 0, false},

		{"presigned", query(same), "", 0, true},
		{"presigned, just valid", query(same), "", 15 * time.Minute, true},
		{"presigned, expired", query(same), "", 15*time.Minute + time.Second, false},
		{"presigned, another body", query(same), "{}", 0, false},
		{"presigned, another operation", query(func(r *http.Request) {
			r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "TrentService.Encrypt", "TrentService.Decrypt", 1)
		}), "", 0, false},
		{"presigned, longer", query(func(r *http.Request) {
			r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "Expires=900", "Expires=90000", 1)
		}), "", 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := tt.make(t)
			body := tt.body
			if body == "" {
				body = testBody
			}
			c, ok := claimOf(r)
			if !ok || c.accessKey != testKeyID || c.region != "eu-west-1" {
				t.Fatalf("claim %+v, %v", c, ok)
			}
			before := r.Clone(context.Background())
			now := testTime.Add(tt.at)
			if got := c.verify(t.Context(), r, []byte(body), testSecret, now); got != tt.want {
				t.Errorf("verify = %v, want %v", got, tt.want)
			}
			if c.verify(t.Context(), r, []byte(body), "a guess", now) {
				t.Error("verified with another secret")
			}
			if r.URL.String() != before.URL.String() || len(r.Header) != len(before.Header) {
				t.Error("verify changed the request")
			}
		})
	}
}

// TestSignaturePrefix: no part of a signature will do.
func TestSignaturePrefix(t *testing.T) {
	c, ok := claimOf(sign(t, unsigned(), "", "kms"))
	if !ok {
		t.Fatal("no claim")
	}
	whole := c.signature
	for n := range len(whole) {
		c.signature = whole[:n]
		if c.verify(t.Context(), sign(t, unsigned(), "", "kms"), []byte(testBody), testSecret, testTime) {
			t.Errorf("verified with %d characters", n)
		}
	}
}

func TestNoClaim(t *testing.T) {
	good := sign(t, unsigned(), "", "kms").Header.Get("Authorization")
	for name, change := range map[string]func(*http.Request){
		"none":             func(r *http.Request) { r.Header.Del("Authorization") },
		"two":              func(r *http.Request) { r.Header.Add("Authorization", good) },
		"header and query": func(r *http.Request) { r.URL.RawQuery = "X-Amz-Algorithm=AWS4-HMAC-SHA256" },
		"another scheme":   func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") },
		"no date":          func(r *http.Request) { r.Header.Del("X-Amz-Date") },
		"two dates":        func(r *http.Request) { r.Header.Add("X-Amz-Date", "x") },
		"a part twice":     func(r *http.Request) { r.Header.Set("Authorization", good+", Signature=1") },
		"an odd Region": func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(good, "eu-west-1", "eu west", 1))
		},
		"an odd key": func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(good, testKeyID, "\xff", 1))
		},
		"another's credential before": func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(good, " Credential=", " XCredential=AKIABOB/20261124/eu-west-1/kms/aws4_request, Credential=", 1))
		},
		"another's credential within the signature": func(r *http.Request) {
			r.Header.Set("Authorization", good+" Credential=AKIABOB/20261124/eu-west-1/kms/aws4_request")
		},
		"another's credential within the date": func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(good, "/20261124/", "/Credential=AKIABOB/", 1))
		},
		"another's credential within the headers": func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(good, "SignedHeaders=", "SignedHeaders=Credential=AKIABOB;", 1))
		},
		"another's credential within the service": func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(good, "/kms/", "/Credential=AKIABOB/", 1))
		},
		"no signature": func(r *http.Request) { r.Header.Set("Authorization", good[:strings.Index(good, "Signature=")]) },
	} {
		t.Run(name, func(t *testing.T) {
			r := sign(t, unsigned(), "", "kms")
			change(r)
			if c, ok := claimOf(r); ok {
				t.Errorf("claim %+v", c)
			}
		})
	}
}

// TestSigV4A: its key is known, and cannot be verified here.
func TestSigV4A(t *testing.T) {
	r := unsigned()
	r.Header.Set("X-Amz-Date", testTime.Format(timeFormat))
	r.Header.Set("Authorization", algorithmA+" Credential="+testKeyID+"/20261124/kms/aws4_request, SignedHeaders=host;x-amz-date;x-amz-target, Signature=30")
	c, ok := claimOf(r)
	if !ok || c.accessKey != testKeyID || c.region != "" {
		t.Fatalf("claim %+v, %v", c, ok)
	}
	if c.verify(t.Context(), r, []byte(testBody), testSecret, testTime) {
		t.Error("verified")
	}
}

// FuzzClaim: whatever a signature looks like, reading and verifying it neither
// panics nor succeeds without the secret.
func FuzzClaim(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=A/20261124/eu-west-1/kms/aws4_request, SignedHeaders=host;x-amz-date;x-amz-target, Signature=00", "20261124T120000Z", "")
	f.Add("", "", "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A%2F20261124%2Fr%2Fkms%2Faws4_request&X-Amz-Date=20261124T120000Z&X-Amz-Expires=9&X-Amz-SignedHeaders=host&X-Amz-Signature=0")
	f.Fuzz(func(t *testing.T, authorization, date, query string) {
		r := unsigned()
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		r.Header.Set("X-Amz-Date", date)
		r.URL.RawQuery = query
		if c, ok := claimOf(r); ok && c.verify(t.Context(), r, []byte(testBody), testSecret, testTime) {
			t.Error("verified")
		}
	})
}
