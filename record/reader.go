package record

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// MaxTextBytes is the longest JSON text of one record that a [Reader] takes:
// 2 MiB, so that a record of [MaxBytes] may be indented or written in escapes.
const MaxTextBytes = 2 << 20

// Errors of a [Reader]. Test for them with [errors.Is].
var (
	// ErrNotCloudTrail ends a file that is something else: check which file
	// it is.
	ErrNotCloudTrail = errors.New("not a CloudTrail file")

	// ErrNotRecord concerns a JSON object that has no member by which a
	// record is known, such as a digest.
	ErrNotRecord = errors.New("not a CloudTrail record")

	// ErrTooLong concerns a record whose text is over [MaxTextBytes].
	ErrTooLong = errors.New("longer than 2 MiB")
)

// RecordError says what is wrong with one record of a file. The records after
// it can still be read.
type RecordError struct {
	// Number counts the records of the file from 1, bad ones included.
	Number int

	// Offset is where the record begins, in bytes of the uncompressed file.
	Offset int64

	// Err is what is wrong.
	Err error

	// Raw is the text of the record, for a file of rejects. It is nil when
	// the text is longer than MaxTextBytes.
	Raw []byte
}

func (e *RecordError) Error() string {
	var t *textError
	if errors.As(e.Err, &t) {
		return fmt.Sprintf("record %d, at byte %d: %v", e.Number, e.Offset+int64(t.at), t.err)
	}
	return fmt.Sprintf("record %d, at byte %d: %v", e.Number, e.Offset, e.Err)
}

func (e *RecordError) Unwrap() error { return e.Err }

// Reader reads the records of a file: of {"Records": [...]}, of JSON lines, or
// of JSON objects one after the other, indented or not, each plain or
// compressed with gzip. It reads only as far as it must, so it can follow a
// pipe, and holds about one record in memory, at most twice MaxTextBytes.
//
// When text between the records of JSON lines is not JSON, such as a line that
// was cut off in the middle, reading goes on at the first line after the
// start of the bad one that begins with "{". Inside {"Records": [...]} it
// can't: an element that is not JSON ends the file.
type Reader struct {
	in     *input
	mode   mode
	number int
	err    error // ended the file; sticky
}

// mode is where in the file a reader is.
type mode uint8

const (
	atStart     mode = iota // nothing read yet
	betweenTop              // between objects at the top level
	inBadLine               // in bad text at the top level
	inLongTop               // in an object at the top level that is too long or deep
	firstInList             // after the [ of Records
	inList                  // after an element of Records
	inLongEntry             // in an element of Records that is too long or deep
	afterList               // after the ] of Records
)

// NewReader returns a Reader of r, which it does not close.
func NewReader(r io.Reader) *Reader {
	return &Reader{in: &input{src: r}}
}

// Number returns the number of the record, or bad record, that Next returned
// last. Numbers count from 1.
func (r *Reader) Number() int { return r.number }

// Next returns the next record. At the end of the file it returns [io.EOF]. A
// [*RecordError] concerns one record: call Next again for those after it. Any
// other error ends the file: it was cut off (the error wraps
// [io.ErrUnexpectedEOF]), is not CloudTrail's, or can't be read.
func (r *Reader) Next() (*keytrailv1.Record, error) {
	if r.err != nil {
		return nil, r.err
	}
	rec, err := r.next()
	if _, one := err.(*RecordError); err != nil && !one {
		r.err = err
	}
	return rec, err
}

func (r *Reader) next() (*keytrailv1.Record, error) {
	for {
		var err error
		switch r.mode {
		case atStart:
			err = r.start()
		case inBadLine:
			r.in.skipToLine()
			r.mode = betweenTop
		case inLongTop:
			if err = r.in.skipValue(true); err == nil {
				r.mode = betweenTop
			}
		case inLongEntry:
			if err = r.in.skipValue(false); err == nil {
				r.mode = inList
			}
		case betweenTop:
			if !r.in.skipSpace() {
				return nil, r.end()
			}
			if !r.enterList() {
				return r.top()
			}
			r.mode = firstInList
		case firstInList, inList:
			var more bool
			if more, err = r.separator(); more {
				return r.element()
			}
		case afterList:
			err = r.member()
		}
		if err != nil {
			return nil, r.fatal(err)
		}
	}
}

// end is the error at the end of the source, between records.
func (r *Reader) end() error {
	if r.in.err == io.EOF {
		return io.EOF
	}
	return r.fatal(r.in.err)
}

// fatal says where the reader was when err ended the file.
func (r *Reader) fatal(err error) error {
	switch {
	case errors.Is(err, ErrNotCloudTrail):
		return fmt.Errorf("record: %w", err)
	case !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, r.in.err):
		// The text is bad, however far the source was read.
	case r.in.err != nil && r.in.err != io.EOF:
		return fmt.Errorf("record: can't read on after record %d, at byte %d: %w", r.number, r.in.offset(), r.in.err)
	default:
		return fmt.Errorf("record: the file is cut off after record %d, in the text from byte %d: %w", r.number, r.in.offset(), io.ErrUnexpectedEOF)
	}
	offset := r.in.offset()
	var t *textError
	if errors.As(err, &t) {
		offset, err = offset+int64(t.at), t.err
	}
	return fmt.Errorf("record: in record %d, at byte %d: %w", r.number+1, offset, err)
}

