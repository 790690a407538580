package eventlog

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// disk makes the files of the embedded log durable. JetStream has written a message to a block, a file of up to 8 MiB,
// before it acknowledges it; that is all it does, for its own syncs are switched off (see startServer): between
// them it replaces files in ways that lose what was synced before.
//
// One goroutine at a time uses it: who has Log.committing, or opens or closes the log.
type disk struct {
	dir    string // Config.Dir
	stream string // the folder of the stream, in dir
	blocks string // that of its blocks, in stream
	maxAge time.Duration
	logger *slog.Logger
	marks  *markFile
	hook   syncHook

	// renew says that positions were told that the log may no longer have: it needs another incarnation.
	renew bool

	newest uint32    // block of the last commit; 0 before the first
	inode  uint64    // of its file
	looked time.Time // when the last commit looked for blocks
}

// syncHook stands between the log and the disk in tests: it is told what is to be synced, and syncs it or not.
type syncHook func(what syncedThing, name string, sync func() error) error

// syncedThing is a kind of what is synced.
type syncedThing string

const (
	syncedBlock  syncedThing = "block"  // a block's bytes
	syncedFolder syncedThing = "folder" // the names in a folder
	syncedMark   syncedThing = "mark"   // see mark
	syncedFile   syncedThing = "file"   // any other file
)

// openDisk puts the files in order that a power loss may have left in disorder, before JetStream reads them.
func openDisk(cfg Config) (_ *disk, err error) {
	d := &disk{
		dir:    cfg.Dir,
		stream: filepath.Join(cfg.Dir, "nats", "jetstream", "$G", "streams", cfg.Stream),
		logger: cfg.Logger,
		hook:   cfg.syncHook,
	}
	d.blocks = filepath.Join(d.stream, "msgs")
	if d.hook == nil {
		d.hook = func(_ syncedThing, _ string, sync func() error) error { return sync() }
	}
	if hook := d.hook; cfg.Unsynced {
		// Nothing is promised, also not on a file system that can't sync.
		d.hook = func(what syncedThing, name string, sync func() error) error {
			if err := hook(what, name, sync); err != nil {
				d.logger.Warn("not synced", "name", name, "error", err)
			}
			return nil
		}
	}
	var found bool
	if d.marks, found, err = openMark(cfg.Dir); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	defer func() {
		if err != nil {
			d.marks.file.Close()
		}
	}()
	last := d.marks.last
	if !found || last.Running {
		if err := d.afterCrash(last); err != nil {
			return nil, fmt.Errorf("putting the data folder in order: %w", err)
		}
	}
	if err := errors.Join(d.restoreTrimmed(), d.restoreMeta()); err != nil {
		return nil, fmt.Errorf("putting the data folder in order: %w", err)
	}
	d.renew = last.Running && last.Unsynced && (last.Boot == "" || last.Boot != bootID())
	// The rest of the mark stays until the log has been looked at.
	if err := d.marks.write(func(m *mark) { m.Running = true }); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if err := errors.Join(d.syncMark(), d.syncFolder(d.dir)); err != nil {
		return nil, notSynced(err)
	}
	return d, nil
}

// notSynced is for a sync that fails before anything was stored.
func notSynced(err error) error {
	return fmt.Errorf("%w: %w: if its file system can't sync, choose another folder with --data, or do without with --log-unsynced", ErrSync, err)
}

