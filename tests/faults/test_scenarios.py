"""Whatever breaks while money moves, and however often: nothing is lost or doubled, and nobody is told two ends."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.faults.report import keep
from tests.faults.scenarios import SCENARIOS, TOGETHER, Scenario, run
from tests.faults.scheme import Verdict

pytestmark = [pytest.mark.xdist_group("faults"), pytest.mark.timeout(240)]

SEED = 20_261_126


BY_NAME = {each.name: each for each in SCENARIOS}


async def judged(
    name: str, scenarios: Sequence[Scenario], directory: Path, *, rounds: Callable[[Scenario], int], seed: int
) -> Verdict:
    """The verdict; the test is skipped, with the reason, where the fault can't be made here."""
    try:
        verdict = await run(name, scenarios, directory, rounds=rounds, seed=seed)
    except LookupError as error:
        keep(Verdict(name, seed, skipped=str(error)))
        pytest.skip(str(error))
    keep(verdict)
    return verdict


def test_the_short_versions_break_all_that_the_long_ones_do() -> None:
    assert sorted(name for _, names in TOGETHER for name in names) == sorted(BY_NAME)


@pytest.mark.parametrize(("name", "together"), TOGETHER, ids=[name for name, _ in TOGETHER])
async def test_money_is_right_whatever_breaks(name: str, together: Sequence[str], tmp_path: Path) -> None:
    scenarios = [BY_NAME[each] for each in together]
    verdict = await judged(name, scenarios, tmp_path, rounds=lambda each: each.rounds, seed=SEED)
    assert verdict.is_right, verdict
    assert verdict.faults


@pytest.mark.soak
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=[each.name for each in SCENARIOS])
async def test_money_is_right_however_often_it_breaks(scenario: Scenario, tmp_path: Path) -> None:
    percent = int(os.environ.get("VUKA_SOAK_PERCENT", "100"))
    seed = int(os.environ.get("VUKA_SOAK_SEED", "0")) or secrets.randbelow(10**9)
    verdict = await judged(
        scenario.name, [scenario], tmp_path, rounds=lambda each: max(1, each.rounds_long * percent // 100), seed=seed
    )
    assert verdict.is_right, verdict
