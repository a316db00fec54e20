"""Compiled functions: numba behind one decorator, compiled at first call and never at import.

``@compiled(signature)`` keeps a hot loop as plain Python until somebody calls it. The first call
imports numba and loads the machine code from numba's file cache, or compiles it and fills the
cache. A compiled function may call others, from Python or from inside another compiled function.

Two things are added to numba's cache. Numba looks at the file of a function only, so code into
which a helper of *another* file was inlined would go stale: here the freshness stamp covers the
files of all callees. And bounds-checked code (``NUMBA_BOUNDSCHECK=1``) and code for other
processors (``NUMBA_CPU_NAME``) keep to files of their own, so that they never mix, even when
several processes write at once.
"""

import contextlib
import dis
import functools
import hashlib
import importlib
import importlib.util
import inspect
import os
import pkgutil
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

_REGISTRY: dict[str, "Compiled"] = {}


def compiled(signature: str, **options) -> Callable[[Callable], "Compiled"]:
    """Declare a function to be compiled for one signature at its first call.

    Parameters
    ----------
    signature : numba's notation, e.g. ``"void(float64[:,::1], float64, float64[:,::1])"``
    options : passed to ``numba.njit``, e.g. ``fastmath={"contract"}``, ``parallel=True``,
        ``forceinline=True``; ``nogil`` is on, and a division by zero gives inf or NaN as in NumPy
        (``error_model="numpy"``) because a test for it in each step would stop vectorisation

    Returns
    -------
    a decorator that gives a ``Compiled``

    >>> @compiled("float64(float64)")
    ... def half(x):
    ...     return x / 2
    >>> half(3.0)
    1.5
    """

    def declare(function: Callable) -> Compiled:
        declared = Compiled(function, signature, options)
        _REGISTRY[f"{declared.__module__}.{declared.__qualname__}"] = declared
        return declared

    return declare


class Compiled:
    """A function that numba compiles, or loads from its cache, at the first call.

    Made by ``@compiled``, which also lists it for ``warm``. What is made of a reader's own rules at
    run time is a ``Compiled`` too, but no part of the package: it stands in no list.

    Attributes
    ----------
    py_func : the function as written, in Python
    signature : its numba signature, as text
    """

    def __init__(self, py_func: Callable, signature: str, options: dict):
        functools.update_wrapper(self, py_func)
        self.py_func = py_func
        self.signature = signature
        self.options = {"nogil": True, "error_model": "numpy", **options}
        self._ready = None  # what a call runs, once it is compiled
        self._dispatcher = None  # numba's object for it, which may still be compiling

    def __call__(self, *arguments):
        return (self._ready or self.compile())(*arguments)

    def __repr__(self) -> str:
        return f"<compiled {self.__module__}.{self.__qualname__} {self.signature}>"

    def __reduce__(self):
        return self.__qualname__  # pickled by name, as functions are

    def compile(self) -> Callable:
        """Load or compile the function, and return numba's dispatcher for it."""
        import numba
        from numba.core.compiler_lock import global_compiler_lock

        # Numba's own lock: one of ours could deadlock with a thread that holds numba's already.
        with global_compiler_lock:
            _teach_numba()
            if self._ready is None:
                dispatcher = self._declare()
                if not numba.config.DISABLE_JIT:
                    dispatcher.compile(self.signature)
                    dispatcher.disable_compile()
                self._ready = dispatcher
        return self._ready

    def is_cached(self) -> bool:
        """Tell whether the cache holds up-to-date code; nothing is compiled or loaded."""
        import numba
        from numba.core.compiler_lock import global_compiler_lock
        from numba.core.registry import cpu_target

        if numba.config.DISABLE_JIT:
            return True
        with global_compiler_lock:
            cache = self._declare()._cache
            if not isinstance(cache, _cache_class()):
                return False
            return cache.holds(self.signature, cpu_target.target_context)

    def callees(self) -> list["Compiled"]:
        """Return the compiled functions that this one calls, directly or not."""
        return [thing for thing in _reachable(self.py_func) if isinstance(thing, Compiled)]

    def _declare(self):
        """Return numba's dispatcher, compiled or not."""
        import numba

        if self._dispatcher is None:
            self._dispatcher = numba.njit(**self.options)(self.py_func)
            if not numba.config.DISABLE_JIT:
                # A function typed at a prompt has no file to be cached beside: numba's word for it.
                with contextlib.suppress(RuntimeError):
                    self._dispatcher._cache = _cache_class()(self.py_func)
        return self._dispatcher

    def _dispatcher_for_caller(self):
        """Return the dispatcher for a compiled function that calls this one."""
        dispatcher = self._declare()
        # While it compiles itself (recursion), numba needs the dispatcher as it is.
        if not dispatcher.is_compiling:
            self.compile()
        return dispatcher


