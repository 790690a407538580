package filter

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// canonicalTests are texts and how they are printed; "" is for those that are
// printed as they are.
var canonicalTests = []struct{ text, want string }{
	{`event in (Decrypt, GenerateDataKey*) and outcome = failure and not principal ~ "*/ops-*"`, ``},

	// White space and comments.
	{`event=Decrypt`, `event = Decrypt`},
	{"\n  event\t=\r\n  Decrypt # a comment", `event = Decrypt`},
	{"# a comment\nevent = Decrypt", `event = Decrypt`},
	{`userAgent*=y`, `userAgent *= y`},
	{`userAgent<=7`, `userAgent <= 7`},
	{`event in(Decrypt,Encrypt)`, `event in (Decrypt, Encrypt)`},
	{`resources[](ARN = x)`, `resources[] (ARN = x)`},

	// Equality and wildcards.
	{`event = Decrypt`, ``},
	{`event = "Decrypt"`, `event = Decrypt`},
	{`event in (Decrypt)`, `event = Decrypt`},
	{`event = (Decrypt, Encrypt)`, `event in (Decrypt, Encrypt)`},
	{`event in (Encrypt, Decrypt, Encrypt)`, ``},
	{`event != (Decrypt, Encrypt)`, `event not in (Decrypt, Encrypt)`},
	{`event not in (Decrypt, Encrypt)`, ``},
	{`event ~ Decrypt`, `event = Decrypt`},
	{`event ~ (Decrypt, "Gen*")`, `event in (Decrypt, Gen*)`},
	{`event !~ "Gen*"`, `event != Gen*`},
	{`event !~ "a b*"`, `not event ~ "a b*"`},
	{`event ~ "a b*"`, ``},
	{`event = *`, ``},
	{`event = "*"`, ``},
	{`event = "a*"`, ``},
	{`event in ("a*", b*, c, "d e", f*)`, `event = "a*" or event in (b*, c, "d e", f*)`},
	{`event not in ("a*", b*) and region = x`, `not (event = "a*" or event = b*) and region = x`},
	{`key = arn:aws:kms:*`, `key ~ "arn:aws:kms:*"`},
	{`key ~ ("arn:aws:kms:*", mrk-*, arn:aws:kms:x)`, ``},
	{`outcome ~ denied`, `outcome = denied`},

	// Other operators.
	{`userAgent ^= (aws, "a b", "c*")`, ``},
	{`not userAgent ^= aws`, ``},
	{`userAgent $= x and userAgent *= y`, ``},
	{`userAgent matches "^aws .*$"`, ``},
	{`userAgent matches (aws, "x+")`, `userAgent matches (aws, x+)`},
	{`not userAgent matches aws`, ``},
	{`sourceIP cidr (10.0.0.0/8, 2001:db8::/32)`, ``},
	{`requestParameters.numberOfBytes < 7 or requestParameters.numberOfBytes >= (64, 1e3)`, ``},
	{`exists userIdentity.invokedBy`, ``},
	{`not exists userIdentity.invokedBy`, ``},
	{`requestParameters is null`, ``},
	{`requestParameters is not null`, ``},
	{`not requestParameters is null`, `requestParameters is not null`},
	{`not requestParameters is not null`, `requestParameters is null`},

	// Joining.
	{`true`, ``},
	{`false`, ``},
	{`not true`, `false`},
	{`true and event = a`, `event = a`},
	{`false or event = a`, `event = a`},
	{`false and event = a`, ``},
	{`(event = a)`, `event = a`},
	{`((event = a and (event = b)))`, `event = a and event = b`},
	{`event = a and (event = b or event = c)`, ``},
	{`(event = a and event = b) or event = c`, `event = a and event = b or event = c`},
	{`event = a or (event = b or event = c)`, `event = a or event = b or event = c`},
	{`not (event = a and event = b)`, ``},
	{`not (event = a)`, `event != a`},
	{`not not event = a`, `event = a`},
	{`not event = a and event = b`, `event != a and event = b`},

	// Values.
	{`userIdentity.userName in ("and", "null", exists, "", "a b", true)`, ``},
	{`userIdentity.userName = "\u00e9\ud83d\ude00\u0007\u202e\"\\\/"`, `userIdentity.userName = "é😀\u0007\u202e\"\\/"`},
	{`userIdentity.userName = "\n\r\t\udb40\udc01\ud800"`, `userIdentity.userName = "\n\r\t\udb40\udc01�"`},
	{`userIdentity.userName = a_b-c.d:e/f+g@h%i`, ``},
	{`requestParameters.numberOfBytes in (32, 3.20e1)`, ``},

	// Fields.
	{`eventName = Decrypt`, `event = Decrypt`},
	{`recipientAccountId = 1 and awsRegion = x`, `account = 1 and region = x`},
	{`["eventName"] = a`, `event = a`},
	{`readOnly = true`, ``},
	{`["readOnly"] = true`, ``},
	{`boolean(readOnly) = true`, `boolean(["readOnly"]) = true`},
	{`["key"] = x`, ``},
	{`["event"] = x`, ``},
	{`["new-one"].x["a b"][].y = 1`, ``},
	{`event["foo"] = x`, `eventName["foo"] = x`},
	{`event[] = x`, `eventName[] = x`},
	{`userIdentity["new"] = x`, ``},
	{`userIdentity["arn"] = x`, `userIdentity.arn = x`},
	{`resources["ARN"] = x`, ``},
	{`resources[].arn = x`, ``},
	{`resources[]["new"].x = x`, ``},
	{`resources[ ].ARN = x`, `resources[].ARN = x`},
	{`requestParameters[ "keyId" ] = x`, `requestParameters.keyId = x`},
	{`requestParameters.encryptionContext["aws:s3:arn"] = x`, ``},
	{`requestParameters["\u0000\""] = x`, ``},
	{`string(requestParameters.keyId) = x`, ``},
	{`nocase( accountOf( principal ) ) = 1`, `nocase(accountOf(principal)) = 1`},
	{`accountOf(nocase(principal)) = 1`, `nocase(accountOf(principal)) = 1`},
	{`string(nocase(userAgent)) = x`, `nocase(string(userAgent)) = x`},
	{`number(requestParameters.numberOfBytes) >= 16`, ``},
	{`json(requestParameters.policy).Statement[].Principal["AWS"] = x`, `json(requestParameters.policy).Statement[].Principal.AWS = x`},
	{`exists json(requestParameters.policy)`, ``},
	{`json(json(json(json(userAgent).a)[].b).c).d = 1`, ``},
	{`json(readOnly) = x`, `json(["readOnly"]) = x`},

	// Elements.
	{`resources[] (ARN ^= arn and accountId = 1)`, ``},
	{`not resources[] (ARN = x)`, ``},
	{`resources[] (true)`, ``},
	{`resources[] (not (ARN = x or type = y))`, ``},
	{`resources[] (["ARN"] = x and ["new"].x = y)`, `resources[] (ARN = x and ["new"].x = y)`},
	{`requestParameters.operations[] ([] != Decrypt and exists [])`, ``},
	{`requestParameters.tags[] (json([]).x = 1 and json(tagValue)[] (["in"] = 1))`, ``},
	{`json(requestParameters.policy).Statement[] (Effect = Allow and Action[] (nocase([]) = "kms:*"))`, ``},
	{`json(requestParameters.policy).Statement[] (["exists"] = 1 and ["json"].x = 1 and ["a b"] = 2 and key = x)`, ``},

	{`cel("eventName == \"Decrypt\"")`, ``},
	{`not cel( "readOnly" ) and event = a`, `not cel("readOnly") and event = a`},
}

