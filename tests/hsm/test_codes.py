"""Every return code at every function: a kind of ours, and the next call succeeds.

In full each function answers each code (2,400 pairs); every run of the tests has each code where keys sign, and each
function with a code of its own.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from tests.support import campaign
from tests.support.faulty_stories import ALSO_CALLED, FUNCTIONS, REACHED_BY, each_pair
from tests.support.in_child import in_child_for
from tests.support.return_codes import CODES, KINDS

# What modules say to a blob that is not theirs; believed while the device is well otherwise.
REFUSES_BLOB = {"ARGUMENTS_BAD", "ATTRIBUTE_VALUE_INVALID", "DATA_INVALID", "DATA_LEN_RANGE", "ENCRYPTED_DATA_INVALID",
                "ENCRYPTED_DATA_LEN_RANGE", "FUNCTION_FAILED", "GENERAL_ERROR", "KEY_TYPE_INCONSISTENT",
                "TEMPLATE_INCONSISTENT", "WRAPPED_KEY_INVALID", "WRAPPED_KEY_LEN_RANGE"}
BLOB_READ_BY = {"C_UnwrapKey": "KeyNotFound", "C_DecryptInit": "Tampered", "C_Decrypt": "Tampered"}


def expected(function: str, name: str) -> str:
    """The kind of refusal that the first caller meets."""
    kind = KINDS[name]
    if function == "C_Initialize":
        return "DeviceUnavailable"  # whatever it says: there is no device yet
    if function == "C_GetAttributeValue":
        return "no error"  # python-pkcs11 asks for each attribute again, one by one
    if function == "C_GenerateKey":  # only the trial at the start makes secrets here: it is repeated after an outage,
        return "Unsupported" if kind in ("Unsupported", "KeyNotFound") else "no error"  # and never believed of one
    if name in REFUSES_BLOB:
        return BLOB_READ_BY.get(function, kind)
    return kind


def pairs() -> list[tuple[str, str]]:
    if campaign.FULL:
        return [(function, name) for function in FUNCTIONS for name in CODES]
    chance = random.Random(4)  # a sample of the table, the same each time
    return [("C_Sign", name) for name in CODES] + [(function, chance.choice(list(CODES))) for function in FUNCTIONS]


def test_every_code_is_a_kind_of_ours_and_the_next_signature_succeeds(tmp_path: Path) -> None:
    asked = pairs()
    met, called = in_child_for(3600, each_pair, tmp_path, [(function, CODES[name]) for function, name in asked])
    kinds = {(function, name): met[function, CODES[name]][0] for function, name in asked}
    assert kinds == {pair: expected(*pair) for pair in asked}
    after = {(function, name): met[function, CODES[name]][1] for function, name in asked}
    # A device that could not be opened says for half a second why, before it tries again.
    allowed = {pair: {"", kinds[pair]} if pair[0] in REACHED_BY["open"] else {""} for pair in asked}
    assert {pair: said for pair, said in after.items() if said not in allowed[pair]} == {}
    assert called == {*FUNCTIONS, *ALSO_CALLED}, "we call a function that answers no code here"
    campaign.proven("device-codes", pairs=len(asked), codes=len(CODES), functions=len(FUNCTIONS), unmapped=0,
                    not_survived=0, kinds=dict(Counter(kinds.values())))
