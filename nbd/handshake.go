package nbd

import (
	"context"
	"encoding/binary"
	"errors"
	"time"
	"unicode/utf8"

	"github.com/sextantdisk/sextant/internal/block"
)

// Bounds of a handshake (rule 5).
const (
	// optionBytesMax is the longest option that is looked at;
	// optionSkipMax the longest that is read to be refused. A longer one
	// ends the connection.
	optionBytesMax = 64 << 10
	optionSkipMax  = 1 << 20
	// optionsMax is how many options one client may send.
	optionsMax = 256
	// nameBytesMax is the longest string of the protocol (rule 6).
	nameBytesMax = 4096
	// listEntryMax bounds name and description together in a LIST reply:
	// nbd-client reads them into 1024 bytes (rule 6).
	listEntryMax = 1000
	// messageBytesMax bounds error messages to clients.
	messageBytesMax = 512
)

// errAborted ends a connection whose client took leave with NBD_OPT_ABORT.
var errAborted = errors.New("client aborted the handshake")

// session is what a handshake has agreed on.
type session struct {
	dev        Device
	export     Export
	structured bool
	allocation bool // base:allocation was selected for this export
}

// handshake talks with a client until it has opened an export.
//
//	greeting ─► client flags ─► option ─┬─► GO, EXPORT_NAME ─► session
//	                              ▲     ├─► ABORT, error ────► end
//	                              └─────┘ all others
type handshake struct {
	srv      *Server
	conn     *conn
	deadline time.Time
	out      []byte // replies that wait for flush

	fixed, noZeroes bool
	structured      bool
	context         selection
}

// run does the handshake. The error says why there is no session.
func (h *handshake) run() (*session, error) {
	h.deadline = time.Now().Add(h.srv.cfg.HandshakeTimeout)
	h.conn.setDeadline(h.deadline)
	h.out = greeting(h.out)
	if err := h.flush(); err != nil {
		return nil, err
	}
	p, err := h.conn.in.next(clientFlagsBytes)
	if err != nil {
		return nil, err
	}
	flags := binary.BigEndian.Uint32(p)
	if unknown := flags &^ uint32(flagFixedNewstyle|flagNoZeroes); unknown != 0 {
		return nil, block.Errorf(block.Invalid, "client flags %#x were not offered", unknown)
	}
	h.fixed = flags&uint32(flagFixedNewstyle) != 0
	h.noZeroes = flags&uint32(flagNoZeroes) != 0
	for range optionsMax {
		s, err := h.step()
		if err != nil || s != nil {
			return s, err
		}
	}
	return nil, block.Errorf(block.Invalid, "more than %d options", optionsMax)
}

// step reads one option and answers it. It returns a session when the option
// has opened an export.
func (h *handshake) step() (*session, error) {
	p, err := h.conn.in.next(optionHeaderBytes)
	if err != nil {
		return nil, err
	}
	opt, length, err := parseOption(p)
	if err != nil {
		return nil, err
	}
	if length > optionSkipMax {
		return nil, block.Errorf(block.Invalid, "option %d has %d bytes of data", opt, length)
	}
	if !h.fixed && opt != optExportName {
		return nil, block.Errorf(block.Invalid, "option %d without fixed newstyle", opt)
	}
	if length > optionBytesMax {
		if err := h.conn.in.skip(int64(length)); err != nil {
			return nil, err
		}
		if opt == optExportName {
			return nil, block.Errorf(block.Invalid, "export name of %d bytes", length)
		}
		h.refuse(opt, repErrTooBig, "option data is longer than 64 KiB")
		return nil, h.flush()
	}
	data := make([]byte, length)
	if err := h.conn.in.full(data); err != nil {
		return nil, err
	}
	s, err := h.handle(opt, data)
	if err != nil || s != nil {
		return s, err
	}
	return nil, h.flush()
}

// handle answers one option. Options that are not known are refused and the
// conversation goes on (rule 4).
func (h *handshake) handle(opt option, data []byte) (*session, error) {
	if h.srv.ctx.Err() != nil && opt != optExportName && opt != optAbort {
		h.refuse(opt, repErrShutdown, "the server is shutting down")
		return nil, errors.Join(h.flush(), errStopping)
	}
	switch opt {
	case optExportName:
		return h.exportName(data)
	case optGo:
		return h.goExport(data)
	case optInfo:
		h.info(data)
	case optAbort:
		h.reply(opt, repAck, nil)
		_ = h.flush() // the client may be gone already (rule 10)
		return nil, errAborted
	case optList:
		return nil, h.list(data)
	case optStartTLS:
		h.startTLS(data)
	case optStructuredReply:
		h.structuredReply(data)
	case optListMetaContext, optSetMetaContext:
		h.metaContext(opt, data)
	default:
		h.refuse(opt, repErrUnsup, "this option is not supported")
	}
	return nil, nil
}

// startTLS answers as a server without TLS must (rules 14 and 15). A server
// with TLS would, at this place, fail if anything is buffered in conn.in,
// wrap conn.nc, and forget h.structured and h.context (rule 16).
func (h *handshake) startTLS(data []byte) {
	if len(data) != 0 {
		h.refuse(optStartTLS, repErrInvalid, "this option takes no data")
		return
	}
	h.refuse(optStartTLS, repErrPolicy, "this server has no TLS")
}

func (h *handshake) structuredReply(data []byte) {
	if len(data) != 0 {
		h.refuse(optStructuredReply, repErrInvalid, "this option takes no data")
		return
	}
	h.structured = true
	h.reply(optStructuredReply, repAck, nil)
}

// reply queues an option reply.
func (h *handshake) reply(opt option, typ replyType, data []byte) {
	h.out = appendOptionReply(h.out, opt, typ, data)
}

// refuse queues an error reply with a message for people.
func (h *handshake) refuse(opt option, typ replyType, message string) {
	h.reply(opt, typ, []byte(clip(message, messageBytesMax)))
}

// flush writes what is queued in one write.
func (h *handshake) flush() error {
	if len(h.out) == 0 {
		return nil
	}
	_, err := h.conn.nc.Write(h.out)
	h.out = h.out[:0]
	return err
}

// ask calls the Backend; the time it takes does not count for the client.
func (h *handshake) ask(limit time.Duration, fn func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(h.srv.ctx, limit)
	defer cancel()
	began := time.Now()
	err := fn(ctx)
	h.deadline = h.deadline.Add(time.Since(began))
	h.conn.setDeadline(h.deadline)
	return err
}

// validString says whether p is a string of the protocol: UTF-8 without NUL,
// of at most nameBytesMax bytes.
func validString(p []byte) bool {
	if len(p) > nameBytesMax || !utf8.Valid(p) {
		return false
	}
	for _, b := range p {
		if b == 0 {
			return false
		}
	}
	return true
}

// clip makes s a string of the protocol of at most n bytes.
func clip(s string, n int) string {
	clean := make([]rune, 0, min(len(s), n))
	size := 0
	for _, r := range s {
		if r == 0 {
			r = utf8.RuneError
		}
		if size += utf8.RuneLen(r); size > n {
			break
		}
		clean = append(clean, r)
	}
	return string(clean)
}
