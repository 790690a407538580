package client

import (
	"strings"
	"testing"
	"time"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

func TestBackoff(t *testing.T) {
	var b backoff
	full := minBackoff
	for i := range 100 {
		d := b.next()
		if d > full || d < full/2 {
			t.Errorf("wait %d is %s, want at most %s and at least half of it", i, d, full)
		}
		full = min(2*full, maxBackoff)
	}
	b.reset()
	if d := b.next(); d > minBackoff {
		t.Errorf("%s after reset", d)
	}
	if d := b.after(later(codes.Unavailable, time.Minute)); d < time.Minute || d > 67*time.Second {
		t.Errorf("%s, told one minute", d)
	}
	if d := b.after(later(codes.Unavailable, -time.Minute)); d < 0 || d > time.Second {
		t.Errorf("%s, told a negative time", d)
	}
}

// The encoding by hand is what protobuf makes of the same request.
func TestEncoding(t *testing.T) {
	fields := (&keytrailv1.PublishStreamRequest{}).ProtoReflect().Descriptor().Fields()
	if fields.ByName("number").Number() != numberField || fields.ByName("items").Number() != itemsField ||
		fields.ByName("require").Number() != requireField ||
		(&keytrailv1.PublishItem{}).ProtoReflect().Descriptor().Fields().ByName("record").Number() != recordField {
		t.Error("a field number is not that of ingest.proto")
	}

	want := &keytrailv1.PublishStreamRequest{Number: 1<<64 - 1, Require: keytrailv1.Durability_DURABILITY_SYNCED}
	header := encodeHeader(want.GetNumber(), want.GetRequire())
	if len(header) != maxHeaderBytes {
		t.Errorf("the longest header has %d bytes", len(header))
	}
	encoded := header
	for _, size := range []int{0, 1, 100, 127, 128, 16_000, 16_384, 200_000} {
		r := rec(size)
		r.UserAgent = proto.String(strings.Repeat("x", size))
		item, err := encodeItem(recordField, r)
		if err != nil {
			t.Fatal(err)
		}
		if cap(item) != len(item) {
			t.Errorf("item of %d bytes in %d", len(item), cap(item))
		}
		if got := contentBytes(item); got != proto.Size(r) {
			t.Errorf("contentBytes says %d, is %d", got, proto.Size(r))
		}
		encoded = append(encoded, item...)
		want.Items = append(want.Items, &keytrailv1.PublishItem{Item: &keytrailv1.PublishItem_Record{Record: r}})
	}
	got := &keytrailv1.PublishStreamRequest{}
	if err := proto.Unmarshal(encoded, got); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(got, want) {
		t.Error("the request reads back otherwise")
	}
	if len(encoded) != proto.Size(want) {
		t.Errorf("%d bytes, protobuf takes %d", len(encoded), proto.Size(want))
	}
}

func TestUserAgent(t *testing.T) {
	if got := userAgent(); !strings.HasPrefix(got, "keytrail-go/") || strings.ContainsAny(got, " ()") {
		t.Errorf("user agent %q", got)
	}
}