// afterCrash is for a log that was not closed in order.
func (d *disk) afterCrash(last mark) error {
	// JetStream's summary of the blocks is written without a sync now and then: it may be newer than they are.
	if err := os.Remove(filepath.Join(d.blocks, "index.db")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !last.Failed {
		return nil
	}
	d.logger.Warn("a sync of the log had failed: reading it anew from the disk", "dir", d.dir)
	return d.forget()
}

// forget makes the system drop what it holds of the blocks in memory, so that they are read from the disk.
func (d *disk) forget() error {
	return d.eachBlock(func(index uint32) error {
		f, err := os.Open(d.block(index))
		if err != nil {
			return err
		}
		defer f.Close()
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
}

// opened is called when JetStream has read the log, whose end is last: all of it is synced, and from there on commit is.
func (d *disk) opened(last uint64, maxAge time.Duration, unsynced bool) error {
	d.maxAge = maxAge
	if err := d.syncAll(); err != nil {
		return err
	}
	err := d.marks.write(func(m *mark) {
		m.Synced, m.Used, m.At = last, last, time.Now()
		m.Unsynced, m.Boot, m.Failed = unsynced, bootID(), false
	})
	return errors.Join(err, d.syncMark())
}

// close notes that everything is in order, up to the sequence last.
func (d *disk) close(last uint64) error {
	defer d.marks.file.Close()
	if err := d.syncAll(); err != nil {
		return err
	}
	if err := d.sync(syncedFile, filepath.Join(d.blocks, "index.db")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := d.marks.write(func(m *mark) {
		m.Synced, m.Used, m.At = last, last, time.Now()
		m.Running, m.Unsynced = false, false
	})
	return errors.Join(err, d.syncMark())
}

// abandon is close for a log that is not in order.
func (d *disk) abandon() { d.marks.file.Close() }

// failed notes that a sync failed, as well as it can on such a disk.
func (d *disk) failed() {
	err := errors.Join(d.marks.write(func(m *mark) { m.Failed = true }), d.syncMark())
	if err != nil {
		d.logger.Error("the next start will not know that a sync failed", "error", err)
	}
}

// commit syncs everything that JetStream has acknowledged, up to the sequence last.
func (d *disk) commit(last uint64) error {
	// Both at once, for each waits for the disk. The mark may come first: it claims no more than the commit before it.
	err := d.marks.write(func(m *mark) { m.Synced, m.Used, m.At = m.Used, last, time.Now() })
	if err != nil {
		return err
	}
	marked := make(chan error, 1)
	go func() { marked <- d.syncMark() }()
	err = d.syncBlocks()
	return errors.Join(err, <-marked)
}

// settle notes that the last commit is on the disk, which else the next one does.
func (d *disk) settle() error {
	if d.marks.last.Synced == d.marks.last.Used {
		return nil
	}
	return errors.Join(d.marks.write(func(m *mark) { m.Synced = m.Used }), d.syncMark())
}

// syncBlocks syncs the blocks that were written since the last time: the newest of then, and those after it. The folder
// is synced as well when one of them has a new name, or a new file under its name.
func (d *disk) syncBlocks() error {
	began := time.Now()
	if d.newest == 0 || d.mayHaveExpired(began) {
		return d.syncFrom(d.newest, began)
	}
	// All are looked for before any is synced: only then is a block that has a newer one complete.
	var files []*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	for {
		f, err := os.Open(d.block(d.newest + uint32(len(files))))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	if len(files) == 0 { // removed, with all that was in it
		return d.syncFrom(d.newest, began)
	}
	renamed := len(files) > 1
	inode := d.inode
	for n, f := range files {
		id, err := d.syncBlock(f)
		if err != nil {
			return err
		}
		renamed = renamed || n == 0 && id != d.inode
		inode = id
	}
	if renamed {
		if err := d.syncFolder(d.blocks); err != nil {
			return err
		}
	}
	d.newest, d.inode, d.looked = d.newest+uint32(len(files)-1), inode, began
	return nil
}

// mayHaveExpired says whether a block that is newer than the last commit may be gone already, so that the blocks are not
// numbered without a hole. Both the clock's time and the time that has passed count, for the clock may have been set.
func (d *disk) mayHaveExpired(now time.Time) bool {
	return d.maxAge > 0 && max(now.Sub(d.looked), now.Round(0).Sub(d.looked.Round(0))) >= d.maxAge/2
}

// syncFrom syncs all blocks from first on, as far as they are there when it begins, and their folder.
func (d *disk) syncFrom(first uint32, began time.Time) error {
	newest, inode := uint32(0), uint64(0)
	err := d.eachBlock(func(index uint32) error {
		if index < first {
			return nil
		}
		f, err := os.Open(d.block(index))
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it has just expired
		}
		if err != nil {
			return err
		}
		defer f.Close()
		newest = index
		inode, err = d.syncBlock(f)
		return err
	})
	if err != nil {
		return err
	}
	d.newest, d.inode, d.looked = newest, inode, began
	return d.syncFolder(d.blocks)
}

// syncAll syncs all blocks, and the names of everything down to them.
func (d *disk) syncAll() error {
	if err := d.syncFrom(0, time.Now()); err != nil {
		return err
	}
	for folder := d.stream; ; folder = filepath.Dir(folder) {
		if err := d.syncFolder(folder); err != nil {
			return err
		}
		if folder == d.dir {
			break
		}
	}
	// The data folder itself may be new, where this user may look.
	if err := d.syncFolder(filepath.Dir(d.dir)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

func (d *disk) block(index uint32) string {
	return filepath.Join(d.blocks, fmt.Sprintf("%d.blk", index))
}

// eachBlock calls fn for each block in the order of their numbers, which is that of the log.
func (d *disk) eachBlock(fn func(index uint32) error) error {
	entries, err := os.ReadDir(d.blocks)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var found []uint32
	for _, e := range entries {
		if number, ok := strings.CutSuffix(e.Name(), ".blk"); ok {
			if n, err := strconv.ParseUint(number, 10, 32); err == nil && n < math.MaxUint32 {
				found = append(found, uint32(n))
			}
		}
	}
	slices.Sort(found)
	for _, index := range found {
		if err := fn(index); err != nil {
			return err
		}
	}
	return nil
}

// syncBlock returns which file the block is.
func (d *disk) syncBlock(f *os.File) (inode uint64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		inode = st.Ino
	}
	return inode, d.hook(syncedBlock, f.Name(), func() error { return fdatasync(f) })
}

func (d *disk) syncMark() error {
	return d.hook(syncedMark, d.marks.file.Name(), func() error { return fdatasync(d.marks.file) })
}

func (d *disk) syncFolder(name string) error { return d.sync(syncedFolder, name) }

func (d *disk) sync(what syncedThing, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return d.hook(what, name, f.Sync)
}

// fdatasync syncs a file's bytes and its length, and leaves out its times.
func fdatasync(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); !errors.Is(err, unix.EINTR) {
			if err != nil {
				return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
			}
			return nil
		}
	}
}

// put makes a file durable under its name, or leaves the one that was there.
func (d *disk) put(name string, data []byte) (err error) {
	f, err := os.OpenFile(name+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = d.hook(syncedFile, name, f.Sync)
	}
	if err := cmp.Or(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(name+".tmp", name); err != nil {
		return err
	}
	return d.syncFolder(filepath.Dir(name))
}

// Names of the files in which JetStream keeps the configuration of the stream, and its checksum. It renames both into place
// without a sync; when they do not fit each other it does not know the stream.
const (
	metaName, sumName = "meta.inf", "meta.sum"
	metaCopy          = "stream.json" // in the data folder: streamMeta
)

// commitsOnly is the interval of JetStream's own syncs: none in the life of a server.
const commitsOnly = 10 * 365 * 24 * time.Hour

// streamMeta is the copy of both.
type streamMeta struct{ Meta, Sum []byte }

// keepMeta makes the present configuration of the stream durable. What has changed in it holds from then on.
func (d *disk) keepMeta() error {
	var m streamMeta
	var err error
	if m.Meta, err = os.ReadFile(filepath.Join(d.stream, metaName)); err != nil {
		return err
	}
	if m.Sum, err = os.ReadFile(filepath.Join(d.stream, sumName)); err != nil {
		return err
	}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return d.put(filepath.Join(d.dir, metaCopy), text)
}

// restoreMeta gives JetStream the configuration that was kept.
func (d *disk) restoreMeta() error {
	text, err := os.ReadFile(filepath.Join(d.dir, metaCopy))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a log that is new, or of an older version
	}
	if err != nil {
		return err
	}
	var m streamMeta
	if err := json.Unmarshal(text, &m); err != nil {
		return fmt.Errorf("%s: %w", metaCopy, err)
	}
	if err := os.MkdirAll(d.stream, 0o700); err != nil {
		return err
	}
	for name, data := range map[string][]byte{metaName: m.Meta, sumName: m.Sum} {
		name = filepath.Join(d.stream, name)
		if is, err := os.ReadFile(name); err == nil && string(is) == string(data) {
			continue
		}
		if err := d.put(name, data); err != nil {
			return err
		}
	}
	return nil
}

// vacant says whether no record was ever stored, and removes what an interrupted creation of the stream has left.
// It is asked when JetStream does not know the stream.
func (d *disk) vacant() (bool, error) {
	bytes := int64(0)
	err := d.eachBlock(func(index uint32) error {
		info, err := os.Stat(d.block(index))
		if err == nil {
			bytes += info.Size()
		}
		return err
	})
	if err != nil || bytes > 0 {
		return false, err
	}
	return true, os.RemoveAll(d.stream)
}
