package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/keytrail/keytrail/client/kmshttp"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// maxIdentitiesBytes bounds the file of identities.
const maxIdentitiesBytes = 16 << 20

// identityTypes are those that CloudTrail has for whoever holds an access key.
var identityTypes = []string{
	"Root", "IAMUser", "AssumedRole", "Role", "FederatedUser", "Directory", "AWSAccount",
	"AWSService", "IdentityCenterUser", "SAMLUser", "WebIdentityUser", "Unknown",
}

// identities says by access key ID who calls.
type identities map[string]kmshttp.Identity

// withSecret is how many of them the proxy can verify itself.
func (ids identities) withSecret() int {
	n := 0
	for _, id := range ids {
		if id.Secret != "" {
			n++
		}
	}
	return n
}

// readIdentities reads the file of --identities. No error repeats a value of it.
func readIdentities(path string) (identities, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxIdentitiesBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxIdentitiesBytes {
		return nil, fmt.Errorf("%s: it is over %d bytes", path, maxIdentitiesBytes)
	}
	ids, err := parseIdentities(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if ids.withSecret() > 0 && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s holds secrets, and its mode %#o lets others at them: chmod 600 %s", path, info.Mode().Perm(), path)
	}
	return ids, nil
}

var yamlLine = regexp.MustCompile(`\bline \d+`)

// parseIdentities reads a YAML mapping of access key IDs to identities, and
// says all that is wrong with it.
func parseIdentities(data []byte) (identities, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		// The parser's own words may repeat a secret.
		if line := yamlLine.FindString(err.Error()); line != "" {
			return nil, fmt.Errorf("%s: not YAML", line)
		}
		return nil, errors.New("not YAML")
	}
	if len(doc.Content) == 0 {
		return nil, errors.New("it names no access key")
	}
	ids := make(identities)
	err := eachMember(doc.Content[0], "access key IDs to identities", func(key, value *yaml.Node) error {
		if !isAccessKey(key.Value) {
			return fmt.Errorf("line %d: no access key has such an ID: letters, digits, '.' and '_', at most 128", key.Line)
		}
		id, err := readIdentity(key.Value, value)
		ids[key.Value] = id
		return err
	})
	if err == nil && len(ids) == 0 {
		err = errors.New("it names no access key")
	}
	return ids, err
}

// isAccessKey says whether s can be the ID of an access key in a signature.
func isAccessKey(s string) bool {
	return s != "" && len(s) <= 128 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '.' && r != '_'
	})
}

// readIdentity reads what belongs to one access key.
func readIdentity(accessKey string, n *yaml.Node) (id kmshttp.Identity, err error) {
	var user *yaml.Node
	err = eachMember(n, "identity and secret to their values", func(key, value *yaml.Node) error {
		switch key.Value {
		case "identity":
			user = value
			return nil
		case "secret":
			if value.Kind != yaml.ScalarNode || value.ShortTag() == "!!null" || value.Value == "" {
				return fmt.Errorf("line %d: secret is not a text: give one, or leave it out", value.Line)
			}
			id.Secret = value.Value
			return nil
		}
		return fmt.Errorf("line %d: unknown member%s: an access key has identity and secret", key.Line, named(key))
	})
	if err != nil {
		return id, err
	}
	if user == nil {
		return id, fmt.Errorf("line %d: there is no identity", n.Line)
	}
	id.User, err = readUser(accessKey, user)
	return id, err
}

// readUser reads a userIdentity, as CloudTrail spells it, and checks that
// records can be made with it.
func readUser(accessKey string, n *yaml.Node) (*keytrailv1.UserIdentity, error) {
	object, err := toJSON(n)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(map[string]any{"userIdentity": object})
	if err != nil {
		return nil, fmt.Errorf("line %d: the identity cannot be read", n.Line)
	}
	rec, err := record.FromJSON(text)
	if err != nil {
		return nil, fmt.Errorf("line %d: the identity cannot be read", n.Line)
	}
	u := rec.GetUserIdentity()
	if err := refuseUnknown(u, n); err != nil {
		return nil, err
	}
	switch {
	case !slices.Contains(identityTypes, u.GetType()):
		return nil, fmt.Errorf("line %d: type is missing or unknown: it is one of %s", lineOf(n, "type"), strings.Join(identityTypes, ", "))
	case u.AccessKeyId != nil && u.GetAccessKeyId() != accessKey:
		return nil, fmt.Errorf("line %d: accessKeyId is not the access key that the identity belongs to: leave it out", lineOf(n, "accessKeyId"))
	}
	// A call with this caller is tried, so that the bus will not refuse each of them.
	recorder, err := record.NewRecorder(record.RecorderConfig{})
	if err != nil {
		return nil, err
	}
	_, problem := recorder.Record(&keytrailv1.Call{
		CallId: new("try"), Operation: new("GenerateRandom"), Region: new("us-east-1"), AccountId: new("000000000000"),
		Time: timestamppb.Now(), Caller: u,
	})
	if problem != nil {
		field := strings.TrimPrefix(problem.Field, "call.caller.")
		line := n.Line
		if field == "account_id" {
			field, line = "accountId", lineOf(n, "accountId")
		}
		return nil, fmt.Errorf("line %d: %s %s", line, field, problem.Message)
	}
	return u, nil
}

