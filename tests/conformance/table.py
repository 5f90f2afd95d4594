"""What the suite saw, as a page for people."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.stores.served import Served

HEAD = """# Object stores

This page is written by the conformance suite (`make conformance STORE=all`); a store that changes changes it. Every store
listed here passes the portable core: parts by presigned URLs whose number, length, host and method are bound, equal parts
from 1 completed in ascending order, ranges, listings, odd keys, metadata, aborting twice, streamed parts. The table says
what each has beyond that, as `rushes`' own probe and the suite saw it, and what rushes does because of it. With each of
them a part with one flipped byte is refused when it is sent, and a file goes the whole way: begun, granted, sent, finalized,
read back.

`rushes doctor` shows the same for the store that is configured.
"""


@dataclass
class Table:
    stores: list[str] = field(default_factory=list)
    lines: dict[str, dict[str, str]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def note(self, served: Served, line: str, text: str) -> None:
        name = f"{served.name} {served.version}"
        if name not in self.stores:
            self.stores.append(name)
        self.lines.setdefault(line, {})[name] = text

    def page(self) -> str:
        rows = [["", *self.stores], ["---"] * (len(self.stores) + 1)]
        rows += [[line, *(cells.get(store, "") for store in self.stores)] for line, cells in self.lines.items()]
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        missing = "".join(
            f"\n{name} could not be had where this page was written: {why}\n" for name, why in self.absent.items()
        )
        return f"{HEAD}\n{table}\n{missing}"
