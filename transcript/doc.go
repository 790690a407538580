// Package transcript records what a subscription delivered, and holds such
// recordings to the promises of package fanout.
//
// # Format
//
// A transcript is a file of JSON lines. The first is a [Header]: what was
// subscribed to, where, and from where. Each other line is an [Event], in the
// order in which they were delivered:
//
//	{"kind":"stream","start":{"now":true}}
//	{"kind":"checkpoint","cursor":"kt1…","at_head":true,"considered":9,"matched":1}
//	{"kind":"record","cursor":"kt1…","event_id":"6f0c…","hash":"9a3f…"}
//	{"kind":"gap","after":"kt1…","cursor":"kt1…","reason":"GAP_REASON_TRIMMED"}
//	{"kind":"filter","cursor":"kt1…","revision":1,"filter":{…},"filter_text":"event = Decrypt"}
//
// A stream event says that the bus was asked to begin, or to go on: what
// follows came from that call. Records are not kept, only [Hash] of them.
//
// A line counts once its line feed is there. What follows the last line feed was torn off by a crash:
// a [Reader] leaves it out, a [Writer] that goes on cuts it off. A transcript that goes on does so from its last
// cursor, so nothing has to be written in time: what is not in the file is
// delivered again.
//
// # Checking
//
// [Check] reads transcripts side by side with the log, all of it, and finds
// out by itself which records each filter chooses. Cursors are opaque to it: the order of the log is the order in which
// it is read. Memory is bounded: it looks [Ahead] records and events ahead and [Behind] records back. A fault that
// spans more is found all the same, and then named less well: a record that was delivered out of its turn
// is then one that is missing and, elsewhere, one that is not in the log.
//
// What the log no longer holds cannot be compared with it. A [Result] says how much that is; there, transcripts are compared with each
// other.
package transcript
