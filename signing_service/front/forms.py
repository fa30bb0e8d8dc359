"""What a client sends with a document: words with their lengths, checked before anybody looks at the file."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any

from fastapi._form_limits import _FormLimits  # the type of a public parameter, which FastAPI exports nowhere
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from policies.decision import Level, Secrecy, Urgency, document_type
from signing_service.front.uploads import Upload
from signing_service.submission import Submission

DEFAULT_NAME = "document.pdf"
LONGEST_NAME = 200
LONGEST_SUFFIX = 10  # what follows the last dot of a longer one is part of a sentence
FORM_LIMITS: _FormLimits = {"max_files": 1, "max_fields": 30, "max_part_size": 16_384}


def one_line(text: str) -> str:
    """NFC, one line, nothing that steers a terminal, a log or the direction of writing."""
    text = unicodedata.normalize("NFC", text).strip()
    wrong = {each for each in text if unicodedata.category(each) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}}
    if wrong:
        raise ValueError("control and formatting characters are not taken")
    return text


def _known_type(code: str) -> str:
    return document_type(code)


def _nothing(value: Any) -> Any:
    """An empty field of a form is a field that was not filled in."""
    return None if isinstance(value, str) and not value.strip() else value


Line = Annotated[str, AfterValidator(one_line)]
Optional = BeforeValidator(_nothing)


class SubmissionForm(BaseModel):
    """The form around a document. Lengths as the city's document systems have them."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {
        "document_type": "KH", "number": "201", "symbol": "KH-UBND", "subject": "Kế hoạch chuyển đổi số năm 2026",
        "issuing_agency": "H26.1.2", "signatory": "CB-00017", "urgency": "normal", "external_id": "VB-2026-0173",
        "file": "(the PDF)",
    }})

    file: Upload
    document_type: Annotated[str, Field(max_length=10, description="Decree 30/2020, Annex III, such as KH or QĐ."),
                             AfterValidator(_known_type)]
    subject: Annotated[Line, Field(min_length=1, max_length=500, description="What the document is about.")]
    issuing_agency: Annotated[Line, Field(min_length=1, max_length=35, description="The agency's code.")]
    signatory: Annotated[Line, Field(min_length=1, max_length=100, description="An id, or your own reference.")]
    number: Annotated[Annotated[Line, Field(max_length=11)] | None, Optional] = None
    symbol: Annotated[Annotated[Line, Field(max_length=30)] | None, Optional] = None
    secrecy: Annotated[Secrecy, Field(description="Anything but `none` is refused, and nothing of it is kept.")] = (
        Secrecy.NONE)
    urgency: Urgency = Urgency.NORMAL
    credential: Annotated[Annotated[Line, Field(max_length=40)] | None, Optional, Field(
        description="Without it: the signatory's one active personal credential.")] = None
    level: Annotated[Level | None, Optional, Field(description="Without it: the policy's.")] = None
    external_id: Annotated[Annotated[Line, Field(max_length=200)] | None, Optional] = None

    async def content(self) -> tuple[object, ...]:
        """What this form says, for a fingerprint: its fields and the document's digest."""
        said = self.model_dump(mode="json", exclude={"file"})
        return said, self.file.filename, (await self.file.draft()).digest

    def submission(self) -> Submission:
        said = self.model_dump(exclude={"file"})
        return Submission(filename=clean_name(self.file.filename or ""), **said)


def clean_name(name: str) -> str:
    """A file's name as it may be shown and offered again: no folders, nothing that steers, 200 characters."""
    name = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2]
    shown = "".join(each for each in name if unicodedata.category(each)[0] != "C" and each not in '<>:"|?*').strip(" .")
    stem, dot, suffix = shown.rpartition(".")
    if not dot or len(suffix) > LONGEST_SUFFIX:
        return shown[:LONGEST_NAME].strip(" .") or DEFAULT_NAME
    return f"{stem[:LONGEST_NAME - 1 - len(suffix)].rstrip(' .')}.{suffix}"
