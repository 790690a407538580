package kmshttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/google/uuid"
)

type handler struct {
	cfg  Config
	next http.Handler
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	op, refused := operation(r, h.cfg.Path)
	if op == "" && refused == nil {
		if h.cfg.PassOthers {
			h.next.ServeHTTP(w, r)
			return
		}
		refused = refuse(http.StatusNotFound, "UnknownOperationException", "")
	}
	var body []byte
	var params members
	if refused == nil {
		body, params, refused = h.read(w, r)
	}
	if refused == nil && loggedBytes(op, body) > maxLogged {
		refused = refuse(http.StatusRequestEntityTooLarge, "RequestEntityTooLargeException", "There is more in the request than a record can hold.")
	}
	if refused != nil {
		h.cfg.Logger.WarnContext(r.Context(), "kmshttp: a request is refused", "status", refused.status, "error", refused.code, "operation", op)
		refused.write(w, newRequestID())
		return
	}

	ctx := context.WithoutCancel(r.Context())
	c := &call{h: h, r: r, operation: op, body: body, params: params}
	c.authenticate(ctx)
	if c.region(false) == "" {
		// No record could be made of it, so the KMS must not act on it.
		h.cfg.Logger.WarnContext(ctx, "kmshttp: a request is refused: it is not signed, and Config.Region is not set", "operation", op)
		refuse(http.StatusForbidden, "MissingAuthenticationTokenException", "The request is not signed, so nothing says which Region it is for.").write(w, newRequestID())
		return
	}

	// From here on the call happens and is recorded, whatever the client does.
	c.resolveBefore(ctx)
	a := h.ask(ctx, r, body)
	c.complete(ctx, a)

	recordCtx, cancel := context.WithTimeout(ctx, h.cfg.RecordTimeout)
	err := h.cfg.Sink.Record(recordCtx, c.message)
	cancel()
	id := c.message.GetCallId()
	if err != nil {
		h.cfg.Logger.ErrorContext(ctx, "kmshttp: a call is not recorded", "call_id", id, "operation", op, "answered", h.cfg.FailOpen, "error", err)
		if !h.cfg.FailOpen {
			refuse(http.StatusServiceUnavailable, "DependencyTimeoutException", "The call could not be recorded, so it is not answered.").write(w, newRequestID())
			return
		}
	}
	switch {
	case a.panicked != nil:
		panic(a.panicked)
	case a.aborted:
		// As it would have been without this handler: a broken connection.
		panic(http.ErrAbortHandler)
	case a.tooLarge:
		h.cfg.Logger.ErrorContext(ctx, "kmshttp: an answer is too large", "call_id", id, "operation", op)
		refuse(http.StatusInternalServerError, "KMSInternalException", "The answer is too large.").write(w, newRequestID())
	default:
		a.write(w)
	}
}

// read reads the body of r, and the members of the object that it is.
func (h *handler) read(w http.ResponseWriter, r *http.Request) ([]byte, members, *refusal) {
	var tooLarge *http.MaxBytesError
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, h.cfg.MaxBody))
	switch {
	case errors.As(err, &tooLarge):
		return nil, nil, refuse(http.StatusRequestEntityTooLarge, "RequestEntityTooLargeException",
			fmt.Sprintf("A request has at most %d bytes.", h.cfg.MaxBody))
	case err != nil:
		return nil, nil, refuse(http.StatusBadRequest, "SerializationException", "The request could not be read.")
	case len(body) == 0:
		return nil, nil, nil
	}
	params, ok := readParameters(body)
	if !ok || isForm(body) {
		return nil, nil, refuse(http.StatusBadRequest, "SerializationException", "The request is not one JSON object without repeated names.")
	}
	return body, params, nil
}

// ask lets the KMS answer, into memory.
func (h *handler) ask(ctx context.Context, r *http.Request, body []byte) (a *answer) {
	ctx, cancel := context.WithTimeout(ctx, h.cfg.CallTimeout)
	defer cancel()
	r = r.WithContext(ctx)
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	r.ContentLength = int64(len(body))
	r.TransferEncoding = nil
	a = &answer{header: make(http.Header), max: h.cfg.MaxBody}
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			// A reverse proxy whose upstream, or whose writer, has failed
			// amid the body.
			a.aborted = !a.tooLarge
		default:
			a.panicked = p
		}
		a.WriteHeader(http.StatusOK)
	}()
	h.next.ServeHTTP(a, r)
	return a
}

// refusal is an answer of the handler's own, in the form of a KMS error.
type refusal struct {
	status        int
	code, message string
}

func refuse(status int, code, message string) *refusal { return &refusal{status, code, message} }

func (f *refusal) write(w http.ResponseWriter, requestID string) {
	// The texts are this package's own: plain letters, so they are JSON as they are.
	body := `{"__type":"` + f.code + `"}`
	if f.message != "" {
		body = `{"__type":"` + f.code + `","message":"` + f.message + `"}`
	}
	header := w.Header()
	header.Set("Content-Type", "application/x-amz-json-1.1")
	header.Set("Content-Length", fmt.Sprint(len(body)))
	header.Set("X-Amzn-Errortype", f.code)
	header.Set("X-Amzn-Requestid", requestID)
	w.WriteHeader(f.status)
	io.WriteString(w, body) // a client that went away is no fault
}

func newRequestID() string { return uuid.NewString() }
