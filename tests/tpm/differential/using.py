"""Plans that use what is there, and those that change the TPM itself."""

from __future__ import annotations

import hashlib

from tests.tpm.differential.author import Author, Info, Plan
from tests.tpm.differential.policies import digest
from tests.tpm.differential.salts import Authorization, TicketOf, ecdsa, rsassa
from tests.tpm.differential.steps import ROWS, Earlier, Handle, Made, NameOf, Parts
from tests.tpm.differential.world import SEQUENCES, Index, Thing
from tests.tpm.tpm20.client import (
    ENDORSEMENT,
    LOCKOUT,
    NULL,
    OWNER,
    PLATFORM,
    SHA256,
    b2,
    u8,
    u16,
    u32,
)

_ELSEWHERE = frozenset(
    (
        *("Startup", "Create", "CreatePrimary", "CreateLoaded", "Load", "LoadExternal", "Import"),
        *("StartAuthSession", "HMAC_Start", "HashSequenceStart", "SequenceComplete", "Clear"),
        *("EventSequenceComplete", "ContextSave", "ContextLoad", "FlushContext", "EvictControl"),
        *("NV_DefineSpace", "NV_UndefineSpace", "NV_UndefineSpaceSpecial", "HierarchyChangeAuth"),
        *("SetPrimaryPolicy", "HierarchyControl", "PCR_SetAuthValue", "ChangePPS", "ChangeEPS"),
        *("ObjectChangeAuth", "NV_ChangeAuth", "ECC_Encrypt", "ECC_Decrypt", "ClearControl"),
        *("PCR_Allocate", "PCR_SetAuthPolicy", "Shutdown"),
    )
)
"""Commands that change what there is, or are rare: other plans have them."""
GENERIC = sorted(ROWS.keys() - _ELSEWHERE)


def any_command(author: Author) -> Plan[None]:
    """One command, its handles and parameters drawn by the table."""
    yield from drawn(author, author.dice.choice(GENERIC))


def drawn(author: Author, name: str) -> Plan[bool]:
    handles: list[Handle] = []
    for handle_name in ROWS[name].handles:
        handles.append(author.draw.handle(name, handle_name, handles))
    parameters = author.draw.parameters(name, handles)
    locality = author.draw.one(1, 2, 3, 4) if author.draw.chance(0.03) else 0
    author.world.audits |= name == "SetCommandCodeAuditStatus"
    return (yield from author.command(name, handles, parameters, locality=locality))


def session(author: Author) -> Plan[None]:
    yield from author.start_session(author.draw.one(0, 0, 0, 1, 3), simple=False)


def policy(author: Author) -> Plan[None]:
    """Some assertions in a row, and the digest that they come to."""
    live = yield from author.start_session(author.draw.one(1, 3))
    if live is None:
        return
    names = [name for name in GENERIC if name.startswith("Policy")]
    for _ in range(author.draw.one(1, 2, 3, 5)):
        name = author.dice.choice(names)
        handles: list[Handle] = []
        for handle_name in ROWS[name].handles:
            handles.append(author.draw.handle(name, handle_name, handles))
        if handles:
            handles[-1] = live.handle
        yield from author.command(name, handles, author.draw.parameters(name, handles))
    yield from author.command("PolicyGetDigest", [live.handle], ())


def signed(author: Author) -> Plan[None]:
    """PolicySigned, and the ticket that it gives in another session."""
    draw = author.draw
    key = author.world.pick(
        author.world.objects(), lambda one: one.known and one.kind in ("RSA any", "ECC any")
    )
    live = yield from author.start_session(1)
    if key is None or live is None:
        return
    expiration = u32(draw.one(0, 3600, 0xFFFFFFFF - 3600))
    cp_hash, reference = draw.one(b"", b"", bytes(32)), draw.one(b"", b"reference")
    with_nonce = draw.chance(0.5)
    nonce = Made(live.handle.step, "nonce") if with_nonce else b2(b"")
    authorization = Authorization(
        live.handle.step if with_nonce else -1, expiration, cp_hash, reference, "rsa" in key.tags
    )
    parts: Parts = (nonce, b2(cp_hash), b2(reference), expiration, authorization)
    if not (yield from author.command("PolicySigned", [key.handle, live.handle], parts)):
        return
    made = author.last
    yield from author.command("PolicyGetDigest", [live.handle], ())
    yield from _ticket(author, made, b2(cp_hash), b2(reference), NameOf(key.handle), 0x8025)


