package nbd

import (
	"encoding/binary"
)

// queriesMax bounds the queries of one meta context option (rule 33).
const queriesMax = 256

// selection is what SET_META_CONTEXT has chosen, for one export name.
type selection struct {
	export     string
	allocation bool
}

// metaContext is NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT
// (rule 33). The one context there is, is base:allocation.
func (h *handshake) metaContext(opt option, data []byte) {
	set := opt == optSetMetaContext
	if set {
		h.context = selection{} // even when what follows fails
	}
	if !h.structured {
		h.refuse(opt, repErrInvalid, "structured replies must be negotiated before")
		return
	}
	q, problem := parseQueries(data)
	if problem != 0 {
		h.refuse(opt, problem, "malformed or too many queries")
		return
	}
	if _, err := h.lookUp(q.export); err != nil {
		h.refuse(opt, refusal(err), err.Error())
		return
	}
	if q.matches(set) {
		id := uint32(0)
		if set {
			id = allocationID
			h.context = selection{export: q.export, allocation: true}
		}
		h.reply(opt, repMetaContext, append(binary.BigEndian.AppendUint32(nil, id), allocationName...))
	}
	h.reply(opt, repAck, nil)
}

// queries is the data of a meta context option:
//
//	0    4  length of the export name
//	4    n  export name
//	4+n  4  number of queries
//	8+n  …  queries, each 4 bytes length and the string
type queries struct {
	export string
	count  int
	// exact: "base:allocation" was asked for; prefix: "base:" was.
	exact, prefix bool
}

// matches reports whether base:allocation is meant. A list without queries
// means all there are; a set without queries means none.
func (q queries) matches(set bool) bool {
	if set {
		return q.exact
	}
	return q.exact || q.prefix || q.count == 0
}

// parseQueries returns a reply type other than 0 when p is not well formed.
func parseQueries(p []byte) (q queries, problem replyType) {
	name, p, ok := cutString(p)
	if !ok || len(p) < 4 || !validString(name) {
		return q, repErrInvalid
	}
	q.export = string(name)
	count := binary.BigEndian.Uint32(p)
	p = p[4:]
	if count > queriesMax {
		return q, repErrTooBig
	}
	q.count = int(count)
	for range count {
		var s []byte
		if s, p, ok = cutString(p); !ok || !validString(s) {
			return q, repErrInvalid
		}
		switch string(s) {
		case allocationName:
			q.exact = true
		case allocationPrefix:
			q.prefix = true
		}
	}
	if len(p) != 0 {
		return q, repErrInvalid
	}
	return q, 0
}
