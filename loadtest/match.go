package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/keytrail/keytrail/filter"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/internal/sample"
	"github.com/keytrail/keytrail/record"
)

type matchCmd struct {
	Short   bool   `help:"Leave out the rows of 100,000 filters, and repeat less."`
	Records int    `help:"How many different records (default ${default})." default:"2000"`
	Bytes   int    `help:"Encoded size of a record (default ${default})." default:"1024"`
	Keys    int    `help:"How many keys records and filters are about (default ${default})." default:"400"`
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
	Add         float64 `json:"add"`         // to compile a filter and add it, of a processor's time
	Held        float64 `json:"held"`        // bytes for each filter
}

func (c *matchCmd) Run(all *cli) error {
	rows, err := c.rows()
	if err != nil {
		return err
	}
	return reportMatch(os.Stdout, rows, all.JSON)
}

func (c *matchCmd) rows() (rows []matchRow, err error) {
	gen := sample.New(sample.Config{Seed: c.Seed, Keys: c.Keys, Bytes: c.Bytes})
	records := make([][]byte, c.Records)
	for i := range records {
		encoded, err := proto.Marshal(gen.Next())
		if err != nil {
			return nil, err
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
	for _, l := range loads {
		row, err := c.measure(l, gen.Keys(), records)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", l.name, err)
		}
		rows = append(rows, row)
	}
	// CEL filters are candidates for every record of their key: take records of the most popular.
	popular := gen.Keys()[0]
	l := matchLoad{name: "100 CEL filters on one key, each", filters: 100, target: 1, cel: true}
	row, err := c.measure(l, gen.Keys()[:1], recordsOf(popular, records))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.name, err)
	}
	return append(rows, row), nil
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
	drafts, err := l.draft(c.Seed, keys)
	if err != nil {
		return row, err
	}
	if _, err := compileDraft(drafts[0]); err != nil { // what is made once, for all filters, does not count
		return row, err
	}

	// What is held is what the index keeps of filters that came over the wire, once
	// their streams have let them go.
	index := new(filter.Index[int])
	before := heap()
	var took time.Duration
	i := 0
	for chunk := range slices.Chunk(drafts, 100) {
		arrived := make([]*keytrailv1.Filter, len(chunk))
		for j, encoded := range chunk {
			arrived[j] = new(keytrailv1.Filter)
			if err := proto.Unmarshal(encoded, arrived[j]); err != nil {
				return row, err
			}
		}
		start := processorTime()
		for _, draft := range arrived {
			f, err := filter.Compile(draft)
			if err != nil {
				return row, err
			}
			index.Add(i, f)
			i++
		}
		took += processorTime() - start
	}
	row.Add = micros(took, len(drafts))
	row.Held = float64(heap()-before) / float64(len(drafts))

	list := make([]*filter.Filter, len(drafts))
	for i := range drafts {
		if list[i], err = compileDraft(drafts[i]); err != nil {
			return row, err
		}
	}
	if err := agree(index, list, records); err != nil {
		return row, err
	}
	hits := 0
	hit := func(int) { hits++ }
	view := new(record.View)
	passes := 15
	if c.Short {
		passes = 5
	}
	times, allocations, err := best(passes, view, records, func() { walked(view) }, func() { index.Match(view, hit) })
	if err != nil {
		return row, err
	}
	row.Walk, row.Both, row.Match = times[0], times[1], times[1]-times[0]
	row.Matches = float64(hits) / float64(passes*len(records))
	row.Allocations = allocations

	// A long list takes long for few records.
	few := records[:min(len(records), max(50, 1_000_000/len(list)))]
	if times, _, err = best(2, view, few, func() {
		for _, f := range list {
			if f.Match(view) {
				hits++
			}
		}
	}); err != nil {
		return row, err
	}
	row.List = times[0]
	row.Ratio = row.List / row.Both
	measured := row.Both
	if l.cel { // the target is for one of them
		row.Match /= float64(len(list))
		measured = row.Match
	}
	row.OK = measured <= row.Target
	return row, nil
}

// walked reads the fields that nearly all filters ask for.
func walked(v *record.View) int {
	return len(v.EventName()) + v.Operation() + len(v.ErrorCode()) + len(v.Account()) + len(v.ResourceARNs())
}

// best does some passes over the records, in each of them one with each of what is to be
// done with a record in view: the least microseconds for each, and allocations
// in the last.
func best(passes int, view *record.View, records [][]byte, do ...func()) (micro []float64, allocations float64, err error) {
	micro = make([]float64, len(do))
	var before, after runtime.MemStats
	for range passes {
		for i, f := range do {
			runtime.ReadMemStats(&before)
			start := time.Now()
			for _, r := range records {
				if err := view.Reset(r); err != nil {
					return nil, 0, err
				}
				f()
			}
			took := micros(time.Since(start), len(records))
			runtime.ReadMemStats(&after)
			if micro[i] == 0 || took < micro[i] {
				micro[i] = took
			}
			allocations = float64(after.Mallocs-before.Mallocs) / float64(len(records))
		}
	}
	return micro, allocations, nil
}

// compileDraft compiles an encoded filter.
func compileDraft(encoded []byte) (*filter.Filter, error) {
	f := new(keytrailv1.Filter)
	if err := proto.Unmarshal(encoded, f); err != nil {
		return nil, err
	}
	return filter.Compile(f)
}

func micros(d time.Duration, n int) float64 { return d.Seconds() * 1e6 / float64(n) }

// processorTime is what this process has used of all processors, collecting garbage included.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

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
