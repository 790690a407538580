package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/keytrail/keytrail/internal/when"
	"go.yaml.in/yaml/v3"
)

// size is a number of bytes: "500MB", "20GiB", "1073741824".
type size int64

// days is a duration that may also be given in days: "90d".
type days time.Duration

var (
	sizeType = reflect.TypeFor[size]()
	daysType = reflect.TypeFor[days]()

	sizeMapper = kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		var text string
		if err := ctx.Scan.PopValueInto("size", &text); err != nil {
			return err
		}
		v, err := parseSize(text)
		target.SetInt(int64(v))
		return err
	})
	daysMapper = kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		var text string
		if err := ctx.Scan.PopValueInto("duration", &text); err != nil {
			return err
		}
		v, err := when.Duration(text)
		target.SetInt(int64(v))
		return err
	})
)

func parseSize(text string) (size, error) {
	number := strings.TrimRight(text, "KMGTiBkb")
	unit, ok := map[string]float64{
		"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
		"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
	}[text[len(number):]]
	v, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || !(v >= 0 && v*unit < 1<<62) { // also NaN
		return 0, fmt.Errorf("%q is not a size such as 500MB or 20GiB", text)
	}
	return size(v * unit), nil
}

// useConfigFile adds the YAML file of --config, if there is one, as a source
// of flag values below flags and environment.
func useConfigFile(k *kong.Kong, kctx *kong.Context, p *program) error {
	if err := refuseEmpty(kctx, p.args); err != nil {
		return err
	}
	path, err := configPath(kctx)
	if err != nil || path == "" {
		return err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	values, err := parseConfig(data, flagNames(k.Model.Node))
	if err != nil {
		return fmt.Errorf("configuration %s: %w", path, err)
	}
	kctx.AddResolver(kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		for _, env := range flag.Envs {
			if _, set := os.LookupEnv(env); set {
				return nil, nil
			}
		}
		v, ok := values[flag.Name]
		if !ok {
			return nil, nil
		}
		return v, nil
	}))
	return nil
}

// refuseEmpty refuses flags that are given without a value: it is a variable of the shell or
// of a compose file that is not set, and a path would become the current folder.
func refuseEmpty(kctx *kong.Context, args []string) error {
	for _, flag := range kctx.Flags() {
		if flag.IsBool() {
			continue
		}
		for _, env := range flag.Envs {
			if v, set := os.LookupEnv(env); set && v == "" {
				return fmt.Errorf("%s is set and empty: give it a value, or unset it", env)
			}
		}
		name := "--" + flag.Name
		for i, arg := range args {
			if arg == name+"=" || arg == name && i+1 < len(args) && args[i+1] == "" {
				return fmt.Errorf("%s has no value: give one, or leave it out", name)
			}
		}
	}
	return nil
}

func configPath(kctx *kong.Context) (string, error) {
	for _, flag := range kctx.Flags() {
		if flag.Name == "config" {
			path, ok := kctx.FlagValue(flag).(string)
			if !ok {
				return "", errors.New("--config is not a path")
			}
			return path, nil
		}
	}
	return "", nil
}

// flagNames returns the long names of all flags of a command and those below.
func flagNames(n *kong.Node) map[string]bool {
	names := make(map[string]bool)
	for _, f := range n.Flags {
		names[f.Name] = true
	}
	for _, child := range n.Children {
		maps.Copy(names, flagNames(child))
	}
	delete(names, "help")
	delete(names, "config")
	return names
}

// parseConfig reads a flat YAML mapping of known names to values.
func parseConfig(data []byte, known map[string]bool) (map[string]any, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	if len(doc.Content) == 0 {
		return nil, nil
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: want a mapping of flag names to values", root.Line)
	}
	values := make(map[string]any)
	var errs []error
	for i := 0; i < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		_, twice := values[key.Value]
		switch {
		case !known[key.Value]:
			errs = append(errs, fmt.Errorf("line %d: unknown key %q%s", key.Line, key.Value, suggest(key.Value, known)))
		case twice:
			errs = append(errs, fmt.Errorf("line %d: key %q is there twice", key.Line, key.Value))
		case value.Kind != yaml.ScalarNode:
			errs = append(errs, fmt.Errorf("line %d: key %q wants a single value", value.Line, key.Value))
		case value.ShortTag() == "!!null" || value.Value == "":
			errs = append(errs, fmt.Errorf("line %d: key %q has no value: give one, or leave it out", value.Line, key.Value))
		case value.ShortTag() == "!!bool":
			var b bool
			if err := value.Decode(&b); err != nil {
				errs = append(errs, fmt.Errorf("line %d: %w", value.Line, err))
			}
			values[key.Value] = b
		default:
			values[key.Value] = value.Value
		}
	}
	return values, errors.Join(errs...)
}

// suggest names the known key that is nearest to what was written, if one is.
func suggest(name string, known map[string]bool) string {
	best, at := "", 3
	for _, k := range slices.Sorted(maps.Keys(known)) {
		if d := distance(strings.ReplaceAll(name, "_", "-"), k); d < at {
			best, at = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// distance is the number of letters to add, drop or change between a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
