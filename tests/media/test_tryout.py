"""Encoders that this machine lacks are named before any work is taken: the sandbox shows no hardware, whoever runs this."""

from __future__ import annotations

import pytest

from rushes.errors import Misconfigured
from rushes.media.ladder import ENCODERS, SECOND
from rushes.media.sandbox import Sandbox
from rushes.media.tryout import try_encoders

HARDWARE = sorted(ENCODERS.keys() - {"x264"})


@pytest.mark.parametrize("name", HARDWARE)
async def test_hardware_that_is_not_there_is_refused(sandbox: Sandbox, name: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        await try_encoders(sandbox, [name, "vp9"], "/dev/dri/renderD128")
    assert caught.value.code == "encoder_missing"
    assert caught.value.message.startswith(f"The encoder {name} (h264_{name}) does not work on this machine: ")
    assert caught.value.message.endswith(". Set RUSHES_VIDEO_ENCODER=x264.")
    assert "0x" not in caught.value.message


async def test_what_comes_with_ffmpeg_works(sandbox: Sandbox) -> None:
    assert await try_encoders(sandbox, ["x264", "", *SECOND]) == list(SECOND)
