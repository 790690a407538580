package record

import (
	"slices"
	"strings"
	"testing"
)

func TestLoggedMembers(t *testing.T) {
	list, open := make(map[string]bool), make(map[string]bool)
	for l := range LoggedMembers() {
		path := strings.Join(l.Names, ".")
		list[path], open[path] = l.List, l.Open
		if !slices.Contains(FieldNames(), l.Names[0]) {
			t.Errorf("%s is in no member of a record", path)
		}
	}
	for _, tt := range []struct {
		path       string
		list, open bool
	}{
		{"requestParameters.keyId", false, false},
		{"requestParameters.clusterId", false, false},
		{"requestParameters.tags", true, false},
		{"requestParameters.tags.tagKey", false, false},
		{"requestParameters.tagKeys", true, false},
		{"requestParameters.encryptionContext", false, true},
		{"requestParameters.constraints.encryptionContextSubset", false, true},
		{"responseElements.keyId", false, false},
		{"responseElements.keyMetadata.aWSAccountId", false, false},
		{"responseElements.keyMetadata.multiRegionConfiguration.replicaKeys", true, false},
		{"additionalEventData.recipient.attestationDocumentEnclavePCR0", false, false},
		{"serviceEventDetails.keyId", false, false},
		{"userIdentity.onBehalfOf.userId", false, false},
		{"userIdentity.sessionContext.webIdFederationData.attributes", false, true},
	} {
		isList, there := list[tt.path]
		if !there || isList != tt.list || open[tt.path] != tt.open {
			t.Errorf("%s: there %v, list %v, open %v; want list %v, open %v", tt.path, there, isList, open[tt.path], tt.list, tt.open)
		}
	}
	for _, path := range []string{"requestParameters.plaintext", "requestParameters.ciphertextBlob", "responseElements.plaintext"} {
		if _, there := list[path]; there {
			t.Errorf("%s is never logged", path)
		}
	}
	n := 0
	for range LoggedMembers() {
		if n++; n == 3 {
			break // and nothing is yielded after
		}
	}
}
