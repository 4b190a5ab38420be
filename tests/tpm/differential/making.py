"""Plans that make objects and move them: created, loaded, imported, duplicated, saved."""

from __future__ import annotations

from dataclasses import replace

from tests.tpm.differential import keys
from tests.tpm.differential.author import Author, Info, Plan
from tests.tpm.differential.draws import HIERARCHIES
from tests.tpm.differential.keys import (
    ENCRYPTED_DUPLICATION,
    FIXED_PARENT,
    FIXED_TPM,
    KINDS,
    ORIGIN,
)
from tests.tpm.differential.policies import digest
from tests.tpm.differential.salts import TicketOf
from tests.tpm.differential.steps import Earlier, Handle, HandleOf, Made, NameOf, Parts
from tests.tpm.differential.world import Blob, Live, Saved, Thing
from tests.tpm.tpm20.client import NO_DA, NULL, OWNER, PLATFORM, SHA256, WITH_AUTH, b2, u16, u32

_ADMIN_WITH_POLICY = 0x80


def _kind(author: Author, *tags: str) -> str:
    """A kind, seldom one that needs prime numbers."""
    names = [name for name, kind in KINDS.items() if not tags or kind.tags.intersection(tags)]
    quick = [name for name in names if name not in keys.SLOW]
    return author.dice.choice(quick if quick and author.draw.chance(0.985) else names)


def _thing(author: Author, kind: str, known: bool, fixed: bool = True) -> Thing:
    """An object to be: its authValue, policy and attributes."""
    draw = author.draw
    policy = draw.policy()
    bits = WITH_AUTH if not policy or draw.chance(0.5) else 0
    bits |= NO_DA if draw.chance(0.7) else 0
    bits |= _ADMIN_WITH_POLICY if policy and draw.chance(0.5) else 0
    if not known:
        bits |= FIXED_TPM | FIXED_PARENT if fixed else draw.one(0, ENCRYPTED_DUPLICATION)
        bits |= 0 if KINDS[kind].given else ORIGIN
    alg = SHA256 if policy or draw.chance(0.8) else draw.hash_alg()
    return Thing(NULL, kind, draw.auth(), policy, bits, known=known, alg=alg)


def _policy(thing: Thing) -> bytes:
    return digest(thing.policy, thing.alg) if thing.policy else b""


def _sensitive(thing: Thing) -> bytes:
    """TPM2B_SENSITIVE_CREATE."""
    return b2(b2(thing.auth) + b2(keys.content(thing.kind)))


def _public(thing: Thing) -> bytes:
    return keys.template(thing.kind, thing.bits, _policy(thing), thing.alg)


def _creation(author: Author, thing: Thing) -> Parts:
    outside = b2(author.draw.octets(32))
    return (_sensitive(thing), b2(_public(thing)), outside, author.draw.selections())


def _settle(author: Author, thing: Thing, parent: Handle) -> None:
    """The last step has put the object into a slot."""
    above = author.world.thing(parent)
    hierarchy = parent if isinstance(parent, int) else NULL
    if above is not None:
        hierarchy = above.hierarchy
    author.world.things.append(
        replace(thing, handle=Earlier(author.last), parent=parent, hierarchy=hierarchy)
    )


def create_primary(author: Author) -> Plan[None]:
    yield from author.room()
    thing = _thing(author, _kind(author, *author.draw.one((), ("parent",))), False)
    hierarchy = author.draw.one(*HIERARCHIES, OWNER)
    if (yield from author.command("CreatePrimary", [hierarchy], _creation(author, thing))):
        _settle(author, replace(thing, created=author.last), hierarchy)


def _parent(author: Author) -> Plan[Handle]:
    """A storage key, made if there is none."""
    for _ in range(2):
        found = author.world.pick(author.world.objects(), lambda one: "parent" in one.tags)
        if found is not None:
            return found.handle
        yield from author.room()
        thing = Thing(NULL, "ECC storage", bits=0x472)
        hierarchy = author.draw.one(OWNER, PLATFORM, NULL)
        if (yield from author.command("CreatePrimary", [hierarchy], _creation(author, thing))):
            _settle(author, thing, hierarchy)
    return 0x80000000


def create(author: Author) -> Plan[None]:
    parent = yield from _parent(author)
    above = author.world.thing(parent)
    fixed = above is None or not above.known
    thing = _thing(author, _kind(author), False, fixed and author.draw.chance(0.8))
    if not fixed:
        thing.bits &= ~FIXED_TPM
    if (yield from author.command("Create", [parent], _creation(author, thing))):
        blob = Blob(author.last, "out_private", None, replace(thing, parent=parent))
        blob.thing.created = author.last
        author.world.blobs.append(blob)
        if author.draw.chance(0.8):
            yield from load_blob(author, blob)


