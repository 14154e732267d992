"""How libraries, binaries and tests of this project are built.

A dependency on a package from PyPI is a comment in `deps`, "# Implicit jax
dependency.", as in Pax: the Python that //bazel:python.bzl finds has them all.
tests/test_build.py keeps `deps` equal to what a file imports.
"""

def softmoe_library(name, srcs, deps = [], by_name = [], **kwargs):
    """A library of one file.

    Args:
      name: that of the file without .py, of the folder for __init__.py.
      srcs: the file.
      deps: what it imports.
      by_name: what it imports by names that are only known at run time.
      **kwargs: of py_library.
    """
    native.py_library(
        name = name,
        srcs = srcs,
        srcs_version = "PY3",
        deps = deps + by_name,
        **kwargs
    )

def softmoe_binary(name, srcs, main, deps = [], by_name = []):
    """A program of one file; see softmoe_library."""
    native.py_binary(
        name = name,
        srcs = srcs,
        main = main,
        python_version = "PY3",
        srcs_version = "PY3",
        deps = deps + by_name,
    )

def softmoe_test(name, srcs, deps = [], by_name = [], data = [], **kwargs):
    """The tests of one file, run by pytest with the options of setup.cfg."""
    native.py_test(
        name = name,
        srcs = srcs + ["//bazel:run_pytest.py"],
        main = "//bazel:run_pytest.py",
        args = ["$(location " + srcs[0] + ")"],
        python_version = "PY3",
        srcs_version = "PY3",
        data = data + ["//:setup.cfg"],
        deps = deps + by_name,
        **kwargs
    )

def pax_targets(experiments):
    """Pax' programs with experiments registered, by the names that Pax uses.

    Args:
      experiments: the library whose import registers them all.
    """
    _pax_program("main", "paxml.main", experiments, native.py_binary)
    _pax_program(
        "dump_hparams",
        "paxml.tools.dump_hparams",
        experiments,
        native.py_binary,
    )
    _pax_program(
        "all_experiments_smoke_test",
        "paxml.experiment_imports_all_test",
        experiments,
        native.py_test,
        timeout = "long",
    )

def _pax_program(name, module, experiments, rule, **kwargs):
    package = Label(experiments).package.replace("/", ".")
    lines = [
        "import runpy",
        "import " + package,
        "runpy.run_module(\"%s\", run_name=\"__main__\", alter_sys=True)" % module,
    ]
    native.genrule(
        name = name + "_source",
        outs = [name + ".py"],
        cmd = "printf '%s\\n' " + " ".join(["'%s'" % l for l in lines]) + " > $@",
    )
    rule(
        name = name,
        srcs = [name + ".py"],
        python_version = "PY3",
        srcs_version = "PY3",
        deps = [
            experiments,
            # Implicit paxml dependency.
        ],
        **kwargs
    )