def secret(author: Author) -> Plan[None]:
    """PolicySecret, and its ticket."""
    draw = author.draw
    live = yield from author.start_session(1)
    if live is None:
        return
    handles: list[Handle] = [OWNER, ENDORSEMENT, LOCKOUT, PLATFORM, 16, *author.world.indices]
    handles += [thing.handle for thing in author.world.things]
    entity = author.dice.choice(handles)
    expiration = draw.one(0, 3600, 0xFFFFFFFF - 3600)
    reference = b2(draw.one(b"", b"reference"))
    nonce = Made(live.handle.step, "nonce") if draw.chance(0.5) else b2(b"")
    parts: Parts = (nonce, b2(b""), reference, u32(expiration))
    if (yield from author.command("PolicySecret", [entity, live.handle], parts)):
        made = author.last
        yield from author.command("PolicyGetDigest", [live.handle], ())
        yield from _ticket(author, made, b2(b""), reference, NameOf(entity), 0x8023)


def _ticket(
    author: Author, made: int, cp_hash: bytes, reference: bytes, name: NameOf, tag: int
) -> Plan[None]:
    other = yield from author.start_session(1)
    if other is not None:
        ticket = TicketOf(made, "policy_ticket", tag)
        parts: Parts = (Made(made, "timeout"), cp_hash, reference, name, ticket)
        yield from author.command("PolicyTicket", [other.handle], parts)
        yield from author.command("PolicyGetDigest", [other.handle], ())


def authorize(author: Author) -> Plan[None]:
    """VerifySignature of a policy, and PolicyAuthorize with its ticket."""
    key = author.world.pick(
        author.world.objects(), lambda one: one.known and one.kind in ("RSA any", "ECC any")
    )
    live = yield from author.start_session(1)
    if key is None or live is None:
        return
    name = author.draw.one("nothing", "authValue", "password", "locality")
    told = yield from author.tell(live, name)
    if not told:
        return
    approved, reference = digest(name), author.draw.one(b"", b"reference")
    content = hashlib.sha256(approved + reference).digest()
    signature = rsassa(content) if "rsa" in key.tags else ecdsa(content)
    if not (yield from author.command("VerifySignature", [key.handle], (b2(content), signature))):
        return
    ticket = TicketOf(author.last, "validation", 0x8022)
    parts: Parts = (b2(approved), b2(reference), NameOf(key.handle), ticket)
    live.told = ""
    yield from author.command("PolicyAuthorize", [live.handle], parts)
    yield from author.command("PolicyGetDigest", [live.handle], ())


def sign(author: Author) -> Plan[None]:
    """Sign, what Hash vouches for too, and VerifySignature with what came of it."""
    draw = author.draw
    key = author.world.pick(author.world.objects(), lambda one: "sign" in one.tags)
    if key is None:
        return
    ticket, content = TicketOf(-1, "", 0x8024), draw.digest(SHA256)
    if draw.chance(0.5):
        data = draw.one(b"data", b"\xffTCGdata", draw.octets())
        content = b2(hashlib.sha256(data).digest())
        parts: Parts = (b2(data), u16(SHA256), u32(draw.one(OWNER, NULL)))
        if (yield from author.command("Hash", [], parts)):
            ticket = TicketOf(author.last, "validation", 0x8024)
    draw.handles = [key.handle]
    parts = (content, draw.scheme(0), ticket)
    if (yield from author.command("Sign", [key.handle], parts)):
        signature = Made(author.last, "signature")
        yield from author.command("VerifySignature", [key.handle], (content, signature))


def encrypt(author: Author) -> Plan[None]:
    """RSA_Encrypt and RSA_Decrypt of what came of it."""
    draw = author.draw
    key = author.world.pick(author.world.objects(), lambda one: "rsa" in one.tags)
    if key is None:
        return
    scheme = draw.one(u16(0x10), u16(0x10), u16(0x15), u16(0x17) + u16(SHA256))
    label = b2(draw.one(b"", b"label\0"))
    parts: Parts = (b2(draw.octets()), scheme, label)
    if (yield from author.command("RSA_Encrypt", [key.handle], parts)):
        cipher = Made(author.last, "out_data")
        yield from author.command("RSA_Decrypt", [key.handle], (cipher, scheme, label))


