package filter

import "testing"

func TestCELNeeds(t *testing.T) {
	for _, tt := range []struct{ expression, needs string }{
		{`eventName == "Decrypt" && userIdentity.accountId != recipientAccountId`, `event = Decrypt`},
		{`"Decrypt" == event && region in ["a", "b"] && requestParameters.limit > 7`, `event = Decrypt and region in (a, b)`},
		{`(eventName == "A" || eventName == "B") && requestParameters.limit > 7`, `event = A or event = B`},
		{`eventName == "A" || requestParameters.limit > 7`, ``},
		{`"arn:aws:kms:r:1:key/k" in key && "denied" in outcome`, `key = arn:aws:kms:r:1:key/k and outcome = denied`},
		{`"k" in key`, `key = k`},
		{`"odd:thing" in key`, ``}, // an ARN that is none is compared as an ID
		{`key.exists(k, k == "k" && k.endsWith("x"))`, `key = k`},
		{`key.exists(k, k.endsWith("x") && k == "k")`, `key = k`},
		{`key.exists(k, k.startsWith("arn:aws:kms:eu-"))`, `key ^= arn:aws:kms:eu-`},
		{`key.exists(k, k.startsWith("arn"))`, ``}, // ARNs as well, which the condition would not find
		{`key.exists(k, k == "a" || k in ["b", "c"])`, `key = a or key in (b, c)`},
		{`key.exists(k, k == "a" || k.endsWith("b"))`, ``},
		{`key.all(k, k == "k")`, ``},
		{`key.exists(k, eventName == "A")`, ``},
		{`principal.exists(p, p.contains(":role/ops"))`, `principal *= :role/ops`},
		{`resources.exists(r, r.ARN == "arn:x" && r.type == "t")`, `resources[].ARN = arn:x`},
		{`requestParameters.tags.exists(t, t.tagKey == "a")`, `requestParameters.tags[].tagKey = a`},
		{`requestParameters.context.exists(k, k == "a")`, ``}, // which may be the keys of a map
		{`"a" in requestParameters.context`, ``},
		{`requestParameters.encryptionContext["aws:s3:arn"].startsWith("arn:")`, `requestParameters.encryptionContext["aws:s3:arn"] ^= arn:`},
		{`record.userIdentity.arn.endsWith("/x")`, `userIdentity.arn $= /x`},
		{`readOnly && !crossAccount`, `readOnly = true and crossAccount = false`},
		{`readOnly == false && class == "read"`, `readOnly = false and class = read`},
		{`requestParameters.limit == 7`, ``}, // 7.0000000000000000001 is 7 in CEL
		{`eventName != "A"`, ``},
		{`!(eventName == "A")`, ``},
		{`eventName == "A" ? readOnly : false`, ``},
		{`eventName.startsWith("")`, ``},
	} {
		got := ""
		if needs := compileTestCEL(t, tt.expression).needs; needs != nil {
			got = needs.text()
		}
		if got != tt.needs {
			t.Errorf("%s\nneeds %s\nwant  %s", tt.expression, got, tt.needs)
		}
	}
}
