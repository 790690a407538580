package eventlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keytrail/keytrail/record"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

func TestMain(m *testing.M) {
	if config := os.Getenv(childVariable); config != "" {
		os.Exit(runChild(config))
	}
	goleak.VerifyTestMain(m)
}

// testLog opens a log in dir, or at cfg.URL.
func testLog(t testing.TB, cfg Config) *Log {
	t.Helper()
	l, err := openTestLog(t, cfg)
	if err != nil {
		t.Fatalf("opening the log: %v", err)
	}
	t.Cleanup(l.Close)
	return l
}

func openTestLog(t testing.TB, cfg Config) (*Log, error) {
	if cfg.Dir == "" && cfg.URL == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.Dir != "" {
		cfg.DiskReserve = max(1, cfg.DiskReserve)
	}
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	return Open(context.Background(), cfg)
}

// entry makes a record: name upper case means that it changes something.
func entry(t testing.TB, id, event string, keys ...string) Entry {
	t.Helper()
	r := &keytrailv1.Record{
		EventId:            proto.String(id),
		EventName:          proto.String(event),
		RecipientAccountId: proto.String("111122223333"),
		AwsRegion:          proto.String("us-west-2"),
		EventSource:        proto.String(record.EventSource),
		EventTime:          timestamppb.New(time.Unix(1_700_000_000, 0)),
		ReadOnly:           proto.Bool(!strings.HasPrefix(event, "Disable")),
	}
	if keys != nil {
		r.Resources = &keytrailv1.ResourceList{}
		for _, k := range keys {
			r.Resources.Entries = append(r.Resources.Entries, &keytrailv1.Resource{Arn: proto.String(k)})
		}
	}
	enc, err := record.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	e, err := NewEntry(record.HeaderOf(r), enc)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func keyARN(n int) string {
	return fmt.Sprintf("arn:aws:kms:us-west-2:111122223333:key/%08d-12ab-34cd-56ef-1234567890ab", n)
}

func submit(t testing.TB, l *Log, entries ...Entry) []Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ticket, err := l.Submit(ctx, entries)
	if err != nil {
		t.Fatalf("submit: %v", err)
	}
	results, err := ticket.Results(ctx)
	if err != nil {
		t.Fatalf("results: %v", err)
	}
	return results
}

// stored reads the event IDs of the whole log, in order.
func stored(t testing.TB, l *Log) []string {
	t.Helper()
	var ids []string
	for seq := uint64(1); ; {
		chunk, err := l.Read(t.Context(), seq)
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		if len(chunk) == 0 {
			return ids
		}
		for _, b := range chunk {
			if b.Unreadable != nil {
				ids = append(ids, "unreadable")
			}
			for _, enc := range b.Records {
				var h record.Header
				if err := h.Decode(enc); err != nil {
					t.Fatal(err)
				}
				ids = append(ids, h.EventID)
			}
			seq = b.Seq + 1
		}
	}
}

func statuses(results []Result) string {
	var out []string
	for _, r := range results {
		out = append(out, map[Status]string{StatusStored: "stored", StatusDuplicate: "duplicate", StatusConflict: "conflict", StatusFailed: "failed"}[r.Status])
	}
	return strings.Join(out, " ")
}

func TestSubmit(t *testing.T) {
	l := testLog(t, Config{})
	a, b := entry(t, "a", "Decrypt", keyARN(1)), entry(t, "b", "Decrypt", keyARN(1))
	otherA := entry(t, "a", "Encrypt", keyARN(1))

	first := submit(t, l, a, b, a, otherA)
	if got, want := statuses(first), "stored stored duplicate conflict"; got != want {
		t.Errorf("within one submission: %s, want %s", got, want)
	}
	if got, want := statuses(submit(t, l, b, otherA, a)), "duplicate conflict duplicate"; got != want {
		t.Errorf("published again: %s, want %s", got, want)
	}
	if first[0].Position != (Position{1, 1}) || first[1].Position != (Position{Seq: 2}) || first[2].Position != first[0].Position {
		t.Errorf("positions %v, %v, %v", first[0].Position, first[1].Position, first[2].Position)
	}
	if got := stored(t, l); fmt.Sprint(got) != "[a b]" {
		t.Errorf("the log holds %v", got)
	}
	if got := submit(t, l); len(got) != 0 {
		t.Errorf("nothing submitted gave %v", got)
	}
}

