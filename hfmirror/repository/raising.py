"""What does Repository raise? Our errors, each of which is also what the removed class raised: OSError or ValueError.

``except EnvironmentError`` of an old script and ``except AuthError`` of a new one find the same error.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar, cast

from hfmirror.errors import HfmirrorError

Given = ParamSpec('Given')
Result = TypeVar('Result')


def raises(old: type[Exception]) -> Callable[[Callable[Given, Result]], Callable[Given, Result]]:
    """Have a function raise its errors as ones that are ``old`` too."""

    def decorate(function: Callable[Given, Result]) -> Callable[Given, Result]:
        @wraps(function)
        def wrapper(*args: Given.args, **kwargs: Given.kwargs) -> Result:
            try:
                return function(*args, **kwargs)
            except HfmirrorError as e:
                if isinstance(e, OSError | ValueError):
                    raise
                raise both(e, old).with_traceback(e.__traceback__) from e.__cause__

        return wrapper

    return decorate


def both(error: HfmirrorError, old: type[Exception]) -> HfmirrorError:
    """Return ``error`` as one of its own kind that is an ``old`` as well."""
    kind = _kind(type(error), old)
    made = kind.__new__(kind, str(error))
    made.args = error.args
    made.__dict__.update(error.__dict__)
    return made


_KINDS: dict[tuple[type, type], type[HfmirrorError]] = {}


def _kind(kind: type[HfmirrorError], old: type[Exception]) -> type[HfmirrorError]:
    if (kind, old) not in _KINDS:
        names = {'__doc__': kind.__doc__, '__module__': kind.__module__}
        _KINDS[kind, old] = cast(type[HfmirrorError], type(kind.__name__, (kind, old), names))
    return _KINDS[kind, old]
