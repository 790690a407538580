package eventlog

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/keytrail/keytrail/record"
)

var cursorTests = []struct {
	name, text string
	want       error // nil: accepted
}{
	{"start", string(AppendCursor(nil, 7, Position{Seq: 1})), nil},
	{"middle of a batch", string(AppendCursor(nil, 7, Position{Seq: 300, Index: 299})), nil},
	{"far", string(AppendCursor(nil, 7, Position{Seq: 1<<64 - 1, Index: 1<<32 - 1})), nil},
	{"other log", string(AppendCursor(nil, 8, Position{Seq: 1})), ErrOtherLog},
	{"empty", "", ErrCursorSyntax},
	{"prefix alone", "kt1", ErrCursorSyntax},
	{"no cursor", "earliest", ErrCursorSyntax},
	{"newer version", "kt2AAAAAAAAAAcBAA", ErrCursorSyntax},
	{"cut off", "kt1AAAAAAAAAAcB", ErrCursorSyntax},
	{"trailing bytes", string(AppendCursor(nil, 7, Position{Seq: 1})) + "AA", ErrCursorSyntax},
	{"sequence 0", "kt1AAAAAAAAAAcAAA", ErrCursorSyntax},
	{"space", "kt1 AAAAAAAAAAcBAA", ErrCursorSyntax},
}

func TestParseCursor(t *testing.T) {
	for _, tt := range cursorTests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := ParseCursor(7, tt.text)
			if !errors.Is(err, tt.want) {
				t.Fatalf("ParseCursor(%q) = %v, %v; want error %v", tt.text, p, err, tt.want)
			}
			if err == nil && string(AppendCursor(nil, 7, p)) != tt.text {
				t.Errorf("%q is read as %v, which is written %q", tt.text, p, AppendCursor(nil, 7, p))
			}
		})
	}
}

func FuzzParseCursor(f *testing.F) {
	for _, tt := range cursorTests {
		f.Add(tt.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseCursor(7, text)
		if err != nil {
			return
		}
		again, err := ParseCursor(7, string(AppendCursor(nil, 7, p)))
		if err != nil || again != p {
			t.Errorf("%q is %v, which reads back as %v, %v", text, p, again, err)
		}
		if len(AppendCursor(nil, 7, p)) > 64 {
			t.Errorf("the cursor of %v is over 64 bytes", p)
		}
	})
}

func TestPositionOrder(t *testing.T) {
	ordered := []Position{{1, 0}, {1, 1}, After(1, 1, 3), After(1, 2, 3), {2, 1}, {3, 0}}
	for i := 1; i < len(ordered); i++ {
		if c := ordered[i-1].Compare(ordered[i]); c != -1 {
			t.Errorf("%v.Compare(%v) = %d, want -1", ordered[i-1], ordered[i], c)
		}
		if c := ordered[i].Compare(ordered[i]); c != 0 {
			t.Errorf("%v.Compare(itself) = %d", ordered[i], c)
		}
	}
	if got, want := After(1, 2, 3), (Position{Seq: 2}); got != want {
		t.Errorf("after the last of a batch is %v, want %v", got, want)
	}
}

const key1 = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"

var subjectTests = []struct {
	name string
	h    record.Header
	want string
}{
	{"one key", record.Header{Account: "111122223333", Region: "us-west-2", Keys: []string{key1}, EventName: "Decrypt"},
		"kms.111122223333.us-west-2." + key1 + ".Decrypt"},
	{"no key", record.Header{Account: "111122223333", Region: "us-west-2", EventName: "GenerateRandom"},
		"kms.111122223333.us-west-2.-.GenerateRandom"},
	{"two keys", record.Header{Account: "1", Region: "r", Keys: []string{key1, key1 + "x"}, EventName: "ReEncrypt"}, "kms.1.r.multi.ReEncrypt"},
	{"nothing", record.Header{}, "kms.-.-.-.-"},
	{"escapes", record.Header{Account: "a.b", Region: "*", EventName: "x > %\n\x7f"}, "kms.a%2Eb.%2A.-.x%20%3E%20%25%0A%7F"},
	{"other scripts", record.Header{Account: "1", Region: "r", EventName: "Décrypt鍵"}, "kms.1.r.-.Décrypt鍵"},
}

func TestSubject(t *testing.T) {
	for _, tt := range subjectTests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Subject(&tt.h)
			if err != nil || got != tt.want {
				t.Errorf("Subject = %q, %v; want %q", got, err, tt.want)
			}
		})
	}
	long := record.Header{EventName: strings.Repeat("e", MaxSubject)}
	if s, err := Subject(&long); !errors.Is(err, ErrSubject) {
		t.Errorf("a subject of %d bytes: error %v, want ErrSubject", len(s), err)
	}
}

// FuzzAppendToken holds the escapes to the decoder of URLs, which reads the
// same %XX.
func FuzzAppendToken(f *testing.F) {
	for _, tt := range subjectTests {
		f.Add(tt.h.Account)
		f.Add(tt.h.EventName)
	}
	f.Fuzz(func(t *testing.T, s string) {
		token := string(AppendToken(nil, s))
		if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(".*>", r) }) {
			t.Errorf("the token of %q is %q", s, token)
		}
		back, err := url.PathUnescape(token)
		if s == "" {
			s = "-"
		}
		if err != nil || back != s {
			t.Errorf("%q became %q, which reads back as %q, %v", s, token, back, err)
		}
	})
}
