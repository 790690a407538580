package filter

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	celop "cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
)

// The functions of CEL's standard library. An argument of a type that a
// function does not take makes an error, as does a result that is out of range.

type (
	celUnary  func(r *celRun, x celValue) celValue
	celBinary func(r *celRun, a, b celValue) celValue
)

// celUnaries and celBinaries are the functions by their names in the syntax
// tree; of a method, the first argument is what it is called on.
var celUnaries = map[string]celUnary{
	celop.LogicalNot:               celNot,
	celop.Negate:                   celNegate,
	overloads.Size:                 celSize,
	overloads.TypeConvertType:      celTypeOf,
	overloads.TypeConvertDyn:       func(_ *celRun, x celValue) celValue { return x },
	overloads.TypeConvertBool:      celToBool,
	overloads.TypeConvertInt:       celToInt,
	overloads.TypeConvertDouble:    celToDouble,
	overloads.TypeConvertString:    celToString,
	overloads.TypeConvertTimestamp: celToTime,
	overloads.TypeConvertDuration:  celToDuration,
	jsonFunction:                   celDocument,
}

var celBinaries = map[string]celBinary{
	celop.Equals:         func(r *celRun, a, b celValue) celValue { return celBoolean(r.equal(a, b)) },
	celop.NotEquals:      func(r *celRun, a, b celValue) celValue { return celBoolean(!r.equal(a, b)) },
	celop.Less:           ordering(func(c int) bool { return c < 0 }),
	celop.LessEquals:     ordering(func(c int) bool { return c <= 0 }),
	celop.Greater:        ordering(func(c int) bool { return c > 0 }),
	celop.GreaterEquals:  ordering(func(c int) bool { return c >= 0 }),
	celop.In:             (*celRun).in,
	celop.Index:          (*celRun).at,
	celop.Add:            celAdd,
	celop.Subtract:       celSubtract,
	celop.Multiply:       celMultiply,
	celop.Divide:         celDivide,
	celop.Modulo:         celModulo,
	overloads.Contains:   textPredicate(strings.Contains),
	overloads.StartsWith: textPredicate(strings.HasPrefix),
	overloads.EndsWith:   textPredicate(strings.HasSuffix),
}

// jsonFunction is our own: the JSON document inside a string, as json(…) in
// the text form.
const jsonFunction = "json"

func celDocument(r *celRun, x celValue) celValue {
	if x.made != nil {
		return x
	}
	return r.json(x.json.Document())
}

func celNot(_ *celRun, x celValue) celValue {
	if x.kind != celBool {
		return celValue{}
	}
	return celBoolean(x.num == 0)
}

func celNegate(_ *celRun, x celValue) celValue {
	switch {
	case x.kind == celDouble:
		return celFloat(-x.double())
	case x.kind != celInt && x.kind != celDuration || x.num == math.MinInt64:
		return celValue{}
	}
	return celValue{kind: x.kind, num: -x.num}
}

func celSize(r *celRun, x celValue) celValue {
	switch x.kind {
	case celString:
		if !r.spend(int64(len(x.text) / bytesPerStep)) {
			return celValue{}
		}
		return celInteger(int64(utf8.RuneCountInString(x.text)))
	case celList, celMap:
		return celInteger(r.size(x))
	}
	return celValue{}
}

func celTypeOf(_ *celRun, x celValue) celValue {
	return celValue{kind: celType, text: celTypeNames[x.kind]}
}

func celToBool(_ *celRun, x celValue) celValue {
	switch x.kind {
	case celBool:
		return x
	case celString:
		if b, err := strconv.ParseBool(x.text); err == nil {
			return celBoolean(b)
		}
	}
	return celValue{}
}

func celToInt(_ *celRun, x celValue) celValue {
	switch x.kind {
	case celInt:
		return x
	case celDuration, celTime: // nanoseconds; seconds since 1970
		return celInteger(x.num)
	case celDouble:
		if f := x.double(); f > math.MinInt64 && f < math.MaxInt64 {
			return celInteger(int64(f))
		}
	case celString:
		if n, err := strconv.ParseInt(x.text, 10, 64); err == nil {
			return celInteger(n)
		}
	}
	return celValue{}
}

func celToDouble(r *celRun, x celValue) celValue {
	switch x.kind {
	case celDouble:
		return x
	case celInt:
		return celFloat(float64(x.num))
	case celString:
		if !r.spend(int64(len(x.text) / bytesPerStep)) {
			return celValue{}
		}
		if f, err := strconv.ParseFloat(x.text, 64); err == nil {
			return celFloat(f)
		}
	}
	return celValue{}
}

