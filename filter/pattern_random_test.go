package filter

import (
	"encoding/json"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// TestRandomPatterns draws patterns, and records that are made to meet them half
// of the way.
func TestRandomPatterns(t *testing.T) {
	matches, tries := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		pattern := drawPattern(rt, 0)
		e := map[string]any{"detail": pattern, "source": []any{"aws.kms"}}
		if rapid.Bool().Draw(rt, "bare") {
			e = pattern
		}
		p, err := json.Marshal(e)
		if err != nil {
			rt.Fatal(err)
		}
		for range 20 {
			event := map[string]any{"eventID": "1", "eventName": "a", "eventSource": "kms.amazonaws.com", "eventTime": "2026-11-24T10:00:00Z"}
			for name, v := range drawMeeting(rt, pattern) {
				switch name {
				case "requestParameters":
					if l, ok := v.([]any); ok {
						v = append(l, map[string]any{})[0]
					}
				case "resources":
					if _, ok := v.([]any); !ok {
						v = []any{v}
					}
				}
				event[name] = v
			}
			text, err := json.Marshal(event)
			if err != nil {
				rt.Fatal(err)
			}
			tries++
			if checkPattern(rt, string(p), string(text)) {
				matches++
			}
		}
	})
	if matches == 0 || matches == tries {
		t.Errorf("%d of %d records match; that tells too little", matches, tries)
	}
}

// drawMeeting draws an object for what a pattern asks of it.
func drawMeeting(t *rapid.T, pattern map[string]any) map[string]any {
	m := map[string]any{}
	for name, v := range pattern {
		if name == "$or" {
			for _, alternative := range v.([]any) {
				for name, v := range drawMeeting(t, alternative.(map[string]any)) {
					m[name] = v
				}
			}
			continue
		}
		if rapid.IntRange(0, 4).Draw(t, "missing") == 0 {
			continue
		}
		draw := func() any {
			if below, ok := v.(map[string]any); ok {
				return drawMeeting(t, below)
			}
			return drawMeetingLeaf(t, v.([]any))
		}
		length := rapid.SampledFrom([]int{-1, -1, 0, 1, 2, 3}).Draw(t, "length")
		_, isObject := v.(map[string]any)
		if length < 0 || !isObject && (name == "errorCode" || name == "ARN" || name == "type") {
			m[name] = draw()
			continue
		}
		list := []any{}
		for range length {
			item := draw()
			if name != "resources" && rapid.IntRange(0, 6).Draw(t, "deeper") == 0 {
				item = []any{item}
			}
			list = append(list, item)
		}
		m[name] = list
	}
	return m
}

// drawMeetingLeaf draws a value that may be what one of the matches asks for.
func drawMeetingLeaf(t *rapid.T, matches []any) any {
	if s := matches[0]; rapid.Bool().Draw(t, "equal") {
		if _, ok := s.(map[string]any); !ok {
			return s
		}
	}
	return rapid.SampledFrom([]any{"a", "b", "A", "5", "", 3, 5, 6, true, nil, map[string]any{"a": "b"}}).Draw(t, "leaf")
}

func drawFewNames(t *rapid.T) []string {
	return rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), 1, 3, rapid.ID).Draw(t, "names")
}

// drawPattern draws an object of a pattern: of a record, or of something in it.
func drawPattern(t *rapid.T, depth int) map[string]any {
	p := map[string]any{}
	if depth == 0 {
		for _, name := range []string{"errorCode", "newMember"} {
			if rapid.IntRange(0, 3).Draw(t, "asks "+name) == 0 {
				p[name] = drawMatches(t)
			}
		}
		if rapid.Bool().Draw(t, "asks resources") {
			entry := map[string]any{"ARN": drawMatches(t)}
			if rapid.Bool().Draw(t, "asks type") {
				entry["type"] = drawMatches(t)
			}
			p["resources"] = entry
		}
		if len(p) == 0 || rapid.Bool().Draw(t, "asks parameters") {
			p["requestParameters"] = drawPattern(t, 1)
		}
		return p
	}
	names := drawFewNames(t)
	for _, name := range names {
		if depth < 4 && rapid.IntRange(0, 2).Draw(t, "below") == 0 {
			p[name] = drawPattern(t, depth+1)
		} else {
			p[name] = drawMatches(t)
		}
	}
	if depth < 3 && rapid.IntRange(0, 3).Draw(t, "or") == 0 {
		var some []any
		for range rapid.IntRange(2, 3).Draw(t, "alternatives") {
			alternative := drawPattern(t, depth+1)
			for _, name := range names {
				delete(alternative, name)
			}
			if len(alternative) == 0 {
				alternative["d"] = drawMatches(t)
			}
			some = append(some, alternative)
		}
		p["$or"] = some
	}
	return p
}

func drawMatches(t *rapid.T) []any {
	var list []any
	for range rapid.IntRange(1, 2).Draw(t, "matches") {
		scalar := rapid.SampledFrom([]any{"a", "b", "A", "5", "", 5, 6, true, nil}).Draw(t, "scalar")
		text := rapid.SampledFrom([]any{"a", "b", "A", "5"}).Draw(t, "text")
		list = append(list, rapid.SampledFrom([]any{
			scalar, scalar,
			map[string]any{"exists": true},
			map[string]any{"exists": false}, map[string]any{"exists": false},
			map[string]any{"anything-but": text}, map[string]any{"anything-but": []any{"a", "b"}}, map[string]any{"anything-but": []any{5}},
			map[string]any{"anything-but": map[string]any{"prefix": text}},
			map[string]any{"prefix": text},
			map[string]any{"suffix": map[string]any{"equals-ignore-case": text}},
			map[string]any{"equals-ignore-case": text},
			map[string]any{"wildcard": fmt.Sprintf("*%v*", text)},
			map[string]any{"numeric": []any{">", 4, "<", 6}},
		}).Draw(t, "match"))
	}
	return list
}
