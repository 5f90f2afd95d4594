"""The one error tree. HTTP status lives in `rushes.api.problems`, never here.

    Problem                      something a person can act on: a stable code, a sentence, permanent or not
    ├── Invalid                  the request or the input itself is wrong; sending it again will not help
    ├── Unauthenticated          no token, or one that proves nothing
    ├── Forbidden                a valid token without the right to do this
    ├── NotFound                 absent, or not yours: the two look the same
    ├── Conflict                 right request, wrong moment: the state does not allow the move
    ├── OverQuota                the plan does not allow it
    ├── Rejected                 the media cannot be taken: undecodable, corrupt, beyond a limit
    ├── Unavailable              a part of the system does not answer; try again
    └── Misconfigured            the operator has to change something before this can work

A `code` is a stable lower_snake_case word that programs may match; `message` is for a person and says what to do.
`details` holds extra facts as JSON values. `permanent` says whether the same call can succeed later unchanged.
"""

from __future__ import annotations

from typing import Any, ClassVar


class Problem(Exception):
    """Base of every error rushes raises on purpose."""

    permanent: ClassVar[bool] = True

    def __init__(self, code: str, message: str, **details: Any) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.details = details

    def __str__(self) -> str:
        return self.message


class Invalid(Problem):
    """The request or the input itself is wrong."""


class Unauthenticated(Problem):
    """No token, or one that proves nothing."""


class Forbidden(Problem):
    """A valid token without the right to do this."""


class NotFound(Problem):
    """Absent, or not yours: the two look the same."""


class Conflict(Problem):
    """The state does not allow this move."""


class OverQuota(Problem):
    """The plan does not allow it."""


class Rejected(Problem):
    """The media cannot be taken: undecodable, corrupt, or beyond a limit."""


class Unavailable(Problem):
    """A part of the system does not answer; the same call may succeed later."""

    permanent = False


class Misconfigured(Problem):
    """The operator has to change something before this can work."""
