package filter

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/common/ast"
	celop "cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/keytrail/keytrail/record"
)

// celCompiler turns a checked expression into nodes.
type celCompiler struct {
	text   string
	ast    *ast.AST
	vars   []string // of the macros around, from the outside
	macros int
	nodes  int64 // so far

	regexps, regexpsSize int // so far
}

// celFault is what is wrong with a part of an expression.
type celFault struct {
	of      ast.Expr
	message string
}

func fault(of ast.Expr, format string, args ...any) *celFault {
	return &celFault{of, fmt.Sprintf(format, args...)}
}

func (c *celCompiler) errorAt(f *celFault) *Error {
	return celErrorAt(c.text, c.ast.SourceInfo().GetStartLocation(f.of.ID()), f.message)
}

func (c *celCompiler) compile(e ast.Expr, depth int) (celNode, *celFault) {
	c.nodes++
	if depth > maxCELDepth {
		return nil, fault(e, "the expression is nested more than %d deep; write it flatter", maxCELDepth)
	}
	depth++
	switch e.Kind() {
	case ast.LiteralKind:
		x, ok := celLiteral(e.AsLiteral())
		if !ok {
			return nil, fault(e, "records have neither bytes nor unsigned integers; write the value without b or u")
		}
		return &celConst{x}, nil
	case ast.IdentKind:
		return c.ident(e)
	case ast.SelectKind:
		return c.selection(e, depth)
	case ast.ListKind:
		return c.list(e, depth)
	case ast.MapKind:
		return c.mapping(e, depth)
	case ast.ComprehensionKind:
		return c.loop(e, depth)
	case ast.CallKind:
		return c.call(e, depth)
	}
	return nil, fault(e, noObjects)
}

func celLiteral(x ref.Val) (celValue, bool) {
	switch x := x.(type) {
	case types.Bool:
		return celBoolean(bool(x)), true
	case types.Int:
		return celInteger(int64(x)), true
	case types.Double:
		return celFloat(float64(x)), true
	case types.String:
		return celText(string(x)), true
	case types.Null:
		return celValue{kind: celNull}, true
	}
	return celValue{}, false
}

// global returns the name that e has outside of macros, "" if it is the variable of one.
func (c *celCompiler) global(e ast.Expr) string {
	name, global := strings.CutPrefix(e.AsIdent(), ".")
	if !global && slices.Contains(c.vars, name) {
		return ""
	}
	return name
}

func (c *celCompiler) ident(e ast.Expr) (celNode, *celFault) {
	name := c.global(e)
	if name == "" {
		for i := len(c.vars) - 1; ; i-- {
			if c.vars[i] == e.AsIdent() {
				return &celVar{i}, nil
			}
		}
	}
	if t := c.ast.GetType(e.ID()); t.Kind() == types.TypeKind {
		return &celConst{celValue{kind: celType, text: celTypeNamed(name)}}, nil
	}
	if n, ok := namedFields[name]; ok {
		return &celNamed{n}, nil
	}
	path, _ := c.path(e)
	return newCELField(path), nil
}

// celTypeNamed is the name of a type, of which CEL has two for some.
func celTypeNamed(name string) string {
	if name == "null" {
		return celTypeNames[celNull]
	}
	return name
}

// path returns the names that lead from the record to e; it is not ok if e is
// something else than a member.
func (c *celCompiler) path(e ast.Expr) (names []string, ok bool) {
	switch e.Kind() {
	case ast.IdentKind:
		name := c.global(e)
		if long, ok := shortNames[name]; ok {
			name = long
		}
		switch {
		case name == "" || celNamedTypes[name] != nil || c.ast.GetType(e.ID()).Kind() == types.TypeKind:
			return nil, false
		case name == recordVariable:
			return nil, true
		}
		return []string{name}, true
	case ast.SelectKind:
		s := e.AsSelect()
		if s.IsTestOnly() {
			return nil, false
		}
		names, ok = c.path(s.Operand())
		return append(names, s.FieldName()), ok
	case ast.CallKind:
		call := e.AsCall()
		if call.FunctionName() != celop.Index {
			return nil, false
		}
		name, isText := textLiteral(call.Args()[1])
		if !isText {
			return nil, false
		}
		names, ok = c.path(call.Args()[0])
		return append(names, name), ok
	}
	return nil, false
}

func textLiteral(e ast.Expr) (string, bool) {
	s, ok := e.AsLiteral().(types.String)
	return string(s), ok && e.Kind() == ast.LiteralKind
}

