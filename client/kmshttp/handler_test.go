package kmshttp_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/keytrail/keytrail/client/kmshttp"
	"github.com/keytrail/keytrail/client/spool"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

func prefix(t *testing.T, s string) netip.Prefix {
	t.Helper()
	p, err := netip.ParsePrefix(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestUnchanged: bytes, Host and headers reach the KMS and the client as they
// were sent, through a reverse proxy too.
func TestUnchanged(t *testing.T) {
	r := newRig(t, kmshttp.Config{}, nil)
	upstream := httptest.NewServer(r.kms)
	defer upstream.Close()
	target, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxied := newRig(t, kmshttp.Config{}, &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.Out.URL.Scheme, p.Out.URL.Host = target.Scheme, target.Host // Out.Host stays the client's
	}})
	proxied.kms = r.kms
	key := r.key()
	for _, r := range []*rig{r, proxied} {
		body := " {\"KeyId\" : \"" + key + "\",\n \"Unknown\": [1.0, 1e2, \"\\u003d\"]}\n"
		res := r.send(t, "DescribeKey", body, "X-Custom", "a  b", "X-Custom", "c", "Authorization", "Bearer of news")
		got := readAll(t, res.Body)
		seen := r.kms.last()
		if string(seen.request) != body || got != string(seen.got) {
			t.Errorf("the KMS read %q and the client %q", seen.request, got)
		}
		if seen.host != r.server.Listener.Addr().String() || strings.Join(seen.header["X-Custom"], "|") != "a  b|c" || seen.header.Get("Authorization") != "Bearer of news" {
			t.Errorf("host %q, header %v", seen.host, seen.header)
		}
		m := r.sink.only(t)
		if string(m.GetRequestParameters()) != body || string(m.GetResponse()) != got || m.GetRequestId() != res.Header.Get("x-amzn-RequestId") {
			t.Errorf("recorded %v", m)
		}
		if m.GetCaller().GetType() != "Unknown" || m.GetCaller().AccessKeyId != nil {
			t.Errorf("caller %v", m.GetCaller())
		}
	}
}

