package server_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/keytrail/keytrail/bustest"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func TestSmoke(t *testing.T) {
	b := bustest.Start(t)
	conn := b.Dial()
	in := keytrailv1.NewIngestServiceClient(conn)
	var items []*keytrailv1.PublishItem
	for i := range 10 {
		items = append(items, &keytrailv1.PublishItem{Item: &keytrailv1.PublishItem_Record{Record: &keytrailv1.Record{
			EventId: proto.String(fmt.Sprint("id", i)), EventName: proto.String("Decrypt"), EventSource: proto.String("kms.amazonaws.com"),
			EventTime: timestamppb.New(time.Unix(1700000000, 0)), ReadOnly: proto.Bool(true),
		}}})
	}
	t0 := time.Now()
	res, err := in.Publish(t.Context(), &keytrailv1.PublishRequest{Items: items})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(time.Since(t0), res.Results[9])
	t0 = time.Now()
	res, err = in.Publish(t.Context(), &keytrailv1.PublishRequest{Items: items})
	t.Log(time.Since(t0), res.Results[9], err)
	sub, err := keytrailv1.NewSubscribeServiceClient(conn).Subscribe(t.Context(), &keytrailv1.SubscribeRequest{Start: &keytrailv1.SubscribeRequest_Earliest{}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		m, err := sub.Recv()
		if err != nil {
			t.Fatal(err)
		}
		t.Log(m)
	}
}