def load_blob(author: Author, blob: Blob) -> Plan[None]:
    yield from author.room()
    public = Made(blob.step, "out_public", False) if blob.public is None else b2(blob.public)
    parts: Parts = (Made(blob.step, blob.private), public)
    if (yield from author.command("Load", [blob.thing.parent], parts)):
        _settle(author, blob.thing, blob.thing.parent)


def load(author: Author) -> Plan[None]:
    blob = author.world.pick(author.world.blobs)
    if blob is not None:
        yield from load_blob(author, blob)


def load_external(author: Author) -> Plan[None]:
    yield from author.room()
    thing = _thing(author, author.dice.choice(list(KINDS)), True)
    sensitive, public = keys.known(thing.kind, thing.bits, thing.auth, _policy(thing), thing.alg)
    hierarchy, private = NULL, b2(sensitive)
    if author.draw.chance(0.25) or "parent" in thing.tags:
        hierarchy, private = author.draw.one(*HIERARCHIES), b2(b"")
    parts = (private, b2(public), u32(hierarchy))
    if (yield from author.command("LoadExternal", [], parts)):
        _settle(author, thing, hierarchy)


def import_known(author: Author) -> Plan[None]:
    """A key that both sides have, below a parent: storage and derivation keys too."""
    parent = yield from _parent(author)
    kind = _kind(author, "parent", "derive") if author.draw.chance(0.5) else _kind(author)
    thing = _thing(author, kind, True)
    sensitive, public = keys.known(kind, thing.bits, thing.auth, _policy(thing), thing.alg)
    parts = (b2(b""), b2(public), b2(b2(sensitive)), b2(b""), u16(0x10))
    if (yield from author.command("Import", [parent], parts)):
        blob = Blob(author.last, "out_private", public, replace(thing, parent=parent))
        author.world.blobs.append(blob)
        yield from load_blob(author, blob)


def create_loaded(author: Author) -> Plan[None]:
    yield from author.room()
    draw = author.draw
    above = author.world.pick(author.world.objects(), lambda one: "derive" in one.tags)
    if above is not None and draw.chance(0.7):
        yield from _derive(author, above)
        return
    parent = draw.one(OWNER, NULL) if draw.chance(0.4) else (yield from _parent(author))
    thing = _thing(author, _kind(author), False, draw.chance(0.8))
    parts = (_sensitive(thing), b2(_public(thing)))
    if (yield from author.command("CreateLoaded", [parent], parts)):
        _settle(author, thing, parent)


def _derive(author: Author, above: Thing) -> Plan[None]:
    """Part 1, 28: the same parent, label and context make the same key."""
    draw = author.draw
    kind = draw.one("HMAC", "AES", "ECDSA", "ECDH", "ECDSA P-384", "CMAC", "AES CBC", "sealed")
    thing = _thing(author, kind, True)
    thing.bits |= draw.one(0, 0, FIXED_PARENT, FIXED_TPM | FIXED_PARENT)
    label, context = draw.one((b"label", b"context"), (b"", b""), (b"l", b""), (b"x" * 33, b"c"))
    given = draw.one(b"", b"", b2(b"given") + b2(b"data"), b2(b"") * 2)
    public = keys.template(
        kind, thing.bits, _policy(thing), thing.alg, unique=b2(label) + b2(context)
    )
    parts = (b2(b2(thing.auth) + b2(given)), b2(public))
    info = Info(derived=above.known)
    if (yield from author.command("CreateLoaded", [above.handle], parts, info)):
        _settle(author, replace(thing, known=above.known), above.handle)


def change_auth(author: Author) -> Plan[None]:
    thing = author.world.pick(author.world.objects(), lambda one: one.created >= 0)
    if thing is None:
        thing = author.world.pick(author.world.objects())
    if thing is None:
        return
    auth = author.draw.auth()
    handles: list[Handle] = [thing.handle, thing.parent]
    if (yield from author.command("ObjectChangeAuth", handles, (b2(auth),), Info())):
        changed = replace(thing, auth=auth)
        public = Made(thing.created, "out_public", False)
        if author.number and thing.created >= 0 and author.draw.chance(0.7):
            yield from author.room()
            parts: Parts = (Made(author.last, "out_private"), public)
            if (yield from author.command("Load", [thing.parent], parts)):
                _settle(author, changed, thing.parent)


def certify_creation(author: Author) -> Plan[None]:
    thing = author.world.pick(author.world.objects(), lambda one: one.created >= 0)
    signer = author.world.pick(author.world.objects(), lambda one: "sign" in one.tags)
    if thing is None:
        return
    handles: list[Handle] = [signer.handle if signer is not None else NULL, thing.handle]
    author.draw.handles = handles
    parts: Parts = (
        b2(author.draw.octets(32)),
        Made(thing.created, "creation_hash", False),
        author.draw.scheme(0),
        TicketOf(thing.created, "creation_ticket", 0x8021),
    )
    yield from author.command("CertifyCreation", handles, parts)


