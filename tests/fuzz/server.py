"""A forking server of old command names: every program that runs here is a fork of one that has imported it already.

    python server.py SIDE     requests and answers are lines of JSON on stdin and stdout

A request holds `tool`, `argv`, `env`, `cwd` and `stdin`; an answer `status` (None when the time was over), `stdout` and
`stderr`, with bytes as Latin-1. Runs on the interpreter of either side and needs nothing else of this repository.
"""

import contextlib
import importlib
import json
import os
import runpy
import signal
import sys
import traceback

TIME_S = 150

# what the tools import, but for what reads the environment while it is imported
PRELOADED = {
    "ours": (
        "agent.cli.main agent.cli.apply agent.cli.refresh agent.cli.collect agent.cli.kolla agent.cli.cfn agent.phases"
        " agent.apply.templates agent.apply.jinja agent.apply.cfn agent.apply.cfn_fetch"
        " agent.apply.cfn_services agent.apply.install agent.cli.apply_tree agent.apply.kolla agent.cache"
        " agent.apply.report structlog yaml requests urllib3 http.client json.decoder encodings.idna"
    ),
    "theirs": (
        "yaml pystache pystache.context argparse logging subprocess json tempfile os_apply_config.oac_file"
        " os_apply_config.renderers os_apply_config.collect_config os_apply_config.value_types"
        " oslo_config.cfg oslo_log.log keystoneclient.v3.client keystoneclient.discover heatclient.client lxml.etree"
        " zaqarclient.queues.v2.client dogpile.cache requests psutil heat_cfntools.cfntools.cfn_helper"
        " configparser glob grp pwd shutil pathlib encodings.idna"
    ),
}


def main(side):
    del sys.path[0]  # our own directory: no module of the tools lies there
    for name in PRELOADED[side].split():
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(attend(side, request)), flush=True)


def attend(side, request):
    """Run one request in a child with a session of its own, and end what it leaves."""
    streams = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
    os.write(streams[0], request["stdin"].encode("latin-1"))
    os.lseek(streams[0], 0, os.SEEK_SET)
    child = os.fork()
    if child == 0:
        become(side, request, streams)
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(child, signal.SIGKILL))
    signal.alarm(TIME_S)
    _, status = os.waitpid(child, 0)
    in_time = bool(signal.alarm(0))
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    told = [os.pread(fd, 1 << 24, 0).decode("latin-1") for fd in streams[1:]]
    for fd in streams:
        os.close(fd)
    ended = os.waitstatus_to_exitcode(status) if in_time else None
    return {"status": ended, "stdout": told[0], "stderr": told[1]}


def become(side, request, streams):
    """Be the program, in this child; never returns."""
    status = 70
    try:
        os.setsid()
        for number, fd in enumerate(streams):
            os.dup2(fd, number)
        os.environ.clear()
        os.environ.update(request["env"])
        os.chdir(request["cwd"])
        os.umask(0o022)
        sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
        sys.stderr = os.fdopen(2, "w", errors="backslashreplace")
        status = run(side, request["tool"], request["argv"])
    except SystemExit as exc:
        status = exc.code if isinstance(exc.code, int) else 0 if exc.code is None else 1
        if isinstance(exc.code, str):
            print(exc.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001 - whatever it is, the program ends as an interpreter would end it
        status = 1
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit((status or 0) & 0xFF)


def run(side, tool, argv):
    sys.argv = [f"{sys.prefix}/bin/{tool}", *argv]
    if side == "ours":
        from agent.cli.main import main as door

        return door(argv, tool)
    if tool == "dib-run-parts":
        os.execv(sys.argv[0], sys.argv)
    if tool == "kolla_set_configs":
        from importlib.util import find_spec

        (package,) = find_spec("kolla").submodule_search_locations
        runpy.run_path(f"{package}/docker/base/set_configs.py", run_name="__main__")
        return 0
    if tool == "os-collect-config":
        import locale

        # its `local` source ends the program in the C locale, on Python 3.11 and before
        locale.setlocale = lambda *_: "C"
    runpy.run_path(sys.argv[0], run_name="__main__")
    return 0


if __name__ == "__main__":
    main(sys.argv[1])
