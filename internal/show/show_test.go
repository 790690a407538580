package show

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/internal/sample"
	"github.com/keytrail/keytrail/record"
)

const (
	keyA = `{"ARN":"arn:aws:kms:eu-west-1:111122223333:key/aaaaaaaa-1111-2222-3333-444444444444"}`
	keyB = `{"ARN":"arn:aws:kms:eu-west-1:111122223333:key/mrk-bbbb"}`
)

// lineTests are also the seeds of FuzzLine.
var lineTests = []struct {
	name, json string
	want       string // single spaces where columns are padded
}{
	{"nothing is known", `{}`,
		`- ok - - - -`},
	{"a user reads",
		`{"eventTime":"2026-01-05T08:00:00Z","eventName":"Decrypt","readOnly":true,"sourceIPAddress":"192.0.2.1","userIdentity":{"type":"IAMUser","userName":"alice","arn":"arn:aws:iam::111122223333:user/alice"},"resources":[` + keyA + `]}`,
		`2026-01-05T08:00:00Z ok Decrypt alice aaaaaaaa-1111-2222-3333-444444444444 192.0.2.1`},
	{"fractions and zones become UTC seconds", `{"eventTime":"2026-01-05T08:00:00.75+02:00"}`,
		`2026-01-05T06:00:00Z ok - - - -`},
	{"a role session", `{"userIdentity":{"type":"AssumedRole","arn":"arn:aws:sts::111122223333:assumed-role/app/i-01"}}`,
		`- ok - app/i-01 - -`},
	{"a session with a slash", `{"userIdentity":{"type":"AssumedRole","arn":"arn:aws:sts::111122223333:assumed-role/app/a/b"}}`,
		`- ok - app/a/b - -`},
	{"root, whatever its alias", `{"userIdentity":{"type":"Root","userName":"corp","arn":"arn:aws:iam::111122223333:root"}}`,
		`- ok - root - -`},
	{"a service for a user", `{"userIdentity":{"type":"IAMUser","userName":"alice","invokedBy":"s3.amazonaws.com"}}`,
		`- ok - alice via s3 - -`},
	{"a service by itself", `{"userIdentity":{"type":"AWSService","invokedBy":"logs.amazonaws.com"}}`,
		`- ok - logs.amazonaws.com - -`},
	{"the KMS by itself", `{"userIdentity":{"invokedBy":"AWS Internal"},"sourceIPAddress":"AWS Internal"}`,
		`- ok - AWS Internal - AWS Internal`},
	{"a stranger", `{"userIdentity":{"type":"AWSAccount","accountId":"444455556666","principalId":"AROAX:s"}}`,
		`- ok - account 444455556666 - -`},
	{"a federated user", `{"userIdentity":{"type":"FederatedUser","arn":"arn:aws:sts::111122223333:federated-user/bob"}}`,
		`- ok - bob - -`},
	{"only a principal", `{"userIdentity":{"type":"Directory","principalId":"P1"}}`,
		`- ok - P1 - -`},
	{"only a type", `{"userIdentity":{"type":"Unknown"}}`,
		`- ok - Unknown - -`},
	{"denied", `{"errorCode":"AccessDenied"}`,
		`- DENIED - - - -`},
	{"failed", `{"errorCode":"NotFoundException"}`,
		`- NotFoundException - - - -`},
	{"two keys", `{"eventName":"ReEncrypt","resources":[` + keyA + `,` + keyB + `]}`,
		`- ok ReEncrypt - aaaaaaaa-1111-2222-3333-444444444444,mrk-bbbb -`},
	{"an alias beside the key", `{"requestParameters":{"keyId":"arn:aws:kms:eu-west-1:111122223333:alias/pay"},"resources":[` + keyB + `]}`,
		`- ok - - mrk-bbbb (alias/pay) -`},
	{"an alias that led nowhere", `{"errorCode":"NotFoundException","requestParameters":{"keyId":"alias/gone"},"resources":[]}`,
		`- NotFoundException - - alias/gone -`},
	{"an alias that is made", `{"requestParameters":{"aliasName":"alias/new","targetKeyId":"mrk-bbbb"},"resources":[` + keyB + `]}`,
		`- ok - - mrk-bbbb (alias/new) -`},
	{"alias of another shape", `{"requestParameters":{"keyId":["alias/x"]}}`,
		`- ok - - - -`},
	{"terminal escapes",
		`{"eventName":"\u001b]0;owned\u0007","userIdentity":{"userName":"\u009b31mroot"},"sourceIPAddress":"\u202e1.2.3.4","errorCode":"\r\n"}`,
		`- \x0d\x0a \x1b]0;owned\x07 \u009b31mroot - \u202e1.2.3.4`},
	{"a name as wide as two columns", `{"userIdentity":{"userName":"alice   key"}}`,
		`- ok - alice \x20\x20key - -`},
	{"a backslash", `{"userIdentity":{"userName":"\\x1b"}}`,
		`- ok - \\x1b - -`},
}

