package server

import (
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec that codec wraps registers itself there
	"google.golang.org/grpc/mem"
)

// frame is a message that is encoded already: its buffers are shared with
// other streams and go out as they are.
type frame struct{ buffers mem.BufferSlice }

// codec sends frames as they are and leaves everything else to the codec of
// protobuf.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

// Marshal is called once for each SendMsg, after which grpc frees the buffers
// once. Those of a frame belong to the garbage collector, which ignores that.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if f, ok := v.(*frame); ok {
		return f.buffers, nil
	}
	return c.CodecV2.Marshal(v)
}
