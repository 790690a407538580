package filter

import (
	"maps"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// TestTrie holds tries to maps; each is still what it was after others were made from it.
func TestTrie(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Few bits, some of them high ones, so that keys share slots.
		keys := rapid.Custom(func(t *rapid.T) uint64 {
			return rapid.Uint64Range(0, 7).Draw(t, "low") | rapid.Uint64Range(0, 3).Draw(t, "high")<<62 | rapid.Uint64Range(0, 3).Draw(t, "middle")<<11
		})
		type version struct {
			trie trie[int]
			want map[uint64]int
		}
		versions := []version{{want: map[uint64]int{}}}
		for i := range rapid.IntRange(1, 60).Draw(t, "changes") {
			last := versions[len(versions)-1]
			next := version{last.trie, maps.Clone(last.want)}
			if key := keys.Draw(t, "key"); rapid.IntRange(0, 2).Draw(t, "remove") == 0 {
				next.trie = next.trie.without(key)
				delete(next.want, key)
			} else {
				next.trie = next.trie.with(key, i)
				next.want[key] = i
			}
			versions = append(versions, next)
		}
		for _, v := range versions {
			got := make(map[uint64]int)
			v.trie.each(func(items []trieItem[int]) {
				for _, it := range items {
					got[it.key] = it.v
				}
			})
			if !maps.Equal(got, v.want) || v.trie.n != len(v.want) {
				t.Fatalf("the trie has %d: %v, want %v", v.trie.n, got, v.want)
			}
			var anew trie[int]
			for key, value := range v.want {
				anew = anew.with(key, value)
			}
			if !reflect.DeepEqual(v.trie, anew) {
				t.Fatal("the trie is not as if it had never had other keys")
			}
			for key, want := range v.want {
				if got, ok := v.trie.get(key); !ok || got != want {
					t.Fatalf("%d at %d, want %d", got, key, want)
				}
			}
			if _, ok := v.trie.get(1 << 40); ok {
				t.Fatal("a key that nobody put there")
			}
		}
	})
}
