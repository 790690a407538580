package eventlog

import (
	"bytes"
	"errors"
	"testing"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"google.golang.org/protobuf/proto"
)

func storedBatch(t testing.TB, format uint32, names ...string) []byte {
	t.Helper()
	b := &keytrailv1.StoredBatch{Format: format}
	for _, n := range names {
		b.Records = append(b.Records, &keytrailv1.Record{EventName: proto.String(n)})
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestSplitBatch(t *testing.T) {
	ours := bytes.Clone(batchHeader)
	for _, n := range []string{"Decrypt", "Encrypt"} {
		rec, err := proto.Marshal(&keytrailv1.Record{EventName: proto.String(n)})
		if err != nil {
			t.Fatal(err)
		}
		ours = appendRecord(ours, rec)
	}
	if want := storedBatch(t, 1, "Decrypt", "Encrypt"); !bytes.Equal(ours, want) {
		t.Errorf("a batch is written as %x; protobuf writes %x", ours, want)
	}
	records, err := splitBatch(ours)
	if err != nil || len(records) != 2 {
		t.Fatalf("splitBatch = %d records, %v; want 2", len(records), err)
	}
	if _, err := splitBatch(storedBatch(t, 2, "Decrypt")); !errors.Is(err, ErrFormat) {
		t.Errorf("format 2: error %v, want ErrFormat", err)
	}
	for name, data := range map[string][]byte{
		"empty": nil, "no format": storedBatch(t, 0, "Decrypt"), "no records": storedBatch(t, 1), "text": []byte("hello"), "cut off": ours[:len(ours)-1],
	} {
		if records, err := splitBatch(data); err == nil || errors.Is(err, ErrFormat) {
			t.Errorf("%s: %d records, error %v; want another error", name, len(records), err)
		}
	}
}

// FuzzSplitBatch holds splitBatch to protobuf's own decoder.
func FuzzSplitBatch(f *testing.F) {
	f.Add(storedBatch(f, 1, "Decrypt", "Encrypt"))
	f.Add(storedBatch(f, 2, "Decrypt"))
	f.Add(storedBatch(f, 1))
	f.Add([]byte("hello"))
	f.Fuzz(func(t *testing.T, data []byte) {
		records, err := splitBatch(data)
		if err != nil {
			return
		}
		again := bytes.Clone(batchHeader)
		for _, r := range records {
			again = appendRecord(again, r)
		}
		got, want := new(keytrailv1.StoredBatch), new(keytrailv1.StoredBatch)
		if proto.Unmarshal(data, want) != nil {
			return // a record in it is damaged, which is for its reader to find
		}
		if err := proto.Unmarshal(again, got); err != nil || !proto.Equal(got, want) {
			t.Errorf("%x holds %v, was split into %v (%v)", data, want, got, err)
		}
	})
}
