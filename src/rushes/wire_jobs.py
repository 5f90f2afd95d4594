"""What processing can be asked for: messages as `wire.py` has them. Pure."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from rushes.wire import Line, Request

Stage = Literal[
    "identify", "digest", "poster", "copy", "stills", "sound", "images", "encode", "join", "extra", "extra_join"
]


class ProcessRequest(Request):
    """What to make anew. Nothing named: all of it. What is published stays readable until then."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"stages": ["stills"]}]})

    stages: list[Stage] = Field(
        [],
        max_length=20,
        description="These stages; copy, encode and join only go together, so do extra and extra_join.",
    )
    renditions: list[Line] = Field([], max_length=1_000, description="The stages that made these, by name.")
    outdated: bool = Field(False, description="The stages whose renditions an older recipe made.")
    priority: int | None = Field(None, ge=-100, le=100, description="Another than the asset's.")


class JobPatch(Request):
    model_config = ConfigDict(json_schema_extra={"examples": [{"priority": 50}]})

    priority: int = Field(ge=-100, le=100, description="Higher is processed earlier.")
