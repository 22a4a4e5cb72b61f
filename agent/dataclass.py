"""The part of dataclasses that the agent uses, made without compiling anything.

dataclasses imports inspect, and writes and compiles the source of up to six methods for each class: a third of a run
that finds nothing to do (decision 0027). Here all classes share their methods, which look at the fields of the class.
Type checkers are shown the original; its `replace`, `fields` and `asdict` take these classes, too. Left out is what
the agent has no use for: inheritance, order, `__post_init__`, copies of what is frozen, classes without slots.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any

__all__ = ["Field", "asdict", "dataclass", "field", "fields", "replace"]

_MISSING: Any = object()
_FIELDS = "__fields__"


class _Field:
    """One field of a class, with the names that dataclasses.Field has."""

    __slots__ = ("compare", "default", "default_factory", "metadata", "name", "repr")

    def __init__(
        self,
        *,
        default: Any = _MISSING,
        default_factory: Callable[[], Any] = _MISSING,
        repr: bool = True,
        compare: bool = True,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = ""
        self.default = default
        self.default_factory = default_factory
        self.repr = repr
        self.compare = compare
        self.metadata = metadata or {}


class _Originals:
    """The fields as dataclasses knows them, made when its own functions first ask for them."""

    def __get__(self, _value: object, kind: Any) -> dict[str, Any]:
        import dataclasses  # noqa: PLC0415 - who asks has imported it already

        given = {known.name: dataclasses.field(**_parameters(known)) for known in _fields(kind)}
        stand_in = {"__annotations__": dict.fromkeys(given, Any), **given}
        made: Any = dataclasses.dataclass(type(kind.__name__, (), stand_in))
        kind.__dataclass_fields__ = {known.name: known for known in dataclasses.fields(made)}
        return kind.__dataclass_fields__  # type: ignore[no-any-return]


def _parameters(known: _Field) -> dict[str, Any]:
    values = {name: getattr(known, name) for name in _Field.__slots__ if name != "name"}
    return {name: value for name, value in values.items() if value is not _MISSING}


def _dataclass(*, slots: bool, frozen: bool = False) -> Callable[[type], Any]:
    """Make a class of values: all its annotations are fields. `slots` is here for type checkers."""

    def make(given: type) -> Any:
        assert slots and given.__bases__ == (object,), given
        names = tuple(getattr(given, "__annotations__", ()))
        fields = tuple(_named(name, given.__dict__.get(name, _MISSING)) for name in names)
        kept = {name: it for name, it in given.__dict__.items() if name not in {*names, "__dict__", "__weakref__"}}
        about: dict[str, Any] = {"__slots__": names, "__match_args__": names, _FIELDS: fields}
        about["__qualname__"] = given.__qualname__
        about["_compared"] = attrgetter("__class__", *[known.name for known in fields if known.compare])
        made: Any = type(given.__name__, (), {**(_FROZEN if frozen else _METHODS), **kept, **about})
        made.__init__ = _init(made, fields)
        return made

    return make


def _named(name: str, default: Any) -> _Field:
    known = default if isinstance(default, _Field) else _Field(default=default)
    known.name = name
    return known


def _fields(kind: object) -> tuple[_Field, ...]:
    """The fields of a class or a value, in order."""
    known: tuple[_Field, ...] = getattr(kind, _FIELDS)
    return known


def _replace(value: Any, /, **changes: Any) -> Any:
    """Another value with some fields changed."""
    return type(value)(**{known.name: getattr(value, known.name) for known in _fields(value)} | changes)


def _asdict(value: Any) -> Any:
    """A value as a dict, and all values in it, through lists, tuples and dicts."""
    if hasattr(value, _FIELDS):
        return {known.name: _asdict(getattr(value, known.name)) for known in _fields(value)}
    if isinstance(value, list | tuple):
        return type(value)([_asdict(element) for element in value])
    if isinstance(value, dict):
        return {key: _asdict(element) for key, element in value.items()}
    return value


# ------------------------------------------------------------------------------------- what all classes share


def _init(made: type, fields: tuple[_Field, ...]) -> Callable[..., None]:
    """The `__init__` of one class: through the slots, which also a frozen one has."""
    puts = tuple(made.__dict__[known.name].__set__ for known in fields)
    known_puts = tuple(zip(fields, puts, strict=True))

    def init(self: Any, *args: Any, **given: Any) -> None:
        for put, value in zip(puts, args, strict=False):
            put(self, value)
        for known, put in known_puts[len(args) :]:
            if known.name in given:
                put(self, given.pop(known.name))
            elif known.default is not _MISSING:
                put(self, known.default)
            elif known.default_factory is not _MISSING:
                put(self, known.default_factory())
            else:
                raise TypeError(f"{made.__name__}() lacks {known.name}")
        if given or len(args) > len(puts):
            what = ", ".join(given) or f"{len(args)} values"
            raise TypeError(f"{made.__name__}() does not take {what}")

    return init


def _eq(self: Any, other: Any) -> Any:
    return self._compared(self) == self._compared(other) if other.__class__ is self.__class__ else NotImplemented


def _hash(self: Any) -> int:
    return hash(self._compared(self))


def _repr(self: Any) -> str:
    shown = ", ".join(f"{known.name}={getattr(self, known.name)!r}" for known in _fields(self) if known.repr)
    return f"{type(self).__qualname__}({shown})"


def _no_change(self: Any, name: str, *_value: Any) -> None:
    raise AttributeError(f"{type(self).__name__}.{name} is not to be changed")


_METHODS = {
    "__eq__": _eq,
    "__repr__": _repr,
    "__hash__": None,
    "__dataclass_fields__": _Originals(),
}
_FROZEN = {**_METHODS, "__hash__": _hash, "__setattr__": _no_change, "__delattr__": _no_change}

if TYPE_CHECKING:
    from dataclasses import Field, asdict, dataclass, field, fields, replace
else:
    Field, dataclass, field, fields, replace, asdict = _Field, _dataclass, _Field, _fields, _replace, _asdict
