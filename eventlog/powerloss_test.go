package eventlog

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keytrail/keytrail/internal/needs"
	"github.com/keytrail/keytrail/internal/powerloss"
)

// powerRounds is how often TestPowerLoss cuts the power; KEYTRAIL_POWER_ROUNDS changes it.
const powerRounds = 8

// powerDisk is for how many rounds a disk is used: each reads all that is on it.
const powerDisk = 6

// patience is for what takes a second on an idle machine.
const patience = 3 * time.Minute

// place is where a record is.
type place struct {
	seq   uint64
	index uint32
}

func (p place) String() string { return fmt.Sprintf("%d/%d", p.seq, p.index) }

// told is what was said of a record while the power was on.
type told struct {
	after Position  // of the acknowledgement
	at    time.Time // submitted
}

// powerTest is a log whose power is cut again and again, and all that it has ever said.
type powerTest struct {
	t      *testing.T
	cfg    childConfig
	disk   *powerloss.Disk
	random *rand.Rand

	inc     string
	noticed *[]string // takes what is wrong; nil: the test fails

	acked     map[string]told // without what was removed since
	read      map[string]place
	at        map[place]string // of what was read
	highest   uint64           // sequence that anybody was told of
	trimmed   time.Time        // what was stored before may be gone
	ackedEver int
	holes     map[uint64]bool // sequences that nobody was ever told of, and which are not there
	sent      map[string]bool // IDs that were submitted, perhaps
}

func newPowerTest(t *testing.T, cfg childConfig, random *rand.Rand) *powerTest {
	return &powerTest{
		t: t, cfg: cfg, disk: powerloss.New(), random: random,
		acked: make(map[string]told), read: make(map[string]place), at: make(map[place]string), holes: make(map[uint64]bool), sent: make(map[string]bool),
	}
}

// problem notes what must not be.
func (p *powerTest) problem(f string, args ...any) {
	p.t.Helper()
	if p.noticed == nil {
		p.t.Errorf(f, args...)
		return
	}
	*p.noticed = append(*p.noticed, fmt.Sprintf(f, args...))
}

// process is a running child.
type process struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	lines  chan string // closed when it has ended
	stderr bytes.Buffer
}

func (p *powerTest) start(dir string) *process {
	p.t.Helper()
	cfg := p.cfg
	cfg.Dir, cfg.Seed, cfg.Follow = dir, p.random.Uint64(), p.highest+1
	for id := range p.sent {
		if _, ok := p.acked[id]; !ok {
			cfg.Again = append(cfg.Again, id)
		}
	}
	text, err := json.Marshal(cfg)
	if err != nil {
		p.t.Fatal(err)
	}
	c := &process{cmd: exec.Command(os.Args[0]), lines: make(chan string, 100)}
	c.cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	c.cmd.Stderr = &c.stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		p.t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() {
		defer close(c.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			c.lines <- lines.Text()
		}
	}()
	return c
}

// kill ends the process. What it has said before is heard.
func (p *powerTest) kill(c *process) {
	p.t.Helper()
	c.cmd.Process.Kill() //nolint:errcheck // it may have ended
	for line := range c.lines {
		p.hear(line)
	}
	c.cmd.Wait() //nolint:errcheck // it was killed
	if p.t.Failed() {
		p.t.Logf("round %d; the process said\n%s", p.cfg.Round, c.stderr.Bytes())
	}
}

// hear notes what a process with the power on says after its start.
func (p *powerTest) hear(line string) {
	word, rest, _ := strings.Cut(line, " ")
	f := strings.Fields(rest)
	number := func(i int) uint64 {
		n, err := strconv.ParseUint(f[i], 10, 64)
		if err != nil {
			p.problem("%q: %v", line, err)
		}
		return n
	}
	switch word {
	case "acked":
		id, pos := f[2], Position{Seq: number(0), Index: uint32(number(1))}
		if before, ok := p.acked[id]; ok {
			p.problem("%s is stored at %v, and was at %v", id, pos, before.after)
		}
		p.ackedEver++
		p.acked[id] = told{pos, time.Unix(0, int64(number(3)))}
		p.highest = max(p.highest, seqBefore(pos))
	case "there":
		id, pos := f[2], Position{Seq: number(0), Index: uint32(number(1))}
		if before, ok := p.acked[id]; ok && before.after != pos {
			p.problem("%s is there at %v, and was at %v", id, pos, before.after)
		}
	case "read":
		id, at := f[2], place{number(0), uint32(number(1))}
		if was, ok := p.at[at]; ok && was != id {
			p.problem("%s is read at %v, where %s was", id, at, was)
		}
		if was, ok := p.read[id]; ok && was != at {
			p.problem("%s is read at %v, and was at %v", id, at, was)
		}
		p.at[at], p.read[id] = id, at
		p.highest = max(p.highest, at.seq)
	case "sent":
		p.sent[f[0]] = true
	case "trimming":
		if at := time.Unix(0, int64(number(0))); at.After(p.trimmed) {
			p.trimmed = at
		}
	}
}

