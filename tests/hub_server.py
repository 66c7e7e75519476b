"""A small hub on loopback: what huggingface_hub asks of the hub to fetch and to push models.

Files whose name ends in a weights suffix are large files: `resolve` redirects to another host name (`localhost` for
`127.0.0.1`, as the real hub redirects to its content network), where they are served by hash and without a token.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".bin")
TOKENS = {"hf_owner": "me", "hf_friend": "friend", "hf_stranger": "stranger"}  # token -> account


class Request(NamedTuple):
    """What the server was asked, and how many bytes of a body it sent."""

    method: str
    path: str
    token: str | None
    range: str | None
    sent: int


@dataclass
class Repo:
    """Commits by hash, each a whole tree; branches name commits."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    gated_to: set[str] | None = None  # accounts let in; None: open to all
    private: bool = False

    def commit(self, files: Mapping[str, bytes], branch: str = "main") -> str:
        """Adds files to a branch; the new commit's hash."""
        tree = {**self.commits.get(self.branches.get(branch, ""), {}), **files}
        text = json.dumps([sorted((path, sha256(data)) for path, data in tree.items()), len(self.commits)])
        name = hashlib.sha1(text.encode()).hexdigest()
        self.commits[name] = tree
        self.branches[branch] = name
        return name

    def resolve(self, revision: str) -> str | None:
        """The commit of a branch or hash."""
        name = self.branches.get(revision, revision)
        return name if name in self.commits else None


