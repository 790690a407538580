package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/keytrail/keytrail/client"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
)

// noBusError: nobody answered when the command began.
type noBusError struct {
	bus   string
	cause *error // nil if nothing is known
}

func (e *noBusError) Error() string {
	s := fmt.Sprintf("no bus answers at %s: start one with `bus serve`, or say where it is with --bus", e.bus)
	if e.cause != nil {
		s += because(*e.cause)
	}
	return s
}

// because is the cause of a lost connection in brackets; "" if there is none
// to speak of.
func because(err error) string {
	if err == nil {
		return ""
	}
	text := status.Convert(err).Message()
	if _, cause, ok := strings.Cut(text, `"transport: Error while dialing: `); ok {
		text = strings.TrimSuffix(cause, `"`) // the rest repeats that there is no connection
	}
	return " (" + text + ")"
}

// explain is err as people should read it: what happened and what to do.
func explain(err error, c *tailCommand) error {
	var expired *client.ExpiredError
	if errors.As(err, &expired) {
		return errors.New(explainExpired(expired, c))
	}
	s, ok := status.FromError(err)
	if err == nil || !ok {
		return err
	}
	switch s.Code() {
	case codes.DataLoss:
		return errors.New(explainDataLoss(s.Message(), c))
	case codes.Unimplemented:
		return fmt.Errorf("what answers at %s is not a Keytrail bus, or an older one: %s", c.Bus, s.Message())
	case codes.InvalidArgument:
		return fmt.Errorf("the bus at %s does not take this request: %s", c.Bus, s.Message())
	default:
		return fmt.Errorf("the bus at %s has ended the stream: %s: %s", c.Bus, s.Code(), s.Message())
	}
}

func explainDataLoss(message string, c *tailCommand) string {
	return fmt.Sprintf("the bus at %s does not know this position: %s\n"+
		"Its log was deleted, replaced, or restored from an older copy. Records that came after the position may be lost, and others may have taken their places.\n"+
		"Find out what happened; then start anew with --from earliest%s.", c.Bus, message, withoutCheckpoint(c))
}

func explainExpired(e *client.ExpiredError, c *tailCommand) string {
	var b strings.Builder
	b.WriteString("the log no longer holds the records at this position")
	if e.EarliestCursor == "" {
		b.WriteString(": " + e.Error())
	} else {
		b.WriteString(": its earliest is at " + e.EarliestCursor)
		if !e.EarliestTime.IsZero() {
			b.WriteString(", stored at " + e.EarliestTime.UTC().Format(time.RFC3339))
		}
	}
	b.WriteString("\nTo go on there and have the missing records reported as a gap, add --allow-gap.")
	if e.EarliestCursor != "" {
		fmt.Fprintf(&b, "\nTo go on there as if nothing were missing, use --from %s%s.", e.EarliestCursor, withoutCheckpoint(c))
	}
	return b.String()
}

// withoutCheckpoint: a position in a file wins over --from.
func withoutCheckpoint(c *tailCommand) string {
	if c.Checkpoint == "" {
		return ""
	}
	return " and remove " + c.Checkpoint
}

// resumable says whether the position at which err came up is worth resuming
// from.
func resumable(err error) bool {
	var expired *client.ExpiredError
	return !errors.As(err, &expired) && status.Code(err) != codes.DataLoss
}

// gapReasons says why records are missing, and what that means.
var gapReasons = map[keytrailv1.GapReason][2]string{
	keytrailv1.GapReason_GAP_REASON_EXPIRED: {
		"the log had dropped them for their age, or for want of room, before they were read",
		"They can't be delivered any more. Read sooner, or have the log keep more.",
	},
	keytrailv1.GapReason_GAP_REASON_TRIMMED: {
		"an operator has removed them from the log",
		"They can't be delivered any more.",
	},
	keytrailv1.GapReason_GAP_REASON_UNREADABLE: {
		"they are in the log, in a format that this bus can't read",
		"A newer bus can: read them there, from the first of these positions.",
	},
	keytrailv1.GapReason_GAP_REASON_MISSING: {
		"they are not in the log, and the bus does not know why",
		"Somebody has changed the stream behind its back. Find out who.",
	},
}

// gapReport is what people read of a gap.
func gapReport(g *keytrailv1.Gap) string {
	count := "records are missing, it is not known how many"
	if n := g.GetRecords(); g.Records != nil {
		count = fmt.Sprintf("%d records are missing", n)
	}
	reason, known := gapReasons[g.GetReason()]
	if !known {
		reason = [2]string{"reason " + g.GetReason().String(), "A newer subscriber may know what that means."}
	}
	return fmt.Sprintf("GAP: %s: %s\nGAP: after %s, up to %s\nGAP: Some of them may have matched. %s",
		count, reason[0], g.GetAfterCursor(), g.GetCursor(), reason[1])
}
