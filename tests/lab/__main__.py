"""`python -m tests.lab`: a real Heat by hand."""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.lab import install, model, processes, redis, services
from tests.lab.errors import LabError
from tests.lab.model import ADMIN, DEMO, HOST, LISTENERS, REGION, SERVICES, Account, Lab, Settings


def main() -> int:
    args = parser().parse_args()
    try:
        return run(args)
    except LabError as exc:
        print(f"lab: {exc}", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m tests.lab", description="a real Heat on loopback")
    state = Path(tempfile.gettempdir()) / f"heat-lab-{os.getuid()}"
    top.add_argument("--dir", type=Path, default=state, help=f"run-time state (default: {state})")
    commands = top.add_subparsers(dest="command", required=True)
    commands.add_parser("install", help="build the environment, once per lock and Python")
    start = commands.add_parser("start", help="start everything, or the services named")
    start.add_argument("services", nargs="*", metavar="SERVICE", help=f"of {', '.join(SERVICES)}")
    start.add_argument("--port-base", type=int, help="first port of the block (default: a free one)")
    start.add_argument("--auth-ttl", type=int, default=15, metavar="MINUTES", help="life of a signed URL")
    start.add_argument("--bcrypt-rounds", type=int, default=4, help="cost of a password check")
    start.add_argument("--push", action="store_true", help="with the websocket side of Zaqar")
    start.add_argument("--enforce-new-defaults", action="store_true", help="Heat's own; refuses CFN polls")
    stop = commands.add_parser("stop", help="end everything, or the services named")
    stop.add_argument("services", nargs="*", metavar="SERVICE")
    commands.add_parser("status", help="what answers, with its pid and memory")
    env = commands.add_parser("env", help="shell lines with the OS_* variables of the test user")
    env.add_argument("--admin", action="store_true", help="of the administrator instead")
    env.add_argument("--json", action="store_true", help="as JSON, with the addresses")
    commands.add_parser("clean", help="stop and remove the run-time state")
    return top


def run(args: argparse.Namespace) -> int:
    if args.command == "install":
        redis.ensure()
        print(install.install())
        return 0
    if args.command == "start":
        return start(args)
    lab = model.load(args.dir.resolve())
    if lab is None:
        raise LabError(f"no lab in {args.dir}; 'python -m tests.lab start' makes one")
    return on(lab, args)


def on(lab: Lab, args: argparse.Namespace) -> int:
    """The commands that need a lab."""
    match args.command:
        case "stop":
            for name in chosen(args.services) or reversed(list(SERVICES)):
                services.stop_service(lab, name)
        case "status":
            return status(lab)
        case "env":
            environment(lab, ADMIN if args.admin else DEMO, as_json=args.json)
        case "clean":
            services.clean(lab)
        case unknown:
            raise LabError(f"no command {unknown!r}")
    return 0


def start(args: argparse.Namespace) -> int:
    began = time.monotonic()
    wanted = Settings(args.auth_ttl, args.bcrypt_rounds, args.push, args.enforce_new_defaults)
    lab = services.open_lab(args.dir, wanted, args.port_base)
    if names := chosen(args.services):
        for name in names:
            services.start_service(lab, name)
            services.wait_for(lab, name)
    else:
        services.start(lab)
    install.say(f"ready in {time.monotonic() - began:.1f} s; see 'env' for the addresses")
    return 0


def chosen(names: list[str]) -> list[str]:
    for name in names:
        if name not in SERVICES:
            raise LabError(f"no service {name!r}; there are {', '.join(SERVICES)}")
    return names


def status(lab: Lab) -> int:
    """Print a line per service; 1 unless all of them answer."""
    answering = {name: services.up(lab, name) for name in lab.services}
    for name, good in answering.items():
        pid = processes.running(lab, name)
        memory = processes.resident_mib(pid) if pid else 0
        word = "up" if good else "down"
        print(f"{name:9} {word:5} pid {pid or '-':<8} {memory:4} MiB  {HOST}:{lab.port(name)}")
    return 0 if all(answering.values()) else 1


def environment(lab: Lab, account: Account, *, as_json: bool) -> None:
    variables = {
        "OS_AUTH_URL": lab.auth_url,
        "OS_IDENTITY_API_VERSION": "3",
        "OS_USERNAME": account.user,
        "OS_PASSWORD": account.password,
        "OS_PROJECT_NAME": account.project,
        "OS_USER_DOMAIN_NAME": "Default",
        "OS_PROJECT_DOMAIN_NAME": "Default",
        "OS_REGION_NAME": REGION,
    }
    if as_json:
        print(json.dumps({**variables, "endpoints": {name: lab.url(name) for name in LISTENERS}}, indent=1))
    else:
        print("\n".join(f"export {name}={value}" for name, value in variables.items()))


if __name__ == "__main__":
    sys.exit(main())