class HubServer(ThreadingHTTPServer):
    """The hub's state, and the faults it is told to have."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}  # large files by sha256
        self.requests: list[Request] = []
        self.cuts: list[int] = []  # bytes after which the next bodies of large files break off
        self.broken_status: int | None = None  # answer everything with it
        self.is_no_hub = False  # answer like any other site
        self.hangs_up = False  # give no answer
        self.held = threading.Event()  # large bodies stop half way until it is set
        self.held.set()
        self.asked_for_body = threading.Semaphore(0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, name: str, files: Mapping[str, bytes], branch: str = "main") -> Repo:
        """Commits files to a repository, which is made where needed."""
        repo = self.repos.setdefault(name, Repo())
        repo.commit(files, branch)
        self.blobs.update({sha256(data): data for path, data in files.items() if path.endswith(LARGE)})
        return repo

    def asked(self, method: str, pattern: str) -> list[Request]:
        """The requests of a method whose whole path fits a regular expression."""
        return [
            request for request in self.requests if request.method == method and re.fullmatch(pattern, request.path)
        ]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


@contextmanager
def running() -> Iterator[HubServer]:
    """A server in a thread of its own, gone when the block ends."""
    with HubServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield server
        finally:
            server.held.set()
            server.shutdown()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._route("HEAD")

    def do_GET(self) -> None:
        self._route("GET")

    def do_POST(self) -> None:
        self._route("POST")

    def do_PUT(self) -> None:
        self._route("PUT")

    def log_message(self, *_: object) -> None:
        """Tests count requests; nothing is printed."""

    def _route(self, method: str) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        self.sent = 0
        path = unquote(urlsplit(self.path).path)
        try:
            self._answer(method, path)
        finally:
            self.server.requests.append(Request(method, path, self.token, self.headers.get("Range"), self.sent))

    def _answer(self, method: str, path: str) -> None:
        if self.server.hangs_up:
            self.close_connection = True
            return None
        if self.server.broken_status:
            return self._send(self.server.broken_status)
        if self.server.is_no_hub:
            return self._send(200, b"<html>Sign in to this network</html>", {"Content-Type": "text/html"})
        for methods, pattern, action in ROUTES:
            if method in methods.split() and (match := re.fullmatch(pattern, path)):
                return action(self, **match.groupdict())
        self._send(404, b"{}")

    # answers

    def _send(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
            self.sent += len(body)

    def _json(self, answer: object, status: int = 200) -> None:
        self._send(status, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str, message: str = "", **headers: str) -> None:
        self._send(status, b"", {"X-Error-Code": code, "X-Error-Message": message or code, **headers})

    # who asks, and for what

    def _account(self) -> str | None:
        return TOKENS.get(self.token or "")

    def _open(self, name: str, *, api: bool = False) -> Repo | None:
        """The repository, if this account may see it; else the answer was given."""
        repo, account = self.server.repos.get(name), self._account()
        if self.token and account is None:
            self._send(401, b"", {"X-Error-Message": "Invalid credentials in Authorization header"})
        elif repo is None or (repo.private and account != name.partition("/")[0]):
            self._error(404 if account else 401, "RepoNotFound", "Repository not found")  # strangers learn nothing
        elif not api and repo.gated_to is not None and account not in repo.gated_to:
            self._error(403 if account else 401, "GatedRepo", f"Access to model {name} is restricted")
        else:
            return repo
        return None

    def _may_write(self, name: str) -> bool:
        if self._account() == name.partition("/")[0]:
            return True
        self._error(403 if self._account() else 401, "Forbidden" if self._account() else "", "No write access")
        return False

    # fetching

    def file(self, name: str, revision: str, path: str) -> None:
        repo = self._open(name)
        if repo is None:
            return
        commit = repo.resolve(revision)
        if commit is None:
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        data = repo.commits[commit].get(path)
        if data is None:
            return self._error(404, "EntryNotFound", "Entry not found", **{"X-Repo-Commit": commit})
        known = {"X-Repo-Commit": commit}
        if not path.endswith(LARGE):
            etag = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            return self._send(200, data, {**known, "ETag": f'"{etag}"'})
        digest = sha256(data)
        location = f"http://localhost:{self.server.server_port}/large/{digest}"
        large = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(data)), "Location": location}
        self._send(302, b"", {**known, **large})

    def large(self, digest: str) -> None:
        data = self.server.blobs[digest]
        start = int(re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "bytes=0-")[1])
        end = self.server.cuts.pop(0) if self.server.cuts and self.command == "GET" else len(data)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("ETag", f'"{digest}"')
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        if not self.server.held.is_set():
            self._write(data[start : start + len(data) // 2])
            start += len(data) // 2
            self.server.asked_for_body.release()
            self.server.held.wait()
        self._write(data[start:end])
        if end < len(data):
            self.close_connection = True
            self.connection.close()

    def _write(self, data: bytes) -> None:
        self.wfile.write(data)
        self.wfile.flush()
        self.sent += len(data)

    def info(self, name: str, revision: str | None = None) -> None:
        repo = self._open(name, api=True)
        if repo is not None:
            commit = repo.resolve(revision or "main")
            if commit is None:
                return self._error(404, "RevisionNotFound")
            siblings = [{"rfilename": path} for path in repo.commits[commit]]
            gated = False if repo.gated_to is None else "auto"
            self._json(
                {
                    "id": name,
                    "modelId": name,
                    "sha": commit,
                    "private": repo.private,
                    "gated": gated,
                    "siblings": siblings,
                }
            )

    def tree(self, name: str, revision: str) -> None:
        repo = self._open(name)
        if repo is not None:
            commit = repo.resolve(revision)
            if commit is None:
                return self._error(404, "RevisionNotFound")
            files = repo.commits[commit].items()
            self._json(
                [{"type": "file", "path": path, "size": len(data), "oid": sha256(data)[:40]} for path, data in files]
            )

    def refs(self, name: str) -> None:
        repo = self._open(name, api=True)
        if repo is not None:
            branches = repo.branches.items()
            heads = [{"name": key, "ref": f"refs/heads/{key}", "targetCommit": commit} for key, commit in branches]
            self._json({"branches": heads, "converts": [], "tags": []})

    # pushing

    def create(self) -> None:
        asked = json.loads(self.body)
        name = f"{asked.get('organization') or self._account()}/{asked['name']}"
        if self._may_write(name):
            if name in self.server.repos:
                return self._json({"url": f"{self.server.url}/{name}"}, status=409)
            self.server.add(name, {".gitattributes": b""}).private = asked.get("visibility") == "private"
            self._json({"url": f"{self.server.url}/{name}", "name": name})

    def branch(self, name: str, branch: str) -> None:
        repo = self._open(name, api=True)
        if repo is not None and self._may_write(name):
            if branch in repo.branches:
                return self._json({}, status=409)
            repo.branches[branch] = repo.branches["main"]
            self._json({})

    def validate(self) -> None:
        """The card's head must be YAML fields between two lines of dashes, and name its licence as the hub does."""
        text = json.loads(self.body)["content"]
        head = re.match(r"---\n(.*?)\n---\n", text, flags=re.DOTALL)
        lines = head[1].splitlines() if head else []
        problems = [] if head and all(re.fullmatch(r"\w+: .+", line) for line in lines) else ["no metadata"]
        problems += [f"licence {line}" for line in lines if line.startswith("license:") and line != line.lower()]
        self._json(
            {"errors": [{"message": problem} for problem in problems], "warnings": []}, status=400 if problems else 200
        )

    def preupload(self, name: str, revision: str) -> None:
        repo = self._open(name, api=True)
        if repo is not None and self._may_write(name):
            if revision not in repo.branches:
                return self._error(404, "RevisionNotFound")
            paths = [asked["path"] for asked in json.loads(self.body)["files"]]
            modes = {path: "lfs" if path.endswith(LARGE) else "regular" for path in paths}
            self._json(
                {"files": [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes.items()]}
            )

    def batch(self, name: str) -> None:
        if self._open(name, api=True) is not None and self._may_write(name):
            objects = [
                asked
                if asked["oid"] in self.server.blobs
                else {**asked, "actions": {"upload": {"href": f"{self.server.url}/upload/{asked['oid']}"}}}
                for asked in json.loads(self.body)["objects"]
            ]
            self._json({"transfer": "basic", "objects": objects})

    def upload(self, digest: str) -> None:
        if sha256(self.body) != digest:
            return self._send(400)
        self.server.blobs[digest] = self.body
        self._send(200)

    def commit(self, name: str, revision: str) -> None:
        repo = self._open(name, api=True)
        if repo is None or not self._may_write(name):
            return
        files: dict[str, bytes] = {}
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.server.blobs[value["oid"]]
        commit = repo.commit(files, revision)
        url = f"{self.server.url}/{name}/commit/{commit}"
        self._json({"commitUrl": url, "commitOid": commit, "success": True})


NAME, REVISION = r"(?P<name>[\w.-]+/[\w.-]+)", r"(?P<revision>[^/]+)"
API = rf"/api/models/{NAME}"
ROUTES = (
    ("HEAD GET", rf"/{NAME}/resolve/{REVISION}/(?P<path>.+)", Handler.file),
    ("HEAD GET", r"/large/(?P<digest>\w+)", Handler.large),
    ("GET", API, Handler.info),
    ("GET", rf"{API}/revision/{REVISION}", Handler.info),
    ("GET", rf"{API}/tree/{REVISION}", Handler.tree),
    ("GET", rf"{API}/refs", Handler.refs),
    ("POST", r"/api/repos/create", Handler.create),
    ("POST", r"/api/validate-yaml", Handler.validate),
    ("POST", rf"{API}/branch/(?P<branch>.+)", Handler.branch),
    ("POST", rf"{API}/preupload/{REVISION}", Handler.preupload),
    ("POST", rf"/{NAME}\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", r"/upload/(?P<digest>\w+)", Handler.upload),
    ("POST", rf"{API}/commit/{REVISION}", Handler.commit),
)