def registry() -> list[Compiled]:
    """Return the compiled functions of all modules imported so far, ordered by name."""
    return [_REGISTRY[name] for name in sorted(_REGISTRY)]


@functools.cache
def _teach_numba() -> None:
    """Let numba see a ``Compiled`` inside compiled code as the dispatcher it stands for."""
    from numba.core import types as numba_types
    from numba.extending import typeof_impl

    @typeof_impl.register(Compiled)
    def _typeof_compiled(value, context):
        return numba_types.Dispatcher(value._dispatcher_for_caller())


# The cache


@functools.cache
def _cache_class():
    """Return our cache class (made late, since its base lives in numba)."""
    from numba.core import caching, config

    class CompiledCache(caching.FunctionCache):
        """Numba's function cache, stamped with the sources of callees too."""

        def __init__(self, py_func):
            super().__init__(py_func)
            self._fingerprint = _fingerprint(py_func)
            self._variants = {}

        def _load_overload(self, signature, target_context):
            self._use_variant(target_context.codegen())
            return super()._load_overload(signature, target_context)

        def _save_overload(self, signature, data):
            self._use_variant(data.codegen)
            super()._save_overload(signature, data)

        def _index_key(self, signature, codegen):
            # Numba pickles a closure here, which differs between processes when it holds
            # functions; the fingerprint covers closures as well.
            return (signature, codegen.magic_tuple(), self._fingerprint, *_settings(config))

        def holds(self, signature, target_context) -> bool:
            """Tell whether fresh code for the signature is on disk."""
            target_context.refresh()
            codegen = target_context.codegen()
            self._use_variant(codegen)
            name = self._cache_file._load_index().get(self._index_key(signature, codegen))
            return name is not None and os.path.exists(self._cache_file._data_path(name))

        def _use_variant(self, codegen) -> None:
            """Choose the files for this processor and these settings."""
            variant = _digest(repr((codegen.magic_tuple(), _settings(config))).encode())[:8]
            if variant not in self._variants:
                self._variants[variant] = caching.IndexDataCacheFile(
                    cache_path=self._cache_path,
                    filename_base=f"{self._impl.filename_base}-{variant}",
                    source_stamp=(self._impl.locator.get_source_stamp(), self._fingerprint),
                )
            self._cache_file = self._variants[variant]

    return CompiledCache


def _settings(config) -> tuple:
    """Return the settings that change generated code and that numba's own key leaves out."""
    return (bool(config.BOUNDSCHECK), str(config.OPT), config.LOOP_VECTORIZE, config.SLP_VECTORIZE)


def _fingerprint(py_func: Callable) -> str:
    """Return a digest of all that is compiled into a function: it, its callees, constants."""
    parts = [py_func.__code__.co_code]
    for thing in _reachable(py_func):
        function = _python_function(thing)
        if function is None:
            parts.append(_constant_bytes(thing))
        else:
            parts.append(_source_digest(function))
    return _digest(*parts)


def _reachable(py_func: Callable) -> list:
    """Return callees and constants that a function refers to, directly or not, in order."""
    found, seen = [], {id(py_func)}
    waiting = list(_referred(py_func))
    while waiting:
        thing = waiting.pop(0)
        function = _python_function(thing)
        # A constant counts each time; a function once.
        if function is not None:
            if id(function) in seen:
                continue
            seen.add(id(function))
            waiting.extend(_referred(function))
        found.append(thing)
    return found


