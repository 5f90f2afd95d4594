"""Uses Pillow once in every way the tasks do, so that everything it imports late is loaded.

Only for a root worker whose machine denies namespaces: its tasks become nobody, who may not be able to read the
libraries any more.
"""

from __future__ import annotations

import io
from typing import Any

from PIL import Image, ImageCms

from rushes.media.formats import PICTURES
from rushes.media.inside import imagefacts, picture, raw, rendering

USED = (raw.Raw,)  # imported when the first camera raw file comes


def warm() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    for mode in ("RGB", "RGBA", "P", "L"):
        for name in PICTURES:
            sample: Any = io.BytesIO()
            try:
                Image.new(mode, (32, 16)).save(sample, name, exif=exif, icc_profile=profile)
            except OSError:
                continue  # this format has no such mode
            opened = picture.opened_picture(sample, 1 << 20)
            if opened is not None:
                imagefacts.identify(opened, sample)
                shown = rendering.render(opened, 16, 1 << 20)
                rendering.flat(shown).save(io.BytesIO(), "JPEG", optimize=True, progressive=True)
