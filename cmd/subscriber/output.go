package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/term"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/internal/show"
	"github.com/keytrail/keytrail/record"
)

// flushBytes is how much output waits before it is written, though more could
// be added to it at once.
const flushBytes = 64 << 10

// errPipe ends a command whose reader has gone, as `head` does. It is no
// failure.
var errPipe = errors.New("nobody reads the output any more")

// output prints records. Nothing is written before flush.
type output struct {
	w        io.Writer
	file     *os.File // w, when that is a file; nil otherwise
	terminal bool     // file is one
	regular  bool     // file is on a disk
	json     bool
	style    show.Style

	buf     []byte
	err     error  // of the first write that failed: the ones after it would leave a hole
	scratch []byte // for one record's JSON
}

func newOutput(w io.Writer, format, color string) *output {
	o := &output{w: w, json: format == "json"}
	if f, ok := w.(*os.File); ok {
		o.file = f
		o.terminal = term.IsTerminal(int(f.Fd()))
		if info, err := f.Stat(); err == nil {
			o.regular = info.Mode().IsRegular()
		}
	}
	switch color {
	case "always":
		o.style.Color = true
	case "auto": // https://no-color.org
		o.style.Color = o.terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	}
	o.measure()
	if format == "table" {
		o.buf = append(o.buf, o.style.Header()...)
		o.buf = append(o.buf, '\n')
	}
	return o
}

// measure fits lines to the terminal, whose window may have changed.
func (o *output) measure() {
	if o.terminal && !o.json {
		if width, _, err := term.GetSize(int(o.file.Fd())); err == nil {
			o.style.Width = width
		}
	}
}

// print prints r.
func (o *output) print(r *keytrailv1.Record) error {
	if o.json {
		var err error
		if o.scratch, err = record.AppendJSON(o.scratch[:0], r); err != nil {
			// The bus checks what it stores. To leave the record out would be
			// to lose it.
			return fmt.Errorf("record %q can't be written as JSON: %w", r.GetEventId(), err)
		}
		o.buf = show.AppendJSON(o.buf, o.scratch)
	} else {
		o.buf = append(o.buf, o.style.Line(r)...)
	}
	o.buf = append(o.buf, '\n')
	return nil
}

// full says whether enough waits to be written.
func (o *output) full() bool { return len(o.buf) >= flushBytes }

// flush writes what waits.
func (o *output) flush() error {
	if len(o.buf) == 0 || o.err != nil {
		return o.err
	}
	_, err := o.w.Write(o.buf)
	o.buf = o.buf[:0]
	switch {
	case errors.Is(err, syscall.EPIPE), errors.Is(err, io.ErrClosedPipe):
		o.err = errPipe
	case err != nil:
		o.err = fmt.Errorf("writing the records: %w", err)
	default:
		o.measure()
	}
	return o.err
}

// sync has what was written survive a power loss, if it went to a file.
func (o *output) sync() error {
	if !o.regular {
		return nil
	}
	if err := o.file.Sync(); err != nil {
		return fmt.Errorf("writing the records: %w", err)
	}
	return nil
}

// abandoned says whether the reader of a pipe has gone. A write would say so
// too, but only when there is something to write.
func (o *output) abandoned() bool { return o.file != nil && !o.regular && hungUp(o.file) }
