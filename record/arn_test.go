package record_test

import (
	"strings"
	"testing"

	"github.com/keytrail/keytrail/record"
)

// plainKeyID is KeyID by the letter of its comment.
func plainKeyID(arn string) string {
	parts := strings.Split(arn, ":")
	if len(parts) != 6 || parts[0] != "arn" || parts[1] == "" || parts[2] != "kms" || parts[3] == "" || parts[4] == "" {
		return ""
	}
	id, ok := strings.CutPrefix(parts[5], "key/")
	if !ok || strings.Contains(id, "/") {
		return ""
	}
	return id
}

// TestKeyIDOfNearlyKeys changes one or two bytes of ARNs of the usual lengths.
func TestKeyIDOfNearlyKeys(t *testing.T) {
	found := 0
	check := func(arn string) {
		got, want := record.KeyID(arn), plainKeyID(arn)
		if got != want {
			t.Errorf("KeyID(%q) = %q, want %q", arn, got, want)
		}
		if got != "" {
			found++
		}
	}
	for _, arn := range []string{
		"arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
		"arn:aws:kms:a:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab",
		"arn:aws:kms::111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab",
		"arn:aws-cn:kms:cn-north-1:1:key/1",
	} {
		check(arn)
		for i := range arn {
			check(arn[:i] + arn[i+1:])
			check(arn[:i] + "x" + arn[i:])
			for _, c := range []string{":", "/", "x"} {
				changed := arn[:i] + c + arn[i+1:]
				check(changed)
				for j := range changed {
					check(changed[:j] + ":" + changed[j+1:])
				}
			}
		}
	}
	if found < 500 {
		t.Errorf("only %d were key ARNs: the test sees little", found)
	}
}
