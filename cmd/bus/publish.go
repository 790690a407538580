package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/keytrail/keytrail/client"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/internal/show"
	"github.com/keytrail/keytrail/record"
	"golang.org/x/term"
	"google.golang.org/protobuf/proto"
)

type publishCmd struct {
	busFlag
	Paths       []string      `arg:"" name:"path" help:"CloudTrail log files (one record, JSON lines or {\"Records\": […]}, also gzip), folders of them, or '-' for standard input."`
	Rejects     string        `help:"Keep what was refused in this file, one JSON object a line with reason, file and record." placeholder:"FILE" type:"path"`
	Calls       bool          `help:"The files hold calls, of which the bus makes the records: JSON lines, one call a line."`
	NewEventIDs bool          `name:"new-event-ids" help:"Give each record a fresh event ID, to replay samples."`
	Require     string        `help:"What an acknowledgement must promise, at least: stored, replicated or synced. Without it: whatever the log gives." placeholder:"LEVEL"`
	RetryFor    time.Duration `name:"retry-for" help:"How long to try while the bus is away or its log is full (default ${default})." default:"1m" placeholder:"DURATION"`
}

func (c *publishCmd) Help() string {
	return `In folders, files named *.json, *.jsonl, *.ndjson and those with .gz after it are taken; other files have to be named.

With --calls each line is a call such as

  {"callId":"7f3a","operation":"Decrypt","time":"2026-11-24T10:00:00Z","region":"us-west-2",
   "caller":{"type":"IAMUser","accountId":"111122223333","userName":"alice"},
   "requestParameters":{"EncryptionContext":{"app":"shop"}},
   "keys":[{"arn":"arn:aws:kms:us-west-2:111122223333:key/1234abcd"}],
   "error":{"code":"AccessDeniedException"}}

on one line. requestParameters and response are as the API has them; what must not be logged of them is removed before
anything is sent. Also: accountId, sourceIPAddress, userAgent, tlsDetails, vpcEndpointId, vpcEndpointAccountId, requestID,
additionalEventData, serviceEventDetails, dryRun, sessionCredentialFromConsole; ownerAccountId and aliasArn of a key. A call
without callId is given one, and so stored again each time that its file is published.

Exit status:

  0  all is in
  1  something was rejected, or nothing could be tried at all
  2  not everything could be tried`
}

func (c *publishCmd) Run(ctx context.Context, p *program) (err error) {
	if c.RetryFor <= 0 {
		return errors.New("--retry-for must be positive")
	}
	if c.Calls && c.NewEventIDs {
		return errors.New("--new-event-ids is for records: with --calls, leave callId out of the calls instead")
	}
	require, err := durability(c.Require)
	if err != nil {
		return err
	}
	files, skipped, err := expand(c.Paths)
	if err != nil {
		return err
	}
	run := &publishRun{program: p, calls: c.Calls, newIDs: c.NewEventIDs}
	conn, err := c.dial(ctx) // before the file of rejects is touched
	if err != nil {
		return err
	}
	defer conn.Close()
	if c.Rejects != "" {
		if run.rejects, err = openRejects(c.Rejects, files); err != nil {
			return fmt.Errorf("--rejects: %w", err)
		}
		defer func() { err = errors.Join(err, run.rejects.Close()) }()
	}
	pub, err := conn.NewPublisher(client.PublisherConfig{
		BatchRecords: 1000,
		RetryFor:     c.RetryFor,
		Require:      require,
		OnState: func(s client.State, err error) {
			if err != nil {
				run.note(fmt.Sprintf("the bus is away or refuses (%s); trying again for %v", plain(err), c.RetryFor))
			}
		},
	})
	if err != nil {
		return err
	}
	stopProgress := run.progress(len(files))
	for _, f := range files {
		if run.publishFile(ctx, pub, f); ctx.Err() != nil || run.gaveUp() != nil {
			break
		}
	}
	// An interrupted run still waits for what is on its way, for it will be stored.
	closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.RetryFor+patience)
	defer cancel()
	if err := pub.Close(closeCtx); err != nil {
		run.failed(err)
	}
	stopProgress()
	if skipped > 0 {
		fmt.Fprintf(p.stderr, "skipped %d entries that are no files named like CloudTrail logs\n", skipped)
	}
	return run.finish(ctx, c.Rejects)
}

