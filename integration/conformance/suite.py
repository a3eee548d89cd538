"""Cases for an NBD server, one function each, named for the rule they prove.

usage: suite.py URI SOCKET

Prints "ok NAME" or "FAIL NAME: why" for each case; the exit status is 1 when
one has failed. libnbd (python3-libnbd) runs with set_strict_mode(0), so that
it sends what a well-behaved client would not; what it still cannot send goes
over a plain socket (class Raw).
"""

import errno
import os
import socket
import struct
import sys
import traceback
from urllib.parse import urlparse

import nbd

URI = urlparse(sys.argv[1])
EXPORT = URI.path.lstrip("/")
SOCKET = sys.argv[2]
SIZE = 0  # of the export, set by main

CASES = []


def case(fn):
    CASES.append(fn)
    return fn


def check(ok, why="expectation not met"):
    if not ok:
        raise AssertionError(why)


def equal(got, want):
    check(got == want, "got %.200r, want %.200r" % (got, want))


def fails(want, fn, *args, **kw):
    """fn fails with errno want."""
    try:
        fn(*args, **kw)
    except nbd.Error as e:
        check(e.errnum == want, "errno %s, want %s" % (e.errno, errno.errorcode[want]))
        return
    raise AssertionError("succeeded, want %s" % errno.errorcode[want])


def handle(structured=True, opt_mode=False, contexts=("base:allocation",)):
    h = nbd.NBD()
    h.set_strict_mode(0)
    h.set_export_name(EXPORT)
    h.set_request_structured_replies(structured)
    for c in contexts:
        h.add_meta_context(c)
    h.set_opt_mode(opt_mode)
    h.connect_tcp(URI.hostname, str(URI.port))
    return h


# Options and replies by number.
EXPORT_NAME, ABORT, LIST, STARTTLS, INFO, GO = 1, 2, 3, 5, 6, 7
STRUCTURED, LIST_META, SET_META = 8, 9, 10
ACK, SERVER, REP_INFO, META = 1, 2, 3, 4
UNSUP, POLICY, INVALID, UNKNOWN, TOO_BIG = [(1 << 31) + n for n in (1, 2, 3, 6, 9)]
READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES, STATUS = range(8)


class Raw:
    """A client of bytes."""

    def __init__(self, flags=3, unix=False):
        if unix:
            self.s = socket.socket(socket.AF_UNIX)
            self.s.settimeout(30)
            self.s.connect(SOCKET)
        else:
            self.s = socket.create_connection((URI.hostname, URI.port), 30)
        equal(self.take(18), b"NBDMAGICIHAVEOPT\0\3")
        if flags is not None:
            self.put(struct.pack(">I", flags))

    def put(self, data):
        self.s.sendall(data)

    def take(self, n):
        data = b""
        while len(data) < n:
            more = self.s.recv(n - len(data))
            check(more, "the server has closed after %d of %d bytes" % (len(data), n))
            data += more
        return data

    def end(self):
        """The server closes without another byte, and not for a timeout."""
        self.s.settimeout(5)
        try:
            data = self.s.recv(1)
        except ConnectionError:
            data = b""
        equal(data, b"")

    def option(self, opt, data=b"", length=None):
        n = len(data) if length is None else length
        self.put(b"IHAVEOPT" + struct.pack(">II", opt, n) + data)

    def reply(self, opt):
        magic, got, typ, n = struct.unpack(">QIII", self.take(20))
        equal(magic, 0x3E889045565A9)
        equal(got, opt)
        return typ, self.take(n)

    def expect(self, opt, *types):
        """Replies of these types, then nothing more is read."""
        answers = []
        for want in types:
            typ, data = self.reply(opt)
            check(typ == want, "option %d: reply %#x %r, want %#x" % (opt, typ, data, want))
            answers.append(data)
        return answers

    def refused(self, opt, data, want):
        self.option(opt, data)
        self.expect(opt, want)

    def go(self, name=None):
        self.option(GO, go_data(EXPORT if name is None else name))
        self.expect(GO, REP_INFO, ACK)
        return self

    def structured(self):
        self.option(STRUCTURED)
        self.expect(STRUCTURED, ACK)
        return self

    def status(self):
        self.option(SET_META, meta_data(EXPORT, "base:allocation"))
        self.expect(SET_META, META, ACK)
        return self

    def request(self, cmd, off=0, n=0, flags=0, cookie=7, payload=b"", magic=0x25609513):
        self.put(struct.pack(">IHHQQI", magic, flags, cmd, cookie, off, n) + payload)

    def simple(self, cookie=7):
        magic, err, got = struct.unpack(">IIQ", self.take(16))
        equal(magic, 0x67446698)
        equal(got, cookie)
        return err

    def do(self, want, *args, **kw):
        self.request(*args, **kw)
        equal(self.simple(kw.get("cookie", 7)), want)

    def chunk(self, cookie=7):
        magic, flags, typ, got, n = struct.unpack(">IHHQI", self.take(20))
        equal(magic, 0x668E33EF)
        equal(got, cookie)
        check(flags in (0, 1), "chunk flags %#x" % flags)
        return flags, typ, self.take(n)

    def error_chunk(self, want, cookie=7):
        flags, typ, data = self.chunk(cookie)
        equal((flags, typ), (1, 0x8001))
        code, n = struct.unpack(">IH", data[:6])
        equal(code, want)
        equal(len(data), 6 + n)

    def alive(self):
        self.do(0, FLUSH, cookie=99)


