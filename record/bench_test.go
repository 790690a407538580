package record_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/keytrail/keytrail/record"
)

func BenchmarkFromJSON(b *testing.B) {
	text := []byte(typical)
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := record.FromJSON(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	r, err := record.FromJSON([]byte(typical))
	if err != nil {
		b.Fatal(err)
	}
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		if dst, err = record.AppendJSON(dst[:0], r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	for _, bb := range []struct{ name, json string }{
		{"typical", typical},
		{"verbatim", typical[:len(typical)-1] + `,"x":1}`},
	} {
		b.Run(bb.name, func(b *testing.B) {
			r, err := record.FromJSON([]byte(bb.json))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if p := record.Validate(r, record.Policy{}); p != nil {
					b.Fatal(p)
				}
			}
		})
	}
}

func BenchmarkMarshal(b *testing.B) {
	r, err := record.FromJSON([]byte(typical))
	if err != nil {
		b.Fatal(err)
	}
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		if dst, err = record.AppendMarshal(dst[:0], r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHeaderDecode(b *testing.B) {
	r, err := record.FromJSON([]byte(typical))
	if err != nil {
		b.Fatal(err)
	}
	encoded := mustMarshal(b, r)
	var h record.Header
	b.ReportAllocs()
	for b.Loop() {
		if err := h.Decode(encoded); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReader(b *testing.B) {
	const n = 1000
	for _, bb := range []struct {
		name string
		file []byte
	}{
		{"lines", bytes.Repeat([]byte(typical+"\n"), n)},
		{"Records", []byte(`{"Records":[` + typical + string(bytes.Repeat([]byte(","+typical), n-1)) + "]}")},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(bb.file)))
			for b.Loop() {
				r := record.NewReader(bytes.NewReader(bb.file))
				for {
					_, err := r.Next()
					if err == io.EOF {
						break
					}
					if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
