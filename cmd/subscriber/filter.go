package main

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/keytrail/keytrail/filter"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// filterFlags choose records. A pointer is nil when the flag was not given, so
// that --read-only=false means what it says.
type filterFlags struct {
	Where     []string `group:"which" sep:"none" placeholder:"TEXT" help:"Records for which this condition holds, as in: event = Decrypt and outcome = failure. Repeatable: then all must hold."`
	Cel       string   `group:"which" placeholder:"EXPR" help:"Records for which this CEL expression is true."`
	Pattern   string   `group:"which" placeholder:"FILE" help:"Records that the Amazon EventBridge event pattern in this file matches. '-' is the standard input."`
	Selectors string   `group:"which" placeholder:"FILE" help:"Records that the CloudTrail advanced event selectors in this file choose. '-' is the standard input."`

	Key      []string `group:"which" placeholder:"KEY" help:"Records of this key: a key ID, key ARN or alias ARN; '*' is a wildcard. Repeatable."`
	Event    []string `group:"which" placeholder:"NAME" help:"Records of this operation, such as Decrypt or 'GenerateDataKey*'. Repeatable."`
	Account  []string `group:"which" placeholder:"ID" help:"Records for this account. Repeatable."`
	Region   []string `group:"which" placeholder:"NAME" help:"Records of this Region. Repeatable."`
	ReadOnly *bool    `group:"which" help:"Records of calls that changed nothing."`
	Failed   *bool    `group:"which" help:"Records of calls that failed or were denied."`

	NotKey      []string `group:"which" placeholder:"KEY" help:"None of this key. Repeatable, as are all --not flags with a value."`
	NotEvent    []string `group:"which" placeholder:"NAME" help:"None of this operation."`
	NotAccount  []string `group:"which" placeholder:"ID" help:"None for this account."`
	NotRegion   []string `group:"which" placeholder:"NAME" help:"None of this Region."`
	NotReadOnly *bool    `group:"which" help:"Only changes."`
	NotFailed   *bool    `group:"which" help:"Only calls that succeeded."`
}

// filterHelp is the part of the help text on filters that flags do not cover.
const filterHelp = `Values of one flag are alternatives, except those of --where; different flags must all hold; a record that any --not flag names is dropped.

Conditions for --where:

    event in (Decrypt, GenerateDataKey*) and outcome = failure
    event = PutKeyPolicy and json(requestParameters.policy).Statement[].Principal = "*"
    outcome = denied and not principal ~ "*/ops-*" and not sourceIP cidr 10.0.0.0/8
    requestParameters.encryptionContext["aws:s3:arn"] ^= "arn:aws:s3:::payroll/"

Fields are those of CloudTrail's records, as CloudTrail spells them, and: event, account, region, outcome (success, failure, denied), key, principal, crossAccount, class (cryptographic, management, read, internal), sourceIP, readOnly. Operators: = != in ~ (with *) ^= (begins) $= (ends) *= (contains) matches (a regular expression) cidr < <= > >= exists, is null. The documentation of package filter is the manual.`

// filter is what the flags ask for, as the bus is told and as it is compiled.
// A '-' is read from stdin.
func (f *filterFlags) filter(stdin io.Reader) (*keytrailv1.Filter, *filter.Filter, error) {
	if err := f.check(); err != nil {
		return nil, nil, err
	}
	out := f.named()
	if _, err := filter.Compile(out); err != nil {
		return nil, nil, usage("these flags make no filter: %s", filterMessage(err))
	}
	// Each text by itself, so that a fault is shown in what was written.
	for _, text := range f.Where {
		if _, err := filter.Compile(&keytrailv1.Filter{Where: text}); err != nil {
			return nil, nil, faultIn("--where", err)
		}
	}
	out.Where, out.Cel = joinWhere(f.Where), f.Cel
	if _, err := filter.Compile(&keytrailv1.Filter{Cel: f.Cel}); err != nil {
		return nil, nil, faultIn("--cel", err)
	}
	var err error
	if out.Pattern, err = readFilterFile("--pattern", f.Pattern, stdin); err != nil {
		return nil, nil, err
	}
	if _, err := filter.Compile(&keytrailv1.Filter{Pattern: out.Pattern}); err != nil {
		return nil, nil, faultIn("--pattern "+f.Pattern, err)
	}
	if out.Selectors, err = readFilterFile("--selectors", f.Selectors, stdin); err != nil {
		return nil, nil, err
	}
	if _, err := filter.Compile(&keytrailv1.Filter{Selectors: out.Selectors}); err != nil {
		return nil, nil, faultIn("--selectors "+f.Selectors, err)
	}
	// Each is sound. What may be left is that they are too much together.
	compiled, err := filter.Compile(out)
	if err != nil {
		return nil, nil, usage("these flags together make no filter: %s", filterMessage(err))
	}
	return out, compiled, nil
}