// durability reads a level of --require.
func durability(level string) (keytrailv1.Durability, error) {
	if level == "" {
		return keytrailv1.Durability_DURABILITY_UNSPECIFIED, nil
	}
	d, ok := keytrailv1.Durability_value["DURABILITY_"+strings.ToUpper(level)]
	if !ok || d == 0 {
		return 0, fmt.Errorf("--require %s: write stored, replicated or synced", show.Text(level))
	}
	return keytrailv1.Durability(d), nil
}

// openRejects opens an empty file of rejects, which must not be one of those to
// publish. Only a regular file is emptied and made private: records are
// confidential, and an old file may have another mode; a device is not ours to change.
func openRejects(name string, inputs []string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	for _, in := range inputs {
		if other, err := os.Stat(in); err == nil && os.SameFile(info, other) {
			return nil, errors.Join(fmt.Errorf("%s is also to be published: choose another file", name), f.Close())
		}
	}
	if info.Mode().IsRegular() {
		if err := errors.Join(f.Chmod(0o600), f.Truncate(0)); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return f, nil
}

// expand finds the files to publish. Folders are walked in the order of their
// names.
func expand(paths []string) (files []string, skipped int, err error) {
	for _, path := range paths {
		if path == "-" {
			files = append(files, path)
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, 0, err
		}
		if !info.IsDir() {
			files = append(files, path)
			continue
		}
		// WalkDir does not follow a link, also not the one that was named.
		root, err := filepath.EvalSymlinks(path)
		if err != nil {
			return nil, 0, err
		}
		err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir():
			case isLog(name) && isFile(name, d):
				files = append(files, name)
			default:
				skipped++
			}
			return nil
		})
		if err != nil {
			return nil, 0, err
		}
	}
	return files, skipped, nil
}

