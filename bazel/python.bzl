"""Finds the Python that has the packages which BUILD files call implicit."""

_BUILD = """
licenses(["notice"])

load("@bazel_tools//tools/python:toolchain.bzl", "py_runtime_pair")

py_runtime(
    name = "runtime",
    interpreter_path = "{path}",
    python_version = "PY3",
)

py_runtime_pair(
    name = "pair",
    py3_runtime = ":runtime",
)

toolchain(
    name = "toolchain",
    toolchain = ":pair",
    toolchain_type = "@bazel_tools//tools/python:toolchain_type",
)
"""

def _local_python_impl(context):
    path = context.os.environ.get("SOFTMOE_PYTHON", "")
    if not path:
        root = context.path(Label("//:WORKSPACE")).dirname
        path = str(root) + "/.venv/bin/python"
    if not context.path(path).exists:
        fail(
            "there is no Python at " + path + ": run `make env-dev`, or set " +
            "SOFTMOE_PYTHON to one that has the packages of requirements.lock",
        )
    context.file("BUILD", _BUILD.format(path = path))

local_python = repository_rule(
    implementation = _local_python_impl,
    doc = "A toolchain of SOFTMOE_PYTHON, or else of .venv/bin/python.",
    environ = ["SOFTMOE_PYTHON"],
    local = True,
)