// TestSubmitAtOnce stores each of many IDs once, however many submit them at
// the same time.
func TestSubmitAtOnce(t *testing.T) {
	l := testLog(t, Config{})
	const submitters, ids = 8, 200
	counts := make(chan string, submitters*ids)
	done := make(chan struct{})
	for range submitters {
		go func() {
			defer func() { done <- struct{}{} }()
			for i := range ids {
				counts <- statuses(submit(t, l, entry(t, fmt.Sprint(i), "Decrypt", keyARN(i%3))))
			}
		}()
	}
	for range submitters {
		<-done
	}
	close(counts)
	got := make(map[string]int)
	for s := range counts {
		got[s]++
	}
	if got["stored"] != ids || got["duplicate"] != ids*(submitters-1) {
		t.Errorf("results %v, want %d stored and the rest duplicate", got, ids)
	}
	seen := make(map[string]bool)
	for _, id := range stored(t, l) {
		if seen[id] {
			t.Errorf("%s is stored twice", id)
		}
		seen[id] = true
	}
	if len(seen) != ids {
		t.Errorf("%d IDs are stored, want %d", len(seen), ids)
	}
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	l := testLog(t, Config{Dir: dir})
	a := entry(t, "a", "Decrypt", keyARN(1))
	pos := submit(t, l, a)[0].Position
	inc := l.Incarnation()
	if _, err := openTestLog(t, Config{Dir: dir}); !errors.Is(err, ErrInUse) {
		t.Errorf("a second bus on the folder: %v, want ErrInUse", err)
	}
	l.Close()
	l.Close() // does nothing
	if _, err := l.Submit(t.Context(), []Entry{a}); !errors.Is(err, ErrClosed) {
		t.Errorf("submitting to a closed log: %v, want ErrClosed", err)
	}

	l = testLog(t, Config{Dir: dir})
	if l.Incarnation() != inc {
		t.Errorf("the incarnation changed from %v to %v", inc, l.Incarnation())
	}
	got := submit(t, l, a, entry(t, "a", "Encrypt", keyARN(1)))
	if statuses(got) != "duplicate conflict" || got[0].Position != pos {
		t.Errorf("after a restart: %v, position %v; want duplicate conflict at %v", statuses(got), got[0].Position, pos)
	}
}

func TestFullLog(t *testing.T) {
	l := testLog(t, Config{MaxBytes: 300_000})
	var refused Result
	n := 0
	for ; refused.Status == 0 && n < 1000; n++ {
		if r := submit(t, l, entry(t, strings.Repeat("x", 2000)+fmt.Sprint(n), "Decrypt", keyARN(n)))[0]; r.Status == StatusFailed {
			refused = r
		}
	}
	if !errors.Is(refused.Err, ErrFull) || !strings.Contains(refused.Err.Error(), "bus log trim") {
		t.Fatalf("after %d records: %v; want ErrFull that says what to do", n, refused.Err)
	}
	if err := l.Ready(); !errors.Is(err, ErrFull) {
		t.Errorf("a full log is ready: %v", err)
	}
	held := len(stored(t, l))
	if held != n-1 {
		t.Errorf("%d records are held, %d were acknowledged: a full log must drop nothing", held, n-1)
	}
	if removed, bytes, err := l.Trim(t.Context(), time.Now()); err != nil || removed != uint64(held) || bytes == 0 {
		t.Fatalf("trim removed %d messages, %d bytes, error %v; want %d", removed, bytes, err, held)
	}
	if err := l.Ready(); err != nil {
		t.Errorf("after the trim: %v", err)
	}
	r := submit(t, l, entry(t, "after", "Decrypt", keyARN(1)))[0]
	if r.Status != StatusStored {
		t.Errorf("after the trim: %v", r.Err)
	}
	info, err := l.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.Trimmed.Seq != uint64(held)+1 || info.First != info.Trimmed {
		t.Errorf("trimmed to %v, the log starts at %v, want %d", info.Trimmed, info.First, held+1)
	}
	// What was refused may be published again once there is room.
	if r := submit(t, l, entry(t, strings.Repeat("x", 2000)+fmt.Sprint(n-1), "Decrypt", keyARN(n-1)))[0]; r.Status != StatusStored {
		t.Errorf("the refused record, again: %v %v", r.Status, r.Err)
	}
}

