package client_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/keytrail/keytrail/client"
	"github.com/keytrail/keytrail/eventlog"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/server"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// startBus starts a bus on a free port, with a log in a folder of its own.
func startBus() (addr string, stop func()) {
	dir, err := os.MkdirTemp("", "keytrail")
	if err != nil {
		log.Fatal(err)
	}
	lis, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		log.Fatal(err)
	}
	addr = lis.Addr().String()
	bus, err := server.Start(context.Background(), server.Config{
		Log:    eventlog.Config{Dir: dir, MaxBytes: 1 << 30, DiskReserve: 1},
		GRPC:   lis,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		log.Fatal(err)
	}
	return addr, func() {
		bus.Close()
		os.RemoveAll(dir)
	}
}

// call is the record of a call that a KMS answered.
func call(id, operation string) *keytrailv1.Record {
	return &keytrailv1.Record{
		EventId:     proto.String(id),
		EventName:   proto.String(operation),
		EventSource: proto.String("kms.amazonaws.com"),
		EventTime:   timestamppb.New(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)),
		ReadOnly:    proto.Bool(true),
	}
}

// A KMS reports a call of another account's key: two records are made of it.
func ExamplePublisher_PublishCall() {
	addr, stop := startBus()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	c, err := client.New(addr)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	p, err := c.NewPublisher(client.PublisherConfig{})
	if err != nil {
		log.Fatal(err)
	}
	result, err := p.PublishCallWait(ctx, &keytrailv1.Call{
		Operation:         proto.String("Decrypt"),
		Time:              timestamppb.Now(),
		Region:            proto.String("us-west-2"),
		Caller:            &keytrailv1.UserIdentity{Type: proto.String("IAMUser"), AccountId: proto.String("444455556666"), UserName: proto.String("bob")},
		RequestParameters: []byte(`{"CiphertextBlob":"bm90IGxvZ2dlZA==","EncryptionContext":{"order":"4711"}}`),
		Response:          []byte(`{"Plaintext":"bm90IGxvZ2dlZA=="}`),
		Keys:              []*keytrailv1.CallKey{{Arn: proto.String("arn:aws:kms:us-west-2:111122223333:key/1234abcd")}},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.GetStatus(), len(result.GetEventIds()), "records")
	if err := p.Close(ctx); err != nil {
		log.Fatal(err)
	}
	// Output: PUBLISH_STATUS_SYNCED 2 records
}

func ExamplePublisher() {
	addr, stop := startBus()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	c, err := client.New(addr)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	p, err := c.NewPublisher(client.PublisherConfig{})
	if err != nil {
		log.Fatal(err)
	}

	var pending []*client.Pending
	for _, id := range []string{"one", "two", "one", ""} {
		x, err := p.Publish(ctx, call(id, "Decrypt"))
		if err != nil {
			log.Fatal(err)
		}
		pending = append(pending, x)
	}
	for _, x := range pending {
		result, err := x.Result(ctx)
		if err != nil {
			log.Fatal(err)
		}
		switch {
		case x.Stored():
			fmt.Println("stored", result.GetEventIds()[0])
		case result.GetStatus() == keytrailv1.PublishStatus_PUBLISH_STATUS_DUPLICATE:
			fmt.Println("stored before", result.GetEventIds()[0])
		default:
			fmt.Println("refused because of", result.GetRejection().GetField())
		}
	}
	if err := p.Close(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// stored one
	// stored two
	// stored before one
	// refused because of eventID
}

// A loader publishes much and looks at results as they come.
func ExamplePublisher_PublishFunc() {
	addr, stop := startBus()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	c, err := client.New(addr)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	p, err := c.NewPublisher(client.PublisherConfig{BatchRecords: 1000})
	if err != nil {
		log.Fatal(err)
	}
	stored, others := 0, 0 // callbacks come one at a time
	for i := range 5000 {
		err := p.PublishFunc(ctx, call(fmt.Sprint(i), "Decrypt"), func(x *client.Pending) {
			if x.Stored() {
				stored++
			} else {
				others++
			}
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	if err := p.Close(ctx); err != nil { // waits for all callbacks
		log.Fatal(err)
	}
	fmt.Println(stored, others)
	// Output: 5000 0
}

func ExampleSubscription() {
	addr, stop := startBus()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	c, err := client.New(addr)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	p, err := c.NewPublisher(client.PublisherConfig{})
	if err != nil {
		log.Fatal(err)
	}
	for i, operation := range []string{"Decrypt", "CreateKey", "Decrypt", "ScheduleKeyDeletion"} {
		if _, err := p.PublishWait(ctx, call(fmt.Sprint("id-", i), operation)); err != nil {
			log.Fatal(err)
		}
	}
	if err := p.Close(ctx); err != nil {
		log.Fatal(err)
	}

	sub, err := c.Subscribe(ctx, client.SubscriptionConfig{
		Filter: &keytrailv1.Filter{Include: []*keytrailv1.Selector{{
			EventNames: []string{"CreateKey", "ScheduleKeyDeletion"},
		}}},
		Start: client.Earliest(),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer sub.Close(ctx)
events:
	for ev, err := range sub.Events(ctx) {
		switch {
		case err != nil:
			log.Fatal(err)
		case ev.Record != nil:
			fmt.Println(ev.Record.GetEventName(), ev.Record.GetEventId())
		case ev.Gap != nil:
			fmt.Println("missing:", ev.Gap.GetReason())
		case ev.Checkpoint.GetAtHead():
			fmt.Println("that is all for now")
			break events
		}
	}
	// Output:
	// CreateKey id-1
	// ScheduleKeyDeletion id-3
	// that is all for now
}

func ExampleSubscription_SetFilter() {
	addr, stop := startBus()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	c, err := client.New(addr)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	p, err := c.NewPublisher(client.PublisherConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close(ctx)
	sub, err := c.Subscribe(ctx, client.SubscriptionConfig{
		Filter:  &keytrailv1.Filter{Where: "event = CreateKey"},
		Start:   client.Earliest(),
		Mutable: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer sub.Close(ctx)
	if _, err := sub.SetFilter(&keytrailv1.Filter{Where: "event = Decrypt"}); err != nil {
		log.Fatal(err)
	}
	for ev, err := range sub.Events(ctx) {
		switch {
		case err != nil:
			log.Fatal(err)
		case ev.FilterRefused != nil:
			log.Fatal(ev.FilterRefused.GetField(), ": ", ev.FilterRefused.GetMessage())
		case ev.FilterChanged != nil: // the new filter holds for what is stored from now on
			for i, operation := range []string{"CreateKey", "Decrypt"} {
				if _, err := p.PublishWait(ctx, call(fmt.Sprint("id-", i), operation)); err != nil {
					log.Fatal(err)
				}
			}
		case ev.Record != nil:
			fmt.Println(ev.Record.GetEventName())
			return
		}
	}
	// Output: Decrypt
}
