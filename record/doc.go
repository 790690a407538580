// Package record gives [keytrailv1.Record] its meaning: the records that
// CloudTrail would have made of a call, CloudTrail JSON both ways, validity, and
// the few fields by which a record is routed.
//
// # Nothing is lost
//
// [FromJSON] followed by [AppendJSON] gives the same JSON value, for every
// JSON object: the same members with the same values, null, absent and empty
// told apart, numbers digit by digit. The order of members, white space and
// the choice of escapes in strings are not part of a value; the order is
// CloudTrail's on the way out. Three things make that so:
//
//   - A typed field is set only when the member was there, with the JSON type
//     that CloudTrail gives it.
//   - Members without a fixed shape (requestParameters and the like) are kept
//     as JSON text.
//   - Every other member is kept as JSON text in the `verbatim` field of its
//     message: unknown ones, nulls, other types, other forms. A boolean that
//     was written as "true", a time in another form than CloudTrail's, and a
//     string with half a surrogate pair (as U+FFFD) set the typed field too,
//     so that filters see them.
//
// A typed field and `verbatim` can't tell two stories: [Validate] refuses a
// record whose JSON reads back as other typed fields than it has.
//
// # Recording calls
//
// A [Recorder] makes the records of a call, one for the account of each party.
// What it knows of single operations is in one table, the catalogue; see
// [Operations]. Redaction is an allow-list: of request, response, additional
// data and details, only members that the catalogue names for the operation get
// into a record, each only as the JSON type that the API gives it, at any depth,
// whether the call succeeded or failed. Of an operation that the catalogue does
// not name, none do. Producers apply the same list with [Redact].
//
// The records of a call depend on it alone, event IDs included. So a call that
// is published again makes no second set.
//
// # Reading files
//
// [Reader] takes what people have: the files that CloudTrail delivers,
// compressed or not, JSON lines, single records. It holds about one record in
// memory, never a file.
//
// # Reading encoded records in place
//
// A [View] reads stored bytes as the JSON object that [AppendJSON] would write
// of them, without decoding them. Filters read records so: a walk over the
// fields for each record, and anything below them once, when it is asked for.
//
// All functions are safe for concurrent use; a [Reader], [Header] or [View] is
// not.
package record
