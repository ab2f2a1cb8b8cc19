"""Parse model names that are not paths: `NAME` or `OWNER/REPO`, either with optional `@REVISION` and `:QUANT`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vtcli.models import catalogue

_FORM = re.compile(
    r"(?P<name>[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?)"
    r"(?:@(?P<revision>[\w-][\w.-]*(?:/[\w-][\w.-]*)*))?(?::(?P<quant>\w+))?",
    re.ASCII,
)


@dataclass(frozen=True)
class Reference:
    """A model by name: its catalogue `entry` or None, its `repository` on the hub, and which export of it.

    `quant` is llama.cpp's name of a type, such as "Q4_K_M", or None for any. `revision` is the user's or otherwise the
    catalogue's; None means the hub's newest.
    """

    text: str
    entry: catalogue.Entry | None
    repository: str | None
    revision: str | None
    quant: str | None

    @property
    def name(self) -> str:
        """The name without revision and quant."""
        return self.entry.name if self.entry else self.repository or self.text

    @property
    def named_revision(self) -> str | None:
        """The revision that the user named, None if none: then exports from other repositories will do as well."""
        return self.revision if "@" in self.text else None

    @property
    def missing(self) -> str:
        """The message for a model that is not on this machine; the user may have meant a folder."""
        what = "is not" if self.entry else "is no folder, and no model that is"
        return f"{self} {what} on this machine"

    def __str__(self) -> str:
        revision = f"@{self.named_revision}" if self.named_revision else ""
        return f"{self.name}{revision}" + (f":{self.quant.lower()}" if self.quant else "")


def parse(text: str) -> Reference | None:
    """Returns the model that `text` names, None if it can only be a path. Raises ModelError for a broken catalogue."""
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    name, revision, quant = match["name"], match["revision"], match["quant"]
    entry = catalogue.entries().get(name.lower())
    if entry is None and "/" not in name:
        return None
    repository = entry.repository if entry else name
    pinned = revision or (entry.revision if entry else None)
    return Reference(text, entry, repository, pinned, quant.upper() if quant else None)
