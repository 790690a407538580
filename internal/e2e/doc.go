// Package e2e tests the built programs from outside, as their users run them:
// real processes, real signals, real files.
package e2e
