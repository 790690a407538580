package filter

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/checker"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	celop "cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	celparser "cel.dev/cel-go/parser"
)

// checkCEL parses an expression and checks its types.
func checkCEL(text string) (*ast.AST, error) {
	if err := (&scanner{text: text}).check(); err != nil {
		return nil, err
	}
	env := theCELEnv()
	source := common.NewTextSource(text)
	parsed, errs := env.parser.Parse(source)
	if bad := errs.GetErrors(); len(bad) > 0 {
		return nil, celErrorAt(text, bad[0].Location, syntaxMessage(bad[0].Message))
	}
	if countParts(parsed.Expr()) > maxCELParts {
		return nil, &Error{Message: fmt.Sprintf("has more than %d operators and calls; compare with a list, or use several conditions", maxCELParts), Text: text}
	}
	checked, errs := checker.Check(parsed, source, env.checker)
	if bad := errs.GetErrors(); len(bad) > 0 {
		message, location := env.typeMessage(text, checked, bad[0])
		return nil, celErrorAt(text, location, message)
	}
	root := checked.Expr()
	switch t := checked.GetType(root.ID()); t.Kind() {
	case types.BoolKind, types.DynKind:
	default:
		return nil, celErrorAt(text, common.NewLocation(1, 0),
			fmt.Sprintf("the expression is %s, not a condition; compare it with something", aType(typeName(t))))
	}
	return checked, nil
}

// countParts counts the parts of e whose types the checker works out, which takes
// it time in proportion to the square of their number.
func countParts(e ast.Expr) int {
	n := 0
	ast.PreOrderVisit(e, ast.NewExprVisitor(func(x ast.Expr) {
		switch x.Kind() {
		case ast.CallKind, ast.ListKind, ast.MapKind, ast.ComprehensionKind:
			n++
		}
	}))
	return n
}

// expandHas is the macro has. Besides has(a.b) it takes the name of a member of
// the record, has(errorCode), of which CEL by itself could not ask.
func expandHas(h celparser.ExprHelper, target ast.Expr, args []ast.Expr) (ast.Expr, *common.Error) {
	if args[0].Kind() == ast.IdentKind {
		return h.NewPresenceTest(h.NewIdent(recordVariable), args[0].AsIdent()), nil
	}
	return celparser.MakeHas(h, target, args)
}

// celErrorAt makes an error at a place in the text: a line from 1 and a column
// from 0, in characters.
func celErrorAt(text string, at common.Location, message string) *Error {
	offset := 0
	for range at.Line() - 1 {
		i := strings.IndexByte(text[offset:], '\n')
		if i < 0 {
			break
		}
		offset += i + 1
	}
	for range max(at.Column(), 0) {
		if offset == len(text) {
			break
		}
		_, n := utf8.DecodeRuneInString(text[offset:])
		offset += n
	}
	return &Error{Message: placeOf(text, offset) + ": " + message, Text: text, Offset: offset}
}

// syntaxMessage makes an error of the parser shorter.
func syntaxMessage(m string) string {
	m = strings.TrimPrefix(m, "Syntax error: ")
	m, _, _ = strings.Cut(m, " expecting {")
	m = strings.NewReplacer("'<EOF>'", "the end of the expression", "<EOF>", "the end").Replace(m)
	m = strings.Replace(m, "no viable alternative at input", "mismatched input", 1)
	switch {
	case strings.HasPrefix(m, "token recognition error at: "):
		m = "did not expect " + strings.TrimPrefix(m, "token recognition error at: ")
		if strings.HasPrefix(m, "did not expect '=") {
			m = "write == to compare"
		} else if strings.HasPrefix(m, "did not expect '\"") || strings.HasPrefix(m, "did not expect ''") {
			m = "the quotes that begin here are not closed"
		}
	case strings.Contains(m, "recursion limit exceeded"), strings.Contains(m, "recursion depth exceeded"):
		m = fmt.Sprintf("the expression is nested more than %d deep; write it flatter", maxCELDepth)
	case strings.HasPrefix(m, "mismatched input ") || strings.HasPrefix(m, "extraneous input "):
		_, what, _ := strings.Cut(m, " input ")
		what, expected, more := strings.Cut(what, " expecting ")
		if instead := connectors[strings.ToLower(strings.Trim(what, "'"))]; instead != "" {
			return fmt.Sprintf("write %s instead of %s", instead, strings.Trim(what, "'"))
		}
		if m = "did not expect " + what; more {
			m += "; expected " + expected
		}
	case strings.Contains(m, "invalid argument to has()"):
		m = "has takes a member, such as has(errorCode) or has(requestParameters.keyId)"
	}
	return m
}

// connectors are the words of the text form that CEL has signs for.
var connectors = map[string]string{"and": "&&", "or": "||", "not": "!"}

const noObjects = "an expression can't make objects of its own"

