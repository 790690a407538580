package filter

import (
	"cmp"
	"math"
	"strconv"
	"time"

	"github.com/keytrail/keytrail/record"
)

// celKind is the type of a value in CEL, as far as records need it: they hold
// neither bytes nor unsigned integers.
type celKind uint8

const (
	celError celKind = iota // an evaluation that failed
	celNull
	celBool
	celInt
	celDouble
	celString
	celTime
	celDuration
	celType
	celList
	celMap
)

// celTypeNames are what type(…) returns, as CEL spells it.
var celTypeNames = [...]string{
	celError:    "error",
	celNull:     "null_type",
	celBool:     "bool",
	celInt:      "int",
	celDouble:   "double",
	celString:   "string",
	celTime:     "google.protobuf.Timestamp",
	celDuration: "google.protobuf.Duration",
	celType:     "type",
	celList:     "list",
	celMap:      "map",
}

// celValue is a value in the evaluation of an expression. The zero celValue is
// an error. Those of the record are read no further than asked.
type celValue struct {
	kind  celKind
	nanos int32 // of a time

	// num is 1 for true, an integer, the bits of a double, the nanoseconds
	// of a duration or the seconds of a time since 1970.
	num int64

	text string       // of a string; the name of a type
	json record.Value // a list, map or string of the record
	made *celMade     // a list or map that is not in the record
}

// celMade is a list, or a map if it has keys, that the expression made.
type celMade struct {
	keys  []celValue // literals, each once
	items []celValue
}

func celBoolean(b bool) celValue {
	if b {
		return celValue{kind: celBool, num: 1}
	}
	return celValue{kind: celBool}
}

func celInteger(n int64) celValue { return celValue{kind: celInt, num: n} }

func celFloat(f float64) celValue {
	return celValue{kind: celDouble, num: int64(math.Float64bits(f))}
}

func celText(s string) celValue { return celValue{kind: celString, text: s} }

func (x celValue) double() float64 { return math.Float64frombits(uint64(x.num)) }

func (x celValue) isTrue() bool { return x.kind == celBool && x.num == 1 }

func (x celValue) time() time.Time { return time.Unix(x.num, int64(x.nanos)).UTC() }

// CEL's times are of the years 1 to 9999.
const (
	celFirstSecond = -62135596800
	celLastSecond  = 253402300799
)

func celMoment(seconds, nanos int64) celValue {
	seconds += nanos / 1e9
	if nanos %= 1e9; nanos < 0 {
		nanos += 1e9
		seconds--
	}
	if seconds < celFirstSecond || seconds > celLastSecond {
		return celValue{}
	}
	return celValue{kind: celTime, num: seconds, nanos: int32(nanos)}
}

// json is x as CEL has JSON, except that a number written as an integer is an
// integer, if 64 bits hold it.
func (r *celRun) json(x record.Value) celValue {
	switch x.Kind() {
	case record.Null:
		return celValue{kind: celNull}
	case record.Boolean:
		return celBoolean(x.Text() == "true")
	case record.Number:
		if !r.spend(int64(len(x.Text()) / bytesPerStep)) {
			return celValue{}
		}
		if n, err := strconv.ParseInt(x.Text(), 10, 64); err == nil {
			return celInteger(n)
		}
		f, _ := strconv.ParseFloat(x.Text(), 64) // infinite if it's too large
		return celFloat(f)
	case record.String:
		return celValue{kind: celString, text: x.Text(), json: x}
	case record.List:
		return celValue{kind: celList, json: x}
	case record.Object:
		return celValue{kind: celMap, json: x}
	}
	return celValue{}
}

// each yields the elements of a list or the keys of a map. It reports whether x
// is one.
func (r *celRun) each(x celValue, yield func(celValue) bool) bool {
	switch {
	case x.kind == celList && x.made != nil:
		for _, e := range x.made.items {
			if !r.spend(1) || !yield(e) {
				break
			}
		}
	case x.kind == celList:
		for e := range x.json.Elements {
			if !r.spend(1) || !yield(r.json(e)) {
				break
			}
		}
	case x.kind == celMap && x.made != nil:
		for _, k := range x.made.keys {
			if !r.spend(1) || !yield(k) {
				break
			}
		}
	case x.kind == celMap:
		for name := range x.json.Members {
			if !r.spend(1) || !yield(celText(name)) {
				break
			}
		}
	default:
		return false
	}
	return true
}

// size is how many elements or keys a list or map has.
func (r *celRun) size(x celValue) int64 {
	n := int64(0)
	switch {
	case x.made != nil:
		return int64(len(x.made.items))
	case x.kind == celList:
		for range x.json.Elements {
			if n++; !r.spend(1) {
				break
			}
		}
	default:
		for range x.json.Members {
			if n++; !r.spend(1) {
				break
			}
		}
	}
	return n
}

