from __future__ import annotations

import errno
from typing import Any

import aiohttp
import botocore.exceptions
import pytest
from s3fs.errors import translate_boto_error

from trialstore.blobs.faults import Fault, classify, reason


def s3(code: str, status: int, **error: str) -> BaseException:
    """The error that s3fs raises for an answer of this code and status."""
    answer: Any = {"Error": {"Code": code, **error}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return translate_boto_error(botocore.exceptions.ClientError(answer, "PutObject"))


class HttpResponseError(Exception):
    """The shape of azure.core's, which is no OSError."""

    def __init__(self, status_code: int, error_code: str | None) -> None:
        super().__init__(f"{status_code} {error_code}")
        self.status_code = status_code
        self.error_code = error_code


class ResourceModifiedError(HttpResponseError):
    pass


class ServiceResponseError(Exception):
    """azure.core's, when no answer came."""


class HttpError(Exception):
    """The shape of gcsfs's."""

    def __init__(self, code: int | str, message: str = "") -> None:
        super().__init__(message)
        self.code = code


def raised_from(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


CASES = {
    "S3 conflict as AWS says it": (s3("PreconditionFailed", 412, Condition="If-None-Match"), Fault.TAKEN),
    "S3 conflict as Ceph says it": (s3("PreconditionFailed", 412), Fault.TAKEN),
    "S3 conflict without a body": (s3("412", 412), Fault.TAKEN),
    "S3 two conditions at once": (s3("ConditionalRequestConflict", 409), Fault.BUSY),
    "S3 another operation": (s3("OperationAborted", 409), Fault.BUSY),
    "S3 throttling": (s3("SlowDown", 503), Fault.BUSY),
    "S3 no key": (s3("NoSuchKey", 404), Fault.MISSING),
    "S3 no key, asked for its size": (s3("404", 404), Fault.MISSING),
    "S3 no bucket": (s3("NoSuchBucket", 404), Fault.NO_BUCKET),
    "S3 empty range": (s3("InvalidRange", 416), Fault.BEYOND),
    "S3 denied": (s3("AccessDenied", 403), Fault.DENIED),
    "S3 wrong secret": (s3("SignatureDoesNotMatch", 403), Fault.DENIED),
    "S3 quota": (s3("QuotaExceeded", 403), Fault.FULL),
    "S3 broke": (s3("InternalError", 500), Fault.LOST),
    "S3 proxy broke": (s3("502", 502), Fault.LOST),
    "S3 unavailable": (s3("ServiceUnavailable", 503), Fault.LOST),
    "S3 wrong region": (s3("PermanentRedirect", 301), Fault.MISUSED),
    "S3 something else": (s3("MalformedXML", 400), Fault.OTHER),
    "botocore refused": (botocore.exceptions.EndpointConnectionError(endpoint_url="x"), Fault.BUSY),
    "botocore connect": (botocore.exceptions.ConnectTimeoutError(endpoint_url="x"), Fault.BUSY),
    "botocore read": (botocore.exceptions.ReadTimeoutError(endpoint_url="x"), Fault.LOST),
    "botocore closed": (botocore.exceptions.ConnectionClosedError(endpoint_url="x"), Fault.LOST),
    "botocore no credentials": (botocore.exceptions.NoCredentialsError(), Fault.DENIED),
    "aiohttp broke off": (aiohttp.ClientPayloadError(), Fault.LOST),
    "Azure exists": (FileExistsError("a"), Fault.TAKEN),
    "Azure exists, raw": (HttpResponseError(409, "BlobAlreadyExists"), Fault.TAKEN),
    "Azure stale": (ResourceModifiedError(412, "ConditionNotMet"), Fault.TAKEN),
    "Azure stale, no code": (ResourceModifiedError(412, None), Fault.TAKEN),
    "Azure no container": (HttpResponseError(404, "ContainerNotFound"), Fault.NO_BUCKET),
    "Azure no blob": (raised_from(FileNotFoundError("a"), HttpResponseError(404, "BlobNotFound")), Fault.MISSING),
    "Azure busy": (HttpResponseError(503, "ServerBusy"), Fault.BUSY),
    "Azure leased": (HttpResponseError(409, "LeaseAlreadyPresent"), Fault.BUSY),
    "Azure no answer": (ServiceResponseError(), Fault.LOST),
    "GCS exists": (raised_from(FileExistsError("a"), HttpError(412)), Fault.TAKEN),
    "GCS exists, code as text": (HttpError("412"), Fault.TAKEN),
    "GCS throttling": (HttpError(429), Fault.BUSY),
    "GCS no bucket": (HttpError(404, "The specified bucket does not exist."), Fault.NO_BUCKET),
    "GCS denied": (raised_from(OSError("Forbidden"), HttpError(403)), Fault.DENIED),
    "no such file": (FileNotFoundError("a"), Fault.MISSING),
    "time is up": (TimeoutError(), Fault.LOST),
    "reset": (ConnectionResetError(), Fault.LOST),
    "refused": (ConnectionRefusedError(), Fault.BUSY),
    "disk full": (OSError(errno.ENOSPC, "full"), Fault.FULL),
    "wrong option": (TypeError("unexpected keyword argument 'kye'"), Fault.MISUSED),
    "unknown": (RuntimeError("?"), Fault.OTHER),
}


@pytest.mark.parametrize("name", CASES)
def test_what_an_error_means(name: str) -> None:
    error, fault = CASES[name]
    assert classify(error) is fault


def test_a_chain_that_bites_its_tail_ends() -> None:
    first, second = RuntimeError("1"), RuntimeError("2")
    first.__cause__, second.__cause__ = second, first
    assert classify(first) is Fault.OTHER


def test_the_reason_is_one_line() -> None:
    assert reason(OSError("two\n  lines")) == "OSError: two lines"
    assert reason(TimeoutError()) == "TimeoutError"
