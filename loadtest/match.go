package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/keytrail/keytrail/filter"
	"github.com/keytrail/keytrail/internal/sample"
	"github.com/keytrail/keytrail/record"
)

type matchCmd struct {
	Short   bool   `help:"Leave out the rows of 100,000 filters, and repeat less."`
	Records int    `help:"How many different records (default ${default})." default:"2000"`
	Bytes   int    `help:"Encoded size of a record (default ${default})." default:"1024"`
	Keys    int    `help:"How many keys records and filters are about (default ${default})." default:"1000"`
	Seed    uint64 `help:"Chooses records and filters." default:"1"`
}

// matchRow is what is measured of one set of filters. Times are microseconds.
type matchRow struct {
	Name string `json:"name"`

	// Walk is one walk over an encoded record with the fields that most filters ask for;
	// Match what an index takes after that, and Both the two together.
	Walk  float64 `json:"walk"`
	Match float64 `json:"match"`
	Both  float64 `json:"both"`

	// Target is what Both may be at most.
	Target float64 `json:"target"`
	OK     bool    `json:"ok"`

	// List is how long the same filters take one after the other, walk
	// included, and Ratio how many times that is of Both.
	List  float64 `json:"list"`
	Ratio float64 `json:"ratio"`

	Matches     float64 `json:"matches"`     // a record
	Allocations float64 `json:"allocations"` // a record
	Add         float64 `json:"add"`         // to compile a filter and add it
	Held        float64 `json:"held"`        // bytes for each filter
}

func (c *matchCmd) Run(_ context.Context, all *cli) error {
	gen := sample.New(sample.Config{Seed: c.Seed, Keys: c.Keys, Bytes: c.Bytes})
	records := make([][]byte, c.Records)
	for i := range records {
		encoded, err := proto.Marshal(gen.Next())
		if err != nil {
			return err
		}
		records[i] = encoded
	}
	loads := []matchLoad{
		{name: "100 filters", filters: 100, target: 0.35},
		{name: "1,000 filters", filters: 1_000, target: 0.4},
		{name: "10,000 filters", filters: 10_000, target: 0.7},
		{name: "100,000 filters", filters: 100_000, target: 5},
		{name: "10,000, one in 50 on free-form", filters: 10_000, target: 0.7, freeForm: true},
		{name: "100,000, one in 50 on free-form", filters: 100_000, target: 5, freeForm: true},
	}
	if c.Short {
		loads = slices.DeleteFunc(loads, func(l matchLoad) bool { return l.filters > 10_000 })
	}
	var rows []matchRow
	for _, l := range loads {
		row, err := c.measure(l, gen.Keys(), records)
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		rows = append(rows, row)
	}
	// CEL filters are candidates for every record of their key: take records of the most popular.
	popular := gen.Keys()[0]
	l := matchLoad{name: "100 CEL filters on one key, each", filters: 100, target: 1, cel: true}
	row, err := c.measure(l, gen.Keys()[:1], recordsOf(popular, records))
	if err != nil {
		return fmt.Errorf("%s: %w", l.name, err)
	}
	rows = append(rows, row)
	return reportMatch(os.Stdout, rows, all.JSON)
}

// recordsOf are the records about a key.
func recordsOf(key string, records [][]byte) (of [][]byte) {
	var v record.View
	for _, r := range records {
		if v.Reset(r) == nil && slices.Contains(v.Keys(), key) {
			of = append(of, r)
		}
	}
	return of
}

