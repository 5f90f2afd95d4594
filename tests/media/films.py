"""The films for the tests of video, as ffmpeg's arguments after its input: data."""

from __future__ import annotations

_FAST = ("-c:v", "libx264", "-preset", "ultrafast")
_SAFE = (*_FAST, "-profile:v", "high", "-crf", "30", "-sc_threshold", "0", "-c:a", "copy")
_FIVE = ("-g", "150", "-keyint_min", "150")  # a key frame every 5 s
_FILM = (
    "-r",
    "24000/1001",
    "-c:v",
    "libx264",
    "-preset",
    "veryfast",
    "-crf",
    "30",
    "-bf",
    "3",
    "-g",
    "60",
    "-pix_fmt",
    "yuv422p",
)
_SIX = "[0:a]volume=12dB,asplit[l][r];[l][r]join=inputs=2:channel_layout=5.1:map=0.0-FL|1.1-FR|0.0-FC|1.0-LFE|0.1-BL|1.1-BR[s]"
_PQ = (
    "zscale=transfer=linear:npl=203,format=gbrpf32le,zscale=primaries=bt2020,"
    "zscale=transfer=smpte2084:matrix=bt2020nc:npl=203:range=tv,format=yuv420p10le"
)
_FLASH = "drawbox=t=fill:color=black,drawbox=t=fill:color=white:enable='between(t,1.19,1.31)'"
_BEEP = "aeval='if(between(t,1.2,1.3),sin(2*PI*1000*t),0):c=same'"

SHORT: dict[str, tuple[str, ...]] = {  # of 3 s
    "fast.mp4": ("-vf", "fps=120", *_FAST, "-t", "1"),
    "interlaced.ts": ("-vf", "fps=60,tinterlace=interleave_top,fieldorder=tff", "-flags", "+ildct+ilme",
                      "-c:v", "mpeg2video", "-b:v", "4M", "-t", "2"),
    "languages.mkv": ("-filter_complex", _SIX, "-map", "0:v", "-map", "0:a", "-map", "[s]", "-map", "0:a",
                      "-c:v", "copy", "-c:a:0", "copy", "-c:a:1", "ac3", "-c:a:2", "libopus", "-ac:a:2", "1",
                      "-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=deu",
                      "-metadata:s:a:2", "language=fra"),
    "flash.ts": ("-vf", f"fps=25,{_FLASH}", "-af", _BEEP, *_FAST, "-c:a", "aac", "-output_ts_offset", "600"),
    "late_picture.ts": ("-vf", f"fps=25,{_FLASH},trim=start=0.6", "-af", _BEEP, *_FAST, "-c:a", "aac"),
    "pq.mp4": ("-vf", _PQ, "-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc",
               "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error", "-t", "1"),
}  # fmt: skip
LONG: dict[str, tuple[str, ...]] = {  # of 12 s
    "safe.mp4": (*_SAFE, *_FIVE),
    "six.mp4": ("-vf", "scale=160:90", *_SAFE, *_FIVE, "-t", "6"),
    "two.mp4": ("-vf", "scale=512:384", *_SAFE, *_FIVE),
    "open.mp4": ("-c:v", "libx264", "-preset", "veryfast", "-crf", "30", "-g", "60", "-bf", "3",
                 "-x264-params", "open-gop=1", "-c:a", "copy"),
    "sparse.mp4": (*_SAFE, "-g", "999", "-keyint_min", "999"),
    "long.mkv": _FILM,
    "long.ts": (*_FILM, "-c:a", "copy"),
    "long.mxf": ("-r", "25", "-c:v", "mpeg2video", "-b:v", "4M", "-g", "12", "-bf", "2", "-c:a", "pcm_s16le"),
    "long_vfr.mp4": ("-vf", "select='lt(mod(t,8),4)+not(mod(n,10))'", "-fps_mode", "vfr",
                     *_FAST, "-g", "60", "-pix_fmt", "yuv422p"),
}  # fmt: skip
