package main

import (
	"errors"
	"strings"

	"github.com/keytrail/keytrail/filter"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// filterFlags choose records. A pointer is nil when the flag was not given, so
// that --read-only=false means what it says.
type filterFlags struct {
	Key      []string `group:"which" placeholder:"KEY" help:"Records of this key: a key ID or ARN; '*' is a wildcard. Repeatable."`
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

// filter is what the flags ask for: one selector to include, and one to
// exclude for each --not flag, so that any of those drops a record.
func (f *filterFlags) filter() (*keytrailv1.Filter, error) {
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
	if err := f.check(); err != nil {
		return nil, err
	}
	if _, err := filter.Compile(out); err != nil {
		var bad *filter.Error
		if errors.As(err, &bad) {
			return nil, usage("these flags make no filter: %s", bad.Message)
		}
		return nil, err
	}
	return out, nil
}

// check finds flags that no record could satisfy, which is never what was
// meant.
func (f *filterFlags) check() error {
	for _, list := range []struct {
		flag   string
		values []string
	}{
		{"--key", f.Key}, {"--event", f.Event}, {"--account", f.Account}, {"--region", f.Region},
		{"--not-key", f.NotKey}, {"--not-event", f.NotEvent}, {"--not-account", f.NotAccount}, {"--not-region", f.NotRegion},
	} {
		for _, v := range list.values {
			if v == "" {
				return usage("%s has an empty value", list.flag)
			}
		}
	}
	for _, v := range append(f.Key[:len(f.Key):len(f.Key)], f.NotKey...) {
		switch {
		case strings.HasPrefix(v, "alias/"), strings.Contains(v, ":alias/"):
			return usage("%q is an alias: records are found by the key that it stood for; give a key ID or key ARN", v)
		case strings.HasPrefix(v, "key/"):
			return usage("%q is neither a key ID nor an ARN; leave out \"key/\"", v)
		}
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
