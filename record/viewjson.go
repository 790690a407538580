package record

import (
	"strings"

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
// root, 0 if the text is not JSON. It does not check that strings are
// UTF-8 and that names are distinct, which Validate does for records.
func (v *View) parse(p place) uint32 {
	v.used = true
	if len(v.nodes) == 0 {
		v.nodes = append(v.nodes, node{})
	}
	root := len(v.nodes)
	s := scanner{v: v, text: v.text(p), base: p.start}
	if !s.document() {
		v.nodes = v.nodes[:root]
		return 0
	}
	return uint32(root)
}

// scanner parses one JSON text.
type scanner struct {
	v    *View
	text string
	base uint32 // of places
	pos  int
}

func (s *scanner) document() bool {
	v := s.v
	var open, before uint32 // the container that is open, and the last of its parts so far
	for depth := 0; ; {
		n := node{next: open, before: before}
		if open != 0 && v.nodes[open].kind == Object {
			name, escaped, ok := s.str()
			if !ok || !s.token(':') {
				return false
			}
			if escaped {
				name = v.unescape(name)
			}
			n.name = name
		}
		i := uint32(len(v.nodes))
		if !s.value(&n) {
			return false
		}
		v.nodes = append(v.nodes, n)
		if open != 0 {
			v.nodes[open].last = i
		}
		if n.kind >= List && !s.token(closing(n.kind)) {
			if depth++; depth > maxNesting {
				return false
			}
			open, before = i, 0
			continue
		}
		if n.kind >= List {
			v.nodes[i].text.end = s.base + uint32(s.pos)
		}
		v.nodes[i].next = i + 1
		before = i

		for {
			if open == 0 {
				s.space()
				return s.pos == len(s.text)
			}
			if s.token(',') {
				break
			}
			c := &v.nodes[open]
			if !s.token(closing(c.kind)) {
				return false
			}
			depth--
			c.text.end = s.base + uint32(s.pos)
			before, open, c.next = open, c.next, uint32(len(v.nodes))
		}
	}
}

func closing(k Kind) byte {
	if k == List {
		return ']'
	}
	return '}'
}

func (s *scanner) space() {
	for s.pos < len(s.text) {
		switch s.text[s.pos] {
		case ' ', '\t', '\r', '\n':
			s.pos++
		default:
			return
		}
	}
}

// token skips white space and, if it comes next, c.
func (s *scanner) token(c byte) bool {
	s.space()
	if s.pos == len(s.text) || s.text[s.pos] != c {
		return false
	}
	s.pos++
	return true
}

// value reads a value into n; of a container only the bracket.
func (s *scanner) value(n *node) (ok bool) {
	s.space()
	if s.pos == len(s.text) {
		return false
	}
	start := s.pos
	switch s.text[s.pos] {
	case '"':
		n.kind = String
		n.text, n.escaped, ok = s.str()
		return ok
	case '{':
		n.kind = Object
		s.pos++
	case '[':
		n.kind = List
		s.pos++
	case 't':
		n.kind = Boolean
		ok = s.word("true")
	case 'f':
		n.kind = Boolean
		ok = s.word("false")
	case 'n':
		n.kind = Null
		ok = s.word("null")
	default:
		n.kind = Number
		ok = s.number()
	}
	n.text = place{s.base + uint32(start), s.base + uint32(s.pos)}
	return ok || n.kind >= List
}

func (s *scanner) word(w string) bool {
	if !strings.HasPrefix(s.text[s.pos:], w) {
		return false
	}
	s.pos += len(w)
	return true
}

func (s *scanner) number() bool {
	s.one('-')
	if !s.one('0') && !s.digits() {
		return false
	}
	if s.one('.') && !s.digits() {
		return false
	}
	if s.one('e') || s.one('E') {
		if !s.one('+') {
			s.one('-')
		}
		return s.digits()
	}
	return true
}

// one skips c if it comes next.
func (s *scanner) one(c byte) bool {
	if s.pos == len(s.text) || s.text[s.pos] != c {
		return false
	}
	s.pos++
	return true
}

// digits skips digits and reports whether there were any.
func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.text) && s.text[s.pos]-'0' <= 9 {
		s.pos++
	}
	return s.pos > start
}

// str reads a string and returns where it is, without the quotes, and whether
// it has escapes.
func (s *scanner) str() (p place, escaped, ok bool) {
	if !s.token('"') {
		return p, false, false
	}
	start := s.pos
	for s.pos < len(s.text) {
		switch c := s.text[s.pos]; {
		case c == '"':
			p = place{s.base + uint32(start), s.base + uint32(s.pos)}
			s.pos++
			return p, escaped, true
		case c < ' ':
			return p, false, false
		case c == '\\':
			escaped = true
			if !s.escape() {
				return p, false, false
			}
		default:
			s.pos++
		}
	}
	return p, false, false
}

// escape skips an escape.
func (s *scanner) escape() bool {
	rest := s.text[s.pos+1:]
	if rest == "" {
		return false
	}
	switch rest[0] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos += 2
		return true
	case 'u':
		if len(rest) < 5 {
			return false
		}
		for i := 1; i < 5; i++ {
			if c := rest[i] | 0x20; rest[i]-'0' > 9 && (c < 'a' || c > 'f') {
				return false
			}
		}
		s.pos += 6
		return true
	}
	return false
}
