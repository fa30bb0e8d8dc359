"""The screening of a document before anybody is asked to sign it (ISO 32000-2 12.6).

A signature must not cover what changes by itself. Actions live in known places (catalogue, names, pages,
annotations, form fields, outlines); each is visited once, within bounds of count and depth, and what it may do
comes from a list of what is allowed: an unknown action is refused. What merely deserves a look (layers, embedded
files, fields to fill) becomes a warning with a code.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.reader import PdfFileReader

from signing_service.pdf.reading import entry, resolved
from signing_service.pdf.work import Limits, Refused

# Navigation changes the view, never the document. `Named` turns pages.
_HARMLESS_ACTIONS: Final = frozenset({"/GoTo", "/GoToR", "/URI", "/Named", "/Thread"})
_ON_OPENING: Final = frozenset({"/GoTo"})
_ACTIVE_ANNOTATIONS: Final = frozenset({"/RichMedia", "/Screen", "/Movie", "/Sound", "/3D"})
_QUIET_ANNOTATIONS: Final = frozenset({"/Link", "/Widget", "/Popup"})

Dict = generic.DictionaryObject
Key = tuple[int, int]


class Screening:
    """One pass over one document. `run` raises Refused, or leaves `pages`, `forms` and `warnings` behind."""

    def __init__(self, reader: PdfFileReader, limits: Limits) -> None:
        self.reader = reader
        self.limits = limits
        self.pages = 0
        self.first_page: Dict | None = None
        self.forms = False
        self.warnings: set[str] = set()
        self._visited = 0

    def run(self) -> None:
        catalogue = self.reader.root
        self._catalogue(catalogue)
        for page in self._page_leaves(catalogue):
            self._page(page)
        self._form(catalogue)
        self._outlines(catalogue)
        if self.reader.xrefs.hybrid_xrefs_present:
            self.warnings.add("hybrid-references")

    def _count(self) -> None:
        self._visited += 1
        if self._visited > self.limits.objects:
            raise Refused("document-too-costly", "The document has more parts than a document to sign may have.")

    def _catalogue(self, catalogue: Dict) -> None:
        opening = entry(catalogue, "/OpenAction")
        if isinstance(opening, Dict):
            self._action(opening, _ON_OPENING)
        self._additional_actions(catalogue)
        names = _dict(catalogue, "/Names")
        if names is not None:
            if "/JavaScript" in names:
                raise _active("JavaScript")
            if "/EmbeddedFiles" in names:
                self._embedded_file()
        if "/Collection" in catalogue or "/AF" in catalogue:
            self._embedded_file()
        if "/OCProperties" in catalogue:
            self.warnings.add("optional-content")

    def _embedded_file(self) -> None:
        if self.limits.refuse_embedded_files:
            raise Refused("embedded-files", "The document carries embedded files. Remove them and submit it again.")
        self.warnings.add("embedded-files")

    def _page_leaves(self, catalogue: Dict) -> Iterator[Dict]:
        seen: set[Key] = set()
        waiting = [(catalogue.raw_get("/Pages"), 0)]
        while waiting:
            reference, depth = waiting.pop()
            node = self._fresh(reference, seen, depth, "page tree")
            kids = entry(node, "/Kids")
            if isinstance(kids, generic.ArrayObject) and entry(node, "/Type") != "/Page":
                self._room(len(kids), self.limits.pages, "too-many-pages", "pages")
                waiting += [(kids.raw_get(at), depth + 1) for at in reversed(range(len(kids)))]
            else:
                self.pages += 1
                self.first_page = self.first_page or node
                self._room(self.pages, self.limits.pages, "too-many-pages", "pages")
                yield node
        if not self.pages:
            raise Refused("broken", "The document has no pages.")

    def _fresh(self, reference: object, seen: set[Key], depth: int, where: str) -> Dict:
        """The dictionary behind a reference that must not have been met before: trees have no loops."""
        self._count()
        if not isinstance(reference, generic.IndirectObject):
            raise Refused("broken", f"The {where} of the document is not made of references.")
        key = (reference.idnum, reference.generation)
        if key in seen or depth > self.limits.depth:
            raise Refused("broken", f"The {where} of the document runs in a circle or too deep.")
        seen.add(key)
        found = resolved(reference)
        if not isinstance(found, Dict):
            raise Refused("broken", f"The {where} of the document leads to something else.")
        return found

    def _room(self, count: int, limit: int, code: str, what: str) -> None:
        if count > limit:
            raise Refused(code, f"The document has more than {limit} {what}.")

    def _page(self, page: Dict) -> None:
        self._additional_actions(page)
        annotations = entry(page, "/Annots")
        if isinstance(annotations, generic.ArrayObject):
            for annotation in annotations:
                self._count()
                if isinstance(annotation := resolved(annotation), Dict):
                    self._annotation(annotation)

    def _annotation(self, annotation: Dict) -> None:
        subtype = entry(annotation, "/Subtype")
        if subtype in _ACTIVE_ANNOTATIONS:
            raise _active(str(subtype))
        if subtype == "/FileAttachment":
            self._embedded_file()
        elif subtype not in _QUIET_ANNOTATIONS:
            self.warnings.add("annotations")
        self._triggers(annotation)

    def _triggers(self, owner: Dict) -> None:
        action = entry(owner, "/A")
        if isinstance(action, Dict):
            self._action(action, _HARMLESS_ACTIONS)
        self._additional_actions(owner)

    def _additional_actions(self, owner: Dict) -> None:
        actions = _dict(owner, "/AA")
        for trigger in actions or ():
            action = entry(actions, trigger) if actions else None
            if isinstance(action, Dict):
                self._action(action, _HARMLESS_ACTIONS)

    def _action(self, first: Dict, allowed: frozenset[str]) -> None:
        waiting = [(first, 0)]
        while waiting:
            action, depth = waiting.pop()
            self._count()
            kind = entry(action, "/S")
            if kind not in allowed or "/JS" in action or depth > self.limits.depth:
                raise _active(str(kind))
            following = entry(action, "/Next")
            several = following if isinstance(following, generic.ArrayObject) else [following]
            waiting += [(each, depth + 1) for each in map(resolved, several) if isinstance(each, Dict)]

    def _form(self, catalogue: Dict) -> None:
        form = _dict(catalogue, "/AcroForm")
        if form is None:
            return
        if "/XFA" in form:
            raise _active("an XFA form")
        for field, inherited in self._fields(form):
            self._triggers(field)
            if (entry(field, "/FT") or inherited) not in ("/Sig", None):
                self.forms = True
                self.warnings.add("form-fields")

    def _fields(self, form: Dict) -> Iterator[tuple[Dict, object]]:
        seen: set[Key] = set()
        waiting: list[tuple[object, int, object]] = [(each, 0, None) for each in _references(form, "/Fields")]
        while waiting:
            reference, depth, inherited = waiting.pop()
            field = self._fresh(reference, seen, depth, "form")
            yield field, inherited
            kind = (entry(field, "/FT") or inherited)
            waiting += [(each, depth + 1, kind) for each in _references(field, "/Kids")]

    def _outlines(self, catalogue: Dict) -> None:
        outlines = _dict(catalogue, "/Outlines")
        seen: set[Key] = set()
        waiting = [(outlines.raw_get("/First"), 0)] if outlines is not None and "/First" in outlines else []
        while waiting:
            reference, depth = waiting.pop()
            item = self._fresh(reference, seen, depth, "outline")
            self._triggers(item)
            if "/Next" in item:
                waiting.append((item.raw_get("/Next"), depth))
            if "/First" in item:
                waiting.append((item.raw_get("/First"), depth + 1))


def _active(what: str) -> Refused:
    return Refused(
        "active-content",
        f"The document contains active content ({what.lstrip('/')[:40]}), which could change what is seen after "
        "it was signed. Print it to a new PDF and submit that.",
    )


def _dict(owner: Dict, key: str) -> Dict | None:
    found = entry(owner, key)
    return found if isinstance(found, Dict) else None


def _references(owner: Dict, key: str) -> list[object]:
    found = entry(owner, key)
    if not isinstance(found, generic.ArrayObject):
        return []
    every = [found.raw_get(at) for at in range(len(found))]
    return [each for each in every if isinstance(each, generic.IndirectObject)]
