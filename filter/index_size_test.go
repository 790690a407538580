package filter

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/keytrail/keytrail/record"
)

// indexKinds are the ways in which many filters can differ.
var indexKinds = []struct {
	name   string
	filter func(i int) string
}{
	{"a key each", func(i int) string { return "key = " + numberedKey(i) }},
	{"a key each, and events", func(i int) string { return "key = " + numberedKey(i) + " and event in (Decrypt, Sign)" }},
	{"a beginning each", func(i int) string { return "key ~ " + numberedKey(i)[:50] + "*" }},
	{"three keys each", func(i int) string {
		return "key in (" + numberedKey(i) + ", " + numberedKey(i+1) + ", " + numberedKey(i+2) + ")"
	}},
	{"an event name each", func(i int) string { return fmt.Sprintf("event = Event%d", i) }},
	{"a wildcard each", func(i int) string { return fmt.Sprintf("key ~ */%d-*", i) }},
	{"the same", func(int) string { return "event = Event0" }},
	{"the same three keys", func(int) string {
		return "key in (" + numberedKey(0) + ", " + numberedKey(1) + ", " + numberedKey(2) + ")"
	}},
	{"the same key", func(i int) string { return fmt.Sprintf("key = %s and event = Event%d", numberedKey(0), i) }},
	{"a member each", func(i int) string { return fmt.Sprintf("requestParameters.m%d = x", i) }},
	{"a value each", func(i int) string { return fmt.Sprintf("requestParameters.m = x%d", i) }},
}

func numberedKey(i int) string {
	return fmt.Sprintf("arn:aws:kms:us-west-2:210987654321:key/%08x-4c1f-4d7e-9a51-000000000000", i)
}

