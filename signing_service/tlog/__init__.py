"""The provable log, its pure half: no database, no device, no clock, no network.

An *entry* is a JSON object; its canonical bytes are a leaf of an RFC 6962 tree. A *checkpoint* is the root of
that tree at one size, signed as a C2SP note. Whoever keeps a checkpoint somewhere else can show later that
nothing at or below it was changed, removed, reordered, inserted or cut off.

    tree.py      hashes, proofs and their verification (RFC 6962 2.1, RFC 9162 2.1.3.2 and 2.1.4.2)
    tiles.py     how the tree is stored: tiles of 256 hashes (C2SP tlog-tiles)
    note.py      checkpoints and signed notes (C2SP tlog-checkpoint, signed-note)
    entries.py   canonical JSON and the lines of an export
    findings.py  what verification found, and what it did and did not prove
    order.py     which entries are out of their place
    verify.py    a whole log, a range, an export, against checkpoints from inside and outside
    receipts.py  what a third party needs to check one document offline
"""
