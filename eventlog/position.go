package eventlog

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
)

// Position is a place between two records: everything before the record Index
// of the message Seq is behind it. A Position after the last record of a
// message is the start of the next message, so that equal places are equal.
type Position struct {
	Seq   uint64
	Index uint32
}

// Compare orders positions as the log does.
func (p Position) Compare(q Position) int {
	if c := cmp.Compare(p.Seq, q.Seq); c != 0 {
		return c
	}
	return cmp.Compare(p.Index, q.Index)
}

// After returns the position after the record index of a message of count
// records.
func After(seq uint64, index, count int) Position {
	if index+1 >= count {
		return Position{Seq: seq + 1}
	}
	return Position{Seq: seq, Index: uint32(index + 1)}
}

// Incarnation tells one log from another, also from one that was deleted and
// made again under the same name.
type Incarnation uint64

func (i Incarnation) String() string { return fmt.Sprintf("%016x", uint64(i)) }

// Cursors are for clients to keep, so their first letters name a version.
const cursorPrefix = "kt1"

// Errors of [ParseCursor].
var (
	// ErrCursorSyntax: the text is not a cursor.
	ErrCursorSyntax = errors.New("not a cursor")

	// ErrOtherLog: the cursor is of another log, or ahead of this one. Find
	// out what happened to the log, then start anew.
	ErrOtherLog = errors.New("the cursor is of another log")
)

// AppendCursor appends the cursor of p: printable, without spaces, at most 40
// bytes.
func AppendCursor(dst []byte, inc Incarnation, p Position) []byte {
	var raw [8 + 2*binary.MaxVarintLen64]byte
	binary.BigEndian.PutUint64(raw[:], uint64(inc))
	n := 8
	n += binary.PutUvarint(raw[n:], p.Seq)
	n += binary.PutUvarint(raw[n:], uint64(p.Index))
	dst = append(dst, cursorPrefix...)
	return base64.RawURLEncoding.AppendEncode(dst, raw[:n])
}

// ParseCursor reads a cursor of the log inc.
func ParseCursor(inc Incarnation, text string) (Position, error) {
	body, ok := strings.CutPrefix(text, cursorPrefix)
	if !ok {
		return Position{}, fmt.Errorf("%w: it does not start with %q", ErrCursorSyntax, cursorPrefix)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil || len(raw) < 10 {
		return Position{}, fmt.Errorf("%w: it is damaged", ErrCursorSyntax)
	}
	of := Incarnation(binary.BigEndian.Uint64(raw))
	seq, n := binary.Uvarint(raw[8:])
	if n <= 0 {
		return Position{}, fmt.Errorf("%w: it is damaged", ErrCursorSyntax)
	}
	index, m := binary.Uvarint(raw[8+n:])
	if m <= 0 || 8+n+m != len(raw) || index > math.MaxUint32 || seq == 0 {
		return Position{}, fmt.Errorf("%w: it is damaged", ErrCursorSyntax)
	}
	if of != inc {
		return Position{}, fmt.Errorf("%w: it is of log %v, this is %v", ErrOtherLog, of, inc)
	}
	return Position{Seq: seq, Index: uint32(index)}, nil
}
