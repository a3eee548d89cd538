package logstore

// generation numbers checkpoints.
type generation uint32

// checkpointer makes no checkpoint yet: so nothing that was cleaned is freed.
type checkpointer struct{}

// next is the generation of the next checkpoint to begin.
func (c *checkpointer) next() generation { return 1 }

// request asks for it to begin now.
func (c *checkpointer) request() generation { return 1 }

// durable is the generation of the last one that is durable.
func (c *checkpointer) durable() generation { return 0 }
