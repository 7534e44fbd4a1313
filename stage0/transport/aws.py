"""Requests for objects of S3, signed with an AWS access key: Signature Version 4 of a GET without a body."""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime
from urllib.parse import parse_qsl, quote, unquote

from stage0.syntax.urls import split_url

_ALGORITHM = "AWS4-HMAC-SHA256"
_SERVICE = "s3"
_DEFAULT_REGION = "us-east-1"
_DOMAIN = ".amazonaws.com"


def signed_headers(url: str, access_key: str, secret_key: str, region: str, now: datetime) -> dict[str, str]:
    """The headers that a GET of `url` needs. `region` is read off the host where it is empty; `now` is in UTC."""
    parts = split_url(url)
    host = parts.netloc.rpartition("@")[2]
    nothing = hashlib.sha256(b"").hexdigest()
    headers = {"host": host, "x-amz-content-sha256": nothing, "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ")}
    names = ";".join(sorted(headers))
    query = sorted((quote(key, "~"), quote(value, "~")) for key, value in parse_qsl(parts.query, True))
    canonical = "\n".join(
        (
            "GET",
            quote(unquote(parts.path or "/"), "/~"),
            "&".join(f"{key}={value}" for key, value in query),
            *(f"{name}:{headers[name]}" for name in sorted(headers)),
            "",
            names,
            nothing,
        )
    )
    scope = f"{now:%Y%m%d}/{region or guess_region(host)}/{_SERVICE}/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"{_ALGORITHM}\n{headers['x-amz-date']}\n{scope}\n{digest}"
    key = f"AWS4{secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    del headers["host"]
    credential = f"{access_key}/{scope}"
    return headers | {
        "Authorization": f"{_ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
    }


def guess_region(host: str) -> str:
    """The region in the name of a host of S3, as rkt guesses it: bucket.s3.REGION or bucket.s3-REGION."""
    name = host.partition(":")[0].lower()
    labels = name.removesuffix(_DOMAIN).split(".")
    if name.endswith(_DOMAIN) and labels[-1].startswith("s3-") and labels[-1] != "s3-external-1":
        return labels[-1].removeprefix("s3-")
    if name.endswith(_DOMAIN) and len(labels) > 1 and labels[-2] == "s3":
        return labels[-1]
    return _DEFAULT_REGION
