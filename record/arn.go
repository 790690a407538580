package record

import "strings"

// IsKeyARN reports whether s is the ARN of a KMS key:
// arn:<partition>:kms:<region>:<account>:key/<id>, no part empty. An alias ARN
// is not one.
func IsKeyARN(s string) bool { return KeyID(s) != "" }

// KeyID returns the key ID of a key ARN, the part after "key/". It returns ""
// if arn is not a key ARN.
func KeyID(arn string) string {
	rest, ok := strings.CutPrefix(arn, "arn:")
	if !ok {
		return ""
	}
	partition, rest, _ := strings.Cut(rest, ":")
	service, rest, _ := strings.Cut(rest, ":")
	region, rest, _ := strings.Cut(rest, ":")
	account, resource, _ := strings.Cut(rest, ":")
	id, ok := strings.CutPrefix(resource, "key/")
	if !ok || service != "kms" || partition == "" || region == "" || account == "" {
		return ""
	}
	if strings.IndexByte(id, ':') >= 0 || strings.IndexByte(id, '/') >= 0 {
		return ""
	}
	return id
}