func TestFullDisk(t *testing.T) {
	l := testLog(t, Config{DiskReserve: 1 << 60})
	r := submit(t, l, entry(t, "a", "Decrypt"))[0]
	if r.Status != StatusFailed || !errors.Is(r.Err, ErrFull) || !strings.Contains(r.Err.Error(), "reserve") {
		t.Errorf("with too little free disk: %v, %v", r.Status, r.Err)
	}
	if err := l.Ready(); !errors.Is(err, ErrFull) {
		t.Errorf("Ready: %v", err)
	}
}

// TestLimitSurvivesRestart: what the log holds counts as room.
func TestLimitSurvivesRestart(t *testing.T) {
	dir := t.TempDir()
	free, err := diskFree(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, used := range []uint64{0, 1 << 30} {
		got, err := maxBytes(Config{Dir: dir, DiskShare: 0.5}, used)
		if err != nil {
			t.Fatal(err)
		}
		want := (free + int64(used)) / 2
		if got < want-64<<20 || got > want+64<<20 { // the disk is in use by others
			t.Errorf("a log of %d bytes may hold %d, want about %d", used, got, want)
		}
	}
}

// TestAgeSurvivesRestart: a forgotten setting removes nothing.
func TestAgeSurvivesRestart(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct{ set, want time.Duration }{
		{365 * 24 * time.Hour, 365 * 24 * time.Hour}, {0, 365 * 24 * time.Hour}, {48 * time.Hour, 48 * time.Hour}, {0, 48 * time.Hour},
	} {
		l := testLog(t, Config{Dir: dir, MaxAge: tt.set})
		info, err := l.Info(t.Context())
		if err != nil || info.MaxAge != tt.want {
			t.Errorf("opened with age %v, the log keeps records for %v, %v; want %v", tt.set, info.MaxAge, err, tt.want)
		}
		l.Close()
	}
	fresh, err := testLog(t, Config{}).Info(t.Context())
	if err != nil || fresh.MaxAge != DefaultMaxAge {
		t.Errorf("a new log keeps records for %v, %v", fresh.MaxAge, err)
	}
}

func TestReading(t *testing.T) {
	l := testLog(t, Config{})
	submit(t, l, entry(t, "a", "Decrypt", keyARN(1)))
	between := time.Now()
	submit(t, l, entry(t, "b", "Decrypt", keyARN(2)))
	submit(t, l, entry(t, "c", "ReEncrypt", keyARN(1), keyARN(2)))

	for _, tt := range []struct {
		at   time.Time
		want uint64
	}{{time.Time{}, 1}, {between.Add(-time.Hour), 1}, {between, 2}, {time.Now().Add(time.Hour), 4}} {
		if got, err := l.PositionAt(t.Context(), tt.at); err != nil || got.Seq != tt.want {
			t.Errorf("PositionAt(%v) = %v, %v; want sequence %d", tt.at, got, err, tt.want)
		}
	}
	for filter, want := range map[string]string{
		"kms.*.*." + keyARN(2) + ".*": "2", "kms.*.*.multi.*": "3", "kms.*.*.*.Decrypt": "1 2", "kms.>": "1 2 3", "kms.x.>": "",
	} {
		chunk, err := l.ReadSubject(t.Context(), 1, filter)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, b := range chunk {
			got = append(got, fmt.Sprint(b.Seq))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("ReadSubject(%s) = messages %v, want %s", filter, got, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Read(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("reading with an ended context: %v", err)
	}
}

func TestFollow(t *testing.T) {
	l := testLog(t, Config{})
	submit(t, l, entry(t, "a", "Decrypt", keyARN(1)))
	submit(t, l, entry(t, "b", "Decrypt", keyARN(1)))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := make(chan uint64, 10)
	ended := make(chan error, 1)
	go func() {
		ended <- l.Follow(ctx, 2, func(b *Batch) error {
			got <- b.Seq
			return nil
		})
	}()
	if seq := <-got; seq != 2 {
		t.Errorf("the first message followed is %d, want 2", seq)
	}
	submit(t, l, entry(t, "c", "Decrypt", keyARN(1)))
	if seq := <-got; seq != 3 {
		t.Errorf("then %d, want 3", seq)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Follow ended with %v", err)
	}
	stop := errors.New("enough")
	if err := l.Follow(t.Context(), 1, func(*Batch) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Follow returned %v, want the error of its function", err)
	}
}

func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	l := testLog(t, Config{Dir: dir})
	for _, data := range [][]byte{storedBatch(t, format+1, "Decrypt"), []byte("hello")} {
		if _, err := l.js.Publish(t.Context(), "kms.1.r.-.Decrypt", data); err != nil {
			t.Fatal(err)
		}
	}
	submit(t, l, entry(t, "a", "Decrypt"))
	chunk, err := l.Read(t.Context(), 1)
	if err != nil || len(chunk) != 3 {
		t.Fatalf("read %d messages, %v; want 3", len(chunk), err)
	}
	if !errors.Is(chunk[0].Unreadable, ErrFormat) || chunk[1].Unreadable == nil || chunk[2].Unreadable != nil {
		t.Errorf("unreadable: %v, %v, %v", chunk[0].Unreadable, chunk[1].Unreadable, chunk[2].Unreadable)
	}
	l.Close()
	l = testLog(t, Config{Dir: dir}) // opens nevertheless
	if got := statuses(submit(t, l, entry(t, "a", "Decrypt"))); got != "duplicate" {
		t.Errorf("an ID after unreadable messages: %s, want duplicate", got)
	}
}

func TestBadPlaces(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		cfg  Config
		want string // part of the message
	}{
		"nowhere":            {Config{}, "neither"},
		"both":               {Config{Dir: "x", URL: "nats://127.0.0.1:1"}, "both"},
		"folder is a file":   {Config{Dir: file}, "--data"},
		"folder in a file":   {Config{Dir: filepath.Join(file, "x")}, "--data"},
		"NATS away":          {Config{URL: "nats://user:secret@127.0.0.1:1"}, "--nats-url"},
		"bad URL":            {Config{URL: "nats://user:secret%zz@127.0.0.1:1"}, "not a URL"},
		"bad port":           {Config{URL: "nats://user:secret@127.0.0.1:port"}, "not a URL"},
		"slash in password":  {Config{URL: "nats://user:secret/x@127.0.0.1:1"}, "not a URL"},
		"no host":            {Config{URL: "nats://"}, "no host"},
		"listen everywhere":  {Config{Dir: "x", Listen: "0.0.0.0:4222"}, "loopback"},
		"listen nowhere":     {Config{Dir: "x", Listen: "4222"}, "listen"},
		"listen at URL":      {Config{URL: "nats://127.0.0.1:1", Listen: "127.0.0.1:4222"}, "embedded"},
		"embedded replicas":  {Config{Dir: "x", Replicas: 3}, "replicas"},
		"negative":           {Config{Dir: "x", MaxBytes: -1}, "max bytes"},
		"more than the disk": {Config{Dir: "x", DiskShare: 2}, "disk share"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := Open(t.Context(), tt.cfg)
			if err == nil {
				l.Close()
				t.Fatal("the log was opened")
			}
			if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("error %q; want it to name %q and no password", err, tt.want)
			}
		})
	}
}