def exchange(author: Author) -> Plan[None]:
    """EC_Ephemeral and ZGen_2Phase, ECDH_KeyGen and ECDH_ZGen, Commit and Sign."""
    draw = author.draw
    key = author.world.pick(author.world.objects(), lambda one: "ecdh" in one.tags)
    if key is None:
        return
    if (yield from author.command("ECDH_KeyGen", [key.handle], ())):
        yield from author.command(
            "ECDH_ZGen", [key.handle], (Made(author.last, "pub_point", False),)
        )
    if draw.chance(0.5) and (yield from author.command("EC_Ephemeral", [], (u16(3),))):
        made = author.last
        parts: Parts = (draw.point(), draw.point(), u16(0x19), Made(made, "counter"))
        yield from author.command("ZGen_2Phase", [key.handle], parts)
        yield from author.command("ZGen_2Phase", [key.handle], parts)


def commit(author: Author) -> Plan[None]:
    """Commit, and a signature with what was committed to."""
    draw = author.draw
    key = author.world.pick(author.world.objects(), lambda one: "daa" in one.tags)
    if key is None:
        return
    s2, y2 = draw.one((b"", b""), (b"\1\2", bytes(31) + b"\7"))
    parts: Parts = (draw.one(b2(b2(b"") * 2), draw.point()), b2(s2), b2(y2))
    if (yield from author.command("Commit", [key.handle], parts)):
        scheme = (u16(0x1A) + u16(SHA256), Made(author.last, "counter"))
        content: Parts = (draw.digest(SHA256), *scheme, TicketOf(-1, "", 0x8024))
        for _ in range(draw.one(1, 2)):
            yield from author.command("Sign", [key.handle], content)


def sequence(author: Author) -> Plan[None]:
    """A sequence with some data, which may stay where it is."""
    draw = author.draw
    yield from author.room()
    auth = draw.auth()
    key = author.world.pick(author.world.objects(), lambda one: "mac" in one.tags)
    if key is not None and draw.chance(0.4):
        kind, name, handles = SEQUENCES[1], "HMAC_Start", [key.handle]
        alg = draw.one(0x10, SHA256)
    else:
        kind, name, handles = SEQUENCES[0], "HashSequenceStart", list[Handle]()
        alg = draw.one(SHA256, draw.hash_alg(), 0x10)
        kind = SEQUENCES[2] if alg == 0x10 else kind
    if not (yield from author.command(name, handles, (b2(auth), u16(alg)))):
        return
    thing = Thing(Earlier(author.last), kind, auth)
    author.world.things.append(thing)
    for _ in range(draw.one(0, 1, 2, 3)):
        data = b2(draw.one(b"\xffTCG", draw.octets(), draw.dice.randbytes(draw.one(200, 1024))))
        yield from author.command("SequenceUpdate", [thing.handle], (data,))
    if draw.chance(0.7):
        yield from complete(author)


def complete(author: Author) -> Plan[None]:
    draw = author.draw
    thing = author.world.pick(author.world.things, lambda one: one.is_sequence)
    if thing is None:
        return
    data = b2(draw.octets())
    if (thing.kind == SEQUENCES[2]) ^ draw.chance(0.05):
        pcr = draw.one(16, 23, NULL, 0, 17)
        done = yield from author.command("EventSequenceComplete", [pcr, thing.handle], (data,))
    else:
        parts = (data, u32(draw.one(OWNER, NULL, PLATFORM)))
        done = yield from author.command("SequenceComplete", [thing.handle], parts)
    if done:
        author.world.forget(thing.handle)


# NV Indices.

_WRITERS, _READERS = (1, 2, 4, 8), (1 << 16, 1 << 17, 1 << 18, 1 << 19)
_MORE = (1 << 12, 1 << 13, 1 << 14, 1 << 15, 1 << 25, 1 << 26, 1 << 27, 1 << 31)


