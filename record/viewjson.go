package record

import (
	"bytes"
	"encoding/binary"
	"math/bits"

	"github.com/go-json-experiment/json/jsontext"
)

// node is one value of a JSON text that was parsed. Nodes come in the order of
// the text, so those of a value's parts follow it. Node 0 is none.
type node struct {
	name place // of a member, unescaped
	text place // of strings without the quotes

	next uint32 // the index after the node's parts; the container while it's open

	// before is the node of the member or element before this one, 0 if there
	// is none. So the last of several members of one name is found first.
	before uint32

	// last is the last member or element of a container, 0 if it's empty; of a
	// string, the root of the document in it, or noDocument, once that was looked for.
	last uint32

	kind    Kind
	escaped bool // text has escapes
}

// noDocument is node.last of a string that holds no JSON document.
const noDocument = ^uint32(0)

// maxNesting is how deep JSON may nest, as in jsontext.
const maxNesting = 10_000

// node returns the value of a node, missing for 0.
func (v *View) node(i uint32) Value {
	if i == 0 {
		return Value{}
	}
	return Value{v, v.nodes[i].kind, asNode, place{i, 0}}
}

// find returns the last member with this name of the object that is node i, 0
// if there is none.
func (v *View) find(i uint32, name string) uint32 {
	if i == 0 || v.nodes[i].kind != Object {
		return 0
	}
	for i = v.nodes[i].last; i != 0; i = v.nodes[i].before {
		p := v.nodes[i].name
		if int(p.end-p.start) == len(name) && v.text(p) == name {
			return i
		}
	}
	return 0
}

// unescaped returns the place of the text of the string that is node i.
func (v *View) unescaped(i uint32) place {
	if n := &v.nodes[i]; n.escaped {
		n.escaped = false
		n.text = v.unescape(n.text)
	}
	return v.nodes[i].text
}

// unescape writes what the quoted text at p means into scratch memory.
func (v *View) unescape(p place) place {
	quoted := v.memory(place{p.start - 1, p.end + 1})
	text := v.mark()
	// The error is of half a surrogate pair, which becomes U+FFFD.
	v.scratch, _ = jsontext.AppendUnquote(v.scratch, quoted)
	return v.since(text)
}

// parse adds the nodes of the JSON text at p and returns the index of its
// root, 0 if the text is not JSON. It does not check that strings are UTF-8 and
// that names are distinct, which Validate does for records.
func (v *View) parse(p place) uint32 {
	v.used = true
	if len(v.nodes) == 0 {
		v.nodes = append(v.nodes, node{})
	}
	root := len(v.nodes)
	if !v.parseAll(v.memory(p), p.start) {
		v.nodes = v.nodes[:root]
		return 0
	}
	return uint32(root)
}

// parseAll adds the nodes of text, which is at base.
func (v *View) parseAll(text []byte, base uint32) bool {
	var open, before uint32 // the container that is open, and the last of its parts so far
	inObject, depth := false, 0
	pos := skipSpace(text, 0)
	for {
		n := node{next: open, before: before}
		if inObject {
			end, escaped := stringEnd(text, pos)
			if end < 0 {
				return false
			}
			n.name = place{base + uint32(pos) + 1, base + uint32(end)}
			if escaped {
				n.name = v.unescape(n.name)
			}
			pos = skipSpace(text, end+1)
			if pos == len(text) || text[pos] != ':' {
				return false
			}
			pos = skipSpace(text, pos+1)
		}
		i := uint32(len(v.nodes))
		if open != 0 {
			v.nodes[open].last = i
		}
		if pos == len(text) {
			return false
		}
		start := pos
		switch c := text[pos]; c {
		case '"':
			end, escaped := stringEnd(text, pos)
			if end < 0 {
				return false
			}
			n.kind, n.escaped = String, escaped
			n.text = place{base + uint32(pos) + 1, base + uint32(end)}
			pos = end + 1
		case '{', '[':
			n.kind = List
			if c == '{' {
				n.kind = Object
			}
			pos = skipSpace(text, pos+1)
			if pos < len(text) && text[pos] == c+2 { // the other bracket
				pos++
				n.text = place{base + uint32(start), base + uint32(pos)}
				break
			}
			if depth++; depth > maxNesting {
				return false
			}
			n.text.start = base + uint32(start)
			v.nodes = append(v.nodes, n)
			open, before, inObject = i, 0, c == '{'
			continue
		default:
			n.kind, pos = scalarEnd(text, pos)
			if n.kind == Missing {
				return false
			}
			n.text = place{base + uint32(start), base + uint32(pos)}
		}
		n.next = i + 1
		v.nodes = append(v.nodes, n)
		before = i

		// Close what ends here.
		for {
			pos = skipSpace(text, pos)
			if open == 0 || pos == len(text) {
				return open == 0 && pos == len(text)
			}
			c := text[pos]
			pos++
			if c == ',' {
				pos = skipSpace(text, pos)
				break
			}
			if inObject && c != '}' || !inObject && c != ']' {
				return false
			}
			depth--
			closed := &v.nodes[open]
			closed.text.end = base + uint32(pos)
			before, open, closed.next = open, closed.next, uint32(len(v.nodes))
			inObject = open != 0 && v.nodes[open].kind == Object
		}
	}
}

