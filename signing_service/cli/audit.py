"""The log: looking for entries, taking them away, and proving that nobody changed them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from signing_service import exports, inspection, receipts, verification
from signing_service import search as searching
from signing_service.cli import exits, reading
from signing_service.cli.screen import plain
from signing_service.cli.session import Session, held
from signing_service.errors import Invalid
from signing_service.exports import Form
from signing_service.filters import Wanted
from signing_service.inspection import Reader
from signing_service.tlog.verify import Report

app = typer.Typer(no_args_is_help=True, help="The provable log. Whoever reads it stands in it.")
Begin = Annotated[datetime | None, typer.Option("--from", help="The first moment, in the city's time")]
End = Annotated[datetime | None, typer.Option("--to", help="The first moment after")]
Key = Annotated[str | None, typer.Option("--key", help="The log's verifier key as it was published, or its file")]
Checkpoint = Annotated[Path | None, typer.Option(help="A checkpoint that was kept somewhere else")]
COLUMNS = ("index", "at", "event", "outcome", "actor", "id")


@app.command()
def search(
    context: typer.Context, begins: Begin = None, ends: End = None,
    event: Annotated[str | None, typer.Option(help="Such as signature:done")] = None,
    outcome: Annotated[str | None, typer.Option(help="Such as refused")] = None,
    agency: Annotated[str | None, typer.Option(help="An agency's code; those below it are included")] = None,
    signatory: Annotated[str | None, typer.Option(help="A signatory's id")] = None,
    client: Annotated[str | None, typer.Option(help="A client's id")] = None,
    signing_request: Annotated[str | None, typer.Option("--request", help="A signing request's id")] = None,
    digest: Annotated[str | None, typer.Option(help="SHA-256 of a document, submitted or signed")] = None,
    after: Annotated[str | None, typer.Option(help="Go on behind this entry")] = None,
    limit: Annotated[int, typer.Option(min=1, max=inspection.LONGEST_PAGE)] = inspection.PAGE,
) -> None:
    """Entries, in the order of the log."""
    session = held(context)
    page = searching.search(session.db, _reader(session), session.now(), Wanted(
        begins=_moment(session, begins), ends=_moment(session, ends), event=event, outcome=outcome, agency=agency,
        signatory=signatory, client=client, signing_request=signing_request, digest=digest, after=after, limit=limit))
    session.screen.rows("Entries", COLUMNS, [_row(entry) for entry in page.entries])
    if page.after:
        session.screen.say(f"There are more: --after {page.after}")


@app.command()
def show(context: typer.Context, entry_id: Annotated[str, typer.Argument(help="en_…", metavar="ENTRY")]) -> None:
    """One entry, whole."""
    session = held(context)
    entry = inspection.get(session.db, _reader(session), session.now(), entry_id)
    session.screen.record("Entry", {"index": entry.index, "leaf_hash": entry.leaf_hash, **entry.body})


@app.command()
def export(
    context: typer.Context, file: Annotated[Path, typer.Argument(help="Where to; - for the standard output")],
    begins: Begin = None, ends: End = None,
    form: Annotated[Form, typer.Option(help="jsonl can be verified; csv is for spreadsheets")] = Form.JSONL,
    agency: Annotated[str | None, typer.Option(help="Only this agency and those below it")] = None,
) -> None:
    """Take entries away. The whole log, as jsonl, can be verified offline with `audit verify FILE`."""
    session = held(context)
    wanted = Wanted(begins=_moment(session, begins), ends=_moment(session, ends), agency=agency)
    pieces = exports.export(session.db, _reader(session), session.now(), wanted, form)
    if str(file) == "-":
        sys.stdout.writelines(pieces)
        return
    with _opened(file), file.open("x", encoding="utf-8", newline="") as out:
        out.writelines(pieces)
    session.screen.say(f"Written to {file}.")


@app.command()
def verify(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(help="An export (jsonl); without it the database's own log")] = None,
    key: Key = None, checkpoint: Checkpoint = None,
) -> None:
    """Was anything changed, removed, moved, put in or cut off? Exit code 1 when it was.

    With a checkpoint that was kept elsewhere nothing at or below it can have been changed unnoticed.
    """
    session = held(context)
    outside = reading.read_text(checkpoint) if checkpoint else None
    if file is not None:
        with _lines(file) as lines:
            _report(session, verification.verify_export(lines, outside, _key(key)))
        return
    found = verification.verify_stored(
        session.db, _reader(session), session.now(), verifier=_key(key), outside=outside)
    _report(session, found.report, found.columns)


@app.command()
def prove(
    context: typer.Context, entry_id: Annotated[str, typer.Argument(help="en_…", metavar="ENTRY")],
    size: Annotated[int | None, typer.Option(help="Under the checkpoint of so many entries")] = None,
) -> None:
    """The proof that an entry is in the log (RFC 6962 2.1.1)."""
    session = held(context)
    proof = verification.prove_inclusion(session.db, _reader(session), session.now(), entry_id, size)
    session.screen.record("Inclusion", vars(proof))


@app.command()
def checkpoint(
    context: typer.Context,
    out: Annotated[Path | None, typer.Option(help="Write it to this file; keep that where this server cannot")] = None,
) -> None:
    """The newest signed checkpoint: kept elsewhere, it makes every change below it visible."""
    session = held(context)
    note = verification.checkpoint_note(session.db)
    if out is not None:
        with _opened(out):
            out.write_text(note, encoding="utf-8")
        session.screen.say(f"Written to {out}.")
    elif session.screen.as_json:
        session.screen.record("", {"checkpoint": note, "keys": list(verification.verifier_keys(session.db))})
    else:
        session.screen.text(note)


@app.command()
def key(context: typer.Context) -> None:
    """The log's verifier keys, the newest first: to be published where nobody of this server can change them."""
    session = held(context)
    session.screen.rows("Keys", ("key",), [{"key": text} for text in verification.verifier_keys(session.db)])