def define(author: Author) -> Plan[None]:
    draw = author.draw
    by = draw.one(OWNER, OWNER, PLATFORM)
    policy = draw.policy()
    bits = sum({draw.one(*_WRITERS), 2 if by == OWNER else 1, draw.one(*_WRITERS)})
    bits |= sum({draw.one(*_READERS), 1 << 17 if by == OWNER else 1 << 16, draw.one(*_READERS)})
    bits |= 1 << 30 if by == PLATFORM else 0
    bits |= 1 << 10 if by == PLATFORM and policy and draw.chance(0.4) else 0
    for bit in _MORE:
        bits |= bit if draw.chance(0.15) else 0
    kind = draw.one(0, 0, 0x10, 0x20, 0x40, 0x80, 0x90)
    alg = SHA256 if policy or draw.chance(0.8) else draw.hash_alg()
    size = {0: draw.one(0, 8, 32, 100, 1024, 2048), 0x40: 32}.get(kind, 8)
    if kind == 0x80:
        bits |= 1 << 25
    if kind == 0x10:
        bits &= ~(1 << 26)  # see `decided`: without power an orderly counter jumps on their side
    if kind in (0x80, 0x90):
        bits &= ~4
    if draw.chance(0.05):
        kind, size = draw.one(0x30, 0xF0, 0x10), draw.one(7, 9, 2049)
    handle = draw.one(0x01000001, 0x01000002, 0x01000003, 0x01C00004, 0x01FFFFFF)
    auth = draw.auth()
    wanted = digest(policy, alg) if policy else b""
    public = u32(handle) + u16(alg) + u32(bits | kind) + b2(wanted) + u16(size)
    if (yield from author.command("NV_DefineSpace", [by], (b2(auth), b2(public)))):
        author.world.indices[handle] = Index(handle, bits | kind, size, auth, policy)


def undefine(author: Author) -> Plan[None]:
    index = author.world.pick(list(author.world.indices.values()))
    if index is None:
        return
    if index.bits & 1 << 10:
        handles: list[Handle] = [index.handle, PLATFORM]
        done = yield from author.command("NV_UndefineSpaceSpecial", handles, ())
    else:
        by = PLATFORM if index.bits & 1 << 30 else author.draw.one(OWNER, PLATFORM)
        done = yield from author.command("NV_UndefineSpace", [by, index.handle], ())
    if done:
        author.world.indices.pop(index.handle, None)


_OWN = {0x10: "NV_Increment", 0x20: "NV_SetBits", 0x40: "NV_Extend"}


def write(author: Author) -> Plan[None]:
    """The command that writes to an Index of its type, and a look at what is there then."""
    draw = author.draw
    index = author.world.pick(list(author.world.indices.values()))
    if index is None:
        return
    name = _OWN.get(index.bits & 0xF0, "NV_Write")
    by: Handle = PLATFORM if index.bits & 1 else OWNER
    by = index.handle if index.bits & 4 and draw.chance(0.4) else by
    handles = [by, index.handle]
    parameters = draw.parameters(name, handles)
    if index.bits & 0xF0 in (0x80, 0x90):
        content = u32(draw.one(0, 1, 3)) + u32(draw.one(0, 3, 5))
        parameters = (b2(content), u16(0))
    yield from author.command(name, handles, parameters)
    by = PLATFORM if index.bits & 1 << 16 else OWNER
    by = index.handle if index.bits & 1 << 18 and draw.chance(0.4) else by
    handles = [by, index.handle]
    yield from author.command("NV_Read", handles, draw.parameters("NV_Read", handles))


def change_index_auth(author: Author) -> Plan[None]:
    index = author.world.pick(list(author.world.indices.values()))
    if index is None:
        return
    auth = author.draw.auth()
    info = Info(new_auth=auth)
    if (yield from author.command("NV_ChangeAuth", [index.handle], (b2(auth),), info)):
        index.auth = auth


# The TPM itself.


def change_hierarchy(author: Author) -> Plan[None]:
    draw, world = author.draw, author.world
    handle = draw.one(OWNER, ENDORSEMENT, PLATFORM, LOCKOUT)
    if draw.chance(0.5):
        auth = draw.auth()
        info = Info(new_auth=auth)
        if (yield from author.command("HierarchyChangeAuth", [handle], (b2(auth),), info)):
            world.auths[handle] = auth
        return
    policy = draw.policy()
    parts = (b2(digest(policy)), u16(SHA256)) if policy else (b2(b""), u16(0x10))
    if (yield from author.command("SetPrimaryPolicy", [handle], parts)):
        world.policies[handle] = policy


