package nbd

import (
	"context"
	"encoding/binary"

	"github.com/sextantdisk/sextant/internal/block"
)

const (
	defaultMinBlock       = 1
	defaultPreferredBlock = block.Size
	minBlockMax           = 64 << 10
	preferredBlockMin     = 512
	exportNameMax         = 255
)

// normal fills in the defaults of an Export and checks what the NBD spec
// demands of block sizes (rule 19). Error kind: Invalid.
func (e Export) normal() (Export, error) {
	setDefault(&e.MinBlock, defaultMinBlock)
	setDefault(&e.PreferredBlock, max(defaultPreferredBlock, e.MinBlock))
	low, pref := e.MinBlock, e.PreferredBlock
	switch {
	case low&(low-1) != 0 || low > minBlockMax:
		return e, block.Errorf(block.Invalid, "export %q: minimum block %d is not a power of two up to %d", e.Name, low, minBlockMax)
	case pref&(pref-1) != 0 || pref < max(preferredBlockMin, low) || block.ByteCount(pref) > MaxPayload:
		return e, block.Errorf(block.Invalid, "export %q: preferred block %d is not a power of two from %d to %v", e.Name, pref, max(preferredBlockMin, low), MaxPayload)
	case e.Size%block.ByteCount(low) != 0:
		return e, block.Errorf(block.Invalid, "export %q: size %d is not a multiple of the minimum block %d", e.Name, uint64(e.Size), low)
	case len(e.Name) > exportNameMax || !validString([]byte(e.Name)):
		return e, block.Errorf(block.Invalid, "export name %q is not UTF-8 of at most %d bytes", e.Name, exportNameMax)
	}
	e.Description = clip(e.Description, listEntryMax-len(e.Name))
	return e, nil
}

// exportName is NBD_OPT_EXPORT_NAME: it opens the export or ends the
// connection, for no error can be told (rule 3).
//
//	0  8  size
//	8  2  transmission flags
//	10 124  zeroes, unless the client has said NO_ZEROES (rule 2)
func (h *handshake) exportName(data []byte) (*session, error) {
	if !validString(data) {
		return nil, block.Errorf(block.Invalid, "export name of %d bytes is not a string", len(data))
	}
	s, err := h.open(string(data))
	if err != nil {
		return nil, err
	}
	h.out = binary.BigEndian.AppendUint64(h.out, uint64(s.export.Size))
	h.out = binary.BigEndian.AppendUint16(h.out, transmissionFlags(s.export.ReadOnly, s.structured))
	if !h.noZeroes {
		h.out = append(h.out, make([]byte, 124)...)
	}
	return h.started(s)
}

// goExport is NBD_OPT_GO.
func (h *handshake) goExport(data []byte) (*session, error) {
	name, infos, ok := parseInfo(data)
	if !ok {
		h.refuse(optGo, repErrInvalid, "malformed request")
		return nil, nil
	}
	s, err := h.open(name)
	if err != nil {
		h.srv.cfg.Log.Info("export not opened", "export", name, "client", h.conn.client(), "err", err)
		h.refuse(optGo, refusal(err), err.Error())
		return nil, nil
	}
	h.describe(optGo, s.export, infos)
	return h.started(s)
}

// info is NBD_OPT_INFO: the same answers as GO, but nothing is opened.
func (h *handshake) info(data []byte) {
	name, infos, ok := parseInfo(data)
	if !ok {
		h.refuse(optInfo, repErrInvalid, "malformed request")
		return
	}
	e, err := h.lookUp(name)
	if err != nil {
		h.refuse(optInfo, refusal(err), err.Error())
		return
	}
	h.describe(optInfo, e, infos)
}

// lookUp describes an export without opening it.
func (h *handshake) lookUp(name string) (Export, error) {
	var e Export
	err := h.ask(h.srv.cfg.HandshakeTimeout, func(ctx context.Context) (err error) {
		e, err = h.srv.cfg.Backend.Describe(ctx, name)
		return err
	})
	if err != nil {
		return e, err
	}
	return e.normal()
}

