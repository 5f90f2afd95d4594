"""Who may see a row, in SQL. Every query that answers a request carries one of these conditions."""

from __future__ import annotations

from typing import Any

from rushes.model import Principal


def scope(title: str | None, upload: str | None = None) -> str:
    """The condition for a table whose title id and upload id stand in the named columns.

    Creators see their own rows, operators and services their tenant's; a token for one title or upload sees nothing else.
    """
    conditions = ["tenant = %(tenant)s", "(%(sees_tenant)s OR creator = %(creator)s)"]
    conditions.append(_only("token_title", title))
    conditions.append(_only("token_upload", upload))
    return " AND ".join(conditions)


def _only(argument: str, column: str | None) -> str:
    absent = f"%({argument})s::uuid IS NULL"
    return absent if column is None else f"({absent} OR {column} = %({argument})s)"


def scope_args(who: Principal) -> dict[str, Any]:
    return {
        "tenant": who.tenant,
        "creator": who.creator,
        "sees_tenant": who.sees_tenant,
        "token_title": who.title,
        "token_upload": who.upload,
    }