func celToString(_ *celRun, x celValue) celValue {
	switch x.kind {
	case celString:
		return x
	case celBool:
		return celText(yesNo(x.num == 1))
	case celInt:
		return celText(strconv.FormatInt(x.num, 10))
	case celDouble:
		return celText(fmt.Sprintf("%g", x.double()))
	case celTime:
		return celText(x.time().Format(time.RFC3339Nano))
	case celDuration:
		return celText(strconv.FormatFloat(time.Duration(x.num).Seconds(), 'f', -1, 64) + "s")
	}
	return celValue{}
}

// maxTimeBytes is longer than any time or duration that somebody writes.
const maxTimeBytes = 128

func celToTime(_ *celRun, x celValue) celValue {
	switch {
	case x.kind == celTime:
		return x
	case x.kind == celInt:
		return celMoment(x.num, 0)
	case x.kind == celString && len(x.text) <= maxTimeBytes:
		// CEL takes less than time.Parse does, and only it knows what.
		if t, ok := types.String(x.text).ConvertToType(types.TimestampType).(types.Timestamp); ok {
			return celMoment(t.Unix(), int64(t.Nanosecond()))
		}
	}
	return celValue{}
}

func celToDuration(_ *celRun, x celValue) celValue {
	switch {
	case x.kind == celDuration:
		return x
	case x.kind == celString && len(x.text) <= maxTimeBytes:
		if d, err := time.ParseDuration(x.text); err == nil {
			return celValue{kind: celDuration, num: int64(d)}
		}
	}
	return celValue{}
}

// ordering makes an operator of what holds for the result of a comparison.
func ordering(holds func(c int) bool) celBinary {
	return func(r *celRun, a, b celValue) celValue {
		if isNumber(a) && isNumber(b) {
			c, ok := compareNumbers(a, b)
			return celBoolean(ok && holds(c))
		}
		switch {
		case isNaN(a), isNaN(b) && a.kind != celNull && a.kind < celType:
			return celBoolean(false) // whatever the other is, in CEL
		case a.kind != b.kind:
			return celValue{}
		}
		switch a.kind {
		case celBool, celDuration:
			return celBoolean(holds(cmp.Compare(a.num, b.num)))
		case celTime:
			return celBoolean(holds(cmp.Or(cmp.Compare(a.num, b.num), cmp.Compare(a.nanos, b.nanos))))
		case celString:
			if !r.spend(int64(min(len(a.text), len(b.text)) / bytesPerStep)) {
				return celValue{}
			}
			return celBoolean(holds(strings.Compare(a.text, b.text)))
		}
		return celValue{}
	}
}

func textPredicate(holds func(s, part string) bool) celBinary {
	return func(r *celRun, a, b celValue) celValue {
		if a.kind != celString || b.kind != celString || !r.spend(int64(len(a.text)/bytesPerStep)) {
			return celValue{}
		}
		return celBoolean(holds(a.text, b.text))
	}
}

func celAdd(r *celRun, a, b celValue) celValue {
	switch {
	case a.kind == celInt && b.kind == celInt, a.kind == celDuration && b.kind == celDuration:
		sum := a.num + b.num
		if (sum > a.num) != (b.num > 0) && b.num != 0 {
			return celValue{}
		}
		return celValue{kind: a.kind, num: sum}
	case a.kind == celDouble && b.kind == celDouble:
		return celFloat(a.double() + b.double())
	case a.kind == celTime && b.kind == celDuration:
		return celMoment(a.num+b.num/1e9, int64(a.nanos)+b.num%1e9)
	case a.kind == celDuration && b.kind == celTime:
		return celAdd(r, b, a)
	case a.kind == celString && b.kind == celString:
		if !r.spend(int64((len(a.text) + len(b.text)) / bytesPerStep)) {
			return celValue{}
		}
		return celText(a.text + b.text)
	case a.kind == celList && b.kind == celList:
		x, y := r.items(a), r.items(b)
		if !r.spend(stepsPerItem * int64(len(x)+len(y))) {
			return celValue{}
		}
		return celValue{kind: celList, made: &celMade{items: append(append(make([]celValue, 0, len(x)+len(y)), x...), y...)}}
	}
	return celValue{}
}

