package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
)

// row is one figure.
type row struct {
	Name string  `json:"name"`
	Unit string  `json:"unit"`
	Ours float64 `json:"ours"`

	// Peer is what the same load costs elsewhere, and Ratio ours to it, where there is a peer.
	Peer  *float64 `json:"peer,omitempty"`
	Ratio *float64 `json:"ratio,omitempty"`

	// Target is what the design asks for, and OK whether Ours or Ratio reaches it.
	Target *float64 `json:"target,omitempty"`
	OK     *bool    `json:"ok,omitempty"`
}

// atLeast sets a target that Ours must reach.
func (r row) atLeast(target float64) row {
	ok := r.Ours >= target
	r.Target, r.OK = &target, &ok
	return r
}

// report prints rows for people or, with asJSON, for programs.
func report(w io.Writer, rows []row, asJSON bool) error {
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
	fmt.Fprintln(t, "figure\tours\tunit\tpeer\tratio\ttarget\tok")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, number(&r.Ours), r.Unit, number(r.Peer), number(r.Ratio), number(r.Target), yes(r.OK))
	}
	return t.Flush()
}

func number(v *float64) string {
	switch {
	case v == nil:
		return "-"
	case *v >= 1000:
		return fmt.Sprintf("%.0f", *v)
	}
	return fmt.Sprintf("%.3g", *v)
}

func yes(ok *bool) string {
	switch {
	case ok == nil:
		return "-"
	case *ok:
		return "yes"
	}
	return "NO"
}