// freeLookups is how many members of the record an evaluation may look for at
// the price of a step each. A member is found by going through all that the
// object has, so that each further one costs as many steps.
const freeLookups = 64

// member returns the member of a JSON object.
func (r *celRun) member(x record.Value, name string) record.Value {
	if r.lookups++; r.lookups > freeLookups && x.Kind() == record.Object {
		for range x.Members {
			if !r.spend(1 + int64(len(name)/bytesPerStep)) {
				return record.Value{}
			}
		}
	}
	return x.Member(name)
}

// find returns the value of a key in a map, an error if it isn't there.
func (r *celRun) find(x, key celValue) celValue {
	if x.kind != celMap {
		return celValue{}
	}
	if x.made == nil {
		if key.kind != celString {
			return celValue{}
		}
		return r.json(r.member(x.json, key.text))
	}
	for i, k := range x.made.keys {
		if r.spend(1) && r.equal(k, key) {
			return x.made.items[i]
		}
	}
	return celValue{}
}

// at returns an element of a list, or the value of a key of a map.
func (r *celRun) at(x, key celValue) celValue {
	if x.kind == celMap {
		return r.find(x, key)
	}
	if key.kind == celDouble && key.double() == math.Trunc(key.double()) && math.Abs(key.double()) < 1<<53 {
		key = celInteger(int64(key.double()))
	}
	if x.kind != celList || key.kind != celInt || key.num < 0 {
		return celValue{}
	}
	if x.made != nil {
		if key.num >= int64(len(x.made.items)) {
			return celValue{}
		}
		return x.made.items[key.num]
	}
	i := key.num
	for e := range x.json.Elements {
		if i == 0 {
			return r.json(e)
		}
		if i--; !r.spend(1) {
			break
		}
	}
	return celValue{}
}

// in reports whether a list holds x, or a map has it as a key.
func (r *celRun) in(x, where celValue) celValue {
	if where.kind == celMap {
		return celBoolean(r.find(where, x).kind != celError)
	}
	found := false
	if !r.each(where, func(e celValue) bool {
		found = r.equal(e, x)
		return !found
	}) {
		return celValue{}
	}
	return celBoolean(found)
}

// equal compares values of any types; those of different types differ, except
// that numbers are compared as numbers.
func (r *celRun) equal(a, b celValue) bool {
	if isNumber(a) && isNumber(b) {
		c, ok := compareNumbers(a, b)
		return ok && c == 0
	}
	if a.kind != b.kind {
		return false
	}
	switch a.kind {
	case celNull:
		return true
	case celBool, celDuration:
		return a.num == b.num
	case celTime:
		return a.num == b.num && a.nanos == b.nanos
	case celString, celType:
		if len(a.text) != len(b.text) {
			return false
		}
		return r.spend(int64(len(a.text)/bytesPerStep)) && a.text == b.text
	case celList:
		return r.equalLists(a, b)
	case celMap:
		return r.equalMaps(a, b)
	}
	return false
}

func (r *celRun) equalLists(a, b celValue) bool {
	x, y := r.items(a), r.items(b)
	if len(x) != len(y) {
		return false
	}
	for i := range x {
		if !r.spend(1) || !r.equal(x[i], y[i]) {
			return false
		}
	}
	return true
}

func (r *celRun) equalMaps(a, b celValue) bool {
	if r.size(a) != r.size(b) {
		return false
	}
	same := true
	r.each(a, func(key celValue) bool {
		v := r.find(b, key)
		same = v.kind != celError && r.equal(r.find(a, key), v)
		return same
	})
	return same
}

// items returns the elements of a list. The caller may not change them.
func (r *celRun) items(x celValue) []celValue {
	if x.made != nil {
		return x.made.items
	}
	var all []celValue
	r.each(x, func(e celValue) bool {
		all = append(all, e)
		return r.spend(stepsPerItem)
	})
	return all
}

func isNumber(x celValue) bool { return x.kind == celInt || x.kind == celDouble }

func isNaN(x celValue) bool { return x.kind == celDouble && math.IsNaN(x.double()) }

// compareNumbers is not ok if one of them is not a number.
func compareNumbers(a, b celValue) (c int, ok bool) {
	switch {
	case a.kind == celInt && b.kind == celInt:
		return cmp.Compare(a.num, b.num), true
	case a.kind == celInt:
		c, ok = compareNumbers(b, a)
		return -c, ok
	case isNaN(a) || isNaN(b):
		return 0, false
	case b.kind == celDouble:
		return cmp.Compare(a.double(), b.double()), true
	case a.double() < math.MinInt64:
		return -1, true
	case a.double() > math.MaxInt64:
		return 1, true
	}
	return cmp.Compare(a.double(), float64(b.num)), true
}
