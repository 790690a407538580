package server

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestCreditFor(t *testing.T) {
	for _, tt := range []struct {
		delay          time.Duration
		records, bytes int64
	}{
		{0, creditRecords, creditBytes},
		{creditDelay, creditRecords, creditBytes},
		{2 * creditDelay, creditRecords / 2, creditBytes / 2},
		{time.Hour, MaxItems, MaxRequestBytes},
	} {
		if records, bytes := creditFor(tt.delay); records != tt.records || bytes != tt.bytes {
			t.Errorf("at a delay of %v: %d, %d; want %d, %d", tt.delay, records, bytes, tt.records, tt.bytes)
		}
	}
}

// TestAccount plays a producer that keeps to its credit: it is never told that it does not, can always send the largest request when
// nothing is unanswered, and has, once all is answered, what the last delay allows.
func TestAccount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type amount struct{ records, bytes int64 }
		var a account
		var hand amount // what the producer may still send
		var under []amount
		delays := rapid.SampledFrom([]time.Duration{0, creditDelay / 2, 3 * creditDelay, 5 * creditDelay, time.Minute})
		grant := func(delay time.Duration) {
			records, bytes := a.grant(delay)
			if records < 0 || bytes < 0 {
				t.Fatalf("granted %d, %d", records, bytes)
			}
			hand.records, hand.bytes = hand.records+records, hand.bytes+bytes
		}
		answer := func(delay time.Duration) {
			a.answer(under[0].records, under[0].bytes)
			under = under[1:]
			grant(delay)
		}
		grant(delays.Draw(t, "delay"))
		for range rapid.IntRange(0, 100).Draw(t, "steps") {
			if len(under) > 0 && rapid.Bool().Draw(t, "answer") {
				answer(delays.Draw(t, "delay"))
				continue
			}
			req := amount{rapid.Int64Range(1, MaxItems).Draw(t, "records"), rapid.Int64Range(1, MaxRequestBytes).Draw(t, "bytes")}
			fits := req.records <= hand.records && req.bytes <= hand.bytes
			if len(under) == 0 && (hand.records < MaxItems || hand.bytes < MaxRequestBytes) {
				t.Fatalf("with nothing unanswered the producer may send %+v only", hand)
			}
			if !fits {
				continue
			}
			hand.records, hand.bytes = hand.records-req.records, hand.bytes-req.bytes
			under = append(under, req)
			if !a.receive(req.records, req.bytes) {
				t.Fatalf("a request of %+v is over the credit that was given for it", req)
			}
		}
		for len(under) > 0 {
			answer(time.Minute)
		}
		if records, bytes := a.grant(0); hand.records+records != creditRecords || hand.bytes+bytes != creditBytes {
			t.Errorf("at rest the producer has %d and %d", hand.records+records, hand.bytes+bytes)
		}
		if a.receive(creditRecords+1, 1) {
			t.Error("more than the credit is taken")
		}
	})
}