def _referred(function: Callable) -> Iterator:
    """Yield what a function's names stand for: globals, ``module.attribute`` and closure cells."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # a cell that is not filled yet
            continue
    for path in _global_paths(function.__code__):
        if path[0] not in function.__globals__:
            continue  # a builtin
        value = function.__globals__[path[0]]
        for attribute in path[1:]:
            if not isinstance(value, types.ModuleType):
                break
            value = getattr(value, attribute, None)
        if not isinstance(value, types.ModuleType):
            yield value


def _global_paths(code: types.CodeType) -> Iterator[tuple[str, ...]]:
    """Yield ``("name", "attribute", ...)`` for each global that the code loads."""
    path = []
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_ATTR", "LOAD_METHOD") and path:
            path.append(instruction.argval)
            continue
        if path:
            yield tuple(path)
        path = [instruction.argval] if instruction.opname == "LOAD_GLOBAL" else []
    if path:
        yield tuple(path)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _global_paths(constant)


def _python_function(thing) -> types.FunctionType | None:
    """Return the Python function behind a compiled function, numba dispatcher or intrinsic.

    Functions of numba and NumPy themselves count as fixed: numba's version is in the cache's index.
    """
    for attribute in ("py_func", "_defn"):
        thing = getattr(thing, attribute, thing)
    if not isinstance(thing, types.FunctionType):
        return None
    package = (thing.__module__ or "").partition(".")[0]
    return None if package in ("numba", "numpy", "math") else thing


def _constant_bytes(value) -> bytes:
    """Return bytes that change when a global constant changes (numba freezes its value)."""
    if isinstance(value, (bool, int, float, complex, str, bytes, tuple, type(None))):
        return repr(value).encode()
    if isinstance(value, (np.ndarray, np.generic)):
        return f"{value.dtype}{value.shape}".encode() + value.tobytes()
    return getattr(value, "__qualname__", type(value).__qualname__).encode()


def _source_digest(function: types.FunctionType) -> bytes:
    """Return a digest of the file that a function stands in, or of its text when it has no file."""
    path = function.__code__.co_filename
    try:
        status = os.stat(path)
    except OSError:
        try:
            text = inspect.getsource(function).encode()
        except (OSError, TypeError):
            text = function.__code__.co_code + repr(function.__code__.co_consts).encode()
        return _digest(text).encode()
    return _file_digest(path, status.st_mtime_ns, status.st_size)


@functools.cache
def _file_digest(path: str, mtime: int, size: int) -> bytes:
    """Return a file's digest; time and size make an edited file count as another one."""
    with open(path, "rb") as file:
        return _digest(file.read()).encode()


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


# Compiling everything ahead


@dataclass(frozen=True)
class Progress:
    """How far ``warm`` is: ``done`` of ``total`` functions, the last one being ``name``."""

    done: int
    total: int
    name: str


def warm(
    progress: Callable[[Progress], None] | None = None,
    processes: int | None = None,
    packages: tuple[str, ...] = ("kernellab.compute", "kernellab.methods"),
) -> int:
    """Compile every function of the packages that is not in the cache yet, on all cores.

    Parameters
    ----------
    progress : called after each function
    processes : how many processes compile; None: one a core
    packages : whose modules are imported to find compiled functions

    Returns
    -------
    the number of functions that were compiled
    """
    functions = _functions_of(packages)
    total = len(functions)
    missing = [function for function in functions if not function.is_cached()]
    done = total - len(missing)
    if progress and done:
        progress(Progress(done, total, "functions in the cache"))
    # Helpers first: those who call them then find them in the cache.
    missing.sort(key=lambda function: len(function.callees()))
    for name in _compile_in_processes(missing, processes or os.cpu_count() or 1):
        done += 1
        if progress:
            progress(Progress(done, total, name))
    return len(missing)


def _functions_of(packages: tuple[str, ...]) -> list[Compiled]:
    """Import all modules of the packages and return their compiled functions."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            continue
        root = importlib.import_module(package)
        for module in pkgutil.walk_packages(root.__path__, prefix=f"{package}."):
            importlib.import_module(module.name)
    prefixes = tuple(f"{package}." for package in packages)
    return [function for function in registry() if f"{function.__module__}.".startswith(prefixes)]


def _compile_in_processes(functions: list[Compiled], processes: int) -> Iterator[str]:
    """Compile functions and yield the name of each as it becomes ready."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed

    names = [f"{function.__module__}.{function.__qualname__}" for function in functions]
    if min(processes, len(functions)) <= 1:  # a pool would only cost its start
        for name, function in zip(names, functions, strict=True):
            function.compile()
            yield name
        return
    # "spawn" works alike on every system, and is safe when the caller runs threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(functions)), mp_context=context) as pool:
        jobs = {
            pool.submit(_compile_one, function.__module__, name): name
            for name, function in zip(names, functions, strict=True)
        }
        for job in as_completed(jobs):
            job.result()
            yield jobs[job]


def _compile_one(module: str, name: str) -> None:
    """Compile one function in a worker process, which fills the cache for all."""
    importlib.import_module(module)
    _REGISTRY[name].compile()
