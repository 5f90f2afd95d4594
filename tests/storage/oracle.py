"""botocore's presigner as a process: one JSON case a line in, one URL a line out.

A process of its own, because botocore has to be imported with BOTO_DISABLE_CRT set (with awscrt its parameters come in
another order) and with a clock that stands still. Cases with `operation` go through a whole botocore client; the others
straight through `S3SigV4QueryAuth`, which signs every header it is given.
"""

from __future__ import annotations

import datetime
import json
import os
import sys
from typing import Any

os.environ["BOTO_DISABLE_CRT"] = "true"

import botocore.auth
import botocore.session
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials

SESSION = botocore.session.Session()  # one, because it keeps the parsed API models


def stop_the_clock(at: str) -> None:
    moment = datetime.datetime.fromisoformat(at)
    botocore.auth.get_current_datetime = lambda remove_tzinfo=True: moment.replace(tzinfo=None)


def by_auth(case: dict[str, Any]) -> str:
    request = AWSRequest(method=case["method"], url=case["url"], headers=case["headers"])
    credentials = ReadOnlyCredentials(case["access_key"], case["secret_key"], case["session_token"])
    botocore.auth.S3SigV4QueryAuth(credentials, "s3", case["region"], expires=case["seconds"]).add_auth(request)
    return str(request.url)


def by_client(case: dict[str, Any]) -> str:
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": case["addressing"], "use_accelerate_endpoint": case.get("accelerate", False)},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    client = SESSION.create_client(
        "s3",
        region_name=case["region"],
        endpoint_url=case["endpoint"],
        aws_access_key_id=case["access_key"],
        aws_secret_access_key=case["secret_key"],
        aws_session_token=case["session_token"],
        config=config,
    )
    return str(client.generate_presigned_url(case["operation"], Params=case["params"], ExpiresIn=case["seconds"]))


def main() -> None:
    for line in sys.stdin:
        case = json.loads(line)
        stop_the_clock(case["at"])
        print(by_client(case) if "operation" in case else by_auth(case), flush=True)


if __name__ == "__main__":
    main()
