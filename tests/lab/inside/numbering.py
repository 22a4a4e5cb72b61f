"""Let no table of Heat give the number of a deleted row away again.

Heat deletes cached attributes by row number from several threads. MySQL and PostgreSQL never reuse a
number; SQLite does unless a table says AUTOINCREMENT, and then a resource loses its properties
("ResourcePropertiesData with id N not found") and its stack hangs in UPDATE_IN_PROGRESS.
"""

import re
import sqlite3
from contextlib import closing

from tests.lab.inside import this_lab

COLUMN = re.compile(r"\bid INTEGER NOT NULL")
CONSTRAINT = re.compile(r",\s*(CONSTRAINT \w+ )?PRIMARY KEY \(id\)")


def numbered(table: str) -> str:
    """The CREATE TABLE statement with AUTOINCREMENT; unchanged when its key is no row number."""
    if not (COLUMN.search(table) and CONSTRAINT.search(table)):
        return table
    return COLUMN.sub("id INTEGER PRIMARY KEY AUTOINCREMENT", CONSTRAINT.sub("", table))


def main() -> None:
    with closing(sqlite3.connect(this_lab().data / "heat.sqlite")) as database, database:
        stored = database.execute("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        schema = stored.fetchall()
        for kind, name, _, sql in schema:
            if kind != "table" or numbered(sql) == sql:
                continue
            database.execute(f'DROP TABLE "{name}"')  # still empty; takes its indexes along
            database.execute(numbered(sql))
            for index in [text for what, _, table, text in schema if what == "index" and table == name]:
                database.execute(index)


if __name__ == "__main__":
    main()
