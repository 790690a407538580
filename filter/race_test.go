//go:build race

package filter

// raceDetector says that allocations can't be counted: a sync.Pool forgets at
// random then.
const raceDetector = true
