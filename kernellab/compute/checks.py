"""Checks of arguments: every public function passes its input through these first.

Compiled code does not look at bounds, so a bad shape must never reach it. Each check returns the
converted value, or raises a ``ValueError`` of one sentence: the argument's name, what is allowed,
and what came.

>>> positive("bandwidth", -1)
Traceback (most recent call last):
    ...
ValueError: bandwidth must be a positive number, got -1
"""

import difflib
import math
import numbers
import os
import sys
from collections.abc import Collection, Sized

import numpy as np

# Below this size an allocation is not worth asking the system how much memory is free.
_ALWAYS_FITS = 1 << 26
_SQUARE = 128  # entries a side that are compared at a time


# Numbers


def positive(name: str, value) -> float:
    """Return ``value`` as a float; it must be finite and > 0."""
    number = _real(name, value, "a positive number")
    if number <= 0:
        raise ValueError(f"{name} must be a positive number, got {value}")
    return number


def nonnegative(name: str, value) -> float:
    """Return ``value`` as a float; it must be finite and >= 0."""
    number = _real(name, value, "a number that is not negative")
    if number < 0:
        raise ValueError(f"{name} must be a number that is not negative, got {value}")
    return number


def between(name: str, value, low: float, high: float) -> float:
    """Return ``value`` as a float; it must lie in the closed interval [``low``, ``high``]."""
    allowed = f"a number between {low} and {high}"
    number = _real(name, value, allowed)
    if not low <= number <= high:
        raise ValueError(f"{name} must be {allowed}, got {value}")
    return number


def integer(name: str, value, low: int | None = None, high: int | None = None) -> int:
    """Return ``value`` as an int in ``low`` .. ``high`` (both included; None: no limit).

    Booleans and floats (also 3.0) are refused: they are more often a mistake than a count.
    """
    allowed = "an integer" + _range_text(low, high)
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise ValueError(f"{name} must be {allowed}, got {_describe(value)}")
    number = int(value)
    if (low is not None and number < low) or (high is not None and number > high):
        raise ValueError(f"{name} must be {allowed}, got {number}")
    return number


def one_of(name: str, value, allowed: Collection):
    """Return ``value``; it must be one of ``allowed``."""
    try:
        known = value in allowed
    except (TypeError, ValueError):  # unhashable, or an array with no single truth value
        known = False
    if known:
        return value
    choices = ", ".join(repr(choice) for choice in allowed)
    words = [choice for choice in allowed if isinstance(choice, str)]
    near = difflib.get_close_matches(value, words, n=1) if isinstance(value, str) else []
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{name} must be one of {choices}, got {_describe(value)}{hint}")


# Arrays


def as_matrix(
    name: str,
    value,
    columns: int | None = None,
    rows: int | None = None,
    min_rows: int = 1,
) -> np.ndarray:
    """Return ``value`` as a float64, C-contiguous, writeable matrix of finite numbers.

    An array that already is one comes back as it is, without a copy.

    Parameters
    ----------
    name : the argument's name, for the message
    value : array-like, shape (n, d)
    columns, rows : d and n, when they are known
    min_rows : the smallest n allowed

    Raises
    ------
    ValueError : another rank or size, no columns, NaN, infinity, or not real numbers.
    """
    array = _real_array(name, value)
    if array.ndim != 2:
        raise ValueError(
            f"{name} must be a matrix with one row per point, shape (n, d), "
            f"got shape {array.shape}{_reshape_hint(name, array)}"
        )
    if array.shape[1] == 0:
        raise ValueError(f"{name} must have at least one column, got shape {array.shape}")
    if columns is not None and array.shape[1] != columns:
        raise ValueError(f"{name} must have {_count(columns, 'column')}, got shape {array.shape}")
    if rows is not None and array.shape[0] != rows:
        raise ValueError(f"{name} must have {_count(rows, 'row')}, got shape {array.shape}")
    if array.shape[0] < min_rows:
        raise ValueError(
            f"{name} must have at least {_count(min_rows, 'row')}, got shape {array.shape}"
        )
    return _plain_float(name, array)


