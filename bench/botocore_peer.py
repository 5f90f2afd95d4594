"""botocore's client as a program would use it: for each line `N` on stdin N sessions; answers the CPU-seconds they took.

    python -m bench.botocore_peer STORE

Only create, presigning and complete are timed; the parts in between are sent by this process too, but not counted.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import botocore.session
from botocore.config import Config

from bench.httpd import Wire, target_of
from bench.sending import block, crc_of, encoded
from bench.standin import ACCESS_KEY, SECRET_KEY

BUCKET, PARTS, PART = "companion", 50, 64 * 1024**2


def client_of(store: str) -> Any:
    return botocore.session.Session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=store,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(
            s3={"addressing_style": "path"},
            signature_version="s3v4",
            request_checksum_calculation="when_required",
            proxies={},
        ),
    )


async def session(client: Any, wire: Wire, key: str) -> float:
    """CPU-seconds of one session."""
    start = time.process_time()
    place = {"Bucket": BUCKET, "Key": key}
    opened = client.create_multipart_upload(**place, ChecksumAlgorithm="CRC64NVME", ChecksumType="FULL_OBJECT")
    named = place | {"UploadId": opened["UploadId"], "ContentLength": PART}
    signed = []
    for number in range(1, PARTS + 1):
        params = named | {"PartNumber": number, "ChecksumCRC64NVME": encoded(crc_of(1, number, PART))}
        signed.append((number, client.generate_presigned_url("upload_part", Params=params, ExpiresIn=1200)))
    spent = time.process_time() - start
    parts = []
    for number, url in signed:
        headers = {"x-amz-checksum-crc64nvme": encoded(crc_of(1, number, PART))}
        reply = await wire.request("PUT", target_of(url), headers, described=(PART, block(1, number)))
        assert reply.status == 200, reply.data[:500]
        parts.append({"PartNumber": number, "ETag": reply.headers["etag"]})
    start = time.process_time()
    client.complete_multipart_upload(**place, UploadId=opened["UploadId"], MultipartUpload={"Parts": parts})
    return spent + time.process_time() - start


async def main() -> None:
    store = sys.argv[1]
    client, wire = client_of(store), Wire(store)
    for run, line in enumerate(sys.stdin):
        spent = 0.0
        for number in range(int(line)):
            spent += await session(client, wire, f"botocore/{run}/{number}")
        print(spent, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
