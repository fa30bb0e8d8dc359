"""Every untrusted PDF lives and dies here.

A document is *looked* at (accepted, or refused with the reason), *prepared* (the tail: what will be appended, with
the place for the signature), *completed* (the signature value put into its place, and the result validated) and
*judged* (which signatures does it carry, and what are they worth); its pages are *drawn* for the person who is to
sign. The verbs are plain functions in `look`, `prepare`, `complete`, `judge` and `draw`; `work` holds what they are
asked and what they answer.

Nobody outside calls them directly: `pool` runs them in child processes with an empty environment, one document at
a time, under limits of memory, CPU and wall time. A parser that explodes takes its own process with it and
nothing else. Importing this package does not import pyHanko.

The order of trust: a signed document is `document + tail`, byte for byte, with only the place in the tail filled.
What was shown to the signatory is therefore a prefix of what was signed, whatever the parser thought of it.
"""


from signing_service.pdf.pool import Pool
from signing_service.pdf.work import (
    Appearance,
    Box,
    Changes,
    Completed,
    CompleteOrder,
    EarlierSignature,
    Judgement,
    JudgeOrder,
    Level,
    Limits,
    Look,
    LookOrder,
    Picture,
    PictureOrder,
    Prepared,
    PrepareOrder,
    Problem,
    Refused,
    Survey,
    SurveyOrder,
    Verdict,
    Wall,
    Width,
)

__all__ = [
    "Appearance",
    "Box",
    "Changes",
    "CompleteOrder",
    "Completed",
    "EarlierSignature",
    "JudgeOrder",
    "Judgement",
    "Level",
    "Limits",
    "Look",
    "LookOrder",
    "Picture",
    "PictureOrder",
    "Pool",
    "PrepareOrder",
    "Prepared",
    "Problem",
    "Refused",
    "Survey",
    "SurveyOrder",
    "Verdict",
    "Wall",
    "Width",
]
