package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec that rawCodec falls back to
	"google.golang.org/grpc/mem"
)

func escaped(text string) string {
	out := ""
	for _, c := range text {
		out += fmt.Sprintf(`\u%04x`, c)
	}
	return out
}

// formsOf are the ways in which text may be written: what is looked for.
func formsOf(text string) map[string]string {
	decimal := strings.Trim(fmt.Sprint([]byte(text)), "[]")
	forms := map[string]string{
		"raw": text, "hex": hex.EncodeToString([]byte(text)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(text))),
		"JSON-escaped": escaped(text), "Go's bytes": decimal, "an array": strings.ReplaceAll(decimal, " ", ","),
	}
	// As the API has blobs, and these once more, as protobuf's JSON has bytes.
	for before, once := range base64Of(text) {
		forms[fmt.Sprintf("base64 after %d bytes", before)] = once
		for again, twice := range base64Of(once) {
			forms[fmt.Sprintf("base64 after %d bytes, in base64 after %d bytes", before, again)] = twice
		}
	}
	return forms
}

// base64Of are the characters that depend on nothing but text, by how many bytes
// are before it. Those of text of letters and digits are in both alphabets.
func base64Of(text string) (forms [3]string) {
	for before := range forms {
		all := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", before) + text))
		forms[before] = all[(before*8+5)/6 : (before+len(text))*8/6]
	}
	return forms
}

// TestForms: the search finds what it is to find.
func TestForms(t *testing.T) {
	for before := range 4 {
		text := []byte(strings.Repeat("y", before) + planted + "-17")
		encoded := base64.StdEncoding.EncodeToString(text)
		quoted, err := json.Marshal(string(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, written := range []string{
			string(text), encoded, base64.RawURLEncoding.EncodeToString(text),
			base64.StdEncoding.EncodeToString([]byte(encoded)), base64.StdEncoding.EncodeToString([]byte(`{"a":"` + encoded + `"}`)),
			hex.EncodeToString(text), fmt.Sprintf("%X", text), fmt.Sprint(text), fmt.Sprintf("%q", text), escaped(string(text)), string(quoted),
		} {
			if len(places{"": []byte(written)}.has(planted)) == 0 {
				t.Errorf("%q is not found", written)
			}
		}
	}
}

// places are texts in which secrets are looked for, by what they are.
type places map[string][]byte

func (p places) addTree(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		p[path] = text
		return err
	})
}

// tree is all that is in the files of a folder.
func tree(t *testing.T, root string) []byte {
	t.Helper()
	files := places{}
	if err := files.addTree(root); err != nil {
		t.Fatal(err)
	}
	return bytes.Join(slices.Collect(maps.Values(files)), []byte{0})
}

// has lists the places where text is, in any form.
func (p places) has(text string) (found []string) {
	forms := formsOf(text)
	for name, content := range p {
		for form, written := range forms {
			if bytes.Contains(content, []byte(written)) {
				found = append(found, fmt.Sprintf("%s (%s)", name, form))
			}
		}
	}
	return found
}

// wiretap passes connections on to a bus and keeps what is said.
type wiretap struct {
	lis  net.Listener
	done sync.WaitGroup

	mu    sync.Mutex // guards conns; what they hold is to be read after close
	conns []*tapped
}

// tapped is a connection. Each of its buffers belongs to the goroutine that
// copies.
type tapped struct{ sent, got bytes.Buffer }

func newWiretap(t *testing.T, to string) *wiretap {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wiretap{lis: lis}
	w.done.Go(func() {
		for {
			in, err := lis.Accept()
			if err != nil {
				return // closed
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			c := new(tapped)
			w.mu.Lock()
			w.conns = append(w.conns, c)
			w.mu.Unlock()
			w.done.Go(func() { io.Copy(io.MultiWriter(in, &c.got), out); in.Close() })
			w.done.Go(func() { io.Copy(io.MultiWriter(out, &c.sent), in); out.Close() })
		}
	})
	return w
}

// close ends it once its clients have gone, and returns what they said and heard.
func (w *wiretap) close() (sent, got []byte) {
	w.lis.Close()
	w.done.Wait()
	for _, c := range w.conns {
		sent = append(sent, unframed(bytes.TrimPrefix(c.sent.Bytes(), []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")))...)
		got = append(got, unframed(c.got.Bytes())...)
	}
	return sent, got
}

// unframed is what HTTP/2 carries: the data of each stream in one piece, for a
// frame may end within a word, and all other frames.
func unframed(wire []byte) []byte {
	const header, data = 9, 0
	streams := make(map[uint32][]byte)
	var out []byte
	for len(wire) >= header {
		n := min(int(wire[0])<<16|int(wire[1])<<8|int(wire[2]), len(wire)-header)
		payload := wire[header : header+n]
		if id := binary.BigEndian.Uint32(wire[5:]); wire[3] == data {
			streams[id] = append(streams[id], payload...)
		} else {
			out = append(out, payload...)
		}
		wire = wire[header+n:]
	}
	for _, s := range streams {
		out = append(append(out, 0), s...)
	}
	return out
}

// rawCodec sends bytes as they are.
type rawCodec struct{ encoding.CodecV2 }

func (c rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	if b, ok := v.([]byte); ok {
		return mem.BufferSlice{mem.SliceBuffer(b)}, nil
	}
	return c.CodecV2.Marshal(v)
}
