"""Whose limits apply: the profile named in the settings, or the one that the endpoint's name tells."""

from __future__ import annotations

from typing import Final

from rushes.config import Settings
from rushes.plan import GENERIC, PROFILES, Profile

# Hosted stores answer under names of their own; software that anyone runs under any name is told by the setting.
_DOMAINS: Final = {
    "amazonaws.com": "aws",
    "amazonaws.com.cn": "aws",
    "r2.cloudflarestorage.com": "r2",
    "storjshare.io": "storj",
    "scw.cloud": "scaleway",
}


def profile_of(settings: Settings, host: str) -> Profile:
    """`host` is the endpoint's, with or without a port."""
    if settings.storage_profile != "auto":
        return PROFILES[settings.storage_profile]
    name = f".{host.partition(':')[0].lower()}"
    return next((PROFILES[profile] for domain, profile in _DOMAINS.items() if name.endswith(f".{domain}")), GENERIC)