// open opens an export; this is the only place that does (rule 12).
func (h *handshake) open(name string) (*session, error) {
	h.srv.setPhase(h.conn, phaseOpen)
	var dev Device
	var e Export
	err := h.ask(openTimeMax, func(ctx context.Context) (err error) {
		dev, e, err = h.srv.cfg.Backend.Open(ctx, name)
		return err
	})
	if err == nil {
		if e, err = e.normal(); err != nil {
			_ = dev.Close() // nothing was submitted, and err says more
		}
	}
	if err != nil {
		h.srv.setPhase(h.conn, phaseHandshake)
		return nil, err
	}
	return &session{
		dev:        dev,
		export:     e,
		structured: h.structured,
		allocation: h.structured && h.context.allocation && h.context.export == name,
	}, nil
}

// started sends the last words of the handshake.
func (h *handshake) started(s *session) (*session, error) {
	if err := h.flush(); err != nil {
		_ = s.dev.Close() // nothing was submitted, and err says more
		return nil, err
	}
	return s, nil
}

// describe queues what INFO and GO answer; infos are the items asked for
// (rule 7). The same state gives the same answer (rule 8).
func (h *handshake) describe(opt option, e Export, infos []uint16) {
	item := binary.BigEndian.AppendUint16(nil, infoExport)
	item = binary.BigEndian.AppendUint64(item, uint64(e.Size))
	item = binary.BigEndian.AppendUint16(item, transmissionFlags(e.ReadOnly, h.structured))
	h.reply(opt, repInfo, item)
	var told [infoBlockSize + 1]bool
	for _, want := range infos {
		if want > infoBlockSize || told[want] {
			continue
		}
		told[want] = true
		item := binary.BigEndian.AppendUint16(nil, want)
		switch want {
		case infoName:
			item = append(item, e.Name...)
		case infoDescription:
			item = append(item, e.Description...)
		case infoBlockSize:
			item = binary.BigEndian.AppendUint32(item, e.MinBlock)
			item = binary.BigEndian.AppendUint32(item, e.PreferredBlock)
			item = binary.BigEndian.AppendUint32(item, uint32(MaxPayload))
		default:
			continue
		}
		h.reply(opt, repInfo, item)
	}
	h.reply(opt, repAck, nil)
}

// list is NBD_OPT_LIST. Each entry goes out in a write of its own: nbd-client
// does not loop on short reads (rule 6).
//
//	0  4  length of the name
//	4  …  name, then the description
func (h *handshake) list(data []byte) error {
	if len(data) != 0 {
		h.refuse(optList, repErrInvalid, "this option takes no data")
		return nil
	}
	var exports []Export
	err := h.ask(h.srv.cfg.HandshakeTimeout, func(ctx context.Context) (err error) {
		exports, err = h.srv.cfg.Backend.List(ctx)
		return err
	})
	if err != nil {
		h.refuse(optList, refusal(err), err.Error())
		return nil
	}
	for _, e := range exports {
		e, err := e.normal()
		if err != nil {
			h.srv.cfg.Log.Warn("export left out of the list", "err", err)
			continue
		}
		entry := binary.BigEndian.AppendUint32(nil, uint32(len(e.Name)))
		entry = append(append(entry, e.Name...), e.Description...)
		h.reply(optList, repServer, entry)
		if err := h.flush(); err != nil {
			return err
		}
	}
	h.reply(optList, repAck, nil)
	return nil
}

// parseInfo reads the data of INFO and GO:
//
//	0    4   length of the name
//	4    n   name
//	4+n  2   number of items
//	6+n  2…  items
func parseInfo(p []byte) (name string, infos []uint16, ok bool) {
	raw, p, ok := cutString(p)
	if !ok || len(p) < 2 || !validString(raw) {
		return "", nil, false
	}
	count := int(binary.BigEndian.Uint16(p))
	p = p[2:]
	if len(p) != 2*count {
		return "", nil, false
	}
	infos = make([]uint16, count)
	for i := range infos {
		infos[i] = binary.BigEndian.Uint16(p[2*i:])
	}
	return string(raw), infos, true
}

// cutString takes a string with a 4 byte length from the front of p.
func cutString(p []byte) (s, rest []byte, ok bool) {
	if len(p) < 4 {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint32(p)
	p = p[4:]
	if uint64(n) > uint64(len(p)) {
		return nil, nil, false
	}
	return p[:n], p[n:], true
}