// TestAddIsNotQuadratic counts bytes, since time depends on what else runs: to
// copy the whole index for each change would take a hundred times as many.
func TestAddIsNotQuadratic(t *testing.T) {
	const n = 10_000
	for _, tt := range indexKinds {
		filters := make([]*Filter, n)
		for i := range filters {
			filters[i] = compileText(t, tt.filter(i))
		}
		var x Index[int]
		measure := func(what string, change func(i int)) {
			before := allocated()
			for i := range n {
				change(i)
			}
			if each := (allocated() - before) / n; each > 16<<10 {
				t.Errorf("%s: each %s allocates %d bytes", tt.name, what, each)
			}
		}
		measure("Add", func(i int) { x.Add(i, filters[i]) })
		measure("Remove", func(i int) { x.Remove(i) })
		checkEmpty(t, &x)
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// TestManyAnchors proves that a record with thousands of values takes no more steps
// than it has values and the index has filters, however often they meet.
func TestManyAnchors(t *testing.T) {
	const n = 300
	var values, elements []string
	for i := range n {
		values = append(values, fmt.Sprintf("v%d", i))
	}
	for i := range 10 * n {
		elements = append(elements, fmt.Sprintf(`"v%d"`, i%(n+5)))
	}
	in := strings.Join(values[:n-10], ", ")
	var x Index[int]
	for i := range n {
		x.Add(i, compileText(t, fmt.Sprintf("requestParameters.list in (%s, w%d)", in, i)))
	}
	// More that match, by what comes last in the record; and others.
	for i := range 10 {
		x.Add(n+i, compileText(t, fmt.Sprintf("requestParameters.list in (late, w%d)", i)))
		x.Add(-1-i, compileText(t, fmt.Sprintf("requestParameters.list in (absent%d, w%d)", i, i)))
	}
	v := textView(t, `{"requestParameters":{"list":[`+strings.Join(elements, ",")+`,"late"]}}`)
	for range 3 { // what a Match borrows is as good as new for the next
		hits := make(map[int]int)
		m := matching[int]{state: x.state.Load(), view: v, hit: func(id int) { hits[id]++ }, operations: operationsIn(v), pool: &x.pool}
		m.all()
		for i := -10; i < n+10; i++ {
			if want := min(1, max(0, i+1)); hits[i] != want {
				t.Fatalf("%d hits of %d, want %d", hits[i], i, want)
			}
		}
		if m.steps > 4*n {
			t.Errorf("%d steps for %d filters", m.steps, n)
		}
	}
}

// TestManyValues proves that what a Match borrows for a record of many values is
// as good as new for the next.
func TestManyValues(t *testing.T) {
	const n = 50
	var x Index[int]
	var elements []string
	for i := range n {
		x.Add(i, compileText(t, fmt.Sprintf("requestParameters.list = v%d", i)))
		elements = append(elements, fmt.Sprintf(`"v%d","v%d"`, i, i/2))
	}
	v := textView(t, `{"requestParameters":{"list":[`+strings.Join(elements, ",")+`]}}`)
	for range 3 {
		hits := make(map[int]int)
		x.Match(v, func(id int) { hits[id]++ })
		for i := range n {
			if hits[i] != 1 {
				t.Fatalf("%d hits of %d", hits[i], i)
			}
		}
	}
}

// TestManyLengths proves that filters are found by beginnings of many
// lengths, though the index looks for few, and that nothing is left of those
// that it cannot take.
func TestManyLengths(t *testing.T) {
	const text = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz"
	for _, upwards := range []bool{true, false} {
		var x Index[int]
		list := make(map[int]*Filter)
		for i := range 45 {
			n := i + 1
			if !upwards {
				n = 45 - i
			}
			list[2*i] = compileText(t, "userAgent ^= "+text[:n])
			list[2*i+1] = compileText(t, "userAgent ^= ("+text[:n]+"x, "+text[:n/2+1]+") or errorCode = x")
			x.Add(2*i, list[2*i])
			x.Add(2*i+1, list[2*i+1])
		}
		for _, p := range x.state.Load().places {
			if len(p.lengths) > maxLengths {
				t.Errorf("a place has %d lengths", len(p.lengths))
			}
		}
		for n := range len(text) {
			for _, end := range []string{"", "x", "y"} {
				v := textView(t, `{"userAgent":"`+text[:n]+end+`"}`)
				hits := make(map[int]int)
				x.Match(v, func(id int) { hits[id]++ })
				for id, f := range list {
					if hits[id] > 1 || f.Match(v) != (hits[id] == 1) {
						t.Fatalf("%d hits of %s by %s%s", hits[id], f, text[:n], end)
					}
				}
			}
		}
		for id := range list {
			x.Remove(id)
		}
		checkEmpty(t, &x)
	}
}

// TestCrowdedValues proves that filters which share a value with many take another of
// theirs that is nearly as good, and leave nothing in the one that they did not take.
func TestCrowdedValues(t *testing.T) {
	const n = 1500
	var x Index[int]
	for i := range n {
		x.Add(i, compileText(t, fmt.Sprintf("key = %s and principal = p%d and requestID $= r%d", keyA, i%(n/2), i)))
	}
	sizes := make(map[string]int)
	x.state.Load().table.each(func(items []trieItem[*bucket[int]]) {
		for _, it := range items {
			sizes[it.v.value] = it.v.len()
		}
	})
	if sizes[keyA] < 64 || sizes[keyA] > n/2 {
		t.Errorf("%d of %d are found by the value that all share", sizes[keyA], n)
	}
	for i := range n {
		v := textView(t, fmt.Sprintf(`{"resources":[{"ARN":%q}],"userIdentity":{"arn":"p%d"},"requestID":"-r%d"}`, keyA, i%(n/2), i))
		hits := 0
		x.Match(v, func(id int) {
			if hits++; id != i {
				t.Errorf("hit %d instead of %d", id, i)
			}
		})
		if hits != 1 {
			t.Fatalf("%d hits of %d", hits, i)
		}
	}
	// Others crowd each of theirs.
	for i := range n {
		x.Add(n+i, compileText(t, fmt.Sprintf("key = %s and principal = all and requestID $= r%d", keyB, i)))
	}
	for i := range 2 * n {
		x.Remove(i)
	}
	checkEmpty(t, &x)
}

func TestMissAllocatesNothing(t *testing.T) {
	// More anchors than a Match has room for without more memory, all of them
	// of filters that do not match.
	var crowd []string
	for i := range 40 {
		crowd = append(crowd, fmt.Sprintf(`{"ARN":%q}`, numberedKey(i)))
	}
	for _, text := range []string{
		`{"eventName":"Decrypt","resources":[{"ARN":"` + keyA + `"},{"ARN":"` + keyB + `"}],"requestParameters":{"m":["y",1.5,{"z":[]}],"m3":"y"}}`,
		`{"eventName":"Encrypt","resources":[` + strings.Join(crowd, ",") + `]}`,
	} {
		for _, tt := range indexKinds {
			var x Index[int]
			for i := range 100 {
				x.Add(i, compileText(t, "userAgent = x and "+tt.filter(i)))
			}
			v := textView(t, text)
			x.Match(v, func(int) { t.Errorf("%s: a hit", tt.name) })
			if n := testing.AllocsPerRun(100, func() { x.Match(v, func(int) {}) }); n != 0 && !raceDetector {
				t.Errorf("%s: %v allocations", tt.name, n)
			}
		}
	}
}

// TestRemovedFiltersLeaveNothing weighs an index after its filters are gone.
func TestRemovedFiltersLeaveNothing(t *testing.T) {
	const n = 20_000
	var x Index[int]
	x.Add(-1, compileText(t, "event = Sign"))
	before := held()
	for i := range n {
		x.Add(i, compileText(t, indexKinds[i%len(indexKinds)].filter(i)))
	}
	full := held() - before
	for i := range n {
		x.Remove(i)
	}
	// The map of owners keeps its room while there is one.
	if left := held() - before; left > full/4 {
		t.Errorf("%d filters held %d bytes; removed, they still hold %d", n, full, left)
	}
	x.Remove(-1)
	if left := held() - before; left > full/50 {
		t.Errorf("%d filters held %d bytes; removed, they still hold %d", n, full, left)
	}
	runtime.KeepAlive(&x)
}

func held() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestPlacesAreNotTaken: filters of odd fields, however many, do not keep those of
// the usual ones from being found by them.
func TestPlacesAreNotTaken(t *testing.T) {
	var x Index[int]
	for i := range 2 * maxPlaces {
		x.Add(i, compileText(t, fmt.Sprintf("requestParameters.odd%d = x", i)))
	}
	odd := x.state.Load().rest.n
	if odd != maxPlaces {
		t.Fatalf("%d of %d odd filters are found by nothing, want %d", odd, 2*maxPlaces, maxPlaces)
	}
	for i, text := range []string{
		"key = " + keyA, "key = " + record.KeyID(keyA), "resources[].ARN = " + keyA, "principal = x", "sourceIP = 10.1.2.3",
		"userIdentity.accessKeyId = x", "accountOf(userIdentity.arn) = 210987654321", "requestID = x",
	} {
		x.Add(1000+i, compileText(t, text))
		if n := x.state.Load().rest.n; n != odd {
			t.Errorf("%s is found by nothing", text)
			odd = n
		}
	}
	// One that is refused in part leaves nothing behind.
	x.Add(2000, compileText(t, "key = "+keyB+" or requestParameters.another = x"))
	if n := x.state.Load().rest.n; n != odd+1 {
		t.Errorf("%d are found by nothing, want %d", n, odd+1)
	}
	for id := range 2001 {
		x.Remove(id)
	}
	checkEmpty(t, &x)
}
