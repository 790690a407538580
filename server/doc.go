// Package server is a whole bus: the log, the hub, and the gRPC and HTTP
// services in front of them.
//
// [Start] opens everything; [Server.Drain] ends it in order: it stops taking
// requests, tells every stream where to go on, waits for what is in flight, and
// closes the log. The services themselves hold no state: every record is in
// the log before its producer hears of it.
//
// Errors of the packages below become gRPC statuses in one place, status.go.
package server