// isFile reports whether an entry of a folder is a regular file, or a link to one.
func isFile(name string, d fs.DirEntry) bool {
	if d.Type()&fs.ModeSymlink == 0 {
		return d.Type().IsRegular()
	}
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

func isLog(name string) bool {
	ext := filepath.Ext(strings.TrimSuffix(strings.ToLower(name), ".gz"))
	return slices.Contains([]string{".json", ".jsonl", ".ndjson"}, ext)
}

// publishRun is one run of publish: what became of everything.
type publishRun struct {
	program *program
	calls   bool     // the files hold calls
	newIDs  bool     // give records, or calls that have none, an ID of their own
	rejects *os.File // nil without --rejects

	mu                             sync.Mutex // guards what follows; results come on the publisher's goroutine
	published, duplicate, rejected int
	untried                        int
	file                           string
	noted                          string
	fatal                          error // why no more can be tried
	rejectsErr                     error
	onLine                         bool // the progress line is on the terminal
}

// publishFile publishes the records of one file.
func (r *publishRun) publishFile(ctx context.Context, pub *client.Publisher, name string) {
	r.mu.Lock()
	r.file = name
	r.mu.Unlock()
	var in io.Reader
	if name == "-" {
		in = interruptible(ctx, r.program.stdin)
	} else {
		f, err := os.Open(name)
		if err != nil {
			r.failed(err)
			return
		}
		defer f.Close()
		in = f
	}
	if r.calls {
		r.publishCalls(ctx, pub, in, name)
		return
	}
	records := record.NewReader(in)
	for ctx.Err() == nil && r.gaveUp() == nil {
		rec, err := records.Next()
		switch {
		case err == io.EOF, err != nil && ctx.Err() != nil:
			return
		case err == nil:
			r.publish(ctx, pub, rec, name, records.Number())
			continue
		}
		var one *record.RecordError
		var path *fs.PathError
		switch {
		case errors.As(err, &one):
			r.reject(rejection{File: name, Record: one.Number, Reason: one.Err.Error(), Raw: one.Raw})
		case errors.As(err, &path):
			r.failed(err)
			return
		default:
			r.reject(rejection{File: name, Record: records.Number(), Reason: strings.TrimPrefix(err.Error(), "record: ")})
			return
		}
	}
}

// interruptible is a reader of in that ends with ctx. A read of a terminal or pipe can't be
// interrupted, so what copies ends with its input, or with the process.
func interruptible(ctx context.Context, in io.Reader) io.Reader {
	out, feed := io.Pipe()
	go func() {
		_, err := io.Copy(feed, in)
		feed.CloseWithError(err) // nil: the end
	}()
	context.AfterFunc(ctx, func() { out.CloseWithError(ctx.Err()) })
	return out
}

func (r *publishRun) publish(ctx context.Context, pub *client.Publisher, rec *keytrailv1.Record, name string, number int) {
	if r.newIDs {
		if err := renew(rec); err != nil {
			r.reject(rejection{File: name, Record: number, Reason: err.Error()})
			return
		}
	}
	err := pub.PublishFunc(ctx, rec, func(x *client.Pending) {
		r.settle(ctx, x, func(res *keytrailv1.PublishResult) rejection { return rejectionOf(res, rec, name, number) })
	})
	if err != nil && ctx.Err() == nil {
		r.failedRecord(err)
	}
}

// settle counts what became of a record or call.
func (r *publishRun) settle(ctx context.Context, x *client.Pending, rejected func(*keytrailv1.PublishResult) rejection) {
	res, err := x.Result(ctx) // it is there: the publisher calls when it is
	switch {
	case err != nil:
		r.failedRecord(err)
	case x.Stored():
		r.count(&r.published)
	case res.GetStatus() == keytrailv1.PublishStatus_PUBLISH_STATUS_DUPLICATE:
		r.count(&r.duplicate)
	default:
		r.reject(rejected(res))
	}
}

// renew gives rec a fresh event ID, whatever it had.
func renew(rec *keytrailv1.Record) error {
	id, err := uuid.NewRandom()
	if err != nil {
		return err
	}
	rec.EventId = proto.String(id.String())
	if len(rec.GetVerbatim()) == 0 {
		return nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(rec.GetVerbatim(), &members); err != nil {
		return err
	}
	if _, ok := members["eventID"]; !ok {
		return nil
	}
	delete(members, "eventID")
	if rec.Verbatim = nil; len(members) == 0 {
		return nil
	}
	rec.Verbatim, err = json.Marshal(members)
	return err
}

// rejection is a line of the file of rejects.
type rejection struct {
	File   string          `json:"file"`
	Record int             `json:"record,omitempty"`
	Line   int             `json:"line,omitempty"` // of a file of calls
	Code   string          `json:"code,omitempty"`
	Field  string          `json:"field,omitempty"`
	Reason string          `json:"reason"`
	Event  json.RawMessage `json:"event,omitempty"`

	// Raw is text that is no JSON.
	Raw []byte `json:"-"`
}

func rejectionOf(res *keytrailv1.PublishResult, rec *keytrailv1.Record, name string, number int) rejection {
	rej := res.GetRejection()
	out := rejection{File: name, Record: number, Field: rej.GetField(), Reason: rej.GetMessage(), Code: codeText(rej.GetCode())}
	// What must not be in a log must not be in a file of rejects either.
	if rej.GetCode() == keytrailv1.RejectionCode_REJECTION_CODE_SECRET {
		return out
	}
	if text, err := record.AppendJSON(nil, rec); err == nil {
		out.Event = text
	}
	return out
}

func codeText(code keytrailv1.RejectionCode) string {
	return strings.TrimPrefix(code.String(), "REJECTION_CODE_")
}

func (r *publishRun) reject(rej rejection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rejected++
	if r.rejects == nil {
		field := ""
		if rej.Field != "" {
			field = show.Text(rej.Field) + ": "
		}
		r.clearLocked()
		where := show.Text(rej.File)
		if rej.Record > 0 {
			where += fmt.Sprintf(" record %d", rej.Record)
		}
		if rej.Line > 0 {
			where += fmt.Sprintf(" line %d", rej.Line)
		}
		fmt.Fprintf(r.program.stderr, "rejected: %s: %s%s\n", where, field, show.Text(rej.Reason))
		return
	}
	type line struct {
		rejection
		Text string `json:"text,omitempty"`
	}
	out := line{rejection: rej}
	if rej.Event == nil && rej.Raw != nil {
		out.Text = string(rej.Raw)
	}
	enc := json.NewEncoder(r.rejects)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(out); err != nil && r.rejectsErr == nil {
		r.rejectsErr = fmt.Errorf("--rejects: %w", err)
	}
}

func (r *publishRun) count(n *int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*n++
}

// failedRecord notes a record that was not tried to the end; what follows it
// would fare no better.
func (r *publishRun) failedRecord(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.untried++
	if r.fatal == nil {
		r.fatal = err
	}
}

// failed notes something that could not be read or finished; the rest can.
func (r *publishRun) failed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.untried++
	r.clearLocked()
	fmt.Fprintf(r.program.stderr, "bus: %v\n", err)
}

func (r *publishRun) gaveUp() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fatal
}

