package kmshttp_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/keytrail/keytrail/client/kmshttp"
	"github.com/keytrail/keytrail/record"
)

// TestTooMuchToRecord: a client cannot have a call served of which no record can
// be made, by sending more than fits into one.
func TestTooMuchToRecord(t *testing.T) {
	rec, err := record.NewRecorder(record.RecorderConfig{})
	if err != nil {
		t.Fatal(err)
	}
	const arn = "arn:aws:kms:eu-west-1:111122223333:key/a"
	long := strings.Repeat("é", 150<<10)
	for _, tt := range []struct {
		name, operation, body, host string
		header                      []string
		status                      int
		refused                     bool // by the handler
	}{
		{"User-Agent", "DisableKey", `{"KeyId":"` + arn + `"}`, "", []string{"User-Agent", strings.Repeat("u", 300<<10)}, 400, false},
		{"Host", "DisableKey", `{"KeyId":"` + arn + `"}`, strings.Repeat("h", 300<<10), nil, 400, false},
		{"a message that repeats the request", "DisableKey", `{"KeyId":"` + arn + `","X":"` + long + `"}`, "", nil, 400, false},
		{"a member that is logged", "UpdateAlias", `{"KeyId":"` + arn + `","AliasName":"` + long + `"}`, "", nil, 413, true},
		{"a key", "DisableKey", `{"KeyId":"` + arn + strings.Repeat("a", 300<<10) + `"}`, "", nil, 413, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked := false
			r := newRig(t, kmshttp.Config{Account: account, Region: region}, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				asked = true
				w.WriteHeader(http.StatusBadRequest)
				w.Write([]byte(`{"__type":"ValidationException","message":"` + long + `"}`))
			}))
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.server.URL, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Host = tt.host
			req.Header.Set("X-Amz-Target", "TrentService."+tt.operation)
			for i := 0; i < len(tt.header); i += 2 {
				req.Header.Set(tt.header[i], tt.header[i+1])
			}
			res, err := r.server.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if res.StatusCode != tt.status || asked == tt.refused {
				t.Errorf("answer %d, the KMS was asked: %v", res.StatusCode, asked)
			}
			if !tt.refused {
				if _, p := rec.Record(record.Redact(r.sink.only(t))); p != nil {
					t.Errorf("no record: %v", p)
				}
			}
		})
	}
}

// TestOddKeys: of a key or an alias whose name a record cannot have, the call is
// recorded without it.
func TestOddKeys(t *testing.T) {
	rec, err := record.NewRecorder(record.RecorderConfig{})
	if err != nil {
		t.Fatal(err)
	}
	const arn = "arn:aws:kms:eu-west-1:111122223333:key/a"
	for _, tt := range []struct {
		name, operation, body string
		keys                  int
	}{
		{"account", "DisableKey", `{"KeyId":"arn:aws:kms:eu-west-1:1:key/a"}`, 0},
		{"Region", "DisableKey", `{"KeyId":"arn:aws:kms:EU west:111122223333:key/a"}`, 0},
		{"length", "DisableKey", `{"KeyId":"` + arn + strings.Repeat("a", 3000) + `"}`, 0},
		{"no alias", "CreateAlias", `{"AliasName":"app","TargetKeyId":"` + arn + `"}`, 1},
		{"a colon", "CreateAlias", `{"AliasName":"alias/a:b","TargetKeyId":"` + arn + `"}`, 1},
		{"another account", "UpdateAlias", `{"AliasName":"arn:aws:kms:eu-west-1:444455556666:alias/a","TargetKeyId":"` + arn + `"}`, 1},
		{"a long alias", "UpdateAlias", `{"AliasName":"alias/` + strings.Repeat("a", 3000) + `","TargetKeyId":"` + arn + `"}`, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, kmshttp.Config{Account: account, Region: region}, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				w.Header().Set("X-Amzn-Errortype", "AccessDeniedException")
				w.WriteHeader(http.StatusBadRequest)
			}))
			r.send(t, tt.operation, tt.body)
			c := r.sink.only(t)
			if _, p := rec.Record(record.Redact(c)); p != nil || len(c.GetKeys()) != tt.keys {
				t.Errorf("keys %v, no record: %v", c.GetKeys(), p)
			}
		})
	}
}
