package record

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// input is a window on the text of a file.
type input struct {
	src  io.Reader
	err  error // ended src; what was read before it is still in buf
	buf  []byte
	pos  int   // buf[pos:] is unread
	base int64 // offset of buf[0] in the text
}

const firstWindow = 64 << 10

func (in *input) unread() []byte { return in.buf[in.pos:] }
func (in *input) offset() int64  { return in.base + int64(in.pos) }
func (in *input) advance(n int)  { in.pos += n }

// open uncompresses the source if it is compressed and passes the byte order
// mark.
func (in *input) open() {
	b := bufio.NewReader(in.src)
	magic, err := b.Peek(2)
	if err != nil { // the source is that short
		in.buf, in.err = bytes.Clone(magic), err
		return
	}
	in.src = b
	if magic[0] == 0x1f && magic[1] == 0x8b {
		in.src, in.err = newGunzip(b)
	}
	const mark = "\xef\xbb\xbf"
	for len(in.buf) < len(mark) && in.read() {
	}
	if bytes.HasPrefix(in.buf, []byte(mark)) {
		in.advance(len(mark))
	}
}

// read reads once, and on while that ends inside a character: what is wrong with
// a text must not depend on the pieces that it comes in. It returns false if the
// source has ended.
func (in *input) read() bool {
	if in.err != nil {
		return false
	}
	if in.pos > 0 && (in.pos == len(in.buf) || len(in.buf) == cap(in.buf)) {
		in.base += int64(in.pos)
		in.buf = in.buf[:copy(in.buf, in.unread())]
		in.pos = 0
	}
	had, empty := len(in.buf), 0
	for in.err == nil && (len(in.buf) == had || endsInRune(in.buf)) {
		if len(in.buf) == cap(in.buf) {
			in.buf = append(make([]byte, 0, max(firstWindow, 2*cap(in.buf))), in.buf...)
		}
		n, err := in.src.Read(in.buf[len(in.buf):cap(in.buf)])
		in.buf = in.buf[:len(in.buf)+n]
		if n > 0 {
			empty = 0
		} else if empty++; empty == 100 && err == nil { // as many as bufio allows
			err = io.ErrNoProgress
		}
		in.err = err
	}
	return len(in.buf) > had
}

// endsInRune reports whether b ends with a part of a character.
func endsInRune(b []byte) bool {
	for i := len(b) - 1; i >= max(0, len(b)-utf8.UTFMax); i-- {
		if utf8.RuneStart(b[i]) {
			return !utf8.FullRune(b[i:])
		}
	}
	return false
}

// grow makes unread so much longer that reading it all again pays: to the
// double, or to the end of an object, for a pipe that has no more just now. It
// returns false if the source has ended or unread is over MaxTextBytes.
func (in *input) grow() bool {
	had := len(in.unread())
	if had > MaxTextBytes {
		return false
	}
	enough := min(2*had, MaxTextBytes+1)
	for in.read() {
		if len(in.unread()) >= enough || bytes.HasSuffix(in.unread(), []byte("}\n")) {
			return true
		}
	}
	return len(in.unread()) > had
}

// skipSpace passes white space; false if nothing follows.
func (in *input) skipSpace() bool {
	for {
		in.pos = len(in.buf) - len(trimSpace(in.unread()))
		if in.pos < len(in.buf) {
			return true
		}
		if !in.read() {
			return false
		}
	}
}

var lineStart = []byte("\n{")

// nextLine returns how far the next line is that begins with {. It looks no
// further than MaxTextBytes.
func (in *input) nextLine() (n int, found bool) {
	from := 0
	for {
		if i := bytes.Index(in.unread()[from:], lineStart); i >= 0 {
			return from + i + 1, true
		}
		from = max(0, len(in.unread())-1)
		if !in.grow() {
			return 0, false
		}
	}
}

// skipToLine passes all text before the next line that begins with {.
func (in *input) skipToLine() {
	for {
		if i := bytes.Index(in.unread(), lineStart); i >= 0 {
			in.advance(i + 1)
			return
		}
		in.advance(max(0, len(in.unread())-1)) // the last byte may be the line's end
		if !in.read() {
			in.pos = len(in.buf)
			return
		}
	}
}

// skipValue passes an object, array or string of any length by its brackets
// and quotes alone. With lines, a line that begins with { ends it too: an
// object that was cut off must not swallow those after it.
func (in *input) skipValue(lines bool) error {
	depth, quoted, escaped := 0, false, false
	var last byte
	for {
		for i, c := range in.unread() {
			switch {
			case escaped:
				escaped = false
			case quoted && c == '\\':
				escaped = true
			case quoted && c == '\n':
				in.advance(i)
				if lines {
					in.skipToLine()
					return nil
				}
				return errors.New("not JSON: a line ends in a string")
			case c == '"':
				quoted = !quoted
			case quoted:
			case lines && c == '{' && last == '\n' && depth > 0:
				in.advance(i)
				return nil
			case c == '{' || c == '[':
				depth++
			case c == '}' || c == ']':
				depth--
			}
			last = c
			if depth <= 0 && !quoted && (c == '}' || c == ']' || c == '"') {
				in.advance(i + 1)
				return nil
			}
		}
		in.pos = len(in.buf)
		if !in.read() {
			return io.ErrUnexpectedEOF
		}
	}
}

// gunzip says that it is the compression that is wrong.
type gunzip struct{ z *gzip.Reader }

func newGunzip(r io.Reader) (io.Reader, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("bad gzip: %w", err)
	}
	return gunzip{z}, nil
}

func (g gunzip) Read(p []byte) (int, error) {
	n, err := g.z.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("bad gzip: %w", err)
	}
	return n, err
}
