package kmshttp

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	algorithmA = "AWS4-ECDSA-P256-SHA256" // SigV4A: its scope has no Region
	timeFormat = "20060102T150405Z"

	// maxSkew is how far the time of a signature may be from ours.
	maxSkew = 5 * time.Minute

	// maxExpires is how long a presigned request may be valid.
	maxExpires = 7 * 24 * time.Hour
)

// claim is who a request says it is from.
type claim struct {
	accessKey string
	region    string // "" for SigV4A

	algorithm string
	date      string // of the scope
	service   string
	headers   []string // those that are signed, sorted, in lower case
	signature string
	time      time.Time
	presigned bool
	expires   time.Duration // of a presigned request
}

// claimOf reads the SigV4 signature of r. There is none if any part of it is
// missing or malformed, or if there are two.
func claimOf(r *http.Request) (claim, bool) {
	query := r.URL.Query()
	header, inHeader := r.Header["Authorization"]
	_, inQuery := query["X-Amz-Algorithm"]
	if inHeader == inQuery || len(header) > 1 {
		return claim{}, false
	}
	if inQuery {
		return claimOfQuery(query)
	}
	alg, rest, _ := strings.Cut(header[0], " ")
	parts := make(map[string]string)
	for part := range strings.SplitSeq(rest, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if _, twice := parts[name]; !ok || twice || name != "Credential" && name != "SignedHeaders" && name != "Signature" {
			return claim{}, false
		}
		parts[name] = value
	}
	c := claim{algorithm: alg, signature: parts["Signature"]}
	return c, c.read(parts["Credential"], parts["SignedHeaders"], one(r.Header.Values("X-Amz-Date")))
}

func claimOfQuery(query url.Values) (claim, bool) {
	for _, values := range query {
		if len(values) != 1 {
			return claim{}, false
		}
	}
	c := claim{algorithm: query.Get("X-Amz-Algorithm"), signature: query.Get("X-Amz-Signature"), presigned: true}
	seconds, err := strconv.Atoi(query.Get("X-Amz-Expires"))
	if err != nil || seconds < 0 || seconds > int(maxExpires/time.Second) {
		return claim{}, false
	}
	c.expires = time.Duration(seconds) * time.Second
	return c, c.read(query.Get("X-Amz-Credential"), query.Get("X-Amz-SignedHeaders"), query.Get("X-Amz-Date"))
}

// one is the only value of a header, "" if there is not just one.
func one(values []string) string {
	if len(values) != 1 {
		return ""
	}
	return values[0]
}

// read fills c from the texts of a signature, and says whether they are well
// formed.
func (c *claim) read(credential, headers, date string) bool {
	scope := strings.Split(credential, "/")
	switch {
	case c.algorithm == algorithm && len(scope) == 5 && isRegion(scope[2]):
		c.region, c.service = scope[2], scope[3]
	case c.algorithm == algorithmA && len(scope) == 4:
		c.service = scope[2]
	default:
		return false
	}
	c.accessKey, c.date = scope[0], scope[1]
	var err error
	c.time, err = time.Parse(timeFormat, date)
	c.headers = strings.Split(headers, ";")
	for _, name := range c.headers {
		if !isName(strings.ReplaceAll(name, "-", "_")) {
			return false
		}
	}
	// Nothing in which a careless reader finds another "Credential=".
	return err == nil && isName(c.accessKey) && isName(c.date) && isName(c.service) && isName(c.signature) &&
		scope[len(scope)-1] == "aws4_request"
}

// verify says whether r, with this body, carries the signature that secret
// makes, and now is its time.
func (c *claim) verify(ctx context.Context, r *http.Request, body []byte, secret string, now time.Time) bool {
	if c.algorithm != algorithm || c.service != "kms" || c.date != c.time.Format("20060102") || !c.timely(now) || !c.covers(r) {
		return false
	}
	// A request that has just what was signed. The signer leaves out some
	// headers, such as User-Agent, which some clients sign: it knows them by
	// their usual spelling, so they are in lower case here.
	signed := &http.Request{Method: r.Method, URL: new(*r.URL), Host: r.Host, Header: make(http.Header)}
	for _, name := range c.headers {
		switch name {
		case "host", "x-amz-date":
		case "content-length":
			signed.ContentLength = r.ContentLength
		default:
			values, ok := r.Header[http.CanonicalHeaderKey(name)]
			if !ok {
				return false
			}
			signed.Header[name] = values
		}
	}
	hash := sha256.Sum256(body)
	payload := hex.EncodeToString(hash[:])
	keys := aws.Credentials{AccessKeyID: c.accessKey, SecretAccessKey: secret}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableHeaderHoisting = true })
	var headers, want string
	if c.presigned {
		query := signed.URL.Query()
		query.Del("X-Amz-Signature")
		signed.URL.RawQuery = query.Encode()
		uri, _, err := signer.PresignHTTP(ctx, keys, signed, payload, c.service, c.region, c.time)
		if err != nil {
			return false
		}
		u, err := url.Parse(uri)
		if err != nil {
			return false
		}
		headers, want = u.Query().Get("X-Amz-SignedHeaders"), u.Query().Get("X-Amz-Signature")
	} else {
		if err := signer.SignHTTP(ctx, keys, signed, payload, c.service, c.region, c.time); err != nil {
			return false
		}
		again, ok := claimOf(signed)
		if !ok {
			return false
		}
		headers, want = strings.Join(again.headers, ";"), again.signature
	}
	return headers == strings.Join(c.headers, ";") && subtle.ConstantTimeCompare([]byte(want), []byte(c.signature)) == 1
}

// timely says whether now is the time of the signature.
func (c *claim) timely(now time.Time) bool {
	if c.presigned {
		return !now.Before(c.time.Add(-maxSkew)) && !now.After(c.time.Add(c.expires))
	}
	return now.Sub(c.time).Abs() <= maxSkew
}

// covers says whether everything is signed that decides what the call is.
func (c *claim) covers(r *http.Request) bool {
	if !slices.Contains(c.headers, "host") {
		return false
	}
	for _, name := range []string{"X-Amz-Target", "X-Amz-Date", "X-Amz-Security-Token"} {
		if _, there := r.Header[name]; there && !slices.Contains(c.headers, strings.ToLower(name)) {
			return false
		}
	}
	return true
}
