package kmshttp

import (
	"bytes"
	"strings"
	"sync"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keytrail/keytrail/record"
)

// readParameters reads the members of a request. Besides what readMembers
// refuses, it refuses names that only some readers tell apart: encoding/json,
// which most KMS' in Go read with, takes "keyid" for KeyId. Where two are the
// same to it, or one is what a record would have under its right name, the KMS
// would act on another value than the record says.
func readParameters(text []byte) (members, bool) {
	m, ok := readMembers(text)
	return m, ok && plainNames(text)
}

// plainNames says whether all names of the JSON object text mean the same to
// all readers. The keys of encryption contexts are not names but data.
func plainNames(text []byte) bool {
	d := jsontext.NewDecoder(bytes.NewReader(text))
	seen := []map[string]bool{nil} // names by depth, folded; nil: of an array, or no names
	for {
		if d.PeekKind() == 0 {
			return true // the end: readMembers has read it all
		}
		depth := d.StackDepth()
		kind, n := d.StackIndex(depth)
		isKey := kind == '{' && n%2 == 0 && d.PeekKind() == '"'
		token, err := d.ReadToken()
		if err != nil {
			return false
		}
		switch {
		case token.Kind() == '{' || token.Kind() == '[':
			seen = append(seen, nil)
		case token.Kind() == '}' || token.Kind() == ']':
			seen = seen[:len(seen)-1]
		case isKey:
			name := token.String()
			folded := foldName(name)
			right, known := knownNames()[folded]
			if seen[depth][folded] || known && name != right {
				return false
			}
			if seen[depth] == nil {
				seen[depth] = make(map[string]bool)
			}
			seen[depth][folded] = true
			if contextNames[name] && d.PeekKind() == '{' {
				if err := d.SkipValue(); err != nil {
					return false
				}
			}
		}
	}
}

// contextNames are the members whose own members are chosen by the caller.
var contextNames = map[string]bool{
	"EncryptionContext":            true,
	"EncryptionContextEquals":      true,
	"EncryptionContextSubset":      true,
	"SourceEncryptionContext":      true,
	"DestinationEncryptionContext": true,
}

// knownNames are the members that a record or its keys may have of a request,
// by their folded names.
var knownNames = sync.OnceValue(func() map[string]string {
	names := make(map[string]string)
	add := func(name string) { names[foldName(name)] = name }
	for op := range record.Operations() {
		for member := range strings.FieldsSeq(op.Request) {
			add(member[:len(member)-len(strings.TrimLeft(member, letters))])
		}
	}
	for name := range contextNames {
		add(name)
	}
	add("TagKey")
	add("TagValue")
	return names
})

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// foldName is one name for all that encoding/json takes for the same: letters
// become the least of those that differ in case only.
func foldName(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, name)
}