func newCELField(path []string) *celField {
	if len(path) == 0 {
		return &celField{root: true}
	}
	f, taken := record.FieldOf(path...)
	n := &celField{field: f, rest: path[taken:], moment: len(path) == 1 && path[0] == "eventTime"}
	n.text = len(n.rest) == 0
	return n
}

func (c *celCompiler) selection(e ast.Expr, depth int) (celNode, *celFault) {
	s := e.AsSelect()
	if path, ok := c.path(e); ok {
		return newCELField(path), nil
	}
	if s.IsTestOnly() {
		if path, ok := c.path(s.Operand()); ok {
			f, taken := record.FieldOf(append(path, s.FieldName())...)
			return &celHasField{f, append(path, s.FieldName())[taken:]}, nil
		}
	}
	of, bad := c.compile(s.Operand(), depth)
	if bad != nil {
		return nil, bad
	}
	if s.IsTestOnly() {
		return &celHas{of, s.FieldName()}, nil
	}
	return &celSelect{of, s.FieldName()}, nil
}

func (c *celCompiler) each(es []ast.Expr, depth int) ([]celNode, *celFault) {
	nodes := make([]celNode, len(es))
	for i, e := range es {
		var bad *celFault
		if nodes[i], bad = c.compile(e, depth); bad != nil {
			return nil, bad
		}
	}
	return nodes, nil
}

func (c *celCompiler) list(e ast.Expr, depth int) (celNode, *celFault) {
	items, bad := c.each(e.AsList().Elements(), depth)
	if bad != nil {
		return nil, bad
	}
	return constant(&celMake{items: items}), nil
}

func (c *celCompiler) mapping(e ast.Expr, depth int) (celNode, *celFault) {
	n := &celMake{keys: []celValue{}}
	for _, entry := range e.AsMap().Entries() {
		m := entry.AsMapEntry()
		key, ok := celLiteral(m.Key().AsLiteral())
		if m.Key().Kind() != ast.LiteralKind || !ok || key.kind == celDouble || key.kind == celNull {
			return nil, fault(m.Key(), "the keys of a map must be texts, integers or true and false, as they are")
		}
		if slices.Contains(n.keys, key) {
			return nil, fault(m.Key(), "this key is there twice; leave out one")
		}
		value, bad := c.compile(m.Value(), depth)
		if bad != nil {
			return nil, bad
		}
		n.keys = append(n.keys, key)
		n.items = append(n.items, value)
	}
	return constant(n), nil
}

// constant is n, or the list or map that it makes if it's always the same.
func constant(n *celMake) celNode {
	items := make([]celValue, len(n.items))
	for i, k := range n.items {
		x, ok := k.(*celConst)
		if !ok {
			return n
		}
		items[i] = x.value
	}
	return &celConst{n.of(items)}
}

// loop compiles what a macro was expanded to. The macro can be told by the
// value that it begins with, and what it takes from its arguments is in the
// step.
func (c *celCompiler) loop(e ast.Expr, depth int) (celNode, *celFault) {
	loop := e.AsComprehension()
	if c.macros++; c.macros > maxCELMacros {
		return nil, fault(e, "the expression has more than %d macros such as exists; use several conditions", maxCELMacros)
	}
	if len(c.vars) == maxCELNesting {
		return nil, fault(e, "macros such as exists are nested more than %d deep", maxCELNesting)
	}
	over, bad := c.compile(loop.IterRange(), depth)
	if bad != nil {
		return nil, bad
	}
	n := &celLoop{over: over, slot: len(c.vars)}
	filter, body := loopParts(loop, n)
	before := c.nodes
	c.vars = append(c.vars, loop.IterVar())
	if filter != nil {
		if n.filter, bad = c.compile(filter, depth); bad != nil {
			return nil, bad
		}
	}
	if n.body, bad = c.compile(body, depth); bad != nil {
		return nil, bad
	}
	c.vars = c.vars[:n.slot]
	n.steps = c.nodes - before
	return n, nil
}

// loopParts sets n's kind, and returns the arguments of the macro.
func loopParts(loop ast.ComprehensionExpr, n *celLoop) (filter, body ast.Expr) {
	step := loop.LoopStep().AsCall().Args()
	switch loop.AccuInit().AsLiteral() {
	case types.True: // result && body
		n.kind = loopAll
		return nil, step[1]
	case types.False: // result || body
		n.kind = loopExists
		return nil, step[1]
	case types.Int(0): // body ? result + 1 : result
		n.kind = loopOne
		return nil, step[0]
	}
	n.kind = loopCollect
	if loop.LoopStep().AsCall().FunctionName() == celop.Conditional { // filter ? result + [body] : result
		filter = step[0]
		step = step[1].AsCall().Args()
	}
	return filter, step[1].AsList().Elements()[0]
}