def as_vector(name: str, value, length: int | None = None) -> np.ndarray:
    """Return ``value`` as a float64, C-contiguous, writeable vector of finite numbers.

    Raises
    ------
    ValueError : another rank or length, empty, NaN, infinity, or not real numbers.
    """
    array = _real_array(name, value)
    if array.ndim != 1:
        flat = ": use .ravel()" if array.ndim == 2 and 1 in array.shape else ""
        raise ValueError(f"{name} must be a vector, shape (n,), got shape {array.shape}{flat}")
    if array.size == 0:
        raise ValueError(f"{name} must not be empty, got shape {array.shape}")
    if length is not None and array.size != length:
        raise ValueError(f"{name} must have length {length}, got length {array.size}")
    return _plain_float(name, array)


def symmetric(name: str, matrix) -> np.ndarray:
    """Return ``matrix`` as a float64 matrix; it must be square and symmetric up to rounding.

    The tolerance is 1e-10 times the largest entry. Cost: O(n^2).
    """
    array = as_matrix(name, matrix)
    if array.shape[0] != array.shape[1]:
        raise ValueError(f"{name} must be square, got shape {array.shape}")
    i, j = _least_symmetric(array)
    if abs(array[i, j] - array[j, i]) > 1e-10 * max(array.max(), -array.min()):
        raise ValueError(
            f"{name} must be symmetric, got {array[i, j]:.6g} at ({i}, {j}) "
            f"but {array[j, i]:.6g} at ({j}, {i})"
        )
    return array


def _least_symmetric(array: np.ndarray) -> tuple[int, int]:
    """Return where a square array differs most from its transpose.

    Square by square: a large array and its transpose side by side would miss the caches.
    """
    worst, place = -1.0, (0, 0)
    for i in range(0, len(array), _SQUARE):
        for j in range(i, len(array), _SQUARE):
            above = array[i : i + _SQUARE, j : j + _SQUARE]
            gap = np.abs(above - array[j : j + _SQUARE, i : i + _SQUARE].T)
            if (largest := gap.max()) > worst:
                row, column = np.unravel_index(np.argmax(gap), gap.shape)
                worst, place = largest, (i + int(row), j + int(column))
    return place


def same_length(name_a: str, a: Sized, name_b: str, b: Sized) -> int:
    """Return the length that ``a`` and ``b`` (arrays: number of rows) must share."""
    if len(a) != len(b):
        raise ValueError(
            f"{name_a} and {name_b} must have the same length, got {len(a)} and {len(b)}"
        )
    return len(a)


def as_rng(rng) -> np.random.Generator:
    """Return the ``numpy.random.Generator`` that ``rng`` is, or that it seeds as an int >= 0."""
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, (bool, np.bool_)) or not isinstance(rng, numbers.Integral) or rng < 0:
        raise ValueError(
            "rng must be a numpy.random.Generator or an integer seed of at least 0, "
            f"got {_describe(rng)}"
        )
    return np.random.default_rng(int(rng))


# Memory


def fits_in_memory(name: str, n_bytes: int) -> int:
    """Return ``n_bytes``; raise ValueError when an array ``name`` of that size cannot be held."""
    n_bytes = int(n_bytes)
    if n_bytes <= _ALWAYS_FITS:
        return n_bytes
    free = available_memory()
    if n_bytes > free:
        raise ValueError(
            f"{name} must fit in memory: it would take {_size_text(n_bytes)}, "
            f"and {_size_text(free)} are available"
        )
    return n_bytes


def available_memory() -> int:
    """Return how many bytes can still be allocated, as far as the system tells."""
    known = [n for n in (_free_on_linux(), _left_in_container()) if n is not None]
    if known:
        return max(0, min(known))
    if sys.platform == "win32":
        return _free_on_windows()
    try:  # macOS and the BSDs do not say what is free; half of what is built in is a fair guess
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):
        return sys.maxsize


