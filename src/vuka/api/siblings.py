"""Several workers behind one port, one page of figures: whichever is asked also asks the others.

A scrape of ``/metrics`` meets any of the workers of a machine (`vuka.cli.workers`), and counters of another one each
time would be of no use. Each worker therefore tells its figures to the others on a Unix socket that only they can
reach, and the one that is asked shows all of them, told apart by the label ``worker``.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, TypeAlias

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

log: Final = structlog.get_logger("vuka.metrics")

ANSWER_SECONDS_MAX: Final = 2.0
"""How long a worker may take to tell its figures: one that stands still must not keep those of the others back."""

LABEL: Final = "worker"


class Family(msgspec.Struct, frozen=True):
    """The figures of one name, as they are told from process to process."""

    name: str
    documentation: str
    type: str
    samples: Sequence[tuple[str, dict[str, str], float]]
    """Each with its own name, its labels and its value."""

    @classmethod
    def of(cls, metric: Metric) -> Family:
        """From what a registry collects."""
        samples = [(each.name, each.labels, float(each.value)) for each in metric.samples]
        return cls(metric.name, metric.documentation, metric.type, samples)


Told: TypeAlias = Callable[[], Awaitable[Sequence[Family]]]
"""What a worker measures itself, at this moment."""

_decoder: Final = msgspec.msgpack.Decoder(list[Family])


class Siblings:
    """The workers of a machine, seen from one of them."""

    def __init__(self, index: int, listener: socket.socket, paths: Sequence[str]) -> None:
        """``index``: which worker this is; ``paths``: of every worker's socket. ``listener`` is this one's, bound."""
        self._index = index
        self._listener = listener
        self._paths = paths
        self._server: asyncio.Server | None = None
        self._tell: Told | None = None

    async def start(self, tell: Told) -> None:
        """Begins to tell the others what ``tell`` finds."""
        self._tell = tell
        self._server = await asyncio.start_unix_server(self._answer, sock=self._listener)

    def stop(self) -> None:
        """Tells nobody anything more."""
        if self._server is not None:
            self._server.close()

    async def _answer(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._tell is not None  # noqa: S101 - it is given before the server starts
        try:
            writer.write(msgspec.msgpack.encode(await self._tell()))
            await writer.drain()
        except Exception:  # whoever asked shows that this one did not answer
            log.exception("what this worker measures could not be told to another")
        finally:
            writer.close()

    async def with_others(self, mine: Sequence[Family]) -> CollectorRegistry:
        """This worker's figures and those of all others, each with its worker's number; who is silent is shown, too."""
        others = [number for number in range(len(self._paths)) if number != self._index]
        answers = await asyncio.gather(*(self._ask(self._paths[number]) for number in others))
        told = dict(zip(others, answers, strict=True)) | {self._index: mine}
        registry = CollectorRegistry()
        registry.register(_Together(sorted(told.items())))
        return registry

    async def _ask(self, path: str) -> Sequence[Family] | None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                reader, writer = await asyncio.open_unix_connection(path)
                try:
                    return _decoder.decode(await reader.read())
                finally:
                    writer.close()
        except (OSError, TimeoutError, msgspec.MsgspecError) as error:
            log.warning("a worker does not tell its figures", socket=path, reason=str(error) or type(error).__name__)
            return None


class _Together(Collector):
    """The figures of several workers, family by family."""

    def __init__(self, told: Sequence[tuple[int, Sequence[Family] | None]]) -> None:
        self._told = told

    def collect(self) -> Iterable[Metric]:
        up = GaugeMetricFamily("vuka_worker_up", "1 where a worker tells its figures, 0 where not.", labels=(LABEL,))
        metrics: dict[str, Metric] = {}
        for number, families in self._told:
            up.add_metric((str(number),), int(families is not None))
            for family in families or ():
                metric = metrics.get(family.name)
                if metric is None:
                    metric = metrics[family.name] = Metric(family.name, family.documentation, family.type)
                for name, labels, value in family.samples:
                    metric.add_sample(name, {**labels, LABEL: str(number)}, value)
        yield up
        yield from metrics.values()
