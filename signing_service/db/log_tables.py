"""The log: entries, which both halves append, and the tree over them, which is the signer's."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
)

from signing_service.db.columns import DIGEST, ID, Instant, metadata, only_where

entry = Table(
    "entry", metadata,
    Column("id", ID, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("event", String(60), nullable=False),
    Column("actor", String(60), nullable=False),
    Column("outcome", String(20), nullable=False),
    Column("client_id", ID),
    Column("signatory_id", ID),
    Column("agency_code", String(35)),
    Column("credential_id", ID),
    Column("signing_request_id", ID),
    Column("document_digest", DIGEST),
    Column("body", Text, nullable=False),                # canonical JSON: these bytes are the leaf of the tree
    Column("mac", LargeBinary),                          # of the signer's own entries, until they are sequenced
    Column("mac_by", ID),
    Column("leaf_index", BigInteger, unique=True),
    Index("ix_entry_waiting", "id", **only_where("leaf_index IS NULL")),
    Index("ix_entry_at", "at"),
    Index("ix_entry_event", "event", "leaf_index"),
    Index("ix_entry_signatory", "signatory_id", "leaf_index"),
    Index("ix_entry_agency", "agency_code", "leaf_index"),
    Index("ix_entry_client", "client_id", "leaf_index"),
    Index("ix_entry_credential", "credential_id", "leaf_index"),
    Index("ix_entry_outcome", "outcome", "leaf_index"),
    Index("ix_entry_request", "signing_request_id"),
    Index("ix_entry_digest", "document_digest"),
)

tile = Table(
    "tile", metadata,
    Column("level", Integer, primary_key=True),
    Column("tile_index", BigInteger, primary_key=True),
    Column("hashes", LargeBinary, nullable=False),
)

checkpoint = Table(
    "checkpoint", metadata,
    Column("id", ID, primary_key=True),
    Column("size", BigInteger, nullable=False, index=True),
    Column("root", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    Column("at", Instant, nullable=False),
)

log_key = Table(
    "log_key", metadata,
    Column("verifier", String(300), primary_key=True),   # C2SP vkey: name, key id, public key
    Column("created_at", Instant, nullable=False),
)
