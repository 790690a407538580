package spool

import (
	"bytes"
	"testing"
)

// slowFrames is the oracle: at each position, a frame or one byte on.
func slowFrames(b []byte, s salt) [][]byte {
	var all [][]byte
	for i := 0; i < len(b); {
		if payload, ok := frameAt(b[i:], s); ok {
			all = append(all, payload)
			i += headerBytes + len(payload)
		} else {
			i++
		}
	}
	return all
}

// FuzzFrames reads two frames with garbage around them, after a byte was
// changed and the end cut off. Nothing panics, the reader finds what the oracle
// finds, and every byte is accounted for.
func FuzzFrames(f *testing.F) {
	s := salt{1, 2, 3, 4, 5, 6, 7, 8}
	f.Add([]byte{}, []byte("payload"), []byte("other"), []byte("garbage"), uint16(0), byte(0), uint16(0))
	f.Add(s[:4], []byte("p"), []byte("q"), s[:2], uint16(9), byte(1), uint16(3))
	f.Add([]byte{1, 2, 3, 4, 255, 255, 0, 0}, []byte("p"), []byte("q"), []byte{1, 2, 3, 4, 1, 0, 0, 0}, uint16(30), byte(64), uint16(0))
	f.Fuzz(func(t *testing.T, before, first, second, between []byte, at uint16, xor byte, cut uint16) {
		if len(first) == 0 || len(second) == 0 || max(len(first), len(second)) > MaxCallBytes {
			return
		}
		b := append(bytes.Clone(before), appendFrame(nil, s, first)...)
		b = append(b, between...)
		b = appendFrame(b, s, second)
		b[int(at)%len(b)] ^= xor
		b = b[:len(b)-int(cut)%len(b)]

		var got [][]byte
		n := 0
		for n < len(b) {
			payload, skip, size := nextFrame(b[n:], s)
			if skip < 0 || size < 0 || skip+size == 0 || n+skip+size > len(b) {
				t.Fatalf("at %d of %d: skip %d, size %d", n, len(b), skip, size)
			}
			if size > 0 {
				if again := appendFrame(nil, s, payload); !bytes.Equal(again, b[n+skip:n+skip+size]) {
					t.Error("a frame that appendFrame would not write")
				}
				got = append(got, payload)
			} else {
				torn(b[n:], s)
			}
			n += skip + size
		}
		want := slowFrames(b, s)
		if len(got) != len(want) {
			t.Fatalf("%d frames, the oracle finds %d", len(got), len(want))
		}
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				t.Errorf("frame %d differs", i)
			}
		}
	})
}
