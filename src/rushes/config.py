"""Settings: one frozen object, read once in the composition root and handed down.

Every field is also an environment variable: its name in capitals behind ``RUSHES_`` (``RUSHES_DATABASE_URL``). Without any
of them rushes runs its embedded stack; with them the same program runs against a managed PostgreSQL and any S3.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

OTHER_VARIABLES = (  # ours, but no settings
    "RUSHES_SERVER",
    "RUSHES_TOKEN",
    "RUSHES_STATE_DIR",
    "RUSHES_TRANSPORT",
    "RUSHES_DEBUG",
    "RUSHES_API_PID",
)
MIN_SECRET = 32  # bytes, RFC 7518 section 3.2

Seconds = Annotated[float, Field(gt=0)]


def default_data_dir() -> Path:
    """``/var/lib/rushes`` as root, else ``$XDG_DATA_HOME/rushes`` (``~/.local/share/rushes``)."""
    if os.geteuid() == 0:
        return Path("/var/lib/rushes")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "rushes"


class Issuer(BaseModel):
    """A foreign token issuer whose public keys are read from a JWKS address. One algorithm a key: nothing else is accepted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str = Field(description="The exact `iss` claim.")
    jwks_url: str = Field(description="Where its public keys are published.")
    algorithm: Literal["RS256", "ES256", "EdDSA"] = Field(
        description="The only algorithm its tokens may be signed with."
    )
    audience: str = Field(description="The `aud` claim its tokens must carry.")
    tenants: tuple[str, ...] = Field((), description="The tenants it may speak for; empty means any.")


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="RUSHES_", frozen=True, extra="ignore")

    data_dir: Path = Field(
        default_factory=default_data_dir,
        description="Where the embedded stack keeps its database, objects and secrets.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least severe log line written."
    )
    log_format: Literal["text", "json"] = Field("text", description="`text` for people, `json` for a log collector.")

    api_host: str = Field("127.0.0.1", description="The address the API listens on.")
    api_port: int = Field(
        8420, ge=0, le=65535, description="The port the API listens on; `rushes up` takes a free one when it is in use."
    )
    instance: str | None = Field(
        None,
        description="A word that /readyz repeats, by which `rushes up` tells its own API from another on the port.",
    )
    api_workers: int = Field(1, ge=1, le=256, description="API processes on this machine.")
    public_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?$",
        description="The API's own address as clients see it, for grants that lead through it; default: as they asked.",
    )
    relay_most: int = Field(32, ge=1, le=10_000, description="Bodies one API process relays at once; 503 beyond.")
    relay_idle_seconds: Seconds = Field(30, description="A relay whose sender is silent for so long is cut off.")
    relay_least_rate: float = Field(
        8192, ge=0, description="Bytes a second below which a relay's sender is cut off, over the time above."
    )

    database_url: SecretStr | None = Field(
        None,
        description="PostgreSQL ≥ 16, as postgresql://user:password@host:port/name; not a transaction-mode pooler.",
    )
    database_pool: int = Field(10, ge=1, le=1000, description="Most database connections of one process.")

    storage_endpoint: str | None = Field(
        None, description="The S3 endpoint the server itself talks to; empty means AWS in `storage_region`."
    )
    storage_public_endpoint: str | None = Field(
        None,
        description="The S3 endpoint as clients reach it; grants are signed for it. With `storage_endpoint` and without "
        "this one, clients send their parts through the API; an empty text says so to `rushes up` as well.",
    )
    storage_accelerate: bool = Field(
        False,
        description="Clients reach AWS through S3 Transfer Acceleration, which the buckets must have switched on.",
    )
    storage_region: str = Field("us-east-1", description="The region requests are signed for.")
    storage_access_key: str | None = Field(None, description="The access key id.")
    storage_secret_key: SecretStr | None = Field(None, description="The secret access key.")
    storage_session_token: SecretStr | None = Field(None, description="The session token of temporary credentials.")
    storage_addressing: Literal["path", "virtual"] = Field(
        "path", description="`path`: endpoint/bucket/key; `virtual`: bucket.endpoint/key."
    )
    storage_profile: Literal["auto", "aws", "r2", "minio", "ceph", "seaweedfs", "storj", "scaleway", "generic"] = Field(
        "auto", description="Whose limits part plans keep to; `auto` tells it from the endpoint's name."
    )
    storage_body_limit: int | None = Field(
        None, ge=5 * 1024**2, description="The largest body, in bytes, that a proxy on the way to storage lets through."
    )
    storage_dir: Path | None = Field(
        None,
        description="Where an object store on this machine keeps its bytes; uploads its disk cannot hold are refused.",
    )
    bucket_incoming: str = Field(
        "rushes-incoming", description="Scratch and staged parts, as `bucket` or `bucket/prefix`; swept."
    )
    bucket_originals: str = Field(
        "rushes-originals", description="What people uploaded, as `bucket` or `bucket/prefix`; never rewritten."
    )
    bucket_renditions: str = Field(
        "rushes-renditions", description="What was made of it, as `bucket` or `bucket/prefix`."
    )
    create_buckets: bool = Field(
        False, description="Create missing buckets at `rushes migrate`, with the CORS rules browsers need."
    )

    cors_origins: tuple[str, ...] = Field(
        ("*",),
        description="Web origins whose pages may call the API, read renditions and PUT parts by presigned URL, as a JSON "
        "list. With `*` no page may send cookies along.",
    )

    event_streams: int = Field(
        10_000, ge=1, description="Most event streams that one API process keeps open; others are sent to the next pod."
    )
    event_heartbeat_seconds: Seconds = Field(
        15, le=300, description="A sign of life on an event stream that has been quiet for so long."
    )
    event_stall_seconds: Seconds = Field(
        30,
        description="A reader of an event stream that takes nothing for so long is cut off; it goes on by its last id.",
    )

    token_secret: SecretStr | None = Field(
        None,
        description="The HS256 secret of rushes' own tokens, at least 32 bytes. Upload tokens are always signed with it.",
    )
    token_issuer: str = Field("rushes", description="The `iss` of rushes' own tokens.")
    token_audience: str = Field("rushes", description="The `aud` of rushes' own tokens.")
    token_issuers: tuple[Issuer, ...] = Field(
        (), description="Foreign issuers, as a JSON list of {issuer, jwks_url, algorithm, audience}."
    )

    grant_seconds: Seconds = Field(
        1200, ge=30, le=43200, description="How long a presigned URL lives; 15 to 30 minutes is customary."
    )
    upload_idle_days: Seconds = Field(
        14, description="An upload without progress for so long expires; every part moves the date."
    )
    upload_max_days: Seconds = Field(90, description="No upload lives longer than this.")
    unknown_size_bytes: int = Field(
        100 * 10**9, ge=1, description="The most reserved for an upload that does not say its size; quotas allow less."
    )
    upload_abandoned_seconds: Seconds = Field(
        3600, description="An upload without progress for so long is counted as abandoned; it can still go on."
    )
    upload_warn_seconds: Seconds = Field(
        86_400, description="How long before an upload expires its creator is warned, by an event."
    )
    complete_wait_seconds: float = Field(
        5, ge=0, le=60, description="How long `complete` waits for the verdict before it answers 202."
    )
    link_seconds: Seconds = Field(43200, description="How long links to originals and renditions live.")

    worker_jobs: int = Field(
        2,
        ge=1,
        le=256,
        description="Stages a worker encodes at once for one tenant, and one more when others wait; the same for all workers.",
    )
    waveform_channels: int = Field(
        1, ge=1, le=2, description="Channels of waveform peaks: 1 mixed, or 2, left and right."
    )
    worker_threads: int = Field(0, ge=0, le=256, description="Threads an encoder may use; 0 means one a core.")
    video_encoder: Literal["x264", "nvenc", "vaapi", "qsv", "videotoolbox"] = Field(
        "x264",
        description="What encodes H.264. Hardware is untried, and the sandbox shows it no devices yet: a worker that cannot "
        "encode with what is named here does not start.",
    )
    video_device: str = Field("", description="The hardware encoder's device, such as /dev/dri/renderD128.")
    video_tallest: Literal[720, 1080, 2160] = Field(
        1080, description="The highest rung of videos, in pixels of the shorter side."
    )
    video_proxy_height: Literal[360, 720, 1080] = Field(
        720, description="The progressive MP4 of a video is the highest rung not above this."
    )
    video_second: Literal["", "vp9", "av1"] = Field(
        "",
        description="A second set of a video's pictures, made when the first is published and nothing else waits: vp9 or av1.",
    )
    video_span_seconds: Seconds = Field(
        120, description="How much of a video one worker encodes in one go, in seconds of 1080p at 30 frames a second."
    )
    takeover_seconds: float = Field(
        15, ge=2, description="How long a worker must have been gone before another takes its work."
    )
    scratch_dir: Path | None = Field(
        None, description="Where jobs keep files while they run; default: `scratch` in the data directory."
    )
    scratch_bytes: int | None = Field(
        None, ge=1024**3, description="How much of it one worker may fill; without it, what the disk has free."
    )
    job_attempts: int = Field(4, ge=1, le=100, description="How often a failing processing step is tried.")

    sweep_seconds: Seconds = Field(
        900, description="How often the workers sweep: once in each such span of time, however many there are."
    )
    sweep_grace_seconds: Seconds = Field(
        86_400, description="How old something that nobody owns must be before a sweep removes it from storage."
    )
    event_days: Seconds = Field(90, description="How long events, and the reports of sweeps, are kept.")
    workflow_days: Seconds = Field(7, description="How long the engine remembers workflows that have ended.")

    @field_validator("token_secret")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value().encode()) < MIN_SECRET:
            raise ValueError(f"a secret that signs tokens has at least {MIN_SECRET} bytes")
        return value

    def scratch(self) -> Path:
        return self.scratch_dir or self.data_dir / "scratch"
