// Package powerloss is a file system for tests that forgets, when its power is cut, what
// was written and not synced.
//
// A file's bytes are synced with fsync or fdatasync of the file, names (those that are new, gone or changed) with fsync of their
// folder, and nothing else syncs either: that is less than most real file systems do, and what POSIX promises.
package powerloss
