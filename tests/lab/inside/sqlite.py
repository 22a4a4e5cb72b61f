# mypy: disable-error-code="import-not-found"
"""Make SQLite bear several threads.

With a plain BEGIN two transactions that both read first and write later cannot both finish, and SQLite
refuses one at once whatever its busy timeout. So a writer announces itself when it begins.
"""

import sqlalchemy
from sqlalchemy.engine import Engine


def tune() -> None:
    """For every engine made from now on in this process."""
    sqlalchemy.event.listen(Engine, "connect", connected)
    sqlalchemy.event.listen(Engine, "before_cursor_execute", announced, retval=True)


def connected(connection, _record):  # type: ignore[no-untyped-def]  # SQLAlchemy's own signature
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA busy_timeout = 60000")


def announced(_connection, _cursor, statement, parameters, _context, _many):  # type: ignore[no-untyped-def]
    return ("BEGIN IMMEDIATE" if statement == "BEGIN" else statement), parameters
