package transcript

import "fmt"

// Promise is one of the numbered promises of package fanout.
type Promise int

// The promises.
const (
	Ordered Promise = 1 + iota
	Complete
	Unique
	Resumable
	Bookmarkable
	ExactGaps
	NoOvertaking
	Accounted
	Changeable

	promises = iota
)

var promiseNames = [1 + promises]string{
	"", "ordered", "complete", "unique", "resumable", "bookmarkable", "exact gaps",
	"checkpoints never overtake", "accounted for", "changeable",
}

func (p Promise) String() string {
	if p < 1 || p > promises {
		return fmt.Sprintf("promise %d", int(p))
	}
	return fmt.Sprintf("promise %d (%s)", int(p), promiseNames[p])
}

// Violation is a promise that a transcript shows to be broken.
type Violation struct {
	Promise Promise

	// Cursor is where: that of the event, or of the record of the log that is
	// missing. Line is that of the event, or 0.
	Cursor string
	Line   int

	// What happened, for people.
	Text string
}

func (v Violation) String() string {
	where := ""
	if v.Line > 0 {
		where = fmt.Sprintf("line %d: ", v.Line)
	}
	return fmt.Sprintf("%s%v: %s", where, v.Promise, v.Text)
}

// maxViolations is how many violations of each promise a Result holds.
const maxViolations = 100

// Result is what was found out about a transcript.
type Result struct {
	Name string

	// What the transcript holds.
	Records, Gaps, Checkpoints, Streams, Changes int

	// Torn says that the transcript ends with a line that was not finished,
	// which was left out.
	Torn bool

	// Unchecked is how many of its records could not be compared with the
	// log, which no longer holds their places. Compared says that anything could.
	Unchecked int
	Compared  bool

	// Considered is how many records of the log it was compared with.
	Considered int

	// Violations are what is broken, the first 100 of each promise. Broken
	// counts all, by promise.
	Violations []Violation
	Broken     [1 + promises]int

	// Notes say what could not be checked, and why.
	Notes []string
}

// Clean says that nothing is broken.
func (r *Result) Clean() bool { return r.Broken == [1 + promises]int{} }

func (r *Result) report(v Violation) {
	r.Broken[v.Promise]++
	if r.Broken[v.Promise] <= maxViolations {
		r.Violations = append(r.Violations, v)
	}
}

func (r *Result) note(format string, args ...any) {
	if len(r.Notes) < maxViolations {
		r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
	}
}
