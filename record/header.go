package record

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// Header holds the fields by which a record is routed.
type Header struct {
	EventID, EventName, EventSource, Account, Region, ErrorCode string

	// ReadOnly is false when the record does not say: such a call counts as
	// a change.
	ReadOnly bool

	// Keys are the distinct key ARNs of the record's resources, in order.
	// Alias ARNs are left out.
	Keys []string
}

// Numbers of the fields that a header reads, from record.proto.
const (
	numEventID     protowire.Number = 1
	numEventName   protowire.Number = 2
	numAccount     protowire.Number = 3
	numRegion      protowire.Number = 4
	numResources   protowire.Number = 5
	numReadOnly    protowire.Number = 6
	numErrorCode   protowire.Number = 7
	numEventSource protowire.Number = 8

	numEntries protowire.Number = 1 // of ResourceList
	numARN     protowire.Number = 1 // of Resource
)

// HeaderOf returns the header of r.
func HeaderOf(r *keytrailv1.Record) Header {
	h := Header{
		EventID:     r.GetEventId(),
		EventName:   r.GetEventName(),
		EventSource: r.GetEventSource(),
		Account:     r.GetRecipientAccountId(),
		Region:      r.GetAwsRegion(),
		ErrorCode:   r.GetErrorCode(),
		ReadOnly:    r.GetReadOnly(),
	}
	var keys keySet
	for _, e := range r.GetResources().GetEntries() {
		h.Keys = keys.add(h.Keys, e.GetArn())
	}
	return h
}

// Decode sets h to the header of an encoded record without decoding the rest
// of it. It agrees with [HeaderOf] on every record that protobuf decodes:
// fields may come in any order, the last of a repeated one counts, lists of
// resources are joined. What h held before is gone; the array of h.Keys is
// used again. The strings are copies and share one allocation.
func (h *Header) Decode(encoded []byte) error {
	*h = Header{Keys: h.Keys[:0]}

	// Find everything first, so that one copy of the region it spans serves
	// all strings. The routing fields come first in a stored record, which
	// keeps that region small.
	var at [numEventSource + 1]span
	var arns [8]span
	found := arns[:0]
	for pos := 0; pos < len(encoded); {
		f := fieldAt(encoded, pos)
		if f.end < 0 {
			return headerError(pos, f.end)
		}
		pos = f.end
		switch {
		case f.num > numEventSource:
		case f.num == numReadOnly && f.typ == protowire.VarintType:
			v, _ := protowire.ConsumeVarint(encoded[f.start:])
			h.ReadOnly = protowire.DecodeBool(v)
		case f.num == numReadOnly || f.typ != protowire.BytesType:
			// Another wire type makes it a field that nobody knows.
		case f.num == numResources:
			var err error
			if found, err = findARNs(found, encoded[:f.end], f.start); err != nil {
				return err
			}
		default:
			at[f.num] = span{f.start, f.end}
		}
	}

	lo, hi := len(encoded), 0
	for _, s := range at {
		lo, hi = s.widen(lo, hi)
	}
	for _, s := range found {
		lo, hi = s.widen(lo, hi)
	}
	if hi <= lo {
		return nil // no strings at all
	}
	text := string(encoded[lo:hi])
	in := func(s span) string {
		if s.end == s.start {
			return ""
		}
		return text[s.start-lo : s.end-lo]
	}
	h.EventID = in(at[numEventID])
	h.EventName = in(at[numEventName])
	h.Account = in(at[numAccount])
	h.Region = in(at[numRegion])
	h.ErrorCode = in(at[numErrorCode])
	h.EventSource = in(at[numEventSource])
	var keys keySet
	for _, s := range found {
		h.Keys = keys.add(h.Keys, in(s))
	}
	return nil
}

// findARNs appends where the ARNs are of the ResourceList that is
// encoded[pos:].
func findARNs(found []span, encoded []byte, pos int) ([]span, error) {
	for pos < len(encoded) {
		f := fieldAt(encoded, pos)
		if f.end < 0 {
			return nil, headerError(pos, f.end)
		}
		pos = f.end
		if f.num != numEntries || f.typ != protowire.BytesType {
			continue
		}
		arn, err := findARN(encoded[:f.end], f.start)
		if err != nil {
			return nil, err
		}
		found = append(found, arn)
	}
	return found, nil
}

