package eventlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// crash closes a log as if its process had been killed.
func crash(l *Log) {
	err := errors.New("killed, says the test")
	l.fault.Store(&err)
	l.Close()
}

// damage changes a file of the data folder.
func damage(t *testing.T, dir, name string, change func([]byte) []byte) {
	t.Helper()
	name = filepath.Join(dir, name)
	data, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, change(data), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

const streamFolder = "nats/jetstream/$G/streams/" + DefaultStream

// TestDamagedMeta: JetStream's files about the stream may be torn, or not fit each other, after a power loss.
func TestDamagedMeta(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		metaName: func([]byte) []byte { return nil },
		sumName:  func(b []byte) []byte { return append([]byte("00"), b[2:]...) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := testLog(t, Config{Dir: dir, MaxAge: 48 * time.Hour})
			submit(t, l, entry(t, "a", "Decrypt", keyARN(1)))
			inc := l.Incarnation()
			crash(l)
			damage(t, dir, filepath.Join(streamFolder, name), change)
			l = testLog(t, Config{Dir: dir})
			if info, err := l.Info(t.Context()); err != nil || l.Incarnation() != inc || info.MaxAge != 48*time.Hour || info.Messages != 1 {
				t.Errorf("after a restart: incarnation %v, want %v; %+v, %v", l.Incarnation(), inc, info, err)
			}
		})
	}
}

// TestMetaGone: a log of which JetStream no longer knows the stream is not made anew over its records.
func TestMetaGone(t *testing.T) {
	dir := t.TempDir()
	l := testLog(t, Config{Dir: dir})
	submit(t, l, entry(t, "a", "Decrypt", keyARN(1)))
	l.Close()
	for _, name := range []string{metaCopy, filepath.Join(streamFolder, metaName)} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := openTestLog(t, Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Fatalf("opened with %v", err)
	}
	// Without records there is nothing to protect: the creation of the stream was interrupted.
	if err := os.Remove(l.disk.block(1)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, markName)); err != nil {
		t.Fatal(err)
	}
	l = testLog(t, Config{Dir: dir})
	submit(t, l, entry(t, "a", "Decrypt", keyARN(1)))
}

// TestNumbersGoOn: a log in which everything has expired goes on counting, also when JetStream forgets how far it was.
func TestNumbersGoOn(t *testing.T) {
	dir := t.TempDir()
	l := testLog(t, Config{Dir: dir, MaxAge: 100 * time.Millisecond})
	var pos Position
	for i := range 5 {
		pos = submit(t, l, entry(t, fmt.Sprint(i), "Decrypt", keyARN(i)))[0].Position
	}
	inc := l.Incarnation()
	tick := time.Tick(20 * time.Millisecond)
	for { // until all has expired
		info, err := l.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if info.Messages == 0 {
			break
		}
		<-tick
	}
	crash(l)
	// The removal of the old block is durable, the new one, which remembers the number, is not.
	if err := os.RemoveAll(filepath.Join(dir, streamFolder, "msgs")); err != nil {
		t.Fatal(err)
	}
	l = testLog(t, Config{Dir: dir})
	if got := submit(t, l, entry(t, "next", "Decrypt", keyARN(1)))[0].Position; got.Seq != pos.Seq+1 || l.Incarnation() != inc {
		t.Errorf("the next record is before %v, the last was before %v; incarnation %v, was %v", got, pos, l.Incarnation(), inc)
	}
}

// TestLostSynced: records that a disk has lost in spite of a sync are noticed, and old cursors are refused.
func TestLostSynced(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"the newest": func(b []byte) []byte { return b[:len(b)/2] },
		"all":        func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := testLog(t, Config{Dir: dir})
			for i := range 5 {
				submit(t, l, entry(t, fmt.Sprint(i), "Decrypt", keyARN(i)))
			}
			inc := l.Incarnation()
			crash(l)
			damage(t, dir, filepath.Join(streamFolder, "msgs", "1.blk"), change)
			l = testLog(t, Config{Dir: dir})
			if l.Incarnation() == inc {
				t.Error("old cursors stay valid")
			}
			if got := statuses(submit(t, l, entry(t, "4", "Decrypt", keyARN(4)))); got != "stored" {
				t.Errorf("what was lost, published again: %s", got)
			}
			inc = l.Incarnation()
			crash(l)
			if again := testLog(t, Config{Dir: dir}); again.Incarnation() != inc {
				t.Error("the loss is found a second time")
			}
		})
	}
}

// TestStaleIndex: JetStream's summary may be newer than the blocks that it describes.
func TestStaleIndex(t *testing.T) {
	dir := t.TempDir()
	l := testLog(t, Config{Dir: dir})
	for i := range 5 {
		submit(t, l, entry(t, fmt.Sprint(i), "Decrypt", keyARN(i)))
	}
	crash(l) // JetStream itself ends in order, and writes it
	if _, err := os.Stat(filepath.Join(dir, streamFolder, "msgs", "index.db")); err != nil {
		t.Fatal(err)
	}
	damage(t, dir, filepath.Join(streamFolder, "msgs", "1.blk"), func(b []byte) []byte { return b[:len(b)/2] })
	l = testLog(t, Config{Dir: dir})
	if got := stored(t, l); len(got) == 5 || len(got) == 0 {
		t.Errorf("the log holds %v", got)
	}
	if got := submit(t, l, entry(t, "next", "Decrypt", keyARN(1)))[0].Position; got.Seq != uint64(len(stored(t, l))+1) {
		t.Errorf("the next record is before %v", got)
	}
}

