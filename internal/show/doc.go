// Package show renders audit records for people, one line each.
//
// Records hold text that strangers chose: role session names, aliases, error
// codes of other systems. None of it reaches a terminal as it is. Whatever is
// not printable (control characters, terminal escapes, characters that reorder
// text or take no space) comes out as an escape such as \x1b, and so does a
// backslash, as \\, so that an escape always means what it says. Runs of
// spaces are escaped too, lest a name pretends to be two columns.
//
// Widths are counted in characters: one that a terminal draws two cells wide
// counts as one.
package show
