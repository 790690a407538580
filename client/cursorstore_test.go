package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// memoryStore is a CursorStore that notes its saves, and fails on demand.
type memoryStore struct {
	cursor string
	saves  []string
	at     []time.Time
	fail   error
}

func (m *memoryStore) Load(context.Context) (string, error) { return m.cursor, m.fail }

func (m *memoryStore) Save(_ context.Context, cursor string) error {
	if m.fail != nil {
		return m.fail
	}
	m.cursor = cursor
	m.saves = append(m.saves, cursor)
	m.at = append(m.at, time.Now())
	return nil
}

// A program that crashes anywhere gets again what it had not finished, and
// nothing is skipped.
func TestCrashRepeats(t *testing.T) {
	const records = 10
	for crash := 1; crash <= records; crash++ {
		t.Run(fmt.Sprint(crash), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBus(t)
				b.append(recs(0, records)...)
				c := b.client()
				store := &memoryStore{}
				cfg := SubscriptionConfig{Start: Earliest(), Cursors: store, SaveEvery: -1}

				first := take(t, subscribe(t, c, cfg), crash) // the last of them was being handled
				// A crash: the subscription is not closed before the next begins.
				second := take(t, subscribe(t, c, cfg), records-crash+1)
				wantIDs(t, "before", first, idsOf(0, crash))
				wantIDs(t, "after", second, idsOf(crash-1, records))
			})
		})
	}
}

// Leaving the loop is not handling the event; Handled says that it was.
func TestHandled(t *testing.T) {
	for _, handled := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := newBus(t)
			b.append(recs(0, 10)...)
			store := &memoryStore{}
			s := subscribe(t, b.client(), SubscriptionConfig{Start: Earliest(), Cursors: store})
			for ev, err := range s.Events(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				if ev.Record.GetEventId() == idOf(4) {
					if handled {
						s.Handled()
					}
					break
				}
			}
			for range 2 {
				if err := s.Close(t.Context()); err != nil {
					t.Errorf("Close: %v", err)
				}
			}
			want := cursorAt(4)
			if handled {
				want = cursorAt(5)
			}
			if store.cursor != want {
				t.Errorf("saved %s, want %s", store.cursor, want)
			}
		})
	}
}

// A stored cursor wins over Start; it is not written again unchanged.
func TestStoredCursorWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		b.append(recs(0, 10)...)
		store := &memoryStore{cursor: "c7"}
		s := subscribe(t, b.client(), SubscriptionConfig{Start: Earliest(), Cursors: store})
		if err := s.Close(t.Context()); err != nil || len(store.saves) != 0 {
			t.Errorf("Close without events: %v, saved %v", err, store.saves)
		}
		s = subscribe(t, b.client(), SubscriptionConfig{Start: Earliest(), Cursors: store})
		wantIDs(t, "delivered", take(t, s, 3), idsOf(7, 10))
	})
}

// Cursors are saved at most every SaveEvery, the last one also when nothing
// more comes, and those of checkpoints too.
func TestSaveEvery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		store := &memoryStore{}
		s := subscribe(t, b.client(), SubscriptionConfig{Start: Earliest(), Cursors: store, SaveEvery: 10 * time.Second, CheckpointInterval: time.Hour})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for _, err := range s.Events(ctx) {
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("Next: %v", err)
				}
			}
		}()
		for i := range 35 {
			time.Sleep(time.Second)
			b.append(rec(i))
		}
		time.Sleep(time.Minute)
		cancel()
		<-done
		// A save falls due in the same instant as a record comes: either may
		// be first.
		if n := len(store.saves); n != 5 || store.saves[0] != "c0" || store.saves[4] != "c35" {
			t.Errorf("saved %s", store.saves)
		}
		for i := 1; i < len(store.at); i++ {
			if d := store.at[i].Sub(store.at[i-1]); d < 10*time.Second {
				t.Errorf("saved again after %s", d)
			}
		}
	})
}

// A store that fails is an error that passes: no event is lost.
func TestSaveFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		b.append(recs(0, 10)...)
		store := &memoryStore{}
		s := subscribe(t, b.client(), SubscriptionConfig{Start: Earliest(), Cursors: store, SaveEvery: -1})
		take(t, s, 4)
		store.fail = errors.New("disk full")
		for range 3 {
			if _, err := s.Next(t.Context()); !errors.Is(err, store.fail) {
				t.Errorf("Next: %v", err)
			}
		}
		store.fail = nil
		wantIDs(t, "rest", take(t, s, 6), idsOf(4, 10))
		store.fail = errors.New("disk full")
		s.Handled()
		if err := s.Close(t.Context()); !errors.Is(err, store.fail) {
			t.Errorf("Close: %v", err)
		}
	})
}

func TestFileCursorStore(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	f := FileCursorStore{Path: filepath.Join(dir, "cursor")}
	if c, err := f.Load(ctx); c != "" || err != nil {
		t.Errorf("before the first save: %q, %v", c, err)
	}
	for _, want := range []string{"abc.1.2", "x"} {
		if err := f.Save(ctx, want); err != nil {
			t.Fatal(err)
		}
		if c, err := f.Load(ctx); c != want || err != nil {
			t.Errorf("loaded %q, %v, want %q", c, err, want)
		}
	}
	info, err := os.Stat(f.Path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("files are left: %v", entries)
	}

	for _, bad := range []string{"", "\n", "two words", "two\nlines", "caf\xc3\xa9", string(make([]byte, 2000))} {
		if err := os.WriteFile(f.Path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := f.Load(ctx); err == nil {
			t.Errorf("%q is loaded as %q", bad, c)
		}
	}

	// A save that fails leaves the file, and nothing else, behind.
	sub := filepath.Join(dir, "taken")
	if err := os.Mkdir(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := (FileCursorStore{Path: sub}).Save(ctx, "x"); err == nil {
		t.Error("saved over a folder")
	}
	if err := (FileCursorStore{Path: filepath.Join(dir, "missing", "x")}).Save(ctx, "x"); err == nil {
		t.Error("saved into a folder that is missing")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("files are left: %v", entries)
	}
	t.Chdir(dir)
	if err := (FileCursorStore{Path: "here"}).Save(ctx, "x"); err != nil {
		t.Errorf("Save without a folder: %v", err)
	}
}
