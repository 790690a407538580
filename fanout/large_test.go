package fanout_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/keytrail/keytrail/eventlog"
	"github.com/keytrail/keytrail/fanout"
	"github.com/keytrail/keytrail/filter"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
	"google.golang.org/protobuf/proto"
)

// TestLargeRecords: a filter that asks much of large records gets each that it
// wants once, in order, with all others; and the hub itself does not ask it.
func TestLargeRecords(t *testing.T) {
	b := newBench(t, fanout.Config{})
	var any []string
	for i := range 200 {
		any = append(any, fmt.Sprintf("requestParameters.list = wanted%d", i))
	}
	costly, err := filter.Compile(&keytrailv1.Filter{Where: "event = Small or " + strings.Join(any, " or ")})
	if err != nil {
		t.Fatal(err)
	}
	f := follow(t, b.subscribe(fanout.Options{Filter: costly}))
	all := follow(t, b.subscribe(fanout.Options{}))
	f.untilHead()
	all.untilHead()
	var want []string
	for round := range 3 {
		want = append(want, b.publish("Small", 2)...)
		for _, last := range []string{"wanted7", "other", "wanted199"} {
			id := b.publishLarge(last)
			if last != "other" {
				want = append(want, id)
			}
		}
		want = append(want, b.publish("Small", 1)...)
		b.publish("Other", 1)
		all.until(7 * (round + 1))
		if !f.sub.Behind() {
			t.Fatal("the hub has asked the costly filter about a large record")
		}
	}
	f.until(len(want))
	if !slices.Equal(f.ids, want) {
		t.Errorf("got %q, want %q", f.ids, want)
	}
	f.untilHead()
	if f.last.Considered != 21 || f.last.Matched != uint64(len(want)) {
		t.Errorf("%d considered and %d matched, want 21 and %d", f.last.Considered, f.last.Matched, len(want))
	}
}

// publishLarge stores a record with a list of a thousand elements, and returns its
// event ID.
func (b *bench) publishLarge(last string) string {
	b.tb.Helper()
	id := fmt.Sprintf("%06d", b.n)
	b.n++
	r := &keytrailv1.Record{
		EventId: proto.String(id), EventName: proto.String("Large"), EventSource: proto.String(record.EventSource),
		RequestParameters: []byte(`{"list":[` + strings.Repeat(`"element",`, 3000) + `"` + last + `"]}`),
	}
	enc, err := record.Marshal(r)
	if err != nil {
		b.tb.Fatal(err)
	}
	e, err := eventlog.NewEntry(record.HeaderOf(r), enc)
	if err != nil {
		b.tb.Fatal(err)
	}
	b.submit([]eventlog.Entry{e})
	return id
}
