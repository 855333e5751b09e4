"""Modules that came without their bytecode are counted."""

import importlib.util
import py_compile
import sys

from probe_agent.engines import bytecode


def module_at(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    return importlib.util.module_from_spec(spec)


def test_counts_the_modules_that_have_no_bytecode_where_it_belongs(tmp_path):
    modules = []
    for name in ("compiled", "uncompiled"):
        (tmp_path / f"{name}.py").write_text("")
        modules.append(module_at(tmp_path / f"{name}.py"))

    py_compile.compile(str(tmp_path / "compiled.py"), doraise=True)
    assert bytecode.missing(modules) == (1, 2)
    assert bytecode.missing([*modules, sys]) == (1, 2)  # a module built into Python has no bytecode
