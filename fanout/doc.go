// Package fanout delivers the log to subscribers: one reader of the log in, one
// bounded subscription for each subscriber out.
//
// # Promises
//
// A stream is what a subscription delivers, from its start on and through any number of
// reconnects. Each promise comes with what breaks it. Package transcript holds
// recorded streams to all of them: `subscriber record`, `subscriber check`.
//
//  1. Ordered: records come in the order of the log, and never go back. For the records of one recipient
//     account, Region and key that is the order in which they were accepted: a change never swaps with what came before
//     or after it. Broken by a record that is delivered before one that precedes it in the log.
//  2. Complete: each record of the log that the filter matches is delivered, as it is stored, or lies in
//     a gap that was delivered; and no other. Broken by a record of the log that is passed
//     over, by one that the filter does not choose, and by one that differs from that of the log.
//  3. Unique: no position is delivered twice. The log has an event ID once, save that a producer who
//     publishes again at another bus, or after the window in which repeats are recognized, may store it twice; a
//     subscriber drops the second by its ID. Broken by a cursor that comes with two records.
//  4. Resumable: a stream that starts after the cursor of any event goes on as if there had been
//     no other. Broken by a first record that is not the next one of the log that matches.
//  5. Bookmarkable: the cursor of each event is a position in the log, valid at every bus of it until the log loses its
//     records. Broken by a cursor that is refused, or that is between no two records.
//  6. Exact gaps: a gap names the first and the last position that is missing, in its place among the records, whatever the filter.
//     Broken by a gap over records that the log holds, and by missing records without one.
//  7. Checkpoints never overtake: what matches up to a checkpoint's cursor was delivered before it. Broken by a record whose
//     position a checkpoint before it covers.
//  8. Accounted for: considered = matched + unmatched, in records, since the start or the last reconnect;
//     what a gap covers is in neither. Broken by a checkpoint whose counts are not those of the log between.
//  9. Changeable: the event that tells of another filter is where that filter begins to hold, and changes without end
//     keep no record from a subscription. Broken by a record that the filter before, or after, should have decided on.
//
// # Slow subscribers
//
// A subscription's queue is bounded in bytes. When it is full, the subscription is behind: the hub leaves it
// alone, and Next reads what follows from the hub's memory of the last batches or, where that no longer reaches, from
// the log, with at most a fixed number of subscriptions reading at once. At the
// head it joins the live flow again. So a slow subscriber costs the others nothing, and loses nothing
// while the log holds the records.
//
// # Concurrency
//
// The hub owns one goroutine, which Close waits for. A [Subscription] is used by one goroutine at a time, save for
// SetFilter, and starts none. Filters enter and leave the hub's index while it goes on.
package fanout
