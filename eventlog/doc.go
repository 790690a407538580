// Package eventlog is the log: where records are stored, in JetStream, and
// read back in the order in which they were stored.
//
// # What is stored
//
// One message holds one batch: records of one subject, in order, as a
// keytrail.v1.StoredBatch. The subject is made of what people route by; see
// [Subject]. [Log.Submit] collects what arrives while the window before it is
// on its way, groups it by subject and publishes it. A lone record therefore
// does not wait for company, and a loaded log stores large batches.
//
// # What an acknowledgement means
//
// A record whose [Result] says stored was acknowledged by JetStream: it
// survives kill -9 of this process. A log in a folder of this process
// syncs it first, with all others of its window: then it survives power loss as well.
// [Log.Durability] says which. Nobody reads a record before that: the log ends, for
// readers, where it is synced. When a sync fails the log ends with [ErrSync].
//
// An event ID is stored once, as long as the
// log remembers it (10 minutes, or as many as 512 MiB hold). A record without a result, or with
// [ErrUnavailable], may or may not be stored; submitting it again is safe,
// because its ID stays reserved until the log knows.
//
// # Order
//
// Log order is the order of [Log.Submit], per recipient account, Region and key, with one
// exception: two records that change nothing, of one key but of different
// subjects, may swap when they were submitted within one window. A change never
// swaps with anything that touches its keys.
//
// # Room
//
// The log never drops records to make room. When it is full it refuses new
// ones with [ErrFull], until records expire or an operator trims it.
//
// # Concurrency
//
// All methods of [Log] may be called at once. [Log.Submit] blocks while too
// much is in flight; nothing else blocks but on NATS.
package eventlog
