"""Whatever comes, a decoder gives a value or its documented error: never another one, and never much work for little.

The same inputs each time in the short version; new ones, and many more, in the long runs, which count them.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.faults.report import Inputs, keep
from tests.fuzz.inputs import Check
from tests.fuzz.targets import TARGETS, TOML, VARIABLES, Target, check_configuration

from vuka.errors import FspiopError, OperatorError
from vuka.fspiop import ilp, jws
from vuka.fspiop.headers import Headers
from vuka.fspiop.messages import TransfersPostRequest, body_hash, decode
from vuka.fspiop.versions import Version, parse_accept
from vuka.switch.quote_rules import compile_quote_rules

EXAMPLES = 120
EXAMPLES_LONG = 20_000
CPU_SECONDS_MAX = 2.0
"""For one input of a few hundred bytes: far more than any takes, and far less than one that takes for ever."""


def tried(name: str, inputs: st.SearchStrategy[Any], check: Check, *, examples: int, fresh: bool) -> int:
    """Tries a decoder with so many inputs; how many there were."""
    count = 0

    @settings(
        max_examples=examples,
        derandomize=not fresh,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def one(value: Any) -> None:
        nonlocal count
        count += 1
        began = time.thread_time()
        check(value)
        took = time.thread_time() - began
        assert took < CPU_SECONDS_MAX, f"{name}: {took:.1f} s of CPU for one input"

    one()
    return count


@pytest.mark.parametrize("target", TARGETS, ids=[each.name.replace(" ", "-") for each in TARGETS])
def test_a_decoder_gives_a_value_or_its_documented_error(target: Target) -> None:
    assert tried(target.name, target.inputs, target.check, examples=EXAMPLES, fresh=False) >= EXAMPLES // 2


def test_a_configuration_is_valid_or_told_to_be_wrong(tmp_path: Path) -> None:
    inputs = st.tuples(TOML, VARIABLES)
    tried("configuration", inputs, lambda given: check_configuration(given, tmp_path), examples=EXAMPLES, fresh=False)


@pytest.mark.soak
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("target", TARGETS, ids=[each.name.replace(" ", "-") for each in TARGETS])
def test_a_decoder_gives_a_value_or_its_documented_error_in_a_long_run(target: Target) -> None:
    count = tried(target.name, target.inputs, target.check, examples=examples_of_a_long_run(), fresh=True)
    keep(Inputs(target.name, count))


@pytest.mark.soak
@pytest.mark.timeout(3_600)
def test_a_configuration_is_valid_or_told_to_be_wrong_in_a_long_run(tmp_path: Path) -> None:
    inputs = st.tuples(TOML, VARIABLES)
    count = tried(
        "configuration",
        inputs,
        lambda given: check_configuration(given, tmp_path),
        examples=examples_of_a_long_run(),
        fresh=True,
    )
    keep(Inputs("configuration", count))


def examples_of_a_long_run() -> int:
    """How many inputs each decoder is tried with."""
    return EXAMPLES_LONG * int(os.environ.get("VUKA_SOAK_PERCENT", "100")) // 100


# --- work -----------------------------------------------------------------------------------------------------------


def steps(work: Callable[[], object]) -> int:
    """Lines of Python that run, errors of the wire included: a measure of work that no other process disturbs."""
    count = 0

    def trace(_frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except (FspiopError, OperatorError, ilp.IlpError, ValueError):
        pass
    finally:
        sys.settrace(before)
    return count


def _ignored(name: str) -> str | None:
    return {"fspiop-signature": "{" * 60_000}.get(name, "x")


MEDIA = "application/vnd.interoperability.transfers+json"

LONG: dict[str, Callable[[int], object]] = {
    "headers": lambda size: Headers([("x-a", "b")] * size),
    "accept": lambda size: parse_accept("transfers", ",".join([MEDIA] * size)),
    "properties": lambda size: decode(TransfersPostRequest, Version.V2_0, b"{" + b'"a":1,' * size + b'"b":2}'),
    "extensions": lambda size: decode(
        TransfersPostRequest, Version.V2_0, b'{"extensionList":{"extension":[' + b'{"key":"a"},' * size + b"{}]}}"
    ),
    "numbers": lambda size: body_hash(b"[" + b"1," * size + b"1]"),
    "digits": lambda size: body_hash(b"1." + b"1" * size),
    "nesting": lambda size: body_hash(b"[" * size),
    "escapes": lambda size: jws.canonical(b'["' + b"\\u0041" * size + b'"]'),
    "packet": lambda size: ilp.decode_packet("AQ" * size),
    "rules": lambda size: compile_quote_rules(b"[" + b"{}," * size + b"{}]"),
}


@pytest.mark.parametrize("name", LONG)
def test_work_grows_with_the_length_of_an_input_and_not_with_its_square(name: str) -> None:
    once = steps(lambda: LONG[name](50))
    often = steps(lambda: LONG[name](1_600))
    assert often <= once * 32 + 2_000, f"{once} steps for 50, {often} for 1,600"
