package record

import (
	"google.golang.org/protobuf/proto"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// MaxBytes is the largest encoded record that the bus stores: 256 KiB, which
// is CloudTrail's own limit.
const MaxBytes = 262144

// EventSource is the eventSource of every KMS record.
const EventSource = "kms.amazonaws.com"

// Equal records must be equal bytes: the bus compares content by its hash.
var stored = proto.MarshalOptions{Deterministic: true}

// Marshal returns the bytes of r as the bus stores them. Equal records give
// equal bytes. The only error is a string that is not UTF-8.
func Marshal(r *keytrailv1.Record) ([]byte, error) { return stored.Marshal(r) }

// AppendMarshal is [Marshal] into the end of dst.
func AppendMarshal(dst []byte, r *keytrailv1.Record) ([]byte, error) {
	return stored.MarshalAppend(dst, r)
}
