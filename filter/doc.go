// Package filter decides which subscribers want a record.
//
// [Compile] checks a filter of the wire contract and compiles it once for each
// subscription; [Filter.Match] tells whether it wants a record; an [Index]
// finds, among many filters, those that do.
//
// # Meaning
//
// A filter chooses the records that any selector of include matches, less
// those that any selector of exclude matches. Without include, that is all
// records less the excluded; without both, all records.
//
// A selector matches a record when each of its fields that is set holds, and a
// field holds when any of its values does:
//
//   - keys: the record names a key that the value stands for. A value with a
//     ":" is compared with the whole key ARN, any other with the key ID, the
//     part after "key/". Wildcard. So "mrk-1f2e" follows a multi-Region key in
//     all its Regions, and "*" chooses the records that name any key at all.
//   - event_names: the operation. Wildcard.
//   - accounts, regions: the recipient account and the Region that served the
//     call, as a whole. A record without one has the empty string there, which
//     no value equals.
//   - read_only: whether the call changed nothing. A record that doesn't say
//     so is a change.
//   - outcomes: SUCCESS is a record without an error code, FAILURE one with,
//     and DENIED one whose error code says that access was refused, by
//     [record.Header.Denied].
//
// In a wildcard value, "*" stands for any run of bytes, the empty run and ":"
// and "/" included. Nothing else is special, and nothing escapes a "*".
// Comparisons are by byte and respect case.
//
// # Limits
//
// Strings have 1 to [MaxValueBytes] bytes. A filter has at most [MaxValues]
// values, all strings and outcomes counted and each read_only as one, so that
// the limit bounds the selectors too. A selector without fields is an error,
// as are an outcome that is not one and a field that this bus does not know: to
// ignore it in exclude would be to withhold records that somebody asked for.
//
// # Cost and concurrency
//
// Matching allocates nothing and takes time in proportion to the filter and
// the record, whatever the wildcards. A Filter never changes and may be used
// by any number of goroutines.
//
// Any number of goroutines may use an Index. Match takes no lock and sees an
// index as one Add or Remove left it, never in between; once Add or Remove has
// returned, each later Match sees it. Equal filters are tried once for all their
// IDs, and filters that include only keys named without wildcard are found by
// the record's keys, so that their number costs a record of another key
// nothing. All others are tried one by one.
package filter
