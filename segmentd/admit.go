package segmentd

import (
	"github.com/sextantdisk/sextant/segmentd/segment"
	"github.com/sextantdisk/sextant/wire"
)

// admit finds the segment that a message is for, which changes nothing there by
// itself, if the rule lets it in; nil if not: then it was answered.
func (c *conn) admit(tag wire.Tag, id *wire.Identity, rule func(*segment.Core, *wire.Identity) *wire.Refuse) *hosted {
	host, ok := c.s.host(id.Segment)
	if !ok {
		c.notHere(tag, id)
		return nil
	}
	host.mu.Lock()
	refuse := rule(host.mu.core, id)
	host.mu.Unlock()
	if refuse != nil {
		c.refuseWith(tag, refuse)
		return nil
	}
	return host
}