// refuseUnknown refuses members that no record would have. The fields keep them
// as verbatim JSON, and the allow-list drops them from objects.
func refuseUnknown(u *keytrailv1.UserIdentity, n *yaml.Node) error {
	session := memberOf(n, "sessionContext")
	s := u.GetSessionContext()
	var errs []error
	for _, part := range []struct {
		verbatim []byte
		in       *yaml.Node
	}{
		{u.GetVerbatim(), n},
		{s.GetVerbatim(), session},
		{s.GetAttributes().GetVerbatim(), memberOf(session, "attributes")},
		{s.GetSessionIssuer().GetVerbatim(), memberOf(session, "sessionIssuer")},
	} {
		if len(part.verbatim) == 0 {
			continue
		}
		var names map[string]json.RawMessage
		if err := json.Unmarshal(part.verbatim, &names); err != nil {
			return fmt.Errorf("line %d: the identity cannot be read", n.Line)
		}
		for i := 0; i < len(part.in.Content); i += 2 {
			key := part.in.Content[i]
			if _, unknown := names[key.Value]; unknown {
				errs = append(errs, fmt.Errorf("line %d: CloudTrail has no member%s there, or it is of another kind", key.Line, named(key)))
			}
		}
	}
	kept := record.Redact(&keytrailv1.Call{Caller: u}).GetCaller()
	for _, part := range []struct {
		name       string
		have, kept []byte
		in         *yaml.Node
	}{
		{"onBehalfOf", u.GetOnBehalfOf(), kept.GetOnBehalfOf(), n},
		{"inScopeOf", u.GetInScopeOf(), kept.GetInScopeOf(), n},
		{"webIdFederationData", s.GetWebIdFederationData(), kept.GetSessionContext().GetWebIdFederationData(), session},
	} {
		if string(part.have) != string(part.kept) && !(len(part.kept) == 0 && string(part.have) == "{}") {
			errs = append(errs, fmt.Errorf("line %d: CloudTrail has no such members in %s, or it is of another kind", lineOf(part.in, part.name), part.name))
		}
	}
	return errors.Join(errs...)
}

// toJSON is a mapping of texts, and of mappings of them. All of an identity is
// text, also what YAML takes for a number, a time or a truth.
func toJSON(n *yaml.Node) (any, error) {
	if n.Kind == yaml.ScalarNode {
		if n.ShortTag() == "!!null" {
			return nil, fmt.Errorf("line %d: there is no value: give one, or leave the member out", n.Line)
		}
		return n.Value, nil
	}
	out := make(map[string]any)
	err := eachMember(n, "members to their values", func(key, value *yaml.Node) (err error) {
		out[key.Value], err = toJSON(value)
		return err
	})
	return out, err
}

// eachMember calls fn with the members of a mapping, and joins the errors.
func eachMember(n *yaml.Node, of string, fn func(key, value *yaml.Node) error) error {
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: want a mapping of %s", n.Line, of)
	}
	var errs []error
	seen := make(map[string]bool)
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode || key.ShortTag() == "!!merge" || value.Kind == yaml.AliasNode:
			errs = append(errs, fmt.Errorf("line %d: anchors and other such means of YAML are not for this file: write it out", key.Line))
		case seen[key.Value]:
			errs = append(errs, fmt.Errorf("line %d: the member%s is there twice", key.Line, named(key)))
		default:
			errs = append(errs, fn(key, value))
		}
		seen[key.Value] = true
	}
	return errors.Join(errs...)
}

// named is the name of a member, for an error, unless it could be a secret that
// has come to a wrong place.
func named(key *yaml.Node) string {
	if len(key.Value) > 20 || !isAccessKey(key.Value) {
		return ""
	}
	return fmt.Sprintf(" %q", key.Value)
}

// memberOf is the value of a member, nil if there is none.
func memberOf(n *yaml.Node, name string) *yaml.Node {
	if n != nil && n.Kind == yaml.MappingNode {
		for i := 0; i < len(n.Content); i += 2 {
			if n.Content[i].Value == name {
				return n.Content[i+1]
			}
		}
	}
	return nil
}

// lineOf is the line of a member, or of the mapping without it.
func lineOf(n *yaml.Node, name string) int {
	if v := memberOf(n, name); v != nil {
		return v.Line
	}
	if n == nil {
		return 0
	}
	return n.Line
}
