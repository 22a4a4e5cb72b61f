"""What can go wrong with the world around the agent.

    AgentError
    ├── UsageError         the command line asks for something that is not there     exit 64
    ├── SettingsError      the operator must fix a file                              exit 78
    ├── MetadataError      a document is not what Heat sends: keep the last good one
    ├── Unavailable        a source or endpoint did not answer: try again later
    ├── Refused            an endpoint said no: keep the outcome, report, slow down
    │   └── Gone           what was asked for is there no more, and the server knows it
    ├── Unidentified       cloud-init has yet to say which machine this is: in a moment  exit 75
    ├── ApplyError         a template or file could not be applied
    ├── TrustError         a policy, key or signature does not let something be done exit 77
    └── StateError         our own disk failed us: never run a hook without memory   exit 74
        └── Busy           another process holds the lock of the state directory     exit 75

A failing tool is no exception but an `Outcome`; a bug is neither and is not caught anywhere.
"""


class AgentError(Exception):
    """The world did not do what we asked; the message says what, with what, and what to do."""

    exit_status = 2


class UsageError(AgentError):
    exit_status = 64


class SettingsError(AgentError):
    exit_status = 78


class MetadataError(AgentError):
    """The document cannot be used; the last good one stands."""


class Unavailable(AgentError):
    """No usable answer. `retry_after_s` is what the server asked for, 0 when it did not.

    `sent` tells whether the request may have reached the server: a signal that was perhaps taken must not be
    repeated before the newest document has been looked at.
    """

    def __init__(self, message: str, *, retry_after_s: float = 0.0, sent: bool = True) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.sent = sent


class Refused(AgentError):
    """The server understood and said no. `final` means that asking again cannot help."""

    def __init__(self, message: str, *, status: int, final: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.final = final


class Gone(Refused):
    """The stack was deleted: what its document listed is not wanted any more."""


class Unidentified(AgentError):
    """Whose state this is cannot be told yet."""

    exit_status = 75


class ApplyError(AgentError):
    exit_status = 1


class TrustError(AgentError):
    exit_status = 77


class StateError(AgentError):
    exit_status = 74


class Busy(StateError):
    exit_status = 75


class Interrupted(BaseException):
    """SIGTERM or SIGINT reached a process that runs programs: their tree is ended and this goes on up."""
