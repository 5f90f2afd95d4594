"""`rushes token`: a signed token for a person or a program."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated
from uuid import UUID

import typer

from rushes.cli.local import LOCAL_PLAN, LOCAL_TENANT, mint, person, read_settings, with_secret
from rushes.cli.options import DataDir, an_id
from rushes.errors import Invalid
from rushes.model import Principal, Role
from rushes.plan import QUOTA_PLANS


def token(
    creator: Annotated[str | None, typer.Option(help="Whose it is.", show_default="you")] = None,
    tenant: Annotated[str, typer.Option(help="The tenant they belong to.")] = LOCAL_TENANT,
    role: Annotated[Role, typer.Option(help="What they may see and do.")] = Role.CREATOR,
    plan: Annotated[str, typer.Option(help=f"Their quota plan: {', '.join(QUOTA_PLANS)}.")] = LOCAL_PLAN,
    title: Annotated[UUID | None, typer.Option(parser=an_id, metavar="ID", help="For this title alone.")] = None,
    days: Annotated[float, typer.Option(min=0.0001, max=36_500, help="How long it is good.")] = 30,
    data_dir: DataDir = None,
) -> None:
    """Print a signed token.

    It is signed with RUSHES_TOKEN_SECRET or with the local stack's secret.

    \b
    Examples:
      rushes token
      rushes token --creator ann --tenant acme --plan pro --days 90
    """
    if plan not in QUOTA_PLANS:
        raise Invalid("plan_unknown", f"There is no plan {plan!r}; there are {', '.join(QUOTA_PLANS)}.")
    settings = with_secret(read_settings(data_dir=data_dir))
    who = Principal(tenant, creator or person(), role, plan, title=title)
    print(mint(settings, who, timedelta(days=days)))
