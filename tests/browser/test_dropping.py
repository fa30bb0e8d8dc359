"""A PDF that is dropped on the console's page, as from a folder on the desk."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

from tests.support.town_staff import Auditor, Works
from tests.support.world import plan

DROPPED = """data => {
  const dropped = new DataTransfer();
  const bytes = Uint8Array.from(atob(data), character => character.charCodeAt(0));
  dropped.items.add(new File([bytes], "ke-hoach.pdf", {type: "application/pdf"}));
  return dropped;
}"""


def test_a_dropped_file_is_checked_without_another_click(works: Works) -> None:
    with works(Auditor) as auditor:
        visitor, page = auditor.visitor, auditor.visitor.page
        visitor.opens("/console/document")
        dropped = page.evaluate_handle(DROPPED, b64encode(plan()).decode())
        page.dispatch_event("form.drop", "dragover", {"dataTransfer": dropped})
        assert "over" in str(page.locator("form.drop").get_attribute("class"))
        page.dispatch_event("form.drop", "drop", {"dataTransfer": dropped})
        visitor.sees("console.document.result")
        assert sha256(plan()).hexdigest() in visitor.text
