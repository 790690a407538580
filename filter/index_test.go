package filter

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/internal/sample"
	"github.com/keytrail/keytrail/record"
)

// TestIndexAgainstList holds the index to the list of its filters, tried one
// by one, through random changes.
func TestIndexAgainstList(t *testing.T) { rapid.Check(t, checkIndex) }

func FuzzIndex(f *testing.F) { f.Fuzz(rapid.MakeFuzz(checkIndex)) }

// TestIndexOfCollidingValues is the same where hashes say little.
func TestIndexOfCollidingValues(t *testing.T) {
	hashMask = 3
	defer func() { hashMask = ^uint64(0) }()
	rapid.Check(t, checkIndex)
}

func checkIndex(t *rapid.T) {
	var x Index[int]
	list := make(map[int]*Filter)
	text := rapid.Bool().Draw(t, "text")
	// A few filters in all, so that many IDs share one.
	filters := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) *Filter {
		if text {
			return compileText(t, drawText(t, 2))
		}
		return &Filter{root: drawExpr(t, 3, false)}
	}), 1, 12).Draw(t, "filters")
	ids := rapid.IntRange(0, 19)
	t.Repeat(map[string]func(*rapid.T){
		"add": func(t *rapid.T) {
			id, f := ids.Draw(t, "id"), rapid.SampledFrom(filters).Draw(t, "filter")
			x.Add(id, f)
			list[id] = f
		},
		"remove": func(t *rapid.T) {
			id := ids.Draw(t, "id")
			x.Remove(id)
			delete(list, id)
		},
		"": func(t *rapid.T) {
			if x.Len() != len(list) {
				t.Fatalf("Len = %d, want %d", x.Len(), len(list))
			}
			var v *record.View
			if text {
				v = viewOf(t, drawRecord(t))
			} else {
				v = viewOf(t, drawAnyRecord(t))
			}
			hits := make(map[int]int)
			x.Match(v, func(id int) { hits[id]++ })
			for id := range 20 {
				want := 0
				if f := list[id]; f != nil && f.Match(v) {
					want = 1
				}
				if hits[id] != want {
					t.Fatalf("%d hits of %d, want %d\nfilter %v\nindexed %s\nrecord %s", hits[id], id, want, list[id].root.text(), list[id].Indexed(), v.Root().AppendJSON(nil))
				}
			}
		},
	})
	for id := range 20 {
		x.Remove(id)
	}
	checkEmpty(t, &x)
}

// checkEmpty proves that nothing is left of filters that were removed.
func checkEmpty(t interface{ Fatalf(string, ...any) }, x *Index[int]) {
	s := x.state.Load()
	if s == nil {
		return
	}
	if len(x.owners)+len(x.groups)+len(x.places)+len(s.places)+s.table.n+s.rest.n+s.shared.n > 0 ||
		s.table.root != nil || s.rest.root != nil || s.shared.root != nil {
		t.Fatalf("an index without filters holds %+v, places %v", *s, x.places)
	}
}

func compileText(t rapid.TB, text string) *Filter {
	t.Helper()
	f, err := Compile(&keytrailv1.Filter{Where: text})
	if err != nil {
		t.Fatalf("Compile(%s): %v", text, err)
	}
	return f
}

const indexCaller = "arn:aws:iam::555555555555:user/mei"

