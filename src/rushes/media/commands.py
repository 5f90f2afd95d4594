"""The ffmpeg command that encodes one span of a source into every picture of a plan. Pure.

One decode feeds all rungs, each scaled from the one above (1080 → 720 → 360, bicubic): 60 CPU seconds for 30 s of 1080p
against 103 with one process a rendition, at the same VMAF.
"""

from __future__ import annotations

from collections.abc import Sequence

from rushes.media.formats import forced
from rushes.media.info import MediaInfo, VideoInfo
from rushes.media.ladder import GOP_SECONDS, MAX_FPS, Encoder, Target, rung_of
from rushes.media.limits import Limits
from rushes.media.plan import VideoPlan, encoder_of, zero_of
from rushes.media.spans import Span

TICKS = 90000  # a second of every encoded picture
# One file, one track, fragments that begin with key frames, times on the source's line. That frames are stored before they
# are shown is told by an edit list: FFmpeg reads offsets below zero, which would do as well, as a late picture.
MOVFLAGS = "+delay_moov+default_base_moof+frag_keyframe+frag_discont+skip_trailer+skip_sidx"
_EARLY = 0.005  # seconds: a key frame is asked for a little before the frame that is meant
_BROKEN = {"mpegts", "mpeg"}  # containers whose clock may jump; ffmpeg mends it when it counts from 0 itself
# zimg's bicubic as swscale has it: the same VMAF at half the CPU. It refuses what it does not know, so only this is given to it.
_ZIMG = "zscale={width}:{height}:filter=bicubic:param_a=0:param_b=0.6"
_SWSCALE = "scale={width}:{height}:flags=bicubic"
_MATRICES = {None: "unknown", "bt709": "bt709", "smpte170m": "smpte170m", "bt470bg": "bt470bg"}
# What one thread decodes far faster than its pictures can be encoded; more threads cost a quarter more.
_LIGHT_PIXELS, _LIGHT_BITS = 1920 * 1080 * 31, 20_000_000  # a second


def filter_graph(video: VideoInfo, targets: Sequence[Target], span: Span, encoder: Encoder) -> str:
    """A cascade from the first decode down to the last rung; outputs are labelled [v0], [v1] …"""
    steps = [f"[0:{video.index}]", *(f"{step}," for step in before_scaling(video, span))]
    plain = _is_plain(video)
    if plain:  # frames that say otherwise in mid-stream would end zimg
        steps.append(f"setparams=field_mode=prog:colorspace={_MATRICES[video.matrix]},")
    for number, target in enumerate(targets):
        own = (target.width, target.height) == (video.coded_width, video.coded_height)
        scaler = _ZIMG if plain and not own else _SWSCALE
        steps.append(scaler.format(width=target.width, height=target.height))
        if number == 0:
            steps.append((tone_map(video) if video.hdr else "") + ",setsar=1,format=yuv420p")
        last = target is targets[-1]
        steps.append(f"{encoder.frames}[v{number}]" if last else f",split=2[s{number}][t{number}];")
        if not last:
            steps.append(f"[t{number}]null{encoder.frames}[v{number}];[s{number}]")
    return "".join(steps)


def _is_plain(video: VideoInfo) -> bool:
    """Whether it is what nearly all films are, 8-bit 4:2:0 by full frames."""
    return (
        video.pixel_format == "yuv420p"
        and video.scan == "progressive"
        and video.hdr is None
        and video.matrix in _MATRICES
        and video.coded_width % 2 == video.coded_height % 2 == 0
    )


def before_scaling(video: VideoInfo, span: Span) -> list[str]:
    """Filters on the source's own frames: deinterlaced, cut to the span, not too many a second."""
    steps = []
    if video.scan in {"tff", "bff"}:
        steps.append(f"bwdif=mode=send_frame:parity={video.scan}:deint=all")
    bounds = [f"start={span.start:.6f}"] if span.number else []
    bounds += [] if span.end is None else [f"end={span.end:.6f}"]
    if bounds:
        steps.append("trim=" + ":".join(bounds))
    if not span.number:  # a picture that begins after the sound is shown from the beginning
        steps.append(r"setpts=if(eq(N\,0)\,0\,PTS)")
    if video.fps and video.fps > MAX_FPS + 0.5:
        steps.append(f"fps={MAX_FPS}:start_time={span.start:.6f}")
    return steps


def tone_map(video: VideoInfo) -> str:
    """From absolute light to SDR: 203 cd/m² (ITU-R BT.2408's white) is 1, and 1,000 cd/m² the brightest.

    Mobius leaves what is darker than 30 % of white as it is, and white at 84 %: hable, most people's choice, puts it at
    60 %.
    """
    transfer = "arib-std-b67" if video.hdr == "hlg" else "smpte2084"
    return (
        f",zscale=transferin={transfer}:primariesin=bt2020:matrixin=bt2020nc:transfer=linear:npl=203"
        ",format=gbrpf32le,zscale=primaries=bt709,tonemap=mobius:peak=4.93:desat=0"
        ",zscale=transfer=bt709:matrix=bt709:primaries=bt709:range=tv"
    )