// seqBefore is the sequence of the message that a position after one of its records is in.
func seqBefore(p Position) uint64 {
	if p.Index == 0 {
		return p.Seq - 1
	}
	return p.Seq
}

// opened hears a process until it is ready, or the power is cut, and compares what it has with what was told. It returns
// false when the power was cut.
func (p *powerTest) opened(c *process) bool {
	p.t.Helper()
	var inc string
	var first, head uint64
	has := make(map[string]place)
	count := make(map[uint64]uint32) // records of a message
	limit := time.After(patience)
	for {
		select {
		case line, open := <-c.lines:
			if !open {
				c.lines = closed
				if !cutOf(p.disk) {
					c.cmd.Wait() //nolint:errcheck // what it said tells more
					p.problem("round %d: the log does not open:\n%s", p.cfg.Round, c.stderr.Bytes())
				}
				return false
			}
			word, rest, _ := strings.Cut(line, " ")
			switch word {
			case "opened":
				fmt.Sscan(rest, &inc, &head) //nolint:errcheck // compared below
			case "has":
				var at place
				var id string
				fmt.Sscan(rest, &at.seq, &at.index, &id) //nolint:errcheck // compared below
				if was, ok := has[id]; ok {
					p.problem("%s is there twice, at %v and %v", id, was, at)
				}
				has[id] = at
				count[at.seq] = max(count[at.seq], at.index+1)
			case "ready":
				fmt.Sscan(rest, &first) //nolint:errcheck // compared next
				p.compare(inc, first, head, has, count)
				return true
			}
		case <-p.disk.Lost():
			// It may still be heard, but it has told nobody else of anything.
			return false
		case <-limit:
			p.t.Fatalf("round %d: the log does not open in time", p.cfg.Round)
		}
	}
}

var closed = func() chan string { c := make(chan string); close(c); return c }()

func cutOf(d *powerloss.Disk) bool {
	select {
	case <-d.Lost():
		return true
	default:
		return false
	}
}

// compare holds what a log has after a start to what was told before.
func (p *powerTest) compare(inc string, first, head uint64, has map[string]place, count map[uint64]uint32) {
	p.t.Helper()
	if p.inc = cmp.Or(p.inc, inc); p.inc != inc {
		p.problem("the log has incarnation %s and had %s: old cursors are refused", inc, p.inc)
	}
	if head <= p.highest {
		p.problem("the log ends at %d and had told of %d", head, p.highest)
	}
	now := time.Now()
	for id, was := range p.acked {
		at, ok := has[id]
		switch {
		case ok && After(at.seq, int(at.index), int(count[at.seq])) != was.after:
			p.problem("%s is at %v of %d, and was acknowledged with %v", id, at, count[at.seq], was.after)
		case !ok && seqBefore(was.after) >= first:
			p.problem("%s, acknowledged with %v, is gone; the log has %d to %d", id, was.after, first, head)
		case !ok && was.at.After(p.trimmed) && (p.cfg.MaxAge == 0 || now.Before(was.at.Add(p.cfg.MaxAge))):
			p.problem("%s, acknowledged with %v, is gone before its time; the log has %d to %d", id, was.after, first, head)
		case !ok:
			delete(p.acked, id)
			delete(p.sent, id)
		}
	}
	for id, was := range p.read {
		if at, ok := has[id]; ok && at != was {
			p.problem("%s is at %v and was read at %v", id, at, was)
		} else if !ok && was.seq >= first {
			p.problem("%s, read at %v, is gone; the log has %d to %d", id, was, first, head)
		} else if !ok { // it may be stored anew
			delete(p.read, id)
		}
	}
	for seq := first; seq < head; seq++ {
		if count[seq] > 0 || p.holes[seq] {
			continue
		}
		if seq <= p.highest {
			p.problem("message %d is gone; the log has %d to %d and had told of %d", seq, first, head, p.highest)
		}
		p.holes[seq] = true
	}
}

// TestPowerLoss cuts the power of a log under load, again and again: while it opens, writes, rolls from block to block, lets
// records expire and trims. What it had acknowledged or shown to a reader is there when the power is back, once and in its place.
func TestPowerLoss(t *testing.T) {
	needs.FUSE(t)
	rounds := powerRounds
	if s := os.Getenv("KEYTRAIL_POWER_ROUNDS"); s != "" {
		var err error
		if rounds, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	kinds := map[string]childConfig{
		"load":   {Writers: 3},
		"trims":  {Writers: 2, Trims: true},
		"expiry": {Writers: 2, MaxAge: 500 * time.Millisecond, MaxBytes: 30 << 20}, // blocks of 4 MB
	}
	for n, name := range slices.Sorted(maps.Keys(kinds)) {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, uint64(n)))
			rounds := (rounds + len(kinds) - 1 - n) / len(kinds)
			for rounds > 0 && !t.Failed() {
				p := newPowerTest(t, kinds[name], random)
				for range min(rounds, powerDisk) {
					if p.round(); t.Failed() {
						return
					}
					rounds--
				}
				p.last()
			}
		})
	}
}

