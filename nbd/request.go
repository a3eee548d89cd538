package nbd

import (
	"errors"
	"io"

	"github.com/sextantdisk/sextant/internal/block"
	"github.com/sextantdisk/sextant/internal/slab"
)

// payloadSkipMax is the longest payload of a refused write that is read to
// keep the stream in step; a longer one ends the connection (rule 21).
const payloadSkipMax = 2 * int64(MaxPayload)

// commandRules says how a command is checked.
type commandRules struct {
	op      Op
	flags   uint16 // accepted besides FUA, which is accepted everywhere (rule 25)
	mutates bool   // refused on a read-only export
	payload bool   // its length is carried on the wire, one way or the other
	beyond  Errno  // what a range beyond the end gets (rule 34)
}

var rules = [...]commandRules{
	cmdRead:        {op: OpRead, flags: cmdFlagDF, payload: true, beyond: EINVAL},
	cmdWrite:       {op: OpWrite, mutates: true, payload: true, beyond: ENOSPC},
	cmdFlush:       {op: OpFlush},
	cmdTrim:        {op: OpTrim, mutates: true, beyond: EINVAL},
	cmdCache:       {op: OpCache, beyond: EINVAL},
	cmdWriteZeroes: {op: OpWriteZeroes, flags: cmdFlagNoHole | cmdFlagFastZero, mutates: true, beyond: ENOSPC},
	cmdBlockStatus: {op: OpBlockStatus, flags: cmdFlagReqOne, beyond: EINVAL},
}

// check validates all of a request before it has any effect.
func (c *conn) check(h header) (Op, Errno) {
	if int(h.cmd) >= len(rules) || rules[h.cmd].op == 0 {
		return 0, EINVAL
	}
	r := rules[h.cmd]
	allowed := r.flags | cmdFlagFUA
	if !c.structured {
		allowed &^= cmdFlagDF
	}
	size, length := c.export.Size, block.ByteCount(h.length)
	start := block.ByteCount(h.offset)
	unit := block.ByteCount(c.export.MinBlock)
	switch {
	case h.flags&^allowed != 0:
		return r.op, EINVAL
	case r.mutates && c.export.ReadOnly:
		return r.op, EPERM
	case r.op == OpFlush && (start != 0 || length != 0):
		return r.op, EINVAL
	case r.op == OpBlockStatus && (!c.allocation || length == 0):
		return r.op, EINVAL
	case start > size || length > size-start:
		return r.op, r.beyond
	case start%unit != 0 || length%unit != 0:
		return r.op, EINVAL
	case r.payload && length > MaxPayload:
		return r.op, EINVAL
	}
	return r.op, OK
}

// readRequests reads and submits requests until the connection ends, and
// says why it did.
func (c *conn) readRequests() error {
	for {
		p, err := c.in.next(requestBytes)
		if err != nil {
			return c.whyEnded(err)
		}
		if c.srv.ctx.Err() != nil {
			return errStopping // the runtime may let a read through whose deadline has passed
		}
		h, err := parseRequest(p)
		if err != nil {
			return err
		}
		if h.cmd == cmdDisc {
			return errDisconnected
		}
		if err := c.accept(h); err != nil {
			return c.whyEnded(err)
		}
	}
}

// whyEnded puts a read error into words.
func (c *conn) whyEnded(err error) error {
	switch {
	case c.severed.Load():
		return errSevered
	case c.srv.ctx.Err() != nil:
		return errStopping
	case errors.Is(err, io.EOF):
		return block.Errorf(block.Unavailable, "client closed the connection without NBD_CMD_DISC")
	}
	return err
}

// accept takes one request from the stream, payload included, and submits or
// refuses it.
func (c *conn) accept(h header) error {
	op, refused := c.check(h)
	n := 0
	if refused == OK && rules[h.cmd].payload {
		n = int(h.length)
	}
	t, err := c.newTask(h, op, n)
	if err != nil {
		return err
	}
	if h.cmd == cmdWrite {
		if err := c.readPayload(t, h, refused); err != nil {
			t.Release()
			return err
		}
	}
	c.active.Add(1)
	c.waiting = true
	if refused != OK || (h.length == 0 && op != OpFlush) {
		t.answer(refused)
		return nil
	}
	c.dev.Submit(&t.req)
	return nil
}

// readPayload reads what follows a write: into t, or to be forgotten when the
// write is refused (rule 27).
func (c *conn) readPayload(t *task, h header, refused Errno) error {
	if refused == OK {
		if t.req.Data == nil {
			return nil
		}
		return c.in.full(t.req.Data.Bytes())
	}
	if int64(h.length) > payloadSkipMax {
		return block.Errorf(block.Invalid, "write of %d bytes, more than twice the maximum of %v", h.length, MaxPayload)
	}
	return c.in.skip(int64(h.length))
}

// newTask makes the state of a request with n bytes of data, waiting for room
// if need be.
func (c *conn) newTask(h header, op Op, n int) (*task, error) {
	charge := int64(0)
	if n > 0 {
		charge = chargeFor(n)
	}
	if !c.budget.tryTake(charge) {
		c.kick()
		if !c.budget.take(charge, c.srv.ctx.Done(), c.gone, c.srv.relief.after/4, c.srv.relieve) {
			return nil, errStopping
		}
	}
	t := takeTask(c, h, op)
	t.charge = charge
	if n > 0 {
		t.req.Data = slab.Get(n)
	}
	return t, nil
}
