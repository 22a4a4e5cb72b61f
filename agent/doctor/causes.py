"""The closed list of causes, in the order in which one hides another: what comes first is mended first. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    """`code` is what programs look for; `next_step` is what a person does."""

    code: str
    title: str
    next_step: str


CAUSES = (
    Cause("settings-broken", "the settings cannot be read", "mend the file and key that are named; agent validate"),
    Cause("state-unreadable", "this user may not read the agent's state", "run it as root, or as the agent's user"),
    Cause("disk-read-only", "the state is on a read-only disk", "look into dmesg, then mount it read-write"),
    Cause("disk-full", "there is no room for the state", "free space or inodes below the path that is named"),
    Cause(
        "bootstrap-unreadable", "what cloud-init left is no JSON", "look at the file; rebuild the server, or mend it"
    ),
    Cause(
        "flags-missing",
        "the agent was told of a source by flags or variables that this command was not given",
        "repeat them behind agent doctor, or write them into /etc/os-deploy-agent/agent.conf",
    ),
    Cause(
        "no-bootstrap",
        "no source is configured: cloud-init left no metadata for this server",
        "the template's server needs user_data_format: SOFTWARE_CONFIG; see cloud-init status --long",
    ),
    Cause("proxy", "the proxy does not let us through", "see the setting proxy and http_proxy, https_proxy, no_proxy"),
    Cause("dns", "a host's name is not found", "look at /etc/resolv.conf, or use an address that resolves here"),
    Cause("no-route", "there is no way to the address", "look at ip route and the server's network"),
    Cause("connection-refused", "nobody listens there", "is the service up? is it the public endpoint, and the port?"),
    Cause("no-answer", "the address does not answer", "a firewall or a security group drops it, or the service hangs"),
    Cause("tls-expired", "the certificate of the server has ended", "whoever runs the cloud renews it"),
    Cause("tls-name", "the certificate is for another name", "use the name that is in the certificate"),
    Cause("tls-untrusted", "the certificate is of a CA that is not known here", "name its file: the setting ca_file"),
    Cause("tls-failed", "there is no TLS there", "is it https at all? look at the port and client_cert"),
    Cause(
        "clock-skew", "this machine's clock is wrong", "start a time service; signed requests are refused until then"
    ),
    Cause("stack-gone", "the stack does not exist any more", "this server belongs to no stack: delete it"),
    Cause("credentials-refused", "the cloud refuses our credentials", "rebuild the server, or update the stack"),
    Cause("not-found", "the metadata is not where we look", "compare the URL, stack and resource with the stack's"),
    Cause("not-metadata", "what answers is no metadata", "a login page or proxy? fetch the URL by hand"),
    Cause(
        "server-failing", "the cloud's service fails", "nothing to do here: the agent tries again; tell the operator"
    ),
    Cause(
        "url-expired",
        "the signal URL has ended, and no other door is left",
        "the hook takes longer than Keystone's [credential] auth_ttl: raise that, or use HEAT_SIGNAL; update the stack",
    ),
    Cause(
        "foreign-stack",
        "the deployment is of another stack, whose signal URL has ended",
        "only that stack's owner can help: update it, with a longer [credential] auth_ttl or HEAT_SIGNAL",
    ),
    Cause("signal-refused", "Heat refuses the outcome", "see agent show; then agent signal, or update the stack"),
    Cause("signal-undelivered", "the outcome does not reach Heat", "the agent tries again; look at what it was told"),
    Cause("agent-failing", "the agent's unit fails", "journalctl -u os-deploy-agent says why"),
    Cause("agent-not-running", "no agent runs, and something waits for one", "start it: agent run, or agent --once"),
    Cause("source-unanswered", "the agent has had no answer from a source", "see its address and what is said of it"),
    Cause("malformed", "a deployment cannot be run as it is", "correct the template, and update the stack"),
    Cause("policy-refuses", "the policy of this guest refuses it", "agent policy check; sign it, or change the policy"),
    Cause("hook-unfit", "the hook of a group may not be executed", "mend its mode and owner, as is said"),
    Cause("no-hook", "there is no hook for a group", "install it, or the image element that brings it"),
    Cause("tool-missing", "the tool of a hook is not installed", "install what is named, then agent rerun"),
    Cause("reboot-pending", "a hook asked for a reboot, which has not come", "reboot this machine"),
    Cause("phases-fail", "the scripts of the phases fail, and deployments wait for them", "agent log; mend the script"),
    Cause(
        "interrupted", "a hook was interrupted: a reboot, a kill, a lack of memory", "agent rerun, or update the stack"
    ),
    Cause("hook-timed-out", "a hook took longer than it may", "raise options.timeout, or mend what it waits for"),
    Cause("hook-failed", "a hook failed", "agent show has its output; mend it and update the stack, or agent rerun"),
    Cause("error-output", "an output that means failure has a value", "agent show has it"),
    Cause(
        "certificate-ends",
        "a certificate ends soon, and nobody is believed after that",
        "whoever runs that server renews it; a file of this guest: replace it (ca_file, client_cert)",
    ),
    Cause("hook-running", "a hook runs; nothing is wrong", "agent log --follow"),
    Cause("waits-behind", "a deployment waits for another one", "wait, or raise max_parallel"),
    Cause(
        "superseded", "the deployment left the metadata: Heat does not wait for it", "nothing; look at the newer one"
    ),
    Cause("nothing-listed", "the metadata lists no deployment", "Heat has none for this server: see its dependencies"),
    Cause("nothing-wrong", "everything here is done and Heat has taken it", "look at the stack's other resources"),
)
BY_CODE = {cause.code: cause for cause in CAUSES}
ORDER = {cause.code: number for number, cause in enumerate(CAUSES)}