// round lets a process run until the power is cut, and keeps what the disk has then.
func (p *powerTest) round() {
	p.cfg.Round++
	dir := p.t.TempDir()
	unmount := p.disk.Mount(p.t, dir)
	cutInOpening := p.random.IntN(4) == 0
	if cutInOpening {
		p.disk.CutAfter(p.random.IntN(60))
	}
	c := p.start(dir)
	if p.opened(c) {
		p.run(c)
	}
	p.kill(c)
	unmount()
	kept := powerloss.Nothing
	if p.random.IntN(2) == 0 {
		kept = powerloss.Kept(p.random.IntN(4))
	}
	p.disk = p.disk.Left(kept, p.random)
}

// last looks at what is there in the end.
func (p *powerTest) last() {
	p.cfg.Round++
	dir := p.t.TempDir()
	unmount := p.disk.Mount(p.t, dir)
	c := p.start(dir)
	p.opened(c)
	p.kill(c)
	unmount()
	p.t.Logf("after %d rounds: %d acknowledged, %d read, %d that nobody was told of", p.cfg.Round-1, p.ackedEver, len(p.at), len(p.holes))
}

// run hears a process under load until the power is cut.
func (p *powerTest) run(c *process) {
	p.t.Helper()
	if p.cfg.MaxAge > 0 && p.random.IntN(3) == 0 {
		if _, err := io.WriteString(c.in, "rest\n"); err != nil {
			p.t.Fatal(err)
		}
	} else {
		p.disk.CutAfter(p.random.IntN(600))
	}
	limit := time.After(patience)
	for {
		select {
		case line, open := <-c.lines:
			if !open {
				if !cutOf(p.disk) {
					c.cmd.Wait() //nolint:errcheck // what it said tells more
					p.t.Fatalf("round %d: the process has ended:\n%s", p.cfg.Round, c.stderr.Bytes())
				}
				c.lines = closed
				return
			}
			if line == "empty" {
				p.disk.Cut()
			}
			p.hear(line)
		case <-p.disk.Lost():
			return
		case <-limit:
			p.t.Fatalf("round %d: no end in time", p.cfg.Round)
		}
	}
}

// TestSyncsNeeded: the test above would notice a log that leaves out any of its syncs. Each is left out here, at a cut
// that keeps what the sync was not for.
func TestSyncsNeeded(t *testing.T) {
	needs.FUSE(t)
	for name, tt := range map[string]struct {
		skip syncedThing
		cfg  childConfig
		kept powerloss.Kept
		upTo uint64 // the sequence after which the power is cut; 0: when all has expired
	}{
		"bytes of a block":    {syncedBlock, childConfig{Writers: 1}, powerloss.Names, 5},
		"name of a new block": {syncedFolder, childConfig{Writers: 2}, powerloss.Bytes, 500}, // 8 MiB and more
		"names at the start":  {syncedFolder, childConfig{Writers: 1, SkipAtStart: true}, powerloss.Bytes, 5},
		"mark":                {syncedMark, childConfig{Writers: 1, MaxAge: 200 * time.Millisecond}, powerloss.Names, 0},
		"what is known of it": {syncedFile, childConfig{Writers: 1, SkipAtStart: true}, powerloss.Names, 5},
	} {
		t.Run(name, func(t *testing.T) {
			for _, skip := range []syncedThing{"", tt.skip} {
				p := newPowerTest(t, tt.cfg, rand.New(rand.NewPCG(1, 2)))
				p.cfg.Skip = skip
				p.noticed = new([]string)
				dir := t.TempDir()
				unmount := p.disk.Mount(t, dir)
				c := p.start(dir)
				if !p.opened(c) {
					t.Fatal("the log does not open")
				}
				p.runUpTo(c, tt.upTo)
				p.disk.Cut()
				p.kill(c)
				unmount()
				p.disk = p.disk.Left(tt.kept, p.random)
				p.cfg.Skip = ""
				p.last()
				if noticed := len(*p.noticed) > 0; noticed != (skip != "") {
					t.Errorf("without the sync of %q: noticed %q", skip, *p.noticed)
				}
			}
		})
	}
}

// runUpTo hears a process until it has told of the sequence seq or, with 0, until all has expired.
func (p *powerTest) runUpTo(c *process, seq uint64) {
	p.t.Helper()
	limit := time.After(patience)
	for resting := false; ; {
		select {
		case line, open := <-c.lines:
			if !open {
				p.t.Fatalf("the process has ended:\n%s", c.stderr.Bytes())
			}
			p.hear(line)
			if line == "empty" || seq > 0 && p.highest >= seq {
				return
			}
			if seq == 0 && p.highest > 0 && !resting {
				resting = true
				if _, err := io.WriteString(c.in, "rest\n"); err != nil {
					p.t.Fatal(err)
				}
			}
		case <-limit:
			p.t.Fatal("no end in time")
		}
	}
}