// indexFields are fields, and values that filters ask for there.
var indexFields = []struct {
	field  string
	values []string
}{
	{"event", []string{"Decrypt", "Encrypt", "DisableKey", "Generate*", "Decrypt*", "NewOperation", "*", "7"}},
	{"event", []string{"Decrypt", "Encrypt", "GenerateDataKey"}},
	{"number(event)", []string{"7"}},
	{"string(event)", []string{"Decrypt", "Encrypt"}},
	{"nocase(event)", []string{"decrypt", "ENCRYPT"}},
	{"key", []string{keyA, keyB, aliasA, "arn:aws:kms:us-west-2:*", "alias/payroll", "5a1b7c1e-4c1f-4d7e-9a51-000000000001", "5a1b*", "odd"}},
	{"key", []string{keyA, keyB}},
	{"resources[].ARN", []string{keyA, "arn:aws:kms:*1", aliasA}},
	{"principal", []string{indexCaller, "arn:aws:iam::*", "eks.amazonaws.com"}},
	{"accountOf(userIdentity.arn)", []string{"555555555555", "5*"}},
	{"sourceIP", []string{"192.0.2.7", "192.0.*"}},
	{"accountOf(key)", []string{"210987654321", "2*"}},
	{"accountOf(principal)", []string{"555555555555"}},
	{"account", []string{"210987654321", "2.10987654321e11", "*"}},
	{"number(account)", []string{"210987654321"}},
	{"errorCode", []string{"AccessDenied", "Acc*"}},
	{"class", []string{"cryptographic", "management"}},
	{"requestParameters.n", []string{"7", "7.0", "70e-1", "-0", "true", "1e30", "7*"}},
	{"requestParameters.context.a", []string{"7", "x", "xy*"}},
	{"requestParameters.context.a", []string{"x", `""`}},
	{"requestParameters.list[].n", []string{"7", "x"}},
	{"requestParameters.list", []string{"7", "x", "xy"}},
	{"json(requestParameters.document).a", []string{"7", "x"}},
	{"[\"strange\"]", []string{"x", "7"}},
}

// drawText draws the text of a filter.
func drawText(t *rapid.T, depth int) string {
	switch n := rapid.IntRange(0, 9).Draw(t, "kind"); {
	case depth > 0 && n < 5:
		parts := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string { return drawText(t, depth-1) }), 1, 3).Draw(t, "parts")
		return "(" + strings.Join(parts, rapid.SampledFrom([]string{" and ", " and ", " or "}).Draw(t, "join")) + ")"
	case depth > 0 && n == 5:
		return "not " + drawText(t, depth-1)
	case n == 6:
		return rapid.SampledFrom([]string{
			"true", "exists event", "event is null", "outcome = denied", "exists requestParameters.context.a",
			"resources[] (ARN = " + keyA + ")", "resources[] (ARN = " + keyA + " and type = x)",
			`cel("eventName == 'Decrypt' && errorCode != eventName")`, `cel("recipientAccountId == '210987654321' || eventName in ['Encrypt', 'Sign']")`,
			"requestParameters.list[] (k[] (n = 7))", "requestParameters.list[] (k[] ([] = x))",
			"requestParameters.list[] (n = 7)", "requestParameters.list[] (n = 7 and m = x)", "requestParameters.list[] ([] = x)",
		}).Draw(t, "special")
	}
	f := rapid.SampledFrom(indexFields).Draw(t, "field")
	op := "in"
	if strings.HasSuffix(f.field, "event") || rapid.IntRange(0, 3).Draw(t, "operator") > 0 {
		// A word with a star is a wildcard.
	} else if !slices.Contains([]string{"class", "number(account)"}, f.field) {
		op = rapid.SampledFrom([]string{"^=", "$=", "!="}).Draw(t, "operator")
	}
	values := rapid.SliceOfN(rapid.SampledFrom(f.values), 1, 4).Draw(t, "values")
	for i, v := range values {
		if op != "in" && v == `""` {
			values[i] = "x"
		}
		if op != "in" {
			values[i] = strings.ReplaceAll(values[i], "*", "")
		}
		if values[i] == "" {
			values[i] = "x"
		}
	}
	return f.field + " " + op + " (" + strings.Join(values, ", ") + ")"
}

