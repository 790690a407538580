package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// CursorStore keeps a subscription's position. A Subscription calls it from
// one goroutine at a time.
type CursorStore interface {
	// Load returns the cursor that was saved last, or "" when none ever was.
	Load(ctx context.Context) (string, error)

	// Save replaces the cursor. When it fails, the one before must be intact.
	Save(ctx context.Context, cursor string) error
}

// FileCursorStore keeps a cursor in a file of its own, readable by its owner
// only. A save survives power loss and replaces the file as a whole. One
// subscription at a time may use the file.
type FileCursorStore struct {
	// Path is the file. Its folder must exist and be writable.
	Path string
}

// maxCursorBytes is more than any cursor has.
const maxCursorBytes = 1024

// Load reads the file. A file that does not exist holds no cursor; one that
// holds anything but a cursor is an error, since starting elsewhere would
// lose records silently.
func (f FileCursorStore) Load(context.Context) (string, error) {
	b, err := os.ReadFile(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	cursor := strings.TrimSuffix(string(b), "\n")
	if cursor == "" || len(cursor) > maxCursorBytes || strings.ContainsFunc(cursor, notInCursor) {
		return "", fmt.Errorf("%s does not hold a cursor", f.Path)
	}
	return cursor, nil
}

// notInCursor: cursors are printable ASCII without spaces.
func notInCursor(r rune) bool { return r <= ' ' || r > '~' }

// Save writes the file anew, flushes it to disk and moves it into place.
func (f FileCursorStore) Save(_ context.Context, cursor string) error {
	folder, name := filepath.Split(f.Path)
	tmp, err := os.CreateTemp(cmp.Or(folder, "."), name+".*.tmp") // mode 0600
	if err != nil {
		return err
	}
	_, err = tmp.WriteString(cursor + "\n")
	if err == nil {
		err = tmp.Sync()
	}
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), f.Path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	// The new name is on disk once the folder is.
	return syncFolder(filepath.Dir(f.Path))
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