func (c *matchCmd) measure(l matchLoad, keys []string, records [][]byte) (matchRow, error) {
	row := matchRow{Name: l.name, Target: l.target}
	drafts := l.draft(c.Seed, keys)

	// What is held is what the index keeps, once whoever made the filters has
	// let them go.
	before := heap()
	index := new(filter.Index[int])
	start := time.Now()
	for i, d := range drafts {
		f, err := filter.Compile(d)
		if err != nil {
			return row, err
		}
		index.Add(i, f)
	}
	row.Add = micros(time.Since(start), len(drafts))
	row.Held = float64(heap()-before) / float64(len(drafts))

	list := make([]*filter.Filter, len(drafts))
	for i, d := range drafts {
		list[i], _ = filter.Compile(d) // it has compiled before
	}
	if err := agree(index, list, records); err != nil {
		return row, err
	}
	view := new(record.View)
	walk := func() { walked(view) }
	hits := 0
	match := func() { index.Match(view, func(int) { hits++ }) }
	passes := 7
	if c.Short {
		passes = 3
	}
	var err error
	if row.Walk, _, err = best(passes, view, records, walk); err != nil {
		return row, err
	}
	hits = 0
	if row.Both, row.Allocations, err = best(passes, view, records, match); err != nil {
		return row, err
	}
	row.Matches = float64(hits) / float64(passes*len(records))
	row.Match = row.Both - row.Walk

	// A long list takes as long for few records.
	few := records[:max(1, min(len(records), 20_000_000/len(list)/5))]
	if len(list) >= 100_000 {
		few = records[:min(len(records), 50)]
	}
	if row.List, _, err = best(2, view, few, func() {
		for _, f := range list {
			if f.Match(view) {
				hits++
			}
		}
	}); err != nil {
		return row, err
	}
	row.Ratio = row.List / row.Both
	measured := row.Both
	if l.cel { // the target is for one of them
		row.Match /= float64(len(list))
		measured = row.Match
	}
	row.OK = measured <= row.Target
	return row, nil
}

// sink keeps what is only read.
var sink int

// walked reads the fields that nearly all filters ask for.
func walked(v *record.View) {
	sink += len(v.EventName()) + v.Operation() + len(v.ErrorCode()) + len(v.Account()) + len(v.ResourceARNs())
}

// best is the fastest of some passes over the records: microseconds and
// allocations for each, which f gets in view.
func best(passes int, view *record.View, records [][]byte, f func()) (micro, allocations float64, err error) {
	var before, after runtime.MemStats
	for range passes {
		runtime.ReadMemStats(&before)
		start := time.Now()
		for _, r := range records {
			if err := view.Reset(r); err != nil {
				return 0, 0, err
			}
			f()
		}
		took := micros(time.Since(start), len(records))
		runtime.ReadMemStats(&after)
		if micro == 0 || took < micro {
			micro = took
		}
		allocations = float64(after.Mallocs-before.Mallocs) / float64(len(records))
	}
	return micro, allocations, nil
}

func micros(d time.Duration, n int) float64 { return d.Seconds() * 1e6 / float64(n) }

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// agree checks that index and list find the same for some of the records.
func agree(index *filter.Index[int], list []*filter.Filter, records [][]byte) error {
	var view record.View
	for _, r := range records[:min(len(records), 200, 2_000_000/len(list))] {
		if err := view.Reset(r); err != nil {
			return err
		}
		var found, want []int
		index.Match(&view, func(i int) { found = append(found, i) })
		for i, f := range list {
			if f.Match(&view) {
				want = append(want, i)
			}
		}
		slices.Sort(found)
		if !slices.Equal(found, want) {
			return fmt.Errorf("the index finds %v, the list %v, for %s", found, want, view.Root().AppendJSON(nil))
		}
	}
	return nil
}

func reportMatch(w io.Writer, rows []matchRow, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(w)
		for _, r := range rows {
			if err := enc.Encode(r); err != nil {
				return err
			}
		}
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "filters\twalk µs\tmatch µs\tboth µs\tat most\tok\ta list µs\tratio\tmatches\tallocations\tadd µs\tbytes")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%.3f\t%.3f\t%.3f\t%s\t%s\t%.1f\t%s\t%.2f\t%.2f\t%.1f\t%.0f\n", r.Name, r.Walk, r.Match, r.Both,
			number(&r.Target), yes(&r.OK), r.List, number(&r.Ratio), r.Matches, r.Allocations, r.Add, r.Held)
	}
	return t.Flush()
}
