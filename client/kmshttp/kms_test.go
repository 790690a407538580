package kmshttp_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
)

const (
	account = "111122223333"
	region  = "eu-west-1"
)

// testKMS is a small KMS: keys in memory, real AES-GCM. It checks no
// signatures, and refuses for access whom it is told to.
type testKMS struct {
	t *testing.T

	mu       sync.Mutex
	keys     map[string]*testKey // by ID
	aliases  map[string]string   // "alias/x" to ID
	requests []exchange          // what it saw
	deny     map[string]string   // access key ID to error code
}

type testKey struct {
	arn      string
	aead     cipher.AEAD
	disabled bool
}

// exchange is a request and its answer, as the KMS had them.
type exchange struct {
	header       http.Header
	host         string
	request, got []byte
}

type kmsError struct{ code, message string }

func newKMS(t *testing.T) *testKMS {
	return &testKMS{t: t, keys: make(map[string]*testKey), aliases: make(map[string]string), deny: make(map[string]string)}
}

func (k *testKMS) last() exchange {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.requests[len(k.requests)-1]
}

func (k *testKMS) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.requests)
}

type request struct {
	KeyId, TargetKeyId, AliasName                         string
	SourceKeyId, DestinationKeyId                         string
	Plaintext, CiphertextBlob                             []byte
	EncryptionContext                                     map[string]string
	SourceEncryptionContext, DestinationEncryptionContext map[string]string
	NumberOfBytes                                         int
	KeySpec                                               string
	DryRun                                                bool
}

func (k *testKMS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		k.t.Error(err)
	}
	var req request
	json.Unmarshal(body, &req)
	var answer any
	fault := k.denied(r)
	if fault == nil {
		answer, fault = k.do(strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "TrentService."), &req)
	}
	status := http.StatusOK
	if fault != nil {
		status = http.StatusBadRequest
		answer = map[string]string{"__type": "com.amazonaws.kms#" + fault.code, "message": fault.message}
	}
	var text []byte
	if answer != nil {
		if text, err = json.MarshalIndent(answer, "", " "); err != nil { // white space must survive
			k.t.Error(err)
		}
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("x-amzn-RequestId", uuid.NewString())
	w.WriteHeader(status)
	w.Write(text)
	k.requests = append(k.requests, exchange{r.Header.Clone(), r.Host, body, text})
}

func (k *testKMS) denied(r *http.Request) *kmsError {
	for id, code := range k.deny {
		if strings.Contains(r.Header.Get("Authorization"), id) {
			return &kmsError{code, "not for you"}
		}
	}
	return nil
}

// find resolves a key ID, key ARN, alias or alias ARN.
func (k *testKMS) find(id string) (*testKey, *kmsError) {
	if i := strings.LastIndexByte(id, ':'); i >= 0 {
		id = id[i+1:]
	}
	if target, ok := k.aliases[id]; ok {
		id = target
	}
	key, ok := k.keys[strings.TrimPrefix(id, "key/")]
	if !ok {
		return nil, &kmsError{"NotFoundException", "no such key"}
	}
	return key, nil
}

func (k *testKMS) usable(id string) (*testKey, *kmsError) {
	key, fault := k.find(id)
	if fault == nil && key.disabled {
		return nil, &kmsError{"DisabledException", key.arn + " is disabled."}
	}
	return key, fault
}

func (key *testKey) seal(plain []byte, context map[string]string) []byte {
	nonce := make([]byte, key.aead.NonceSize())
	rand.Read(nonce)
	bound, _ := json.Marshal(context) // maps are sorted
	id := key.arn[len(key.arn)-36:]
	return append([]byte(id), key.aead.Seal(nonce, nonce, plain, bound)...)
}

func (k *testKMS) open(blob []byte, context map[string]string) (*testKey, []byte, *kmsError) {
	bad := &kmsError{"InvalidCiphertextException", ""}
	if len(blob) < 36+12 {
		return nil, nil, bad
	}
	key, fault := k.usable(string(blob[:36]))
	if fault != nil {
		return nil, nil, fault
	}
	bound, _ := json.Marshal(context)
	plain, err := key.aead.Open(nil, blob[36:48], blob[48:], bound)
	if err != nil {
		return nil, nil, bad
	}
	return key, plain, nil
}

func (k *testKMS) create() map[string]any {
	secret := make([]byte, 32)
	rand.Read(secret)
	block, err := aes.NewCipher(secret)
	if err != nil {
		k.t.Error(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		k.t.Error(err)
	}
	id := uuid.NewString()
	k.keys[id] = &testKey{arn: "arn:aws:kms:" + region + ":" + account + ":key/" + id, aead: aead}
	return map[string]any{"KeyMetadata": map[string]any{"KeyId": id, "Arn": k.keys[id].arn, "AWSAccountId": account}}
}

func (k *testKMS) do(op string, req *request) (any, *kmsError) {
	switch op {
	case "CreateKey":
		return k.create(), nil
	case "DescribeKey":
		key, fault := k.find(req.KeyId)
		if fault != nil {
			return nil, fault
		}
		return map[string]any{"KeyMetadata": map[string]any{"KeyId": key.arn[len(key.arn)-36:], "Arn": key.arn}}, nil
	case "DisableKey":
		key, fault := k.find(req.KeyId)
		if fault != nil {
			return nil, fault
		}
		key.disabled = true
		return nil, nil
	case "CreateAlias":
		key, fault := k.find(req.TargetKeyId)
		if fault != nil {
			return nil, fault
		}
		k.aliases[req.AliasName] = key.arn[len(key.arn)-36:]
		return nil, nil
	case "DeleteAlias":
		if _, ok := k.aliases[req.AliasName]; !ok {
			return nil, &kmsError{"NotFoundException", "no such alias"}
		}
		delete(k.aliases, req.AliasName)
		return nil, nil
	case "Encrypt", "GenerateDataKey":
		key, fault := k.usable(req.KeyId)
		if fault != nil {
			return nil, fault
		}
		if req.DryRun {
			return nil, &kmsError{"DryRunOperationException", "The request would have succeeded."}
		}
		answer := map[string]any{"KeyId": key.arn}
		if op == "GenerateDataKey" {
			req.Plaintext = make([]byte, max(req.NumberOfBytes, 32))
			rand.Read(req.Plaintext)
			answer["Plaintext"] = req.Plaintext
			answer["KeyMaterialId"] = strings.Repeat("ab", 32)
		}
		answer["CiphertextBlob"] = key.seal(req.Plaintext, req.EncryptionContext)
		return answer, nil
	case "Decrypt":
		key, plain, fault := k.open(req.CiphertextBlob, req.EncryptionContext)
		if fault != nil {
			return nil, fault
		}
		return map[string]any{"KeyId": key.arn, "Plaintext": plain}, nil
	case "ReEncrypt":
		from, plain, fault := k.open(req.CiphertextBlob, req.SourceEncryptionContext)
		if fault != nil {
			return nil, fault
		}
		to, fault := k.usable(req.DestinationKeyId)
		if fault != nil {
			return nil, fault
		}
		return map[string]any{"SourceKeyId": from.arn, "KeyId": to.arn, "CiphertextBlob": to.seal(plain, req.DestinationEncryptionContext)}, nil
	default:
		return nil, &kmsError{"UnsupportedOperationException", "not in this KMS"}
	}
}
