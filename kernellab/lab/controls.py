"""The controls of an explorer: what a reader can move, between which ends, and how it is written.

A control knows its allowed values, not its looks: the browser draws it (``static/explorer.js``),
the sweep asks it for its extremes and for random values, a scene asks it whether a setting fits.
"""

import math
from dataclasses import dataclass

import numpy as np

_RANDOM_SUBSET = 0.5  # chance of each option in a random selection


@dataclass(frozen=True)
class Control:
    """One input of an explorer's ``compute``.

    ``default`` is the value an explorer starts from, ``label`` stands beside the control (the
    argument's own name if it is empty) and ``help`` is shown when the pointer rests on the label.
    """

    default: object
    label: str = ""
    help: str = ""

    kind = ""

    def check(self, name: str, value):
        """Return ``value`` in the control's own type, or raise ValueError naming the control."""
        raise NotImplementedError

    def extremes(self) -> list:
        """Values at the ends of the control, for the sweep."""
        raise NotImplementedError

    def random(self, rng: np.random.Generator):
        """One allowed value, drawn with ``rng``."""
        raise NotImplementedError

    def format(self, value) -> str:
        """The value as it stands beside the control and in the text form."""
        return str(value)

    def spec(self, name: str) -> dict:
        """What the browser needs to draw the control."""
        return {
            "name": name,
            "kind": self.kind,
            "label": self.label or name.replace("_", " "),
            "help": self.help,
        }


@dataclass(frozen=True)
class _Range(Control):
    low: float = 0.0
    high: float = 1.0

    def check(self, name: str, value):
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
            raise ValueError(f"{name} must be a number, got {value!r}")
        value = float(value)
        slack = 1e-9 * (self.high - self.low)  # a slider's end may be off by rounding
        if not self.low - slack <= value <= self.high + slack:
            raise ValueError(
                f"{name} must lie between {self.format(self.low)} and {self.format(self.high)}, "
                f"got {value:g}"
            )
        return min(max(value, self.low), self.high)

    def extremes(self) -> list:
        return [self.low, self.high]

    def format(self, value) -> str:
        return f"{value:.4g}"

    def spec(self, name: str) -> dict:
        return super().spec(name) | {"low": self.low, "high": self.high}


@dataclass(frozen=True)
class Slider(_Range):
    """A number on a line, in steps of ``step``."""

    step: float = 0.01

    kind = "slider"

    def random(self, rng: np.random.Generator) -> float:
        steps = round((self.high - self.low) / self.step)
        return min(self.low + self.step * int(rng.integers(0, steps + 1)), self.high)

    def spec(self, name: str) -> dict:
        return super().spec(name) | {"step": self.step}


@dataclass(frozen=True)
class LogSlider(_Range):
    """A positive number whose slider moves in equal factors."""

    kind = "log_slider"

    def random(self, rng: np.random.Generator) -> float:
        value = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        return min(max(float(f"{value:.2e}"), self.low), self.high)

    def format(self, value) -> str:
        return f"{value:.3g}"

    def spec(self, name: str) -> dict:
        decades = math.log10(self.high / self.low)
        # At least 60 stops, and never fewer than 10 a decade, so that a drag feels continuous.
        return super().spec(name) | {"stops": max(60, round(10 * decades))}


