"""What one job may use. Data: an operator or a tenant's plan may set other numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Limits:
    """Bounds of one job, and of every tool it starts.

    Long media may use more time and space: the `_per_second` fields, per second of media.
    """

    max_pixels: int = 134_217_728  # of one frame or picture; 16,384 by 8,192
    max_streams: int = 128
    max_seconds: float = 172_800.0  # of media
    memory: int = 4 * 1024**3  # bytes of address space
    cpu_seconds: float = 300.0
    wall_seconds: float = 600.0
    output_bytes: int = 512 * 1024**2  # of one file
    cpu_per_second: float = 60.0
    wall_per_second: float = 60.0
    bytes_per_second: int = 4_000_000

    def scaled(self, seconds: float) -> Limits:
        """The same limits for a tool that works through `seconds` of media."""
        return replace(
            self,
            cpu_seconds=self.cpu_seconds + seconds * self.cpu_per_second,
            wall_seconds=self.wall_seconds + seconds * self.wall_per_second,
            output_bytes=self.output_bytes + int(seconds * self.bytes_per_second),
        )
