"""The door where storage's errors become ours: S3 error codes and broken connections → `rushes.errors`.

    NotFound        storage_object_unknown, storage_upload_unknown
    Rejected        storage_checksum_mismatch, storage_part_unknown, storage_part_too_small, storage_part_too_large
    Conflict        storage_precondition_failed, storage_conflict
    Invalid         storage_range_invalid, storage_request_refused
    Misconfigured   storage_access_denied, storage_credentials_refused, storage_credentials_missing,
                    storage_bucket_unknown, storage_bucket_taken, storage_region_wrong, storage_clock_skewed,
                    storage_unsupported, storage_tls_failed, storage_misconfigured, storage_encryption_refused
    Unavailable     storage_unreachable, storage_timeout, storage_busy, storage_full, storage_failed

A code wins over the HTTP status it came with, because a 200 may carry an error in its body (CompleteMultipartUpload,
CopyObject) which botocore turns into a 500. Source of the codes: "Error responses", Amazon S3 API reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import aiohttp
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ReadTimeoutError,
    SSLError,
)
from botocore.exceptions import ConnectionError as NoConnectionError
from botocore.exceptions import HTTPClientError as BrokenConnectionError
from botocore.parsers import ResponseParserError

from rushes.errors import Conflict, Invalid, Misconfigured, NotFound, Problem, Rejected, Unavailable

_Kind = tuple[type[Problem], str, str]

_OBJECT_UNKNOWN: Final[_Kind] = (NotFound, "storage_object_unknown", "Storage has no such object.")
_CHECKSUM: Final[_Kind] = (Rejected, "storage_checksum_mismatch", "The bytes do not match their checksum.")
_PART_UNKNOWN: Final[_Kind] = (Rejected, "storage_part_unknown", "Storage does not hold the parts that were named.")
_DENIED: Final[_Kind] = (Misconfigured, "storage_access_denied", "Storage denies access: check the key's policy.")
_CREDENTIALS: Final[_Kind] = (Misconfigured, "storage_credentials_refused", "Storage refuses the access key.")
_ENCRYPTION: Final[_Kind] = (Misconfigured, "storage_encryption_refused", "Storage cannot use its encryption key.")
_REGION: Final[_Kind] = (Misconfigured, "storage_region_wrong", "The bucket is in another region than configured.")
_UNSUPPORTED: Final[_Kind] = (Misconfigured, "storage_unsupported", "This storage cannot do what was asked of it.")
_CONFLICT: Final[_Kind] = (Conflict, "storage_conflict", "Another request is changing the object.")
_PRECONDITION: Final[_Kind] = (Conflict, "storage_precondition_failed", "The object is not the one meant.")
_RANGE: Final[_Kind] = (Invalid, "storage_range_invalid", "The object has no such bytes.")
_BUSY: Final[_Kind] = (Unavailable, "storage_busy", "Storage asks to slow down.")
_TIMEOUT: Final[_Kind] = (Unavailable, "storage_timeout", "Storage took too long to answer.")
_FULL: Final[_Kind] = (Unavailable, "storage_full", "Storage has no room left.")
_FAILED: Final[_Kind] = (Unavailable, "storage_failed", "Storage failed to answer properly.")

_BY_CODE: Final[Mapping[str, _Kind]] = {
    "NoSuchKey": _OBJECT_UNKNOWN,
    "NoSuchUpload": (NotFound, "storage_upload_unknown", "Storage has no such multipart upload."),
    "NoSuchBucket": (Misconfigured, "storage_bucket_unknown", "The bucket does not exist: create it."),
    "BadDigest": _CHECKSUM,
    "InvalidDigest": _CHECKSUM,
    "XAmzContentChecksumMismatch": _CHECKSUM,
    "XAmzContentSHA256Mismatch": _CHECKSUM,
    "InvalidPart": _PART_UNKNOWN,
    "InvalidPartOrder": _PART_UNKNOWN,
    "EntityTooSmall": (Rejected, "storage_part_too_small", "A part but the last is smaller than storage takes."),
    "EntityTooLarge": (Rejected, "storage_part_too_large", "A part or object is larger than storage takes."),
    "PreconditionFailed": _PRECONDITION,
    "ConditionalRequestConflict": _CONFLICT,
    "OperationAborted": _CONFLICT,
    "InvalidRange": _RANGE,
    "AccessDenied": _DENIED,
    "AllAccessDisabled": _DENIED,
    "BucketAlreadyExists": (Misconfigured, "storage_bucket_taken", "The bucket's name belongs to somebody else."),
    "InvalidAccessKeyId": _CREDENTIALS,
    "SignatureDoesNotMatch": _CREDENTIALS,
    "InvalidToken": _CREDENTIALS,
    "ExpiredToken": _CREDENTIALS,
    "RequestTimeTooSkewed": (Misconfigured, "storage_clock_skewed", "This machine's clock is not storage's."),
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "NotImplemented": _UNSUPPORTED,
    "XNotImplemented": _UNSUPPORTED,
    "SlowDown": _BUSY,
    "TooManyRequests": _BUSY,
    "ServiceUnavailable": _BUSY,
    "RequestTimeout": _TIMEOUT,
    "InsufficientStorage": _FULL,
    "QuotaExceeded": _FULL,
    "XMinioStorageFull": _FULL,
    "XMinioAdminBucketQuotaExceeded": _FULL,
    "InternalError": _FAILED,
}
_BY_STATUS: Final[Mapping[int, _Kind]] = {
    301: _REGION,
    403: _DENIED,
    404: _OBJECT_UNKNOWN,
    408: _TIMEOUT,
    409: _CONFLICT,
    412: _PRECONDITION,
    416: _RANGE,
    429: _BUSY,
    501: _UNSUPPORTED,
    503: _BUSY,
    507: _FULL,
}
_TAGS: Final = {"code": re.compile(rb"<Code>([^<]{1,200})"), "message": re.compile(rb"<Message>([^<]{1,1000})")}


@contextmanager
def translated(operation: str) -> Iterator[None]:
    """Turn what botocore and aiohttp raise inside into our errors; `operation` goes into their details."""
    try:
        yield
    except ClientError as error:
        raise _answered(operation, error) from error
    except ParamValidationError:
        raise  # nothing was sent and storage refused nothing: a mistake in this program, which is no `Problem`
    except (NoCredentialsError, PartialCredentialsError) as error:
        message = "There is no access key for storage: set storage_access_key and storage_secret_key."
        raise Misconfigured("storage_credentials_missing", message, operation=operation) from error
    except (SSLError, aiohttp.ClientSSLError) as error:
        message = f"The secure connection to storage failed: {error}"
        raise Misconfigured("storage_tls_failed", message, operation=operation) from error
    except (ReadTimeoutError, ConnectTimeoutError, TimeoutError) as error:
        raise _problem(_TIMEOUT, operation, cause=str(error)) from error
    except (NoConnectionError, BrokenConnectionError, aiohttp.ClientError, ResponseParserError, OSError) as error:
        raise Unavailable(
            "storage_unreachable", "The connection to storage failed.", operation=operation, cause=str(error)
        ) from error
    except KeyError as error:  # a 200 without what it has to carry: a proxy's page, say
        raise _problem(_FAILED, operation, cause=f"The answer has no {error}.") from error
    except BotoCoreError as error:
        message = f"Storage cannot be used as it is configured: {error}"
        raise Misconfigured("storage_misconfigured", message, operation=operation) from error


def refused(operation: str, status: int, body: bytes) -> Problem:
    """The error of an answer that came outside of botocore, from its status and its XML body."""
    found = {name: match[1].decode(errors="replace") for name, tag in _TAGS.items() if (match := tag.search(body))}
    return _named(operation, status, found.get("code", ""), found.get("message", ""))


def _answered(operation: str, error: ClientError) -> Problem:
    """Storage answered, but with an error."""
    body = error.response.get("Error", {})
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return _named(operation, status, str(body.get("Code", "")), str(body.get("Message", "")))


def _named(operation: str, status: int, code: str, cause: str) -> Problem:
    facts: dict[str, str | int] = {"storage_code": code, "status": status, "cause": cause}
    named = _ENCRYPTION if code.startswith("KMS.") else _BY_CODE.get(code)
    kind = named or _BY_STATUS.get(status)
    if kind is not None:
        return _problem(kind, operation, **facts)
    if status >= 500:
        return _problem(_FAILED, operation, **facts)
    message = f"Storage refuses the request: {code or status} {cause}".rstrip()
    return Invalid("storage_request_refused", message, operation=operation, **facts)


def _problem(kind: _Kind, operation: str, **facts: str | int) -> Problem:
    problem, code, message = kind
    return problem(code, message, operation=operation, **facts)
