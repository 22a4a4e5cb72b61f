"""A real Keystone, Heat, Swift and Zaqar on loopback, for the end-to-end tests.

`python -m tests.lab --help` drives it by hand; `tests/e2e/conftest.py` drives it for pytest.
Three ideas, a module each: what a lab is (`model`), how its programs get here (`install`, `redis`),
and how they run (`configuration`, `databases`, `processes`, `services`). What runs under the lab's
own Python, with Heat's packages, stands in `inside/`.
"""
