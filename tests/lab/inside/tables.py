# mypy: disable-error-code="import-not-found"
"""The tables of Zaqar: its migrations use statements that SQLite lacks, its table definitions do not."""

import sqlalchemy
from zaqar.storage.sqlalchemy import tables

from tests.lab.inside import this_lab

if __name__ == "__main__":
    tables.metadata.create_all(sqlalchemy.create_engine(this_lab().database("zaqar")))
