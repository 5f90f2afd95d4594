"""Which files a tenant takes: by name and declared type at begin, by what they really are once they can be read.

A tenant's types are families (`video`), exact types (`application/pdf`) and `*` for anything; video, audio and image unless
the operator of the server says otherwise. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rushes import kinds
from rushes.errors import Invalid, Rejected

ANYTHING = "*"
_TYPE = re.compile(r"[a-z]+(/[a-z0-9][a-z0-9.+-]*)?")
_FAMILIES = frozenset({"video", "audio", "image", "text", "application", "font", "model", "message"})
_FIRST = {"video": 0, "audio": 1, "image": 2}


def check_types(types: Sequence[str]) -> list[str]:
    """The types that an operator wants to allow, in good order. Raises `Invalid` for what is no type."""
    wanted = list(dict.fromkeys(type_.strip().lower() for type_ in types))
    for type_ in wanted:
        if type_ != ANYTHING and not (_TYPE.fullmatch(type_) and kinds.family(type_) in _FAMILIES):
            raise Invalid(
                "type_invalid", f"{type_!r} is neither a family such as video, a type such as application/pdf, nor *."
            )
    if not wanted:
        raise Invalid("type_invalid", "Name at least one type; * takes anything.")
    return sorted(wanted, key=lambda type_: (_FIRST.get(type_, 3), type_))


def check_claim(types: Sequence[str], filename: str, content_type: str) -> None:
    """At begin: what name and declared type say must be allowed, and not contradict. Raises `Rejected` type_not_allowed.

    A declared type that says nothing, such as application/octet-stream, is fine when the name says what the file is, and the
    other way round; a file of which neither says anything is refused.
    """
    if ANYTHING in types:
        return
    by_name, declared = kinds.named(filename), _declared(content_type)
    if by_name is None and declared is None:
        raise _refused(types, "Neither the file's name nor its content type says what it is")
    either = kinds.extension(filename) in kinds.EITHER
    if by_name is not None and not (_allows(types, by_name) or (either and {"video", "audio"} & set(types))):
        raise _refused(types, f"Files named .{kinds.extension(filename)} ({by_name}) are not taken here", by_name)
    if declared is not None and not _allows(types, declared):
        raise _refused(types, f"Files of type {declared} are not taken here", declared)
    if by_name is not None and declared is not None and _contradict(by_name, declared, either=either):
        raise _refused(types, f"The file is named as {by_name} and declared as {declared}", declared)


def check_kind(types: Sequence[str], filename: str, content_type: str, kind: str) -> None:
    """Once identified as media: `kind` is video, audio or image. Raises `Rejected` type_not_allowed.

    Where exact types of that kind are allowed, and not the whole of it, the name or the declared type must be one of them.
    """
    claims = {kinds.named(filename), _declared(content_type)}
    exact = {type_ for type_ in types if kinds.family(type_) == kind and type_ in claims}
    if not (ANYTHING in types or kind in types or exact):
        raise _refused(types, f"By its bytes this file is {_article(kind)}, which is not taken here", kind)


def as_what(types: Sequence[str], filename: str, content_type: str, found: str | None) -> str | None:
    """What to keep a file as that is no media; None when it was to be media and nothing tells what it is instead.

    `found` is what its bytes show. Raises `Rejected` type_not_allowed for what the tenant does not take.
    """
    claims = [type_ for type_ in (_declared(content_type), kinds.named(filename)) if type_]
    claimed = next((type_ for type_ in claims if not kinds.is_media(type_) and _allows(types, type_)), None)
    told = found is not None and found not in kinds.CARRIERS
    if claimed is not None and (not told or found == claimed):
        return claimed
    if found is not None and _allows(types, found):
        return found
    if ANYTHING in types:
        return claims[0] if claims else kinds.UNKNOWN
    if found is not None:
        raise _refused(types, f"By its bytes this file is {found}, which is not taken here", found)
    return None


def _declared(content_type: str) -> str | None:
    bare = kinds.bare(content_type)
    return None if bare in kinds.VAGUE else bare


def _allows(types: Sequence[str], type_: str) -> bool:
    return ANYTHING in types or type_ in types or kinds.family(type_) in types


def _contradict(by_name: str, declared: str, *, either: bool) -> bool:
    families = {kinds.family(by_name), kinds.family(declared)}
    return len(families) > 1 and not (either and families == {"video", "audio"})


def _article(kind: str) -> str:
    return "audio" if kind == "audio" else f"{'an' if kind == 'image' else 'a'} {kind}"


def _refused(types: Sequence[str], what: str, found: str | None = None) -> Rejected:
    allowed = list(types)
    details = {"allowed": allowed} | ({} if found is None else {"found": found})
    return Rejected("type_not_allowed", f"{what}; taken are: {', '.join(allowed)}.", **details)
