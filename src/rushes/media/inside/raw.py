"""Camera raw by LibRaw: opened by its header, shown by its embedded preview or a demosaic.

LibRaw reads from memory only, so a raw file is read whole; 512 MiB are the most.
"""

from __future__ import annotations

import io
from typing import IO, Any, BinaryIO, cast

import rawpy
from PIL import Image

from rushes.media.inside import talk
from rushes.media.inside.reader import Reader

_MOST_BYTES = 512 * 1024**2
_TURNS = {3: Image.Transpose.ROTATE_180, 5: Image.Transpose.ROTATE_90, 6: Image.Transpose.ROTATE_270}
_BROKEN = (rawpy.LibRawError, ValueError, MemoryError, OverflowError)


def _exif(reader: Reader) -> Image.Exif:
    """A TIFF's own directories; empty for other kinds of raw, and where they are broken."""
    exif = Image.Exif()
    reader.seek(0)
    if reader.read(4) in {b"II*\0", b"MM\0*"}:
        try:
            reader.seek(0)
            exif.load_from_fp(cast("IO[bytes]", reader))
        except (OSError, ValueError, SyntaxError, TypeError, KeyError):
            return Image.Exif()
    return exif


class Raw:
    """A raw file whose header is read. `width` and `height` are upright."""

    def __init__(self, reader: Reader) -> None:
        """Raises Refused for one that LibRaw does not know."""
        if reader.size > _MOST_BYTES:
            raise talk.Refused("unsupported", f"Camera raw is taken up to {_MOST_BYTES >> 20} MiB a file.")
        reader.seek(0)
        self._raw = rawpy.RawPy()
        try:
            self._raw.open_buffer(cast("BinaryIO", reader))
            sizes = self._raw.sizes
        except _BROKEN as error:
            raise talk.Refused("undecodable", f"This camera raw file is damaged or of an unknown kind: {error}.") from (
                error
            )
        self.raw_width, self.raw_height = int(sizes.raw_width), int(sizes.raw_height)
        self.flip = int(sizes.flip)
        self.exif = _exif(reader)
        turned = self.flip in {5, 6}
        self.width = int(sizes.height if turned else sizes.width)
        self.height = int(sizes.width if turned else sizes.height)

    def preview(self) -> Image.Image | None:
        """The biggest embedded JPEG, not yet decoded, its own EXIF in it; None where there is none."""
        try:
            thumb = self._raw.extract_thumb()
        except (*_BROKEN, rawpy.NotSupportedError):
            return None
        if thumb.format is not rawpy.ThumbFormat.JPEG:
            return None
        try:
            return Image.open(io.BytesIO(bytes(thumb.data)), formats=("JPEG",))
        except (OSError, ValueError, SyntaxError):
            return None

    def upright(self, preview: Image.Image) -> Image.Image:
        """A decoded preview turned as the camera was held; many cameras turn it themselves, or say so in its EXIF."""
        turned = self.flip in {5, 6}
        as_held = (preview.width < preview.height) == (self.width < self.height)
        turn = None if turned and as_held else _TURNS.get(self.flip)
        return preview if turn is None else preview.transpose(turn)

    def developed(self, side: int) -> Image.Image:
        """Demosaiced with the camera's white balance into 8-bit sRGB, upright; at half size where that is enough for
        `side`. Raises Refused.
        """
        half = max(self.width, self.height) >= 2 * side
        try:
            pixels: Any = self._raw.postprocess(
                use_camera_wb=True, half_size=half, output_color=rawpy.ColorSpace.sRGB, output_bps=8
            )
        except (*_BROKEN, rawpy.NotSupportedError) as error:
            raise talk.Refused("undecodable", f"This camera raw file cannot be decoded: {error}.") from error
        return Image.fromarray(pixels)
