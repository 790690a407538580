package filter

import (
	"strings"

	"cel.dev/cel-go/common/ast"
	celop "cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// needs returns a condition that holds for every record for which e is true,
// or nil if it finds none. What it takes from e compares texts: CEL's numbers
// are not exact, so that they may be equal where those of conditions are not.
func (c *celCompiler) needs(e ast.Expr) *expr {
	switch e.Kind() {
	case ast.IdentKind:
		return c.needsFlag(e, true)
	case ast.ComprehensionKind:
		return c.needsElement(e.AsComprehension())
	case ast.CallKind:
	default:
		return nil
	}
	call := e.AsCall()
	args := call.Args()
	switch call.FunctionName() {
	case celop.LogicalAnd:
		var parts []*expr
		for _, x := range args {
			if n := c.needs(x); n != nil {
				parts = append(parts, n)
			}
		}
		if len(parts) == 0 {
			return nil
		}
		return all(parts...)
	case celop.LogicalOr:
		return needsAny(args, c.needs)
	case celop.LogicalNot:
		return c.needsFlag(args[0], false)
	case celop.Equals:
		for i, x := range args {
			if b, ok := args[1-i].AsLiteral().(types.Bool); ok {
				return c.needsFlag(x, bool(b))
			}
		}
	case celop.In: // "…" in key
		if value, ok := textLiteral(args[0]); ok && args[1].Kind() == ast.IdentKind {
			if n, ok := namedFields[c.global(args[1])]; ok {
				return needsNamed(n, keytrailv1.Operator_OPERATOR_EQUALS, value)
			}
		}
	}
	return needsText(call, func(x ast.Expr, op keytrailv1.Operator, values ...string) *expr {
		if x.Kind() == ast.IdentKind {
			if n, ok := namedFields[c.global(x)]; ok {
				return needsNamed(n, op, values...)
			}
		}
		path, ok := c.path(x)
		if !ok || len(path) == 0 || len(path) == 1 && path[0] == "eventTime" {
			return nil
		}
		return needsTest(operand{path: newPath(memberSteps(path), false)}, op, values...)
	})
}

// needsAny is what is needed where one of es is true.
func needsAny(es []ast.Expr, needs func(ast.Expr) *expr) *expr {
	parts := make([]*expr, len(es))
	for i, x := range es {
		if parts[i] = needs(x); parts[i] == nil {
			return nil
		}
	}
	return anyOf(parts...)
}

// needsText calls of for a comparison of something with literal texts.
func needsText(call ast.CallExpr, of func(x ast.Expr, op keytrailv1.Operator, values ...string) *expr) *expr {
	args := call.Args()
	switch call.FunctionName() {
	case celop.Equals:
		for i, x := range args {
			if value, ok := textLiteral(args[1-i]); ok {
				return of(x, keytrailv1.Operator_OPERATOR_EQUALS, value)
			}
		}
	case celop.In:
		var values []string
		for _, v := range args[1].AsList().Elements() {
			value, ok := textLiteral(v)
			if !ok {
				return nil
			}
			values = append(values, value)
		}
		if len(values) > 0 {
			return of(args[0], keytrailv1.Operator_OPERATOR_EQUALS, values...)
		}
	case overloads.StartsWith, overloads.EndsWith, overloads.Contains:
		value, ok := textLiteral(args[0])
		if !ok || !call.IsMemberFunction() {
			return nil
		}
		op := keytrailv1.Operator_OPERATOR_CONTAINS
		switch call.FunctionName() {
		case overloads.StartsWith:
			op = keytrailv1.Operator_OPERATOR_STARTS_WITH
		case overloads.EndsWith:
			op = keytrailv1.Operator_OPERATOR_ENDS_WITH
		}
		return of(call.Target(), op, value)
	}
	return nil
}

// needsElement is for list.exists(x, …) of a named field, and of a list of
// objects in the record.
func (c *celCompiler) needsElement(loop ast.ComprehensionExpr) *expr {
	var n celLoop
	_, body := loopParts(loop, &n)
	over := loop.IterRange()
	if n.kind != loopExists {
		return nil
	}
	name := namedFields[c.global(over)]
	path, ok := c.path(over)
	if name == pathOnly && !ok {
		return nil
	}
	c.vars = append(c.vars, loop.IterVar())
	defer func() { c.vars = c.vars[:len(c.vars)-1] }()
	return c.needsOf(body, func(x ast.Expr, op keytrailv1.Operator, values ...string) *expr {
		var below []string
		for x.Kind() == ast.SelectKind && !x.AsSelect().IsTestOnly() {
			below = append([]string{x.AsSelect().FieldName()}, below...)
			x = x.AsSelect().Operand()
		}
		switch {
		case x.Kind() != ast.IdentKind || x.AsIdent() != loop.IterVar():
			return nil
		case name != pathOnly && len(below) == 0:
			return needsNamed(name, op, values...)
		case name != pathOnly || len(below) == 0: // the elements might be keys of a map
			return nil
		}
		steps := append(memberSteps(path), step{kind: stepEach})
		return needsTest(operand{path: newPath(append(steps, memberSteps(below)...), false)}, op, values...)
	})
}

// needsOf is needs for the body of a macro.
func (c *celCompiler) needsOf(e ast.Expr, of func(x ast.Expr, op keytrailv1.Operator, values ...string) *expr) *expr {
	if e.Kind() != ast.CallKind {
		return nil
	}
	call := e.AsCall()
	switch call.FunctionName() {
	case celop.LogicalAnd:
		for _, x := range call.Args() { // one will do: it is for any element
			if n := c.needsOf(x, of); n != nil {
				return n
			}
		}
		return nil
	case celop.LogicalOr:
		return needsAny(call.Args(), func(x ast.Expr) *expr { return c.needsOf(x, of) })
	}
	return needsText(call, of)
}

// needsFlag is for readOnly and crossAccount.
func (c *celCompiler) needsFlag(e ast.Expr, is bool) *expr {
	if e.Kind() != ast.IdentKind {
		return nil
	}
	switch n := namedFields[c.global(e)]; n {
	case fieldReadOnly, fieldCrossAccount:
		return needsTest(operand{name: n}, keytrailv1.Operator_OPERATOR_EQUALS, yesNo(is))
	}
	return nil
}

// needsNamed is needsTest for a named field. Conditions on key compare a value with the
// ARNs or with the IDs, by its form, where in CEL all of them are in one list.
func needsNamed(n namedField, op keytrailv1.Operator, values ...string) *expr {
	if n == fieldKey {
		for _, v := range values {
			isID := op == keytrailv1.Operator_OPERATOR_EQUALS && !strings.Contains(v, ":")
			isARN := op == keytrailv1.Operator_OPERATOR_EQUALS || op == keytrailv1.Operator_OPERATOR_STARTS_WITH
			if !isID && !(isARN && strings.HasPrefix(v, "arn:")) {
				return nil
			}
		}
	}
	return needsTest(operand{name: n}, op, values...)
}

// needsTest is a condition, or nil if it would not be one.
func needsTest(of operand, op keytrailv1.Operator, values ...string) *expr {
	e, bad := newTest(of, op, values)
	if bad != nil {
		return nil
	}
	return e
}

func memberSteps(names []string) []step {
	steps := make([]step, len(names))
	for i, name := range names {
		steps[i] = step{kind: stepMember, name: name}
	}
	return steps
}
