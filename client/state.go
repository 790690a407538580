package client

// State is what a publisher's or a subscription's stream is doing.
type State int

const (
	// StateConnected: the bus has answered on a stream, the first or a new one.
	StateConnected State = iota + 1

	// StateReconnecting: the stream ended, or could not be opened, for a
	// reason that is likely to pass. Another is opened after a pause.
	StateReconnecting
)

func (s State) String() string {
	switch s {
	case StateConnected:
		return "connected"
	case StateReconnecting:
		return "reconnecting"
	default:
		return "unknown"
	}
}
