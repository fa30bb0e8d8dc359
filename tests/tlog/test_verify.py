"""What verification finds, how it names it, and what it says it did not prove."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signing_service.errors import Invalid
from signing_service.tlog import tree
from signing_service.tlog.entries import EntryLine
from signing_service.tlog.findings import Kind, Report
from signing_service.tlog.leaves import TrustedLeaves
from signing_service.tlog.note import Checkpoint
from signing_service.tlog.verify import verify_checkpoints, verify_entries, verify_log, verify_range
from tests.support.log_campaign import ORIGIN, Exported, a_log, body_of, sealed

LOG = a_log(300, 290)
SMALL = a_log(20, 20)


def kept(log: Exported, size: int) -> Checkpoint:
    return Checkpoint(ORIGIN, size, tree.root_at(size, log.node_at()))


def names(report: Report) -> list[tuple[Kind, int | None, int | None]]:
    return [(finding.kind, finding.first, finding.last) for finding in report.findings]


def changed(index: int, **fields: object) -> EntryLine:
    """Entry `index` with another body and all else in agreement."""
    return EntryLine.of(index, {**body_of(index), **fields})


def with_line(log: Exported, at: int, line: EntryLine) -> list[EntryLine]:
    return [*log.lines[:at], line, *log.lines[at + 1 :]]


def test_a_sound_log_is_found_sound_and_the_report_says_what_that_means() -> None:
    report = verify_log(LOG.lines, LOG.checkpoint, outside=kept(LOG, 200), node_at=LOG.node_at())
    assert report == Report(
        findings=(),
        size=300,
        proven_size=290,
        proven=(
            "Entries 0 to 199 are exactly those under the outside checkpoint of 200 entries.",
            "Entries 0 to 289 are exactly those under the log's own checkpoint of 290 entries.",
        ),
        not_proven=(
            "Who signed the checkpoint of 290 entries was not verified: no key was given.",
            "Who signed the checkpoint of 200 entries was not verified: no key was given.",
            "Entries 200 to 289 are covered only by the log's own checkpoint, not by the one kept outside.",
            "Entries 290 to 299 are above every checkpoint; nothing is proven of them.",
        ),
    )


def test_without_an_outside_checkpoint_the_report_says_that_a_rollback_would_not_show() -> None:
    report = verify_log(LOG.lines[:290], LOG.checkpoint)
    assert report.ok
    assert any("rolled back, or rewritten and signed again" in line for line in report.not_proven)


def test_the_signers_are_named_when_their_signatures_were_verified() -> None:
    signed = replace(LOG.checkpoint, signed_by=("log.example/agency",))
    report = verify_log(LOG.lines[:290], signed)
    assert "The checkpoint of 290 entries is signed by log.example/agency." in report.proven
    assert not any("Who signed" in line for line in report.not_proven)


def test_an_export_file_verifies_as_the_entries_do() -> None:
    texts = [line.text() for line in SMALL.lines]
    for lines in (texts, [text + "\n" for text in texts], [text.encode() for text in texts], [*texts, "\n", ""]):
        assert verify_log(lines, SMALL.checkpoint) == verify_log(SMALL.lines, SMALL.checkpoint)


def test_an_empty_log_has_the_empty_root() -> None:
    assert verify_log([], Checkpoint(ORIGIN, 0, tree.EMPTY_ROOT)).ok
    assert names(verify_log([], Checkpoint(ORIGIN, 0, bytes(32)))) == [(Kind.REWRITTEN, 0, 0)]


@pytest.mark.parametrize("stored", [True, False], ids=["with the stored tree", "without"])
def test_a_body_changed_under_its_old_hash_is_named_and_the_rest_is_still_proven(stored: bool) -> None:
    lines = with_line(LOG, 7, replace(LOG.lines[7], body={"action": "nothing"}))
    report = verify_log(lines, LOG.checkpoint, node_at=LOG.node_at() if stored else None)
    assert names(report) == [(Kind.CHANGED, 7, 7)]
    assert report.proven_size == 290


@pytest.mark.parametrize("stored", [True, False], ids=["with the stored tree", "without"])
def test_a_leaf_hash_changed_over_its_old_body_is_named(stored: bool) -> None:
    lines = with_line(LOG, 7, replace(LOG.lines[7], leaf_hash=bytes(32)))
    report = verify_log(lines, LOG.checkpoint, node_at=LOG.node_at() if stored else None)
    assert names(report) == [(Kind.CHANGED, 7, 7)]
    assert report.proven_size == 290


def test_two_bodies_that_changed_places_under_their_old_hashes_are_both_named() -> None:
    lines = with_line(LOG, 7, replace(LOG.lines[7], body=LOG.lines[9].body))
    lines[9] = replace(LOG.lines[9], body=LOG.lines[7].body)
    report = verify_log(lines, LOG.checkpoint, node_at=LOG.node_at())
    assert names(report) == [(Kind.CHANGED, 7, 7), (Kind.CHANGED, 9, 9)]


def test_without_the_stored_tree_a_careful_change_is_narrowed_down_by_earlier_checkpoints() -> None:
    lines = with_line(LOG, 150, changed(150, by="nobody"))
    history = [kept(LOG, size) for size in (200, 100, 50)]
    report = verify_log(lines, LOG.checkpoint, history=history)
    assert names(report) == [(Kind.REWRITTEN, 100, 199)]
    assert report.proven_size == 100
    assert names(verify_log(lines, LOG.checkpoint)) == [(Kind.REWRITTEN, 0, 289)]


def test_with_the_stored_tree_a_careful_change_is_named() -> None:
    lines = with_line(LOG, 270, changed(270, by="nobody"))
    report = verify_log(lines, LOG.checkpoint, node_at=LOG.node_at())
    assert names(report) == [(Kind.CHANGED, 270, 270)]


def test_a_log_rewritten_and_signed_again_is_found_only_from_outside() -> None:
    forged = sealed(with_line(LOG, 150, changed(150, by="nobody")), 290)
    assert verify_log(forged.lines, forged.checkpoint, node_at=forged.node_at()).ok
    report = verify_log(forged.lines, forged.checkpoint, outside=kept(LOG, 200), node_at=forged.node_at())
    assert (Kind.REWRITTEN, 0, 199) in names(report)
    assert report.proven_size == 0


def test_two_checkpoints_of_one_size_with_two_roots_are_a_fork() -> None:
    forged = sealed(with_line(LOG, 150, changed(150, by="nobody")), 290)
    report = verify_log(forged.lines, forged.checkpoint, outside=LOG.checkpoint)
    assert (Kind.FORKED, 0, 289) in names(report)


def test_a_log_rolled_back_to_an_older_state_is_found_by_a_newer_checkpoint_from_outside() -> None:
    older = sealed(LOG.lines[:200], 200)
    assert verify_log(older.lines, older.checkpoint, node_at=older.node_at()).ok
    report = verify_log(older.lines, older.checkpoint, outside=LOG.checkpoint, node_at=older.node_at())
    assert (Kind.ROLLED_BACK, 200, 289) in names(report)
    assert (Kind.TRUNCATED, 200, 289) in names(report)


def test_a_newer_checkpoint_from_outside_proves_a_whole_log_whose_own_checkpoint_lags() -> None:
    report = verify_log(LOG.lines, kept(LOG, 200), outside=LOG.checkpoint)
    assert names(report) == [(Kind.ROLLED_BACK, 200, 289)]
    assert report.proven_size == 290


def test_a_checkpoint_of_another_log_is_named_and_proves_nothing() -> None:
    other = replace(kept(LOG, 200), origin="other.example/log")
    report = verify_log(LOG.lines, LOG.checkpoint, outside=other)
    assert names(report) == [(Kind.OTHER_LOG, None, None)]
    assert not any("outside" in line for line in report.proven)


def test_a_damaged_stored_tree_is_named_and_not_believed() -> None:
    stored = dict(LOG.stored)
    stored[0, 0] = stored[0, 0][:-32] + bytes(32)
    damaged = replace(LOG, stored=stored)
    report = verify_log(LOG.lines, LOG.checkpoint, node_at=damaged.node_at())
    assert {kind for kind, _, _ in names(report)} == {Kind.BAD_HASHES}
    assert report.proven_size == 290
    lost = replace(LOG, stored={})
    assert names(verify_log(LOG.lines, LOG.checkpoint, node_at=lost.node_at())) == [(Kind.BAD_HASHES, 0, 0)]


def test_what_the_outside_checkpoint_covers_is_never_judged_by_the_logs_own() -> None:
    forged = sealed(with_line(LOG, 150, changed(150, by="nobody")), 290)
    leaves = TrustedLeaves(forged.node_at(), [kept(LOG, 200), forged.checkpoint])
    assert leaves.at(250) == LOG.lines[250].leaf_hash
    assert leaves.at(150) is None
    assert leaves.at(290) is None
    assert leaves.damaged == 0


def test_a_line_stripped_of_its_number_is_missing_from_its_place() -> None:
    lines = with_line(SMALL, 5, replace(SMALL.lines[5], index=None))
    report = verify_log(lines, SMALL.checkpoint)
    assert names(report) == [(Kind.REMOVED, 5, 5)]


def test_entries_that_wait_for_their_place_are_counted_and_their_bodies_checked() -> None:
    waiting = EntryLine.of(None, {"action": "code:rejected"})
    report = verify_log([*SMALL.lines, waiting, waiting], SMALL.checkpoint)
    assert report.ok
    assert report.not_proven[-1].startswith("2 entries wait")
    report = verify_log([*SMALL.lines, replace(waiting, leaf_hash=bytes(32))], SMALL.checkpoint)
    assert names(report) == [(Kind.CHANGED, None, None)]


@pytest.mark.parametrize("text", ["{", "null", '{"index":0}', '{"a":1.5}', "\x00", b"\xff"])
def test_a_line_that_is_no_entry_is_named_and_its_entry_is_missing(text: str | bytes) -> None:
    lines = [*SMALL.lines[:5], text, *SMALL.lines[6:]]
    report = verify_log(lines, SMALL.checkpoint, node_at=SMALL.node_at())
    assert names(report) == [(Kind.MALFORMED, None, None), (Kind.REMOVED, 5, 5)]
    assert report.findings[0].text.startswith("line 6: ")


def test_a_stretch_removed_or_moved_is_named_as_one() -> None:
    lines = [*LOG.lines[:50], *LOG.lines[80:]]
    for edited in (lines, [replace(line, index=place) for place, line in enumerate(lines)]):
        report = verify_log(edited, LOG.checkpoint, node_at=LOG.node_at())
        assert names(report) == [(Kind.REMOVED, 50, 79)]


def test_lines_that_are_strangers_are_named_where_they_stand() -> None:
    lines = [*SMALL.lines[:5], changed(5, by="nobody"), *SMALL.lines[5:]]
    report = verify_log(lines, SMALL.checkpoint, node_at=SMALL.node_at())
    assert names(report) == [(Kind.INSERTED, 5, 5)]


@pytest.mark.uncounted
@given(st.lists(st.integers(0, 23), min_size=0, max_size=24))
@settings(deadline=None, max_examples=300)
def test_nothing_but_the_covered_entries_in_their_order_is_sound(picks: list[int]) -> None:
    """Any selection of entries (20 and above: strangers), numbered to agree: sound only if it is the log."""
    check_selection(picks)


@given(st.permutations(range(20)))
@settings(deadline=None, max_examples=100)
def test_no_other_order_of_the_entries_is_sound(order: list[int]) -> None:
    check_selection(order)


@given(st.integers(0, 20), st.integers(0, 23), st.booleans())
@settings(deadline=None, max_examples=100)
def test_one_entry_too_many_or_replaced_is_never_sound(at: int, pick: int, replaced: bool) -> None:
    order = list(range(20))
    check_selection([*order[:at], pick, *order[at + replaced :]])


def check_selection(picks: list[int]) -> None:
    lines = [EntryLine.of(place, body_of(pick)) for place, pick in enumerate(picks)]
    is_the_log = picks[:20] == list(range(20))
    outside = kept(SMALL, 13)
    assert verify_log(lines, SMALL.checkpoint).ok is is_the_log
    assert verify_log(lines, SMALL.checkpoint, node_at=SMALL.node_at()).ok is is_the_log
    report = verify_log(lines, SMALL.checkpoint, outside=outside, node_at=SMALL.node_at())
    assert report.ok is is_the_log
    assert report.ok is (report.proven_size == 20 and not report.findings)


def test_every_range_of_a_log_verifies_with_the_hashes_around_it() -> None:
    node_at = SMALL.node_at()
    for start in range(21):
        for end in range(start, 21):
            report = verify_range(SMALL.lines[start:end], start, end, SMALL.checkpoint, node_at)
            assert report.ok
            assert report.proven_size == end - start


def test_a_range_is_also_held_against_the_outside_checkpoint() -> None:
    lines, node_at = LOG.lines[180:260], LOG.node_at()
    report = verify_range(lines, 180, 260, LOG.checkpoint, node_at, outside=kept(LOG, 200))
    assert report.ok
    assert report.proven_size == 80
    assert report.proven[0] == "Entries 180 to 199 are exactly those under the outside checkpoint of 200 entries."
    report = verify_range(lines, 180, 260, LOG.checkpoint, node_at, outside=replace(kept(LOG, 200), root=bytes(32)))
    assert (Kind.REWRITTEN, 180, 199) in names(report)


WRONG_RANGES = {
    "changed": ([*LOG.lines[100:110], changed(110, by="x"), *LOG.lines[111:280]], (Kind.CHANGED, 110, 110)),
    "the first one missing": (LOG.lines[101:280], (Kind.REMOVED, 100, 100)),
    "the last one missing": (LOG.lines[100:279], (Kind.TRUNCATED, 279, 279)),
    "nothing at all": ([], (Kind.TRUNCATED, 100, 279)),
    "one removed": ([*LOG.lines[100:150], *LOG.lines[151:280]], (Kind.REMOVED, 150, 150)),
    "one too many": (LOG.lines[100:281], (Kind.INSERTED, 280, 280)),
    "another range": ([*LOG.lines[100:110], *LOG.lines[0:10], *LOG.lines[110:280]], (Kind.INSERTED, 0, 0)),
}


@pytest.mark.parametrize(("lines", "finding"), WRONG_RANGES.values(), ids=list(WRONG_RANGES))
def test_a_range_is_refused_with(lines: list[EntryLine], finding: tuple[Kind, int, int]) -> None:
    report = verify_range(lines, 100, 280, LOG.checkpoint, LOG.node_at())
    assert names(report)[0] == finding


@pytest.mark.parametrize("tile", [(0, 0), (0, 1)])
def test_a_range_is_not_proven_by_damaged_hashes(tile: tuple[int, int]) -> None:
    for hashes in (b"", bytes(8192)):
        damaged = replace(LOG, stored={**LOG.stored, tile: hashes})
        report = verify_range(LOG.lines[100:200], 100, 200, LOG.checkpoint, damaged.node_at())
        assert Kind.BAD_HASHES in {finding.kind for finding in report.findings}
        assert report.proven_size == 0


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (5, 4), (0, 291), (291, 291)])
def test_a_range_that_the_checkpoint_does_not_cover_is_refused(start: int, end: int) -> None:
    with pytest.raises(Invalid, match="is not a range"):
        verify_range([], start, end, LOG.checkpoint, LOG.node_at())


def test_without_any_checkpoint_lines_only_agree_with_themselves() -> None:
    report = verify_entries(LOG.lines[50:60], 50)
    assert report.ok
    assert report.proven_size == 0
    assert report.not_proven == ("No checkpoint was given: the lines only agree with themselves.",)
    assert names(verify_entries([*LOG.lines[50:55], *LOG.lines[56:60]], 50)) == [(Kind.REMOVED, 55, 55)]
    assert names(verify_entries(LOG.lines[50:60], 48)) == [(Kind.REMOVED, 48, 49)]
    broken = replace(LOG.lines[52], leaf_hash=bytes(32))
    assert names(verify_entries([*LOG.lines[50:52], broken], 50)) == [(Kind.CHANGED, 52, 52)]


def test_checkpoints_of_one_log_continue_each_other() -> None:
    node_at = SMALL.node_at()
    for new in range(21):
        for old in range(new + 1):
            proof = tree.consistency_proof(old, new, node_at)
            report = verify_checkpoints(kept(SMALL, old), kept(SMALL, new), proof)
            assert report.ok
            assert report.proven_size == old


WRONG_PAIRS = {
    "another root": (replace(kept(SMALL, 7), root=bytes(32)), kept(SMALL, 20), 7, Kind.REWRITTEN),
    "the same size with another root": (replace(kept(SMALL, 20), root=bytes(32)), kept(SMALL, 20), 20, Kind.FORKED),
    "an older one given as the newer": (kept(SMALL, 20), kept(SMALL, 7), 7, Kind.ROLLED_BACK),
    "another log's": (replace(kept(SMALL, 7), origin="other"), kept(SMALL, 20), 7, Kind.OTHER_LOG),
    "the proof of another size": (kept(SMALL, 7), kept(SMALL, 20), 8, Kind.REWRITTEN),
}


@pytest.mark.parametrize("case", WRONG_PAIRS.values(), ids=list(WRONG_PAIRS))
def test_two_checkpoints_do_not_continue_each_other_with(case: tuple[Checkpoint, Checkpoint, int, Kind]) -> None:
    older, newer, size, kind = case
    report = verify_checkpoints(older, newer, tree.consistency_proof(size, 20, SMALL.node_at()))
    assert [finding.kind for finding in report.findings] == [kind]
    assert report.proven_size == 0


def test_a_log_rewritten_from_end_to_end_gives_a_short_report() -> None:
    log = a_log(2_500, 2_500)
    lines = (changed(index, by="nobody") for index in range(2_500))
    report = verify_log(lines, log.checkpoint, node_at=log.node_at())
    assert len(report.findings) == 100
    assert report.more > 1_900


def streamed(count: int) -> Iterator[str]:
    for index in range(count):
        yield EntryLine.of(index, body_of(index)).text()


def peak_of_reading(count: int, log: Exported) -> int:
    node_at = log.node_at()
    tracemalloc.start()
    try:
        report = verify_log(streamed(count), log.checkpoint, node_at=node_at)
        return tracemalloc.get_traced_memory()[1] if report.ok else -1
    finally:
        tracemalloc.stop()


@pytest.mark.uncounted
def test_memory_does_not_grow_with_the_log() -> None:
    small, large = a_log(1_000, 1_000), a_log(5_000, 5_000)
    few, many = peak_of_reading(1_000, small), peak_of_reading(5_000, large)
    # 4,000 more entries of 400 bytes; what may grow is the cache of tiles (8 kB each, at most 64).
    assert few > 0
    assert many - few < 300_000
