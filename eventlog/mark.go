package eventlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// mark is what the data folder says of the log beside JetStream's own files: how far it was synced. It
// tells a disk that lost what it had synced from one on which everything has expired, and
// keeps a log in which everything has expired from counting from 1 again.
type mark struct {
	// Generation grows with each mark that is written.
	Generation uint64 `json:"generation"`

	// Synced is the last sequence that was certainly on the disk when the mark was written,
	// Used the last that may have been told to anybody since.
	Synced uint64 `json:"synced"`
	Used   uint64 `json:"used"`

	// At is when Used was stored, at the earliest.
	At time.Time `json:"at"`

	// Running is set while a bus has the folder open, and after it ended in any way but the orderly one.
	Running bool `json:"running,omitempty"`

	// Unsynced is set by a bus that acknowledges before it syncs.
	Unsynced bool `json:"unsynced,omitempty"`

	// Boot is the start of the system that the bus runs on: what was written and not synced is there until the next.
	Boot string `json:"boot,omitempty"`

	// Failed says that a sync failed. What the page cache holds may not be on the disk then, though it looks as if it were.
	Failed bool `json:"failed,omitempty"`
}

const (
	markName = "synced"

	// A mark is written to the two places of its file in turn, each in a page of its own, so that one that is torn leaves the
	// one before it.
	markPlace = 4096
	markSize  = 512
)

// markFile is the open file of marks. Its user has Log.committing, or the log to itself.
type markFile struct {
	file *os.File
	last mark
}

// openMark opens the marks of a data folder, or makes them. found says whether there were any.
func openMark(dir string) (m *markFile, found bool, err error) {
	name := filepath.Join(dir, markName)
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, false, err
	}
	m = &markFile{file: f}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	data, err := io.ReadAll(io.LimitReader(f, 2*markPlace))
	if err != nil {
		return nil, false, err
	}
	for place := 0; place+markSize <= len(data); place += markPlace {
		got, err := parseMark(data[place : place+markSize])
		if err == nil && (!found || got.Generation > m.last.Generation) {
			m.last, found = got, true
		}
	}
	if !found && len(bytes.Trim(data, "\x00")) > 0 {
		return nil, false, fmt.Errorf("%s is damaged in both of its places: if the disk is sound, move the file away and start the bus again, which then takes the log as it is", name)
	}
	if len(data) < markPlace+markSize {
		// At its full size, so that a later sync need not store another.
		if _, err := f.WriteAt(make([]byte, markPlace+markSize-len(data)), int64(len(data))); err != nil {
			return nil, false, err
		}
	}
	return m, found, nil
}

// parseMark reads what format wrote.
func parseMark(text []byte) (out mark, err error) {
	sum, body, ok := strings.Cut(strings.TrimRight(string(text), "\x00"), " ")
	if !ok || sum != fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(body))) {
		return out, errors.New("no mark")
	}
	return out, json.Unmarshal([]byte(body), &out)
}

func (m mark) format() ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	text := fmt.Appendf(nil, "%08x %s", crc32.ChecksumIEEE(body), body)
	if len(text) > markSize {
		return nil, fmt.Errorf("a mark of %d bytes", len(text))
	}
	return append(text, make([]byte, markSize-len(text))...), nil
}

// write writes what change makes of the last mark. It is on the disk when the file was synced.
func (m *markFile) write(change func(*mark)) error {
	next := m.last
	change(&next)
	next.Generation++
	text, err := next.format()
	if err != nil {
		return err
	}
	if _, err := m.file.WriteAt(text, int64(next.Generation%2)*markPlace); err != nil {
		return err
	}
	m.last = next
	return nil
}

// bootID names the time since the system started, or is "" where the system does not say: then every
// start counts as one after a power loss.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}
