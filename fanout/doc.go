// Package fanout delivers the log to subscribers: one reader of the log in, one
// bounded subscription for each subscriber out.
//
// # Promises
//
// To each subscription, from its start on:
//
//  1. Ordered: records come in log order.
//  2. Complete: each record of the log that the filter matches is delivered,
//     or lies in a gap that was delivered.
//  3. Unique: none is delivered twice.
//  4. Resumable: a subscription that starts after the position of the last event delivered goes on as if nothing had happened.
//  5. Bookmarked: a checkpoint never overtakes a record that it covers.
//  6. Exact: a gap names the first and the last position that is missing.
//  7. Changeable: the event that tells of another filter is where that filter begins to hold. Changes without end
//     keep no record from a subscription.
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