// given says whether any flag asks for something.
func (f *filterFlags) given() bool {
	n := f.named()
	return len(n.Include)+len(n.Exclude)+len(f.Where) > 0 || f.Cel != "" || f.Pattern != "" || f.Selectors != ""
}

// named are the flags that name fields: one selector to include, and one to
// exclude for each --not flag, so that any of those drops a record.
func (f *filterFlags) named() *keytrailv1.Filter {
	out := &keytrailv1.Filter{}
	include := &keytrailv1.Selector{
		Keys: f.Key, EventNames: f.Event, Accounts: f.Account, Regions: f.Region,
		ReadOnly: f.ReadOnly, Outcomes: outcomes(f.Failed),
	}
	if !isEmpty(include) {
		out.Include = []*keytrailv1.Selector{include}
	}
	for _, exclude := range []*keytrailv1.Selector{
		{Keys: f.NotKey}, {EventNames: f.NotEvent}, {Accounts: f.NotAccount}, {Regions: f.NotRegion},
		{ReadOnly: f.NotReadOnly}, {Outcomes: outcomes(f.NotFailed)},
	} {
		if !isEmpty(exclude) {
			out.Exclude = append(out.Exclude, exclude)
		}
	}
	return out
}

// joinWhere makes one condition of several. Each is on lines of its own, for it
// may end with a comment.
func joinWhere(texts []string) string {
	if len(texts) < 2 {
		return strings.Join(texts, "")
	}
	var b strings.Builder
	for i, text := range texts {
		if i > 0 {
			b.WriteString("and ")
		}
		b.WriteString("(" + text + "\n)\n")
	}
	return b.String()
}

// readFilterFile reads the file of a flag, if it was given. It may be no longer
// than a filter.
func readFilterFile(flag, name string, stdin io.Reader) (string, error) {
	in := stdin
	switch name {
	case "":
		return "", nil
	case "-":
		name = "the standard input"
	default:
		file, err := os.Open(name)
		if err != nil {
			return "", usage("%s: %s", flag, err)
		}
		defer file.Close()
		in = file
	}
	text, err := io.ReadAll(io.LimitReader(in, filter.MaxBytes+1))
	switch {
	case errors.Is(err, context.Canceled):
		return "", err
	case err != nil:
		return "", usage("%s: %s", flag, err)
	case len(text) > filter.MaxBytes:
		return "", usage("%s: %s is longer than %d KiB, the most that a filter may be", flag, name, filter.MaxBytes>>10)
	case strings.TrimSpace(string(text)) == "":
		return "", usage("%s: %s is empty", flag, name)
	}
	return string(text), nil
}

// faultIn is the fault of what came from a flag or file, shown in its text.
func faultIn(where string, err error) error {
	fault := &usageError{message: where + ": " + filterMessage(err)}
	var bad *filter.Error
	if errors.As(err, &bad) && strings.TrimSpace(bad.Text) != "" {
		fault.excerpt = excerptOf(bad.Text, bad.Offset)
	}
	return fault
}

// filterMessage is err without the contract's name for the place, which who
// writes flags does not know.
func filterMessage(err error) string {
	var bad *filter.Error
	if errors.As(err, &bad) {
		return bad.Message
	}
	return err.Error()
}

// check finds flags that no record could satisfy, which is never what was
// meant.
func (f *filterFlags) check() error {
	for _, list := range []struct {
		flag   string
		values []string
	}{
		{"--where", f.Where},
		{"--key", f.Key}, {"--event", f.Event}, {"--account", f.Account}, {"--region", f.Region},
		{"--not-key", f.NotKey}, {"--not-event", f.NotEvent}, {"--not-account", f.NotAccount}, {"--not-region", f.NotRegion},
	} {
		for _, v := range list.values {
			if v == "" {
				return usage("%s has an empty value", list.flag)
			}
		}
	}
	if f.Pattern == "-" && f.Selectors == "-" {
		return usage("--pattern and --selectors can't both be the standard input")
	}
	if same(f.ReadOnly, f.NotReadOnly) {
		return usage("--read-only and --not-read-only together leave nothing")
	}
	if same(f.Failed, f.NotFailed) {
		return usage("--failed and --not-failed together leave nothing")
	}
	return nil
}

func same(a, b *bool) bool { return a != nil && b != nil && *a == *b }

func outcomes(failed *bool) []keytrailv1.Outcome {
	switch {
	case failed == nil:
		return nil
	case *failed:
		return []keytrailv1.Outcome{keytrailv1.Outcome_OUTCOME_FAILURE}
	default:
		return []keytrailv1.Outcome{keytrailv1.Outcome_OUTCOME_SUCCESS}
	}
}

func isEmpty(s *keytrailv1.Selector) bool {
	return len(s.Keys)+len(s.EventNames)+len(s.Accounts)+len(s.Regions)+len(s.Outcomes) == 0 && s.ReadOnly == nil
}
