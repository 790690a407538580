// Package client is the Go SDK of a Keytrail bus: a [Publisher] for whoever has
// audit records, and a [Subscription] for whoever wants them. Both live on one
// connection, a [Client], and both outlive it: they reconnect by themselves.
//
// # Publishing
//
// A Publisher collects records into batches and sends them over one stream. A
// record leaves at once when nothing else is unanswered; under load, batches
// grow by themselves. Its guarantees:
//
//   - Every record that Publish took gets exactly one result. A result that is
//     not an error is the bus' word on that record.
//   - STORED, REPLICATED and SYNCED mean what ingest.proto says of them. A
//     record with such a result never has to be published again.
//   - What a broken stream left unanswered is sent again, unchanged, on the
//     next one, ahead of everything newer. The bus stores an event ID once, so
//     nothing is stored twice; a record whose answer was lost comes back as
//     DUPLICATE, and [Pending.Stored] tells that from a real one.
//   - Of a call, only what the bus would log leaves the process, and its call
//     ID stays the same through all attempts.
//   - Records are sent in the order in which Publish took them, and records of
//     one key are stored in that order. The exception is a record with the
//     result NOT_STORED: it is sent again after a pause, ahead of all that was
//     not sent yet, but what was sent along with it or after it may have been
//     stored already. Whoever needs strict order waits for each result.
//   - Memory is bounded by PublisherConfig.MaxPendingBytes, plus what one
//     request of that size needs on the wire. Publish blocks rather than
//     exceed it. A publisher has four goroutines of its own, whatever the load.
//   - Nothing blocks for ever: Publish, Flush and Close end with their context,
//     and a record's result comes within PublisherConfig.RetryFor, or twice
//     that when the bus takes the record and then says nothing.
//
// The bus bounds what a producer may have unanswered (credit); the publisher
// keeps to it.
//
// # Subscribing
//
// A Subscription delivers the records that match, in log order, with the gaps
// and checkpoints among them. Its guarantees:
//
//   - Within one Subscription no event is skipped or repeated, through any
//     number of reconnects, save that a subscription from [Now] has no position
//     before its first event.
//   - What cannot be delivered is a gap, in its place among the records.
//   - A filter that is changed with SetFilter holds from the place of the event
//     that says so, also when the stream breaks in between.
//   - With a [CursorStore], a cursor is saved only when its event, and so every
//     event before it, is handled. After a crash events are repeated, never skipped.
//   - It reads one message ahead. A program that handles events slowly holds
//     back its own stream by HTTP/2 flow control, and nobody else's.
//   - It ends only when its context ends, when it is closed, or with an error
//     that would come again.
package client
