package filter

import (
	"fmt"
	"testing"

	"github.com/keytrail/keytrail/record"
)

func BenchmarkIndexMatch(b *testing.B) {
	hits := textView(b, `{"eventName":"Decrypt","resources":[{"ARN":"`+numberedKey(0)+`"}],"requestParameters":{"m":"x0","m0":"x"}}`)
	misses := textView(b, `{"eventName":"Encrypt","resources":[{"ARN":"`+keyA+`"}],"requestParameters":{"m":"y"}}`)
	for _, kind := range indexKinds[:6] {
		for _, n := range []int{1, 100, 10_000} {
			var x Index[int]
			for i := range n {
				x.Add(i, compileText(b, kind.filter(i)))
			}
			for name, v := range map[string]*record.View{"hit": hits, "miss": misses} {
				b.Run(fmt.Sprintf("%s/%d/%s", kind.name, n, name), func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						x.Match(v, func(int) {})
					}
				})
			}
		}
	}
}

func BenchmarkIndexAddRemove(b *testing.B) {
	const n = 10_000
	for _, kind := range indexKinds {
		var x Index[int]
		for i := range n {
			x.Add(i, compileText(b, kind.filter(i)))
		}
		f := compileText(b, kind.filter(n))
		b.Run(kind.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				x.Add(n, f)
				x.Remove(n)
			}
		})
	}
}
