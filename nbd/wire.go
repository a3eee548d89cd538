package nbd

import (
	"encoding/binary"
	"fmt"

	"github.com/pojntfx/go-nbd/pkg/protocol"

	"github.com/sextantdisk/sextant/internal/block"
)

// All numbers on the wire are big-endian.

// Handshake, server to client first:
//
//	 0  8  "NBDMAGIC"
//	 8  8  "IHAVEOPT"
//	16  2  handshake flags
//
// then client to server:
//
//	0  4  client flags
const (
	greetingBytes    = 18
	clientFlagsBytes = 4

	flagFixedNewstyle = protocol.NEGOTIATION_HANDSHAKE_FLAG_FIXED_NEWSTYLE
	flagNoZeroes      = uint16(1 << 1)
)

// greeting appends what the server says first (rule 1: these two flags and
// no other).
func greeting(p []byte) []byte {
	p = binary.BigEndian.AppendUint64(p, protocol.NEGOTIATION_MAGIC_OLDSTYLE)
	p = binary.BigEndian.AppendUint64(p, protocol.NEGOTIATION_MAGIC_OPTION)
	return binary.BigEndian.AppendUint16(p, flagFixedNewstyle|flagNoZeroes)
}

// option is NBD_OPT_*.
type option uint32

const (
	optExportName      option = 1
	optAbort                  = option(protocol.NEGOTIATION_ID_OPTION_ABORT)
	optList                   = option(protocol.NEGOTIATION_ID_OPTION_LIST)
	optStartTLS        option = 5
	optInfo                   = option(protocol.NEGOTIATION_ID_OPTION_INFO)
	optGo                     = option(protocol.NEGOTIATION_ID_OPTION_GO)
	optStructuredReply option = 8
	optListMetaContext option = 9
	optSetMetaContext  option = 10
)

// An option, client to server:
//
//	 0  8  "IHAVEOPT"
//	 8  4  option
//	12  4  length of the data
//	16  …  data
const optionHeaderBytes = 16

// parseOption reads an option header of optionHeaderBytes.
func parseOption(p []byte) (opt option, length uint32, err error) {
	if magic := binary.BigEndian.Uint64(p); magic != protocol.NEGOTIATION_MAGIC_OPTION {
		return 0, 0, block.Errorf(block.Invalid, "option begins with %#x, not with the option magic", magic)
	}
	return option(binary.BigEndian.Uint32(p[8:])), binary.BigEndian.Uint32(p[12:]), nil
}

// replyType is NBD_REP_*.
type replyType uint32

const (
	repAck         = replyType(protocol.NEGOTIATION_TYPE_REPLY_ACK)
	repServer      = replyType(protocol.NEGOTIATION_TYPE_REPLY_SERVER)
	repInfo        = replyType(protocol.NEGOTIATION_TYPE_REPLY_INFO)
	repMetaContext = replyType(4)

	repErrUnsup    = replyType(protocol.NEGOTIATION_TYPE_REPLY_ERR_UNSUPPORTED)
	repErrPolicy   = replyType(1<<31 + 2)
	repErrInvalid  = replyType(1<<31 + 3)
	repErrUnknown  = replyType(protocol.NEGOTIATION_TYPE_REPLY_ERR_UNKNOWN)
	repErrShutdown = replyType(1<<31 + 7)
	repErrTooBig   = replyType(1<<31 + 9)
)

// An option reply, server to client:
//
//	 0  8  reply magic
//	 8  4  option that is answered
//	12  4  reply type
//	16  4  length of the data
//	20  …  data

// appendOptionReply appends a reply with its data.
func appendOptionReply(p []byte, opt option, typ replyType, data []byte) []byte {
	p = binary.BigEndian.AppendUint64(p, protocol.NEGOTIATION_MAGIC_REPLY)
	p = binary.BigEndian.AppendUint32(p, uint32(opt))
	p = binary.BigEndian.AppendUint32(p, uint32(typ))
	p = binary.BigEndian.AppendUint32(p, uint32(len(data)))
	return append(p, data...)
}

// NBD_INFO_*, the items of repInfo:
//
//	export       0  2  type 0   2  8  size   10  2  transmission flags
//	name         0  2  type 1   2  …  canonical name
//	description  0  2  type 2   2  …  description
//	block size   0  2  type 3   2  4  minimum   6  4  preferred   10  4  maximum payload
const (
	infoExport      = protocol.NEGOTIATION_TYPE_INFO_EXPORT
	infoName        = protocol.NEGOTIATION_TYPE_INFO_NAME
	infoDescription = protocol.NEGOTIATION_TYPE_INFO_DESCRIPTION
	infoBlockSize   = protocol.NEGOTIATION_TYPE_INFO_BLOCKSIZE
)

// Transmission flags, NBD_FLAG_*.
const (
	flagHasFlags        = protocol.NEGOTIATION_REPLY_FLAGS_HAS_FLAGS
	flagReadOnly        = uint16(1 << 1)
	flagSendFlush       = uint16(1 << 2)
	flagSendFUA         = uint16(1 << 3)
	flagSendTrim        = uint16(1 << 5)
	flagSendWriteZeroes = uint16(1 << 6)
	flagSendDF          = uint16(1 << 7)
	flagCanMultiConn    = protocol.NEGOTIATION_REPLY_FLAGS_CAN_MULTI_CONN
	flagSendCache       = uint16(1 << 10)
	flagSendFastZero    = uint16(1 << 11)
)

