package record

import "strings"

// IsKeyARN reports whether s is the ARN of a KMS key:
// arn:<partition>:kms:<region>:<account>:key/<id>, no part empty. An alias ARN
// is not one.
func IsKeyARN(s string) bool { return KeyID(s) != "" }

// KeyID returns the key ID of a key ARN, the part after "key/". It returns ""
// if arn is not a key ARN.
func KeyID(arn string) string {
	if id := usualKeyID(arn); id != "" {
		return id
	}
	rest, ok := strings.CutPrefix(arn, "arn:")
	if !ok {
		return ""
	}
	partition := strings.IndexByte(rest, ':')
	if partition <= 0 {
		return ""
	}
	rest, ok = strings.CutPrefix(rest[partition:], ":kms:")
	if !ok {
		return ""
	}
	region := strings.IndexByte(rest, ':')
	if region <= 0 {
		return ""
	}
	rest = rest[region+1:]
	account := strings.IndexByte(rest, ':')
	if account <= 0 {
		return ""
	}
	id, ok := strings.CutPrefix(rest[account:], ":key/")
	if !ok || strings.IndexByte(id, ':') >= 0 || strings.IndexByte(id, '/') >= 0 {
		return ""
	}
	return id
}

// usualKeyID is KeyID of nearly all key ARNs, those of AWS's main partition with
// an account of 12 digits and a key ID of 36 characters; "" of all others.
func usualKeyID(arn string) string {
	const prefix, account, resource = "arn:aws:kms:", len(":111122223333"), len(":key/")
	at := len(arn) - 36 - resource
	if at-account <= len(prefix) || arn[:len(prefix)] != prefix || arn[at-account] != ':' || arn[at:at+resource] != ":key/" {
		return ""
	}
	id := arn[at+resource:]
	// Three colons before the Region and two that were seen: there is none
	// where it should not be.
	if strings.Count(arn, ":") != 5 || strings.IndexByte(id, '/') >= 0 {
		return ""
	}
	return id
}

// keyARN is where the parts of a key ARN are.
type keyARN struct {
	arn             string
	region, account span
}

// parseKeyARN returns the parts of a key ARN. It is not ok if s is none.
func parseKeyARN(s string) (a keyARN, ok bool) {
	if !IsKeyARN(s) {
		return keyARN{}, false
	}
	partition := len("arn:")
	region := partition + strings.IndexByte(s[partition:], ':') + len(":kms:")
	account := region + strings.IndexByte(s[region:], ':') + 1
	resource := account + strings.IndexByte(s[account:], ':') + 1
	return keyARN{s, span{region, account - 1}, span{account, resource - 1}}, true
}

func (a keyARN) owner() string { return a.arn[a.account.start:a.account.end] }

// in is the ARN of the related multi-Region key in another Region.
func (a keyARN) in(region string) string {
	return a.arn[:a.region.start] + region + a.arn[a.region.end:]
}

// aliasARN is the ARN of an alias of the key, by its name "alias/…".
func (a keyARN) aliasARN(name string) string {
	return a.arn[:a.account.end+1] + name
}

// isAliasARN reports whether s is the ARN of an alias beside the key: of the
// same partition, Region and account.
func (a keyARN) isAliasARN(s string) bool {
	name, ok := strings.CutPrefix(s, a.arn[:a.account.end+1])
	return ok && isAliasName(name)
}

func isAliasName(s string) bool {
	const prefix = "alias/"
	return len(s) > len(prefix) && strings.HasPrefix(s, prefix) && strings.IndexByte(s, ':') < 0
}