// findARN returns where the ARN is of the Resource that is encoded[pos:].
func findARN(encoded []byte, pos int) (arn span, err error) {
	for pos < len(encoded) {
		f := fieldAt(encoded, pos)
		if f.end < 0 {
			return arn, headerError(pos, f.end)
		}
		pos = f.end
		if f.num == numARN && f.typ == protowire.BytesType {
			arn = span{f.start, f.end}
		}
	}
	return arn, nil
}

func headerError(offset, code int) error {
	return fmt.Errorf("record: not an encoded record, at byte %d: %w", offset, protowire.ParseError(code))
}

// wireField is a field of an encoded message. The value of a length-delimited
// one is without its length.
type wireField struct {
	num        protowire.Number
	typ        protowire.Type
	start, end int // of the value; end is protowire's error code if negative
}

// fieldAt returns the field at encoded[pos].
func fieldAt(encoded []byte, pos int) wireField {
	// Nearly all fields of a record are length-delimited, with a tag and a
	// length of at most two bytes each. A third byte gives a value of 1<<14 or
	// more here.
	if pos+4 <= len(encoded) {
		tag, start := uint(encoded[pos]), pos+1
		if tag >= 1<<7 {
			tag = tag&0x7f | uint(encoded[start])<<7
			start++
		}
		n := uint(encoded[start])
		start++
		if n >= 1<<7 {
			n = n&0x7f | uint(encoded[start])<<7
			start++
		}
		if end := start + int(n); tag < 1<<14 && tag >= 1<<3 && tag&7 == uint(protowire.BytesType) && n < 1<<14 && end <= len(encoded) {
			return wireField{protowire.Number(tag >> 3), protowire.BytesType, start, end}
		}
	}
	num, typ, n := protowire.ConsumeTag(encoded[pos:])
	if n < 0 {
		return wireField{end: n}
	}
	start := pos + n
	if n = protowire.ConsumeFieldValue(num, typ, encoded[start:]); n < 0 {
		return wireField{end: n}
	}
	end := start + n
	if typ == protowire.BytesType {
		v, _ := protowire.ConsumeBytes(encoded[start:])
		start = end - len(v)
	}
	return wireField{num, typ, start, end}
}

// span is a region of the encoded record.
type span struct{ start, end int }

func (s span) widen(lo, hi int) (int, int) {
	if s.end == s.start {
		return lo, hi
	}
	return min(lo, s.start), max(hi, s.end)
}

// keySet keeps the keys of a header distinct. Nearly all records have one or
// two, so it only makes a map for one that has many.
type keySet struct{ seen map[string]bool }

func (k *keySet) add(keys []string, arn string) []string {
	const few = 16
	if !IsKeyARN(arn) {
		return keys
	}
	if k.seen == nil {
		if slices.Contains(keys, arn) {
			return keys
		}
		if len(keys) < few {
			return append(keys, arn)
		}
		k.seen = make(map[string]bool)
		for _, key := range keys {
			k.seen[key] = true
		}
	}
	if k.seen[arn] {
		return keys
	}
	k.seen[arn] = true
	return append(keys, arn)
}

// Failed reports whether the call failed: whether it has an error code.
func (h *Header) Failed() bool { return h.ErrorCode != "" }

// Denied reports whether the call failed because access was refused.
func (h *Header) Denied() bool { return Denied(h.ErrorCode) }

// Denied reports whether an error code says that access was refused.
func Denied(errorCode string) bool {
	// EC2 and the services built like it write "Client." before their codes.
	switch strings.TrimPrefix(errorCode, "Client.") {
	case "AccessDenied", "AccessDeniedException",
		"UnauthorizedOperation", "UnauthorizedException", "UnauthorizedAccess", "Unauthorized",
		"NotAuthorized", "NotAuthorizedException", "AuthorizationError", "AuthorizationErrorException",
		"Forbidden", "ForbiddenException",
		"OperationNotPermitted", "OperationNotPermittedException":
		return true
	}
	return false
}
