"""Run in the guest: ask its systemd with the library that is named, and print what it answers, one line each."""

import sys

from agent.errors import AgentError
from agent.systemd import bus


def main(library: str) -> None:
    with bus.connected([library]) as manager:
        for question in (
            lambda: manager.act("start", "sleeps.service", timeout_s=60),
            lambda: manager.state("sleeps.service"),
            lambda: manager.act("restart", "sleeps.service", timeout_s=60),
            lambda: manager.act("stop", "sleeps.service", timeout_s=60),
            lambda: manager.act("start", "fails.service", timeout_s=60),
            lambda: manager.state("fails.service").active,
            lambda: manager.act("start", "slow.service", timeout_s=0.5),
            lambda: manager.act("start", "nothing.service", timeout_s=60),
            lambda: manager.state("nothing.service"),
            lambda: manager.enable("sleeps.service"),
            lambda: manager.state("sleeps.service"),
            lambda: manager.disable("sleeps.service"),
            lambda: manager.state("sleeps.service"),
        ):
            try:
                print(question())
            except AgentError as exc:
                print(f"{type(exc).__name__}: {exc}")


if __name__ == "__main__":
    main(sys.argv[1])