// TestUnsyncedPowerLoss: positions that a bus without syncs had told may name other records after a power loss.
func TestUnsyncedPowerLoss(t *testing.T) {
	dir := t.TempDir()
	l := testLog(t, Config{Dir: dir, Unsynced: true})
	submit(t, l, entry(t, "a", "Decrypt", keyARN(1)))
	inc := l.Incarnation()
	crash(l)
	l = testLog(t, Config{Dir: dir, Unsynced: true})
	if l.Incarnation() != inc {
		t.Error("the end of the process makes cursors invalid")
	}
	// As if the system had been started anew.
	if err := l.disk.marks.write(func(m *mark) { m.Boot = "before" }); err != nil {
		t.Fatal(err)
	}
	crash(l)
	l = testLog(t, Config{Dir: dir})
	if l.Incarnation() == inc {
		t.Error("after a power loss the cursors of an unsynced log are valid")
	}
}

// TestInterruptedTrim: the block that a trim rewrites is not lost, and the trim is done at the next start.
func TestInterruptedTrim(t *testing.T) {
	dir := t.TempDir()
	l := testLog(t, Config{Dir: dir})
	large := strings.Repeat("x", 100_000)
	var last Position
	var middle time.Time
	for i := range 40 { // one block, large enough to be rewritten
		if i == 30 {
			middle = time.Now()
		}
		last = submit(t, l, entry(t, fmt.Sprint(i, large), "Decrypt", keyARN(i)))[0].Position
	}
	info, err := os.Stat(l.disk.block(1))
	if err != nil {
		t.Fatal(err)
	}
	saved, err := os.ReadFile(l.disk.block(1))
	if err != nil {
		t.Fatal(err)
	}
	if n, _, err := l.Trim(t.Context(), middle); err != nil || n != 30 {
		t.Fatalf("trimmed %d, %v", n, err)
	}
	after, err := os.Stat(l.disk.block(1))
	if err != nil || os.SameFile(info, after) || after.Size() >= info.Size()/2 {
		t.Fatalf("the trim has not replaced the block: %v, %v", after.Size(), err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, trimFolder)); err != nil || len(left) != 0 {
		t.Errorf("the trim has left %v, %v", left, err)
	}
	crash(l)
	// The new file's name was durable, its bytes were not.
	damage(t, dir, filepath.Join(streamFolder, "msgs", "1.blk"), func([]byte) []byte { return nil })
	if err := os.WriteFile(filepath.Join(dir, trimFolder, "1.blk"), saved, 0o600); err != nil {
		t.Fatal(err)
	}
	l = testLog(t, Config{Dir: dir})
	if got, err := l.Info(t.Context()); err != nil || got.First.Seq != 31 || got.Head != last || got.Messages != 10 {
		t.Errorf("after a restart the log holds %d messages from %v to %v, %v; want 10 from 31 to %v", got.Messages, got.First, got.Head, err, last)
	}
	if left, err := os.ReadDir(filepath.Join(dir, trimFolder)); err != nil || len(left) != 0 {
		t.Errorf("the start has left %v, %v", left, err)
	}
}

// TestBlockOf: the block of a message is found by what the blocks hold.
func TestBlockOf(t *testing.T) {
	l := testLog(t, Config{MaxBytes: 100_000}) // blocks of 32 kB
	blocks := make(map[uint64]uint32)
	for i := range 8 {
		seq := submit(t, l, entry(t, fmt.Sprint(i, strings.Repeat("x", 9000)), "Decrypt", keyARN(i)))[0].Position.Seq - 1
		blocks[seq] = l.disk.newest
	}
	if blocks[1] != 1 || blocks[8] < 2 {
		t.Fatalf("the blocks are %v", blocks)
	}
	for seq, want := range blocks {
		if got, err := l.disk.blockOf(seq); err != nil || got != want {
			t.Errorf("message %d is in block %d, %v; want %d", seq, got, err, want)
		}
	}
	if got, err := l.disk.blockOf(0); err != nil || got != 0 {
		t.Errorf("before the first message: block %d, %v", got, err)
	}
}

// TestMark: of the two places of the marks the newer that is whole counts.
func TestMark(t *testing.T) {
	dir := t.TempDir()
	open := func() (*markFile, bool, error) {
		m, found, err := openMark(dir)
		if err == nil {
			t.Cleanup(func() { m.file.Close() })
		}
		return m, found, err
	}
	m, found, err := open()
	if err != nil || found {
		t.Fatalf("in an empty folder: %v, %v", found, err)
	}
	for i := range uint64(3) {
		if err := m.write(func(m *mark) { m.Synced, m.Used, m.Running, m.Boot = i, i+1, true, strings.Repeat("b", 36) }); err != nil {
			t.Fatal(err)
		}
	}
	if again, found, err := open(); err != nil || !found || again.last.Synced != 2 || again.last.Generation != 3 || !again.last.Running {
		t.Errorf("read %+v, %v, %v", again.last, found, err)
	}
	torn := func(place int) {
		damage(t, dir, markName, func(b []byte) []byte { b[place*markPlace+20] ^= 1; return b })
	}
	torn(1)
	if again, found, err := open(); err != nil || !found || again.last.Synced != 1 {
		t.Errorf("with the newest torn: %+v, %v, %v", again.last, found, err)
	}
	torn(0)
	if _, _, err := open(); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("with both torn: %v", err)
	}
}