// drawRecord draws a record, often one with what its fields can't hold.
func drawRecord(t *rapid.T) *keytrailv1.Record {
	one := func(name string, of ...string) string { return rapid.SampledFrom(of).Draw(t, name) }
	member := func(name string, of ...string) string {
		if v := one(name, append(of, "")...); v != "" {
			return fmt.Sprintf(",%q:%s", name, v)
		}
		return ""
	}
	values := []string{`"x"`, `"7"`, "7", "7.0", "70e-1", "-0", "0", "true", "null", `["x",7]`, `[["x"]]`, `{"a":"x"}`, `"xyz"`, "1e30", `""`}
	text := `{"eventID":"e"` +
		member("eventName", `"Decrypt"`, `"Encrypt"`, `"GenerateDataKey"`, `"DisableKey"`, `"NewOperation"`, `"decrypt"`, `["Decrypt","Encrypt"]`, `["DisableKey",7]`, "7", "null", `{}`, `""`) +
		member("recipientAccountId", `"210987654321"`, `"210987654321"`, "210987654321", "2.10987654321e11", `"2.10987654321e11"`) +
		member("errorCode", `"AccessDenied"`, `"AccessDeniedException"`, `"Throttled"`) +
		member("sourceIPAddress", `"192.0.2.7"`, `"eks.amazonaws.com"`) +
		member("userIdentity", `{"arn":"`+indexCaller+`"}`, `{"invokedBy":"eks.amazonaws.com","arn":"x"}`, `"odd"`, `{"arn":["`+indexCaller+`"]}`) +
		member("strange", values...) +
		member("resources", `[{"ARN":"`+keyA+`"}]`, `[{"ARN":"`+keyA+`","type":"x"},{"ARN":"`+keyB+`"},{"ARN":"`+keyA+`"}]`,
			`[{"ARN":"`+aliasA+`"},{"arn":"`+keyB+`","type":"x"}]`, `[{"ARN":"odd"}]`, `{"ARN":"`+keyA+`"}`, `["odd"]`)
	if rapid.Bool().Draw(t, "parameters") {
		text += `,"requestParameters":{"z":0` +
			member("n", values...) +
			member("context", `{"a":`+one("a", values...)+`}`) +
			member("list", `[{"n":`+one("first", values...)+`,"m":"x","k":[{"n":7},"x"]},{"n":`+one("second", values...)+`}]`, `["x","7"]`, values[0]) +
			member("document", `"{\"a\":7}"`, `"{\"a\":[\"x\"]}"`, `{"a":"x"}`, `"{"`) + `}`
	}
	r, err := record.FromJSON([]byte(text + "}"))
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	if rapid.IntRange(0, 9).Draw(t, "contradiction") == 0 {
		r.Verbatim = []byte(`{"eventName":` + one("other name", `"Encrypt"`, `["Encrypt","Sign"]`, "null", "7") + `}`)
	}
	return r
}

// textView is a view of a record in JSON.
func textView(t testing.TB, text string) *record.View {
	t.Helper()
	r, err := record.FromJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return viewOf(t, r)
}

// TestIndexWhileChanging proves that a Match during changes hits what stays,
// once, and never what is gone; and that an owner who changes from one of two
// filters that match to the other is hit once at all times.
func TestIndexWhileChanging(t *testing.T) {
	var x Index[int]
	filters := []*Filter{
		compileText(t, "key in ("+keyA+", "+keyB+")"),
		compileText(t, "event = Decr*"),
		compileText(t, "class = cryptographic"),
		compileText(t, "key ^= arn:aws:kms and event = Decrypt"),
	}
	for i, f := range filters {
		x.Add(-1-i, f)
	}
	const changing = -100
	x.Add(changing, filters[0])
	const enough = 2000
	var changes, matches atomic.Int64
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			for changes.Load() < enough || matches.Load() < enough {
				changes.Add(1)
				if id := w*100 + rng.IntN(100); rng.IntN(2) == 0 {
					x.Remove(id)
				} else {
					x.Add(id, filters[rng.IntN(len(filters))])
				}
				x.Add(changing, filters[rng.IntN(len(filters))])
			}
		})
	}
	text := `{"eventName":"Decrypt","resources":[{"ARN":"` + keyA + `"},{"ARN":"` + keyB + `"}]}`
	var readers sync.WaitGroup
	for range 2 {
		v := textView(t, text)
		readers.Go(func() {
			for changes.Load() < enough || matches.Load() < enough {
				matches.Add(1)
				hits := make(map[int]int)
				x.Match(v, func(id int) { hits[id]++ })
				for id, n := range hits {
					if n != 1 {
						t.Errorf("%d hits of %d", n, id)
					}
				}
				for _, id := range []int{-1, -2, -3, -4, changing} {
					if hits[id] != 1 {
						t.Errorf("missed %d, which was there all the time", id)
					}
				}
			}
		})
	}
	readers.Wait()
	wg.Wait()
	for id := range 300 {
		x.Remove(id)
	}
	x.Match(textView(t, text), func(id int) {
		if id >= 0 {
			t.Errorf("hit %d, which is gone", id)
		}
	})
}

