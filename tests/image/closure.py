"""Prints how much disk some distributions and all that they need take, in bytes. Runs in the environment that has them.

python closure.py NAME...
"""

import re
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

waiting, seen, total = sys.argv[1:], set(), 0
while waiting:
    name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
    if name in seen:
        continue
    seen.add(name)
    try:
        found = distribution(name)
    except PackageNotFoundError:  # for another Python
        continue
    files = [Path(str(found.locate_file(file))) for file in found.files or []]
    total += sum(path.stat().st_blocks * 512 for path in files if path.is_file())
    needed = [line for line in found.requires or [] if "extra ==" not in line]
    waiting += [match.group() for line in needed if (match := re.match(r"[\w.-]+", line))]
print(total)
