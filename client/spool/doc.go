// Package spool keeps calls on disk while no bus takes them: a [Spool] is a
// bounded, durable queue, [FailOpen] publishes through an outage with its help,
// and [FailClosed] is for those who rather refuse than spool.
//
// What a Spool promises:
//
//   - A call is on disk, flushed, when Add returns nil. It survives kill -9 and
//     power loss.
//   - Add never blocks for a delivery. When the folder holds Config.MaxBytes it
//     returns [ErrFull] and changes nothing.
//   - Calls are delivered in the order of Add, at least once: those of the last
//     batch are delivered again when the process ends before it has noted them.
//     After power loss more of them may be. A bus stores a call ID once, while
//     it remembers it.
//   - A torn tail, which nobody was told is safe, is dropped at Open. Any other
//     damage is reported, costs the calls that it hit and no others, and its
//     file is kept under a name that ends in ".damaged".
//   - Nothing is written but what Config.Redact returned. Files have mode 0600,
//     the folder has 0700, and one process at a time has it open.
//
// # Files
//
// A segment is named <number>-<salt>.calls, both of 16 hexadecimal digits, and
// holds frames: the first half of the salt, the length of the payload (uint32,
// little endian), a CRC-32C over the salt, that length and the payload, then the
// payload, an encoded keytrail.v1.Call. The salt is random, so that no caller
// can put bytes into a call that pass for a frame where the real one is damaged.
// "delivered" names the segment and offset up to which all is delivered.
package spool
