// Package filter decides which subscribers want a record, and says why.
//
// [Compile] checks a filter of the wire contract and compiles it once;
// [Filter.Match] tells whether it wants a record; an [Index] finds, among many
// filters, those that do. This page is the specification of the language.
//
// # The model
//
// A filter is made of conditions, joined by and, or and not. A condition is a
// field, an operator and values, and holds for a record when it holds for any
// of the values that the field has there and any of its own values.
//
// One rule for fields that a record does not have: a condition on them does
// not hold. A negated condition is the opposite of the condition, so it holds
// then. To say otherwise there is "exists". A member that is null is there, for
// "is null" alone; it has no value.
//
// The selectors of the contract, the text form, CEL, Amazon EventBridge event
// patterns, CloudTrail advanced event selectors and the flags of the command
// line are all translated to this model, and joined by and. Where a dialect
// means something else by the same words, it is translated so that it means
// what it means there.
//
// # The text form
//
//	event in (Decrypt, GenerateDataKey*) and outcome = failure and not principal ~ "*/ops-*"
//
// "and" binds tighter than "or", "not" tighter than both; parentheses group.
// Keywords and names of fields respect case. White space, line breaks included,
// separates words, and "#" begins a comment that ends with the line.
//
//	field = v            is v; numbers compare as numbers, true and false as such
//	field != v           not field = v
//	field in (v, w)      is any of them; "not in" is the opposite
//	field ~ v            is v, in which * stands for any run of bytes; ~ (v, w)
//	field !~ v           not field ~ v
//	field ^= v           starts with v; ^= (v, w): with any of them
//	field $= v           ends with v
//	field *= v           contains v
//	field matches v      matches the regular expression v (RE2), anywhere in the value
//	field cidr v         is an IP address in the block v: 10.0.0.0/8
//	field < v            is a number less than v; also <=, >, >=
//	exists field         the field is there and not null
//	field is null        the field is there and null; "is not null" is the opposite,
//	                     which a missing field satisfies, unlike in SQL
//	list[] (…)           some element satisfies what is in the parentheses, where
//	                     fields are members of that element
//	cel("…")             the CEL expression is true
//	true, false          every record, no record
//
// Values are words or quoted. A word is made of the letters A to Z and a to z,
// digits and the characters _ - . : / * + @ %, and is none of and, or, not, in,
// is, null. In double quotes, with JSON's escapes, there may be any text. A list
// after any operator means any of its values; "in" always has one.
//
// In a word after =, != and in, * is a wildcard, which stands for any run of
// bytes; after ~ and !~ it is one in quotes as well. "a*" in quotes after = is
// the text a* itself. So event = * is any event, and Principal = "*" an asterisk.
// After other operators a word has no *.
//
// [Filter.String] prints any filter in the text form, canonically: what reads
// the same except for white space, parentheses, quotes and the like is printed
// the same, and what is printed reads back as a filter that matches the same and
// is printed the same. Conditions and values keep their order. "" is the filter
// that matches all records.
//
// # Fields
//
// A path names a member as CloudTrail spells it: userIdentity.arn. A name with
// other characters than letters, digits, _ and - is put in brackets and quotes:
// requestParameters.encryptionContext["aws:s3:arn"]; so may be any other.
// [] stands for any element of a list: resources[].ARN. What is not a list
// counts as its only element, and lists within lists are opened. A path that
// ends at a list without [] looks at its elements all the same, except that
// "exists" and "is null" are about the list; a name after a list without [] finds
// nothing. In the entries of resources, ARN and arn each find the other, too:
// real records have both spellings.
//
// json(path) is the document inside a string, or the object or list itself where
// the record has one: json(requestParameters.policy).Statement[].Principal. A
// string that is no JSON has no document.
//
// In the parentheses after list[], fields are paths from the element, and [] alone
// is the element itself: tags[] (string([]) ^= "a" and [] != "ab"). There are no
// named fields and short names there, and names that are keywords or functions
// are quoted if they come first: ["in"].
//
// Values compare as text: a string as it is, a number as a number, a boolean as
// true or false, so that a quoted "true" and true are the same. Objects have no
// value; they only exist. string(path), number(path) and boolean(path) look at
// values of that JSON type alone. nocase(field) compares without regard to case.
// accountOf(field) is the account in an ARN.
//
// Where the contract says which members there are, a name must be one of these:
// at the beginning of a path, below userIdentity, in resources[] and so on. Write
// ["name"] for one that this version does not know. A path that no record of the
// KMS' operations has, as far as the catalogue of package record knows, earns a
// warning: see [Filter.Warnings].
//
// Short names: event is eventName, account is recipientAccountId, region is
// awsRegion. A member whose name is also that of a named field or a short name is
// quoted: ["readOnly"] is missing where the record does not say, the named field
// readOnly never is.
//
// Named fields:
//
//   - outcome: "success" for a record without an error code; "failure" for one
//     with; "denied" as well if the error code says that access was refused.
//   - key: the keys and aliases in the record's resources. A value with a ":" is
//     compared with the ARNs, any other with the key IDs and with the names of
//     aliases ("alias/payroll"); a regular expression with the ARNs.
//   - principal: the caller: userIdentity.arn, the ARN of the role whose session
//     it is, and the service that called on its behalf.
//   - crossAccount: true if the caller's account is known and another than the
//     account that the record is for.
//   - class: cryptographic, management, read or internal, by the operation; an
//     operation that this version does not know has none.
//   - sourceIP: sourceIPAddress where it is an address, and no host name.
//   - readOnly: true or false; a record that does not say is a change.
//
// # CEL
//
// An expression of the Common Expression Language is for what conditions can't
// say: to compare two members, to calculate, to tell the time.
//
//	userIdentity.accountId != recipientAccountId && eventTime.getHours("Europe/Berlin") < 6
//
// It must be true. Where it fails, as it does on a member that is missing, it
// does not hold, and neither does its negation within CEL; outside of it, not
// cel("…") does. As CEL has it, || and && absorb a failure that makes no
// difference.
//
//   - Variables are the members of the record, the short names, and the named
//     fields, of which outcome, key and principal are lists: "failure" in outcome.
//     "record" is all of the record.
//   - Types are checked beforehand. Members that the contract names have one;
//     eventTime is a timestamp. Free-form members may be anything. A number is an
//     int if it is written as one and 64 bits hold it, else a double; digits in a
//     string are a string.
//   - has(errorCode) tells whether a member is there, null or not. has(a.b.c) is
//     false if an object above is missing that the contract names, and fails if
//     one in free-form JSON is.
//   - The functions are those of CEL's standard library, without bytes and
//     unsigned integers, which records do not have; the macros has, all, exists,
//     exists_one, map and filter; and json(x), the document in a string of the record.
//     Regular expressions, time zones and the keys of maps must be literals.
//
// Parts that are joined by && and compare a text with literals, such as
// eventName == "Decrypt", "…" in key or resources.exists(r, r.ARN == "…"), are
// what an [Index] finds the expression by.
//
// # EventBridge patterns
//
// A pattern means what Amazon EventBridge documents, and where that is silent,
// what its matcher does:
//
//   - All fields that the pattern names must match; a field matches if any of
//     its values does. "$or" holds if any of its objects does.
//   - A pattern sees the leaves of an event: its strings, numbers, booleans and
//     nulls. Types are kept apart: "5" is not 5, "true" not true. Numbers are
//     equal if their values are.
//   - Lists are looked through, however deep: a field has a leaf for each
//     element, and matches if any of them does, anything-but included. So
//     {"anything-but": "a"} matches the list ["a", "b"].
//   - Fields below one list must be found in the same element of it.
//   - anything-but needs a leaf that is something else, null or of another type
//     if need be; it does not match a field that is missing.
//   - {"exists": true} matches any leaf, null as well; {"exists": false} matches
//     where there is no leaf: nothing, an empty list, or an object. Beside other
//     fields below one list it is about the element where those were found.
//
// A pattern is either one for records, or one for the events that EventBridge
// makes of them, with the record in "detail". Around it such an event has
// source, detail-type, account, region, time, version "0", an id that only
// EventBridge knows, and no resources.
//
// Unlike in EventBridge, numbers in records compare exactly however large; a
// name with a dot in it is one name; a range of addresses must be written from
// its first; and a pattern may be as long as a filter.
//
// # CloudTrail selectors
//
// The selectors are those that put-event-selectors takes for trails, and
// those of event data stores; or the whole document with them that
// get-event-selectors or get-event-data-store prints.
//
// A record is wanted if any selector wants it; a selector does if all of its
// field selectors do. Of one field, the values of Equals, StartsWith and
// EndsWith are alternatives, none of the values of NotEquals, NotStartsWith and
// NotEndsWith may be there, and both must be so. A field that a record does not
// have satisfies the latter alone. A record without eventCategory, as old ones
// are, is of Management, and one without readOnly is a change.
//
// Selectors for other categories than Management and NetworkActivity are taken
// and want nothing, as the KMS has no such events; if all are, that is an error.
//
// # Limits
//
// A filter has at most [MaxBytes] encoded, [MaxValues] values (a condition
// without counts as one) of at most [MaxValueBytes] each, and is nested at most
// [MaxDepth] deep, parentheses and nots included. A path has at most 64 steps and
// opens at most four documents within each other. There are at most [MaxRegexps]
// regular expressions of at most [MaxRegexpBytes] each, which are not too large once
// compiled; those of a condition look at no more than 16 KiB of a record's values:
// what is beyond does not match. There are at most [MaxCEL] CEL expressions of at most
// [MaxCELBytes] each, with 16 macros, no more than two of them within each other,
// and 400 operators and calls; one that takes more than [MaxCELSteps] for a record
// fails there, as does one whose regular expressions would look at more than 16 KiB.
//
// # Cost and concurrency
//
// Matching takes time in proportion to the filter and the record, whatever they
// are, and allocates nothing where nothing matches. A Filter never changes and
// may be used by any number of goroutines; a [record.View] is for one.
//
// Of a large filter and a large record that proportion can be a second. [Index.MatchQuick]
// leaves these to those who can wait.
//
// Any number of goroutines may use an Index. Match takes no lock and sees an
// index as one Add or Remove left it, never in between; once Add or Remove has
// returned, each later Match sees it. Filters are found by the value, or the
// beginning of a value, that promises to be rarest among those that every match
// must have; those that have none are tried for each record of the operations
// that they can match. Equal filters are tried once for all their owners.
package filter