// TestRefused: what might be something else than it is recorded as does not
// reach the KMS.
func TestRefused(t *testing.T) {
	const target = "TrentService.ListKeys"
	for _, tt := range []struct {
		name, method, query, body string
		header                    []string
		status                    int
		code                      string
	}{
		{"no target", "POST", "", "{}", nil, 404, "UnknownOperationException"},
		{"another service", "POST", "", "{}", []string{"X-Amz-Target", "DynamoDB_20120810.Scan"}, 404, "UnknownOperationException"},
		{"no operation", "POST", "", "{}", []string{"X-Amz-Target", "TrentService."}, 400, "UnknownOperationException"},
		{"odd operation", "POST", "", "{}", []string{"X-Amz-Target", "TrentService.List Keys"}, 400, "UnknownOperationException"},
		{"a service within", "POST", "", "{}", []string{"X-Amz-Target", "TrentService.X.Decrypt"}, 400, "UnknownOperationException"},
		{"another path", "POST", "moto-api/reset", "{}", []string{"X-Amz-Target", target}, 404, "UnknownOperationException"},
		{"an escaped path", "POST", "%2e", "{}", []string{"X-Amz-Target", target}, 404, "UnknownOperationException"},
		{"a target for CGI", "POST", "", "{}", []string{"X-Amz-Target", target, "X_Amz_Target", "TrentService.Decrypt"}, 400, "ValidationException"},
		{"an action in the headers", "POST", "", "", []string{"X-Amz-Target", target, "Action", "Decrypt"}, 400, "ValidationException"},
		{"an action in the body", "POST", "", `{"&Action=Decrypt&":""}`, []string{"X-Amz-Target", target}, 400, "SerializationException"},
		{"an action in a value", "POST", "", `{"Marker":"&%41ction=Decrypt&"}`, []string{"X-Amz-Target", target}, 400, "SerializationException"},
		{"a form", "POST", "", "{}", []string{"X-Amz-Target", target, "Content-Type", "application/x-www-form-urlencoded"}, 415, "SerializationException"},
		{"another charset", "POST", "", "{}", []string{"X-Amz-Target", target, "Content-Type", "application/json; charset=utf-7"}, 415, "SerializationException"},
		{"two Content-Types", "POST", "", "{}", []string{"X-Amz-Target", target, "Content-Type", "application/json", "Content-Type", "application/json"}, 415, "SerializationException"},
		{"compressed, said late", "POST", "", "{}", []string{"X-Amz-Target", target, "Content-Encoding", "", "Content-Encoding", "gzip"}, 415, "SerializationException"},
		{"a query in another case", "POST", "?X-Amz-credential=A", "{}", []string{"X-Amz-Target", target}, 400, "ValidationException"},
		{"two targets", "POST", "", "{}", []string{"X-Amz-Target", target, "X-Amz-Target", "TrentService.Decrypt"}, 400, "ValidationException"},
		{"another target in the query", "POST", "?X-Amz-Target=TrentService.Decrypt", "{}", []string{"X-Amz-Target", target}, 400, "ValidationException"},
		{"an action in the query", "POST", "?Action=Decrypt", "{}", []string{"X-Amz-Target", target}, 400, "ValidationException"},
		{"a malformed query", "POST", "?a;Action=Decrypt", "{}", []string{"X-Amz-Target", target}, 400, "ValidationException"},
		{"GET", "GET", "", "", []string{"X-Amz-Target", target}, 405, "UnknownOperationException"},
		{"CBOR", "POST", "", "{}", []string{"X-Amz-Target", target, "Smithy-Protocol", "rpc-v2-cbor"}, 400, "UnknownOperationException"},
		{"compressed", "POST", "", "{}", []string{"X-Amz-Target", target, "Content-Encoding", "gzip"}, 415, "SerializationException"},
		{"no object", "POST", "", "[]", []string{"X-Amz-Target", target}, 400, "SerializationException"},
		{"null", "POST", "", "null", []string{"X-Amz-Target", target}, 400, "SerializationException"},
		{"no JSON", "POST", "", "{", []string{"X-Amz-Target", target}, 400, "SerializationException"},
		{"two objects", "POST", "", "{}{}", []string{"X-Amz-Target", target}, 400, "SerializationException"},
		{"a repeated name", "POST", "", `{"KeyId":"a","KeyId":"b"}`, []string{"X-Amz-Target", target}, 400, "SerializationException"},
		{"a repeated name within", "POST", "", `{"EncryptionContext":{"a":"b","a":"c"}}`, []string{"X-Amz-Target", target}, 400, "SerializationException"},
		{"no UTF-8", "POST", "", "{\"KeyId\":\"\xff\"}", []string{"X-Amz-Target", target}, 400, "SerializationException"},
		{"too large", "POST", "", `{"Plaintext":"` + strings.Repeat("A", 1<<20) + `"}`, []string{"X-Amz-Target", target}, 413, "RequestEntityTooLargeException"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, kmshttp.Config{}, nil)
			req, err := http.NewRequestWithContext(t.Context(), tt.method, r.server.URL+"/"+tt.query, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(tt.header); i += 2 {
				req.Header.Add(tt.header[i], tt.header[i+1])
			}
			res, err := r.server.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body := readAll(t, res.Body)
			if res.StatusCode != tt.status || !strings.Contains(body, `"__type":"`+tt.code+`"`) || res.Header.Get("X-Amzn-Errortype") != tt.code {
				t.Errorf("answer %d %s", res.StatusCode, body)
			}
			if r.kms.count() != 0 || r.sink.count() != 0 {
				t.Errorf("%d requests reached the KMS, %d calls recorded", r.kms.count(), r.sink.count())
			}
		})
	}
}

func TestPassOthers(t *testing.T) {
	r := newRig(t, kmshttp.Config{PassOthers: true}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "health")
	}))
	if got := readAll(t, r.send(t, "", "not JSON").Body); got != "health" {
		t.Errorf("answer %q", got)
	}
	if r.sink.count() != 0 {
		t.Error("recorded")
	}
}

