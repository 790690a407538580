package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/keytrail/keytrail/eventlog"
	"github.com/keytrail/keytrail/fanout"
	"github.com/keytrail/keytrail/filter"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// invalidError is a fault of a request.
type invalidError struct{ field, message string }

func (e *invalidError) Error() string { return e.field + ": " + e.message }

func invalid(field, format string, args ...any) error {
	return &invalidError{field, fmt.Sprintf(format, args...)}
}

// durabilityError: the log can't promise what a producer asked for.
type durabilityError struct{ asked, given string }

func (e *durabilityError) Error() string {
	return fmt.Sprintf("durability %s was asked for; the log of this bus gives %s: ask for less, or use a log that gives more", e.asked, e.given)
}

// errOverCredit: the producer sent more than it was granted.
var errOverCredit = errors.New("more unanswered records or bytes than the credit of this stream: wait for results before sending more")

// Times after which a client should try again.
const (
	retryUnavailable = time.Second
	retryFull        = 5 * time.Second
	retryTrials      = 5 * time.Second
)

// toStatus is the one place where errors become gRPC statuses.
func toStatus(log *eventlog.Log, err error) error {
	var (
		bad        *invalidError
		badFilter  *filter.Error
		expired    *fanout.ExpiredError
		durability *durabilityError
	)
	switch {
	case err == nil:
		return nil
	// Before contexts, for it may be about one of the bus' own.
	case errors.Is(err, eventlog.ErrUnavailable), errors.Is(err, eventlog.ErrClosed), errors.Is(err, fanout.ErrClosed), errors.Is(err, errDraining):
		return withDetails(codes.Unavailable, err.Error(), &errdetails.RetryInfo{RetryDelay: durationpb.New(retryUnavailable)})
	case errors.Is(err, eventlog.ErrSync): // its details name files
		return withDetails(codes.Unavailable, eventlog.ErrSync.Error(), &errdetails.RetryInfo{RetryDelay: durationpb.New(retryUnavailable)})
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Err()
	case errors.As(err, &bad):
		return badRequest(bad.field, bad.message)
	case errors.As(err, &badFilter):
		return badRequest(badFilter.Field, badFilter.Message)
	case errors.Is(err, eventlog.ErrCursorSyntax):
		return badRequest("cursor", err.Error())
	case errors.Is(err, eventlog.ErrOtherLog), errors.Is(err, fanout.ErrAhead), errors.Is(err, eventlog.ErrWentBack):
		return status.Error(codes.DataLoss, err.Error())
	case errors.As(err, &expired):
		return withDetails(codes.OutOfRange, expired.Error()+": start there, or allow a gap", &errdetails.ErrorInfo{
			Reason: "CURSOR_EXPIRED",
			Domain: "keytrail",
			Metadata: map[string]string{
				"earliest_cursor": log.Cursor(expired.Earliest),
				"earliest_time":   expired.EarliestTime.UTC().Format(time.RFC3339Nano),
			},
		})
	case errors.As(err, &durability):
		return status.Error(codes.FailedPrecondition, err.Error())
	case errors.Is(err, errTrials):
		return withDetails(codes.ResourceExhausted, err.Error(), &errdetails.RetryInfo{RetryDelay: durationpb.New(retryTrials)})
	case errors.Is(err, errOverCredit):
		return status.Error(codes.ResourceExhausted, err.Error())
	case errors.Is(err, eventlog.ErrFull):
		return withDetails(codes.ResourceExhausted, err.Error(), &errdetails.RetryInfo{RetryDelay: durationpb.New(retryFull)})
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.Internal, err.Error())
}

// errDraining: the bus is going away.
var errDraining = errors.New("the bus is shutting down")

func badRequest(field, message string) error {
	return withDetails(codes.InvalidArgument, field+": "+message, &errdetails.BadRequest{
		FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: field, Description: message}},
	})
}

func withDetails(code codes.Code, message string, details ...protoadapt.MessageV1) error {
	st, err := status.New(code, message).WithDetails(details...)
	if err != nil { // only for a detail that can't be encoded
		return status.Error(code, message)
	}
	return st.Err()
}

// recovered is err, or the error for a panic: for the goroutines of a handler, which
// the interceptor that recovers does not see.
func recovered(panicked any, err error) error {
	if panicked == nil {
		return err
	}
	slog.Error("a handler panicked", "panic", panicked, "stack", string(debug.Stack()))
	return status.Error(codes.Internal, "internal error; the bus has logged it")
}
