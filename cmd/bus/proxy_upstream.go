package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

const (
	// connectTimeout is how long a connection to the KMS may take to open, and
	// then its TLS.
	connectTimeout = 10 * time.Second

	// resolveTimeout is how long a DescribeKey of --resolve may take.
	resolveTimeout = 10 * time.Second
)

// parseUpstream reads the URL of --upstream.
func parseUpstream(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	var problem string
	switch {
	case err != nil:
		problem = "it is no URL"
	case u.Scheme != "http" && u.Scheme != "https":
		problem = "it does not begin with http:// or https://"
	case u.Hostname() == "":
		problem = "it names no host"
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		problem = "it has more than a host and a path"
	default:
		return u, nil
	}
	return nil, fmt.Errorf("--upstream: %s: give the endpoint of the KMS, such as https://kms.eu-central-1.amazonaws.com", problem)
}

// newTransport makes the connections to the KMS. It follows HTTPS_PROXY and its
// like, as the SDKs of the KMS do. HTTP/1.1 only: HTTP/2 has no place for some
// headers that may be signed.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSHandshakeTimeout:   connectTimeout,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true, // it would add Accept-Encoding
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       30 * time.Second,
	}
}

// newUpstream passes requests on to the KMS, as they are.
func newUpstream(to *url.URL, transport http.RoundTripper, logger *slog.Logger) http.Handler {
	return &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host
			r.Out.URL.RawQuery = r.In.URL.RawQuery
			r.Out.Header = passedOn(r.In)
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			logger.WarnContext(r.Context(), "the KMS did not answer", "upstream", to.String(), "error", whyNoAnswer(err))
			w.Header().Set("Content-Type", "application/x-amz-json-1.1")
			w.WriteHeader(http.StatusBadGateway)
			io.WriteString(w, `{"__type":"ServiceUnavailable","message":"The KMS did not answer."}`) // a client that went away is no fault
		},
		ErrorLog: slog.NewLogLogger(fixedMessage{logger.Handler(), "the KMS broke off its answer"}, slog.LevelWarn),
	}
}

// passedOn are the headers of r for the KMS: all but those that are about this
// connection. Of those too, what is signed, or the signature would be wrong.
//
// ReverseProxy itself would drop X-Forwarded-For and its like, and whatever
// Connection names: a client could have an X-Amz-Target dropped that way, and
// the call would be another than the one recorded.
func passedOn(r *http.Request) http.Header {
	out := r.Header.Clone()
	signed := signedHeaders(r)
	for _, name := range []string{
		"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade",
	} {
		if !slices.Contains(signed, strings.ToLower(name)) || name == "Connection" && !plainConnection(r.Header) {
			out.Del(name)
		}
	}
	return out
}

// plainConnection says whether Connection is only about keeping it.
func plainConnection(h http.Header) bool {
	for _, v := range h.Values("Connection") {
		for option := range strings.SplitSeq(v, ",") {
			if o := strings.ToLower(strings.TrimSpace(option)); o != "close" && o != "keep-alive" {
				return false
			}
		}
	}
	return true
}

// signedHeaders are the names that the signature of r says it covers.
func signedHeaders(r *http.Request) []string {
	_, list, _ := strings.Cut(r.Header.Get("Authorization"), "SignedHeaders=")
	list, _, _ = strings.Cut(list, ",")
	names := strings.Split(strings.TrimSpace(list), ";")
	return append(names, strings.Split(r.URL.Query().Get("X-Amz-SignedHeaders"), ";")...)
}

// whyNoAnswer is err without anything that the KMS may have said: errors of
// net/http repeat what they cannot read.
func whyNoAnswer(err error) string {
	var op *net.OpError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "it took too long"
	case errors.Is(err, context.Canceled):
		return "the client has gone"
	case errors.As(err, &certificate):
		return certificate.Error()
	case errors.As(err, &op) && op.Op != "remote error": // that is what the other side says
		return op.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "it closed the connection"
	}
	return fmt.Sprintf("no HTTP answer (%T)", err)
}

// fixedMessage is a log handler that says one thing only.
type fixedMessage struct {
	slog.Handler
	message string
}

func (h fixedMessage) Handle(ctx context.Context, r slog.Record) error {
	r.Message = h.message
	return h.Handler.Handle(ctx, r)
}

// newResolver returns a function for kmshttp's Config.Resolve that asks the KMS
// itself, each time, with the credentials of the environment.
func newResolver(to *url.URL, transport http.RoundTripper, region string) (func(context.Context, string, string) (string, error), error) {
	id, secret := os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
	if id == "" || secret == "" {
		return nil, errors.New("--resolve needs credentials that may call DescribeKey: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_SESSION_TOKEN if they are temporary")
	}
	client := kms.New(kms.Options{
		BaseEndpoint: aws.String(to.String()),
		Credentials:  credentials.NewStaticCredentialsProvider(id, secret, os.Getenv("AWS_SESSION_TOKEN")),
		Retryer:      aws.NopRetryer{}, // a call waits for it
		HTTPClient: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	})
	return func(ctx context.Context, in, keyID string) (string, error) {
		if in == "" {
			in = region
		}
		if in == "" {
			return "", errors.New("no Region is known to look for a key in")
		}
		ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
		defer cancel()
		out, err := client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &keyID}, func(o *kms.Options) { o.Region = in })
		if err != nil {
			return "", err
		}
		if out.KeyMetadata == nil {
			return "", errors.New("DescribeKey answered without a key")
		}
		return aws.ToString(out.KeyMetadata.Arn), nil
	}, nil
}
