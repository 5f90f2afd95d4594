"""`rushes titles`: what files belong to; list, search, show, create, edit and delete them."""

from __future__ import annotations

import json
from datetime import datetime
from itertools import islice
from typing import Annotated, Any
from uuid import UUID

import typer
from pydantic import BaseModel, ValidationError
from rich.table import Table
from rich.text import Text

from rushes.cli import exits, words
from rushes.cli.connect import connected
from rushes.cli.exits import one_line, printable
from rushes.cli.options import Json, Server, Token, Yes, an_id
from rushes.cli.rm import confirm
from rushes.cli.view import wide_console
from rushes.errors import Invalid, Problem
from rushes.wire import AssetView, NewTitle, TitlePatch, TitleView

Id = Annotated[UUID, typer.Argument(parser=an_id, metavar="ID", help="Of the title.", show_default=False)]
Description = Annotated[str | None, typer.Option(help="What it is about.", show_default=False)]
Genre = Annotated[str | None, typer.Option(help="Its genre.", show_default=False)]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="A tag; may be repeated.", show_default=False)]
Project = Annotated[str | None, typer.Option(help="The project it belongs to.", show_default=False)]
Released = Annotated[
    datetime | None,
    typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="When it is or was released.", show_default=False),
]
Metadata = Annotated[
    list[str] | None,
    typer.Option("--metadata", metavar="KEY=VALUE", help="A fact about it; may be repeated.", show_default=False),
]
OnlyTag = Annotated[str | None, typer.Option(help="Only those with this tag.", show_default=False)]
Limit = Annotated[int, typer.Option(min=1, help="The most to show.")]


def app() -> typer.Typer:
    group = typer.Typer(
        no_args_is_help=True, rich_markup_mode=None, help="See and change titles: what files belong to."
    )
    for function in (ls, search, show, create, edit, rm):
        group.command()(function)
    return group


