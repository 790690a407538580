package powerloss

import (
	"context"
	"errors"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Mount shows the disk at an empty folder, until the function that it returns is called or the test ends. Call it when the
// programs that use the folder are gone.
func (d *Disk) Mount(tb testing.TB, dir string) (unmount func()) {
	tb.Helper()
	long := time.Hour // nobody else changes the disk
	d.mu.Lock()
	root := &inode{disk: d, n: d.root}
	d.mu.Unlock()
	server, err := fs.Mount(dir, root, &fs.Options{
		MountOptions:   fuse.MountOptions{DirectMount: true, FsName: "powerloss", Name: "powerloss", MaxWrite: 1 << 20},
		EntryTimeout:   &long,
		RootStableAttr: &fs.StableAttr{Ino: root.n.serial},
	})
	if err != nil {
		if errors.Is(err, syscall.EPERM) {
			tb.Skipf("needs leave to mount file systems: %v", err)
		}
		tb.Fatalf("mounting a file system: %v", err)
	}
	gone := false
	unmount = func() {
		if gone {
			return
		}
		gone = true
		if err := server.Unmount(); err != nil {
			tb.Errorf("unmounting %s: %v", dir, err)
			// Or the test could not remove its folder.
			if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
				tb.Error(err)
			}
		}
	}
	tb.Cleanup(unmount)
	return unmount
}

// inode is a node as go-fuse knows it. Several may stand for one node, one after the other.
type inode struct {
	fs.Inode
	disk *Disk
	n    *node
}

var (
	_ fs.NodeLookuper  = (*inode)(nil)
	_ fs.NodeReaddirer = (*inode)(nil)
	_ fs.NodeMkdirer   = (*inode)(nil)
	_ fs.NodeCreater   = (*inode)(nil)
	_ fs.NodeUnlinker  = (*inode)(nil)
	_ fs.NodeRmdirer   = (*inode)(nil)
	_ fs.NodeRenamer   = (*inode)(nil)
	_ fs.NodeOpener    = (*inode)(nil)
	_ fs.NodeReader    = (*inode)(nil)
	_ fs.NodeWriter    = (*inode)(nil)
	_ fs.NodeFsyncer   = (*inode)(nil)
	_ fs.NodeGetattrer = (*inode)(nil)
	_ fs.NodeSetattrer = (*inode)(nil)
	_ fs.NodeStatfser  = (*inode)(nil)
)

func (i *inode) fillLocked(n *node, out *fuse.Attr) {
	out.Ino, out.Mode, out.Size = n.serial, n.mode, uint64(len(n.data))
	out.Nlink = 1
	out.SetTimes(nil, &n.changed, &n.changed)
}

func (i *inode) childLocked(ctx context.Context, n *node, out *fuse.EntryOut) *fs.Inode {
	i.fillLocked(n, &out.Attr)
	kind := uint32(fuse.S_IFREG)
	if n.folder {
		kind = fuse.S_IFDIR
	}
	return i.NewInode(ctx, &inode{disk: i.disk, n: n}, fs.StableAttr{Mode: kind, Ino: n.serial})
}

// lock locks the disk for a look at it, or for a change.
func (i *inode) lock(change bool) (unlock func(), errno syscall.Errno) {
	i.disk.mu.Lock()
	switch {
	case change:
		errno = i.disk.changeLocked()
	case i.disk.dead:
		errno = syscall.EIO
	}
	if errno != 0 {
		i.disk.mu.Unlock()
		return func() {}, errno
	}
	return i.disk.mu.Unlock, 0
}

func (i *inode) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	unlock, errno := i.lock(false)
	defer unlock()
	if errno != 0 {
		return nil, errno
	}
	n := i.n.names[name]
	if n == nil {
		return nil, syscall.ENOENT
	}
	return i.childLocked(ctx, n, out), 0
}

func (i *inode) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	unlock, errno := i.lock(false)
	defer unlock()
	if errno != 0 {
		return nil, errno
	}
	var list []fuse.DirEntry
	for name, n := range i.n.names {
		e := fuse.DirEntry{Name: name, Ino: n.serial, Mode: fuse.S_IFREG}
		if n.folder {
			e.Mode = fuse.S_IFDIR
		}
		list = append(list, e)
	}
	return fs.NewListDirStream(list), 0
}

