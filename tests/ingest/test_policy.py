"""What a tenant takes: by name and declared type, and by what a file really is. Pure, and at begin."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest

from rushes import kinds
from rushes.errors import Invalid, Rejected
from rushes.ingest.policy import as_what, check_claim, check_kind, check_types
from rushes.model import DEFAULT_TYPES
from rushes.plan import GB
from tests.ingest.equipment import Desk, body, problem, somebody

OCTETS = "application/octet-stream"
PDF = ["video", "application/pdf"]


@pytest.mark.parametrize(
    ("filename", "declared"),
    [
        ("A001_C003.mxf", OCTETS),
        ("A001_C003.MXF", "application/mxf"),
        ("A001_C003.mkv", "video/x-matroska"),
        ("A001_C003_001.R3D", OCTETS),
        ("A001.braw", OCTETS),
        ("A001.ari", OCTETS),
        ("00001.MTS", "model/vnd.mts"),
        ("00001.ts", "text/vnd.trolltech.linguist"),
        ("clip.mov", "video/quicktime; codecs=avc1"),
        ("clip.MOV", "VIDEO/QUICKTIME"),
        ("clip.mp4", "audio/mp4"),
        ("clip.webm", "audio/webm"),
        ("voice.wav", "audio/x-wav"),
        ("voice.bwf", OCTETS),
        ("voice.aiff", OCTETS),
        ("voice.ogg", "application/ogg"),
        ("still.heic", "image/heic"),
        ("still.DNG", "image/x-adobe-dng"),
        ("still.cr3", OCTETS),
        ("still.jpg", "image/pjpeg"),
        ("no extension", "video/mp4"),
        ("take 1.2", "video/mp4"),
        ("../../etc/passwd", "video/mp4"),
        ("C:\\clips\\a.mov", OCTETS),
    ],
)
def test_media_is_taken(filename: str, declared: str) -> None:
    check_claim(DEFAULT_TYPES, filename, declared)


@pytest.mark.parametrize(
    ("filename", "declared"),
    [
        ("a.pdf", "application/pdf"),
        ("a.pdf", OCTETS),
        ("a.txt", "text/plain"),
        ("a.exe", OCTETS),
        ("a.exe", "video/mp4"),
        ("holiday.mp4.exe", "video/mp4"),
        ("a.bin", OCTETS),
        ("a.zip", OCTETS),
        ("a.tar.gz", OCTETS),
        ("a.html", "video/mp4"),
        ("a.mov", "application/pdf"),
        ("a.mov", "text/html"),
        ("a.jpg", "video/mp4"),
        ("a.wav", "video/mp4"),
        ("a", OCTETS),
        ("a.unheard-of", OCTETS),
        (".mov", OCTETS),
        ("a", "multipart/form-data"),
    ],
)
def test_other_things_are_not(filename: str, declared: str) -> None:
    with pytest.raises(Rejected) as refused:
        check_claim(DEFAULT_TYPES, filename, declared)
    assert refused.value.code == "type_not_allowed"
    assert refused.value.details["allowed"] == ["video", "audio", "image"]
    assert "video, audio, image" in refused.value.message
    check_claim(["*"], filename, declared)


def test_what_is_opted_in_is_taken_and_nothing_beside_it() -> None:
    for name, declared in (
        ("a.pdf", "application/pdf"),
        ("a.pdf", OCTETS),
        ("a", "application/pdf"),
        ("a.mov", OCTETS),
    ):
        check_claim(PDF, name, declared)
    for name, declared in (("a.zip", OCTETS), ("a.wav", OCTETS), ("a.pdf", "application/zip"), ("a.zip", PDF[1])):
        with pytest.raises(Rejected):
            check_claim(PDF, name, declared)
    check_claim(["text"], "notes.txt", "text/plain")
    check_claim(["audio"], "clip.mp4", OCTETS)  # it may be sound alone: its bytes will tell
    with pytest.raises(Rejected):
        check_claim(["audio"], "clip.mp4", "video/mp4")


def test_what_a_file_really_is_has_the_last_word() -> None:
    check_kind(DEFAULT_TYPES, "a.mov", OCTETS, "audio")
    check_kind(["*"], "a.mov", OCTETS, "audio")
    check_kind(["image/png"], "a.png", OCTETS, "image")
    for types, name, kind in (
        (["audio"], "a.mp4", "video"),
        (["image/png"], "a.jpg", "image"),
        (PDF, "a.pdf", "image"),
    ):
        with pytest.raises(Rejected) as refused:
            check_kind(types, name, OCTETS, kind)
        assert refused.value.code == "type_not_allowed"


@pytest.mark.parametrize(
    ("types", "filename", "found", "kept"),
    [
        (PDF, "a.pdf", "application/pdf", "application/pdf"),
        (PDF, "a.pdf", None, "application/pdf"),
        (PDF, "a.pdf", "application/x-executable", Rejected),
        (PDF, "a.mov", "application/pdf", "application/pdf"),
        (DEFAULT_TYPES, "a.mov", "application/pdf", Rejected),
        (DEFAULT_TYPES, "a.mov", "text/plain", Rejected),
        (DEFAULT_TYPES, "a.mov", None, None),
        (["*"], "a.mov", None, "video/quicktime"),
        (["*"], "a", None, OCTETS),
        (["*"], "a.mov", "application/zip", "application/zip"),
        (
            ["application/vnd.oasis.opendocument.text"],
            "a.odt",
            "application/zip",
            "application/vnd.oasis.opendocument.text",
        ),
        (["text/plain"], "a.txt", "text/plain", "text/plain"),
    ],
)
def test_a_file_that_is_no_media(types: list[str], filename: str, found: str | None, kept: object) -> None:
    if kept is Rejected:
        with pytest.raises(Rejected) as refused:
            as_what(types, filename, OCTETS, found)
        assert refused.value.code == "type_not_allowed"
        assert refused.value.details["found"] == found
    else:
        assert as_what(types, filename, OCTETS, found) == kept


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"%PDF-1.7 ...", "application/pdf"),
        (b"\x7fELF\x02", "application/x-executable"),
        (b"a line of text\r\n", "text/plain"),
        ("Grüße, 日本語".encode()[:-1], "text/plain"),
        (b"\x00\x01\x02", None),
        (b"text\x00", None),
        (b"", None),
    ],
)
def test_first_bytes_tell(head: bytes, found: str | None) -> None:
    assert kinds.sniffed(head) == found


def test_types_are_checked_and_ordered() -> None:
    assert check_types(["application/pdf", "IMAGE", "video", "video"]) == ["video", "image", "application/pdf"]
    for wrong in ([], ["vidio"], ["video/"], ["/mp4"], ["video/*"], [""], ["a b/c"], ["video/mp4; x"]):
        with pytest.raises(Invalid) as refused:
            check_types(wrong)
        assert refused.value.code == "type_invalid"


async def test_begin_asks_the_tenants_rule(desk: Desk) -> None:
    ann, bob = desk.person(), desk.person(somebody(creator="bob"))
    await desk.allow(bob.who, "video", "application/pdf")
    wanted = {"filename": "script.pdf", "size": 5, "content_type": "application/pdf"}
    told = problem(await ann.http.post("/v1/uploads", json=wanted), 422, "type_not_allowed")
    assert told == {"allowed": ["video", "audio", "image"], "found": "application/pdf"}
    assert await desk.quota(ann.who) == (0, 0, 0)
    assert (await bob.http.post("/v1/uploads", json=wanted)).status_code == 201
    sound = {"filename": "a.wav", "size": 5}
    assert (await ann.http.post("/v1/uploads", json=sound)).status_code == 201
    problem(await bob.http.post("/v1/uploads", json=sound), 422, "type_not_allowed")


async def test_hostile_names_are_kept_for_people_and_make_no_key(desk: Desk) -> None:
    """Nothing of a name reaches the key, whatever the name looks like; it comes back as it was."""
    ann = desk.person(somebody(creator="../ann"))
    names = [
        "../../../etc/passwd.mov",
        "..\\..\\windows\\system32\\a.mov",
        "/absolute/path.mov",
        "%2e%2e%2fa.mov",
        "a?versionId=1&x=y#z.mov",
        "'; DROP TABLE uploads; --.mov",
        "$(reboot)`id`.mov",
        "<script>alert(1)</script>.mov",
        "con.mov",
        "a" * 990 + ".mov",
        "é" * 490 + ".mov",
        "\u202egpj.mov",
        " . . .mov",
        "🎬{tenant}/{asset}.mov",
    ]
    for name in names:
        upload = await ann.begin(GB, filename=name)
        assert (await ann.upload(upload))["filename"] == name
        ((key,),) = await desk.sql("SELECT key FROM uploads WHERE id = %(id)s", id=upload["upload_id"])
        creator = key.split("/")[1]
        assert key == f"{ann.who.tenant}/{creator}/{upload['asset_id']}/original"
        assert key.isascii()
        assert ".." not in key
        grants = body(await ann.ask(upload, [(1, "AAAAAAAAAAA=")]))["grants"]
        assert unquote(urlsplit(grants[0]["url"]).path).endswith(f"/{key}")
        assert all(name not in value for value in grants[0]["headers"].values())
