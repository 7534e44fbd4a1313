"""Traces imports and compiles modules, as a program of the interpreter that an image carries.

    python3 bytecode.py trace IMPORTS ABSENT DIRECTORY...   print "NAME<tab>FILE" for each module that is loaded
    python3 bytecode.py compile JOBS                        compile files to bytecode

IMPORTS has a line for each import: a module and then, separated by blanks, the names taken from it. ABSENT has a
module a line that must look as if it were not installed. DIRECTORY is searched after the library.
JOBS has the lines "SOURCE<tab>TARGET<tab>NAME<tab>LEVEL": NAME is what tracebacks show, LEVEL the optimization level
of compile().

It imports nothing that the interpreter has not built in: whatever it imported would be found by the trace.
"""

import sys


def _lines(path: str) -> list[str]:
    with open(path, encoding="utf-8") as stream:  # noqa: PTH123 - pathlib would be traced
        return stream.read().splitlines()


def trace(imports: str, absent: str, *directories: str) -> int:
    """Do the imports, then print what was loaded from files. The status is 1 where an import failed."""
    sys.path += directories
    for name in _lines(absent):
        sys.modules[name] = None  # type: ignore[assignment]
    failed = False
    for line in _lines(imports):
        module, *names = line.split()
        try:
            __import__(module, fromlist=names)
        except ImportError as error:
            print(f"{module}: {error}")
            failed = True
    for name, loaded in sorted(sys.modules.items()):
        origin = getattr(getattr(loaded, "__spec__", None), "origin", None)
        if origin not in (None, "built-in", "frozen"):
            print(f"{name}\t{origin}")
    return 1 if failed else 0


def compile_files(jobs: str) -> int:
    """Compile each file to a .pyc that is taken as it is, without a look at the source (PEP 552, unchecked)."""
    import importlib.util
    import marshal

    header = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8)
    for line in _lines(jobs):
        source, target, name, level = line.split("\t")
        with open(source, "rb") as stream:  # noqa: PTH123
            code = compile(stream.read(), name, "exec", dont_inherit=True, optimize=int(level))
        with open(target, "wb") as stream:  # noqa: PTH123
            stream.write(header + marshal.dumps(code))
    return 0


if __name__ == "__main__":
    sys.exit(trace(*sys.argv[2:]) if sys.argv[1] == "trace" else compile_files(*sys.argv[2:]))
