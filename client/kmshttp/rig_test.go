package kmshttp_test

import (
	"bytes"
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"go.uber.org/goleak"

	"github.com/keytrail/keytrail/client/kmshttp"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	aliceKey, aliceSecret = "AKIAALICEEXAMPLE", "alice-secret-access-key" // verified here
	bobKey, bobSecret     = "AKIABOBEXAMPLE", "bob-secret-access-key"     // the KMS' word counts
)

func identities(_ context.Context, id string) (kmshttp.Identity, bool) {
	switch id {
	case aliceKey:
		return kmshttp.Identity{User: user("alice"), Secret: aliceSecret}, true
	case bobKey:
		return kmshttp.Identity{User: user("bob")}, true
	default:
		return kmshttp.Identity{}, false
	}
}

func user(name string) *keytrailv1.UserIdentity {
	return &keytrailv1.UserIdentity{
		Type:      new("IAMUser"),
		Arn:       new("arn:aws:iam::" + account + ":user/" + name),
		AccountId: new(account),
		UserName:  new(name),
	}
}

// sink keeps calls, or fails.
type sink struct {
	mu    sync.Mutex
	calls []*keytrailv1.Call
	err   error
	fn    func()
}

func (s *sink) Record(_ context.Context, c *keytrailv1.Call) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fn != nil {
		s.fn()
	}
	if s.err != nil {
		return s.err
	}
	s.calls = append(s.calls, c)
	return nil
}

func (s *sink) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls)
}

// only is the one call that was recorded since the last only.
func (s *sink) only(t *testing.T) *keytrailv1.Call {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.calls) != 1 {
		t.Fatalf("%d calls recorded, want 1", len(s.calls))
	}
	c := s.calls[0]
	s.calls = nil
	return c
}

// logs is a buffer that a logger and a test may use at once.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// rig is a handler before a KMS, on a server.
type rig struct {
	kms    *testKMS
	sink   *sink
	logs   *logs
	server *httptest.Server
}

// newRig starts a rig. next replaces the KMS, if it is set.
func newRig(t *testing.T, cfg kmshttp.Config, next http.Handler) *rig {
	t.Helper()
	r := &rig{kms: newKMS(t), sink: new(sink), logs: new(logs)}
	if cfg.Sink == nil {
		cfg.Sink = r.sink
	}
	if cfg.Identities == nil {
		cfg.Identities = identities
	}
	cfg.Region = cmp.Or(cfg.Region, region) // for requests that are not signed
	cfg.Logger = slog.New(slog.NewTextHandler(r.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if next == nil {
		next = r.kms
	}
	h, err := kmshttp.New(cfg, next)
	if err != nil {
		t.Fatal(err)
	}
	r.server = httptest.NewUnstartedServer(h)
	r.server.EnableHTTP2 = true
	r.server.Config.ErrorLog = slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelError)
	r.server.StartTLS()
	t.Cleanup(r.server.Close)
	return r
}

// client is the SDK's, with these keys. It does not try again.
func (r *rig) client(id, secret string, opts ...func(*kms.Options)) *kms.Client {
	return kms.New(kms.Options{
		Region:           region,
		BaseEndpoint:     aws.String(r.server.URL),
		Credentials:      credentials.NewStaticCredentialsProvider(id, secret, ""),
		HTTPClient:       r.server.Client(),
		RetryMaxAttempts: 1,
	}, opts...)
}

func (r *rig) alice() *kms.Client { return r.client(aliceKey, aliceSecret) }

// key makes a key, past the handler.
func (r *rig) key() string {
	r.kms.mu.Lock()
	defer r.kms.mu.Unlock()
	return r.kms.create()["KeyMetadata"].(map[string]any)["Arn"].(string)
}

// send posts body as a call, unsigned, with more headers in pairs.
func (r *rig) send(t *testing.T, operation, body string, header ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.server.URL, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	if operation != "" {
		req.Header.Set("X-Amz-Target", "TrentService."+operation)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, err := r.server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}
