// Package needs finds what a test needs from outside the project: programs,
// real records, and file systems of its own. Where something is absent the test is skipped by its name,
// unless the environment requires it: then the test fails, so that a skip is
// never taken for a pass.
//
//	KEYTRAIL_REQUIRE=programs   outside programs must be there
//	KEYTRAIL_REQUIRE=all        real records as well
package needs

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const variable = "KEYTRAIL_REQUIRE"

// Program returns the path of an outside program.
func Program(tb testing.TB, name string) string {
	tb.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		absent(tb, os.Getenv(variable) != "", "the program %s, which is not in PATH", name)
	}
	return path
}

// RealData returns the path of a file or folder of real records. They lie
// beside the repository, in ../shared/data, and are not part of it.
func RealData(tb testing.TB, name string) string {
	tb.Helper()
	root, err := repository()
	if err != nil {
		tb.Fatal(err)
	}
	path := filepath.Join(root, "..", "shared", "data", name)
	if _, err := os.Stat(path); err != nil {
		absent(tb, os.Getenv(variable) == "all", "real records at ../shared/data/%s, beside the repository", name)
	}
	return path
}

// FUSE skips a test where file systems can't be mounted, also where programs are required: a machine has /dev/fuse
// or not, whatever is installed. CI says so at its start.
func FUSE(tb testing.TB) {
	tb.Helper()
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		tb.Skipf("needs /dev/fuse: %v", err)
	}
	f.Close()
}

func absent(tb testing.TB, required bool, format, name string) {
	tb.Helper()
	if required {
		tb.Fatalf("needs "+format+"; "+variable+"="+os.Getenv(variable)+" requires it", name)
	}
	tb.Skipf("needs "+format, name)
}

// repository is the folder with go.mod, at or above the one where a test runs.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", os.ErrNotExist
		}
		dir = parent
	}
}