// addLocked adds a node to the folder.
func (i *inode) addLocked(ctx context.Context, name string, folder bool, mode uint32, out *fuse.EntryOut) *fs.Inode {
	n := i.disk.newNode(folder, mode&0o777)
	i.n.moveLocked(move{name: n})
	return i.childLocked(ctx, n, out)
}

func (i *inode) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	unlock, errno := i.lock(true)
	defer unlock()
	if errno != 0 {
		return nil, errno
	}
	if i.n.names[name] != nil {
		return nil, syscall.EEXIST
	}
	return i.addLocked(ctx, name, true, mode, out), 0
}

func (i *inode) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	unlock, errno := i.lock(true)
	defer unlock()
	if errno != 0 {
		return nil, nil, 0, errno
	}
	if n := i.n.names[name]; n != nil { // the kernel did not know it yet
		if flags&syscall.O_EXCL != 0 {
			return nil, nil, 0, syscall.EEXIST
		}
		if flags&syscall.O_TRUNC != 0 {
			n.writeLocked(write{truncate: true})
		}
		return i.childLocked(ctx, n, out), nil, 0, 0
	}
	return i.addLocked(ctx, name, false, mode, out), nil, 0, 0
}

func (i *inode) Unlink(_ context.Context, name string) syscall.Errno { return i.remove(name, false) }
func (i *inode) Rmdir(_ context.Context, name string) syscall.Errno  { return i.remove(name, true) }

func (i *inode) remove(name string, folder bool) syscall.Errno {
	unlock, errno := i.lock(true)
	defer unlock()
	n := i.n.names[name]
	switch {
	case errno != 0:
		return errno
	case n == nil:
		return syscall.ENOENT
	case folder && len(n.names) > 0:
		return syscall.ENOTEMPTY
	}
	i.n.moveLocked(move{name: nil})
	return 0
}

func (i *inode) Rename(_ context.Context, name string, parent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	unlock, errno := i.lock(true)
	defer unlock()
	to := parent.(*inode).n
	n := i.n.names[name]
	switch {
	case errno != 0:
		return errno
	case flags != 0:
		return syscall.EINVAL
	case n == nil:
		return syscall.ENOENT
	case to.names[newName] != nil && len(to.names[newName].names) > 0:
		return syscall.ENOTEMPTY
	}
	if to == i.n {
		i.n.moveLocked(move{name: nil, newName: n})
		return 0
	}
	i.n.moveLocked(move{name: nil})
	to.moveLocked(move{newName: n})
	return 0
}

func (i *inode) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	unlock, errno := i.lock(false)
	defer unlock()
	return nil, 0, errno
}

func (i *inode) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	unlock, errno := i.lock(false)
	defer unlock()
	if errno != 0 {
		return nil, errno
	}
	return fuse.ReadResultData(dest[:copy(dest, i.n.data[min(off, int64(len(i.n.data))):])]), 0
}

func (i *inode) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	unlock, errno := i.lock(true)
	defer unlock()
	if errno != 0 {
		return 0, errno
	}
	i.n.writeLocked(write{off: off, data: slices.Clone(data)})
	return uint32(len(data)), 0
}

func (i *inode) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	unlock, errno := i.lock(true)
	defer unlock()
	switch {
	case errno != 0:
		return errno
	case i.disk.broken:
		return syscall.EIO
	}
	i.n.syncLocked()
	return 0
}

func (i *inode) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	unlock, errno := i.lock(false)
	defer unlock()
	if errno == 0 {
		i.fillLocked(i.n, &out.Attr)
	}
	return errno
}

func (i *inode) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	unlock, errno := i.lock(true)
	defer unlock()
	if errno != 0 {
		return errno
	}
	if size, ok := in.GetSize(); ok {
		i.n.writeLocked(write{off: int64(size), truncate: true})
	}
	if mode, ok := in.GetMode(); ok {
		i.n.mode = mode & 0o777
	}
	i.fillLocked(i.n, &out.Attr)
	return 0
}

// Statfs shows a large disk that is nearly empty.
func (i *inode) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	out.Bsize, out.Frsize, out.NameLen = 4096, 4096, 255
	out.Blocks, out.Bfree, out.Bavail = 1<<24, 1<<24, 1<<24
	out.Files, out.Ffree = 1<<20, 1<<20
	return 0
}