func TestCanonical(t *testing.T) {
	for _, tt := range canonicalTests {
		want := tt.want
		if want == "" {
			want = tt.text
		}
		f, err := Compile(&keytrailv1.Filter{Where: tt.text})
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		if want == "true" { // a filter that asks nothing
			want = ""
		}
		if got := f.String(); got != want {
			t.Errorf("%s\n prints as %s\n  want     %s", tt.text, got, want)
		}
		if e := reparse(t, f.root); e.text() != f.root.text() {
			t.Errorf("%s reads back as %s", f, e.text())
		}
	}
}

// faultyTexts are texts that do not compile, where the fault is, and what the
// error says.
var faultyTexts = []struct {
	text    string
	offset  int
	message string
}{
	{``, 0, `column 1: there is no condition; write one such as event = Decrypt, or leave it out`},
	{`   # nothing`, 0, `column 1: there is no condition; write one such as event = Decrypt, or leave it out`},
	{`event`, 5, `column 6: expected an operator such as = or in, but the text ends`},
	{`event =`, 7, `column 8: expected a value, but the text ends`},
	{`event = (`, 9, `column 10: expected a value, but the text ends`},
	{`event in ()`, 10, `column 11: expected a value; the list is empty`},
	{`event in Decrypt`, 9, `column 10: expected a list such as (Decrypt, Encrypt) after "in", got "Decrypt"`},
	{`event in (Decrypt`, 17, `column 18: expected ")" for the list that begins at column 10, but the text ends`},
	{`event in (Decrypt,`, 18, `column 19: expected a value, but the text ends`},
	{`event in (Decrypt, )`, 19, `column 20: expected a value, got ")"`},
	{`event in (Decrypt Encrypt)`, 18, `column 19: expected "," or ")", got "Encrypt"; put values with other characters than those of words in double quotes`},
	{`event == Decrypt`, 6, `column 7: there is no operator "=="; write "="`},
	{`event === Decrypt`, 6, `column 7: there is no operator "==="; write "="`},
	{`event =~ "^D"`, 6, `column 7: there is no operator "=~"; write "matches" for a regular expression, or "~" with "*" for any characters`},
	{`event ~= D`, 6, `column 7: there is no operator "~="; write "~"`},
	{`event <> Decrypt`, 6, `column 7: there is no operator "<>"; write "!="`},
	{`event : Decrypt`, 6, `column 7: there is no operator ":"; write "="`},
	{`event like "D*"`, 6, `column 7: there is no operator "like"; write "~", with "*" for any characters`},
	{`event LIKE "D*"`, 6, `column 7: there is no operator "LIKE"; write "~", with "*" for any characters`},
	{`userAgent contains x`, 10, `column 11: there is no operator "contains"; write "*="`},
	{`userAgent starts_with x`, 10, `column 11: there is no operator "starts_with"; write "^="`},
	{`userAgent endsWith x`, 10, `column 11: there is no operator "endsWith"; write "$="`},
	{`event IN (Decrypt)`, 6, `column 7: write "in" in small letters`},
	{`event NOT IN (Decrypt)`, 6, `column 7: write "not" in small letters`},
	{`event not like x`, 6, `column 7: only "in" can follow "not" here; write "not" before the field for the opposite of a condition`},
	{`event NOT = x`, 6, `column 7: write "not" in small letters`},
	{`event ! x`, 6, `column 7: expected an operator such as = or in, got "!"`},
	{`event is`, 8, `column 9: expected "null" after "is", but the text ends; compare values with "="`},
	{`event is not`, 12, `column 13: expected "null" after "is", but the text ends; compare values with "="`},
	{`event is Decrypt`, 9, `column 10: expected "null" after "is", got "Decrypt"; compare values with "="`},
	{`userIdentity.arn exists`, 17, `column 18: write "exists" before the field: exists userIdentity.arn`},
	{`exists`, 6, `column 7: expected a field, but the text ends`},
	{`exists(userIdentity.arn)`, 6, `column 7: write a field after exists, without parentheses: exists userIdentity.arn`},
	{`EXISTS userIdentity.arn`, 0, `column 1: write "exists" in small letters`},
	{`event = null`, 8, `column 9: null is no value; write "exists" or "not exists" before the field, or "is null" after it, or put null in double quotes if it is a text`},
	{`event = and`, 8, `column 9: expected a value, got "and"; put it in double quotes if it is one`},
	{`event = 'Decrypt'`, 8, `column 9: write values in straight double quotes, as "x"`},
	{`event = “Decrypt”`, 8, `column 9: write values in straight double quotes, as "x"`},
	{`userIdentity.userName = jo$hn`, 26, `column 27: no word can hold "$"; put the value in double quotes: "jo$hn"`},
	{`userIdentity.userName = J\u00fcrgen`, 25, `column 26: no word can hold "\\"; put the value in double quotes: "J\\u00fcrgen"`},
	{`userIdentity.userName = $x`, 24, `column 25: no word can hold "$"; put the value in double quotes: "$x"`},
	{`userIdentity.userName = a(b)`, 25, `column 26: no word can hold "("; put the value in double quotes`},
	{`userAgent matches ^aws`, 18, `column 19: no word can hold "^"; put the value in double quotes: "^aws"`},
	{`event = Decrypt#comment`, 15, `column 16: no word can hold "#"; put the value in double quotes: "Decrypt#comment"`},
	{`event in (a$b, c)`, 11, `column 12: no word can hold "$"; put the value in double quotes: "a$b"`},
	{`userAgent ^= aws*`, 13, `column 14: "*" is no wildcard after "^="; use "=" or "~", or put the value in double quotes if it has a "*" itself`},
	{`userAgent matches a.*`, 18, `column 19: "*" is no wildcard after "matches"; use "=" or "~", or put the value in double quotes if it has a "*" itself`},
	{`event = "Decrypt`, 8, `column 9: the quotes that begin here are not closed`},
	{`event = "a\qb"`, 10, `column 11: this escape is none of JSON's; for a single \ write \\`},
	{`event = "a\u12"`, 10, `column 11: this escape is none of JSON's; for a single \ write \\`},
	{`event = "a\u12zz"`, 10, `column 11: this escape is none of JSON's; for a single \ write \\`},
	{`event = "\`, 8, `column 9: the quotes that begin here are not closed`},
	{"event = \"a\nb\"", 10, `line 1, column 11: a quoted value ends on its line; write a line break in it as \n, or close the quotes`},
	{"event = \"a\tb\"", 10, `column 11: write this control character as \t`},
	{`event = Decrypt && outcome = failure`, 16, `column 17: write "and" instead of "&"`},
	{`event = Decrypt || outcome = failure`, 16, `column 17: write "or" instead of "|"`},
	{`event && outcome = failure`, 6, `column 7: there is no operator "&&"; write an operator and a value after the field, and "and" between conditions`},
	{`event = Decrypt AND outcome = failure`, 16, `column 17: write "and" in small letters`},
	{`event = Decrypt Or outcome = failure`, 16, `column 17: write "or" in small letters`},
	{`event = Decrypt, outcome = failure`, 15, `column 16: write "and" or "or" between conditions, not ","; put several values in parentheses: (Decrypt, Encrypt)`},
	{`event = Decrypt outcome = failure`, 16, `column 17: expected "and", "or" or the end, got "outcome"`},
	{`event = Decrypt and`, 19, `column 20: expected a condition, but the text ends`},
	{`event = Decrypt and or`, 20, `column 21: expected a field, got "or"`},
	{`event = Decrypt and )`, 20, `column 21: expected a condition such as event = Decrypt, got ")"`},
	{`event = Decrypt)`, 15, `column 16: there is no "(" for this ")"`},
	{`(event = Decrypt`, 16, `column 17: expected ")" for the "(" at column 1, but the text ends`},
	{`(event = Decrypt,`, 16, `column 17: write "and" or "or" between conditions, not ","; put several values in parentheses: (Decrypt, Encrypt)`},
	{`()`, 1, `column 2: expected a condition between the parentheses`},
	{`(`, 1, `column 2: expected a condition, but the text ends`},
	{`)`, 0, `column 1: expected a condition such as event = Decrypt, got ")"`},
	{`!event`, 0, `column 1: write "not" instead of "!"`},
	{`!= Decrypt`, 0, `column 1: expected a field before "!="`},
	{`! (event = Decrypt)`, 0, `column 1: write "not" instead of "!"`},
	{`NOT event = Decrypt`, 0, `column 1: write "not" in small letters`},
	{`not`, 3, `column 4: expected a condition, but the text ends`},
	{`and event = x`, 0, `column 1: expected a field, got "and"`},
	{`= Decrypt`, 0, `column 1: expected a condition such as event = Decrypt, got "="`},
	{`"Decrypt" = event`, 0, `column 1: expected a field, got "Decrypt"; names of fields have no quotes around them`},
	{`[] = x`, 0, `column 1: expected a field, got "["`},
	{`[event] = x`, 1, `column 2: write names in double quotes, as ["event"]`},
	{`["event = x`, 1, `column 2: the quotes that begin here are not closed`},
	{`["event" = x`, 9, `column 10: expected "]" after the name, got "="`},
	{`['event'] = x`, 1, `column 2: write names in double quotes, as ["name"]`},
	{`event. = x`, 6, `column 7: expected a name after ".", got the character ' '`},
	{`event."x" = x`, 5, `column 6: write names in quotes as ["name"], without "." before them`},
	{`event.x = y`, 6, `column 7: there is no field "event.x"; put the name in brackets and quotes, as ["name"], if this version does not know it`},
	{`outcome.x = y`, 0, `column 1: outcome is no member of a record, and has none itself; it can only stand alone`},
	{`outcome[] = y`, 0, `column 1: outcome is no member of a record, and has none itself; it can only stand alone`},
	{`key[0] = x`, 3, `column 4: write [] for any element of a list; single ones cannot be chosen`},
	{`json(outcome).x = y`, 5, `column 6: outcome is no member of a record, and has none itself; it can only stand alone`},
	{`string(key) = x`, 0, `column 1: key is no member of a record, and has no JSON type; leave the function out`},
	{`accountOf(outcome) = x`, 0, `column 1: accountOf is for fields that hold ARNs, and outcome holds none`},
	{`accountOf(string(userIdentity.arn)) = x`, 0, `column 1: accountOf looks at strings alone; leave the other function out`},
	{`nocase(nocase(userAgent)) = x`, 7, `column 8: there is another function of this kind around nocase; leave one out`},
	{`string(number(userAgent)) = x`, 7, `column 8: there is another function of this kind around number; leave one out`},
	{`lower(userAgent) = x`, 0, `column 1: there is no function "lower"`},
	{`nocas(userAgent) = x`, 0, `column 1: there is no function "nocas"; did you mean nocase?`},
	{`cel = x`, 4, `column 5: expected an expression after cel, as in cel("eventName == 'Decrypt'"), got "="`},
	{`cel(eventName)`, 4, `column 5: expected a CEL expression in double quotes, got "eventName"`},
	{`cel("eventName ==")`, 4, `column 5: in the CEL expression: column 13: did not expect the end of the expression`},
	{`cel("true"`, 10, `column 11: expected ")" for the "(" at column 4, but the text ends`},
	{`nocase(cel("true")) = x`, 7, `column 8: cel("…") is a condition of its own, and no field`},
	{`resources[] (cel("true"))`, 13, `column 14: a CEL expression is about the whole record; write it outside the parentheses of an element`},
	{`nocase(userAgent = x`, 17, `column 18: expected ")" for the "(" at column 7, got "="`},
	{`nocase() = x`, 7, `column 8: expected a field, got ")"`},
	{`json(requestParameters.policy.x = 1`, 32, `column 33: expected ")" for the "(" at column 5, got "="`},
	{`json(json(json(json(json(userAgent).a).a).a).a).a = 1`, 20, `column 21: a path opens at most 4 documents within each other`},
	{`resources[0].ARN = x`, 9, `column 10: write [] for any element of a list; single ones cannot be chosen`},
	{`resources[*].ARN = x`, 9, `column 10: write [] for any element of a list; single ones cannot be chosen`},
	{`resources[x].ARN = x`, 10, `column 11: write names in double quotes, as ["x"]`},
	{`resources["ARN].x = x`, 10, `column 11: the quotes that begin here are not closed`},
	{`resources (ARN = x)`, 0, `column 1: conditions on one element need a list; write it as a path that ends in [], such as resources[]`},
	{`resources[].ARN (x = y)`, 0, `column 1: conditions on one element need a list; write it as a path that ends in [], such as resources[]`},
	{`outcome (x = y)`, 0, `column 1: conditions on one element need a list; write it as a path that ends in [], such as resources[]`},
	{`resources[] ()`, 13, `column 14: expected a condition between the parentheses`},
	{`resources[] (ARN = x`, 20, `column 21: expected ")" for the "(" at column 13, but the text ends`},
	{`resources[] (arm = x)`, 13, `column 14: the elements have no "arm": did you mean ARN?`},
	{`resources[] (.ARN = x)`, 13, `column 14: write members of the element without "." before them, and the element itself as []`},
	{`resources[] (userIdentity.arn = x)`, 13, `column 14: the elements have no "userIdentity.arn"; fields in these parentheses are members of the element`},
	{`resources.ARN = x`, 10, `column 11: there is no field "resources.ARN": did you mean resources[].ARN?`},
	{`userIdentity.arm = x`, 13, `column 14: there is no field "userIdentity.arm": did you mean userIdentity.arn?`},
	{`useridentity.arn = x`, 0, `column 1: there is no field "useridentity.arn": did you mean userIdentity.arn?`},
	{`arn = x`, 0, `column 1: there is no field "arn": did you mean userIdentity.arn or resources[].ARN?`},
	{`keyId = x`, 0, `column 1: there is no field "keyId": did you mean requestParameters.keyId or responseElements.keyId?`},
	{`Decrypt`, 0, `column 1: there is no field "Decrypt"; write event = Decrypt, or event in (…) for several operations`},
	{`event = Decrypt or Encrypt`, 19, `column 20: there is no field "Encrypt"; write event = Encrypt, or event in (…) for several operations`},
	{`event = Decrypt, Encrypt`, 15, `column 16: write "and" or "or" between conditions, not ","; put several values in parentheses: (Decrypt, Encrypt)`},
	{`requestParameters.encryptionContext[aws:s3:arn] = x`, 36, `column 37: write names in double quotes, as ["aws:s3:arn"]`},
	{`requestParameters.encryptionContext[=] = x`, 36, `column 37: expected "]" or a name in double quotes, got "="`},
	{`requestParameters.encryptionContext.aws:s3:arn = x`, 39, `column 40: there is no operator ":"; write "=", or put a name that holds it in brackets and quotes, as in ["aws:s3:arn"]`},
	{`event:Decrypt`, 5, `column 6: there is no operator ":"; write "=", or put a name that holds it in brackets and quotes, as in ["aws:s3:arn"]`},
	{`event = a"b"`, 9, `column 10: no word can hold "\""; put the value in double quotes`},
	{`eventTime > 2026-01-31T00:00:00Z`, 12, `column 13: "2026-01-31T00:00:00Z" is not a number; to compare times, write cel("eventTime > timestamp('2026-01-31T00:00:00Z')")`},
	{`foo = x`, 0, `column 1: there is no field "foo"; put the name in brackets and quotes, as ["name"], if this version does not know it`},
	{`detail.eventName = x`, 0, `column 1: there is no field "detail.eventName": did you mean eventName?`},
	{`$.eventName = x`, 0, `column 1: write fields without "$.": eventName`},
	{`{"detail": {}}`, 0, `column 1: this looks like JSON; EventBridge patterns and CloudTrail selectors have fields and flags of their own`},
	{`cel and event = x`, 4, `column 5: expected an expression after cel, as in cel("eventName == 'Decrypt'"), got "and"`},
	{`[{"Field": "eventName"}]`, 0, `column 1: this looks like JSON; EventBridge patterns and CloudTrail selectors have fields and flags of their own`},
	{`outcome = sucess`, 10, `column 11: "sucess" is no value of this field; use one of success, failure, denied; did you mean success?`},
	{`outcome = denied*`, 10, `column 11: "denied*" is no value of this field; use one of success, failure, denied; did you mean denied?`},
	{`outcome ^= suc`, 0, `column 1: this field has few values; compare it with = or in`},
	{`crossAccount = yes`, 15, `column 16: "yes" is no value of this field; use one of true, false`},
	{`class < 5`, 0, `column 1: only numbers have an order; this field is none`},
	{`outcome in (success, "")`, 21, `column 22: the value is empty; give a value, or leave it out`},
	{`sourceIP cidr 10.0.0/8`, 14, `column 15: "10.0.0/8" is no CIDR block; write one such as 10.0.0.0/8 or 2001:db8::/32, or an address`},
	{`sourceIP cidr (10.0.0.0/8, x)`, 27, `column 28: "x" is no CIDR block; write one such as 10.0.0.0/8 or 2001:db8::/32, or an address`},
	{`userAgent matches "a(b"`, 18, `column 19: the regular expression is faulty: missing closing ): "a(b"`},
	{`userAgent matches ("a", "x{1000}{1000}")`, 24, `column 25: the regular expression is faulty: invalid nested repetition operator: "{1000}{1000}"`},
	{`requestParameters.numberOfBytes < x`, 34, `column 35: "x" is not a number; write one such as 7 or 0.5`},
	{`requestParameters.numberOfBytes < (7, 0x8)`, 38, `column 39: "0x8" is not a number; write one such as 7 or 0.5`},
	{`key = key/1234`, 6, `column 7: "key/1234" is neither a key ID nor an ARN; leave out "key/"`},
	{`userAgent ^= ""`, 13, `column 14: the value is empty; give a value, or leave it out`},
	{`nocase(userAgent) < 5`, 0, `column 1: only numbers have an order; this field is none`},
	{`exists nocase(userAgent)`, 7, `column 8: ask this of the field itself, without a function around it`},
	{`string(userAgent) is null`, 0, `column 1: ask this of the field itself, without a function around it`},
	{"event = Decrypt and\n  outcome = sucess", 32, `line 2, column 13: "sucess" is no value of this field; use one of success, failure, denied; did you mean success?`},
	{"event = Decrypt and (\n  outcome = denied\n\n", 42, `line 4, column 1: expected ")" for the "(" at line 1, column 21, but the text ends`},
	{`userIdentity.userName = "é" xor event = x`, 29, `column 29: expected "and", "or" or the end, got "xor"`},
}

func TestFaultyText(t *testing.T) {
	for _, tt := range faultyTexts {
		_, err := parseText(tt.text)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%q: error %v", tt.text, err)
			continue
		}
		if e.Text != tt.text || e.Offset != tt.offset || e.Message != tt.message {
			t.Errorf("%q: error at %d: %s\nwant one at %d: %s", tt.text, e.Offset, e.Message, tt.offset, tt.message)
		}
	}
}

// TestTextErrorIsOfItsField proves that what Compile returns says where the text
// came from.
func TestTextErrorIsOfItsField(t *testing.T) {
	condition := func(c *keytrailv1.Condition) *keytrailv1.Filter {
		return include(&pbSelector{EventNames: []string{"Sign"}, Conditions: []*keytrailv1.Condition{c}})
	}
	const arn, equals = "userIdentity.arn", keytrailv1.Operator_OPERATOR_EQUALS
	for _, tt := range []struct {
		name   string
		filter *keytrailv1.Filter
		want   Error
	}{
		{"where", &keytrailv1.Filter{Where: "event =\nDecrypt)"}, Error{Field: "filter.where", Text: "event =\nDecrypt)", Offset: 15}},
		{"field", condition(&keytrailv1.Condition{Field: "userIdentity.arm", Operator: equals, Values: []string{"x"}}),
			Error{Field: "filter.include[0].conditions[0].field", Text: "userIdentity.arm", Offset: 13}},
		{"field and more", condition(&keytrailv1.Condition{Field: arn + " = x", Operator: equals, Values: []string{"x"}}),
			Error{Field: "filter.include[0].conditions[0].field", Text: arn + " = x", Offset: 17}},
		{"no field", condition(&keytrailv1.Condition{Operator: equals, Values: []string{"x"}}), Error{Field: "filter.include[0].conditions[0].field"}},
		{"no operator", condition(&keytrailv1.Condition{Field: arn, Values: []string{"x"}}), Error{Field: "filter.include[0].conditions[0]"}},
		{"no values", condition(&keytrailv1.Condition{Field: arn, Operator: equals}), Error{Field: "filter.include[0].conditions[0]"}},
		{"bad value", condition(&keytrailv1.Condition{Field: arn, Operator: keytrailv1.Operator_OPERATOR_MATCHES, Values: []string{"a", "("}}),
			Error{Field: "filter.include[0].conditions[0].values[1]"}},
		{"not UTF-8", condition(&keytrailv1.Condition{Field: arn, Operator: equals, Values: []string{"\xff"}}),
			Error{Field: "filter.include[0].conditions[0].values[0]"}},
		{"element of no list", condition(&keytrailv1.Condition{Field: arn, Operator: keytrailv1.Operator_OPERATOR_HAS_ELEMENT,
			Element: []*keytrailv1.Condition{{Field: "x", Operator: equals, Values: []string{"x"}}}}),
			Error{Field: "filter.include[0].conditions[0].field"}},
		{"in an element", condition(&keytrailv1.Condition{Field: "resources[]", Operator: keytrailv1.Operator_OPERATOR_HAS_ELEMENT,
			Element: []*keytrailv1.Condition{{Field: "a b", Operator: equals, Values: []string{"x"}}}}),
			Error{Field: "filter.include[0].conditions[0].element[0].field", Text: "a b", Offset: 2}},
		{"text not UTF-8", &keytrailv1.Filter{Where: "event = \"é\xff\""}, Error{Field: "filter.where", Text: "event = \"é\xff\"", Offset: 11}},
	} {
		_, err := Compile(tt.filter)
		var e *Error
		if !errors.As(err, &e) || e.Field != tt.want.Field || e.Text != tt.want.Text || e.Offset != tt.want.Offset || e.Message == "" {
			t.Errorf("%s: error %#v, want %#v", tt.name, err, tt.want)
		}
	}
}

func TestTextLimits(t *testing.T) {
	nested := func(open, close string, n int) string {
		return strings.Repeat(open, n) + "event = x" + strings.Repeat(close, n)
	}
	list := func(n int) string { return "event in (x" + strings.Repeat(", x", n-1) + ")" }
	for _, tt := range []struct {
		name, text string
		fine       bool
	}{
		{"deepest parentheses", nested("(", ")", MaxDepth), true},
		{"too deep parentheses", nested("(", ")", MaxDepth+1), false},
		{"as deep as can be", nested("(", ")", MaxBytes/3), false},
		{"deepest nots", nested("not ", "", MaxDepth), true},
		{"too deep nots", nested("not ", "", MaxDepth+1), false},
		{"deepest mixture", nested("not (region = x or ", ")", MaxDepth/2), true},
		{"too deep a mixture", nested("not (region = x or ", ")", MaxDepth/2+1), false},
		{"most values", list(MaxValues), true},
		{"too many values", list(MaxValues + 1), false},
		{"most conditions", "exists event" + strings.Repeat(" or exists event", MaxValues-1), true},
		{"too many conditions", "exists event" + strings.Repeat(" or exists event", MaxValues), false},
		{"longest value", "event = " + strings.Repeat("x", MaxValueBytes), true},
		{"too long a value", "event = " + strings.Repeat("x", MaxValueBytes+1), false},
		{"most steps", "requestParameters" + strings.Repeat(".x", maxSteps-1) + " = x", true},
		{"too many steps", "requestParameters" + strings.Repeat(".x", maxSteps) + " = x", false},
		{"too long", "event = x #" + strings.Repeat("x", MaxBytes), false},
		{"a long name", strings.Repeat("x", MaxBytes-100) + " = x", false},
	} {
		f, err := Compile(&keytrailv1.Filter{Where: tt.text})
		var e *Error
		switch {
		case tt.fine && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.fine:
			reparse(t, f.root)
		case !errors.As(err, &e) || len(e.Message) > 300:
			t.Errorf("%s: error %v, want one that is short", tt.name, err)
		}
	}
}

// FuzzParse: no text makes the parser panic, each error points into the text,
// and what compiles is printed so that it reads back.
func FuzzParse(f *testing.F) {
	for _, tt := range canonicalTests {
		f.Add(tt.text)
	}
	for _, tt := range faultyTexts {
		f.Add(tt.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := parseText(text)
		if err != nil {
			var at *Error
			if !errors.As(err, &at) || at.Text != text || at.Offset < 0 || at.Offset > len(text) {
				t.Fatalf("error %#v", err)
			}
			if !strings.HasPrefix(at.Message, placeOf(text, at.Offset)+": ") {
				t.Errorf("error does not say the place: %s", at.Message)
			}
			return
		}
		if checkLimits(e) != nil {
			return
		}
		reparse(t, e)
		e.warnings()
	})
}

func ExampleFilter_String() {
	f, err := Compile(&keytrailv1.Filter{
		Include: []*keytrailv1.Selector{{EventNames: []string{"Decrypt", "GenerateDataKey*"}}},
		Exclude: []*keytrailv1.Selector{{Conditions: []*keytrailv1.Condition{
			{Field: "userIdentity.invokedBy", Operator: keytrailv1.Operator_OPERATOR_EXISTS},
		}}},
		Where: `outcome=failure && true`,
	})
	fmt.Println(f, err)
	f, err = Compile(&keytrailv1.Filter{
		Include: []*keytrailv1.Selector{{EventNames: []string{"Decrypt", "GenerateDataKey*"}}},
		Exclude: []*keytrailv1.Selector{{Conditions: []*keytrailv1.Condition{
			{Field: "userIdentity.invokedBy", Operator: keytrailv1.Operator_OPERATOR_EXISTS},
		}}},
		Where: `outcome=failure`,
	})
	fmt.Println(f, err)
	// Output:
	// <nil> filter.where: column 17: write "and" instead of "&"
	// event in (Decrypt, GenerateDataKey*) and not exists userIdentity.invokedBy and outcome = failure <nil>
}