func TestListen(t *testing.T) {
	l := testLog(t, Config{Listen: "127.0.0.1:0"})
	if _, err := openTestLog(t, Config{Listen: l.NATSAddr()}); err == nil || !strings.Contains(err.Error(), "--nats-listen") {
		t.Errorf("a port in use: %v; want an error that names the flag", err)
	}
	problems := make(chan error, 10)
	nc, err := nats.Connect("nats://"+l.NATSAddr(), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { problems <- err }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync("kms.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	submit(t, l, entry(t, "a", "Decrypt", keyARN(1)))
	msg, err := sub.NextMsg(10 * time.Second)
	if err != nil {
		t.Fatalf("a NATS client that listens in: %v", err)
	}
	batch := new(keytrailv1.StoredBatch)
	if err := proto.Unmarshal(msg.Data, batch); err != nil || batch.GetRecords()[0].GetEventId() != "a" {
		t.Errorf("it got %v, %v", batch, err)
	}
	// It can neither write nor reach JetStream.
	for _, subject := range []string{"kms.1.r.-.Decrypt", "$JS.API.STREAM.PURGE." + DefaultStream} {
		if err := nc.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := <-problems; !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("publishing to %s: %v, want a permission violation", subject, err)
		}
	}
	if got := stored(t, l); len(got) != 1 {
		t.Errorf("the log holds %v", got)
	}
}
