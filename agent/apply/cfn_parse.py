"""From the JSON of `AWS::CloudFormation::Init` to values: every fault is kept with its path, none stops the look.

What heat-cfntools passes over with a word in its log (package and service managers it does not know, sections it does
not know) is a warning here, too.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from agent import urls
from agent.apply import cfn_model, render
from agent.apply.cfn_model import Command, Config, Credentials, File, Group, Package, Service, Source, User, is_true
from agent.errors import ApplyError

if TYPE_CHECKING:  # the model is 10 ms of classes
    from agent.model import Json, JsonMap

SECTIONS = ("packages", "groups", "users", "sources", "files", "commands", "services")
_ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\$?")
_PACKAGE = re.compile(r"[A-Za-z0-9@/][^\s]*")
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]*")
_LINK, _TYPE = 0o120000, 0o170000


class Parser:
    """Gathers faults and warnings over all configs of one document."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.warnings: list[str] = []

    def credentials(self, metadata: JsonMap) -> Mapping[str, Credentials]:
        found: dict[str, Credentials] = {}
        for name, given in self._objects(metadata.get(cfn_model.AUTHENTICATION), cfn_model.AUTHENTICATION):
            path = f"{cfn_model.AUTHENTICATION}.{name}"
            kind = str(given.get("type", "")).strip().lower()
            if kind == "basic":
                places = self._texts(given.get("uris"), f"{path}.uris")
                user, secret = given.get("username"), given.get("password")
            elif kind == "s3":
                places = self._texts(given.get("buckets"), f"{path}.buckets")
                user, secret = given.get("accessKeyId"), given.get("secretKey")
            else:
                self.faults.append(f"{path}.type: neither basic nor S3")
                continue
            if not isinstance(user, str) or not isinstance(secret, str):
                self.faults.append(f"{path}: a name and its secret are wanted, both as text")
                continue
            found[name] = Credentials(name, kind, user, secret, places)
        return found

    def config(self, name: str, given: Json, credentials: Mapping[str, Credentials]) -> Config:
        """One config; `given` is an object."""
        content = given if isinstance(given, dict) else {}
        unknown = sorted(set(content) - set(SECTIONS))
        if unknown:
            self.warnings.append(f"{name}: no such section: {', '.join(unknown)}; passed over")
        section = {key: content.get(key) for key in SECTIONS}
        config = Config(
            name,
            self._packages(section["packages"], f"{name}.packages"),
            tuple(
                self._group(n, g, f"{name}.groups.{n}") for n, g in self._objects(section["groups"], f"{name}.groups")
            ),
            tuple(self._user(n, u, f"{name}.users.{n}") for n, u in self._objects(section["users"], f"{name}.users")),
            self._sources(section["sources"], f"{name}.sources", credentials),
            tuple(self._file(n, f, f"{name}.files.{n}") for n, f in self._sorted(section["files"], f"{name}.files")),
            tuple(
                self._command(n, c, f"{name}.commands.{n}")
                for n, c in self._sorted(section["commands"], f"{name}.commands")
            ),
            self._services(section["services"], f"{name}.services"),
        )
        for file in config.files:
            self._known(file.authentication, credentials, f"{name}.files.{file.path}.authentication")
        return config

    # ------------------------------------------------------------------------------------------- sections

    def _packages(self, given: Json, path: str) -> tuple[Package, ...]:
        found = []
        for manager, listed in self._objects(given, path):
            if manager not in cfn_model.MANAGERS:
                self.warnings.append(f"{path}.{manager}: no such package manager here; passed over")
                continue
            for name, versions in listed.items():
                where = f"{path}.{manager}.{name}"
                texts = self._texts([versions] if isinstance(versions, (str, int, float)) else versions, where)
                if not _PACKAGE.fullmatch(name) or any(text.startswith("-") for text in texts):
                    self.faults.append(f"{where}: not the name or version of a package")
                elif manager in {cfn_model.DPKG, cfn_model.RPM} and not texts:
                    self.faults.append(f"{where}: the file or URL of the package is wanted")
                found.append(Package(manager, name, texts))
        return tuple(sorted(found, key=lambda package: cfn_model.MANAGERS.index(package.manager)))

    def _group(self, name: str, given: JsonMap, path: str) -> Group:
        self._account(name, path)
        return Group(name, self._number(given.get("gid"), f"{path}.gid"))

    def _user(self, name: str, given: JsonMap, path: str) -> User:
        self._account(name, path)
        groups = None if given.get("groups") is None else self._texts(given["groups"], f"{path}.groups")
        home = given.get("homeDir")
        if home is not None and (not isinstance(home, str) or not home.startswith("/")):
            self.faults.append(f"{path}.homeDir: an absolute path is wanted")
            home = None
        return User(name, self._number(given.get("uid"), f"{path}.uid"), groups, home)

    def _sources(self, given: Json, path: str, credentials: Mapping[str, Credentials]) -> tuple[Source, ...]:
        found = []
        for directory, asked in self._map(None if given == [] else given, path).items():
            where = f"{path}.{directory}"
            detail: JsonMap = asked if isinstance(asked, dict) else {"url": asked}
            url, name = detail.get("url", detail.get("source")), self._text(detail, "authentication", where)
            if not isinstance(url, str) or not _is_url(url):
                self.faults.append(f"{where}: an http, https or file URL is wanted")
                continue
            self._known(name, credentials, f"{where}.authentication")
            found.append(Source(directory, url, name))
        return tuple(found)

    def _file(self, name: str, given: JsonMap, path: str) -> File:
        mode = self._mode(given.get("mode"), f"{path}.mode")
        link = mode is not None and mode & _TYPE == _LINK
        source = self._text(given, "source", path)
        if source and not _is_url(source):
            self.faults.append(f"{path}.source: no http, https or file URL")
        context = given.get("context")
        if context is not None and not isinstance(context, dict):
            self.faults.append(f"{path}.context: an object is wanted")
            context = None
        content = None if source else self._content(given, context, path)
        if link and content is not None and (not content or b"\0" in content):
            self.faults.append(f"{path}.content: the target of the link is wanted")
        if not name or "\0" in name or name.endswith("/"):
            self.faults.append(f"{path}: not the path of a file")
        return File(
            path=name,
            content=content,
            source=source,
            link=link,
            mode=None if mode is None else mode & 0o7777,
            owner=self._account_of(given, "owner", path),
            group=self._account_of(given, "group", path),
            context=context,
            authentication=self._text(given, "authentication", path),
        )

    def _content(self, given: JsonMap, context: JsonMap | None, path: str) -> bytes | None:
        content, encoding = given.get("content"), given.get("encoding", "plain")
        if encoding not in ("plain", "base64"):
            self.faults.append(f"{path}.encoding: neither plain nor base64")
            return None
        if content is None:
            self.faults.append(f"{path}: neither content nor source")
            return None
        text = content if isinstance(content, str) else json.dumps(content)
        try:
            data = base64.b64decode("".join(text.split()), validate=True) if encoding == "base64" else text.encode()
            return data if context is None else rendered(data, context)
        except binascii.Error:
            self.faults.append(f"{path}.content: not base64")
        except UnicodeError:
            self.faults.append(f"{path}.content: not UTF-8")
        except ApplyError as exc:
            self.faults.append(f"{path}.content: {exc}")
        return None

    def _command(self, name: str, given: JsonMap, path: str) -> Command:
        env = given.get("env")
        if env is not None and not isinstance(env, dict):
            self.faults.append(f"{path}.env: an object is wanted")
            env = None
        if env is not None and any(not key or "=" in key or "\0" in f"{key}{value}" for key, value in env.items()):
            self.faults.append(f"{path}.env: a name or value that no environment can hold")
        return Command(
            name,
            self._program(given.get("command"), f"{path}.command"),
            self._program(given.get("test"), f"{path}.test"),
            self._program(given.get("defaults"), f"{path}.defaults"),
            None if env is None else {key: _plain(value) for key, value in env.items()},
            self._text(given, "cwd", path),
            self._account_of(given, "runas", path),
            is_true(given.get("ignoreErrors", False)),
        )

    def _services(self, given: Json, path: str) -> tuple[Service, ...]:
        found = []
        for manager, listed in self._objects(given, path):
            if manager not in (cfn_model.SYSTEMD, cfn_model.SYSVINIT):
                self.warnings.append(f"{path}.{manager}: no such service manager here; passed over")
                continue
            found += [
                self._service(manager, name, wanted, f"{path}.{manager}.{name}")
                for name, wanted in self._objects(listed, f"{path}.{manager}")
            ]
        return tuple(found)

    def _service(self, manager: str, name: str, given: JsonMap, path: str) -> Service:
        if not _UNIT.fullmatch(name):
            self.faults.append(f"{path}: not the name of a service")
        triggers = {
            section: frozenset(self._texts(given[section], f"{path}.{section}"))
            for section in ("files", "sources", "groups", "users", "commands")
            if given.get(section) is not None
        }
        packages = frozenset(
            (by, package)
            for by, listed in self._map(given.get("packages"), f"{path}.packages").items()
            for package in self._texts(listed, f"{path}.packages.{by}")
        )
        enabled, running = given.get("enabled"), given.get("ensureRunning")
        return Service(
            manager,
            name,
            None if enabled is None else is_true(enabled),
            None if running is None else is_true(running),
            triggers,
            packages,
        )

    # ---------------------------------------------------------------------------------------------- parts

    def _map(self, given: Json, path: str) -> JsonMap:
        if given is None or isinstance(given, dict):
            return given or {}
        self.faults.append(f"{path}: an object is wanted")
        return {}

    def _objects(self, given: Json, path: str) -> list[tuple[str, JsonMap]]:
        """The members of an object that are objects themselves; null and an empty list stand for an empty one."""
        return [
            (name, self._map(None if value == [] else value, f"{path}.{name}"))
            for name, value in self._map(None if given == [] else given, path).items()
        ]

    def _sorted(self, given: Json, path: str) -> list[tuple[str, JsonMap]]:
        return sorted(self._objects(given, path), key=lambda item: item[0])

    def _texts(self, given: Json, path: str) -> tuple[str, ...]:
        listed = [] if given is None else given if isinstance(given, list) else [given]
        if any(isinstance(value, bool) or not isinstance(value, (str, int, float)) for value in listed):
            self.faults.append(f"{path}: a list of texts is wanted")
            return ()
        return tuple(str(value) for value in listed if value != "")

    def _text(self, given: JsonMap, key: str, path: str) -> str:
        value = given.get(key)
        if value is None or isinstance(value, str):
            return value or ""
        self.faults.append(f"{path}.{key}: text is wanted")
        return ""

    def _number(self, given: Json, path: str) -> int | None:
        if given is None or given == "":
            return None
        if str(given).isdecimal() and not isinstance(given, bool):
            return int(str(given))
        self.faults.append(f"{path}: a number is wanted")
        return None

    def _mode(self, given: Json, path: str) -> int | None:
        """A number is a fault: 644 in JSON is no octal, and who wrote it may mean either."""
        if given is None:
            return None
        if isinstance(given, str) and re.fullmatch(r"(0o)?[0-7]{1,7}", given.strip()):
            mode = int(given.strip().removeprefix("0o"), 8)
            if mode & _TYPE in (0, 0o100000, _LINK):
                return mode
        self.faults.append(f'{path}: octal digits as text are wanted, as in "000644", or "120644" for a link')
        return None

    def _program(self, given: Json, path: str) -> str | tuple[str, ...] | None:
        if given is None or isinstance(given, str):
            return given or None
        if isinstance(given, list) and given and all(isinstance(word, (str, int, float)) for word in given):
            return tuple(_plain(word) for word in given)
        self.faults.append(f"{path}: text for a shell, or a list of words, is wanted")
        return None

    def _account(self, name: str, path: str) -> None:
        if not _ACCOUNT.fullmatch(name):
            self.faults.append(f"{path}: not a name that an account may have")

    def _account_of(self, given: JsonMap, key: str, path: str) -> str:
        value = given.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return str(value)
        return self._text(given, key, path)

    def _known(self, name: str, credentials: Mapping[str, Credentials], path: str) -> None:
        if name and name not in credentials:
            self.faults.append(f"{path}: {cfn_model.AUTHENTICATION} has no {name}")


def rendered(data: bytes, context: JsonMap) -> bytes:
    """Content with its tags filled in. Raises ApplyError, or UnicodeError for what is no text."""
    return render.render(data.decode(), context).encode()


def _plain(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _is_url(text: str) -> bool:
    try:
        parts = urls.split(text)
    except ValueError:
        return False
    return (parts.scheme in ("http", "https") and bool(parts.hostname)) or (parts.scheme == "file" and bool(parts.path))
