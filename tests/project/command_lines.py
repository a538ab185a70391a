"""Runs command lines as a user types them, each in a process forked from a warm one.

``python command_lines.py <project> <cases.json> <results.json>``: the cases are lists of
words, the results lists of an exit code, what was shown, and seconds.
"""

import json
import os
import select
import signal
import sys
import time
import traceback

LIMIT_S = 60


def call(words):
    """What `kedro`, `tabweave` or the container's module do with these words."""
    sys.argv = words
    if words[0] == "container":
        from tabweave.sagemaker.container import command

        command(words[1:])
    elif words[0] == "kedro":
        from kedro.framework.cli.cli import main

        main()
    else:
        from tabweave.__main__ import main

        main()


def child(words, write):
    """Ends as the interpreter does: with the exit code, or a traceback and 1."""
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for handle in (1, 2):
        os.dup2(write, handle)
    sys.stdout = os.fdopen(1, "w")
    sys.stderr = os.fdopen(2, "w", errors="backslashreplace")  # as Python opens it
    code = 0
    try:
        call(words)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run(words):
    read, write = os.pipe()
    began = time.monotonic()
    process = os.fork()
    if process == 0:
        os.close(read)
        child(words, write)
    os.close(write)
    shown = b""
    while True:
        left = LIMIT_S - (time.monotonic() - began)
        if left <= 0 or not select.select([read], [], [], left)[0]:
            os.killpg(process, signal.SIGKILL)
            shown += f"\nTraceback: nothing in {LIMIT_S} s".encode()
            break
        more = os.read(read, 2**16)
        if not more:
            break
        shown += more
    os.close(read)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return code, shown.decode("utf-8", "replace"), time.monotonic() - began


def warm():
    """Imports what every command imports, once for all."""
    from kedro.framework.project import pipelines
    from kedro.framework.startup import bootstrap_project

    import tabweave.cli.commands
    import tabweave.sagemaker.container
    import tabweave.scoring  # noqa: F401

    bootstrap_project(os.getcwd())
    dict(pipelines)


def main(project, cases, results):
    os.chdir(project)
    warm()
    with open(cases) as file:
        found = [run(words) for words in json.load(file)]
    with open(results, "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
