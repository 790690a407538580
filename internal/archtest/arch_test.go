package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/keytrail/keytrail/"

// rule is a line of the import table.
type rule struct {
	layer int
	pkg   string
	only  []string // nil: everything on lower layers
}

// layers is the import table: a package may import packages of this module
// that are on lower layers, and, where it says so, only some of them.
var layers = []rule{
	{0, "gen/keytrail/v1", nil},
	{0, "internal/when", []string{}},
	{0, "internal/meter", []string{}},
	{1, "record", []string{"gen/keytrail/v1"}},
	{2, "filter", []string{"gen/keytrail/v1", "record"}},
	{2, "internal/sample", []string{"gen/keytrail/v1", "record"}},
	{2, "internal/show", []string{"gen/keytrail/v1", "record"}},
	{3, "transcript", []string{"gen/keytrail/v1", "record", "filter"}},
	{3, "eventlog", []string{"gen/keytrail/v1", "record", "internal/meter"}},
	{4, "fanout", []string{"gen/keytrail/v1", "record", "filter", "eventlog", "internal/meter"}},
	{5, "server", []string{"gen/keytrail/v1", "record", "filter", "eventlog", "fanout"}},
	{5, "client", []string{"gen/keytrail/v1", "record", "filter"}},
	{5, "client/kmshttp", []string{"gen/keytrail/v1", "record"}},
	{5, "client/spool", []string{"gen/keytrail/v1"}},
	{6, "cmd/bus", nil},
	{6, "cmd/subscriber", []string{"gen/keytrail/v1", "record", "filter", "transcript", "client", "internal/show", "internal/when"}},
	{6, "loadtest", nil},
	{7, "bustest", []string{"eventlog", "server"}},
	{7, "internal/e2e", nil},
	{7, "internal/needs", []string{}},
	{7, "internal/powerloss", []string{}},
	{7, "internal/archtest", []string{}},
}

// imports that only some packages may have, and why.
var owned = map[string]struct {
	owners []string
	why    string
}{
	"cel.dev/cel-go":                    {[]string{"filter"}, "only filters know CEL"},
	"github.com/nats-io/nats.go":        {[]string{"eventlog"}, "the log alone knows NATS"},
	"github.com/nats-io/nats-server/v2": {[]string{"eventlog"}, "the log alone knows NATS"},
	"github.com/hanwen/go-fuse/v2":      {[]string{"internal/powerloss"}, "it is for tests"},
	"github.com/alecthomas/kong":        {[]string{"cmd/bus", "cmd/subscriber", "loadtest"}, "only programs have command lines"},
	"log":                               {nil, "logs are structured: log/slog"},
	"net/http/pprof":                    {[]string{"server"}, "it registers itself with the default mux"},
}

type listed struct {
	ImportPath string
	Imports    []string
	GoFiles    []string
	Dir        string
}

func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,GoFiles,Dir", module+"...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func ruleOf(pkg string) (rule, bool) {
	for _, r := range layers {
		if r.pkg == pkg {
			return r, true
		}
	}
	return rule{}, false
}

func TestImports(t *testing.T) {
	seen := make(map[string]bool)
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		seen[name] = true
		own, ok := ruleOf(name)
		if !ok {
			t.Errorf("%s is not in the import table: give it a layer", name)
			continue
		}
		for _, imp := range p.Imports {
			for root, o := range owned {
				if (imp == root || strings.HasPrefix(imp, root+"/") && root != "log") && !slices.Contains(o.owners, name) {
					t.Errorf("%s imports %s: %s", name, imp, o.why)
				}
			}
			dep, ok := strings.CutPrefix(imp, module)
			if !ok {
				continue
			}
			switch other, known := ruleOf(dep); {
			case !known: // reported for itself
			case other.layer >= own.layer:
				t.Errorf("%s (layer %d) imports %s (layer %d): imports go down only", name, own.layer, dep, other.layer)
			case own.only != nil && !slices.Contains(own.only, dep):
				t.Errorf("%s imports %s, which the table does not allow it", name, dep)
			}
		}
	}
	for _, l := range layers {
		if !seen[l.pkg] {
			t.Errorf("the import table has %s, which is not there", l.pkg)
		}
	}
}

// TestPackageDocs: each package says once what it is for.
func TestPackageDocs(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		if strings.HasPrefix(name, "gen/") {
			continue
		}
		var docs []string
		for _, file := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if f.Doc != nil {
				docs = append(docs, f.Doc.Text())
			}
		}
		if len(docs) != 1 || !strings.HasPrefix(docs[0], "Package ") && !strings.HasPrefix(docs[0], "Command ") {
			t.Errorf("%s has %d package comments that say what it is for, want 1: %q", name, len(docs), docs)
		}
	}
}

// maxLines is how long a file may get before it holds more than one idea.
const maxLines = 600

func TestFileLength(t *testing.T) {
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "gen" || d.Name() == ".git"):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if n := bytes.Count(data, []byte("\n")); n > maxLines {
			t.Errorf("%s has %d lines, over %d", path, n, maxLines)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