// typeMessage explains an error of the checker, and says where it is.
func (env *celEnv) typeMessage(text string, a *ast.AST, bad *common.Error) (string, common.Location) {
	e := findExpr(a.Expr(), bad.ExprID)
	switch {
	case e == nil:
	case strings.HasPrefix(bad.Message, "undeclared reference"):
		name, known, what := e.AsIdent(), env.names, "a record has no member "
		switch e.Kind() {
		case ast.CallKind:
			name, known, what = e.AsCall().FunctionName(), env.functions, "there is no function "
		case ast.StructKind:
			return noObjects, bad.Location
		}
		switch meant := didYouMean(name, known); {
		case meant != "":
			return what + name + meant, bad.Location
		case connectors[name] != "":
			return fmt.Sprintf("write %s instead of %s", connectors[name], name), bad.Location
		case e.Kind() == ast.IdentKind:
			return fmt.Sprintf("%s%s; put texts in quotes: %q", what, name, name), bad.Location
		}
		return what + name, bad.Location
	case strings.HasPrefix(bad.Message, "undefined field") && e.Kind() == ast.SelectKind:
		s := e.AsSelect()
		t := a.GetType(s.Operand().ID())
		message := fmt.Sprintf("the %s has no member %s", t.TypeName(), s.FieldName())
		if object := env.objects.lookup(t.TypeName()); object != nil {
			message += didYouMean(s.FieldName(), object.names)
		}
		at := bad.Location // of the point
		if !s.IsTestOnly() {
			at = common.NewLocation(at.Line(), at.Column()+1)
		}
		return message, at
	case strings.HasPrefix(bad.Message, "found no matching overload") && e.Kind() == ast.CallKind:
		return overloadMessage(a, e), bad.Location
	}
	m, _, _ := strings.Cut(bad.Message, " (in container")
	return m, bad.Location
}

// overloadMessage says that a function does not take its arguments.
func overloadMessage(a *ast.AST, e ast.Expr) string {
	call := e.AsCall()
	args := call.Args()
	if call.IsMemberFunction() {
		args = append([]ast.Expr{call.Target()}, args...)
	}
	var of []string
	for _, x := range args {
		of = append(of, shortened(typeName(a.GetType(x.ID()))))
	}
	name := call.FunctionName()
	if symbol, ok := celop.FindReverse(name); ok && symbol != "" {
		name = symbol
	}
	switch call.FunctionName() {
	case celop.Equals, celop.NotEquals:
		for i, x := range args {
			list, other := a.GetType(x.ID()), args[1-i]
			if list.Kind() != types.ListKind || !list.Parameters()[0].IsExactType(a.GetType(other.ID())) {
				continue
			}
			write := fmt.Sprintf("%s in %s", sketch(other), sketch(x))
			if call.FunctionName() == celop.NotEquals {
				write = "!(" + write + ")"
			}
			return fmt.Sprintf("%s is a list; write %s", sketch(x), write)
		}
		if mixed := strings.Join(of, " "); mixed == "double int" || mixed == "int double" {
			return fmt.Sprintf("%s does not take %s and %s; write 1.0 or double(x) for both to be double", name, of[0], of[1])
		}
		for i, x := range args {
			if of[1-i] != "null" || x.Kind() != ast.SelectKind && x.Kind() != ast.IdentKind {
				continue
			}
			write := "has(" + sketch(x) + ")"
			if call.FunctionName() == celop.Equals {
				write = "!" + write
			}
			return fmt.Sprintf("%s is never null; write %s", sketch(x), write)
		}
	case celop.Conditional:
		return fmt.Sprintf("?: takes a bool and two values of one type, and not %s", strings.Join(of, " and "))
	case celop.Index:
		name = "[]"
	}
	if len(of) == 1 {
		return fmt.Sprintf("%s does not take %s", name, aType(of[0]))
	}
	if mixed := strings.Join(of, " "); mixed == "timestamp string" || mixed == "string timestamp" {
		return fmt.Sprintf("%s does not take %s and %s; write timestamp(\"2026-01-31T00:00:00Z\") for a time", name, of[0], of[1])
	}
	return fmt.Sprintf("%s does not take %s", name, strings.Join(of, " and "))
}

// sketch is an expression as one would write it, if it is short.
func sketch(e ast.Expr) string {
	switch e.Kind() {
	case ast.IdentKind:
		return e.AsIdent()
	case ast.LiteralKind:
		if s, ok := e.AsLiteral().(types.String); ok && len(s) <= 64 {
			return fmt.Sprintf("%q", string(s))
		}
	case ast.SelectKind:
		if s := e.AsSelect(); s.Operand().Kind() == ast.IdentKind {
			return s.Operand().AsIdent() + "." + s.FieldName()
		}
	}
	return "…"
}

// typeName is a type as people call it.
func typeName(t *types.Type) string {
	switch t.Kind() {
	case types.TimestampKind:
		return "timestamp"
	case types.DurationKind:
		return "duration"
	case types.NullTypeKind:
		return "null"
	case types.DynKind:
		return "value of any type"
	}
	return t.String()
}

// aType is the name of a type with its article.
func aType(name string) string {
	if strings.HasPrefix(name, "int") || strings.HasPrefix(name, "object") {
		return "an " + name
	}
	return "a " + name
}

// findExpr returns the part of e with this number, or nil.
func findExpr(e ast.Expr, id int64) (found ast.Expr) {
	ast.PreOrderVisit(e, ast.NewExprVisitor(func(x ast.Expr) {
		if x.ID() == id && found == nil {
			found = x
		}
	}))
	return found
}
