"""What decoders are tried with: values that are nearly right, and bytes that are anything."""

from __future__ import annotations

import json
import types
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import strategies as st

from vuka.fspiop import bulk, bulk_transfers, fx, fx_transfers, messages
from vuka.fspiop.messages import Message

T = TypeVar("T")

SCALARS: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=40),
    st.sampled_from(("", "0", "USD", "payerfsp", "RESERVED", "1e400", "\ud800", "\x00", "9" * 40, "../..", "null")),
)
JSON: Final = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=12), inner, max_size=4)),
    max_leaves=12,
)

TEXTS: Final = st.sampled_from(
    (
        "b51ec534-ee48-4575-b6a9-ead2955b8069",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "payerfsp",
        "12.5",
        "0",
        "USD",
        "KES",
        "MSISDN",
        "2016-05-24T08:38:08.699-04:00",
        "2016-05-24T08:38:08.699Z",
        "1966-06-16",
        "WLctttbu2HvTsa1XWvUoGRcQozHsqeu9Ahl2JW9Bsu8",
        "AYIBgQAAAAAAAASwNGxldmVsb25lLmRmc3AxLm1lci45T2RTOF81MDdqUUZERmZlakgyOVc4bXFmNEpLMHlGTFGCAUBQ",
        "+42.1",
        "5100",
        "TRANSFER",
    )
)

DEEP: Final = tuple(
    start * count + end * (count if closed else 0)
    for start, end in ((b"[", b"]"), (b'{"a":', b"}"))
    for count in (20, 40, 2_000)
    for closed in (True, False)
)
"""What nests further than anybody reads."""


def encoded(value: object) -> bytes:
    """JSON as Python writes it, which is wider than the standard: NaN, lone surrogates."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


JSON_BYTES: Final = st.one_of(JSON.map(encoded), st.binary(max_size=60), st.sampled_from(DEEP))


def changed(whole: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Bytes that were right before something else came into them, or a part of them went missing or came twice."""
    return st.builds(_change, whole, st.floats(0, 1), st.integers(0, 30), st.binary(max_size=8), st.integers(0, 2))


def _change(whole: bytes, part: float, length: int, other: bytes, times: int) -> bytes:
    place = int(len(whole) * part)
    return whole[:place] + whole[place : place + length] * times + other + whole[place + length :]


def split(content: bytes, places: list[int]) -> list[bytes]:
    """The same bytes in pieces: as a network may bring them."""
    cuts = sorted({min(place, len(content)) for place in places})
    return [content[start:end] for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True)]


@cache
def message_types() -> tuple[type[Message], ...]:
    """Every body of the API."""
    found = {
        each
        for module in (messages, bulk, bulk_transfers, fx, fx_transfers)
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Message) and each is not Message
    }
    return tuple(sorted(found, key=lambda each: each.__name__))


@cache
def nearly(kind: type[Message]) -> st.SearchStrategy[bytes]:
    """Bodies of that message: most of them right or nearly so."""
    return st.one_of(_of(kind).map(encoded), changed(_of(kind).map(encoded)), JSON_BYTES)


@cache
def _of(kind: Any) -> st.SearchStrategy[Any]:
    origin = get_origin(kind)
    if origin is Annotated:
        return _of(get_args(kind)[0])
    if origin in (Union, types.UnionType):
        return st.one_of(*(_of(each) for each in get_args(kind) if each is not type(None)))
    if origin is Literal:
        return st.one_of(st.sampled_from(get_args(kind)), TEXTS)
    if origin in (list, tuple):
        return st.lists(_of(get_args(kind)[0]), min_size=1, max_size=2)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = get_type_hints(kind, include_extras=True)
        required: dict[str, st.SearchStrategy[Any]] = {}
        optional: dict[str, st.SearchStrategy[Any]] = {"extra": JSON}
        for field in msgspec.structs.fields(kind):
            target = required if field.required else optional
            target[field.encode_name] = _mostly(_of(hints[field.name]), SCALARS)
        return st.fixed_dictionaries(required, optional=optional)
    return TEXTS if kind is str else SCALARS


def _mostly(usual: st.SearchStrategy[T], seldom: st.SearchStrategy[T]) -> st.SearchStrategy[T]:
    return st.integers(0, 15).flatmap(lambda chance: seldom if chance == 0 else usual)


Check = Callable[[Any], None]