// note says what the user should know, once.
func (r *publishRun) note(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if line == r.noted {
		return
	}
	r.noted = line
	r.clearLocked()
	fmt.Fprintln(r.program.stderr, line)
}

// progressEvery is how often the progress line is drawn.
const progressEvery = 200 * time.Millisecond

// progress draws a line on a terminal until the function that it returns is
// called.
func (r *publishRun) progress(files int) (stop func()) {
	f, ok := r.program.stderr.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return func() {}
	}
	done, stopped := make(chan struct{}), make(chan struct{})
	start := time.Now()
	go func() {
		defer close(stopped)
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				r.mu.Lock()
				in := r.published + r.duplicate + r.rejected
				fmt.Fprintf(f, "\r\x1b[K%d records in, %.0f/s, %d rejected; %s", in, float64(in)/time.Since(start).Seconds(), r.rejected, show.Text(filepath.Base(r.file)))
				r.onLine = true
				r.mu.Unlock()
			case <-done:
				r.mu.Lock()
				r.clearLocked()
				r.mu.Unlock()
				return
			}
		}
	}()
	return func() {
		close(done)
		<-stopped
	}
}

// clearLocked takes the progress line away, so that another can be written.
func (r *publishRun) clearLocked() {
	if r.onLine {
		fmt.Fprint(r.program.stderr, "\r\x1b[K")
		r.onLine = false
	}
}

// finish prints the account and chooses the exit status.
func (r *publishRun) finish(ctx context.Context, rejects string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rejected > 0 && rejects != "" {
		fmt.Fprintf(r.program.stderr, "rejected records are in %s\n", rejects)
	}
	if r.fatal != nil {
		fmt.Fprintf(r.program.stderr, "bus: not everything could be tried: %s\n", plain(r.fatal))
	}
	if ctx.Err() != nil {
		if r.newIDs {
			fmt.Fprintln(r.program.stderr, "bus: interrupted; publishing the same files again would store what is in a second time, under other event IDs")
		} else {
			fmt.Fprintln(r.program.stderr, "bus: interrupted; to go on, publish the same files again: what is in is told apart as duplicate")
		}
	}
	if _, err := fmt.Fprintf(r.program.stdout, "published=%d duplicate=%d rejected=%d\n", r.published, r.duplicate, r.rejected); err != nil {
		return err
	}
	switch {
	case r.rejectsErr != nil:
		return r.rejectsErr
	case r.untried > 0 || ctx.Err() != nil:
		return exitStatus(exitIncomplete)
	case r.rejected > 0:
		return exitStatus(exitError)
	}
	return nil
}
