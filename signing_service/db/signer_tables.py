"""What the signer writes, and nobody else: people, keys, phones, codes, confirmations, signatures."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from signing_service.db.columns import DIGEST, ID, Instant, metadata, only_where

signatory = Table(
    "signatory", metadata,
    Column("id", ID, primary_key=True),
    Column("name", String(200), nullable=False),
    Column("agency_code", String(35), nullable=False),
    Column("office", String(40), nullable=False),        # such as chairman, deputy, head, clerk
    Column("reference", String(100), unique=True),       # the personnel number in the city's own systems
    Column("state", String(20), nullable=False),
    Column("created_at", Instant, nullable=False),
    Index("ix_signatory_name", "name"),
)

operator = Table(
    "operator", metadata,
    Column("id", ID, primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("state", String(20), nullable=False),
    Column("created_at", Instant, nullable=False),
)

auditor = Table(
    "auditor", metadata,
    Column("id", ID, primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("agencies", JSON, nullable=False),            # whose entries they see, with those below; "*" for all
    Column("state", String(20), nullable=False),
    Column("created_at", Instant, nullable=False),
)

phone = Table(
    "phone", metadata,
    Column("id", ID, primary_key=True),
    Column("signatory_id", ID, nullable=False),
    Column("secret_hash", DIGEST, nullable=False),       # of 256 random bits in the phone's cookie
    Column("label", String(100), nullable=False),        # what its browser says it is: for people, nothing rests on it
    Column("state", String(10), nullable=False),         # phones.State: enrolling, active, retired
    Column("ticket_id", ID, nullable=False),
    Column("stop_hash", DIGEST, unique=True),            # of the stop code, drawn when it became active
    Column("created_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("version", Integer, nullable=False),
    Column("mac", LargeBinary, nullable=False),
    Index("ix_phone_signatory", "signatory_id", "state"),
)

ticket = Table(
    "ticket", metadata,
    Column("id", ID, primary_key=True),
    Column("owner", ID, nullable=False),                 # whose: a signatory, an auditor or an operator
    Column("hash", DIGEST, nullable=False, unique=True),  # of 256 random bits in the link
    Column("keeps_others", Boolean, nullable=False),     # the owner's other phones stay
    Column("state", String(10), nullable=False),         # tickets.State: open, used, done, void
    Column("opened_by", DIGEST),                         # the one browser that opened the link
    Column("phone_id", ID),
    Column("created_by", ID, nullable=False),            # the operator
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("version", Integer, nullable=False),
    Column("mac", LargeBinary, nullable=False),
    Index("ix_ticket_owner", "owner", "state"),
)

key = Table(
    "key", metadata,
    Column("id", ID, primary_key=True),
    Column("purpose", String(20), nullable=False),       # credential, timestamp
    Column("kind", String(10), nullable=False),
    Column("custody", String(10), nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("blob", LargeBinary),
    Column("owner", ID, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("destroyed_at", Instant),
    Column("mac", LargeBinary, nullable=False),
)

credential = Table(
    "credential", metadata,
    Column("id", ID, primary_key=True),
    Column("kind", String(10), nullable=False),          # personal, agency, or timestamp for our own authority
    Column("signatory_id", ID),                          # whose, or for an agency's seal its custodian
    Column("agency_code", String(35), nullable=False),
    Column("key_id", ID),                                # null until the job has made it
    Column("key_kind", String(10), nullable=False),
    Column("algorithm", String(20), nullable=False),
    Column("custody", String(10), nullable=False),
    Column("state", String(20), nullable=False),         # credentials.State
    Column("reason", Text),
    Column("certificate", LargeBinary),
    Column("chain", LargeBinary),                        # concatenated DER, issuer first
    Column("not_before", Instant),
    Column("not_after", Instant),
    Column("serial", String(80)),                        # of the certificate, lower-case hexadecimal: to look it up by
    Column("fingerprint", DIGEST),                       # SHA-256 of the certificate; null for what came before it
    Column("replaces", ID),
    Column("created_at", Instant, nullable=False),
    Column("version", Integer, nullable=False),
    Column("mac", LargeBinary, nullable=False),
    Index("ix_credential_signatory", "signatory_id", "state"),
    Index("ix_credential_ends", "state", "not_after"),   # what ends soon; and keys that are still to be made
    Index("ix_credential_serial", "serial"),
    Index("ix_credential_fingerprint", "fingerprint"),
)

seed = Table(
    "seed", metadata,
    Column("id", ID, primary_key=True),
    Column("owner", ID, nullable=False, index=True),     # a signatory, an auditor or an operator
    Column("state", String(10), nullable=False),         # enrolling, active, retired
    Column("blob", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("version", Integer, nullable=False, server_default="1"),
    Column("mac", LargeBinary, nullable=False),
)

code_state = Table(
    "code_state", metadata,
    Column("owner", ID, primary_key=True),
    Column("last_step", BigInteger, nullable=False),     # the greatest accepted time step; only greater ones count
    Column("attempts", BigInteger, nullable=False),      # changes, ever: makes each conditional UPDATE exact
    Column("failures", Integer, nullable=False),         # in a row since the last right code
    Column("failures_today", Integer, nullable=False),
    Column("today", String(10), nullable=False),
    Column("locks", Integer, nullable=False),            # how often it locked since the last unlock; the delay grows
    Column("locked_until", Instant),
    Column("suspicion", Float, nullable=False),          # wrong codes, slowly forgotten; full = hard lock
    Column("suspicion_at", Instant, nullable=False),
    Column("hard_locked", Boolean, nullable=False),      # only an operator opens it
)

confirmation = Table(
    "confirmation", metadata,
    Column("id", ID, primary_key=True),
    Column("owner", ID, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("client_id", ID),                             # null for a phone: it confirms requests of several clients
    Column("phone_id", ID),
    Column("channel", String(10), nullable=False),       # client or phone
    Column("matching_code", String(6), nullable=False),
    Column("created_at", Instant, nullable=False),
    UniqueConstraint("owner", "step", name="uq_confirmation_step"),
)

intent = Table(
    "intent", metadata,
    Column("id", ID, primary_key=True),
    Column("confirmation_id", ID, nullable=False),
    Column("signing_request_id", ID, nullable=False, unique=True),
    Column("credential_id", ID, nullable=False),
    Column("key_id", ID, nullable=False),
    Column("document_digest", DIGEST, nullable=False),
    Column("tail_digest", DIGEST, nullable=False),
    Column("to_sign", LargeBinary, nullable=False),
    Column("algorithm", String(20), nullable=False),
    Column("policy_hash", DIGEST, nullable=False),
    Column("signer_id", ID, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("local_day", String(10), nullable=False),
    Column("deadline", Instant, nullable=False),
    Column("outcome", String(20)),                       # done, failed, unknown-outcome
    Column("outcome_at", Instant),
    UniqueConstraint("confirmation_id", "document_digest", name="uq_intent_digest"),
    Index("ix_intent_day", "credential_id", "local_day"),
    Index("ix_intent_open", "deadline", **only_where("outcome IS NULL")),
)

signature = Table(
    "signature", metadata,
    Column("intent_id", ID, primary_key=True),
    Column("signing_request_id", ID, nullable=False, unique=True),
    Column("value", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
)

policy = Table(
    "policy", metadata,
    Column("hash", DIGEST, primary_key=True),
    Column("name", String(100), nullable=False),
    Column("text", Text, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("activated_at", Instant, nullable=False),
    Column("activated_by", ID, nullable=False),
)

lease = Table(
    "lease", metadata,
    Column("name", String(60), primary_key=True),
    Column("holder", ID, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("expires_at", Instant, nullable=False),
)

epoch = Table(
    "epoch", metadata,                                   # one for each restore; the first epoch has none
    Column("number", Integer, primary_key=True),
    Column("size", BigInteger, nullable=False),          # of the log when it began
    Column("root", LargeBinary, nullable=False),
    Column("opened_at", Instant, nullable=False),
    Column("opened_by", ID),                             # the signer that noticed; null until one did
    Column("closed_at", Instant),
    Column("closed_by", ID),                             # the operator who said that the service may go on
    Column("mac", LargeBinary),
)

clock = Table(
    "clock", metadata,
    Column("id", Integer, primary_key=True),
    Column("high_water", Instant, nullable=False),
)
