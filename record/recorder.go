package record

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// DefaultEventVersion is the version of CloudTrail's record format that is made.
const DefaultEventVersion = "1.11"

// CloudTrail's limits of single fields, in bytes. Text is cut at the last whole
// character; a JSON object over its limit becomes {"omitted":true}.
const (
	maxShortText  = 1 << 10 // userAgent, errorCode, errorMessage, requestID
	maxParameters = 100 << 10
	maxAdditional = 28 << 10
)

const (
	internalActor = "AWS Internal"     // who and where, when the KMS itself acts
	secondActor   = EventSource        // who calls in the second Region
	keyType       = "AWS::KMS::Key"    // of keys and aliases
	reducedType   = "AWSAccount"       // the caller's type in a reduced copy
	serviceType   = "AWSService"       // which stays a service there
	categoryOf    = "Management"       // cryptographic calls included
	omitted       = `{"omitted":true}` // stands for an object over its limit
)

// CallerView is how much of the caller the owner of a key sees.
type CallerView uint8

const (
	// CallerReduced shows the caller's account and principal ID, as
	// CloudTrail usually does; of a service, which service.
	CallerReduced CallerView = iota

	// CallerFull shows the caller as in the caller's own account.
	CallerFull
)

// RecorderConfig tunes a [Recorder]. A zero field takes the default in its
// comment.
type RecorderConfig struct {
	// EventVersion is the record's eventVersion, "major.minor". Default
	// [DefaultEventVersion].
	EventVersion string

	// OwnersView is how a record for the owner of a key shows a caller of
	// another account. Default [CallerReduced].
	OwnersView CallerView

	// NotEnriched names operations whose responseElements.keyId is not filled
	// in, of those that the catalogue enriches. RotateKey is the one for which
	// newer records of CloudTrail have none. Default: none.
	NotEnriched []string

	// TrimKeys leaves the keys of third accounts out of the copies for owners:
	// with ReEncrypt from one account's key to another's, each owner then sees
	// their own key only. The caller sees both. Default: all see both.
	TrimKeys bool
}

// Recorder makes the records of calls that CloudTrail would have written. It
// can be used concurrently.
type Recorder struct {
	version     string
	full        bool
	trim        bool
	notEnriched map[string]bool
}

// NewRecorder returns a Recorder, or an error that names every setting that
// can't work.
func NewRecorder(cfg RecorderConfig) (*Recorder, error) {
	r := &Recorder{
		version:     cmp.Or(cfg.EventVersion, DefaultEventVersion),
		full:        cfg.OwnersView == CallerFull,
		trim:        cfg.TrimKeys,
		notEnriched: make(map[string]bool),
	}
	var errs []error
	if major, minor, ok := strings.Cut(r.version, "."); !ok || !isDigits(major) || !isDigits(minor) {
		errs = append(errs, fmt.Errorf("EventVersion %q is not major.minor", cfg.EventVersion))
	}
	if cfg.OwnersView > CallerFull {
		errs = append(errs, fmt.Errorf("OwnersView %d is unknown", cfg.OwnersView))
	}
	for _, name := range cfg.NotEnriched {
		if op, known := LookupOperation(name); !known || op.KeyID != Enriched {
			errs = append(errs, fmt.Errorf("NotEnriched: %q is no operation that is enriched", name))
		}
		r.notEnriched[name] = true
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("record: %w", errors.Join(errs...))
	}
	return r, nil
}

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// Record returns the 1 to 3 records of a call, or why there are none; exactly
// one of the two is nil. The first record is for the caller's account. The
// same call always makes the same records. Each is one that [Validate] takes.
//
// The field of a problem is the call's, as the contract spells it, such as
// "call.keys[0].arn". c is not changed, and no record shares memory with it
// that can be written to. The records share the text of their JSON objects.
func (r *Recorder) Record(c *keytrailv1.Call) ([]*keytrailv1.Record, *Problem) {
	if c == nil {
		c = new(keytrailv1.Call)
	}
	p := plan{Recorder: r, checkedCall: checkedCall{Call: c}}
	if problem := p.check(); problem != nil {
		return nil, problem
	}
	if problem := p.readTexts(); problem != nil {
		return nil, problem
	}
	if problem := p.completeAliases(); problem != nil {
		return nil, problem
	}
	if problem := p.findSecond(); problem != nil {
		return nil, problem
	}
	p.message = p.op.safeMessage(p.Call)
	records := p.records()
	if p.size > MaxBytes/2 {
		for _, made := range records {
			if proto.Size(made) > MaxBytes {
				return nil, &Problem{codeTooLarge, "call", fmt.Sprintf("makes a record that is longer than %d bytes", MaxBytes)}
			}
		}
	}
	return records, nil
}

// plan is one call on its way to records.
type plan struct {
	*Recorder
	checkedCall

	// What is logged. nil: the member is absent from the record.
	request, response, additional, details []byte

	message string // why the call failed, without secrets
}

// jsonProblem is the problem of text that is not what it should be.
func jsonProblem(field string) *Problem {
	return callProblem(codeWrongType, field, "must be one JSON object in UTF-8, with distinct names")
}