def lp(s):
    s = s.encode() if isinstance(s, str) else s
    return struct.pack(">I", len(s)) + s


def go_data(name, *infos):
    return lp(name) + struct.pack(">H%dH" % len(infos), len(infos), *infos)


def meta_data(name, *queries):
    return lp(name) + struct.pack(">I", len(queries)) + b"".join(lp(q) for q in queries)


def noise(seed, n):
    block = bytes((seed * 37 + i * 11 + 1) % 255 + 1 for i in range(997))
    return (block * (n // 997 + 1))[:n]


# Handshake


@case
def n1_unknown_client_flags_drop():
    for flags in (4, 1 << 16, 1 << 31):
        Raw(flags).end()


@case
def n2_export_name_padding():
    for flags, padding in ((1, 124), (3, 0), (0, 124), (2, 0)):
        r = Raw(flags)
        r.option(EXPORT_NAME, EXPORT.encode())
        size, _, rest = struct.unpack(">QH%ds" % padding, r.take(10 + padding))
        equal(size, SIZE)
        equal(rest, bytes(padding))
        r.alive()


@case
def n2_go_never_pads():
    Raw(1).go().alive()


@case
def n3_export_name_unknown_closes():
    r = Raw()
    r.option(EXPORT_NAME, b"no-such-export-here")
    r.end()


@case
def n3_only_export_name_without_fixed_newstyle():
    r = Raw(0)
    r.option(LIST)
    r.end()


@case
def n4_unknown_option_is_unsup_and_parsing_goes_on():
    r = Raw()
    for opt in (4, 11, 77, 0xFFFFFFFF):
        r.refused(opt, b"data of it", UNSUP)
    r.go().alive()


@case
def n5_long_option_is_refused_politely():
    r = Raw()
    for opt in (LIST, INFO, GO, SET_META, 77):
        r.option(opt, bytes(100_000))
        typ, _ = r.reply(opt)
        check(typ in (TOO_BIG, INVALID, UNSUP), "reply %#x" % typ)
    r.go().alive()


@case
def n5_huge_option_closes():
    r = Raw()
    r.option(GO, b"", length=0xFFFFFFFF)
    r.end()


@case
def n5_name_length_of_4_gib():
    r = Raw()
    for opt in (INFO, GO):
        r.refused(opt, struct.pack(">I", 0xFFFFFFFF) + b"abc\0\0", INVALID)


@case
def n6_names():
    r = Raw()
    for opt in (INFO, GO):
        r.refused(opt, go_data("x" * 4096), UNKNOWN)
        r.refused(opt, go_data("x" * 4097), INVALID)
        r.refused(opt, go_data(b"a\0b"), INVALID)
        r.refused(opt, go_data(b"\xff\xfe"), INVALID)


@case
def n6_long_name_by_libnbd():
    h = handle(opt_mode=True)
    h.set_export_name("n" * 3000)
    fails(errno.ENOENT, h.opt_info)
    h.set_export_name(EXPORT)
    h.opt_go()
    h.shutdown()


@case
def n7_malformed_info_and_go():
    r = Raw()
    good = go_data(EXPORT, 1, 2)
    for opt in (INFO, GO):
        for bad in (b"", b"\0\0\0\0", good[:-1], good + b"\0", lp(EXPORT) + b"\xff\xff"):
            r.refused(opt, bad, INVALID)


@case
def n7_unknown_info_items_are_ignored():
    r = Raw()
    r.option(INFO, go_data(EXPORT, 500, 3, 65535))
    items = []
    while True:
        typ, data = r.reply(INFO)
        if typ == ACK:
            break
        equal(typ, REP_INFO)
        items.append(struct.unpack(">H", data[:2])[0])
    equal(sorted(items), [0, 3])


@case
def n7_default_export():
    r = Raw()
    r.option(INFO, go_data(""))
    r.expect(INFO, REP_INFO, ACK)


@case
def n8_info_then_go_agree():
    h = handle(opt_mode=True)
    h.set_full_info(True)

    def told():
        return (h.get_size(), h.get_canonical_export_name(), h.can_trim(), h.can_multi_conn(),
                h.is_read_only(), [h.get_block_size(i) for i in range(3)])

    h.opt_info()
    before = told()
    h.opt_go()
    equal(told(), before)
    h.shutdown()


@case
def n9_options_that_take_no_data():
    r = Raw()
    for opt in (LIST, STRUCTURED, STARTTLS):
        r.refused(opt, b"x", INVALID)
    r.go().alive()


@case
def n9_list_entries_are_well_formed():
    r = Raw()
    r.option(LIST)
    names = []
    while True:
        typ, data = r.reply(LIST)
        if typ == ACK:
            break
        equal(typ, SERVER)
        n = struct.unpack(">I", data[:4])[0]
        check(4 + n <= len(data) <= 1024, "name of %d in an entry of %d bytes" % (n, len(data)))
        names.append(data[4:4 + n].decode())
    check(EXPORT in names, "%r is not in %r" % (EXPORT, names))


@case
def n9_list_by_libnbd():
    h = handle(opt_mode=True)
    names = []
    h.opt_list(lambda name, _: names.append(name))
    check(EXPORT in names)
    h.opt_abort()


@case
def n10_abort():
    r = Raw()
    r.option(ABORT, b"with data")
    r.expect(ABORT, ACK)
    r.end()
    Raw().option(ABORT)  # and away without reading


@case
def n11_errors_do_not_disconnect():
    h = handle(opt_mode=True)
    for _ in range(10):
        h.set_export_name("none")
        fails(errno.ENOENT, h.opt_info)
        fails(errno.ENOENT, h.opt_go)
    h.set_export_name(EXPORT)
    h.opt_go()
    h.shutdown()


@case
def n12_scanners_do_no_harm():
    for junk in (b"", b"GET / HTTP/1.0\r\n\r\n", bytes(1000), b"\xff" * 70000):
        r = Raw(None)
        try:
            r.put(junk)
            r.s.shutdown(socket.SHUT_WR)
            while r.s.recv(4096):
                pass
        except OSError:
            pass
    Raw().go().alive()


@case
def n14_starttls_is_refused_as_policy():
    r = Raw()
    r.option(STARTTLS)
    typ, _ = r.reply(STARTTLS)
    check(typ in (POLICY, UNSUP), "reply %#x" % typ)
    r.go().alive()


# Sizes


@case
def n19_block_sizes():
    h = handle()
    low, pref, most = [h.get_block_size(i) for i in
                       (nbd.SIZE_MINIMUM, nbd.SIZE_PREFERRED, nbd.SIZE_MAXIMUM)]
    for n in (low, pref):
        equal(n & (n - 1), 0)
    check(low <= 65536 and pref >= max(512, low) and most >= 1 << 20)
    equal(h.get_size() % low, 0)
    h.shutdown()


@case
def n20_byte_granular_without_negotiation():
    r = Raw().go()  # zero information requests, as nbd-client
    want = bytearray(20000)
    r.do(0, ZEROES, 0, 20000)
    for i, (off, n) in enumerate(((1, 1), (4095, 2), (5000, 7001), (8191, 4098), (511, 513))):
        data = noise(i, n)
        want[off:off + n] = data
        r.do(0, WRITE, off, n, payload=data)
    r.do(0, READ, 0, 20000)
    equal(r.take(20000), bytes(want))


@case
def n20_over_1_mib_at_offset_1():
    r = Raw().go()
    n = (1 << 20) + 14
    data = noise(3, n)
    r.do(0, WRITE, 1, n, payload=data)
    r.do(0, READ, 1, n)
    equal(r.take(n), data)


@case
def n21_payload_of_32_mib():
    h = handle()
    data = noise(5, 32 << 20)
    h.pwrite(data, 0)
    check(bytes(h.pread(len(data), 0)) == data, "32 MiB came back different")
    h.shutdown()


@case
def n21_write_above_the_limit_is_consumed():
    r = Raw().go()
    n = (32 << 20) + 4096
    r.do(errno.EINVAL, WRITE, 0, n, payload=bytes(n))
    r.alive()


@case
def n22_four_gib_without_payload():
    r = Raw().structured().status().go()
    n = min(SIZE, 0xFFFFF000)
    r.do(0, CACHE, 0, n)
    r.do(0, TRIM, 0, n)
    r.do(0, ZEROES, 0, n)
    r.request(STATUS, 0, n)
    flags, typ, data = r.chunk()
    equal((flags, typ), (1, 5))
    first, state = struct.unpack(">II", data[4:12])
    check(first > 0 and state & 2, "extent of %d, flags %d" % (first, state))


# Transmission


@case
def n23_wrong_magic_closes():
    r = Raw().go()
    r.request(FLUSH, magic=0x25609514)
    r.end()


@case
def n23_cookies_are_opaque():
    r = Raw().go()
    cookies = [0, 1 << 63, (1 << 64) - 1, 0x0123456789ABCDEF]
    for c in cookies:
        r.request(FLUSH, cookie=c)
    got = []
    for _ in cookies:
        magic, err, c = struct.unpack(">IIQ", r.take(16))
        equal((magic, err), (0x67446698, 0))
        got.append(c)
    equal(sorted(got), sorted(cookies))


@case
def n23_many_in_flight():
    h = handle()
    n, size = 200, 8192
    bufs = [nbd.Buffer.from_bytearray(bytearray(noise(i, size))) for i in range(n)]
    cookies = [h.aio_pwrite(b, i * size) for i, b in enumerate(bufs)]
    while cookies:
        h.poll(-1)
        cookies = [c for c in cookies if not h.aio_command_completed(c)]
    back = [nbd.Buffer(size) for _ in range(n)]
    cookies = [h.aio_pread(b, i * size) for i, b in enumerate(back)]
    while cookies:
        h.poll(-1)
        cookies = [c for c in cookies if not h.aio_command_completed(c)]
    for i, b in enumerate(back):
        check(bytes(b.to_bytearray()) == noise(i, size), "block %d is wrong" % i)
    h.shutdown()


@case
def n24_multi_conn_sees_what_was_acknowledged():
    one, two = handle(), handle()
    check(one.can_multi_conn() and one.can_flush())
    for i in range(50):
        one.pwrite(noise(i, 4096), 12288)
        equal(bytes(two.pread(4096, 12288)), noise(i, 4096))
    two.flush()
    one.shutdown()
    two.shutdown()


@case
def n25_fua_on_every_command():
    r = Raw().structured().status().go()
    r.do(0, WRITE, 0, 512, flags=1, payload=bytes(512))
    for cmd in (TRIM, CACHE, ZEROES):
        r.do(0, cmd, 0, 4096, flags=1)
    r.do(0, FLUSH, flags=1)
    for cmd in (READ, STATUS):
        r.request(cmd, 0, 4096, flags=1)
        while True:
            flags, typ, _ = r.chunk()
            check(typ < 0x8000, "command %d failed" % cmd)
            if flags:
                break


@case
def n26_flags():
    h = handle()
    check(h.can_flush() and h.can_fua() and h.can_trim() and h.can_zero() and h.can_fast_zero()
          and h.can_cache() and h.can_df() and h.can_multi_conn())
    check(not h.is_read_only() and not h.is_rotational())
    h.shutdown()


@case
def n26_df_only_with_structured_replies():
    h = handle(structured=False)
    check(not h.can_df())
    fails(errno.EINVAL, h.pread_structured, 512, 0, lambda *a: 0, nbd.CMD_FLAG_DF)
    h.flush()
    h.shutdown()


@case
def n27_refused_write_consumes_its_payload():
    r = Raw().go()
    evil = struct.pack(">IHHQQI", 0x25609513, 0, DISC, 0, 0, 0) * 2000
    for _ in range(3):
        r.do(errno.ENOSPC, WRITE, SIZE, len(evil), payload=evil)
        r.do(errno.EINVAL, WRITE, 0, len(evil), flags=0x8000, payload=evil)
    r.alive()


@case
def n28_simple_error_has_no_data():
    r = Raw().go()
    r.do(errno.EINVAL, READ, SIZE, 4096)
    r.alive()


@case
def n29_structured_read():
    r = Raw().structured().go()
    r.do(0, WRITE, 4096, 4, payload=b"abcd")
    r.request(READ, 4096, 4)
    flags, typ, data = r.chunk()
    equal((flags, typ, data), (1, 1, struct.pack(">Q", 4096) + b"abcd"))


@case
def n29_sparse_read():
    h = handle()
    n = 4 << 20
    h.zero(n, 0)
    h.pwrite(noise(1, 1 << 20), 1 << 20)
    got = bytearray(b"\xee" * n)
    seen = bytearray(n)

    def on_chunk(data, off, status, _):
        check(len(data) > 0 and not any(seen[off:off + len(data)]), "empty or overlapping chunk")
        seen[off:off + len(data)] = b"\1" * len(data)
        if status == nbd.READ_HOLE:
            data = bytes(len(data))
        got[off:off + len(data)] = data
        return 0

    h.pread_structured(n, 0, on_chunk)
    check(all(seen), "not all was told")
    check(bytes(got) == bytes(1 << 20) + noise(1, 1 << 20) + bytes(2 << 20), "wrong bytes")
    h.shutdown()


@case
def n30_structured_read_error():
    r = Raw().structured().go()
    r.request(READ, SIZE - 1, 2)
    r.error_chunk(errno.EINVAL)
    r.alive()


@case
def n31_df_is_one_chunk():
    r = Raw().structured().go()
    r.do(0, ZEROES, 0, 1 << 20)
    r.do(0, WRITE, 65536, 4096, payload=noise(2, 4096))
    r.request(READ, 0, 1 << 20, flags=4)
    flags, typ, data = r.chunk()
    equal((flags, typ), (1, 1))
    check(data[8:] == bytes(65536) + noise(2, 4096) + bytes((1 << 20) - 69632), "wrong bytes")


@case
def n32_block_status():
    h = handle()
    h.zero(4 << 20, 0)
    h.pwrite(noise(1, 1 << 20), 1 << 20)
    seen = []

    def extents(context, off, entries, _):
        equal(context, "base:allocation")
        seen.append((off, entries))
        return 0

    h.block_status(4 << 20, 0, extents)
    equal(len(seen), 1)
    entries = seen[0][1]
    lengths, states = entries[0::2], entries[1::2]
    check(all(n > 0 for n in lengths) and sum(lengths) <= 4 << 20)
    check(all(a != b for a, b in zip(states, states[1:])), "equal neighbours: %r" % entries)
    equal((lengths[0], states[0] & 2), (1 << 20, 2))
    equal((lengths[1], states[1]), (1 << 20, 0))
    h.shutdown()


@case
def n32_req_one():
    h = handle()
    h.zero(4 << 20, 0)
    h.pwrite(noise(1, 1 << 20), 1 << 20)
    seen = []
    h.block_status(4 << 20, 0, lambda c, o, e, _: seen.append(e), nbd.CMD_FLAG_REQ_ONE)
    equal(len(seen[0]), 2)
    check(0 < seen[0][0] <= 4 << 20)
    h.shutdown()


@case
def n32_status_without_context():
    h = handle(contexts=())
    fails(errno.EINVAL, h.block_status, 4096, 0, lambda *a: 0)
    h.flush()
    h.shutdown()


@case
def n33_list_contexts():
    for queries in ((), ("base:",), ("base:allocation",)):
        h = handle(opt_mode=True, contexts=queries)
        seen = []
        h.opt_list_meta_context(lambda name: seen.append(name))
        equal(seen, ["base:allocation"])
        h.opt_abort()


@case
def n33_contexts_need_structured_replies():
    r = Raw()
    for opt in (LIST_META, SET_META):
        r.refused(opt, meta_data(EXPORT, "base:allocation"), INVALID)


@case
def n33_unknown_namespaces_and_wildcards_select_nothing():
    r = Raw().structured()
    r.option(SET_META, meta_data(EXPORT, "base:", "x-none:thing", "", "base:other"))
    r.expect(SET_META, ACK)
    r.go()
    r.request(STATUS, 0, 4096)
    r.error_chunk(errno.EINVAL)


@case
def n33_failed_set_clears():
    for data, want in ((b"\0", INVALID), (meta_data("none", "base:allocation"), UNKNOWN)):
        r = Raw().structured().status()
        r.refused(SET_META, data, want)
        r.go()
        r.request(STATUS, 0, 4096)
        r.error_chunk(errno.EINVAL)


@case
def n33_malformed_queries():
    r = Raw().structured()
    good = meta_data(EXPORT, "base:allocation")
    for opt in (LIST_META, SET_META):
        for bad in (b"", good[:-1], good + b"\0", lp(EXPORT) + struct.pack(">II", 1, 0xFFFFFFFF)):
            r.refused(opt, bad, INVALID)
        r.option(opt, lp(EXPORT) + struct.pack(">I", 0xFFFFFFFF))
        typ, _ = r.reply(opt)
        check(typ in (TOO_BIG, INVALID), "reply %#x" % typ)


@case
def n34_beyond_the_end():
    h = handle()
    fails(errno.ENOSPC, h.pwrite, bytes(512), SIZE - 511)
    fails(errno.ENOSPC, h.zero, 512, SIZE - 511)
    fails(errno.EINVAL, h.trim, 512, SIZE - 511)
    fails(errno.EINVAL, h.cache, 512, SIZE - 511)
    fails(errno.EINVAL, h.pread, 512, SIZE - 511)
    fails(errno.EINVAL, h.block_status, 512, SIZE, lambda *a: 0)
    h.flush()
    h.shutdown()


@case
def n34_offset_plus_length_overflows():
    r = Raw().go()
    top = (1 << 64) - 256
    r.do(errno.ENOSPC, WRITE, top, 512, payload=bytes(512))
    r.do(errno.ENOSPC, ZEROES, top, 512)
    for cmd in (READ, TRIM, CACHE):
        r.do(errno.EINVAL, cmd, top, 512)
    r.alive()


@case
def n34_unknown_commands_and_flags():
    r = Raw().go()
    for cmd in (8, 9, 255, 65535):
        r.do(errno.EINVAL, cmd, 0, 512)
    for cmd in (READ, TRIM, CACHE, ZEROES):
        r.do(errno.EINVAL, cmd, 0, 512, flags=0x4000)
    r.alive()


@case
def n34_unadvertised_flags_by_libnbd():
    h = handle()
    fails(errno.EINVAL, h.trim, 4096, 0, nbd.CMD_FLAG_DF)
    fails(errno.EINVAL, h.cache, 4096, 0, nbd.CMD_FLAG_REQ_ONE)
    h.flush()
    h.shutdown()


@case
def n35_length_zero():
    h = handle()
    for fn in (lambda: h.pwrite(b"", 4096), lambda: h.trim(0, 4096), lambda: h.zero(0, 4096),
               lambda: h.cache(0, 4096), lambda: h.block_status(0, 4096, lambda *a: 0)):
        try:
            fn()
        except nbd.Error as e:
            equal(e.errnum, errno.EINVAL)
    h.flush()
    h.shutdown()
    r = Raw().go()
    r.do(0, READ, 4096, 0)
    r.alive()
    r = Raw().structured().go()
    r.request(READ, 4096, 0)
    equal(r.chunk(), (1, 0, b""))
    r.alive()


@case
def n36_write_zeroes():
    h = handle()
    for flags in (0, nbd.CMD_FLAG_NO_HOLE, nbd.CMD_FLAG_FAST_ZERO,
                  nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA):
        h.pwrite(noise(1, 65536), 0)
        h.zero(60000, 100, flags)
        equal(bytes(h.pread(65536, 0)), noise(1, 65536)[:100] + bytes(60000) + noise(1, 65536)[60100:])
    h.shutdown()


@case
def n37_trim_reads_as_zeroes():
    h = handle()
    h.pwrite(noise(1, 1 << 20), 0)
    h.trim(512 << 10, 256 << 10)
    equal(bytes(h.pread(512 << 10, 256 << 10)), bytes(512 << 10))
    equal(bytes(h.pread(4096, 0)), noise(1, 4096))
    h.shutdown()


@case
def n37_unaligned_trim_harms_nobody():
    h = handle()
    data = noise(2, 65536)
    h.pwrite(data, 0)
    h.trim(30000, 100)
    got = bytes(h.pread(65536, 0))
    equal(got[:100], data[:100])
    equal(got[30100:], data[30100:])
    h.shutdown()


@case
def n38_cache_has_no_effect():
    h = handle()
    h.pwrite(noise(1, 4096), 0)
    h.cache(4096, 0)
    equal(bytes(h.pread(4096, 0)), noise(1, 4096))
    h.shutdown()


@case
def n39_disconnect_finishes_what_is_in_flight():
    r = Raw().go()
    for i in range(20):
        r.request(WRITE, i * 4096, 4096, cookie=i, payload=noise(i + 50, 4096))
    r.request(DISC)
    got = set()
    for _ in range(20):
        magic, err, c = struct.unpack(">IIQ", r.take(16))
        equal((magic, err), (0x67446698, 0))
        got.add(c)
    equal(got, set(range(20)))
    r.end()
    h = handle()
    for i in range(20):
        equal(bytes(h.pread(4096, i * 4096)), noise(i + 50, 4096))
    h.shutdown()


@case
def n39_client_gone_in_mid_write():
    h = handle()
    h.pwrite(noise(1, 8192), 0)
    r = Raw().go()
    r.request(WRITE, 0, 8192, payload=noise(2, 5000))
    r.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    r.s.close()
    equal(bytes(h.pread(8192, 0)), noise(1, 8192))
    h.shutdown()


@case
def client_that_does_not_read_blocks_only_itself():
    stuck = Raw().go()
    stuck.s.settimeout(1)
    try:
        for _ in range(1000):
            stuck.request(READ, 0, 1 << 20)
    except socket.timeout:
        pass
    h = handle()
    for i in range(50):
        h.pwrite(noise(i, 65536), 65536)
        equal(bytes(h.pread(65536, 65536)), noise(i, 65536))
    h.shutdown()
    stuck.s.close()


@case
def unix_socket():
    r = Raw(unix=True).go()
    r.do(0, WRITE, 0, 4096, payload=noise(9, 4096))
    r.do(0, READ, 0, 4096)
    equal(r.take(4096), noise(9, 4096))
    h = nbd.NBD()
    h.connect_uri("nbd+unix:///%s?socket=%s" % (EXPORT, SOCKET))
    equal(bytes(h.pread(4096, 0)), noise(9, 4096))
    h.shutdown()


def main():
    global SIZE
    h = handle()
    SIZE = h.get_size()
    h.shutdown()
    failed = 0
    for fn in CASES:
        try:
            fn()
            print("ok", fn.__name__, flush=True)
        except Exception as e:  # a case may fail in any way; the others go on
            failed += 1
            why = str(e).replace("\n", " ") or type(e).__name__
            print("FAIL %s: %s: %s" % (fn.__name__, type(e).__name__, why), flush=True)
            if os.environ.get("SUITE_TRACE"):
                traceback.print_exc()
    sys.exit(1 if failed else 0)


main()
