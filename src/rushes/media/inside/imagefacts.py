"""What there is to know of a still picture beside its size: depth, profile, EXIF, IPTC, XMP; camera, time and place.

All of it is users' text: bounded in number and length, cleaned, and flat. XMP is read by expat without document types, so
that no entity is ever expanded.
"""

from __future__ import annotations

import io
from typing import Any, cast
from xml.parsers import expat

from PIL import ExifTags, Image, ImageCms, IptcImagePlugin

from rushes.media.inside import rawkind, tags
from rushes.media.inside.picture import ALPHA, BROKEN, Opened
from rushes.media.inside.reader import Reader

_FIELDS = 200  # of each kind
_LIST = 32  # values of one field
_XMP_BYTES = 256 * 1024
_DEEPEST = 32  # elements in one another
_MODE_BITS = {"1": 1, "I;16": 16, "I;16B": 16, "I;16L": 16, "I;16N": 16, "I": 32, "F": 32}
_EXIF_TEXT = ("Make", "Model", "Software", "DateTime", "Artist", "Copyright", "ImageDescription")
_HEAD = 16 * 1024  # bytes
_PLAIN = {"rdf:Description", "rdf:RDF", "x:xmpmeta", "rdf:Bag", "rdf:Seq", "rdf:Alt", "rdf:li"}
_IPTC = {
    (2, 5): "ObjectName", (2, 15): "Category", (2, 25): "Keywords", (2, 40): "SpecialInstructions", (2, 55): "DateCreated",
    (2, 60): "TimeCreated", (2, 80): "By-line", (2, 85): "By-lineTitle", (2, 90): "City", (2, 92): "Sub-location",
    (2, 95): "Province-State", (2, 101): "Country-PrimaryLocationName", (2, 103): "OriginalTransmissionReference",
    (2, 105): "Headline", (2, 110): "Credit", (2, 115): "Source", (2, 116): "CopyrightNotice", (2, 118): "Contact",
    (2, 120): "Caption-Abstract", (2, 122): "Writer-Editor",
}  # fmt: skip


def identify(opened: Opened, reader: Reader) -> dict[str, Any]:
    """The part of `MediaInfo` that is a picture's, as JSON values."""
    picture = opened.image
    width, height = opened.size
    image = {
        "width": width,
        "height": height,
        "mode": "RGB" if picture is None else picture.mode,
        "has_alpha": picture is not None and (picture.mode in ALPHA or "transparency" in picture.info),
        "orientation": opened.orientation,
        "frames": int(getattr(picture, "n_frames", 1)),
    }
    told = _describe(opened, reader)
    exif = told["image"]["exif"]
    named = {name: exif[name] for name in _EXIF_TEXT if isinstance(exif.get(name), str)}
    return {**told, "format": opened.format, "wrapper": opened.format, "image": image | told["image"], "tags": named}


def _describe(opened: Opened, reader: Reader) -> dict[str, Any]:
    """The fields of `ImageInfo` that are not its size, and beside them `created`, `camera` and `place`."""
    exif, where = _exif(opened.exif())
    info = {} if opened.image is None else dict(opened.image.info)
    told = xmp(info.get("xmp") or info.get("XML:com.adobe.xmp"))
    fields = {
        "bit_depth": _bit_depth(opened, reader, exif),
        "icc": _profile(info.get("icc_profile")),
        "exif": exif,
        "iptc": _iptc(opened.image),
        "xmp": told,
    }
    return {"image": fields, "created": _created(exif, told), "camera": _camera(exif, told), "place": where}


def _exif(found: Image.Exif) -> tuple[dict[str, Any], dict[str, float | None] | None]:
    """Main, Exif and GPS directories as one table, and the place they tell."""
    try:
        main, inner = dict(found), dict(found.get_ifd(ExifTags.IFD.Exif))
        gps = dict(found.get_ifd(ExifTags.IFD.GPSInfo))
    except BROKEN:
        return {}, None
    table: dict[str, Any] = {}
    named = [(ExifTags.TAGS, main), (ExifTags.TAGS, inner), (ExifTags.GPSTAGS, gps)]
    for names, values in named:
        for tag, value in values.items():
            plain = _plain(value)
            if tag in names and plain is not None and len(table) < _FIELDS:
                table.setdefault(names[tag], plain)
    where = _place(gps)
    if where is not None:
        table |= {"GPSLatitude": where["latitude"], "GPSLongitude": where["longitude"]}
        table |= {} if where["altitude"] is None else {"GPSAltitude": where["altitude"]}
    return table, where


def _plain(value: Any) -> Any:
    """A value as JSON has it; None for what is none, such as a maker's note."""
    match value:
        case bool() | int():
            return value if abs(value) < 2**53 else None
        case str():
            return tags.text(value) or None
        case bytes():
            text = value.removeprefix(b"ASCII\0\0\0").rstrip(b"\0 ")
            return tags.text(text.decode("ascii")) or None if len(text) < 200 and text.isascii() else None
        case tuple() | list():
            values = [_plain(one) for one in value[:_LIST]]
            return values if values and all(isinstance(one, int | float | str) for one in values) else None
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return round(number, 8) if abs(number) < 1e15 else None  # neither infinite nor not a number


