package kmshttp

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

// keys returns the keys of a call that the KMS resolved, in CloudTrail's order.
func (c *call) keys(ctx context.Context, response members, region, account string) []*keytrailv1.CallKey {
	one := func(candidates ...string) []*keytrailv1.CallKey {
		if arn := c.arn(ctx, region, account, candidates...); arn != "" {
			return []*keytrailv1.CallKey{{Arn: new(arn)}}
		}
		return nil
	}
	requested, _ := c.params.text("KeyId")
	answered, _ := response.text("KeyId")
	switch c.operation {
	case "ReEncrypt":
		from, _ := response.text("SourceKeyId")
		fromRequested, _ := c.params.text("SourceKeyId")
		toRequested, _ := c.params.text("DestinationKeyId")
		return append(one(from, fromRequested), one(answered, toRequested)...)
	case "CreateAlias", "UpdateAlias":
		target, _ := c.params.text("TargetKeyId")
		keys := one(target)
		c.addAlias(keys)
		return keys
	case "DeleteAlias":
		if c.before == nil {
			return nil
		}
		return []*keytrailv1.CallKey{c.before}
	case "ReplicateKey":
		// The answer describes the replica; the key of the call is the primary.
		replica := response.object("ReplicaKeyMetadata")
		primary, _ := replica.object("MultiRegionConfiguration").object("PrimaryKey").text("Arn")
		return one(primary, requested)
	default:
		described, _ := response.object("KeyMetadata").text("Arn")
		return one(described, answered, requested)
	}
}

// resolveBefore resolves what the call is about to remove.
func (c *call) resolveBefore(ctx context.Context) {
	name, _ := c.params.text("AliasName")
	if c.operation != "DeleteAlias" || name == "" || c.h.cfg.Resolve == nil {
		return
	}
	// No Region can be proven yet: a wrong one finds no key.
	region := c.region(c.verified)
	if arn := c.resolve(ctx, region, name); arn != "" {
		c.before = &keytrailv1.CallKey{Arn: new(arn)}
		c.addAlias([]*keytrailv1.CallKey{c.before})
	}
}

// addAlias gives the key the alias that the request names. An alias lives where
// its key does.
func (c *call) addAlias(keys []*keytrailv1.CallKey) {
	name, _ := c.params.text("AliasName")
	if len(keys) == 0 || name == "" {
		return
	}
	arn := keys[0].GetArn()
	place := strings.TrimSuffix(arn, "key/"+record.KeyID(arn))
	name = strings.TrimPrefix(name, place)
	if alias, ok := strings.CutPrefix(name, "alias/"); !ok || alias == "" || strings.Contains(alias, ":") || len(place+name) > maxARN {
		return // no alias of that key: a record could not have it
	}
	keys[0].AliasArn = new(place + name)
}

// maxARN is the most bytes of an ARN that a record can have.
const maxARN = 2048

// isKeyARN says whether s is the ARN of a key that a record can have.
func isKeyARN(s string) bool {
	return record.IsKeyARN(s) && len(s) <= maxARN && isRegion(regionOf(s)) && isAccount(strings.Split(s, ":")[4])
}

// arn returns the first of the candidates that is a key ARN, else what the
// first one that is there resolves to, or "".
func (c *call) arn(ctx context.Context, region, account string, candidates ...string) string {
	candidates = slices.DeleteFunc(candidates, func(s string) bool { return s == "" })
	if i := slices.IndexFunc(candidates, isKeyARN); i >= 0 {
		return candidates[i]
	}
	if len(candidates) == 0 {
		return ""
	}
	if c.h.cfg.Resolve != nil {
		if arn := c.resolve(ctx, region, candidates[0]); arn != "" {
			return arn
		}
	}
	account = cmp.Or(account, c.h.cfg.Account)
	i := slices.IndexFunc(candidates, isKeyID)
	if i < 0 || account == "" || region == "" {
		return ""
	}
	return fmt.Sprintf("arn:%s:kms:%s:%s:key/%s", partitionOf(region), region, account, candidates[i])
}

// resolve asks Config.Resolve.
func (c *call) resolve(ctx context.Context, region, keyID string) string {
	arn, err := c.h.cfg.Resolve(ctx, region, keyID)
	if err == nil && isKeyARN(arn) {
		return arn
	}
	// The error may repeat what the request holds: its type says enough.
	c.h.cfg.Logger.WarnContext(ctx, "kmshttp: a key cannot be resolved", "operation", c.operation, "error_type", fmt.Sprintf("%T", err))
	return ""
}

// isKeyID says whether s looks like the ID of a key: letters, digits, dashes.
func isKeyID(s string) bool {
	for i := range len(s) {
		if c := s[i]; c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return s != "" && len(s) <= 256
}

// partitionOf is the partition that a Region is in.
func partitionOf(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	default:
		return "aws"
	}
}

// regionOf is the Region in a key ARN.
func regionOf(arn string) string { return strings.Split(arn, ":")[3] }
