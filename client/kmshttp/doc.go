// Package kmshttp audits the HTTP interface of a KMS, AWS JSON 1.1 with
// "X-Amz-Target: TrentService.<Operation>": it wraps the handler of a KMS that
// is written in Go, or a reverse proxy before any other, and makes of each
// call a [keytrailv1.Call] for a [Sink].
//
// # What it promises
//
//   - A call is with the sink before the first byte of its answer is written.
//     If the sink fails, the answer is withheld and the client gets 503
//     DependencyTimeoutException (unless Config.FailOpen is set). The KMS has
//     acted by then: what is withheld is its answer, and a client that tries
//     again makes another call.
//   - Requests and answers pass byte for byte, with Host and all headers, but
//     that they are read as a whole first. One over Config.MaxBody is refused:
//     a request with 413, before the KMS sees it; an answer with 500, after the
//     call was recorded, without the answer.
//   - Nothing of a request or an answer is logged, or part of an error. The
//     Call holds both in full, secrets included: the sink must apply the
//     allow-list before the call leaves the process or is written anywhere.
//   - A client that goes away changes nothing: the KMS finishes, and the call is
//     recorded. So the handler's context ends after Config.CallTimeout only.
//   - It starts no goroutines.
//
// What never reaches the KMS is not recorded: anything but a POST to Config.Path
// with one X-Amz-Target of the KMS (refused unless Config.PassOthers is set),
// and what one KMS might read as another call than the next: a body that is not
// one JSON object, has two members of one name or of names that differ in case
// only, or names an Action if it is read as a form; a Content-Type or
// Content-Encoding of something else than JSON; a header with underscores that
// CGI takes for another; a query parameter that SigV4 does not use.
//
// # Who called
//
// The access key and the Region come from the SigV4 signature, in the header or
// the query. Config.Identities names the caller, and that is what the call says
// if it is proven:
//
//   - where Identities gives the secret key, if the signature is right, over
//     this very body, and no more than five minutes old (a presigned one: not
//     expired). What the KMS says does not matter then;
//   - otherwise, if the KMS accepted the call: it answered 2xx, or with an error
//     that needs a caller to be known, such as AccessDeniedException or
//     NotFoundException; errors.go has the list. This is as good as the KMS'
//     own check: do not rely on it before one that checks no signatures.
//
// All others are of type Unknown, with the access key ID that they claim and
// nothing else.
//
// # Which keys
//
// Those that the KMS resolved: the ARNs in its answer, else those in the
// request, else what Config.Resolve or Config.Account make of a key ID. A call
// that failed before a key was looked up, or because there is none, has no keys.
// Aliases are resolved anew for each call: after it, but for DeleteAlias, which
// leaves nothing to resolve.
package kmshttp