def encode_arguments(info: MediaInfo, plan: VideoPlan, span: Span, url: str, limits: Limits, lead: float) -> list[str]:
    """ffmpeg's arguments, without its name, that write a piece of every picture in the current directory.

    `lead`: seconds before the span from which is read, so that its first frame's key frame is met. ValueError without a
    moving picture.
    """
    if info.video is None:
        raise ValueError("only a moving picture has renditions of video")
    demuxer, encoder = forced(info.format), encoder_of(plan)
    arguments = [
        "-nostdin", "-hide_banner", "-y", "-loglevel", "level+warning", "-nostats",
        "-progress", "pipe:1", "-stats_period", "0.5",
        *(word.format(device=plan.device) for word in encoder.before),
    ]  # fmt: skip
    if plan.threads:
        arguments += ["-filter_complex_threads", str(plan.threads), "-threads", str(plan.threads)]
    elif _is_light(info, info.video):
        arguments += ["-threads", "1"]
    if len(plan.spans) > 1 or demuxer not in _BROKEN:
        arguments += ["-copyts", "-itsoffset", f"{-zero_of(info):.6f}"]
    elif late := _later(info):
        arguments += ["-itsoffset", f"{late:.6f}"]
    if span.number and span.start > lead:
        arguments += ["-ss", f"{span.start - lead:.6f}", "-noaccurate_seek"]
    if plan.skip_loop_filter:
        arguments += ["-skip_loop_filter", "all"]
    arguments += ["-protocol_whitelist", "http,tcp", "-format_whitelist", demuxer, "-f", demuxer]
    arguments += ["-max_pixels", str(limits.max_pixels), "-max_streams", str(max(1000, limits.max_streams))]
    arguments += ["-multiple_requests", "1", "-i", url]
    arguments += ["-filter_complex", filter_graph(info.video, plan.targets, span, encoder)]
    for number, target in enumerate(plan.targets):
        arguments += _output(info.video, number, target, span, encoder, plan.threads)
    return arguments


def _later(info: MediaInfo) -> float:
    """Seconds from the file's first sound to its first frame. Where ffmpeg counts from 0 itself it counts from the first of
    the streams it reads, and it reads the picture only: a broadcast's begins up to a GOP after the sound.
    """
    start = info.video.start if info.video is not None else None
    late = start - zero_of(info) if start is not None else 0.0
    return late if 0 < late < info.seconds else 0.0


def _is_light(info: MediaInfo, video: VideoInfo) -> bool:
    pixels = video.coded_width * video.coded_height * (video.fps or MAX_FPS)
    bits = video.bit_rate or info.bit_rate or 0
    return video.codec == "h264" and pixels <= _LIGHT_PIXELS and 0 < bits <= _LIGHT_BITS


def encoder_options(video: VideoInfo, target: Target, span: Span, encoder: Encoder, threads: int) -> dict[str, str]:
    """By FFmpeg's names. Pieces of a varying rate do without B-frames: how long before it is shown a frame is decoded follows
    from the rate at a piece's beginning, so that one could begin to be decoded before the end of the piece before.
    """
    options = encoder.for_rung(rung_of(target), video.fps or 30.0, threads)
    is_piece = span.number > 0 or span.end is not None
    return options | ({"bf": "0"} if video.vfr and is_piece else {})


def _output(video: VideoInfo, number: int, target: Target, span: Span, encoder: Encoder, threads: int) -> list[str]:
    arguments = ["-map", f"[v{number}]", "-fps_mode", "vfr", "-enc_time_base:v", f"1:{TICKS}", "-c:v", encoder.codec]
    for option, value in encoder_options(video, target, span, encoder, threads).items():
        arguments += [f"-{option}:v", value]
    arguments += ["-force_key_frames:v", forced_keys(span)]
    if video.hdr:
        for option in ("color_primaries", "color_trc", "colorspace"):
            arguments += [f"-{option}:v", "bt709"]
    return [
        *arguments, "-map_metadata", "-1", "-map_chapters", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact+cgop",
        "-movflags", MOVFLAGS, "-f", "mp4", piece_file(target, span),
    ]  # fmt: skip


def forced_keys(span: Span) -> str:
    """In an expression, t counts from the first frame; moments said one by one are on the source's line."""
    if span.keys is None:
        return f"expr:gte(t+{_EARLY},n_forced*{GOP_SECONDS:g})"
    return ",".join(f"{max(0.0, key - _EARLY):.3f}" for key in span.keys)


def piece_file(target: Target, span: Span) -> str:
    return f"piece-{span.number}-{target.file}"
