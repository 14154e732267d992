"""How packages, programs and tests of this project are built.

A package is one target, and depends on the packages that it imports;
tests/test_build.py keeps that so. Packages from PyPI are no dependencies: the
Python that //bazel:python.bzl finds has them all.
"""

def softmoe_package(deps = [], data = []):
    """The package of a folder, a library of its name.

    Args:
      deps: other packages.
      data: what its modules read.
    """
    native.py_library(
        name = native.package_name().rpartition("/")[2],
        srcs = native.glob(["*.py"]),
        srcs_version = "PY3",
        data = data,
        deps = deps,
    )

def softmoe_binary(name, srcs = [], deps = []):
    """The program name.py, or that of a package's __main__.py."""
    native.py_binary(
        name = name,
        srcs = srcs or [name + ".py"],
        main = srcs[0] if srcs else name + ".py",
        python_version = "PY3",
        srcs_version = "PY3",
        deps = deps,
    )

def softmoe_tests(deps, data = []):
    """Each test_*.py of a folder, run by pytest with the options of setup.cfg.

    Args:
      deps: of all of them.
      data: what they read.
    """
    for path in native.glob(["test_*.py"]):
        native.py_test(
            name = path[:-len(".py")],
            srcs = [path, "//bazel:run_pytest.py"] + native.glob(["conftest.py"]),
            main = "//bazel:run_pytest.py",
            args = ["$(location " + path + ")"],
            python_version = "PY3",
            srcs_version = "PY3",
            data = data + ["//:setup.cfg"],
            deps = deps,
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
        deps = [experiments],
        **kwargs
    )