def _free_on_linux() -> int | None:
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def _left_in_container() -> int | None:
    """Return what a container's memory limit leaves (a hub gives each learner a container)."""
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            limit = file.read().strip()
        with open("/sys/fs/cgroup/memory.current", encoding="ascii") as file:
            used = int(file.read())
        with open("/sys/fs/cgroup/memory.stat", encoding="ascii") as lines:
            pages = dict(line.split() for line in lines)
    except (OSError, ValueError):
        return None
    if limit == "max":
        return None
    # File pages count as used, but the system drops them when memory is needed.
    return int(limit) - used + int(pages.get("inactive_file", 0))


def _free_on_windows() -> int:
    import ctypes

    class MemoryStatus(ctypes.Structure):
        _fields_ = [
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            ("total_physical", ctypes.c_ulonglong),
            ("free_physical", ctypes.c_ulonglong),
            ("total_page_file", ctypes.c_ulonglong),
            ("free_page_file", ctypes.c_ulonglong),
            ("total_virtual", ctypes.c_ulonglong),
            ("free_virtual", ctypes.c_ulonglong),
            ("free_extended_virtual", ctypes.c_ulonglong),
        ]

    status = MemoryStatus()
    status.length = ctypes.sizeof(status)
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return sys.maxsize
    return int(status.free_physical)


# What the checks share


def _real(name: str, value, allowed: str) -> float:
    """Return a finite real scalar as a float."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise ValueError(f"{name} must be {allowed}, got {_describe(value)}")
    try:
        number = float(value)
    except OverflowError:
        size = f"about 10^{round(math.log10(abs(value)))}"
        raise ValueError(f"{name} must be {allowed}, got {size}") from None
    if not math.isfinite(number):
        raise ValueError(f"{name} must be {allowed}, got {value}")
    return number


def _real_array(name: str, value) -> np.ndarray:
    """Return ``value`` as an array of booleans, integers or floats, without converting them."""
    if np.ma.isMaskedArray(value) and np.ma.is_masked(value):
        raise ValueError(f"{name} must not have masked entries, got {np.ma.count_masked(value)}")
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(
            f"{name} must be an array of numbers, got rows of different lengths"
        ) from None
    if array.dtype.kind not in "biuf":
        what = {"c": "complex numbers", "U": "text", "S": "text"}.get(array.dtype.kind)
        if array.dtype == object:
            what = f"objects ({type(value).__name__})"
        raise ValueError(
            f"{name} must hold real numbers, got {what or f'values of dtype {array.dtype}'}"
        )
    return array


def _plain_float(name: str, array: np.ndarray) -> np.ndarray:
    """Return the layout compiled functions take, after a look for NaN and infinity."""
    # Compiled signatures take neither read-only nor unaligned memory, hence "W" and "A".
    with np.errstate(over="ignore"):  # a longdouble may be too large for a float
        plain = np.require(array, np.float64, ["C", "A", "W"])
        # The sum is finite only if every term is, and costs no temporary; it may overflow for
        # finite terms, so that only a suspicious sum is followed up.
        suspicious = not math.isfinite(plain.sum())
    if suspicious:
        bad = ~np.isfinite(plain)
        if bad.any():
            first = tuple(int(i) for i in np.unravel_index(np.argmax(bad), bad.shape))
            place = first[0] if len(first) == 1 else first
            count = int(bad.sum())
            more = f" ({count} such entries)" if count > 1 else ""
            raise ValueError(f"{name} must be finite, got {plain[first]} at index {place}{more}")
    return plain


def _reshape_hint(name: str, array: np.ndarray) -> str:
    if array.ndim == 1 and array.size > 0:
        return (
            f": use {name}.reshape(-1, 1) for {_count(array.size, 'point')} on a line, "
            f"or {name}.reshape(1, -1) for one point in dimension {array.size}"
        )
    if array.ndim > 2:
        return f": use {name}.reshape(len({name}), -1) to make each entry one row"
    return ""


def _describe(value) -> str:
    """Return a short text for what came."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    if value is None:
        return "None"
    text = repr(value)
    return f"{text if len(text) <= 40 else text[:37] + '...'} ({type(value).__name__})"


def _range_text(low: int | None, high: int | None) -> str:
    if low is not None and high is not None:
        return f" between {low} and {high}"
    if low is not None:
        return f" of at least {low}"
    return "" if high is None else f" of at most {high}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _size_text(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.0f} MB"
