package filter
import ("testing";"fmt"; keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1")
func pbs(n int) []*keytrailv1.Filter {
	out := make([]*keytrailv1.Filter, n)
	for i := range out {
		out[i] = &keytrailv1.Filter{Include: []*keytrailv1.Selector{{Keys: []string{fmt.Sprintf("arn:aws:kms:us-west-2:210987654321:key/%08x-4c1f-4d7e-9a51-000000000000", (i*7919)%1000)}, EventNames: []string{"Decrypt", fmt.Sprintf("Event%d", i/1000)}}}}
	}
	return out
}
func BenchmarkTmpCompile(b *testing.B) {
	p := pbs(10000)
	i := 0
	b.ReportAllocs()
	for b.Loop() { Compile(p[i%10000]); i++ }
}
func BenchmarkTmpAdd(b *testing.B) {
	p := pbs(10000)
	fs := make([]*Filter, len(p))
	for i := range p { fs[i], _ = Compile(p[i]) }
	b.ReportAllocs()
	var x Index[int]
	i := 0
	for b.Loop() { x.Add(i%10000, fs[i*7%10000]); i++ }
}
