package powerloss

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Kept says what a cut leaves of what was not synced. Every disk keeps what was.
type Kept int

const (
	// Nothing: neither bytes nor names.
	Nothing Kept = iota

	// Names are kept, bytes are not: files are there with the bytes that they had when they were synced.
	Names

	// Bytes are kept, names are not.
	Bytes

	// Some of both: of each file and folder as many of its changes as chance has it, in their order.
	Some
)

func (k Kept) String() string { return [...]string{"nothing", "names", "bytes", "some"}[k] }

// Disk is a file system in memory, made by [New] and mounted by [Disk.Mount].
type Disk struct {
	mu     sync.Mutex // guards what follows, and all nodes
	root   *node
	serial uint64        // of the last node
	dead   bool          // power is lost
	broken bool          // syncs fail
	cut    chan struct{} // closed when it is
	left   int           // changes until it is; negative: it stays
}

// node is a file or folder. It is in the tree of programs, in that which would survive a cut, or in both.
type node struct {
	serial  uint64
	folder  bool
	mode    uint32
	changed time.Time

	// Of a file: what programs see, what is synced, and the changes between them.
	data, synced []byte
	writes       []write

	// Of a folder, likewise.
	names, kept map[string]*node
	moves       []move
}

// write is a change of a file: data at an offset, or a new length.
type write struct {
	off      int64
	data     []byte
	truncate bool // to off
}

// move is a change of a folder: names that get another node, or none. Those of one move are changed together.
type move map[string]*node

// New makes an empty disk.
func New() *Disk {
	d := &Disk{cut: make(chan struct{}), left: -1}
	d.root = d.newNode(true, 0o755)
	return d
}

func (d *Disk) newNode(folder bool, mode uint32) *node {
	d.serial++
	n := &node{serial: d.serial, folder: folder, mode: mode, changed: time.Now()}
	if folder {
		n.names, n.kept = make(map[string]*node), make(map[string]*node)
	}
	return n
}

// CutAfter cuts the power once so many more changes have been made; syncs count as changes.
func (d *Disk) CutAfter(changes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left = changes
}

// Cut cuts the power now.
func (d *Disk) Cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cutLocked()
}

func (d *Disk) cutLocked() {
	if !d.dead {
		d.dead = true
		close(d.cut)
	}
}

// BreakSyncs lets each sync fail and sync nothing, or work again.
func (d *Disk) BreakSyncs(broken bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = broken
}

// Lost is closed when the power is cut. All that a program asks of the disk fails from then on.
func (d *Disk) Lost() <-chan struct{} { return d.cut }

// changeLocked is asked before each change.
func (d *Disk) changeLocked() syscall.Errno {
	if d.left == 0 {
		d.cutLocked()
	}
	if d.dead {
		return syscall.EIO
	}
	d.left--
	return 0
}

// Left returns the disk as it is found after a cut.
func (d *Disk) Left(kept Kept, random *rand.Rand) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cutLocked()
	out := New()
	out.root = out.survivor(d.root, kept, random, make(map[*node]*node))
	return out
}

// survivor copies what is left of n and of what is in it. A file may have kept several names.
func (d *Disk) survivor(n *node, kept Kept, random *rand.Rand, done map[*node]*node) *node {
	if s := done[n]; s != nil && !n.folder {
		return s
	}
	s := d.newNode(n.folder, n.mode)
	s.changed = n.changed
	done[n] = s
	if !n.folder {
		data := slices.Clone(n.synced)
		for _, w := range n.writes[:keptOf(len(n.writes), kept, Bytes, random)] {
			data = w.apply(data)
		}
		s.data, s.synced = data, slices.Clone(data)
		return s
	}
	names := maps.Clone(n.kept)
	for _, m := range n.moves[:keptOf(len(n.moves), kept, Names, random)] {
		m.apply(names)
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		s.names[name] = d.survivor(names[name], kept, random, done)
	}
	s.kept = maps.Clone(s.names)
	return s
}

// keptOf is how many of n changes are kept, of the kind that is kept wholly with all.
func keptOf(n int, kept, all Kept, random *rand.Rand) int {
	switch kept {
	case all:
		return n
	case Some:
		return random.IntN(n + 1)
	}
	return 0
}

func (w write) apply(data []byte) []byte {
	if w.truncate {
		if int(w.off) <= len(data) {
			return data[:w.off]
		}
		return append(data, make([]byte, int(w.off)-len(data))...)
	}
	if end := int(w.off) + len(w.data); end > len(data) {
		data = append(data, make([]byte, end-len(data))...)
	}
	copy(data[w.off:], w.data)
	return data
}

func (m move) apply(names map[string]*node) {
	for name, n := range m {
		if n == nil {
			delete(names, name)
		} else {
			names[name] = n
		}
	}
}

// writeLocked changes a file.
func (n *node) writeLocked(w write) {
	n.data = w.apply(n.data)
	n.writes = append(n.writes, w)
	n.changed = time.Now()
}

// moveLocked changes a folder.
func (n *node) moveLocked(m move) {
	m.apply(n.names)
	n.moves = append(n.moves, m)
	n.changed = time.Now()
}

// syncLocked keeps what was changed in n itself.
func (n *node) syncLocked() {
	for _, w := range n.writes {
		n.synced = w.apply(n.synced)
	}
	for _, m := range n.moves {
		m.apply(n.kept)
	}
	n.writes, n.moves = nil, nil
}
