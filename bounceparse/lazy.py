"""What is made when it is first asked for: patterns, fields of values, and what few programs ask of a dataclass.

Most mails need few of the patterns and few of the fields; what nobody asks for costs neither import nor reading.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

__all__ = ["Deferred", "dataclass", "deferring", "field", "module", "pattern", "replace"]

_METHODS = ("findall", "finditer", "fullmatch", "match", "search", "split", "sub")
_S = TypeVar("_S", str, bytes)
_D = TypeVar("_D", bound="Deferred")
_set = object.__setattr__


class _Pattern:
    """A pattern that compiles itself on first use; from then on each method is the compiled pattern's own."""

    __slots__ = ("_compiled", "_flags", "_source", *_METHODS)

    def __init__(self, source: str | bytes, flags: int) -> None:
        self._source, self._flags = source, flags

    def __getattr__(self, name: str) -> Any:
        if name == "_compiled":
            self._compiled = compiled = re.compile(self._source, self._flags)
            for method in _METHODS:
                setattr(self, method, getattr(compiled, method))
            return compiled
        return getattr(self._compiled, name)


def pattern(source: _S, flags: int = 0) -> re.Pattern[_S]:
    """``re.compile(source, flags)``, put off until the pattern is first used."""
    return _Pattern(source, flags)  # type: ignore[return-value]


class _Module:
    """A module that is imported when something in it is first asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._name), name)


def module(name: str) -> Any:
    """The module of this name, whose import is put off until something in it is first asked for."""
    return _Module(name)


class Deferred:
    """The base of a frozen dataclass whose fields may be read when somebody asks for them, each once."""

    __slots__ = ("_read",)
    _twin: ClassVar[type]

    @classmethod
    def deferred(cls, read: Callable[[str], Any], **known: Any) -> Self:
        """A value with the fields ``known``; ``read`` gives the others by name."""
        value = object.__new__(cls)
        _set(value, "_read", read)
        for name in known:
            _set(value, name, known[name])
        return value

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name not in self.__match_args__:
                raise AttributeError(name)
            found = self._read(name)
            _set(self, name, found)
            return found


def deferring(cls: type[_D], *known: str) -> Callable[..., _D]:
    """A function that does what ``cls.deferred`` does, for one set of known fields: from ``read`` and their values."""
    values = ", ".join(known)
    lines = [f" self.{name} = {name}\n" for name in known]
    space: dict[str, Any] = {"_twin": cls._twin, "_made": cls}
    exec(  # noqa: S102 (names of fields only)
        f"def make(read, {values}):\n self = _twin()\n self._read = read\n{''.join(lines)} self.__class__ = _made\n return self\n",
        space,
    )
    return space["make"]  # type: ignore[no-any-return]


if TYPE_CHECKING:
    from dataclasses import dataclass, field, replace
else:

    class field:  # noqa: N801 (stands for the function of this name)
        """``dataclasses.field`` with a ``default_factory``."""

        def __init__(self, default_factory: Callable[[], Any]) -> None:
            self.default_factory = default_factory

    def dataclass(*, slots: bool, frozen: bool = False) -> Callable[[type], type]:
        """``dataclasses.dataclass(slots=True)``, at a tenth of its cost at import and half of it a frozen value.

        The standard one generates and compiles six methods a class, and its frozen values set each field by a call.
        Here only ``__init__`` is generated. The functions of :mod:`dataclasses` work: the table that they ask for is
        made when they do.
        """
        return lambda cls: _make(cls, frozen)

    def replace(value: Any, **changes: Any) -> Any:
        """``dataclasses.replace``."""
        return type(value)(
            *[changes.pop(name) if name in changes else getattr(value, name) for name in value.__match_args__],
            **changes,  # names that it has not: refused as dataclasses does
        )


def _make(cls: type, frozen: bool) -> type:
    """``cls`` (annotations and defaults) made over with slots and the methods of a dataclass."""
    space = dict(cls.__dict__)
    names = tuple(space.get("__annotations__", {}))
    defaults = {name: space.pop(name) for name in names if name in space}
    space.pop("__dict__", None)
    space.pop("__weakref__", None)
    space.update(__slots__=names, __match_args__=names, __qualname__=cls.__qualname__)
    methods: dict[str, Any] = dict(_METHODS_OF_FROZEN if frozen else _METHODS_OF_ALL)
    methods["__dataclass_fields__"] = _Fields(cls)
    made: type = type(cls)(cls.__name__, cls.__bases__, {**methods, **space})
    # A frozen value is filled as its twin with the same slots, whose attributes may be set, and then changes its class.
    twin = type(cls.__name__, cls.__bases__, {"__slots__": names}) if frozen else made
    made.__init__ = _init(names, defaults, made, twin)  # type: ignore[misc]
    if issubclass(made, Deferred):
        made._twin = twin
    return made


def _init(names: tuple[str, ...], defaults: dict[str, Any], made: type, twin: type) -> Any:
    """The ``__init__`` of a dataclass with the fields ``names``."""
    space: dict[str, Any] = {"_set": _set, "_made": made, "_twin": twin, "_missing": _MISSING}
    parameters, lines = [], []
    for name in names:
        default = defaults.get(name, _MISSING)
        value = name
        if type(default).__name__ == "field":
            space[f"_make_{name}"] = default.default_factory
            value, default = f"_make_{name}() if {name} is _missing else {name}", _MISSING
            parameters.append(f"{name}=_missing")
        elif default is _MISSING:
            parameters.append(name)
        else:
            space[f"_default_{name}"] = default
            parameters.append(f"{name}=_default_{name}")
        lines.append(f" self.{name} = {value}\n")
    if made is not twin:
        lines = [' _set(self, "__class__", _twin)\n', *lines, " self.__class__ = _made\n"]
    exec(  # noqa: S102 (names of fields only)
        f"def __init__(self, {', '.join(parameters)}):\n{''.join(lines)}", space
    )
    return space["__init__"]


_MISSING: Any = object()


class _Fields:
    """``__dataclass_fields__``, made when :mod:`dataclasses` asks for it."""

    def __init__(self, source: type) -> None:
        self._source = source

    def __get__(self, instance: object, owner: type) -> Any:
        import dataclasses

        shape = type(owner.__name__, (), dict(self._source.__dict__))
        for name, value in vars(self._source).items():
            if type(value).__name__ == "field":
                setattr(shape, name, dataclasses.field(default_factory=value.default_factory))
        made = dataclasses.dataclass(shape).__dataclass_fields__  # type: ignore[attr-defined]
        owner.__dataclass_fields__ = made  # type: ignore[attr-defined]
        return made


def _values(value: Any) -> tuple[Any, ...]:
    return tuple([getattr(value, name) for name in value.__match_args__])


def _equals(self: Any, other: Any) -> Any:
    return _values(self) == _values(other) if other.__class__ is self.__class__ else NotImplemented


def _repr(self: Any) -> str:
    fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__match_args__)
    return f"{type(self).__qualname__}({fields})"


def _hash(self: Any) -> int:
    return hash(_values(self))


def _refuse(self: Any, name: str, *_: Any) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _setstate(self: Any, state: tuple[Any, ...]) -> None:
    for name, value in zip(self.__match_args__, state, strict=True):
        _set(self, name, value)


_METHODS_OF_ALL = {
    "__eq__": _equals,
    "__hash__": None,
    "__repr__": _repr,
    "__getstate__": _values,
    "__setstate__": _setstate,
}
_METHODS_OF_FROZEN = {**_METHODS_OF_ALL, "__hash__": _hash, "__setattr__": _refuse, "__delattr__": _refuse}