def _place(gps: dict[int, Any]) -> dict[str, float | None] | None:
    """Degrees from degrees, minutes and seconds (EXIF 2.32, GPSLatitude and the next)."""
    points = {}
    for name, tag, most, negative in (("latitude", 2, 90, "S"), ("longitude", 4, 180, "W")):
        try:
            degrees, minutes, seconds = (float(part) for part in gps[tag])
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            return None
        value = degrees + minutes / 60 + seconds / 3600
        if not 0 <= value <= most:
            return None
        points[name] = round(-value if str(gps.get(tag - 1, "")).upper().startswith(negative) else value, 7)
    height = _plain(gps.get(6))
    below = gps.get(5) in {1, b"\x01"}
    altitude = float(-height if below else height) if isinstance(height, int | float) else None
    return {**points, "altitude": altitude}


def _created(exif: dict[str, Any], told: dict[str, Any]) -> str | None:
    for stamp, zone in (("DateTimeOriginal", "OffsetTimeOriginal"), ("DateTime", "OffsetTime")):
        if moment := tags.stamp(str(exif.get(stamp, "")), str(exif.get(zone, ""))):
            return moment
    return tags.stamp(str(told.get("xmp:CreateDate", "")))


def _camera(exif: dict[str, Any], told: dict[str, Any]) -> dict[str, str] | None:
    names = {
        "make": "Make",
        "model": "Model",
        "lens": "LensModel",
        "serial": "BodySerialNumber",
        "software": "Software",
    }
    found = {key: str(exif[name]) for key, name in names.items() if name in exif}
    if isinstance(reel := told.get("xmpDM:tapeName"), str):
        found["reel"] = reel
    return found or None


def _profile(data: Any) -> str | None:
    """The name that an ICC profile gives itself; "" where it gives none or is broken."""
    if not isinstance(data, bytes) or not data:
        return None
    try:
        return tags.text(ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(data))), 200)
    except (ImageCms.PyCMSError, *BROKEN):
        return ""


def _bit_depth(opened: Opened, reader: Reader, exif: dict[str, Any]) -> int | None:
    """Of a channel as the file has it: Pillow decodes some deep pictures to 8 bits."""
    reader.seek(0)
    head = reader.read(_HEAD)
    if opened.format == "png":
        return head[24]  # IHDR's (PNG §11.2.2)
    if opened.format == "avif":
        place = head.find(b"pixi")
        return head[place + 9] if 0 < place < len(head) - 9 else 8
    if opened.image is None:
        return rawkind.bit_depth(reader)  # EXIF has the thumbnail's
    told = exif.get("BitsPerSample")
    if opened.format == "tiff":
        values = told if isinstance(told, list) else [told]
        deepest = max((one for one in values if isinstance(one, int)), default=None)
        if deepest is not None:
            return deepest
    deep = opened.image.info.get("bit_depth")  # HEIF's
    return deep if isinstance(deep, int) else _MODE_BITS.get(opened.image.mode, 8)


def _iptc(picture: Image.Image | None) -> dict[str, Any]:
    if picture is None:
        return {}
    try:
        found = IptcImagePlugin.getiptcinfo(cast("Any", picture)) or {}
    except BROKEN:
        return {}
    named = {name: _texts(found[key]) for key, name in _IPTC.items() if key in found}
    return {name: value for name, value in named.items() if value}


def _texts(value: Any) -> Any:
    if isinstance(value, list):
        return [text for text in (_texts(one) for one in value[:_LIST]) if text]
    return tags.text(value.decode("utf-8", "replace")) if isinstance(value, bytes) else None


class _Xmp:
    """Collects fields as expat reads: attributes and leaves below `rdf:Description`; items of bags and lists together."""

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self._path: list[str] = []
        self._text = ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._path) >= _DEEPEST:
            raise ValueError("too deep")
        self._path.append(name)
        self._text = ""
        for key, value in attributes.items():
            if ":" in key and not key.startswith(("xmlns", "rdf:", "xml:", "x:")):
                self._keep(key, value, one_of_many=False)

    def data(self, text: str) -> None:
        if len(self._text) < tags.LONGEST:
            self._text += text

    def end(self, name: str) -> None:
        self._path.pop()
        owner = name if name not in _PLAIN else next((one for one in reversed(self._path) if one not in _PLAIN), None)
        if owner is not None and self._text.strip():
            self._keep(owner, self._text, one_of_many=name == "rdf:li")
        self._text = ""

    def refuse(self, *_: Any) -> None:
        raise ValueError("a document type")

    def _keep(self, key: str, value: str, *, one_of_many: bool) -> None:
        text, key = tags.text(value), tags.text(key, 100)
        if not text or (key not in self.fields and len(self.fields) >= _FIELDS):
            return
        if not one_of_many:
            self.fields.setdefault(key, text)
            return
        many = self.fields.setdefault(key, [])
        if isinstance(many, list) and len(many) < _LIST:
            many.append(text)


def xmp(packet: Any) -> dict[str, Any]:
    """The fields of an XMP packet, flat; what was read until it turned out broken."""
    data = packet.encode() if isinstance(packet, str) else packet
    if not isinstance(data, bytes) or not data or len(data) > _XMP_BYTES:
        return {}
    found, parser = _Xmp(), expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = found.start, found.end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = found.data, found.refuse
    try:
        parser.Parse(data.strip(b"\0 \r\n\t"), True)
    except (expat.ExpatError, ValueError):
        return found.fields
    return found.fields