def ls(
    genre: Genre = None,
    tag: OnlyTag = None,
    project: Project = None,
    creator: Annotated[str | None, typer.Option(help="Only those of this creator.", show_default=False)] = None,
    limit: Limit = 50,
    server: Server = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """List titles, the newest first.

    \b
    Example:
      rushes titles ls --project "Night shoot" --tag raw
    """
    _list({"genre": genre, "tag": tag, "project_id": project, "creator": creator}, limit, server, token, as_json)


def search(
    text: Annotated[str, typer.Argument(help="Found anywhere in title or description.", show_default=False)],
    genre: Genre = None,
    tag: OnlyTag = None,
    project: Project = None,
    metadata: Metadata = None,
    limit: Limit = 50,
    server: Server = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Find titles by what they are called and what they are about.

    \b
    Example:
      rushes titles search harbour --metadata camera=A
    """
    wanted = {
        "q": text,
        "genre": genre,
        "tag": tag,
        "project_id": project,
        "metadata": words.parse_pairs(metadata) or None,
    }
    _list(wanted, limit, server, token, as_json)


def show(id_: Id, server: Server = None, token: Token = None, as_json: Json = False) -> None:
    """Show a title with its facts and its assets.

    \b
    Example:
      rushes titles show 0199…
    """
    with connected(server, token) as link:
        title = link.client.titles.get(id_)
        assets = list(link.client.assets.all(title_id=id_))
    if as_json:
        print(json.dumps(title.model_dump(mode="json") | {"assets": [row.model_dump(mode="json") for row in assets]}))
        return
    _show(title, assets)


def create(
    title: Annotated[str, typer.Argument(metavar="TITLE", help="What it is called.", show_default=False)],
    description: Description = None,
    genre: Genre = None,
    tag: Tags = None,
    project: Project = None,
    release_date: Released = None,
    metadata: Metadata = None,
    server: Server = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Make a title; `rushes upload --title-id ID` puts files into it.

    \b
    Example:
      rushes titles create "Night shoot" --project Harbour --tag raw --metadata camera=A
    """
    fields = _fields(title, description, genre, tag, project, release_date, words.parse_pairs(metadata))
    wanted = _checked(NewTitle, {name: value for name, value in fields.items() if value is not None})
    with connected(server, token) as link:
        made = link.client.titles.create(wanted)
    _tell(made, as_json=as_json, done="Made")


def edit(
    id_: Id,
    title: Annotated[str | None, typer.Option(help="What it is called.", show_default=False)] = None,
    description: Description = None,
    genre: Genre = None,
    tag: Tags = None,
    project: Project = None,
    release_date: Released = None,
    metadata: Metadata = None,
    without: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="A fact to drop; may be repeated.", show_default=False)
    ] = None,
    server: Server = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Change a title; what is not named stays.

    --tag takes the place of all tags; --metadata adds and replaces facts; an empty --genre or --project clears it.

    \b
    Example:
      rushes titles edit 0199… --title "Night shoot, day 2" --metadata camera=B --without lens
    """
    facts = words.parse_pairs(metadata)
    fields = _fields(title, description, genre, tag, project, release_date, None)
    given: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
    given |= {name: None for name in ("genre", "project_id") if given.get(name) == ""}
    if not given and not facts and not without:
        raise Invalid("nothing_to_change", "Nothing to change was named; see rushes titles edit --help.")
    with connected(server, token) as link:
        if facts or without:
            kept = link.client.titles.get(id_).metadata
            given["metadata"] = {key: value for key, value in kept.items() if key not in (without or ())} | facts
        changed = link.client.titles.update(id_, _checked(TitlePatch, given))
    _tell(changed, as_json=as_json, done="Changed")


def rm(
    ids: Annotated[list[UUID], typer.Argument(parser=an_id, metavar="ID…", help="Of titles.", show_default=False)],
    yes: Yes = False,
    server: Server = None,
    token: Token = None,
) -> None:
    """Delete titles that no asset belongs to any more.

    \b
    Example:
      rushes titles rm 0199… --yes
    """
    codes = []
    with connected(server, token) as link:
        if not yes:
            confirm(f"Delete {words.count(len(ids), 'title')} for good?")
        for id_ in dict.fromkeys(ids):
            try:
                link.client.titles.delete(id_)
            except Problem as error:
                error.message = f"{id_}: {error.message}"
                codes.append(exits.report(error))
            else:
                print(f"Deleted: {id_}")
    raise typer.Exit(exits.common_code(codes))


def _fields(
    title: str | None,
    description: str | None,
    genre: str | None,
    tags: list[str] | None,
    project: str | None,
    release_date: datetime | None,
    metadata: dict[str, str] | None,
) -> dict[str, Any]:
    return {
        "title": title,
        "description": description,
        "genre": genre,
        "tags": tags or None,
        "project_id": project,
        "release_date": release_date and release_date.date(),
        "metadata": metadata or None,
    }


def _checked(shape: type[Any], fields: dict[str, Any]) -> Any:
    try:
        return shape(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise Invalid("title_invalid", f"The {first['loc'][0]} cannot be used: {first['msg']}.") from error


def _list(wanted: dict[str, Any], limit: int, server: str | None, token: str | None, as_json: bool) -> None:
    with connected(server, token) as link:
        found = list(islice(link.client.titles.all(**wanted), limit + 1))
    rows, more = found[:limit], len(found) > limit
    if as_json:
        for row in rows:
            _print_json(row)
        return
    console = wide_console()
    console.print(_table(rows) if rows else "No such titles.")
    if more:
        console.print(f"There are more: --limit {limit * 2} shows more of them.")


def _table(rows: list[TitleView]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("id", "made", "title", "project", "tags"):
        table.add_column(name, no_wrap=name in {"id", "made"}, overflow="fold")
    for row in rows:
        told = (one_line(row.title), one_line(row.project_id or ""), one_line(", ".join(row.tags)))
        table.add_row(str(row.id), f"{row.created_at.astimezone():%Y-%m-%d}", *map(Text, told))
    return table


def _show(title: TitleView, assets: list[AssetView]) -> None:
    print(one_line(title.title))
    facts = {
        "title": str(title.id),
        "creator": title.creator,
        "made": f"{title.created_at.astimezone():%Y-%m-%d %H:%M}",
        "genre": title.genre,
        "project": title.project_id,
        "tags": ", ".join(title.tags),
        "released": title.release_date and title.release_date.isoformat(),
        "about": title.description,
    } | {f"  {key}": value if isinstance(value, str) else json.dumps(value) for key, value in title.metadata.items()}
    for label, text in facts.items():
        if text:
            print(f"  {one_line(label):<12} {printable(text)}")
    for asset in assets:
        size = "" if asset.size is None else words.size(asset.size)
        print(f"  {asset.id}  {asset.status:<12} {size:>8}  {one_line(asset.filename)}")


def _tell(title: TitleView, *, as_json: bool, done: str) -> None:
    if as_json:
        _print_json(title)
    else:
        print(f"{done}: {one_line(title.title)} ({title.id})")


def _print_json(message: BaseModel) -> None:
    print(json.dumps(message.model_dump(mode="json")))
