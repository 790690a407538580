package sample

import (
	"encoding/hex"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// template is text in which "$" and a letter stand for a fact of the call; the
// letters are in [Generator.expand].
type template []segment

type segment struct {
	text string
	code byte // after the text; 0 at the end
}

func parse(s string) template {
	var t template
	for {
		text, rest, more := strings.Cut(s, "$")
		if !more {
			return append(t, segment{text, 0})
		}
		t = append(t, segment{text, rest[0]})
		s = rest[1:]
	}
}

// javaTime is how the KMS logs times inside of requests and responses.
const javaTime = "Jan 2, 2006, 3:04:05 PM"

func (g *Generator) expand(dst []byte, t template, c *call) []byte {
	k := c.key
	for _, s := range t {
		dst = append(dst, s.text...)
		switch s.code {
		case 0:
		case 'k': // the key, as the caller names it
			dst = append(dst, c.requested...)
		case 'K': // a member for it, if the caller does
			if c.byID {
				dst = append(append(append(dst, `"keyId":"`...), c.requested...), `",`...)
			}
		case 'J': // the same for ReEncrypt
			if c.byID {
				dst = append(append(append(dst, `"sourceKeyId":"`...), c.requested...), `",`...)
			}
		case 'a':
			dst = append(dst, k.arn...)
		case 'i':
			dst = append(dst, k.id...)
		case 'd':
			dst = append(dst, c.dest.arn...)
		case 'A':
			dst = append(dst, k.aliasName()...)
		case 'o':
			dst = append(dst, k.account.id...)
		case 'r':
			dst = append(dst, c.region.name...)
		case 'R':
			dst = append(dst, k.replica.name...)
		case 'E':
			dst = append(dst, c.op.name...)
		case 'q': // who called
			dst = append(dst, c.who.arn...)
		case 'g': // a role of the owner's
			dst = append(dst, one(g, k.account.roles).roleARN...)
		case 'e':
			dst = append(dst, facts(k.kind).algorithm...)
		case 'S':
			dst = append(dst, facts(k.kind).spec...)
		case 'U':
			dst = append(dst, facts(k.kind).usage...)
		case 'O':
			dst = append(dst, facts(k.kind).origin...)
		case 'L': // a member
			dst = append(dst, facts(k.kind).algorithms...)
		case 'Q': // members
			if k.kind == imported {
				dst = append(dst, `"enabled":false,"keyState":"PendingImport"`...)
			} else {
				dst = append(dst, `"enabled":true,"keyState":"Enabled"`...)
			}
		case 'v':
			dst = strconv.AppendBool(dst, k.kind == multiRegion)
		case 'V': // members
			dst = append(dst, `"multiRegion":`...)
			dst = strconv.AppendBool(dst, k.kind == multiRegion)
			switch {
			case c.primary != nil:
				dst = g.expand(dst, replicaFacts, c)
			case k.kind == multiRegion:
				dst = g.expand(dst, primaryFacts, c)
			}
		case 'B':
			dst = append(dst, k.region.name...)
		case 'Y':
			dst = append(dst, c.primary.region.name...)
		case 'Z':
			dst = append(dst, c.primary.arn...)
		case 'z': // a member
			if k.seed&7 == 0 {
				dst = append(dst, `"numberOfBytes":64`...)
			} else {
				dst = append(dst, `"keySpec":"AES_256"`...)
			}
		case 'p':
			dst = append(dst, [4]string{"RSA_3072", "ECC_NIST_P256", "RSA_4096", "ECC_NIST_P384"}[k.seed>>8&3]...)
		case 'm':
			dst = appendMaterial(dst, k)
		case 'f':
			dst = appendMaterial(dst, c.dest)
		case 'c': // a member after others
			if c.context != nil && len(*c.context) > 0 && k.kind&symmetricKinds != 0 {
				dst = append(dst, `,"encryptionContext":{`...)
				dst = g.expand(dst, *c.context, c)
				c.paddable = true
				dst = append(dst, '}')
			}
		case 'C': // the members of a context
			dst = g.expand(dst, reencrypted, c)
		case 'h':
			for range 4 {
				dst = appendHex(dst, g.rng.Uint64())
			}
		case 'H':
			for range 6 {
				dst = appendHex(dst, g.rng.Uint64())
			}
		case 'x':
			dst = appendHex(dst, g.rng.Uint64())
		case 'u':
			dst = appendUUID(dst, g.uuid())
		case 'n':
			dst = strconv.AppendUint(dst, 1000+g.rng.Uint64N(9000), 10)
		case 'W':
			dst = append(dst, *one(g, words)...)
		case 'D':
			dst = append(dst, "Data of "...)
			dst = append(dst, words[k.seed>>16%uint64(len(words))]...)
		case 'P':
			dst = g.expand(dst, policy, c)
		case 's':
			dst = append(dst, "vault-"...)
			dst = append(dst, k.account.id[8:]...)
		case 'y', 'l': // one key store for each account
			if s.code == 'y' {
				dst = append(dst, "cks-0"...)
			} else {
				dst = append(dst, "cluster-0"...)
			}
			dst = append(dst, k.account.endpoints[0].id[len("vpce-0"):]...)
		case 'w':
			dst = strconv.AppendUint(dst, c.window, 10)
		case 'N':
			dst = time.Unix(c.seconds, 0).UTC().AppendFormat(dst, javaTime)
		case 'X':
			dst = time.Unix(c.seconds, 0).UTC().AddDate(0, 6, 0).AppendFormat(dst, javaTime)
		case 'T': // members
			if k.kind == multiRegion { // it has replicas, which go first
				dst = append(dst, `"keyState":"PendingReplicaDeletion",`...)
			} else {
				dst = append(dst, `"keyState":"PendingDeletion","deletionDate":"`...)
				dst = time.Unix(c.seconds, 0).UTC().AddDate(0, 0, int(c.window)).AppendFormat(dst, javaTime)
				dst = append(dst, `",`...)
			}
		default:
			panic("sample: unknown template code $" + string(s.code))
		}
	}
	return dst
}

func (k *key) aliasName() string {
	if k.alias == "" {
		return "alias/spare-" + k.id[len(k.id)-6:]
	}
	return k.alias
}

// kindFacts is what the records say of a kind of key.
type kindFacts struct{ spec, usage, origin, algorithm, algorithms string }

func facts(k kind) kindFacts {
	switch k {
	case rsa:
		return kindFacts{"RSA_4096", "ENCRYPT_DECRYPT", "AWS_KMS", "RSAES_OAEP_SHA_256", `"encryptionAlgorithms":["RSAES_OAEP_SHA_1","RSAES_OAEP_SHA_256"]`}
	case signing:
		return kindFacts{"ECC_NIST_P256", "SIGN_VERIFY", "AWS_KMS", "ECDSA_SHA_256", `"signingAlgorithms":["ECDSA_SHA_256"]`}
	case hmac:
		return kindFacts{"HMAC_256", "GENERATE_VERIFY_MAC", "AWS_KMS", "HMAC_SHA_256", `"macAlgorithms":["HMAC_SHA_256"]`}
	case agreement:
		return kindFacts{"ECC_NIST_P384", "KEY_AGREEMENT", "AWS_KMS", "ECDH", `"keyAgreementAlgorithms":["ECDH"]`}
	case kem:
		return kindFacts{"ML_KEM_768", "KEY_ENCAPSULATION", "AWS_KMS", "ML_KEM", `"encapsulationAlgorithms":["ML_KEM"]`}
	}
	origin := "AWS_KMS"
	switch k {
	case imported:
		origin = "EXTERNAL"
	case cloudHSM:
		origin = "AWS_CLOUDHSM"
	case external:
		origin = "EXTERNAL_KEY_STORE"
	}
	return kindFacts{"SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", origin, "SYMMETRIC_DEFAULT", `"encryptionAlgorithms":["SYMMETRIC_DEFAULT"]`}
}

var (
	primaryFacts = parse(`,"multiRegionConfiguration":{"multiRegionKeyType":"PRIMARY","primaryKey":{"arn":"$a","region":"$B"},"replicaKeys":[]}`)
	replicaFacts = parse(`,"multiRegionConfiguration":{"multiRegionKeyType":"REPLICA","primaryKey":{"arn":"$Z","region":"$Y"},"replicaKeys":[{"arn":"$a","region":"$B"}]}`)

	policy = parse(`{\"Version\":\"2012-10-17\",\"Statement\":[{\"Sid\":\"Owners\",\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"arn:aws:iam::$o:root\"},` +
		`\"Action\":\"kms:*\",\"Resource\":\"*\"},{\"Sid\":\"Users\",\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"$g\"},` +
		`\"Action\":[\"kms:Decrypt\",\"kms:GenerateDataKey\"],\"Resource\":\"*\"}]}`)

	reencrypted = parse(`"service":"$W","batch":"$n"`)

	// Extras of cryptographic calls.
	usedMaterial  = parse(`"keyMaterialId":"$m"`)
	usedStore     = parse(`"customKeyStoreId":"$y"`)
	usedExternal  = parse(`"customKeyStoreId":"$y","xksKeyId":"$i"`)
	usedEnclave   = parse(`"recipient":{"attestationDocumentModuleId":"i-0$x-enc0$x","attestationDocumentEnclaveImageDigest":"$H"}`)
	deletedInHSM  = parse(`{"customKeyStoreId":"$y","clusterId":"$l","backingKeys":"[{\"keyHandle\":\"$n\",\"backingKeyId\":\"$x\"}]"}`)
	deletedStatus = parse(`{"customKeyStoreId":"$y","clusterId":"$l","backingKeys":"[{\"keyHandle\":\"16\",\"backingKeyId\":\"hsm-key\"}]",` +
		`"backingKeysDeletionStatus":"[{\"keyHandle\":\"16\",\"backingKeyId\":\"hsm-key\",\"deletionStatus\":\"SUCCESS\"}]"}`)
	createdInHSM = parse(`{"backingKey":"{\"keyHandle\":\"$n\",\"backingKeyId\":\"$x\"}"}`)
)

var applicationContexts = []template{
	parse(`"service":"$W","record":"$u"`),
	parse(`"tenant":"t-$n","purpose":"$W"`),
	parse(`"service":"$W","environment":"production","shard":"$n"`),
	nil, // none
}

// service is one that calls the KMS, for somebody or by itself.
type service struct {
	dns       string
	context   template
	principal principal // if it calls by itself
}

var services = []service{
	{dns: "s3.amazonaws.com", context: parse(`"aws:s3:arn":"arn:aws:s3:::$W-$o"`)},
	{dns: "ec2-frontend-api.amazonaws.com", context: parse(`"aws:ebs:id":"vol-0$x"`)},
	{dns: "secretsmanager.amazonaws.com", context: parse(`"SecretARN":"arn:aws:secretsmanager:$r:$o:secret:$W-$n","SecretVersionId":"$u"`)},
	{dns: "rds.amazonaws.com", context: parse(`"aws:rds:db-id":"db-$x"`)},
	{dns: "dynamodb.amazonaws.com", context: parse(`"aws:dynamodb:tableName":"$W","aws:dynamodb:subscriberId":"$o"`)},
	{dns: "sqs.amazonaws.com", context: parse(`"aws:sqs:arn":"arn:aws:sqs:$r:$o:$W"`)},
}

var pureServices = []service{
	pure("cloudtrail.amazonaws.com", `"aws:cloudtrail:arn":"arn:aws:cloudtrail:$r:$o:trail/everything","aws:s3:arn":"arn:aws:s3:::trails-$o/$r"`),
	pure("delivery.logs.amazonaws.com", `"aws:s3:arn":"arn:aws:s3:::logs-$o/$W"`),
}

func pure(dns, context string) service {
	return service{dns, parse(context), principal{typ: "AWSService", invokedBy: dns}}
}

type tlsProfile struct{ version, suite, exchange string }

var tlsProfiles = []tlsProfile{
	{"TLSv1.3", "TLS_AES_128_GCM_SHA256", "X25519MLKEM768"},
	{"TLSv1.3", "TLS_AES_256_GCM_SHA384", "x25519"},
	{"TLSv1.3", "TLS_AES_128_GCM_SHA256", ""},
	{"TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256", "secp256r1"},
}

var agents = []string{
	"aws-sdk-go-v2/1.41.2 ua/2.1 os/linux lang/go#1.26.7 api/kms#1.51.0",
	"aws-sdk-java/2.40.1 ua/2.1 os/Linux#6.12 lang/java#21.0.8",
	"Boto3/1.42.3 ua/2.1 os/linux#6.12 lang/python#3.13.7",
	"aws-cli/2.32.5 ua/2.1 os/macos#25.1 lang/python#3.13.9 md/command#kms",
	"aws-sdk-js/3.940.0 ua/2.1 os/linux#6.8 lang/js md/nodejs#22.21.0",
}

var consoleAgent = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"

func appendHex(dst []byte, v uint64) []byte {
	var raw [8]byte
	for i := range raw {
		raw[i] = byte(v >> (56 - 8*i))
	}
	return hex.AppendEncode(dst, raw[:])
}

// appendMaterial appends the ID of k's key material, the same each time.
func appendMaterial(dst []byte, k *key) []byte {
	rng := rand.NewPCG(k.seed, 0)
	for range 4 {
		dst = appendHex(dst, rng.Uint64())
	}
	return dst
}
