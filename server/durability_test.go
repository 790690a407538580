package server_test

import (
	"testing"

	"github.com/keytrail/keytrail/bustest"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/server"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestDurability: results say what the log promises, and a producer that requires more is refused.
func TestDurability(t *testing.T) {
	const (
		whatever   = keytrailv1.Durability_DURABILITY_UNSPECIFIED
		stored     = keytrailv1.Durability_DURABILITY_STORED
		replicated = keytrailv1.Durability_DURABILITY_REPLICATED
		synced     = keytrailv1.Durability_DURABILITY_SYNCED
	)
	for name, tt := range map[string]struct {
		unsynced bool
		status   keytrailv1.PublishStatus
		refused  map[keytrailv1.Durability]bool
	}{
		"embedded":           {false, keytrailv1.PublishStatus_PUBLISH_STATUS_SYNCED, map[keytrailv1.Durability]bool{replicated: true}},
		"embedded, unsynced": {true, keytrailv1.PublishStatus_PUBLISH_STATUS_STORED, map[keytrailv1.Durability]bool{replicated: true, synced: true}},
	} {
		t.Run(name, func(t *testing.T) {
			b := bustest.Start(t, func(c *server.Config) { c.Log.Unsynced = tt.unsynced })
			ingest := keytrailv1.NewIngestServiceClient(b.Dial())
			for _, require := range []keytrailv1.Durability{whatever, stored, replicated, synced} {
				res, err := ingest.Publish(t.Context(), &keytrailv1.PublishRequest{Items: items(decrypt(require.String())), Require: require})
				if tt.refused[require] {
					if status.Code(err) != codes.FailedPrecondition {
						t.Errorf("%v required: %v, %v; want FAILED_PRECONDITION", require, res, err)
					}
				} else if err != nil || res.GetResults()[0].GetStatus() != tt.status {
					t.Errorf("%v required: %v, %v; want %v", require, res, err, tt.status)
				}
			}
		})
	}
}