// TestBadAnswers: whatever the KMS does, the call is recorded.
func TestBadAnswers(t *testing.T) {
	dead := httptest.NewServer(nil)
	dead.Close()
	target, err := url.Parse(dead.URL)
	if err != nil {
		t.Fatal(err)
	}
	down := httputil.NewSingleHostReverseProxy(target)
	down.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	io.WriteString(z, `{"KeyId":"arn:aws:kms:eu-west-1:111122223333:key/1"}`)
	z.Close()

	for _, tt := range []struct {
		name     string
		kms      http.HandlerFunc
		status   int // of the client's answer; 0: it gets none
		code     string
		response string
	}{
		{"away", down.ServeHTTP, 502, "ServiceUnavailable", ""},
		{"too large", func(w http.ResponseWriter, r *http.Request) {
			for range 100 {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}, 500, "", ""},
		{"broken off", func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"KeyId":`)
			panic(http.ErrAbortHandler)
		}, 0, "InternalFailure", ""},
		{"panic", func(w http.ResponseWriter, r *http.Request) { panic("at the KMS") }, 0, "InternalFailure", ""},
		{"no JSON", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<html>") }, 200, "", ""},
		{"null", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "null") }, 200, "", ""},
		{"no type", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(429) }, 429, "ThrottlingException", ""},
		{"teapot", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(418) }, 418, "UnknownError", ""},
		{"type in the header", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Amzn-Errortype", "DisabledException:http://internal.amazon.com/")
			w.WriteHeader(400)
		}, 400, "DisabledException", ""},
		{"compressed", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(zipped.Bytes())
		}, 200, "", `{"KeyId":"arn:aws:kms:eu-west-1:111122223333:key/1"}`},
		{"early hints", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(103)
			w.WriteHeader(500)
		}, 500, "InternalFailure", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, kmshttp.Config{}, tt.kms)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.server.URL, strings.NewReader(`{}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Amz-Target", "TrentService.Decrypt")
			res, err := r.server.Client().Do(req)
			switch {
			case tt.status == 0:
				if err == nil {
					t.Errorf("answer %d", res.StatusCode)
				}
			case err != nil:
				t.Fatal(err)
			case res.StatusCode != tt.status:
				t.Errorf("answer %d, want %d", res.StatusCode, tt.status)
			}
			if err == nil {
				res.Body.Close()
			}
			m := r.sink.only(t)
			if m.GetError().GetCode() != tt.code || string(m.GetResponse()) != tt.response || m.GetOperation() != "Decrypt" {
				t.Errorf("recorded %v", m)
			}
		})
	}
}

// TestRecordedFirst: nothing of an answer is written before its call is with
// the sink.
func TestRecordedFirst(t *testing.T) {
	k := newKMS(t)
	w := httptest.NewRecorder()
	s := &sink{fn: func() {
		if w.Body.Len() > 0 || len(w.Header()) > 0 || w.Flushed {
			t.Error("the answer was begun")
		}
	}}
	h, err := kmshttp.New(kmshttp.Config{Region: region, Sink: s}, k)
	if err != nil {
		t.Fatal(err)
	}
	req := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("{}"))
	req.Header.Set("X-Amz-Target", "TrentService.CreateKey")
	h.ServeHTTP(w, req)
	if w.Code != 200 || s.count() != 1 {
		t.Errorf("status %d, %d calls", w.Code, s.count())
	}
}

// TestClientGone: a call whose client does not wait is finished and recorded.
func TestClientGone(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
	s := new(sink)
	h, err := kmshttp.New(kmshttp.Config{Region: region, Sink: s}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leave()
		if err := r.Context().Err(); err != nil {
			t.Errorf("the KMS was told: %v", err)
		}
		io.WriteString(w, "{}")
	}))
	if err != nil {
		t.Fatal(err)
	}
	req := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", strings.NewReader("{}"))
	req.Header.Set("X-Amz-Target", "TrentService.CreateKey")
	h.ServeHTTP(httptest.NewRecorder(), req)
	if m := s.only(t); m.Error != nil {
		t.Errorf("recorded %v", m)
	}
}

