// Package archtest holds the rules of the tree that the compiler does not: which
// package may import which, that each says what it is for, and how long a file may be.
package archtest
