"""A file that was wished for before: what is wished in another way by now. Pure."""

from __future__ import annotations

from rushes.client.journal import Entry
from rushes.client.wish import Wish


def otherwise(wish: Wish, entry: Entry) -> str:
    """What is wished by now in another way than when the upload began; "" if nothing is."""
    now, then = wish.request, entry.request
    if other := another_asset(wish, entry):
        return other
    if not {*wish.declare} <= {*entry.declare}:
        return "checksum"
    return "part size" if now.part_size and now.part_size != then.part_size else ""


def another_asset(wish: Wish, entry: Entry) -> str:
    """What is wished by now that makes another asset than the upload's, or one that was held to another checksum."""
    now, then = wish.request, entry.request
    title_id = then.title_id if entry.plan is None else entry.plan.title_id
    wished = {
        "title": (now.title and now.title != then.title) or (now.title_id and now.title_id != title_id),
        "checksum": not {*now.checksum} <= {*then.checksum},
        "region": now.region and now.region != then.region,
        "layout": now.layout != then.layout,
    }
    return next((name for name, differs in wished.items() if differs), "")
