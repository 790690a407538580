package main

import (
	"bufio"
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// rawKMS answers each connection with the same bytes, and keeps what it was
// sent.
func rawKMS(t *testing.T, answer string) (to *url.URL, sent <-chan string) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	requests, done := make(chan string, 10), make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := lis.Accept()
			if err != nil {
				return // closed
			}
			var got bytes.Buffer
			req, err := http.ReadRequest(bufio.NewReader(io.TeeReader(conn, &got)))
			if err == nil {
				io.Copy(io.Discard, req.Body)
			}
			select {
			case requests <- got.String():
			default: // a transport may try again
			}
			io.WriteString(conn, answer)
			conn.Close()
		}
	}()
	t.Cleanup(func() { lis.Close(); <-done })
	return &url.URL{Scheme: "http", Host: lis.Addr().String()}, requests
}

// TestUpstreamTalksNonsense: whatever the KMS says that is no answer, none of
// it gets into the log.
func TestUpstreamTalksNonsense(t *testing.T) {
	const secret = "hunter2"
	for _, answer := range []string{
		"",
		secret,
		"HTTP/1.1 " + secret + " OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\n" + secret + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: " + secret + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + secret + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + secret + "\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + secret,
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + secret + "\r\n\r\n",
	} {
		to, _ := rawKMS(t, answer)
		transport := newTransport()
		var logs bytes.Buffer
		handler := newUpstream(to, transport, slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug})))
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader("{}"))
		func() {
			defer func() {
				if p := recover(); p != nil && p != http.ErrAbortHandler {
					t.Errorf("%q: panic %v", answer, p)
				}
			}()
			handler.ServeHTTP(httptest.NewRecorder(), r)
		}()
		transport.CloseIdleConnections()
		if logs.Len() == 0 || strings.Contains(logs.String(), secret) {
			t.Errorf("%q: the log says %q", answer, logs.String())
		}
	}
}

// TestUpstreamGetsWhatWasSent: a request reaches the KMS as the client made it,
// and an answer that points elsewhere is not followed.
func TestUpstreamGetsWhatWasSent(t *testing.T) {
	to, sent := rawKMS(t, "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
	transport := newTransport()
	defer transport.CloseIdleConnections()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/?X-Amz-Date=a;b&X-Amz-x=%zz", strings.NewReader(`{"a":1}`))
	r.Host = "kms.example:8443"
	r.Header = http.Header{"X-Amz-Target": {"TrentService.Decrypt"}, "X-Forwarded-For": {"192.0.2.1"}, "Connection": {"X-Amz-Target"}}
	w := httptest.NewRecorder()
	newUpstream(to, transport, slog.New(slog.DiscardHandler)).ServeHTTP(w, r)
	if w.Code != http.StatusTemporaryRedirect {
		t.Errorf("status %d, want the redirect itself", w.Code)
	}
	got := <-sent
	for _, want := range []string{"POST /?X-Amz-Date=a;b&X-Amz-x=%zz HTTP/1.1\r\n", "\r\nHost: kms.example:8443\r\n", "\r\nX-Amz-Target: TrentService.Decrypt\r\n", "\r\nX-Forwarded-For: 192.0.2.1\r\n", "\r\nContent-Length: 7\r\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	for _, name := range []string{"Accept-Encoding", "User-Agent", "Connection", "X-Forwarded-Host", "Via"} {
		if strings.Contains(got, "\r\n"+name+":") {
			t.Errorf("%s was added to\n%s", name, got)
		}
	}
}