@app.command()
def receipt(
    context: typer.Context, file: Annotated[Path, typer.Argument(help="A receipt (JSON)")],
    key: Key = None, document: Annotated[Path | None, typer.Option(help="The document it speaks of")] = None,
) -> None:
    """Check a receipt offline: it needs the log's key and the document, and nothing of this server."""
    content = reading.read_bytes(document) if document else None
    _report(held(context), receipts.check(_json(file), _key(key), content))


def _report(session: Session, report: Report, columns: tuple[str, ...] = ()) -> None:
    """What was found, what is proven, and what is not. Exits with FALSE for a finding."""
    is_ok = report.ok and not columns
    if session.screen.as_json:
        session.screen.record("", {
            "ok": is_ok, "findings": [vars(finding) for finding in report.findings], "columns": columns,
            "proven": report.proven, "not_proven": report.not_proven, "size": report.size,
        })
    else:
        _show(session, report, columns)
    if not is_ok:
        raise typer.Exit(exits.FALSE)


def _show(session: Session, report: Report, columns: Iterable[str]) -> None:
    for finding in report.findings:
        session.screen.out.print(Text("✗ ", "red") + Text(plain(f"{finding.kind}: {finding.text}")))
    for column in columns:
        session.screen.out.print(Text("✗ ", "red") + Text(plain(column)))
    if report.more:
        session.screen.out.print(Text(f"  and {report.more} more", "red"))
    for sentence in report.proven:
        session.screen.out.print(Text("✓ ", "green") + Text(plain(sentence)))
    for sentence in report.not_proven:
        session.screen.out.print(Text("? ", "yellow") + Text(plain(sentence)))


def _row(entry: inspection.Entry) -> dict[str, Any]:
    shown = {name: entry.body.get(name) for name in COLUMNS}
    return shown | {"index": entry.index, "id": entry.id, "disagrees": entry.disagrees}


def _reader(session: Session) -> Reader:
    return Reader(session.actor)


def _moment(session: Session, moment: datetime | None) -> datetime | None:
    """Typed without a zone, a moment is one of the city's."""
    if moment is None or moment.tzinfo is not None:
        return moment
    return moment.replace(tzinfo=session.settings.zone)


def _key(text: str | None) -> str | None:
    """A key, or the name of a file that holds one: a key has a plus sign and a file is there."""
    if text is None:
        return None
    path = Path(text)
    return reading.read_text(path).strip() if len(text) < 200 and path.is_file() else text


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(reading.read_text(file))
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{file} is not JSON.", code="receipt") from error
    if not isinstance(found, dict):
        raise Invalid(f"{file} is not a receipt.", code="receipt")
    return found


@contextmanager
def _lines(file: Path) -> Iterator[Iterable[bytes]]:
    with _opened(file), file.open("rb") as lines:
        yield (line.rstrip(b"\n") for line in lines)


@contextmanager
def _opened(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Invalid(f"{file}: {error.strerror}.", code="file") from error
