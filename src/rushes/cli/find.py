"""What a person's ID stands for: commands take the id of an upload or of its asset alike."""

from __future__ import annotations

from uuid import UUID

from rushes.client import Client
from rushes.errors import NotFound
from rushes.model import OverallStatus
from rushes.wire import StatusView, UploadView


def status_of(client: Client, id_: UUID) -> StatusView:
    """Raises `NotFound`."""
    try:
        return client.uploads.status(id_)
    except NotFound:
        pass
    try:
        return client.assets.status(id_)
    except NotFound:
        raise NotFound("not_found", f"There is no such upload or asset: {id_}. `rushes ls` shows yours.") from None


def asset_id_of(client: Client, id_: UUID) -> UUID:
    """Raises `NotFound`."""
    return status_of(client, id_).asset_id


def upload_of(client: Client, id_: UUID) -> UploadView:
    """The upload, or that of the asset. Raises `NotFound`, also for what was deleted."""
    try:
        found = client.uploads.get(id_)
    except NotFound:
        found = client.uploads.get(client.assets.get(id_).upload_id)
    if found.status == OverallStatus.DELETED:
        raise NotFound("asset_deleted", f"{found.filename} ({id_}) was deleted already.")
    return found