def change_pcr_auth(author: Author) -> Plan[None]:
    auth = author.draw.auth()
    pcr = author.draw.one(20, 21, 22, 23, 0)
    info = Info(new_auth=auth)
    if (yield from author.command("PCR_SetAuthValue", [pcr], (b2(auth),), info)):
        author.world.pcr_auth = auth


def control(author: Author) -> Plan[None]:
    """Switch a hierarchy off, do something, and switch it on again."""
    draw = author.draw
    enable = draw.one(OWNER, ENDORSEMENT, 0x4000000D, PLATFORM if draw.chance(0.1) else OWNER)
    by = PLATFORM if enable == 0x4000000D else draw.one(enable, PLATFORM)
    if not (yield from author.command("HierarchyControl", [by], (u32(enable) + u8(0),))):
        return
    author.world.things = [one for one in author.world.things if one.hierarchy != enable]
    for _ in range(draw.one(0, 1, 3, 6)):
        yield from any_command(author)
    yield from author.command("HierarchyControl", [PLATFORM], (u32(enable) + u8(1),))


def clear(author: Author) -> Plan[None]:
    draw, world = author.draw, author.world
    name = draw.one("Clear", "ChangePPS", "ChangeEPS", "ClearControl", "ClearControl")
    by = PLATFORM if name.startswith("Change") else draw.one(LOCKOUT, PLATFORM)
    parts: Parts = (u8(draw.one(0, 0, 1)),) if name == "ClearControl" else ()
    if not (yield from author.command(name, [by], parts)) or name == "ClearControl":
        return
    for hierarchy in {"ChangePPS": (PLATFORM,), "ChangeEPS": (ENDORSEMENT,)}.get(
        name, (OWNER, ENDORSEMENT)
    ):
        world.flush_hierarchy(hierarchy)
    if name == "Clear":
        world.auths.update({OWNER: b"", ENDORSEMENT: b"", LOCKOUT: b""})
        world.policies.clear()
        held = world.indices.items()
        world.indices = {handle: one for handle, one in held if one.bits & 1 << 30}


def restart(author: Author) -> Plan[None]:
    draw = author.draw
    kinds = [0]
    if draw.chance(0.7):
        how = draw.one(0, 1)
        yield from author.command("Shutdown", [], (u16(how),))
        if how and draw.chance(0.7):
            kinds = [1, 0]
    if draw.chance(0.2) and not author.world.audits:
        yield from drawn(author, draw.one("PCR_Extend", "NV_Write", "GetRandom", "Unseal", "HMAC"))
    yield from author.power()
    for kind in kinds:
        if (yield from author.command("Startup", [], (u16(kind),), certain=True)):
            break


def allocate(author: Author) -> Plan[None]:
    """The PCRs that there will be after a reset, and their policy."""
    if author.draw.chance(0.5):
        yield from drawn(author, "PCR_SetAuthPolicy")
        return
    yield from drawn(author, "PCR_Allocate")
    yield from restart(author)


def unlock(author: Author) -> Plan[None]:
    yield from author.command("DictionaryAttackLockReset", [LOCKOUT], ())


def look(author: Author) -> Plan[None]:
    """Everything that can be seen from outside without changing it."""
    for first in (0x01000000, 0x02000000, 0x03000000, 0x80000000, 0x81000000):
        parts = (u32(1), u32(first), u32(64))
        yield from author.command("GetCapability", [], parts, certain=True, bare=True)
    for kind, first in ((5, 0), (6, 0x200), (3, 0), (4, 0), (9, 0)):
        parts = (u32(kind), u32(first), u32(64))
        yield from author.command("GetCapability", [], parts, certain=True, bare=True)
    for alg in (4, 0xB):
        for select in (b"\3\xff\0\0", b"\3\0\xff\0", b"\3\0\0\xff"):
            selection = (u32(1) + u16(alg) + select,)
            yield from author.command("PCR_Read", [], selection, certain=True, bare=True)
    for handle in list(author.world.indices):
        yield from author.command("NV_ReadPublic", [handle], (), certain=True, bare=True)
    for thing in author.world.objects():
        yield from author.command("ReadPublic", [thing.handle], (), certain=True, bare=True)
    yield from author.command("ReadClock", [], (), certain=True, bare=True)