@dataclass(frozen=True)
class IntSlider(_Range):
    """A whole number, in steps of ``step``."""

    step: int = 1

    kind = "int_slider"

    def check(self, name: str, value) -> int:
        value = super().check(name, value)
        if value != round(value):
            raise ValueError(f"{name} must be a whole number, got {value:g}")
        return round(value)

    def random(self, rng: np.random.Generator) -> int:
        return int(self.low + self.step * rng.integers(0, (self.high - self.low) // self.step + 1))

    def format(self, value) -> str:
        return str(int(value))

    def spec(self, name: str) -> dict:
        return super().spec(name) | {"step": self.step}


@dataclass(frozen=True)
class Choice(Control):
    """One of a few options."""

    options: tuple = ()

    kind = "choice"

    def check(self, name: str, value):
        for option in self.options:
            if option == value and isinstance(option, bool) == isinstance(value, bool):
                return option
        raise ValueError(f"{name} must be one of {_listed(self.options)}, got {value!r}")

    def extremes(self) -> list:
        return list(self.options)

    def random(self, rng: np.random.Generator):
        return self.options[int(rng.integers(len(self.options)))]

    def spec(self, name: str) -> dict:
        return super().spec(name) | {"options": [str(option) for option in self.options]}


@dataclass(frozen=True)
class Choices(Control):
    """Any number of a few options, none included; the value is a tuple in the options' order."""

    options: tuple = ()

    kind = "choices"

    def check(self, name: str, value) -> tuple:
        if isinstance(value, str) or not hasattr(value, "__iter__"):
            raise ValueError(f"{name} must be a list out of {_listed(self.options)}, got {value!r}")
        wanted = list(value)
        unknown = [item for item in wanted if item not in self.options]
        if unknown:
            raise ValueError(
                f"{name} must be a list out of {_listed(self.options)}, got {unknown[0]!r} in it"
            )
        return tuple(option for option in self.options if option in wanted)

    def extremes(self) -> list:
        return [(), *((option,) for option in self.options), tuple(self.options)]

    def random(self, rng: np.random.Generator) -> tuple:
        return tuple(option for option in self.options if rng.random() < _RANDOM_SUBSET)

    def format(self, value) -> str:
        return " + ".join(str(option) for option in value) or "none"

    def spec(self, name: str) -> dict:
        return super().spec(name) | {"options": [str(option) for option in self.options]}


@dataclass(frozen=True)
class Toggle(Control):
    """On or off."""

    kind = "toggle"

    def check(self, name: str, value) -> bool:
        if not isinstance(value, bool | np.bool_):
            raise ValueError(f"{name} must be True or False, got {value!r}")
        return bool(value)

    def extremes(self) -> list:
        return [False, True]

    def random(self, rng: np.random.Generator) -> bool:
        return bool(rng.integers(2))

    def format(self, value) -> str:
        return "on" if value else "off"


def slider(low, high, default, step=None, *, label="", help="") -> Slider:
    """A slider from ``low`` to ``high``; without ``step`` it has about a hundred round stops.

    >>> slider(0, 1, 0.2, step=0.05).extremes()
    [0.0, 1.0]
    """
    low, high = _ends(low, high)
    step = _round_step((high - low) / 100) if step is None else float(step)
    if not 0 < step <= high - low:
        raise ValueError(f"step must lie in (0, {high - low:g}], got {step!r}")
    return _with_default(Slider(float(default), label, help, low, high, step))


def log_slider(low, high, default, *, label="", help="") -> LogSlider:
    """A slider over positive numbers whose stops are equal factors apart.

    >>> log_slider(1e-6, 1, 1e-2).format(1e-5)
    '1e-05'
    """
    low, high = _ends(low, high)
    if low <= 0:
        raise ValueError(f"low must be positive for a log slider, got {low:g}")
    return _with_default(LogSlider(float(default), label, help, low, high))


def int_slider(low, high, default, step=1, *, label="", help="") -> IntSlider:
    """A slider over whole numbers.

    >>> int_slider(8, 256, 64).extremes()
    [8, 256]
    """
    for name, value in (("low", low), ("high", high), ("default", default), ("step", step)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise ValueError(f"{name} must be a whole number, got {value!r}")
    _ends(low, high)
    if not 0 < step <= high - low:
        raise ValueError(f"step must lie between 1 and {high - low}, got {step!r}")
    return _with_default(IntSlider(int(default), label, help, int(low), int(high), int(step)))


def choice(options, default=None, *, label="", help="") -> Choice:
    """One of ``options``; the first one unless ``default`` says otherwise."""
    options = _options(options)
    return _with_default(Choice(options[0] if default is None else default, label, help, options))


def choices(options, default=(), *, label="", help="") -> Choices:
    """Any subset of ``options``; ``compute`` receives a tuple in the options' order."""
    control = Choices(default, label, help, _options(options))
    return Choices(control.check("default", default), label, help, control.options)


def toggle(default=False, *, label="", help="") -> Toggle:
    """On or off."""
    return _with_default(Toggle(default, label, help))


def _round_step(about: float) -> float:
    """The 1, 2 or 5 times a power of ten next below ``about``."""
    power = 10.0 ** math.floor(math.log10(about) + 1e-9)
    factor = max(f for f in (1, 2, 5) if f * power <= about * (1 + 1e-9) or f == 1)
    return float(f"{factor * power:.1e}")


def _ends(low, high) -> tuple[float, float]:
    low, high = float(low), float(high)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"low must be smaller than high, both finite, got {low:g} and {high:g}")
    return low, high


def _options(options) -> tuple:
    options = tuple(options)
    if not options:
        raise ValueError("options must name at least one option, got none")
    if len({str(option) for option in options}) < len(options):
        raise ValueError(f"options must differ from each other, got {_listed(options)}")
    return options


def _listed(options) -> str:
    return ", ".join(repr(option) for option in options)


def _with_default(control):
    control.check("default", control.default)
    return control
