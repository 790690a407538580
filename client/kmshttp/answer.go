package kmshttp

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"maps"
	"net/http"
)

var errTooLarge = errors.New("kmshttp: the answer is too large")

// answer keeps what a handler writes, up to max bytes of body.
type answer struct {
	header http.Header
	max    int64

	status   int
	sent     http.Header // header, as it was with the status
	body     []byte
	tooLarge bool
	aborted  bool // the handler stopped amid the body
	panicked any  // what else it panicked with
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status != 0 || status < 200 {
		return // informational ones are for the KMS' own client
	}
	a.status = status
	a.sent = a.header.Clone()
}

func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if int64(len(a.body)+len(b)) > a.max {
		a.tooLarge, a.body = true, nil
	}
	if a.tooLarge {
		return 0, errTooLarge
	}
	a.body = append(a.body, b...)
	return len(b), nil
}

// write passes the answer on.
func (a *answer) write(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.sent)
	if _, ok := a.sent["Content-Type"]; !ok {
		w.Header()["Content-Type"] = nil // net/http would guess one
	}
	w.WriteHeader(a.status)
	w.Write(a.body) // a client that went away is no fault
}

// success says whether the KMS did what it was asked. Of an answer that was
// too large, the status says it.
func (a *answer) success() bool {
	return !a.aborted && a.panicked == nil && a.status >= 200 && a.status <= 299
}

// text is the body as JSON: the KMS may have compressed it for the client. It
// is nil if it cannot be read.
func (a *answer) text() []byte {
	switch a.sent.Get("Content-Encoding") {
	case "", "identity":
		return a.body
	case "gzip":
		z, err := gzip.NewReader(bytes.NewReader(a.body))
		if err != nil {
			return nil
		}
		text, err := io.ReadAll(io.LimitReader(z, a.max+1))
		if err != nil || int64(len(text)) > a.max {
			return nil
		}
		return text
	default:
		return nil
	}
}
