package eventlog

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// JetStream trims a log by removing whole blocks and rewriting the one that it keeps a part of. It writes the new file of that
// block without a sync and renames it over the old one: at a power loss the name may be durable and the bytes not, and
// then records are gone that were synced before. So the block is copied first, and the copy removed once the new
// file is synced; nothing is acknowledged in between. A copy that is found at a start is the block.

// trimFolder holds the copy, in the data folder.
const trimFolder = "trim"

// saveTrimmed copies the block that a trim before the sequence to would rewrite.
func (d *disk) saveTrimmed(to uint64) error {
	index, err := d.blockOf(to)
	if err != nil || index == 0 {
		return err
	}
	data, err := os.ReadFile(d.block(index))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it has just expired
	}
	if err != nil {
		return err
	}
	folder := filepath.Join(d.dir, trimFolder)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	if err := d.syncFolder(d.dir); err != nil {
		return err
	}
	return d.put(filepath.Join(folder, filepath.Base(d.block(index))), data)
}

// trimmed makes durable what a trim has left, and drops the copy.
func (d *disk) trimmed() error {
	err := d.eachSaved(func(name string) error {
		err := d.sync(syncedBlock, filepath.Join(d.blocks, name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil // all of it was trimmed
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := errors.Join(d.syncFrom(d.newest, time.Now()), d.syncFolder(d.stream)); err != nil {
		return err
	}
	return d.dropSaved()
}

// restoreTrimmed puts the copy of an unfinished trim back.
func (d *disk) restoreTrimmed() error {
	err := d.eachSaved(func(name string) error {
		data, err := os.ReadFile(filepath.Join(d.dir, trimFolder, name))
		if err != nil {
			return err
		}
		d.logger.Warn("a trim of the log was interrupted; it is done again", "block", name)
		// A trim of everything replaces the folder.
		if err := os.MkdirAll(d.blocks, 0o700); err != nil {
			return err
		}
		return errors.Join(d.put(filepath.Join(d.blocks, name), data), d.syncFolder(d.stream))
	})
	if err != nil {
		return err
	}
	return d.dropSaved()
}

func (d *disk) dropSaved() error {
	dropped := false
	err := d.eachSaved(func(name string) error {
		dropped = true
		return os.Remove(filepath.Join(d.dir, trimFolder, name))
	})
	if err != nil || !dropped {
		return err
	}
	return d.syncFolder(filepath.Join(d.dir, trimFolder))
}

// eachSaved calls fn with the name of each block that was copied.
func (d *disk) eachSaved(fn func(name string) error) error {
	entries, err := os.ReadDir(filepath.Join(d.dir, trimFolder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".blk" { // the beginning of a copy
			continue
		}
		if err := fn(e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// errFound ends a search.
var errFound = errors.New("found")

// blockOf is the block that holds the sequence seq, or 0.
func (d *disk) blockOf(seq uint64) (found uint32, err error) {
	err = d.eachBlock(func(index uint32) error {
		first, err := firstSeq(d.block(index))
		switch {
		case errors.Is(err, fs.ErrNotExist), err == nil && first == 0:
			return nil
		case err != nil:
			return err
		case first > seq:
			return errFound
		}
		found = index
		return nil
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return found, err
}

// How JetStream stores a message in a block: its length (4 bytes, the highest bit says that it has headers), its
// sequence (8), and more. Sequences with one of the two highest bits are notes about messages that are gone.
const (
	storedHeader    = 4 + 8
	storedLengthBit = 1 << 31
	storedNoteBits  = 3 << 62
)

// firstSeq is the sequence of the first message in a block, or 0.
func firstSeq(name string) (uint64, error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	for {
		var head [storedHeader]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return 0, nil
			}
			return 0, err
		}
		seq := binary.LittleEndian.Uint64(head[4:])
		if seq&storedNoteBits == 0 {
			return seq, nil
		}
		length := binary.LittleEndian.Uint32(head[:]) &^ storedLengthBit
		if length <= storedHeader {
			return 0, nil // no block of JetStream
		}
		if _, err := in.Discard(int(length) - storedHeader); err != nil {
			if errors.Is(err, io.EOF) {
				return 0, nil
			}
			return 0, err
		}
	}
}
