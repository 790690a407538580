package client

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec that codec falls back to
)

// Field numbers of ingest.proto; a test holds them to the descriptors.
const (
	numberField  protowire.Number = 1 // PublishStreamRequest.number
	itemsField   protowire.Number = 2 // PublishStreamRequest.items
	requireField protowire.Number = 3 // PublishStreamRequest.require
	recordField  protowire.Number = 1 // PublishItem.record
	callField    protowire.Number = 2 // PublishItem.call
)

// encodeItem encodes a record or call, which is the given field of an item, as the
// field of a PublishStreamRequest that holds the item: a request is the concatenation
// of such pieces. So it is encoded once, on the caller's goroutine, and sending it
// again costs nothing.
func encodeItem(field protowire.Number, m proto.Message) ([]byte, error) {
	size := proto.Size(m)
	item := protowire.SizeTag(field) + protowire.SizeBytes(size)
	b := make([]byte, 0, protowire.SizeTag(itemsField)+protowire.SizeBytes(item))
	b = protowire.AppendTag(b, itemsField, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(item))
	b = protowire.AppendTag(b, field, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	return proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(b, m)
}

// encodeHeader encodes what comes before the items of a request.
func encodeHeader(number uint64, require keytrailv1.Durability) []byte {
	b := protowire.AppendTag(make([]byte, 0, 16), numberField, protowire.VarintType)
	b = protowire.AppendVarint(b, number)
	if require != keytrailv1.Durability_DURABILITY_UNSPECIFIED {
		b = protowire.AppendTag(b, requireField, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(require))
	}
	return b
}

// maxHeaderBytes is the longest that encodeHeader gives.
const maxHeaderBytes = 13

// frame is an encoded PublishStreamRequest in pieces, for codec.
type frame mem.BufferSlice

// codec sends a frame as it is, and leaves everything else to gRPC's own
// codec. The pieces are ordinary memory: gRPC's counting of references does
// nothing to them.
type codec struct{ encoding.CodecV2 }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if f, ok := v.(frame); ok {
		return mem.BufferSlice(f), nil
	}
	return c.CodecV2.Marshal(v)
}

// streamCodec is the codec of every PublishStream call.
var streamCodec = codec{encoding.GetCodecV2("proto")}

// contentBytes is the size of the record or call in what encodeItem gave.
func contentBytes(item []byte) int {
	for range 2 { // the field of the request, then that of the item
		_, _, n := protowire.ConsumeTag(item)
		item = item[n:]
		_, n = protowire.ConsumeVarint(item)
		item = item[n:]
	}
	return len(item)
}
