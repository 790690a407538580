package eventlog

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// format is the version of keytrail.v1.StoredBatch that this package writes,
// and the newest that it reads.
const format = 1

// Field numbers of keytrail.v1.StoredBatch.
const (
	storedFormat  = 1
	storedRecords = 2
)

// batchHeader is how every message starts: the field format.
var batchHeader = protowire.AppendVarint(protowire.AppendTag(nil, storedFormat, protowire.VarintType), format)

// Batch is one message of the log. Its bytes are shared: nobody changes them.
type Batch struct {
	Seq    uint64
	Stored time.Time

	// Records are the encoded records, each a part of the message's bytes.
	Records [][]byte

	// Unreadable is set when the message can't be read; Records is empty then.
	Unreadable error
}

// ErrFormat: a stored message has a format that this version does not know.
var ErrFormat = errors.New("stored in a newer format; a newer bus can read it")

func appendRecord(dst, encoded []byte) []byte {
	dst = protowire.AppendTag(dst, storedRecords, protowire.BytesType)
	return protowire.AppendBytes(dst, encoded)
}

// splitBatch finds the records of a message without decoding or copying them.
func splitBatch(data []byte) ([][]byte, error) {
	version, rest := uint64(0), data
	if num, typ, n := protowire.ConsumeTag(rest); n > 0 && num == storedFormat && typ == protowire.VarintType {
		v, m := protowire.ConsumeVarint(rest[n:])
		if m < 0 {
			return nil, fmt.Errorf("damaged message: %w", protowire.ParseError(m))
		}
		version, rest = v, rest[n+m:]
	}
	switch {
	case version == 0:
		return nil, errors.New("not a message of Keytrail: it has no format version")
	case version > format:
		return nil, fmt.Errorf("format %d: %w", version, ErrFormat)
	}
	count := 0
	for b := rest; len(b) > 0; count++ {
		_, _, n := protowire.ConsumeField(b)
		if n < 0 {
			return nil, fmt.Errorf("damaged message: %w", protowire.ParseError(n))
		}
		b = b[n:]
	}
	records := make([][]byte, 0, count)
	for len(rest) > 0 {
		num, typ, n := protowire.ConsumeTag(rest)
		if num != storedRecords || typ != protowire.BytesType {
			return nil, fmt.Errorf("damaged message: field %d in a batch of format %d", num, version)
		}
		rec, m := protowire.ConsumeBytes(rest[n:])
		records = append(records, rec)
		rest = rest[n+m:]
	}
	if len(records) == 0 {
		return nil, errors.New("damaged message: a batch without records")
	}
	return records, nil
}
