"""The films of the corpus, as ffmpeg's arguments: data. All derive from the marked masters of sources.py."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fractions import Fraction
from typing import Any

from tests.corpus import boxes
from tests.corpus.clip import Clip, Encoded
from tests.corpus.sources import MASTERS, origin

Facts = Mapping[str, object]
Arguments = tuple[str, ...]

_X264: Arguments = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "22", "-pix_fmt", "yuv420p")
_X265: Arguments = ("-c:v", "libx265", "-preset", "veryfast", "-crf", "24", "-x265-params")
_AAC: Arguments = ("-c:a", "aac", "-b:a", "128k", "-ac", "2")
_PCM: Arguments = ("-c:a", "pcm_s16le", "-ac", "2")
_MP2: Arguments = ("-c:a", "mp2", "-b:a", "192k", "-ac", "2")
_OPUS: Arguments = ("-c:a", "libopus", "-b:a", "96k", "-ac", "2")
_709 = "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv"
_PQ = (
    "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv,"
    "zscale=transfer=linear:npl=203,format=gbrpf32le,zscale=primaries=bt2020,"
    "zscale=transfer=smpte2084:matrix=bt2020nc:npl=203:range=tv,format=yuv420p10le"
)
_HLG = _PQ.replace("smpte2084", "arib-std-b67")
_MASTERED = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
_HDR10 = f"log-level=error:hdr10=1:repeat-headers=1:master-display={_MASTERED}:max-cll=1000,400"
_POINTS = [[0.68, 0.32], [0.265, 0.69], [0.15, 0.06], [0.3127, 0.329]]
_2020: Facts = {"video.primaries": "bt2020", "video.matrix": "bt2020nc", "video.range": "tv", "video.bit_depth": 10}
_TAGGED: Facts = {"video.primaries": "bt709", "video.transfer": "bt709", "video.matrix": "bt709", "video.range": "tv"}
_TFF, _BFF = ("fps=50,interlace=scan=tff,setfield=tff", "fps=50,interlace=scan=bff,setfield=bff")
_WOVEN: Arguments = ("-flags", "+ildct+ilme")


def film(
    name: str,
    master: str,
    traits: str,
    arguments: Arguments,
    expected: Facts,
    *,
    before: Arguments = (),
    without: Collection[str] = (),
    **changed: Any,
) -> Clip:
    """A clip with what follows from its master filled in; `expected` has the last word, and `without` names facts that
    the container or codec cannot hold. `changed`: fields of the clip; `sounds=0` for a silent one.
    """
    made = MASTERS[master]
    frames: int | None = changed.get("frames", made.frames)
    rate: Fraction | None = changed.get("rate", made.rate)
    turned: int = changed.get("turned", 0)
    facts: dict[str, object] = {"kind": "video", "duration": float(made.seconds), "timecode": None}
    if rate is not None:
        facts |= {"video.frame_rate": f"{rate.numerator}/{rate.denominator}", "video.vfr": False}
    if frames is not None:
        facts["video.frames"] = frames
    facts |= {"video.coded_width": made.width, "video.coded_height": made.height, "video.rotation": turned}
    facts |= {"video.sample_aspect": made.aspect, "video.scan": "progressive", "video.bit_depth": 8}
    facts |= {"video.chroma": "4:2:0", "video.hdr": None, "video.dolby_vision": False}
    if changed.get("sounds", 1):
        facts |= {"audio.0.channels": 2, "audio.0.layout": "stereo", "audio.0.sample_rate": 48000}
    facts |= {"counts.audio": changed.get("sounds", 1) or None}
    facts |= expected
    return Clip(
        name, origin(master), traits, {key: value for key, value in facts.items() if key not in without},
        Encoded(master, arguments, before, changed.get("after")), frames, rate, changed.get("marked", True), turned, master,
    )  # fmt: skip


_ISO = (
    film("web.mp4", "bunny_hd", "H.264 High and AAC, index in front, a key frame every 2 s, colours tagged",
         ("-vf", _709, *_X264, *_AAC, "-g", "50", "-sc_threshold", "0", "-level:v", "3.1", "-movflags", "+faststart"),
         {"wrapper": "mp4", "video.codec": "h264", "video.profile": "High", "video.level_name": "3.1",
          "video.gop_seconds": 2.0, "audio.0.codec": "aac", "audio.0.profile": "LC",
          "video.display_aspect": "16:9", **_TAGGED}),
    film("baseline.mp4", "bikes", "H.264 Baseline, index behind", (*_X264, "-profile:v", "baseline", *_AAC),
         {"wrapper": "mp4", "video.codec": "h264", "video.profile": "Constrained Baseline", "video.b_frames": False,
          "audio.0.codec": "aac"}),
    film("fragmented.mp4", "bikes", "fragmented MP4: no sample table",
         (*_X264, *_AAC, "-g", "50", "-movflags", "+frag_keyframe+empty_moov+default_base_moof"),
         {"wrapper": "mp4", "video.codec": "h264", "audio.0.codec": "aac"}),
    film("long_gop.mp4", "bunny", "one key frame", (*_X264, *_AAC, "-g", "9999", "-sc_threshold", "0"),
         {"wrapper": "mp4", "video.codec": "h264", "video.gop_seconds": 5.0, "video.b_frames": True}),
    film("open_gop.mp4", "bikes", "open GOPs, B-frames over key frames",
         (*_X264, *_AAC, "-g", "50", "-bf", "3", "-x264-params", "open-gop=1"),
         {"wrapper": "mp4", "video.codec": "h264", "video.b_frames": True}),
    film("edit_list.mp4", "bunny", "begins within a GOP by its edit list", (*_X264, *_AAC, "-g", "9999"),
         {"wrapper": "mp4", "video.codec": "h264", "duration": 3.7}, after=boxes.cut(1.3), frames=92, marked=False),
    film("vfr.mp4", "bunny", "variable frame rate",
         ("-vf", "select='not(mod(n,3))+not(mod(n,7))'", "-fps_mode", "vfr", *_X264, *_AAC),
         {"wrapper": "mp4", "video.codec": "h264", "video.vfr": True}, rate=None, frames=54, without=("duration",)),
    film("silent.mp4", "bikes", "no sound", (*_X264, "-an"), {"wrapper": "mp4", "video.codec": "h264"}, sounds=0),
    film("odd.mp4", "bikes", "odd width and height, 4:4:4",
         ("-vf", "crop=321:181:80:40:exact=1,format=yuv444p", *_X264[:-2], *_AAC),
         {"wrapper": "mp4", "video.codec": "h264", "video.coded_width": 321, "video.coded_height": 181,
          "video.chroma": "4:4:4", "video.profile": "High 4:4:4 Predictive"}, marked=False),
    film("full_range.mp4", "carphone", "full range, SMPTE 170M colours, 30000/1001",
         ("-vf", "scale=out_range=pc,setparams=color_primaries=smpte170m:color_trc=smpte170m:colorspace=smpte170m:range=pc",
          *_X264[:-2], "-pix_fmt", "yuvj420p", *_AAC),
         {"wrapper": "mp4", "video.codec": "h264", "video.range": "pc", "video.matrix": "smpte170m",
          "video.primaries": "smpte170m", "video.transfer": "smpte170m"}),
    film("turned90.mov", "bunny", "turned a quarter clockwise", (*_X264, *_AAC), {"wrapper": "mov", "video.codec": "h264",
          "video.width": 360, "video.height": 640, "video.display_aspect": "9:16"},
         before=("-noautorotate", "-display_rotation:v", "-90"), turned=90),
    film("turned180.mp4", "bikes", "turned upside down", (*_X264, *_AAC), {"wrapper": "mp4", "video.codec": "h264",
          "video.width": 640, "video.height": 272}, before=("-noautorotate", "-display_rotation:v", "180"), turned=180),
    film("turned270.mp4", "carphone", "turned a quarter counter-clockwise, oblong pixels", (*_X264, *_AAC),
         {"wrapper": "mp4", "video.codec": "h264", "video.width": 288, "video.height": 384},
         before=("-noautorotate", "-display_rotation:v", "90"), turned=270),
    film("hevc10.mp4", "bunny", "HEVC Main 10", (*_X265, "log-level=error", "-pix_fmt", "yuv420p10le", "-tag:v", "hvc1", *_AAC),
         {"wrapper": "mp4", "video.codec": "hevc", "video.profile": "Main 10", "video.bit_depth": 10}),
    film("hdr10.mp4", "bunny", "HDR10 with mastering display and light levels",
         ("-vf", _PQ, *_X265, _HDR10, "-tag:v", "hvc1", *_AAC),
         {"wrapper": "mp4", "video.codec": "hevc", "video.hdr": "hdr10", "video.transfer": "smpte2084", **_2020,
          "video.mastering.primaries": _POINTS, "video.mastering.min_luminance": 0.0001,
          "video.mastering.max_luminance": 1000.0, "video.mastering.max_content": 1000,
          "video.mastering.max_average": 400}),
    film("hlg.mp4", "bikes", "HLG", ("-vf", _HLG, *_X265, "log-level=error", "-tag:v", "hvc1", *_AAC),
         {"wrapper": "mp4", "video.codec": "hevc", "video.hdr": "hlg", "video.transfer": "arib-std-b67", **_2020}),
    film("dolby_vision.mp4", "bunny", "HDR10 that says it is Dolby Vision 8.1 (the record only, no RPU)",
         ("-vf", _PQ, *_X265, _HDR10, "-tag:v", "hvc1", *_AAC),
         {"wrapper": "mp4", "video.codec": "hevc", "video.hdr": "hdr10", "video.transfer": "smpte2084", **_2020,
          "video.dolby_vision": True, "video.dolby_vision_profile": "8.1"}, after=boxes.dolby_vision),
    film("av1.mp4", "bunny", "AV1 10 bit", ("-c:v", "libsvtav1", "-preset", "10", "-crf", "35", "-pix_fmt", "yuv420p10le", *_AAC),
         {"wrapper": "mp4", "video.codec": "av1", "video.bit_depth": 10, "video.profile": "Main"}),
    film("phone.mov", "bikes", "a phone's tags: make, model, place, time with zone",
         (*_X264, *_AAC, "-movflags", "+use_metadata_tags", "-metadata", "com.apple.quicktime.make=Apple",
          "-metadata", "com.apple.quicktime.model=iPhone 15 Pro",
          "-metadata", "com.apple.quicktime.software=17.4", "-metadata", "creation_time=2024-05-01T10:20:31Z",
          "-metadata", "com.apple.quicktime.creationdate=2024-05-01T12:20:30+0200",
          "-metadata", "com.apple.quicktime.location.ISO6709=+48.8577+002.2950+035.000/"),
         {"wrapper": "mov", "video.codec": "h264", "camera.make": "Apple", "camera.model": "iPhone 15 Pro",
          "created": "2024-05-01T12:20:30+02:00", "place.latitude": 48.8577, "place.longitude": 2.295,
          "place.altitude": 35.0}),
    film("languages.mov", "bunny", "two languages, timecode track",
         (*_X264, *_AAC, "-map", "0:v", "-map", "0:a", "-map", "0:a", "-metadata:s:a:0", "language=eng",
          "-metadata:s:a:1", "language=ger", "-timecode", "01:02:03:04"),
         {"wrapper": "mov", "video.codec": "h264", "audio.0.language": "eng", "audio.1.language": "ger",
          "timecode": "01:02:03:04"}, sounds=2),
    film("phone.3gp", "carphone", "H.263 and AMR",
         ("-vf", "scale=176:144,setsar=12/11", "-c:v", "h263", "-b:v", "400k", "-c:a", "libopencore_amrnb", "-ar", "8000",
          "-ac", "1", "-b:a", "12.2k"),
         {"wrapper": "3gp", "video.codec": "h263", "video.coded_width": 176, "video.coded_height": 144,
          "audio.0.codec": "amr_nb", "audio.0.channels": 1, "audio.0.layout": "mono", "audio.0.sample_rate": 8000},
         marked=False),
)  # fmt: skip

_STUDIO = (
    film("prores.mov", "bunny", "ProRes 422 HQ, timecode, reel",
         ("-vf", _709, "-c:v", "prores_ks", "-profile:v", "3", "-vendor", "apl0", "-pix_fmt", "yuv422p10le",
          "-c:a", "pcm_s24le", "-ac", "2", "-timecode", "10:00:00:00", "-metadata:s:v", "reel_name=A001C003"),
         {"wrapper": "mov", "video.codec": "prores", "video.profile": "HQ", "video.bit_depth": 10, "video.chroma": "4:2:2",
          "audio.0.codec": "pcm_s24le", "audio.0.bit_depth": 24, "timecode": "10:00:00:00", "camera.reel": "A001C003",
          **_TAGGED}),
    film("prores4444.mov", "carphone", "ProRes 4444, drop-frame timecode",
         ("-c:v", "prores_ks", "-profile:v", "4", "-pix_fmt", "yuv444p10le", *_PCM, "-timecode", "00:59:59;28"),
         {"wrapper": "mov", "video.codec": "prores", "video.profile": "4444", "video.chroma": "4:4:4",
          "timecode": "00:59:59;28", "audio.0.bit_depth": 16}, without=("video.bit_depth",)),
    film("dnxhr.mxf", "bikes", "DNxHR HQX in MXF, timecode",
         ("-c:v", "dnxhd", "-profile:v", "dnxhr_hqx", "-pix_fmt", "yuv422p10le", "-c:a", "pcm_s24le", "-ac", "2",
          "-timecode", "10:00:00:00"),
         {"wrapper": "mxf", "video.codec": "dnxhd", "video.profile": "DNXHR HQX", "video.bit_depth": 10,
          "video.chroma": "4:2:2", "audio.0.codec": "pcm_s24le", "timecode": "10:00:00:00"}),
    film("dnxhr.mov", "bunny", "DNxHR SQ in QuickTime",
         ("-c:v", "dnxhd", "-profile:v", "dnxhr_sq", "-pix_fmt", "yuv422p", *_PCM),
         {"wrapper": "mov", "video.codec": "dnxhd", "video.profile": "DNXHR SQ", "video.chroma": "4:2:2"}),
    film("xdcam.mxf", "bunny_hd", "MPEG-2 4:2:2 long GOP, interlaced, as XDCAM HD 422 has it",
         ("-vf", f"scale=1920:1080,{_TFF}", "-c:v", "mpeg2video", "-pix_fmt", "yuv422p", "-b:v", "30M", "-g", "12", "-bf", "2",
          *_WOVEN, "-c:a", "pcm_s24le", "-ac", "2", "-timecode", "01:00:00:00", "-t", "2"),
         {"wrapper": "mxf", "video.codec": "mpeg2video", "video.profile": "4:2:2", "video.chroma": "4:2:2",
          "video.scan": "tff", "video.coded_width": 1920, "video.coded_height": 1080, "timecode": "01:00:00:00",
          "duration": 2.0}, frames=50),
    film("imx.mxf", "carphone", "MPEG-2 intra in MXF, drop-frame timecode",
         ("-vf", "scale=720:480,setsar=8/9", "-c:v", "mpeg2video", "-b:v", "8M", "-g", "1", "-c:a", "pcm_s16le", "-ac", "2",
          "-timecode", "01:00:00;02"),
         {"wrapper": "mxf", "video.codec": "mpeg2video", "video.coded_width": 720, "video.coded_height": 480,
          "video.sample_aspect": "8:9", "timecode": "01:00:00;02"}),
    film("intra.mov", "bikes", "H.264 High 4:2:2 10 bit, intra only",
         (*_X264[:-2], "-pix_fmt", "yuv422p10le", "-g", "1", "-crf", "28", *_PCM),
         {"wrapper": "mov", "video.codec": "h264", "video.bit_depth": 10, "video.chroma": "4:2:2",
          "video.gop_seconds": 0.04}, without=("video.profile",)),
    film("uncompressed.mov", "carphone", "uncompressed 4:2:2 10 bit (v210), one second",
         ("-c:v", "v210", *_PCM, "-frames:v", "30", "-t", "1.001"),
         {"wrapper": "mov", "video.codec": "v210", "video.bit_depth": 10, "video.chroma": "4:2:2", "duration": 1.001},
         frames=30),
    film("cineform.mov", "bikes", "CineForm", ("-c:v", "cfhd", "-quality", "medium", "-pix_fmt", "yuv422p10le", *_PCM),
         {"wrapper": "mov", "video.codec": "cfhd", "video.bit_depth": 10, "video.chroma": "4:2:2"}),
    film("jpeg2000.mxf", "carphone", "JPEG 2000 in MXF", ("-c:v", "libopenjpeg", "-pix_fmt", "yuv422p10le",
          "-compression_level", "12", "-c:a", "pcm_s24le", "-ac", "2", "-frames:v", "30", "-t", "1.001"),
         {"wrapper": "mxf", "video.codec": "jpeg2000", "video.bit_depth": 10, "video.chroma": "4:2:2", "duration": 1.001,
          "timecode": "00:00:00:00"}, frames=30),
    film("tape.dv", "bunny", "DV, PAL, bottom field first",
         ("-vf", f"scale=720:576,setsar=64/45,{_BFF}", "-c:v", "dvvideo", "-pix_fmt", "yuv420p", *_WOVEN, *_PCM),
         {"wrapper": "dv", "video.codec": "dvvideo", "video.scan": "bff", "video.coded_width": 720,
          "video.coded_height": 576, "video.sample_aspect": "64:45", "audio.0.codec": "pcm_s16le", "timecode": "00:00:00:00"}),
    film("ffv1.mkv", "bikes", "FFV1 4:2:2 10 bit and FLAC",
         ("-c:v", "ffv1", "-pix_fmt", "yuv422p10le", "-c:a", "flac", "-ac", "2"),
         {"wrapper": "mkv", "video.codec": "ffv1", "video.bit_depth": 10, "video.chroma": "4:2:2", "audio.0.codec": "flac",
          "audio.0.bit_depth": 16}),
)  # fmt: skip

_BROADCAST = (
    film("interlaced.ts", "bunny", "H.264, top field first, 50 fields",
         ("-vf", _TFF, *_X264, *_WOVEN, "-x264-params", "tff=1", *_MP2),
         {"wrapper": "ts", "video.codec": "h264", "video.scan": "tff", "audio.0.codec": "mp2"}),
    film("moving_fields.mts", "fields", "AVCHD: H.264 whose fields are of different moments, AC-3 5.1, M2TS packets",
         ("-vf", "interlace=scan=tff,setfield=tff", *_X264, *_WOVEN, "-x264-params", "tff=1", "-c:a", "ac3", "-b:a", "384k",
          "-mpegts_m2ts_mode", "1", "-f", "mpegts"),
         {"wrapper": "ts", "video.codec": "h264", "video.scan": "tff", "audio.0.codec": "ac3", "audio.0.channels": 6,
          "audio.0.layout": "5.1(side)"}, rate=Fraction(25), frames=100, marked=False),
    film("broadcast.ts", "bunny", "MPEG-2 with two languages, clock from 10 h on",
         ("-c:v", "mpeg2video", "-b:v", "3M", "-g", "12", "-bf", "2", "-map", "0:v", "-map", "0:a", "-map", "0:a", *_MP2,
          "-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=fra", "-output_ts_offset", "36000"),
         {"wrapper": "ts", "video.codec": "mpeg2video", "audio.0.language": "eng", "audio.1.language": "fra"}, sounds=2),
    film("hevc.m2ts", "bikes", "HEVC and E-AC-3 5.1", (*_X265, "log-level=error", "-c:a", "eac3", "-b:a", "384k"),
         {"wrapper": "ts", "video.codec": "hevc", "audio.0.codec": "eac3", "audio.0.channels": 6,
          "audio.0.layout": "5.1(side)"}),
    film("anamorphic.mpg", "bunny", "MPEG-2 program stream, 720×576 shown as 16:9",
         ("-vf", "scale=720:576,setsar=64/45", "-c:v", "mpeg2video", "-b:v", "4M", *_MP2),
         {"wrapper": "mpg", "video.codec": "mpeg2video", "video.coded_width": 720, "video.coded_height": 576,
          "video.sample_aspect": "64:45", "video.width": 1024, "video.display_aspect": "16:9", "audio.0.codec": "mp2"}),
    film("bottom.mkv", "bikes", "MPEG-2, bottom field first", ("-vf", _BFF, "-c:v", "mpeg2video", "-b:v", "3M", *_WOVEN, *_MP2),
         {"wrapper": "mkv", "video.codec": "mpeg2video", "video.scan": "bff"}),
    film("vcd.mpg", "carphone", "MPEG-1", ("-c:v", "mpeg1video", "-b:v", "1.2M", *_MP2),
         {"wrapper": "mpg", "video.codec": "mpeg1video"}, without=("video.sample_aspect",)),
    film("raw.h264", "bikes", "H.264 without a container", (*_X264, "-an"),
         {"wrapper": "h264", "video.codec": "h264"}, sounds=0, without=("duration",)),
)  # fmt: skip

_OPEN = (
    film("languages.mkv", "bunny", "three languages with titles, 5.1",
         (*_X264, "-map", "0:v", "-map", "0:a", "-map", "0:a", "-map", "0:a", "-c:a:0", "ac3", "-c:a:1", "libvorbis", "-ac:a:1",
          "2", "-c:a:2", "libopus", "-ac:a:2", "1", "-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=deu",
          "-metadata:s:a:1", "title=Regiekommentar", "-metadata:s:a:2", "language=jpn"),
         {"wrapper": "mkv", "video.codec": "h264", "audio.0.codec": "ac3", "audio.0.layout": "5.1(side)", "audio.0.channels": 6,
          "audio.0.language": "eng", "audio.1.language": "deu", "audio.1.title": "Regiekommentar", "audio.1.codec": "vorbis",
          "audio.2.language": "jpn", "audio.2.channels": 1, "audio.2.codec": "opus"}, sounds=3),
    film("ntsc.mkv", "carphone", "HEVC, 30000/1001, oblong pixels", (*_X265, "log-level=error", "-c:a", "flac", "-ac", "2"),
         {"wrapper": "mkv", "video.codec": "hevc", "audio.0.codec": "flac"}),
    film("vp8.webm", "bikes", "VP8 and Vorbis", ("-c:v", "libvpx", "-b:v", "1M", "-deadline", "realtime", "-cpu-used", "8",
          "-c:a", "libvorbis", "-ac", "2"), {"wrapper": "webm", "video.codec": "vp8", "audio.0.codec": "vorbis"}),
    film("vp9.webm", "bunny", "VP9 and Opus", ("-c:v", "libvpx-vp9", "-b:v", "1M", "-deadline", "realtime", "-cpu-used", "8",
          *_OPUS), {"wrapper": "webm", "video.codec": "vp9", "video.profile": "Profile 0", "audio.0.codec": "opus"}),
    film("odd.webm", "bikes", "VP9 with odd width and height, 4:2:0",
         ("-vf", "crop=321:181:80:40:exact=1", "-c:v", "libvpx-vp9", "-b:v", "600k", "-deadline", "realtime", "-cpu-used", "8",
          *_OPUS), {"wrapper": "webm", "video.codec": "vp9", "video.coded_width": 321, "video.coded_height": 181}, marked=False),
    film("vp9_hdr.webm", "bunny", "VP9 profile 2, PQ without mastering metadata",
         ("-vf", _PQ, "-c:v", "libvpx-vp9", "-b:v", "1M", "-deadline", "realtime", "-cpu-used", "8", *_OPUS),
         {"wrapper": "webm", "video.codec": "vp9", "video.profile": "Profile 2", "video.hdr": "pq",
          "video.transfer": "smpte2084", **_2020}),
    film("av1.webm", "bikes", "AV1 and Opus", ("-c:v", "libsvtav1", "-preset", "10", "-crf", "35", *_OPUS),
         {"wrapper": "webm", "video.codec": "av1", "audio.0.codec": "opus"}),
    film("theora.ogv", "bikes", "Theora and Vorbis", ("-c:v", "libtheora", "-b:v", "1M", "-c:a", "libvorbis", "-ac", "2"),
         {"wrapper": "ogg", "video.codec": "theora", "audio.0.codec": "vorbis"}),
    film("fast.mkv", "bunny", "120 frames a second", ("-vf", "fps=120", *_X264, *_OPUS, "-t", "2"),
         {"wrapper": "mkv", "video.codec": "h264", "duration": 2.0}, rate=Fraction(120), frames=240, marked=False),
    film("cinema.mkv", "map", "24000/1001", ("-vf", "fps=24000/1001", *_X264, *_OPUS),
         {"wrapper": "mkv", "video.codec": "h264"}, rate=Fraction(24000, 1001), frames=96, marked=False),
)  # fmt: skip

_OLD = (
    film("xvid.avi", "bikes", "MPEG-4 ASP and MP3",
         ("-c:v", "mpeg4", "-vtag", "XVID", "-profile:v", "15", "-bf", "2", "-b:v", "1M",
          "-c:a", "libmp3lame", "-ac", "2"), {"wrapper": "avi", "video.codec": "mpeg4", "audio.0.codec": "mp3"}),
    film("mjpeg.avi", "carphone", "Motion JPEG, full range 4:2:2", ("-c:v", "mjpeg", "-q:v", "4", "-pix_fmt", "yuvj422p", *_PCM),
         {"wrapper": "avi", "video.codec": "mjpeg", "video.chroma": "4:2:2", "video.range": "pc",
          "audio.0.codec": "pcm_s16le"}),
    film("windows.wmv", "bikes", "WMV 8 and WMA", ("-c:v", "wmv2", "-b:v", "1M", "-c:a", "wmav2", "-ac", "2"),
         {"wrapper": "asf", "video.codec": "wmv2", "audio.0.codec": "wmav2"}),
    film("old.asf", "carphone", "MS MPEG-4 v3", ("-c:v", "msmpeg4", "-b:v", "600k", "-c:a", "wmav2", "-ac", "2"),
         {"wrapper": "asf", "video.codec": "msmpeg4v3"}),
    film("flash.flv", "bikes", "H.264 in FLV", (*_X264, *_AAC), {"wrapper": "flv", "video.codec": "h264"}),
    film("sorenson.flv", "bunny", "Sorenson Spark and MP3", ("-c:v", "flv", "-b:v", "1M", "-c:a", "libmp3lame", "-ar", "44100",
          "-ac", "2"), {"wrapper": "flv", "video.codec": "flv1", "audio.0.codec": "mp3", "audio.0.sample_rate": 44100}),
)  # fmt: skip

_LYING = (
    film("lies.avi", "bikes", "an MP4 by the name of an AVI", (*_X264, *_AAC, "-f", "mp4"),
         {"wrapper": "mp4", "video.codec": "h264"}),
    film("lies.jpg", "carphone", "a Matroska film by the name of a picture", (*_X264, *_AAC, "-f", "matroska"),
         {"wrapper": "mkv", "video.codec": "h264"}),
    film("lies.mp3", "bikes", "a transport stream by the name of a song", (*_X264, *_MP2, "-f", "mpegts"),
         {"wrapper": "ts", "video.codec": "h264"}),
)  # fmt: skip

FILMS: tuple[Clip, ...] = (*_ISO, *_STUDIO, *_BROADCAST, *_OPEN, *_OLD, *_LYING)
