"""Many uploads open at once over two API processes, every sender killed and replaced: `bench/many.py`, with fewer."""

from __future__ import annotations

from pathlib import Path

from bench import many
from tests.conftest import ROUNDS


def test_every_upload_survives_the_death_of_its_sender_on_any_pod(tmp_path: Path) -> None:
    count = 12 * min(ROUNDS, 40)
    with many.site(tmp_path) as site:
        outcome = many.run(site, count, number_of_senders=2)
    assert outcome.open_at_once == count
    assert sum(number for name, number in outcome.statuses.items() if name == "begin 201") == count
