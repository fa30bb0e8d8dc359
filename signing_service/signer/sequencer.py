"""The sequencer gives waiting entries their place in the log and signs checkpoints of it.

One signer at a time holds the `sequencer` lease. Entries, tiles and checkpoint become durable in one transaction,
and a checkpoint leaves the process only through the database: if we die after the device signed and before the
commit, that checkpoint never existed for anybody.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from hsm.errors import DeviceError
from signing_service.audit import SIGNER_EVENTS, Event, Fact, StoredTiles, record
from signing_service.db.compiled import Compiled
from signing_service.db.tables import checkpoint, entry, log_key
from signing_service.errors import Unavailable
from signing_service.ids import draw
from signing_service.signer import anchor, clock, leases
from signing_service.signer.anchor import Head
from signing_service.signer.runtime import Runtime, entry_mac
from signing_service.tlog import note, tiles, tree

MOST = 500  # entries per checkpoint: whoever signs waits for this transaction, some 30 ms

_FIRST = Compiled(select(entry.c.id).where(entry.c.leaf_index.is_(None)).limit(1))
_NEXT = Compiled(
    select(entry.c.id, entry.c.event, entry.c.body, entry.c.mac, entry.c.mac_by)
    .where(entry.c.leaf_index.is_(None)).order_by(entry.c.id).limit(bindparam("most")))
_PLACE = Compiled(update(entry).where(entry.c.id == bindparam("which"), entry.c.leaf_index.is_(None))
                  .values(leaf_index=bindparam("place")))


def sequence(rt: Runtime) -> int:
    """Put what waits into the tree and sign a checkpoint of it. Returns how many entries found their place.

    Does nothing (0) where another signer holds the lease. Raises Unavailable where the stored tree is damaged:
    then nothing is added to it until somebody looked.
    """
    with rt.sequencing:  # the lease keeps other signers away, not this one's other threads
        return _sequence(rt)


def _sequence(rt: Runtime) -> int:
    with rt.db.read() as tx:
        if not _is_waiting(tx):  # an idle signer writes nothing, not even its lease
            return 0
        is_ours = leases.is_held(tx, leases.SEQUENCER, rt.id, rt.now() + _lasting(rt) / 2)  # then `_write` keeps it
    if not is_ours and not _hold(rt):
        return 0
    with rt.db.read() as tx:
        current = anchor.head(tx)
        anchor.look_at(rt, current)
        waiting = _NEXT.all(tx, {"most": MOST})
        if not waiting:
            return 0
        stored = StoredTiles(tx)
        if tiles.root_at(stored, current.size) != current.root:
            raise Unavailable("The stored tree does not give the newest checkpoint's root.", code="tiles-damaged")
        grown = tiles.append(stored, current.size, [tree.leaf_hash(row.body.encode()) for row in waiting])
    try:
        unproven = _unproven(rt, waiting)
        signed, verifier = _signed(rt, grown)
    except (DeviceError, note.NoteInvalid):
        leases.let_go(rt, leases.SEQUENCER)  # another signer's device may be well
        raise
    _write(rt, current, grown, signed, waiting, unproven, verifier)
    anchor.keep(rt, grown.new_size, grown.root)
    return len(waiting)


def _is_waiting(tx: Connection) -> bool:
    return _FIRST.first(tx, {}) is not None


def _signed(rt: Runtime, grown: tiles.Append) -> tuple[str, str]:
    """The checkpoint of the grown tree as a signed note, and the verifier of its key."""
    held = rt.device.checkpoint_key()
    algorithm: Any = held.algorithm  # of two, which CheckpointKey looks at itself
    key, name = note.CheckpointKey(algorithm, held.public_key), rt.settings.log_origin
    body = note.Checkpoint(name, grown.new_size, grown.root).body()
    return note.sign_note(body, name, key, rt.device.sign_checkpoint), note.verifier_string(name, key)


def _hold(rt: Runtime) -> bool:
    now = rt.now()
    with rt.db.write() as tx:
        return leases.hold(tx, leases.SEQUENCER, rt.id, now, now + _lasting(rt))


def _lasting(rt: Runtime) -> timedelta:
    return timedelta(seconds=rt.settings.lease_seconds)


def _unproven(rt: Runtime, waiting: Sequence[Any]) -> list[Any]:
    """The signers' entries that do not carry the MAC of the signer they name. Any signer on this device can tell."""
    claimed = [row for row in waiting if row.event in SIGNER_EVENTS]
    makers = {name: entry_mac(rt.device, name) for name in {row.mac_by for row in claimed} if name is not None}
    return [row for row in claimed if row.mac is None or row.mac_by is None
            or not hmac.compare_digest(makers[row.mac_by].over(row.body.encode()), row.mac)]


def _write(
    rt: Runtime, current: Head, grown: tiles.Append, signed: str, waiting: Any, unproven: list[Any], verifier: str,
) -> None:
    with rt.db.write() as tx:
        now = clock.check(rt, tx)  # a checkpoint says when it was made
        if not leases.hold(tx, leases.SEQUENCER, rt.id, now, now + _lasting(rt)):
            raise Unavailable("Another signer sequences the log now.", code="lease-lost")
        if anchor.head(tx).size != current.size:
            raise Unavailable("The log has grown meanwhile.", code="lease-lost")
        _PLACE.many(tx, [{"which": row.id, "place": current.size + at} for at, row in enumerate(waiting)])
        StoredTiles(tx).write(grown)
        tx.execute(insert(checkpoint).values(
            id=draw("cp"), size=grown.new_size, root=grown.root, note=signed, at=now))
        if tx.execute(select(log_key.c.verifier).where(log_key.c.verifier == verifier)).first() is None:
            tx.execute(insert(log_key).values(verifier=verifier, created_at=now))
        record(tx, now, *(
            Fact(Event.ENTRY_UNPROVEN, f"signer:{rt.id}", "alarm", data={"entry": row.id, "event": row.event})
            for row in unproven
        ), mac=rt.entry_mac)


def keep_alive(rt: Runtime) -> None:
    """Where nothing was sequenced for a while, record just that: the next checkpoint then proves the silence."""
    now = rt.now()
    with rt.db.read() as tx:
        last = anchor.head(tx).at
        is_waiting = _is_waiting(tx)
    is_due = last is None or now - last >= timedelta(seconds=rt.settings.idle_checkpoint_seconds)
    if is_due and not is_waiting:  # what waits will say as much, as soon as somebody can sequence it
        with rt.db.write() as tx:
            record(tx, now, Fact(Event.ALIVE, f"signer:{rt.id}"), mac=rt.entry_mac)