// readTexts filters the call's JSON objects.
func (p *plan) readTexts() *Problem {
	op := p.op
	// Nearly always enough for all four; the slices are cut from it.
	buf := make([]byte, 0, min(len(p.RequestParameters), 1<<10)+len(p.AdditionalEventData)+256)
	var seen uint64
	ok := true

	start := len(buf)
	if p.RequestParameters != nil {
		if buf, seen, ok = op.request.appendAllowed(buf, p.RequestParameters, apiNames, loggedNames); !ok {
			return jsonProblem("request_parameters")
		}
	}
	buf = op.request.appendInstead(buf, start, seen)
	p.request, buf = cutObject(buf, start, maxParameters, true)

	start = len(buf)
	if p.AdditionalEventData != nil {
		if buf, _, ok = op.additional.appendAllowed(buf, p.AdditionalEventData, loggedNames, loggedNames); !ok {
			return jsonProblem("additional_event_data")
		}
	}
	end := len(buf)
	if p.Response != nil {
		response := op.responseOf(p.Call)
		if buf, _, ok = response.appendAllowed(buf, p.Response, apiNames, loggedNames); !ok {
			return jsonProblem("response")
		}
	}
	if op.Class == Cryptographic {
		buf = p.joinFacts(buf, start, end)
		p.additional, buf = cutObject(buf, start, maxAdditional, false)
		end = len(buf)
	} else {
		p.additional, _ = cutObject(buf[:end:end], start, maxAdditional, false)
	}
	if p.code == "" && op.KeyID == Enriched && !p.notEnriched[op.Name] {
		buf = appendMember(buf, end, "keyId", p.keys[0].arn)
	}
	p.response, buf = cutObject(buf, end, maxParameters, true)

	start, seen = len(buf), 0
	if p.ServiceEventDetails != nil {
		if buf, seen, ok = op.details.appendAllowed(buf, p.ServiceEventDetails, loggedNames, loggedNames); !ok {
			return jsonProblem("service_event_details")
		}
	}
	if id := op.details.byLogged["keyId"]; id != nil && seen&(1<<id.index) == 0 && p.keyN > 0 {
		buf = appendMember(buf, start, "keyId", KeyID(p.keys[0].arn))
	}
	p.details, _ = cutObject(buf, start, maxParameters, false)
	return nil
}

// joinFacts puts the response's facts, an object at end, into the object of
// additional facts at start, where the call has not given them itself.
func (p *plan) joinFacts(buf []byte, start, end int) []byte {
	given, facts := buf[start:end], buf[end:]
	switch {
	case len(facts) <= len("{}"):
		return buf[:end]
	case len(given) <= len("{}"):
		return append(buf[:start], facts...)
	}
	facts = append([]byte(nil), facts...)
	buf = buf[:end]
	_ = eachMember(facts, func(name, value []byte) {
		plain := string(name[1 : len(name)-1])
		has := false
		_ = eachMember(buf[start:], func(name, _ []byte) { has = has || string(name[1:len(name)-1]) == plain })
		if !has {
			text, _ := unquote(value)
			buf = appendMember(buf, start, plain, text)
		}
	})
	return buf
}

// appendInstead adds to the object at start what is logged of members that were
// not sent.
func (m *members) appendInstead(buf []byte, start int, seen uint64) []byte {
	for _, e := range m.list {
		if e.instead != "" && seen&(1<<e.index) == 0 {
			buf = append(openMember(buf, start, e.logged), e.instead...)
			buf = append(buf, '}')
		}
	}
	return buf
}

// appendMember adds a string to the object at start, which is there or empty.
func appendMember(buf []byte, start int, name, value string) []byte {
	buf, err := appendString(openMember(buf, start, name), value)
	if err != nil {
		buf = append(buf, `""`...)
	}
	return append(buf, '}')
}

// openMember opens the object at start again for one more member.
func openMember(buf []byte, start int, name string) []byte {
	switch len(buf) - start {
	case 0:
		buf = append(buf, '{')
	case len("{}"):
		buf = buf[:len(buf)-1]
	default:
		buf[len(buf)-1] = ','
	}
	return appendName(buf, name)
}

// cutObject is the object at start, or what stands for it: null or nothing if
// it is empty, {"omitted":true} if it is over its limit.
func cutObject(buf []byte, start, limit int, orNull bool) (object, rest []byte) {
	switch n := len(buf) - start; {
	case n > limit:
		buf = append(buf[:start], omitted...)
	case n <= len("{}") && orNull:
		buf = append(buf[:start], "null"...)
	case n <= len("{}"):
		return nil, buf[:start]
	}
	return buf[start:len(buf):len(buf)], buf
}

// completeAliases finds the alias ARN of an operation on aliases where the call
// gives only the name.
func (p *plan) completeAliases() *Problem {
	if p.op.Keys != KeyThenAlias && p.op.Keys != AliasThenKey || p.keyN == 0 || p.aliases[0] != "" {
		return nil
	}
	name := textMember(p.RequestParameters, "AliasName")
	switch {
	case isAliasName(name) && len(name) <= maxARN:
		p.aliases[0] = p.keys[0].aliasARN(name)
	case p.code == "":
		return callProblem(codeMissing, "keys[0].alias_arn", "is required of an operation on aliases whose request has no name beginning with alias/")
	}
	return nil
}

// findSecond finds the Region of the second record.
func (p *plan) findSecond() *Problem {
	if p.op.second == nil || p.code != "" {
		return nil
	}
	p.region = textMember(p.RequestParameters, p.op.secondRegion)
	if p.region == "" {
		return callProblem(codeMissing, "request_parameters", "must name the other Region, for the record there")
	}
	if !isRegion(p.region) {
		return callProblem(codeInvalid, "request_parameters", "must name a Region as the other one: letters, digits, and - . _")
	}
	if p.region == p.GetRegion() {
		return callProblem(codeInvalid, "request_parameters", "must name another Region than the call's")
	}
	return nil
}

// cutText is s without what is over the limit of short texts, and without a
// part of a character. s need not be UTF-8: it may not have been checked yet.
func cutText(s string) string {
	if len(s) <= maxShortText {
		return s
	}
	n := maxShortText
	for n > maxShortText-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