func (c *celCompiler) call(e ast.Expr, depth int) (celNode, *celFault) {
	call := e.AsCall()
	name := call.FunctionName()
	if path, ok := c.path(e); ok {
		return newCELField(path), nil
	}
	exprs := call.Args()
	if call.IsMemberFunction() {
		exprs = append([]ast.Expr{call.Target()}, exprs...)
	}
	if bad := c.checkChoice(name, exprs); bad != nil {
		return nil, bad
	}
	if name == jsonFunction {
		if path, ok := c.path(exprs[0]); ok {
			return &celJSONField{*newCELField(path)}, nil
		}
	}
	args, bad := c.each(exprs, depth)
	if bad != nil {
		return nil, bad
	}
	switch name {
	case celop.LogicalAnd:
		return &celLogic{args, 0}, nil
	case celop.LogicalOr:
		return &celLogic{args, 1}, nil
	case celop.Conditional:
		return &celCond{args[0], args[1], args[2]}, nil
	case overloads.Matches:
		pattern, ok := textLiteral(exprs[1])
		if !ok {
			return nil, fault(exprs[1], "the regular expression of matches must be written as it is, not computed")
		}
		re, err := compileRegexp(pattern, false)
		if err != nil {
			return nil, fault(exprs[1], "%v", err)
		}
		c.regexps++
		c.regexpsSize += re.size
		return &celMatch{args[0], re}, nil
	case celop.In:
		if n := among(args); n != nil {
			return n, nil
		}
	}
	if celParts[name] != nil {
		return celPartOf(name, exprs, args)
	}
	switch {
	case len(args) == 1 && celUnaries[name] != nil:
		n := &celCall1{celUnaries[name], args[0]}
		x, ok := args[0].(*celConst)
		if !ok {
			return n, nil
		}
		value := n.eval(&celRun{left: MaxCELSteps})
		if value.kind == celError {
			return nil, fault(exprs[0], "%s is no %s", sketch(exprs[0]), functionMakes(name, x.value))
		}
		return &celConst{value}, nil
	case len(args) == 2 && celBinaries[name] != nil:
		return &celCall2{celBinaries[name], args[0], args[1]}, nil
	}
	return nil, fault(e, "there is no function %s", name)
}

// functionMakes says what a conversion would have made of a literal.
func functionMakes(name string, x celValue) string {
	switch name {
	case overloads.TypeConvertTimestamp:
		return `time such as "2026-01-31T00:00:00Z"`
	case overloads.TypeConvertDuration:
		return `duration such as "90m"`
	}
	return "argument for " + strings.Trim(name, "_")
}

func celPartOf(name string, exprs []ast.Expr, args []celNode) (celNode, *celFault) {
	n := &celPart{of: args[0], part: celParts[name], span: celSpans[name], zone: time.UTC}
	if len(args) == 1 {
		return n, nil
	}
	n.span = 0
	zone, ok := textLiteral(exprs[1])
	if !ok {
		return nil, fault(exprs[1], "the time zone must be written as it is, not computed")
	}
	var err error
	if n.zone, err = celZone(zone); err != nil {
		return nil, fault(exprs[1], "%v", err)
	}
	return n, nil
}

// fewTexts is how many texts are compared one by one.
const fewTexts = 8

// among is x in a long list of texts, or nil if it's another.
func among(args []celNode) celNode {
	list, ok := args[1].(*celConst)
	if !ok || list.value.kind != celList || len(list.value.made.items) <= fewTexts {
		return nil
	}
	n := &celAmong{args[0], make(map[string]struct{})}
	for _, x := range list.value.made.items {
		if x.kind != celString {
			return nil
		}
		n.texts[x.text] = struct{}{}
	}
	return n
}

// checkChoice checks a comparison of a named field that has few values.
func (c *celCompiler) checkChoice(function string, args []ast.Expr) *celFault {
	switch function {
	case celop.Equals, celop.NotEquals, celop.In:
	default:
		return nil
	}
	for i, x := range args {
		known := choices[namedFields[c.global(x)]]
		value, ok := textLiteral(args[1-i])
		if known != nil && ok && !slices.Contains(known, value) {
			return fault(args[1-i], "%q is no value of %s; use one of %s%s", value, x.AsIdent(), strings.Join(known, ", "), didYouMean(value, known))
		}
	}
	return nil
}