// start opens the file and looks at what it begins with.
func (r *Reader) start() error {
	r.in.open()
	r.mode = betweenTop
	if !r.in.skipSpace() {
		return nil
	}
	switch c := r.in.unread()[0]; c {
	case '{':
		return nil
	case '[':
		return fmt.Errorf(`%w: it is a JSON array, not {"Records": [...]} or objects`, ErrNotCloudTrail)
	case 0xfe, 0xff:
		return fmt.Errorf("%w: it begins like UTF-16; convert it to UTF-8", ErrNotCloudTrail)
	default:
		return fmt.Errorf("%w: it begins with %q, not with {", ErrNotCloudTrail, c)
	}
}

// enterList passes what comes before the list of records, if the object that
// comes next has one. Members before it are skipped.
func (r *Reader) enterList() bool {
	for {
		text := r.in.unread()
		deep := deepAt(text)
		if deep >= 0 {
			text = text[:deep] // the list begins before that, or there is none
		}
		n, err := findList(text)
		if err == nil {
			r.in.advance(n)
			return n > 0
		}
		if deep >= 0 || !errors.Is(err, io.ErrUnexpectedEOF) || !r.in.grow() {
			return false // the record's own decoding tells what is wrong
		}
	}
}

// findList returns the length of the text up to the first element of Records,
// 0 if the object is not of that shape. A member of a record shows that.
func findList(data []byte) (int, error) {
	d := newDecoder(data)
	defer d.release()
	if d.json.PeekKind() != '{' {
		return 0, nil
	}
	if _, err := d.json.ReadToken(); err != nil {
		return 0, err
	}
	for d.json.PeekKind() != '}' {
		name, err := d.value()
		if err != nil {
			return 0, err
		}
		if f, _ := recordFields.lookup(name); f != nil {
			return 0, nil
		}
		if s, _ := unquote(name); s == "Records" && d.json.PeekKind() == '[' {
			if _, err := d.json.ReadToken(); err != nil {
				return 0, err
			}
			return int(d.json.InputOffset()), nil
		}
		if err := d.json.SkipValue(); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// top reads a record at the top level.
func (r *Reader) top() (*keytrailv1.Record, error) {
	rec, n, err := r.decode()
	if err == nil {
		return r.done(rec, n)
	}
	if n, notWhole := r.extent(); notWhole == nil {
		return nil, r.bad(err, n)
	}
	// The text goes wrong, ends, or is too long. A line that begins with {
	// is the next record whichever it is.
	next, found := r.in.nextLine()
	cut := errors.Is(err, io.ErrUnexpectedEOF)
	switch {
	case found:
		return nil, r.bad(err, next)
	case errors.Is(err, errTooDeep):
		r.mode = inLongTop
		return nil, r.bad(err, 0)
	case len(r.in.unread()) <= MaxTextBytes && cut:
		return nil, r.fatal(err)
	case len(r.in.unread()) <= MaxTextBytes:
		return nil, r.bad(err, len(r.in.unread()))
	case cut:
		r.mode = inLongTop
		return nil, r.bad(ErrTooLong, 0)
	default:
		r.mode = inBadLine
		return nil, r.bad(err, 0)
	}
}

// separator passes what comes between the elements of Records and reports
// whether another one follows.
func (r *Reader) separator() (more bool, err error) {
	if !r.in.skipSpace() {
		return false, io.ErrUnexpectedEOF
	}
	c := r.in.unread()[0]
	switch {
	case c == ']':
		r.in.advance(1)
		r.mode = afterList
		return false, nil
	case r.mode == firstInList:
		return true, nil
	case c != ',':
		return false, fmt.Errorf("not JSON: %q where a comma or ] should be", c)
	}
	r.in.advance(1)
	if !r.in.skipSpace() {
		return false, io.ErrUnexpectedEOF
	}
	return true, nil
}

// element reads one element of Records.
func (r *Reader) element() (*keytrailv1.Record, error) {
	r.mode = inList
	rec, n, err := r.decode()
	if err == nil {
		return r.done(rec, n)
	}
	if n, notWhole := r.extent(); notWhole == nil {
		return nil, r.bad(err, n)
	}
	if errors.Is(err, errTooDeep) {
		r.mode = inLongEntry
		return nil, r.bad(err, 0)
	}
	if len(r.in.unread()) > MaxTextBytes && errors.Is(err, io.ErrUnexpectedEOF) {
		r.mode = inLongEntry
		return nil, r.bad(ErrTooLong, 0)
	}
	return nil, r.fatal(err)
}

// member passes one member after Records, or the end of the object.
func (r *Reader) member() error {
	if !r.in.skipSpace() {
		return io.ErrUnexpectedEOF
	}
	c := r.in.unread()[0]
	if c == '}' {
		r.in.advance(1)
		r.mode = betweenTop
		return nil
	}
	if c != ',' {
		return fmt.Errorf("not JSON: %q where a comma or } should be, after Records", c)
	}
	r.in.advance(1)
	for i := range 2 { // name and value
		if !r.in.skipSpace() {
			return io.ErrUnexpectedEOF
		}
		n, err := r.extent()
		cut := errors.Is(err, io.ErrUnexpectedEOF)
		switch text := r.in.unread(); {
		case cut && len(text) > MaxTextBytes:
			return fmt.Errorf("a member after Records is %w", ErrTooLong)
		case cut:
			return err
		case err != nil || i == 0 && text[0] != '"':
			return errors.New("not JSON: a bad member after Records")
		case i == 0 && string(text[:n]) == `"Records"`:
			return errors.New("a second member Records")
		}
		r.in.advance(n)
		if i == 1 {
			break
		}
		if !r.in.skipSpace() {
			return io.ErrUnexpectedEOF
		}
		if r.in.unread()[0] != ':' {
			return errors.New("not JSON: a member without a value after Records")
		}
		r.in.advance(1)
	}
	return nil
}

// decode decodes the record that comes next without passing it.
func (r *Reader) decode() (*keytrailv1.Record, int, error) {
	for {
		if deepAt(r.in.unread()) >= 0 {
			return nil, 0, errTooDeep
		}
		rec, n, err := decodePrefix(r.in.unread())
		switch {
		case err == nil && n > MaxTextBytes:
			return nil, 0, ErrTooLong
		case err == nil || !errors.Is(err, io.ErrUnexpectedEOF) || !r.in.grow():
			return rec, n, err
		}
	}
}

// extent returns the length of the JSON value that comes next. The error is
// [io.ErrUnexpectedEOF] if the value is not whole or too long, and another one
// if it is not JSON, however far the source was read.
func (r *Reader) extent() (int, error) {
	for {
		text := r.in.unread()
		if deepAt(text) >= 0 {
			return 0, errTooDeep
		}
		d := newDecoder(text)
		d.reset(text, anyNames...)
		_, err := d.json.ReadValue()
		n := int(d.json.InputOffset())
		d.release()
		cut := errors.Is(err, io.ErrUnexpectedEOF)
		whole := err == nil && (n < len(text) || isClosed(text[:n]))
		if whole || err != nil && !cut || !r.in.grow() {
			return n, err
		}
	}
}

// isClosed reports whether a value can't go on after its last byte, as a
// number can.
func isClosed(v []byte) bool {
	switch v[len(v)-1] {
	case '}', ']', '"', 'e', 'l':
		return true
	}
	return false
}

// done passes the record that was decoded from the next n bytes.
func (r *Reader) done(rec *keytrailv1.Record, n int) (*keytrailv1.Record, error) {
	if !isRecord(rec) {
		return nil, r.bad(ErrNotRecord, n)
	}
	r.number++
	r.in.advance(n)
	return rec, nil
}

// bad makes the error of a record whose text is the next n bytes, and passes
// them; 0 if the text is too long to keep.
func (r *Reader) bad(err error, n int) error {
	r.number++
	e := &RecordError{Number: r.number, Offset: r.in.offset(), Err: err}
	if n > 0 && n <= MaxTextBytes {
		e.Raw = bytes.Clone(bytes.TrimRight(r.in.unread()[:n], "\r\n"))
	}
	r.in.advance(n)
	return e
}

// isRecord reports whether r has any member by which a record is known.
func isRecord(r *keytrailv1.Record) bool {
	if r.EventName != nil || r.EventId != nil || r.EventSource != nil || r.EventTime != nil || r.UserIdentity != nil {
		return true
	}
	found := false
	if r.Verbatim != nil {
		_ = eachMember(r.Verbatim, func(name, _ []byte) { // of our own making: no error
			switch string(name) {
			case `"eventName"`, `"eventID"`, `"eventSource"`, `"eventTime"`, `"userIdentity"`:
				found = true
			}
		})
	}
	return found
}

// maxDepth is more than any record nests. Without it, each of many lines that open brackets and
// never close them would be read to the end of the window: work that is quadratic in the file.
const maxDepth = 100

var errTooDeep = fmt.Errorf("nested over %d deep, or a line that was cut off", maxDepth)

// deepAt returns where the first value of text nests deeper than maxDepth, or
// -1. It looks at brackets and quotes alone.
func deepAt(text []byte) int {
	depth, quoted, escaped := 0, false, false
	for i, c := range text {
		switch {
		case escaped:
			escaped = false
		case quoted:
			escaped, quoted = c == '\\', c != '"' && c != '\n'
		case c == '"':
			quoted = true
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return i
			}
		case c == '}' || c == ']':
			if depth--; depth <= 0 {
				return -1
			}
		}
	}
	return -1
}