func parse(t testing.TB, text string) *keytrailv1.Record {
	t.Helper()
	r, err := record.FromJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLine(t *testing.T) {
	for _, tt := range lineTests {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.Join(strings.Fields(Style{}.Line(parse(t, tt.json))), " ")
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestAlignment: with ordinary records, columns start where their titles do.
func TestAlignment(t *testing.T) {
	for _, width := range []int{0, 200, 120, 100, 80} {
		s := Style{Width: width}
		header := s.Header()
		at := strings.Index(header, "WHO")
		if width > 0 && len(header) > width {
			t.Errorf("width %d: the header has %d characters", width, len(header))
		}
		for _, code := range []string{`"errorCode":"NotFoundException",`, ``} {
			line := s.Line(parse(t, `{"eventTime":"2026-01-05T08:00:00Z",`+code+`"eventName":"Decrypt","userIdentity":{"userName":"alice"}}`))
			if got := strings.Index(strings.ReplaceAll(line, "…", "."), "alice"); got != at {
				t.Errorf("width %d: %q begins at %d, its title at %d:\n%s\n%s", width, "alice", got, at, header, line)
			}
		}
	}
}

func TestLineNarrow(t *testing.T) {
	r := parse(t, lineTests[1].json)
	tests := []struct {
		name  string
		style Style
		want  string
	}{
		{"80 columns keep the address whole", Style{Width: 80},
			"2026-01-05T08:00:00Z ok      Decrypt      alice       aaaaaaaa-… 192.0.2.1"},
		{"chosen columns", Style{Columns: []Column{Event, Who}},
			"Decrypt                   alice"},
		{"less than the least", Style{Width: 30},
			"2026-01-05T08:00:00Z ok      …"},
		{"one", Style{Width: 1}, "…"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.style.Line(r); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestColor(t *testing.T) {
	s := Style{Color: true, Columns: []Column{Outcome, Event}}
	tests := []struct{ name, json, want string }{
		{"read", `{"eventName":"Decrypt","readOnly":true}`, "ok       Decrypt"},
		{"change", `{"eventName":"EnableKey","readOnly":false}`, "ok       " + yellow + "EnableKey" + reset},
		{"a change unless it says otherwise", `{"eventName":"New"}`, "ok       " + yellow + "New" + reset},
		{"failure", `{"eventName":"Decrypt","readOnly":true,"errorCode":"AccessDenied"}`, red + "DENIED" + reset + "   Decrypt"},
		{"paint takes no room", `{"eventName":"ScheduleKeyDeletion","errorCode":"X"}`, red + "X" + reset + "        " + yellow + "ScheduleKeyDeletion" + reset},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := s.Line(parse(t, tt.json)); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestAppendJSON(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"plain", `{"a":"b"}`, `{"a":"b"}`},
		{"letters stay", `{"ä":"日本"}`, `{"ä":"日本"}`},
		{"C1, DEL and bidi", "[\"\u009b31m\x7f\u202e\"]", `["\u009b31m\u007f\u202e"]`},
		{"beyond the BMP", "[\"\U000e0001x😀\"]", `["\udb40\udc01x😀"]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(AppendJSON([]byte(">"), []byte(tt.text))); got != ">"+tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// FuzzLine: whatever a record holds, a line is printable, one line, and no
// wider than it may be.
func FuzzLine(f *testing.F) {
	for _, tt := range lineTests {
		f.Add([]byte(tt.json), 80)
	}
	f.Add([]byte("{\"eventName\":\"\u2028\u200f\u00a0\",\"userIdentity\":{\"userName\":\"日本語日本語日本語日本語日本語\"}}"), 33)
	f.Add([]byte(`{"userIdentity":{"arn":"00000"}}`), 47) // one character too many
	f.Fuzz(func(t *testing.T, text []byte, width int) {
		r, err := record.FromJSON(text)
		if err != nil {
			return
		}
		for _, columns := range [][]Column{nil, {Who}, {Outcome, Event, Key}} {
			for _, color := range []bool{false, true} {
				line := Style{Color: color, Width: width, Columns: columns}.Line(r)
				if color {
					line = strings.NewReplacer(red, "", yellow, "", dim, "", bold, "", reset, "").Replace(line)
				}
				checkPrintable(t, line)
				if n := utf8.RuneCountInString(line); width > 0 && n > width {
					t.Errorf("width %d: %d characters: %q", width, n, line)
				}
			}
		}
	})
}

func checkPrintable(t *testing.T, s string) {
	t.Helper()
	if !utf8.ValidString(s) {
		t.Errorf("not UTF-8: %q", s)
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			t.Errorf("%U in %q", r, s)
		}
	}
}

// FuzzText: all text comes out printable, and different texts come out different.
func FuzzText(f *testing.F) {
	for _, s := range []string{"", "plain", " a  b ", "\x1b[31m", "\\x1b", "\x9b", "\u009b", "\u202e", "\U000e0001", "日本"} {
		f.Add(s, s+"x")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		checkPrintable(t, Text(a))
		if a != b && Text(a) == Text(b) {
			t.Errorf("%q and %q both give %q", a, b, Text(a))
		}
	})
}

func BenchmarkLine(b *testing.B) {
	g := sample.New(sample.Config{Seed: 1})
	records := make([]*keytrailv1.Record, 1000)
	for i := range records {
		records[i] = g.Next()
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		Style{}.Line(records[i%len(records)])
	}
}