// skipSpace returns where the next token is, at or after pos.
func skipSpace(text []byte, pos int) int {
	for pos < len(text) && text[pos] <= ' ' {
		switch text[pos] {
		case ' ', '\t', '\r', '\n':
			pos++
		default:
			return pos
		}
	}
	return pos
}

// stringEnd returns where the closing quote is of the string that begins at
// pos, -1 if none does, and whether there are escapes in it.
func stringEnd(text []byte, pos int) (end int, escaped bool) {
	if pos == len(text) || text[pos] != '"' {
		return -1, false
	}
	for i := pos + 1; ; {
		// Eight bytes at a time: each test leaves the highest bit of the first
		// byte that it's true of, and none if there is no such byte.
		const ones, highs = 0x0101010101010101, 0x8080808080808080
		for i+8 <= len(text) {
			w := binary.LittleEndian.Uint64(text[i:])
			quote, backslash := w^(ones*'"'), w^(ones*'\\')
			found := ((quote-ones)&^quote | (backslash-ones)&^backslash | (w-ones*' ')&^w) & highs
			if found != 0 {
				i += bits.TrailingZeros64(found) / 8
				break
			}
			i += 8
		}
		for i < len(text) && text[i] >= ' ' && text[i] != '"' && text[i] != '\\' {
			i++
		}
		switch {
		case i == len(text) || text[i] < ' ':
			return -1, false
		case text[i] == '"':
			return i, escaped
		}
		n := escapeLen(text[i+1:])
		if n == 0 {
			return -1, false
		}
		i, escaped = i+1+n, true
	}
}

// escapeLen returns the length of the escape that rest begins with, less the
// backslash, 0 if it is none.
func escapeLen(rest []byte) int {
	if len(rest) == 0 {
		return 0
	}
	switch rest[0] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 1
	case 'u':
		if len(rest) < 5 {
			return 0
		}
		for _, c := range rest[1:5] {
			if c-'0' > 9 && (c|0x20)-'a' > 'f'-'a' {
				return 0
			}
		}
		return 5
	}
	return 0
}

// scalarEnd returns the kind of the literal or number at pos, and where it
// ends; Missing if there is none.
func scalarEnd(text []byte, pos int) (k Kind, end int) {
	word := func(k Kind, w string) (Kind, int) {
		if !bytes.HasPrefix(text[pos:], []byte(w)) {
			return Missing, 0
		}
		return k, pos + len(w)
	}
	switch text[pos] {
	case 't':
		return word(Boolean, "true")
	case 'f':
		return word(Boolean, "false")
	case 'n':
		return word(Null, "null")
	}
	n := numberLen(text[pos:])
	if n == 0 {
		return Missing, 0
	}
	return Number, pos + n
}

// numberLen returns the length of the number that text begins with, 0 if it
// is none.
func numberLen(text []byte) int {
	n := 0
	next := func() byte {
		if n == len(text) {
			return 0
		}
		return text[n]
	}
	digits := func() bool {
		start := n
		for next()-'0' <= 9 {
			n++
		}
		return n > start
	}
	if next() == '-' {
		n++
	}
	if next() == '0' {
		n++
	} else if !digits() {
		return 0
	}
	if next() == '.' {
		n++
		if !digits() {
			return 0
		}
	}
	if next()|0x20 == 'e' {
		n++
		if next() == '+' || next() == '-' {
			n++
		}
		if !digits() {
			return 0
		}
	}
	return n
}