// transmissionFlags says what works on an export (rule 26).
func transmissionFlags(readOnly, structured bool) uint16 {
	f := flagHasFlags | flagSendFlush | flagSendFUA | flagCanMultiConn | flagSendCache
	if readOnly {
		f |= flagReadOnly
	} else {
		f |= flagSendTrim | flagSendWriteZeroes | flagSendFastZero
	}
	if structured {
		f |= flagSendDF
	}
	return f
}

// command is NBD_CMD_*.
type command uint16

const (
	cmdRead        = command(protocol.TRANSMISSION_TYPE_REQUEST_READ)
	cmdWrite       = command(protocol.TRANSMISSION_TYPE_REQUEST_WRITE)
	cmdDisc        = command(protocol.TRANSMISSION_TYPE_REQUEST_DISC)
	cmdFlush       = command(3)
	cmdTrim        = command(4)
	cmdCache       = command(5)
	cmdWriteZeroes = command(6)
	cmdBlockStatus = command(7)
)

var commandNames = [...]string{
	"NBD_CMD_READ", "NBD_CMD_WRITE", "NBD_CMD_DISC", "NBD_CMD_FLUSH",
	"NBD_CMD_TRIM", "NBD_CMD_CACHE", "NBD_CMD_WRITE_ZEROES", "NBD_CMD_BLOCK_STATUS",
}

func (c command) String() string {
	if int(c) < len(commandNames) {
		return commandNames[c]
	}
	return fmt.Sprintf("command %d", uint16(c))
}

// Command flags, NBD_CMD_FLAG_*.
const (
	cmdFlagFUA      = uint16(1 << 0)
	cmdFlagNoHole   = uint16(1 << 1)
	cmdFlagDF       = uint16(1 << 2)
	cmdFlagReqOne   = uint16(1 << 3)
	cmdFlagFastZero = uint16(1 << 4)
)

// A request, client to server:
//
//	 0  4  request magic
//	 4  2  command flags
//	 6  2  command
//	 8  8  cookie, opaque
//	16  8  offset
//	24  4  length
//	28  …  payload of length bytes, NBD_CMD_WRITE only
const requestBytes = 28

// header is a request as it came.
type header struct {
	flags  uint16
	cmd    command
	cookie uint64
	offset block.Offset
	length uint32
}

// parseRequest reads a request header of requestBytes (rule 23).
func parseRequest(p []byte) (header, error) {
	if magic := binary.BigEndian.Uint32(p); magic != protocol.TRANSMISSION_MAGIC_REQUEST {
		return header{}, block.Errorf(block.Invalid, "request begins with %#x, not with the request magic", magic)
	}
	return header{
		flags:  binary.BigEndian.Uint16(p[4:]),
		cmd:    command(binary.BigEndian.Uint16(p[6:])),
		cookie: binary.BigEndian.Uint64(p[8:]),
		offset: block.Offset(binary.BigEndian.Uint64(p[16:])),
		length: binary.BigEndian.Uint32(p[24:]),
	}, nil
}

// A simple reply:
//
//	 0  4  simple reply magic
//	 4  4  errno
//	 8  8  cookie
//	16  …  data, for a successful NBD_CMD_READ only
const simpleReplyBytes = 16

func putSimpleReply(p *[simpleReplyBytes]byte, cookie uint64, e Errno) {
	binary.BigEndian.PutUint32(p[0:], protocol.TRANSMISSION_MAGIC_REPLY)
	binary.BigEndian.PutUint32(p[4:], uint32(e))
	binary.BigEndian.PutUint64(p[8:], cookie)
}

// chunkType is NBD_REPLY_TYPE_*.
type chunkType uint16

const (
	chunkNone        chunkType = 0
	chunkOffsetData  chunkType = 1
	chunkOffsetHole  chunkType = 2
	chunkBlockStatus chunkType = 5
	chunkError       chunkType = 1<<15 + 1
)

// A structured reply chunk:
//
//	 0  4  structured reply magic
//	 4  2  flags, bit 0: the last chunk of this reply
//	 6  2  chunk type
//	 8  8  cookie
//	16  4  length of the rest
//	20  …  none          nothing
//	       offset data   8 offset, data
//	       offset hole   8 offset, 4 length of the hole
//	       block status  4 context id, then 4 length + 4 flags for each extent
//	       error         4 errno, 2 length of the message, message
const (
	chunkBytes       = 20
	dataChunkBytes   = chunkBytes + 8
	holeChunkBytes   = chunkBytes + 12
	extentBytes      = 8
	structuredMagic  = uint32(0x668e33ef)
	chunkFlagDone    = uint16(1)
	statusHole       = uint32(1)
	statusZero       = uint32(2)
	allocationID     = uint32(1)
	allocationName   = "base:allocation"
	allocationPrefix = "base:"
)

// appendChunk appends a chunk header; length counts what follows it.
func appendChunk(p []byte, flags uint16, typ chunkType, cookie uint64, length int) []byte {
	p = binary.BigEndian.AppendUint32(p, structuredMagic)
	p = binary.BigEndian.AppendUint16(p, flags)
	p = binary.BigEndian.AppendUint16(p, uint16(typ))
	p = binary.BigEndian.AppendUint64(p, cookie)
	return binary.BigEndian.AppendUint32(p, uint32(length))
}
