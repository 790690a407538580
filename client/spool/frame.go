package spool

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

const (
	markBytes   = 4
	headerBytes = markBytes + 4 + 4 // mark, length, checksum

	// MaxCallBytes is the most encoded bytes that a call may have, as in
	// call.proto.
	MaxCallBytes = 262_144
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// salt tells the frames of one segment from all other bytes.
type salt [8]byte

func (s salt) mark() []byte { return s[:markBytes] }

func (s salt) checksum(length, payload []byte) uint32 {
	sum := crc32.Update(0, castagnoli, s[:])
	sum = crc32.Update(sum, castagnoli, length)
	return crc32.Update(sum, castagnoli, payload)
}

// appendFrame appends the frame of payload to dst.
func appendFrame(dst []byte, s salt, payload []byte) []byte {
	dst = append(dst, s.mark()...)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(payload)))
	sum := s.checksum(dst[len(dst)-4:], payload)
	dst = binary.LittleEndian.AppendUint32(dst, sum)
	return append(dst, payload...)
}

// frameAt returns the payload of the frame that b begins with, or false.
func frameAt(b []byte, s salt) ([]byte, bool) {
	if len(b) < headerBytes || !bytes.HasPrefix(b, s.mark()) {
		return nil, false
	}
	n := binary.LittleEndian.Uint32(b[markBytes:])
	if n == 0 || n > MaxCallBytes || int(n) > len(b)-headerBytes {
		return nil, false
	}
	payload := b[headerBytes : headerBytes+int(n)]
	sum := binary.LittleEndian.Uint32(b[markBytes+4:])
	return payload, sum == s.checksum(b[markBytes:markBytes+4], payload)
}

// nextFrame finds the first frame in b: skip bytes that belong to none, then
// size bytes of frame. Without a frame, size is 0 and skip is all of b.
func nextFrame(b []byte, s salt) (payload []byte, skip, size int) {
	for skip < len(b) {
		if payload, ok := frameAt(b[skip:], s); ok {
			return payload, skip, headerBytes + len(payload)
		}
		i := bytes.Index(b[skip+1:], s.mark())
		if i < 0 {
			break
		}
		skip += 1 + i
	}
	return nil, len(b), 0
}

// Damage is a part of a segment that holds no call any more.
type Damage struct {
	// Segment is the name of the file, Offset where in it the damage begins,
	// Bytes how long it is.
	Segment string
	Offset  int64
	Bytes   int64

	// Torn says that it is the end of the newest segment and shorter than a
	// call: what a process leaves that dies while it writes. Nobody was told
	// that it is safe. Otherwise calls may be lost.
	Torn bool
}

func (d Damage) String() string {
	if d.Torn {
		return fmt.Sprintf("%s: %d bytes of an unfinished write at %d", d.Segment, d.Bytes, d.Offset)
	}
	return fmt.Sprintf("%s: %d bytes at %d are damaged", d.Segment, d.Bytes, d.Offset)
}

// torn says whether b, the end of a segment, is the beginning of a frame.
func torn(b []byte, s salt) bool {
	if len(b) < headerBytes {
		return bytes.HasPrefix(s.mark(), b[:min(len(b), markBytes)])
	}
	if !bytes.HasPrefix(b, s.mark()) {
		return false
	}
	n := binary.LittleEndian.Uint32(b[markBytes:])
	return n > 0 && n <= MaxCallBytes && int(n) > len(b)-headerBytes
}
