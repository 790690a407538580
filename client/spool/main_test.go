package spool_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/keytrail/keytrail/client/spool"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// crashDir names the folder into which a child of TestKill adds calls.
const crashDir = "KEYTRAIL_SPOOL_CRASH"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		fmt.Fprintln(os.Stderr, addForEver(dir))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// deliverUntil runs s until the call last was delivered.
func deliverUntil(t *testing.T, s *spool.Spool, last string) []string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var ids []string
	err := s.Run(ctx, func(_ context.Context, calls []*keytrailv1.Call) error {
		for _, c := range calls {
			ids = append(ids, c.GetCallId())
		}
		if slices.Contains(ids, last) {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("Run: %v", err)
	}
	return ids
}