// TestSinkFails: closed, the client learns nothing; open, it gets its answer;
// with a spool, the call is kept.
func TestSinkFails(t *testing.T) {
	const secret = "attack at dawn"
	encoded := base64.StdEncoding.EncodeToString([]byte(secret))
	away := errors.New("the bus is away")

	t.Run("closed", func(t *testing.T) {
		r := newRig(t, kmshttp.Config{}, nil)
		key := r.key()
		sealed, err := r.alice().Encrypt(t.Context(), &kms.EncryptInput{KeyId: &key, Plaintext: []byte(secret)})
		if err != nil {
			t.Fatal(err)
		}
		r.sink.err = away
		res := r.send(t, "Decrypt", `{"CiphertextBlob":"`+base64.StdEncoding.EncodeToString(sealed.CiphertextBlob)+`"}`)
		body := readAll(t, res.Body)
		if res.StatusCode != 503 || !strings.Contains(body, `"__type":"DependencyTimeoutException"`) || strings.Contains(body, encoded) {
			t.Errorf("answer %d %s", res.StatusCode, body)
		}
		if _, err := r.alice().Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob}); code(err) != "DependencyTimeoutException" {
			t.Errorf("the SDK says %v", err)
		}
		noSecrets(t, r, secret)
		if !strings.Contains(r.logs.String(), "the bus is away") {
			t.Error("the log does not say why")
		}
	})
	t.Run("open", func(t *testing.T) {
		r := newRig(t, kmshttp.Config{FailOpen: true}, nil)
		key := r.key()
		r.sink.err = away
		sealed, err := r.alice().Encrypt(t.Context(), &kms.EncryptInput{KeyId: &key, Plaintext: []byte(secret)})
		if err != nil {
			t.Fatal(err)
		}
		opened, err := r.alice().Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob})
		if err != nil || string(opened.Plaintext) != secret {
			t.Errorf("decrypted %v", err)
		}
		noSecrets(t, r, secret)
	})
	t.Run("spooled", func(t *testing.T) {
		s, err := spool.Open(t.TempDir(), spool.Config{Redact: func(c *keytrailv1.Call) *keytrailv1.Call {
			return &keytrailv1.Call{CallId: c.CallId, Operation: c.Operation}
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		back := make(chan struct{})
		got := make(chan string, 10)
		f, err := spool.NewFailOpen(spool.FailOpenConfig{
			Spool: s,
			Publish: func(ctx context.Context, c *keytrailv1.Call) (spool.Pending, error) {
				select {
				case <-back:
				default:
					return nil, away
				}
				got <- c.GetOperation()
				return stored{}, nil
			},
			Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r := newRig(t, kmshttp.Config{Sink: f}, nil)
		key := r.key()
		if _, err := r.alice().Encrypt(t.Context(), &kms.EncryptInput{KeyId: &key, Plaintext: []byte(secret)}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.alice().DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &key}); err != nil {
			t.Fatal(err)
		}
		if s.Len() != 2 {
			t.Errorf("%d calls spooled, want 2", s.Len())
		}
		close(back)
		if a, b := <-got, <-got; a != "Encrypt" || b != "DisableKey" {
			t.Errorf("delivered %s, %s", a, b)
		}
		noSecrets(t, r, secret)
	})
}

type stored struct{}

func (stored) Result(context.Context) (*keytrailv1.PublishResult, error) {
	return &keytrailv1.PublishResult{Status: keytrailv1.PublishStatus_PUBLISH_STATUS_SYNCED}, nil
}

// noSecrets holds the log to its promise.
func noSecrets(t *testing.T, r *rig, secret string) {
	t.Helper()
	log := r.logs.String()
	for _, s := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret)), aliceSecret, "CiphertextBlob", "Signature="} {
		if strings.Contains(log, s) {
			t.Errorf("the log holds %q:\n%s", s, log)
		}
	}
}

func TestConfig(t *testing.T) {
	_, err := kmshttp.New(kmshttp.Config{
		Region: "EU", Account: "1", MaxBody: -1, CallTimeout: -1, RecordTimeout: -1,
		TrustedProxies: []netip.Prefix{{}},
	}, nil)
	for _, want := range []string{"Sink", "Region", "Account", "MaxBody", "CallTimeout", "RecordTimeout", "TrustedProxies", "handler"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v, which does not name %s", err, want)
		}
	}
}
