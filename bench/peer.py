"""One upload of some files by another library, as its own documentation does it; prints what it cost.

    PEERS/bin/python bench/peer.py boto3|obstore|tuspy '{"files": […], "url": …, …}'

Runs in the peers' environment, without anything of ours. What is measured begins when the library is imported and its client
made, and ends when the last file is up.
"""

from __future__ import annotations

# ruff: noqa: PLC0415 - each run loads the one library it is about
import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any


def key(path: str) -> str:
    return f"bench/{Path(path).parent.name}/{Path(path).name}"


def boto3(job: dict[str, Any]) -> Callable[[], None]:
    import boto3 as library
    from boto3.s3.transfer import TransferConfig, create_transfer_manager
    from botocore.config import Config

    client = library.client(
        "s3",
        endpoint_url=job["url"],
        region_name="us-east-1",
        aws_access_key_id=job["access"],
        aws_secret_access_key=job["secret"],
        verify=job["ca"] or True,
        config=Config(s3={"addressing_style": "path"}, max_pool_connections=job["lines"] or 10, proxies={}),
    )
    tuned = {"multipart_chunksize": job["part"]} if job["part"] else {}
    tuned |= {"max_concurrency": job["lines"]} if job["lines"] else {}
    config = TransferConfig(**tuned)

    def run() -> None:
        with create_transfer_manager(client, config) as manager:
            futures = [manager.upload(path, job["bucket"], key(path)) for path in job["files"]]
            for future in futures:
                future.result()

    return run


def obstore(job: dict[str, Any]) -> Callable[[], None]:
    import obstore as library
    from obstore.store import S3Store

    store = S3Store(
        job["bucket"],
        endpoint=job["url"],
        region="us-east-1",
        access_key_id=job["access"],
        secret_access_key=job["secret"],
        virtual_hosted_style_request=False,
        client_options={"allow_http": True, "allow_invalid_certificates": True, "timeout": "600s"},
    )
    tuned = {"chunk_size": job["part"]} if job["part"] else {}
    tuned |= {"max_concurrency": job["lines"]} if job["lines"] else {}
    at_once = job["lines"] or 10

    async def each(path: str, room: asyncio.Semaphore) -> None:
        async with room:
            await library.put_async(store, key(path), Path(path), **tuned)

    async def every() -> None:
        room = asyncio.Semaphore(at_once)
        await asyncio.gather(*(each(path, room) for path in job["files"]))

    return lambda: asyncio.run(every())


def tuspy(job: dict[str, Any]) -> Callable[[], None]:
    from tusclient.client import TusClient

    client = TusClient(job["url"] + "/tus/")
    chunk = job["part"] or 64 * 1024**2

    def one(path: str) -> None:
        uploader = client.uploader(path, chunk_size=chunk, retries=10, retry_delay=1)
        uploader.verify_tls_cert = job["ca"] or True
        uploader.upload()

    def run() -> None:
        with ThreadPoolExecutor(job["lines"] or 1) as pool:
            list(pool.map(one, job["files"]))

    return run


def main() -> None:
    run = {"boto3": boto3, "obstore": obstore, "tuspy": tuspy}[sys.argv[1]](json.loads(sys.argv[2]))
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}), flush=True)
    os._exit(0)  # obstore's threads abort the interpreter's end now and then, with everything done


if __name__ == "__main__":
    main()
