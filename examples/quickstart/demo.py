"""The quick start: three deployments, one agent, one endpoint, all on this machine and without a cloud.

    make demo      or      .ci/python examples/quickstart/demo.py

Ends with 0 when everything went as this example promises, with 1 otherwise.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.request import urlopen

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
AGENT = [sys.executable, "-m", "agent"]
WAIT_S = 60
COLUMNS = (16, 6, 6, 36)

# deployment -> (status on the guest, verdict of the endpoint)
PROMISED = {
    "say-hello": (0, "COMPLETE"),
    "fail-on-purpose": (3, "FAILED"),
    "read-json-inputs": (0, "COMPLETE"),
}


def main():
    sys.stdout.reconfigure(line_buffering=True)  # the agent's own words come in between
    guest = Path(tempfile.mkdtemp(prefix="os-deploy-agent-demo-"))
    print("1. An endpoint that stands in for Heat: agent serve examples/quickstart")
    endpoint = subprocess.Popen([*AGENT, "serve", str(HERE)], env=environment(), stdout=subprocess.PIPE, text=True)
    try:
        url = endpoint.stdout.readline().rpartition(" at ")[2].strip()
        if not url:
            sys.exit("the endpoint did not start, see above")
        print(f"   serves {url}")
        fine = deploy(guest, url)
    finally:
        endpoint.terminate()
        endpoint.wait(WAIT_S)
    print("5. What to look at next:")
    print(f"   {guest} is the guest: var/log has the output, var/lib the state (`rm -r` it when done)")
    print("   examples/quickstart/metadata.json, README.md, docs/architecture.md")
    print("Everything went as promised." if fine else "SOMETHING DID NOT GO AS PROMISED, see above.")
    return 0 if fine else 1


def deploy(guest, url):
    """Run the agent twice and show what it did; whether that is what this example promises."""
    print(f"2. The agent, once, with {guest} as its file system:")
    print("   agent --once --collectors request --request-metadata-url URL --root GUEST")
    status = once(guest, url)
    print(f"   ended with {status}" + (": a deployment failed, as it should here" if status == 1 else ""))
    taken, began = signals(url), begun(guest)
    print("3. What the agent stored, and what the endpoint made of the signals:")
    show(guest, taken)
    print("4. The agent once more: nothing is new, so no hook may run again")
    again = once(guest, url)
    quiet = began == begun(guest) and taken == signals(url)
    print(f"   ended with {again}, " + ("no hook ran, nothing was sent" if quiet else "BUT IT DID SOMETHING"))
    return (status, again, quiet) == (1, 0, True) and as_promised(guest, taken)


def once(guest, url):
    request = ["--collectors", "request", "--request-metadata-url", url]
    command = [*AGENT, "--once", *request, "--root", str(guest), "--log-level", "warning"]
    return subprocess.run(command, env=environment(), timeout=WAIT_S, check=False).returncode


def environment():
    """Ours; the checkout is importable, and the Python of this environment serves the third script."""
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(CHECKOUT)}


def signals(url):
    with urlopen(url.replace("/metadata.json", "/signals"), timeout=WAIT_S) as answer:
        return {signal["name"]: signal for signal in json.load(answer)}


def outcomes(guest):
    """What the agent stored for each deployment: name -> (group, the signal's body)."""
    found = {}
    for mark in sorted((guest / "var/lib/heat-config/deployed").glob("*-*.json")):
        if not mark.name.endswith(".notify.json"):
            deployment = json.loads(mark.read_text())
            found[deployment["name"]] = deployment["group"], json.loads(mark.with_suffix(".notify.json").read_text())
    return found


def begun(guest):
    """When each deployment was begun."""
    return {mark.name: mark.stat().st_mtime_ns for mark in (guest / "var/lib/heat-config/deployed").iterdir()}


def show(guest, taken):
    row("deployment", "group", "status", "outputs, first lines", "endpoint")
    row(*("-" * width for width in COLUMNS), "-" * 8)
    for name, (group, body) in outcomes(guest).items():
        verdict = taken.get(name, {"status": "nothing"})["status"]
        first, *others = lines(body)
        row(name, group, body["deploy_status_code"], first, verdict)
        for line in others:
            row("", "", "", line, "")


def lines(body):
    """Outputs, then the first line of each stream."""
    found = [f"{key} = {value.strip()}" for key, value in body.items() if not key.startswith("deploy_")]
    for stream in ("stdout", "stderr"):
        text = body[f"deploy_{stream}"].splitlines()
        found += [f"{stream}: {text[0]}"] if text else []
    width = COLUMNS[3]
    return [line if len(line) <= width else line[: width - 3] + "..." for line in found] or [""]


def row(*cells):
    padded = [f"{cell!s:{width}}" for cell, width in zip(cells, COLUMNS, strict=False)]
    print("   " + " ".join([*padded, cells[-1]]).rstrip())


def as_promised(guest, taken):
    stored = outcomes(guest)
    return stored.keys() == taken.keys() == PROMISED.keys() and all(
        (stored[name][1]["deploy_status_code"], taken[name]["status"]) == promise for name, promise in PROMISED.items()
    )


if __name__ == "__main__":
    sys.exit(main())
