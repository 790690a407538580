package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"

	"github.com/keytrail/keytrail/client"
	keytrailv1 "github.com/keytrail/keytrail/gen/keytrail/v1"
	"github.com/keytrail/keytrail/record"
)

// publishCalls publishes the calls of a file. Its rejections hold nothing of a
// call but where it is: what is in it may be secret.
func (r *publishRun) publishCalls(ctx context.Context, pub *client.Publisher, in io.Reader, name string) {
	calls := record.NewCallReader(in)
	for ctx.Err() == nil && r.gaveUp() == nil {
		c, err := calls.Next()
		var line *record.LineError
		var path *fs.PathError
		switch {
		case err == io.EOF, err != nil && ctx.Err() != nil:
			return
		case errors.As(err, &line):
			rej := rejection{File: name, Line: line.Line, Reason: line.Err.Error()}
			if p := (*record.Problem)(nil); errors.As(err, &p) {
				rej.Code, rej.Field, rej.Reason = codeText(p.Code), p.Field, p.Message
			}
			r.reject(rej)
			continue
		case errors.As(err, &path):
			r.failed(err)
			return
		case err != nil:
			r.reject(rejection{File: name, Line: calls.Line(), Reason: strings.TrimPrefix(err.Error(), "record: ")})
			return
		}
		if c.CallId == nil {
			r.mu.Lock()
			r.newIDs = true
			r.mu.Unlock()
		}
		at := calls.Line()
		err = pub.PublishCallFunc(ctx, c, func(x *client.Pending) {
			r.settle(ctx, x, func(res *keytrailv1.PublishResult) rejection {
				rej := res.GetRejection()
				return rejection{File: name, Line: at, Field: rej.GetField(), Reason: rej.GetMessage(), Code: codeText(rej.GetCode())}
			})
		})
		if err != nil && ctx.Err() == nil {
			r.failedRecord(err)
		}
	}
}
