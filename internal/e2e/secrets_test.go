package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// TestSecrets publishes records with a secret in them, through the command and
// past it, and looks for the secret wherever it could have come to.
func TestSecrets(t *testing.T) {
	secret := "attack at dawn, 7f3a91"
	encoded := base64.StdEncoding.EncodeToString([]byte(secret))
	dir, work := t.TempDir(), t.TempDir()
	b := startBus(t, "--data", dir, "--log-level=debug")
	publishSample(t, b, 5, 1)

	log := filepath.Join(work, "log.json")
	text := `{"eventID":"1","eventName":"Encrypt","eventSource":"kms.amazonaws.com","eventTime":"2026-11-24T10:00:00Z","requestParameters":{"keyId":"k","Plaintext":"` + encoded + `"}}`
	if err := os.WriteFile(log, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	rejects := filepath.Join(work, "rejects")
	said := must(t, 1, "bus", "publish", b.to, "--rejects", rejects, log)
	said2 := must(t, 1, "bus", "publish", b.to, log)
	if !strings.Contains(said2.err, "requestParameters.Plaintext: must not be in a log") {
		t.Errorf("publish says %q", said2.err)
	}

	conn, err := grpc.NewClient(b.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	res, err := keytrailv1.NewIngestServiceClient(conn).Publish(t.Context(), &keytrailv1.PublishRequest{Items: []*keytrailv1.PublishItem{{
		Item: &keytrailv1.PublishItem_Record{Record: &keytrailv1.Record{
			EventId: proto.String("2"), EventName: proto.String("Decrypt"), EventSource: proto.String("kms.amazonaws.com"), EventTime: timestamppb.New(time.Unix(1_700_000_000, 0)),
			ResponseElements: []byte(`{"plaintext":"` + secret + `"}`),
		}},
	}}})
	if err != nil || res.GetResults()[0].GetRejection().GetCode() != keytrailv1.RejectionCode_REJECTION_CODE_SECRET {
		t.Fatalf("past the SDK: %v, %v; want it rejected as SECRET", res, err)
	}
	tail := tailAll(t, b)
	if len(tail) != 5 {
		t.Errorf("the log holds %d records, want the 5 good ones", len(tail))
	}
	b.kill()

	places := map[string]string{
		"the bus' output": b.out.String() + b.err.String(), "what publish said": said.out + said.err + said2.out + said2.err, "the answer": res.String(),
	}
	for _, root := range []string{dir, rejects} {
		err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			places[path] = string(data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(places) < 6 {
		t.Errorf("only %d places were looked at", len(places))
	}
	for place, content := range places {
		for form, want := range map[string]string{"raw": secret, "base64": encoded, "hex": hex.EncodeToString([]byte(secret))} {
			if bytes.Contains([]byte(content), []byte(want)) {
				t.Errorf("%s holds the secret, %s", place, form)
			}
		}
	}
}
