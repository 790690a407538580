package eventlog

// Durability is what an acknowledgement of a log promises, beside that the record survives the end
// of this process.
type Durability struct {
	// Replicated: it survives the loss of a machine.
	Replicated bool

	// Synced: it survives power loss.
	Synced bool
}

func (d Durability) String() string {
	switch {
	case d.Replicated && d.Synced:
		return "REPLICATED and SYNCED"
	case d.Replicated:
		return "REPLICATED"
	case d.Synced:
		return "SYNCED"
	}
	return "STORED"
}

// Durability is what this log promises.
func (l *Log) Durability() Durability {
	return Durability{
		Replicated: l.stream.CachedInfo().Config.Replicas >= 3,
		Synced:     l.disk != nil && !l.cfg.Unsynced || l.cfg.ServerSyncs,
	}
}