// TestIndexIsOneMoment proves that a Match sees no later change without those before it:
// of owners that are added in order and removed in order, it hits a run
// without a gap.
func TestIndexIsOneMoment(t *testing.T) {
	const n = 60
	var x Index[int]
	// Each is found in another way.
	filters := make([]*Filter, n)
	for i := range filters {
		filters[i] = compileText(t, []string{
			"event = Decrypt and userAgent != %d",
			"key = " + keyA + " and userAgent != %d",
			"key in (" + keyA + ", " + keyB + ") and userAgent != %d",
			"outcome = success and userAgent != %d",
			"key ^= arn:aws and userAgent != %d",
		}[i%5])
		filters[i] = compileText(t, strings.Replace(filters[i].String(), "%d", fmt.Sprint(i), 1))
	}
	const enough = 3000
	var changes atomic.Int64
	var done atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for first, last := 0, 0; !done.Load(); changes.Add(1) {
			x.Add(last%n, filters[last%n])
			last++
			if last-first > n/2 {
				x.Remove(first % n)
				first++
			}
		}
	})
	v := textView(t, `{"eventName":"Decrypt","resources":[{"ARN":"`+keyA+`"},{"ARN":"`+keyB+`"}]}`)
	for i := 0; i < enough || changes.Load() < enough; i++ {
		var there [n]bool
		x.Match(v, func(id int) { there[id] = true })
		ends := 0
		for i := range there {
			if there[i] && !there[(i+1)%n] {
				ends++
			}
		}
		if ends > 1 {
			t.Errorf("a Match saw %v", there)
			break
		}
	}
	done.Store(true)
	wg.Wait()
}

// TestIndexHitMayChange proves that Match holds no lock while it calls hit.
func TestIndexHitMayChange(t *testing.T) {
	var x Index[string]
	every := compileText(t, "true")
	x.Add("a", every)
	x.Add("b", every)
	n := 0
	x.Match(textView(t, "{}"), func(id string) {
		n++
		x.Remove(id)
		x.Add(id+"'", every)
	})
	if n != 2 || x.Len() != 2 {
		t.Errorf("%d hits and %d IDs, want 2 and 2", n, x.Len())
	}
}

// FuzzIndexBytes holds the index to the list on any bytes that a View takes.
func FuzzIndexBytes(f *testing.F) {
	var x Index[int]
	var list []*Filter
	for i, tt := range indexedTests {
		list = append(list, compileText(f, tt.filter))
		x.Add(i, list[i])
	}
	for i, kind := range indexKinds {
		list = append(list, compileText(f, kind.filter(0)))
		x.Add(len(list)-1, list[len(indexedTests)+i])
	}
	gen := sample.New(sample.Config{Keys: 20})
	for range 40 {
		encoded, err := proto.Marshal(gen.Next())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded)
	}
	f.Fuzz(func(t *testing.T, encoded []byte) {
		var v record.View
		if v.Reset(encoded) != nil {
			return
		}
		hits := make([]int, len(list))
		x.Match(&v, func(i int) { hits[i]++ })
		for i, f := range list {
			if want := f.Match(&v); hits[i] > 1 || want != (hits[i] == 1) {
				t.Errorf("%d hits of %s, want %v", hits[i], f, want)
			}
		}
	})
}
