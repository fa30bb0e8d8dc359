"""What may be appended after a signature without breaking it (ISO 32000-2 12.8.2.2.2): pyHanko's rules, but one.

pyHanko insists that XMP metadata is well-formed even where nobody touched it; one file in three hundred has XMP in
some old encoding, and a second signature on it would be called an attack. Metadata that did not change is no
change.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.reader import HistoricalResolver
from pyhanko.sign.diff_analysis import (
    CatalogModificationRule,
    DocInfoRule,
    DSSCompareRule,
    FormUpdatingRule,
    GenericFieldModificationRule,
    MetadataUpdateRule,
    ModificationLevel,
    ObjectStreamRule,
    SigFieldCreationRule,
    SigFieldModificationRule,
    StandardDiffPolicy,
    XrefStreamRule,
)
from pyhanko.sign.diff_analysis.rules_api import ReferenceUpdate


class _MetadataIfChanged(MetadataUpdateRule):
    def apply(self, old: HistoricalResolver, new: HistoricalResolver) -> Iterable[ReferenceUpdate]:
        return () if _where(old) == _where(new) else super().apply(old, new)


def _where(view: HistoricalResolver) -> object:
    """Which object, written where in the file, is the metadata of this revision?"""
    reference = dict.get(view.root, "/Metadata")
    if not isinstance(reference, generic.IndirectObject):
        return None
    return reference.reference, view.reader.xrefs.get_historical_ref(reference.reference, view.revision)


# Three of the constructors carry no annotations.
_CATALOGUE = CatalogModificationRule()  # type: ignore[no-untyped-call]
_METADATA = _MetadataIfChanged()  # type: ignore[no-untyped-call]
_NEW_SIGNATURE = SigFieldCreationRule()  # type: ignore[no-untyped-call]

PERMITTED_CHANGES: Final = StandardDiffPolicy(
    global_rules=[
        _CATALOGUE,
        *(
            rule.as_qualified(ModificationLevel.LTA_UPDATES)
            for rule in (DocInfoRule(), XrefStreamRule(), ObjectStreamRule(), DSSCompareRule(), _METADATA)
        ),
    ],
    form_rule=FormUpdatingRule(
        field_rules=[_NEW_SIGNATURE, SigFieldModificationRule(), GenericFieldModificationRule()]
    ),
)
