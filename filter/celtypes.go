package filter

import (
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"

	"cel.dev/cel-go/checker"
	"cel.dev/cel-go/common/containers"
	"cel.dev/cel-go/common/decls"
	celop "cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/stdlib"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	celparser "cel.dev/cel-go/parser"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

// celEnv is what expressions may use, the same for all.
type celEnv struct {
	parser  *celparser.Parser
	checker *checker.Env
	objects celObjects

	names     []string // variables and functions
	functions []string
}

// theCELEnv makes a celEnv at first use: few programs need one.
var theCELEnv = sync.OnceValue(newCELEnv)

// recordVariable is the record itself.
const recordVariable = "record"

// celNamedTypes are the named fields, which stand before members of the record.
var celNamedTypes = map[string]*types.Type{
	"outcome":      types.NewListType(types.StringType),
	"key":          types.NewListType(types.StringType),
	"principal":    types.NewListType(types.StringType),
	"crossAccount": types.BoolType,
	"class":        types.StringType,
	"sourceIP":     types.StringType,
	"readOnly":     types.BoolType,
}

func newCELEnv() *celEnv {
	env := &celEnv{objects: make(celObjects)}
	env.objects.add(recordVariable, new(keytrailv1.Record).ProtoReflect().Descriptor())

	variables := make(map[string]*types.Type)
	for name, t := range env.objects[recordVariable].types {
		variables[name] = t
	}
	for name, long := range shortNames {
		variables[name] = variables[long]
	}
	for name, t := range celNamedTypes {
		variables[name] = t
	}
	variables[recordVariable] = objectType(recordVariable)

	must := func(err error) {
		if err != nil {
			panic("filter: " + err.Error()) // of our own declarations
		}
	}
	var err error
	env.checker, err = checker.NewEnv(containers.DefaultContainer, env.objects, checker.CrossTypeNumericComparisons(true))
	must(err)
	must(env.checker.AddIdents(stdlib.Types()...))
	for name, t := range variables {
		must(env.checker.AddIdents(decls.NewVariable(name, t)))
		env.names = append(env.names, name)
	}
	document, err := decls.NewFunction(jsonFunction, decls.Overload("json_document", []*types.Type{types.DynType}, types.DynType))
	must(err)
	must(env.checker.AddFunctions(document))
	for _, f := range stdlib.Functions() {
		if !hasCELFunction(f.Name()) {
			continue
		}
		must(env.checker.AddFunctions(f))
		if f.Name()[0] >= 'a' {
			env.functions = append(env.functions, f.Name())
		}
	}
	env.functions = append(env.functions, jsonFunction, "has", "all", "exists", "exists_one", "map", "filter")
	env.names = append(env.names, env.functions...)
	slices.Sort(env.names)

	env.parser, err = celparser.NewParser(
		celparser.Macros(celparser.AllMacros...),
		celparser.Macros(celparser.NewGlobalMacro(celop.Has, 1, expandHas)),
		celparser.EnableVariadicOperatorASTs(true),
		celparser.MaxRecursionDepth(maxCELDepth),
		celparser.ErrorReportingLimit(1),
		celparser.ErrorRecoveryLimit(1),
		celparser.ErrorRecoveryLookaheadTokenLimit(64),
	)
	must(err)
	return env
}

// hasCELFunction reports whether a function of the standard library can be
// evaluated.
func hasCELFunction(name string) bool {
	switch name {
	case celop.LogicalAnd, celop.LogicalOr, celop.Conditional, celop.NotStrictlyFalse, overloads.Matches:
		return true
	}
	return celUnaries[name] != nil || celBinaries[name] != nil || celParts[name] != nil
}

// celObjects are the objects of a record and their members, by the name of
// their type. It tells the checker of types.
type celObjects map[string]*celObject

type celObject struct {
	names []string // of members, in CloudTrail's order
	types map[string]*types.Type
}

// objectType is the type of the object at a path. Its name is no word, so that
// no expression can take it for a variable.
func objectType(path string) *types.Type { return types.NewObjectType("object " + path) }

// add adds the object whose members are at path and which message holds.
func (o celObjects) add(path string, message protoreflect.MessageDescriptor) {
	var names []string
	if path != recordVariable {
		names = strings.Split(path, ".")
	}
	object := &celObject{names: record.FieldNames(names...), types: make(map[string]*types.Type)}
	o[path] = object
	fields := make(map[string]protoreflect.FieldDescriptor)
	for i := range message.Fields().Len() {
		f := message.Fields().Get(i)
		fields[strings.ReplaceAll(string(f.Name()), "_", "")] = f
	}
	for _, name := range object.names {
		below := strings.TrimPrefix(path+"."+name, recordVariable+".")
		object.types[name] = o.typeOf(below, fields[strings.ToLower(name)])
	}
	if path == "resources" {
		object.types["arn"] = types.StringType // another spelling of ARN
	}
}

func (o celObjects) typeOf(path string, f protoreflect.FieldDescriptor) *types.Type {
	switch f.Kind() {
	case protoreflect.StringKind:
		return types.StringType
	case protoreflect.BoolKind:
		return types.BoolType
	case protoreflect.MessageKind:
		switch m := f.Message(); m.FullName() {
		case "google.protobuf.Timestamp":
			return types.TimestampType
		case new(keytrailv1.ResourceList).ProtoReflect().Descriptor().FullName():
			o.add(path, m.Fields().ByName("entries").Message())
			return types.NewListType(objectType(path))
		default:
			o.add(path, m)
			return objectType(path)
		}
	}
	return types.DynType // free-form JSON
}

func (o celObjects) lookup(typeName string) *celObject {
	path, _ := strings.CutPrefix(typeName, "object ")
	return o[path]
}

// FindStructType, FindStructFieldNames and FindStructFieldType are for the
// checker.
func (o celObjects) FindStructType(name string) (*types.Type, bool) {
	path, isObject := strings.CutPrefix(name, "object ")
	if !isObject || o[path] == nil {
		return nil, false
	}
	return types.NewTypeTypeWithParam(objectType(path)), true
}

func (o celObjects) FindStructFieldNames(name string) ([]string, bool) {
	if object := o.lookup(name); object != nil {
		return object.names, true
	}
	return nil, false
}

func (o celObjects) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	object := o.lookup(name)
	if object == nil || object.types[field] == nil {
		return nil, false
	}
	return &types.FieldType{Type: object.types[field]}, true
}

// EnumValue, FindIdent and NewValue are for the checker: records have neither
// enumerations nor types that an expression could make.
func (o celObjects) EnumValue(name string) ref.Val { return types.NewErr("no enumeration %q", name) }

func (o celObjects) FindIdent(string) (ref.Val, bool) { return nil, false }

func (o celObjects) NewValue(name string, _ map[string]ref.Val) ref.Val {
	return types.NewErr("no type %q", name)
}