func celSubtract(_ *celRun, a, b celValue) celValue {
	switch {
	case a.kind == celInt && b.kind == celInt, a.kind == celDuration && b.kind == celDuration:
		return celDifference(a.kind, a.num, b.num)
	case a.kind == celDouble && b.kind == celDouble:
		return celFloat(a.double() - b.double())
	case a.kind == celTime && b.kind == celDuration:
		return celMoment(a.num-b.num/1e9, int64(a.nanos)-b.num%1e9)
	case a.kind == celTime && b.kind == celTime:
		seconds := celMultiply(nil, celInteger(a.num-b.num), celInteger(1e9))
		if seconds.kind == celError {
			return celValue{}
		}
		return celDifference(celDuration, seconds.num, int64(b.nanos)-int64(a.nanos))
	}
	return celValue{}
}

func celDifference(kind celKind, a, b int64) celValue {
	d := a - b
	if (d < a) != (b > 0) && b != 0 {
		return celValue{}
	}
	return celValue{kind: kind, num: d}
}

func celMultiply(_ *celRun, a, b celValue) celValue {
	switch {
	case a.kind == celDouble && b.kind == celDouble:
		return celFloat(a.double() * b.double())
	case a.kind != celInt || b.kind != celInt:
		return celValue{}
	}
	hi, lo := bits.Mul64(magnitude(a.num), magnitude(b.num))
	if (a.num < 0) != (b.num < 0) {
		if hi > 0 || lo > 1<<63 {
			return celValue{}
		}
		return celInteger(-int64(lo))
	}
	if hi > 0 || lo > math.MaxInt64 {
		return celValue{}
	}
	return celInteger(int64(lo))
}

func magnitude(n int64) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
}

func celDivide(_ *celRun, a, b celValue) celValue {
	switch {
	case a.kind == celDouble && b.kind == celDouble:
		return celFloat(a.double() / b.double())
	case a.kind != celInt || b.kind != celInt || b.num == 0 || a.num == math.MinInt64 && b.num == -1:
		return celValue{}
	}
	return celInteger(a.num / b.num)
}

func celModulo(_ *celRun, a, b celValue) celValue {
	if a.kind != celInt || b.kind != celInt || b.num == 0 || a.num == math.MinInt64 && b.num == -1 {
		return celValue{}
	}
	return celInteger(a.num % b.num)
}

// celParts are the methods that return a part of a time, in its zone. Days of
// the month and of the year, and months, count from 0; getDate counts from 1.
var celParts = map[string]func(time.Time) int{
	overloads.TimeGetFullYear:     time.Time.Year,
	overloads.TimeGetMonth:        func(t time.Time) int { return int(t.Month()) - 1 },
	overloads.TimeGetDayOfYear:    func(t time.Time) int { return t.YearDay() - 1 },
	overloads.TimeGetDayOfMonth:   func(t time.Time) int { return t.Day() - 1 },
	overloads.TimeGetDate:         time.Time.Day,
	overloads.TimeGetDayOfWeek:    func(t time.Time) int { return int(t.Weekday()) },
	overloads.TimeGetHours:        time.Time.Hour,
	overloads.TimeGetMinutes:      time.Time.Minute,
	overloads.TimeGetSeconds:      time.Time.Second,
	overloads.TimeGetMilliseconds: func(t time.Time) int { return t.Nanosecond() / 1e6 },
}

// celSpans are those that return a whole duration in a unit.
var celSpans = map[string]time.Duration{
	overloads.TimeGetHours:        time.Hour,
	overloads.TimeGetMinutes:      time.Minute,
	overloads.TimeGetSeconds:      time.Second,
	overloads.TimeGetMilliseconds: time.Millisecond,
}

// celZone reads a time zone: a name of the IANA's, or a distance from UTC such
// as -08:00.
func celZone(name string) (*time.Location, error) {
	hours, minutes, offset := strings.Cut(name, ":")
	if !offset {
		zone, err := time.LoadLocation(name)
		if err != nil || name == "Local" {
			return nil, fmt.Errorf("%q is no time zone; write one such as Europe/Berlin or +02:00", name)
		}
		return zone, nil
	}
	h, err := strconv.Atoi(hours)
	m, err2 := strconv.Atoi(minutes)
	if err != nil || err2 != nil || h < -23 || h > 23 || m < 0 || m > 59 {
		return nil, fmt.Errorf("%q is no time zone; write one such as Europe/Berlin or +02:00", name)
	}
	seconds := h*3600 + m*60
	if strings.HasPrefix(hours, "-") {
		seconds = h*3600 - m*60
	}
	return time.FixedZone("", seconds), nil
}
