"""Which containers may be opened, by FFmpeg's demuxer names. Data.

Left out on purpose: everything that names other files or addresses (hls, dash, concat, sdp, rtsp, image2), generators
(lavfi), and formats of text and subtitles, which would make a picture of any text file.
"""

from __future__ import annotations

DEMUXERS = (
    "mov", "matroska", "mpegts", "mpeg", "mxf", "gxf", "avi", "asf", "flv", "ogg", "nut", "ivf", "dv", "wtv",
    "h264", "hevc", "m4v", "mpegvideo", "vc1", "obu", "yuv4mpegpipe",
    "wav", "w64", "aiff", "au", "caf", "flac", "mp3", "aac", "ac3", "eac3", "dts", "dtshd", "truehd", "mlp",
    "amr", "ape", "wv", "tta", "tak", "mpc", "mpc8", "rso", "voc", "loas",
)  # fmt: skip
WHITELIST = ",".join(DEMUXERS)

# Pillow's names; camera raw is told by `inside/rawkind.py`. EPS is not among them: reading it starts Ghostscript.
PICTURES = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "JPEG2000", "HEIF")
RAW = ("dng", "raw")  # formats as identify names them


def forced(format_name: str) -> str:
    """The one demuxer to force for what identify found, e.g. "mov" for "mov,mp4,m4a,3gp,3g2,mj2". ValueError if it
    may not be opened.

    Checked although identify only opens what is listed: identify ran among users' bytes.
    """
    name = format_name.split(",", 1)[0]
    if name not in DEMUXERS:
        raise ValueError(f"the container {name!r} may not be opened")
    return name
