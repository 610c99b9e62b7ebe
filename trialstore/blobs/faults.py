"""What an error of a bucket's client means, whichever client it is."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from enum import Enum, auto

__all__ = ["Fault", "chain_of", "classify", "reason"]


class Fault(Enum):
    """What happened to a request, and so what may be done next."""

    MISSING = auto()
    """There is no such blob."""
    NO_BUCKET = auto()
    """There is no such bucket."""
    TAKEN = auto()
    """A conditional create found a blob of this key."""
    BEYOND = auto()
    """The range starts at or after the end of the blob."""
    DENIED = auto()
    """The user may not; nothing happened."""
    FULL = auto()
    """The quota or the disk is full; nothing happened."""
    MISUSED = auto()
    """The address or an option is wrong; nothing happened."""
    BUSY = auto()
    """Not now; nothing happened, the same request may do later."""
    LOST = auto()
    """The answer did not come: it may have happened."""
    OTHER = auto()
    """Refused for a reason that trying again does not mend."""


_CODES = {
    "NoSuchKey": Fault.MISSING,
    "BlobNotFound": Fault.MISSING,
    "ResourceNotFound": Fault.MISSING,
    "NoSuchBucket": Fault.NO_BUCKET,
    "ContainerNotFound": Fault.NO_BUCKET,
    "FilesystemNotFound": Fault.NO_BUCKET,
    "PreconditionFailed": Fault.TAKEN,
    "ConditionNotMet": Fault.TAKEN,
    "BlobAlreadyExists": Fault.TAKEN,
    "PathAlreadyExists": Fault.TAKEN,
    "InvalidRange": Fault.BEYOND,
    "AccessDenied": Fault.DENIED,
    "AuthorizationFailure": Fault.DENIED,
    "ExpiredToken": Fault.DENIED,
    "InvalidAccessKeyId": Fault.DENIED,
    "InvalidToken": Fault.DENIED,
    "RequestTimeTooSkewed": Fault.DENIED,
    "SignatureDoesNotMatch": Fault.DENIED,
    "InsufficientStorage": Fault.FULL,
    "QuotaExceeded": Fault.FULL,
    "XMinioStorageFull": Fault.FULL,
    "AuthorizationHeaderMalformed": Fault.MISUSED,
    "IllegalLocationConstraintException": Fault.MISUSED,
    "InvalidBucketName": Fault.MISUSED,
    "InvalidResourceName": Fault.MISUSED,
    "KeyTooLongError": Fault.MISUSED,
    "PermanentRedirect": Fault.MISUSED,
    "ConditionalRequestConflict": Fault.BUSY,
    "OperationAborted": Fault.BUSY,
    "RequestLimitExceeded": Fault.BUSY,
    "ServerBusy": Fault.BUSY,
    "SlowDown": Fault.BUSY,
    "Throttling": Fault.BUSY,
    "ThrottlingException": Fault.BUSY,
}
_STATUSES = {
    301: Fault.MISUSED,
    307: Fault.BUSY,
    401: Fault.DENIED,
    403: Fault.DENIED,
    404: Fault.MISSING,
    408: Fault.LOST,
    409: Fault.BUSY,
    412: Fault.TAKEN,
    416: Fault.BEYOND,
    429: Fault.BUSY,
    507: Fault.FULL,
}
_CLASSES = {
    # botocore
    "ConnectTimeoutError": Fault.BUSY,
    "EndpointConnectionError": Fault.BUSY,
    "ProxyConnectionError": Fault.BUSY,
    "NoCredentialsError": Fault.DENIED,
    "PartialCredentialsError": Fault.DENIED,
    "CredentialRetrievalError": Fault.DENIED,
    "TokenRetrievalError": Fault.DENIED,
    "ProfileNotFound": Fault.MISUSED,
    "NoRegionError": Fault.MISUSED,
    "ParamValidationError": Fault.MISUSED,
    "InvalidEndpointConfigurationError": Fault.MISUSED,
    "HTTPClientError": Fault.LOST,
    "ResponseParserError": Fault.LOST,
    "IncompleteReadError": Fault.LOST,
    # azure
    "ClientAuthenticationError": Fault.DENIED,
    "ServiceRequestError": Fault.BUSY,
    "ServiceResponseError": Fault.LOST,
    "IncompleteRead": Fault.LOST,
    # google
    "DefaultCredentialsError": Fault.DENIED,
    "RefreshError": Fault.DENIED,
    "TransportError": Fault.LOST,
    "ChecksumError": Fault.LOST,
    # aiohttp, below all three
    "ClientConnectorError": Fault.BUSY,
    "ClientError": Fault.LOST,
    # Python
    "FileExistsError": Fault.TAKEN,
    "FileNotFoundError": Fault.MISSING,
    "PermissionError": Fault.DENIED,
    "ConnectionRefusedError": Fault.BUSY,
    "gaierror": Fault.BUSY,
    "ConnectionError": Fault.LOST,
    "TimeoutError": Fault.LOST,
    "FSTimeoutError": Fault.LOST,
    "TypeError": Fault.MISUSED,
    "ValueError": Fault.MISUSED,
}
_ERRNOS = {errno.EBUSY: Fault.BUSY, errno.ENOSPC: Fault.FULL, errno.EDQUOT: Fault.FULL}
_NO_BUCKET_TEXTS = ("bucket does not exist", "container does not exist")


def classify(error: BaseException) -> Fault:
    """What an error of s3fs, gcsfs, adlfs, or of what is under them, says of the request.

    What the server said decides before what a client made of it: fsspec's filesystems turn a failed
    condition into an argument error, and a conflict into an input/output error.
    """
    chain = list(chain_of(error))
    for link in chain:
        code, status = _server_answer(link)
        if code in _CODES:
            return _CODES[code]
        if status is not None and status >= 400:
            if any(text in str(link).lower() for text in _NO_BUCKET_TEXTS):
                return Fault.NO_BUCKET
            return _STATUSES.get(status) or (Fault.LOST if status >= 500 else Fault.OTHER)
        if code is not None:
            return _STATUSES.get(int(code), Fault.OTHER) if code.isdigit() else Fault.OTHER
    for link in chain:
        for kind in type(link).__mro__:
            if kind.__name__ in _CLASSES:
                return _CLASSES[kind.__name__]
        if isinstance(link, OSError) and link.errno in _ERRNOS:
            return _ERRNOS[link.errno]
    return Fault.OTHER


def reason(error: BaseException) -> str:
    """What the lower layer said, on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """The error, what caused it, what caused that, and so on."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _server_answer(error: BaseException) -> tuple[str | None, int | None]:
    """The error code and the HTTP status that the server sent, where this error carries them."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        code = response.get("Error", {}).get("Code")
        return code, response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    status = getattr(error, "status_code", None)
    if isinstance(status, int):  # azure
        code = getattr(error, "error_code", None)
        return str(getattr(code, "value", code)) if code else None, status
    for name in ("code", "status"):  # gcsfs, aiohttp
        status = getattr(error, name, None)
        if isinstance(status, int) or (isinstance(status, str) and status.isdigit()):
            return None, int(status)
    return None, None