def duplicate(author: Author) -> Plan[None]:
    """Duplicate, perhaps Rewrap, and Import again."""
    world, draw = author.world, author.draw
    thing = world.pick(
        world.objects(), lambda one: not one.bits & FIXED_PARENT and bool(one.policy)
    )
    if thing is None:
        thing = world.pick(world.objects())
    above = world.pick(world.objects(), lambda one: "parent" in one.tags)
    if thing is None:
        return
    parent = above.handle if above is not None and draw.chance(0.8) else NULL
    key, symmetric = draw.one(
        (b"", u16(0x10)),
        (bytes(16), u16(6) + u16(128) + u16(0x43)),
        (b"", u16(6) + u16(128) + u16(0x43)),
    )
    handles: list[Handle] = [thing.handle, parent]
    if not (yield from author.command("Duplicate", handles, (b2(key), symmetric))):
        return
    made = author.last
    step, private, seed = made, "duplicate", Made(made, "out_sym_seed")
    if parent != NULL and draw.chance(0.3):
        parts: Parts = (Made(made, "duplicate"), NameOf(thing.handle), seed)
        if (yield from author.command("Rewrap", [parent, draw.one(parent, NULL)], parts)):
            step, private, seed = author.last, "out_duplicate", Made(author.last, "out_sym_seed")
    known_key = Made(made, "encryption_key_out") if not key and symmetric != u16(0x10) else b2(key)
    if not (yield from author.command("ReadPublic", [thing.handle], ())):
        return
    public = Made(author.last, "out_public", False)
    parts = (known_key, public, Made(step, private), seed, symmetric)
    target = parent if parent != NULL else (yield from _parent(author))
    if (yield from author.command("Import", [target], parts)):
        yield from author.room()
        imported = (Made(author.last, "out_private"), public)
        if (yield from author.command("Load", [target], imported)):
            _settle(author, replace(thing, created=-1), target)


def credential(author: Author) -> Plan[None]:
    """MakeCredential and ActivateCredential."""
    world = author.world
    above = world.pick(world.objects(), lambda one: "parent" in one.tags)
    thing = world.pick(world.objects())
    if above is None or thing is None:
        return
    parts: Parts = (b2(author.draw.octets(32)), NameOf(thing.handle))
    if (yield from author.command("MakeCredential", [above.handle], parts)):
        made = author.last
        handles: list[Handle] = [thing.handle, above.handle]
        blob: Parts = (Made(made, "credential_blob"), Made(made, "secret"))
        yield from author.command("ActivateCredential", handles, blob)


def save(author: Author) -> Plan[None]:
    found: list[Thing | Live] = [*author.world.things, *author.world.sessions]
    if not found:
        return
    what = author.dice.choice(found)
    if (yield from author.command("ContextSave", [what.handle], ())):
        author.world.saved.append(Saved(author.last, what))
        if isinstance(what, Live):
            author.world.forget(what.handle)
        elif author.draw.chance(0.5):
            yield from author.flush(what.handle)


def restore(author: Author) -> Plan[None]:
    if not author.world.saved:
        return
    saved = author.dice.choice(author.world.saved[-4:])
    if isinstance(saved.what, Thing):
        yield from author.room()
    if (yield from author.command("ContextLoad", [], (Made(saved.step, "context"),))):
        back = replace(saved.what, handle=Earlier(author.last))
        if isinstance(back, Thing):
            author.world.things.append(back)
        else:
            author.world.sessions.append(back)


def evict(author: Author) -> Plan[None]:
    world, draw = author.world, author.draw
    thing = world.pick(world.persistent if draw.chance(0.3) else world.objects())
    if thing is None:
        return
    auth = PLATFORM if thing.hierarchy == PLATFORM else draw.one(OWNER, OWNER, OWNER, PLATFORM)
    base = 0x81800000 if auth == PLATFORM else 0x81000000
    place = thing.handle if isinstance(thing.handle, int) else base + draw.one(0, 1, 2, 3)
    persistent = draw.one(place, place, place, 0x81000000)
    assert isinstance(persistent, int)
    if (yield from author.command("EvictControl", [auth, thing.handle], (u32(persistent),))):
        if isinstance(thing.handle, int):
            world.persistent = [one for one in world.persistent if one.handle != thing.handle]
        else:
            world.persistent.append(replace(thing, handle=persistent))


def flush(author: Author) -> Plan[None]:
    found: list[Thing | Live] = [*author.world.things, *author.world.sessions]
    if found:
        handle = author.dice.choice(found).handle
        if (yield from author.command("FlushContext", [], (HandleOf(handle),))):
            author.world.forget(handle)
