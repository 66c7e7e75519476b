"""What can go wrong between a user and the hub: each fault is made, and what the user sees is written down.

Each row is a small proof: it makes the fault on a hub of its own (tests/hub_server.py), lets a real client load, and
asserts what must hold. `table` runs all of them, `page` renders docs/hub_faults.md.
"""

import json
import re
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save

from tests.helpers import tiny
from tests.hub_client import CASE, Client, published_config
from tests.hub_server import HubServer, Repo, running
from tokzoo.golden import read_case

PAGE = Path(__file__).parents[1] / "docs" / "hub_faults.md"
WEIGHTS = "model.safetensors"
CHUNK = 10 * 2**20  # bytes: of what breaks off, the client keeps whole chunks of this size
Answer = dict[str, Any]


class Files(NamedTuple):
    """What the test's hub holds."""

    ours: dict[str, bytes]  # as save_pretrained writes it
    other: dict[str, bytes]  # the same model with other weights
    big: dict[str, bytes]  # more than one chunk
    authors: dict[str, bytes]  # with the authors' config.json and key names


def make_files(folder: Path) -> Files:
    """Tiny models, saved and read."""

    def saved(name: str, scale: float = 1, **changes: object) -> dict[str, bytes]:
        tok = tiny("titok", **changes)
        with torch.no_grad():
            tok.decoder.mask_token.mul_(scale).add_(scale - 1)
        tok.save_pretrained(folder / name)
        return {path.name: path.read_bytes() for path in (folder / name).iterdir()}

    authors = {"config.json": json.dumps(published_config()).encode(), WEIGHTS: save(read_case(CASE).weights)}
    return Files(saved("ours"), saved("other", scale=2), saved("big", codebook_size=480_000), authors)


@dataclass
class Trial:
    """One row's hub, cache and user."""

    server: HubServer
    files: Files
    folder: Path
    online: Client
    offline: Client
    clients: list[Client] = field(default_factory=list)

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def load(self, name: str = "me/nano", client: Client | None = None, **options: Any) -> Answer:
        """What `from_pretrained(name, ...)` gives a user."""
        return (client or self.online).ask("load", name, **{"cache_dir": str(self.cache), **options})

    def download(self, name: str = "me/nano", client: Client | None = None, **options: Any) -> Answer:
        """What `tokzoo download` gives a user; needs no torch, so it is quick."""
        return (client or self.client()).ask("download", name, **{"cache_dir": str(self.cache), **options})

    def client(self, endpoint: str | None = None, **environment: str) -> Client:
        """Another user's process."""
        self.clients.append(Client(self.folder / "home", endpoint or self.server.url, **environment))
        return self.clients[-1]

    def add(self, name: str = "me/nano", files: dict[str, bytes] | None = None) -> Repo:
        return self.server.add(name, self.files.ours if files is None else files)

    def bodies(self) -> int:
        """Bytes of files sent so far."""
        return sum(asked.sent for asked in self.server.asked("GET", r"/large/.*|.*/resolve/.*"))

    def partial(self) -> list[Path]:
        """Files that a download left unfinished."""
        return [path for path in self.cache.rglob("*.incomplete*") if path.is_file()]

    def cached(self) -> str:
        """The cache in words: the files that a load may find, and what lies there unread."""
        found = []
        for repo in sorted(self.cache.glob("models--*")):
            paths = {"/".join(path.relative_to(repo / "snapshots").parts[1:]) for path in _files(repo / "snapshots")}
            name = "/".join(repo.name.split("--")[1:])
            found += [f"{name}: {', '.join(sorted(paths))}"] if paths else []
        unread = [f"{len(self.partial())} unfinished, never read"] if self.partial() else []
        return "; ".join([*found, *unread]) or "empty"


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []


@dataclass(frozen=True)
class Row:
    """A fault by name, and its proof. `slow` ones wait for the client's retries and run beside the others."""

    name: str
    prove: Callable[[Trial], Answer]
    slow: bool = False


ROWS: list[Row] = []


def row(name: str, *, slow: bool = False) -> Callable[[Callable[[Trial], Answer]], Callable[[Trial], Answer]]:
    def add(prove: Callable[[Trial], Answer]) -> Callable[[Trial], Answer]:
        ROWS.append(Row(name, prove, slow))
        return prove

    return add


# --- what works ------------------------------------------------------------------------------------------------------


@row("first download")
def first_download(trial: Trial) -> Answer:
    trial.add()
    answer = trial.load()
    assert [asked.method for asked in trial.server.requests] == ["HEAD", "GET"] * 2
    assert trial.bodies() == sum(map(len, trial.files.ours.values()))
    return answer


@row("again: the cache has it")
def cache_hit(trial: Trial) -> Answer:
    trial.add()
    first = trial.load()
    trial.server.requests.clear()
    answer = trial.load()
    assert answer == first
    assert [asked.method for asked in trial.server.requests] == ["HEAD"]  # is config.json still the same? no more
    return answer


@row("HF_HUB_OFFLINE=1, the cache has it")
def offline_hit(trial: Trial) -> Answer:
    trial.add()
    first = trial.load()
    trial.server.requests.clear()
    answer = trial.load(client=trial.offline)
    assert answer == first
    assert not trial.server.requests
    return answer


@row("HF_HUB_OFFLINE=1, the repository's folder was copied from another cache")
def copied(trial: Trial) -> Answer:
    trial.add()
    first = trial.load(cache_dir=str(trial.folder / "there"))
    name = "models--me--nano"
    for cache, with_links in ((trial.folder / "plain", False), (trial.cache, True)):  # a stick may know no links
        shutil.copytree(trial.folder / "there" / name, cache / name, symlinks=with_links)
        answer = trial.load(client=trial.offline, cache_dir=str(cache))
        assert answer == first
    return answer


@row("local_files_only=True, the cache has it")
def local_hit(trial: Trial) -> Answer:
    trial.add()
    first = trial.load()
    trial.server.requests.clear()
    answer = trial.load(local_files_only=True)
    assert answer == first
    assert not trial.server.requests
    return answer


@row("no connection, the cache has it")
def unreached_hit(trial: Trial) -> Answer:
    trial.add()
    first = trial.download()
    answer = trial.download(client=trial.client("http://127.0.0.1:9"))
    assert answer == first
    return answer


@row("the hub answers 503, the cache has it")
def down_hit(trial: Trial) -> Answer:
    trial.add()
    first = trial.load()
    trial.server.broken_status = 503
    answer = trial.load()
    assert answer == first
    return answer


@row("the hub hangs up, the cache has it")
def hung_up_hit(trial: Trial) -> Answer:
    trial.add()
    first = trial.load()
    trial.server.hangs_up = True
    answer = trial.load()
    assert answer == first
    return answer


@row("name with hf-hub: before it")
def prefix(trial: Trial) -> Answer:
    trial.add()
    return trial.load("hf-hub:me/nano")


@row("revision: a branch, and a commit")
def revisions(trial: Trial) -> Answer:
    repo = trial.add()
    old = repo.branches["main"]
    trial.add(files=trial.files.other)
    trial.server.add("me/nano", trial.files.ours, branch="old")
    new, branch, commit = trial.load(), trial.load(revision="old"), trial.load(revision=old)
    assert branch == commit != new
    trial.server.requests.clear()
    assert trial.load(revision=old) == commit
    assert not trial.server.requests  # a commit never changes
    return commit


@row("the branch moves between config.json and the weights")
def moving(trial: Trial) -> Answer:
    repo = trial.add()
    old = repo.branches["main"]
    trial.load()
    trial.add(files=trial.files.other)
    weights = trial.server.asked("HEAD", f"/me/nano/resolve/{old}/{WEIGHTS}")
    assert weights, "the weights are asked for by the commit of config.json"
    return trial.load(revision=old)


@row("subfolder")
def subfolder(trial: Trial) -> Answer:
    trial.add(files={f"small/{name}": data for name, data in trial.files.ours.items()})
    return trial.load(subfolder="small")


@row("dtype and device")
def dtype_and_device(trial: Trial) -> Answer:
    trial.add()
    answer = trial.load(dtype="bfloat16", device="meta")
    assert (answer["dtype"], answer["device"]) == ("torch.bfloat16", "meta")
    return answer


@row("the authors' repository: their config.json, their key names")
def authors(trial: Trial) -> Answer:
    trial.add("authors/tiny", trial.files.authors)
    return trial.load("authors/tiny")


@row("registered name, its first source is gone")
def second_source(trial: Trial) -> Answer:
    trial.add("authors/tiny", trial.files.authors)
    answer = trial.load("tiny_on_hub.twice")
    assert answer["name"] == "tiny_on_hub.twice"
    return answer


@row("restricted licence")
def licence(trial: Trial) -> Answer:
    trial.add("authors/tiny", trial.files.authors)
    first, again = trial.load("tiny_on_hub.restricted"), trial.load("tiny_on_hub.restricted")
    assert len(first["warnings"]) == 1 and not again["warnings"]
    assert not trial.load("tiny_on_hub.twice")["warnings"]  # a free one
    return first


@row("two processes download at once")
def two_at_once(trial: Trial) -> Answer:
    trial.add()
    both = [trial.client(), trial.client()]
    trial.server.held.clear()
    for client in both:
        client.send("download", "me/nano", cache_dir=str(trial.cache))
    trial.server.asked_for_body.acquire()  # one is in the middle of the weights
    while len(trial.server.asked("HEAD", f"/me/nano/.*/{WEIGHTS}")) < 2:  # the other is about to want them
        time.sleep(0.01)
    trial.server.held.set()
    answers = [client.receive() for client in both]
    assert answers[0] == answers[1] and "error" not in answers[0]
    assert len(trial.server.asked("GET", "/large/.*")) == 1  # the other waited for it
    return trial.load()


# --- not there -------------------------------------------------------------------------------------------------------


@row("HF_HUB_OFFLINE=1, not in the cache")
def offline_miss(trial: Trial) -> Answer:
    answer = trial.load("tiny_on_hub.twice", client=trial.offline)
    url = f"{trial.server.url}/authors/tiny/resolve/main/{WEIGHTS}"
    for fact in (url, "`tokzoo download tiny_on_hub.twice`", str(trial.cache), "models--authors--tiny", "file=PATH"):
        assert fact in answer["message"], fact
    assert not trial.server.requests
    return answer


@row("local_files_only=True, not in the cache")
def local_miss(trial: Trial) -> Answer:
    trial.add()
    answer = trial.load(local_files_only=True)
    url = f"{trial.server.url}/me/nano/resolve/main/config.json"
    for fact in (url, "`tokzoo download me/nano`", str(trial.cache), "into one folder"):
        assert fact in answer["message"], fact
    assert not trial.server.requests
    return answer


@row("no connection, not in the cache", slow=True)
def unreached_miss(trial: Trial) -> Answer:
    answer = trial.download("tiny_on_hub.twice", client=trial.client("http://127.0.0.1:9"))
    assert "`tokzoo download tiny_on_hub.twice`" in answer["message"]
    return answer


@row("the hub answers 503, not in the cache", slow=True)
def down_miss(trial: Trial) -> Answer:
    trial.server.broken_status = 503
    return trial.download()


@row("the hub hangs up, not in the cache")
def hung_up_miss(trial: Trial) -> Answer:
    trial.server.hangs_up = True
    return trial.load()


@row("what answers is no hub (a login page of a network)")
def no_hub(trial: Trial) -> Answer:
    trial.server.is_no_hub = True
    return trial.load()


@row("no such repository")
def no_repository(trial: Trial) -> Answer:
    return trial.load("me/none")


@row("a name that no repository can have")
def bad_name(trial: Trial) -> Answer:
    return trial.load("me/na no")


@row("no such file")
def no_file(trial: Trial) -> Answer:
    trial.add(files={"config.json": trial.files.ours["config.json"]})
    answer = trial.load()
    assert WEIGHTS in answer["message"] and "pytorch_model.bin" in answer["message"]
    return answer


@row("registered name, none of its sources has it")
def no_source(trial: Trial) -> Answer:
    trial.add("authors/tiny", trial.files.authors)
    return trial.load("tiny_on_hub.nowhere")


@row("no such revision")
def no_revision(trial: Trial) -> Answer:
    trial.add()
    return trial.load(revision="v9")


# --- not for everybody -----------------------------------------------------------------------------------------------


@row("gated, no token")
def gated(trial: Trial) -> Answer:
    trial.add().gated_to = {"friend"}
    return trial.load()


@row("gated, the token's account was not let in")
def gated_to_others(trial: Trial) -> Answer:
    trial.add().gated_to = {"friend"}
    return trial.load(token="hf_stranger")


@row("gated, the token of an account that was let in")
def token(trial: Trial) -> Answer:
    trial.add().gated_to = {"friend"}
    answer = trial.load(token="hf_friend")
    assert {asked.token for asked in trial.server.asked("GET", ".*/resolve/.*")} == {"hf_friend"}
    assert {asked.token for asked in trial.server.asked("GET", "/large/.*")} == {None}  # it never leaves the hub
    return answer


@row("private, no token")
def private(trial: Trial) -> Answer:
    trial.add().private = True
    return trial.load()


@row("a token that the hub does not know")
def unknown_token(trial: Trial) -> Answer:
    trial.add()
    return trial.load(token="hf_expired")


# --- half there, or not what it should be ----------------------------------------------------------------------------


@row("the download breaks off in the middle, once")
def resumed(trial: Trial) -> Answer:
    trial.add(files=trial.files.big)
    size = len(trial.files.big[WEIGHTS])
    trial.server.cuts = [CHUNK + 12345]
    answer = trial.load()
    first, second = trial.server.asked("GET", "/large/.*")
    assert (first.range, first.sent) == (None, CHUNK + 12345)
    assert (second.range, second.sent) == (f"bytes={CHUNK}-", size - CHUNK)  # only what was missing
    return answer


@row("the download breaks off again and again", slow=True)
def cut_for_good(trial: Trial) -> Answer:
    trial.add()
    trial.server.cuts = [1000] * 99
    answer = trial.download()
    trial.server.cuts = []
    assert not trial.partial()
    assert "error" not in trial.download()
    (trial.cache / "models--me--nano").rename(trial.folder / "whole")  # the page shows what the failure left
    return answer


@row("the process is killed in the middle, then tried again")
def killed(trial: Trial) -> Answer:
    trial.add()
    client = trial.client()
    trial.server.held.clear()
    client.send("download", "me/nano", cache_dir=str(trial.cache))
    trial.server.asked_for_body.acquire()
    client.process.send_signal(signal.SIGKILL)
    client.process.wait()
    trial.server.held.set()
    assert trial.cached().startswith("me/nano: config.json; 1 unfinished")
    missing = trial.load(client=trial.offline)
    assert missing["error"] == "ConnectionError"  # the half is not taken for the whole
    return trial.load()


@row("the file on the hub is no safetensors file")
def corrupt(trial: Trial) -> Answer:
    trial.add(files={**trial.files.ours, WEIGHTS: b"<html>not weights</html>" * 9})
    return trial.load()


@row("the file on the hub is cut short")
def short(trial: Trial) -> Answer:
    trial.add(files={**trial.files.ours, WEIGHTS: trial.files.ours[WEIGHTS][:-100]})
    return trial.load()


@row("the file in the cache is cut short, then `tokzoo download --force`")
def short_in_cache(trial: Trial) -> Answer:
    trial.add()
    first = trial.load()
    file = next(trial.cache.rglob(WEIGHTS)).resolve()
    file.write_bytes(file.read_bytes()[:-100])
    broken = trial.load()
    assert broken["error"] == "ValueError" and "tokzoo download NAME --force" in broken["message"]
    trial.download(client=trial.online, force=True)
    assert trial.load() == first
    return broken


@row("none of the file's keys is the model's")
def strangers(trial: Trial) -> Answer:
    trial.add(files={**trial.files.ours, WEIGHTS: save({f"layer{index}": torch.zeros(2) for index in range(30)})})
    answer = trial.load()
    assert "30 unexpected: layer0" in answer["message"] and "and 20 more" in answer["message"]
    return answer


@row("the authors' file has keys that no rule reads")
def unread_keys(trial: Trial) -> Answer:
    trial.add("authors/strange", {WEIGHTS: save({f"layer{index}": torch.zeros(2) for index in range(30)})})
    return trial.load("tiny_on_hub.strange")


@row("the file has another sha256 than the registry records")
def wrong_hash(trial: Trial) -> Answer:
    trial.add("authors/tiny", trial.files.authors)
    return trial.load("tiny_on_hub.hashed")


@row("config.json is no JSON")
def config_no_json(trial: Trial) -> Answer:
    trial.add(files={**trial.files.ours, "config.json": b"{"})
    return trial.load()


@row("config.json is of something else")
def config_of_something_else(trial: Trial) -> Answer:
    trial.add(files={**trial.files.ours, "config.json": b'{"model": "llama", "architectures": ["Llama"]}'})
    return trial.load()


@row("the cache cannot be written")
def no_cache(trial: Trial) -> Answer:
    trial.add()
    file = trial.folder / "a_file"
    file.write_text("")
    return trial.load(cache_dir=str(file / "cache"))


# --- pushing ---------------------------------------------------------------------------------------------------------


@row("push, then load what was pushed")
def round_trip(trial: Trial) -> Answer:
    trial.add()
    pushed = trial.online.ask("push", "me/nano", "me/new", token="hf_owner", licence="MIT")
    assert pushed["commit"].startswith(f"{trial.server.url}/me/new/commit/")
    repo = trial.server.repos["me/new"]
    files = repo.commits[repo.branches["main"]]
    assert files[WEIGHTS] == trial.files.ours[WEIGHTS]
    card = files["README.md"].decode()
    for fact in ("library_name: tokzoo\n", "license: mit\n", "tags: [", 'tokzoo.from_pretrained("me/new")'):
        assert fact in card, fact
    answer = trial.load("me/new")
    assert answer == trial.load()
    trial.online.ask("push", "me/nano", "me/new", token="hf_owner", revision="next", dtype="float16")
    assert trial.load("me/new", revision="next") != answer
    return answer


@row("push to a private repository, then load it with the token")
def push_private(trial: Trial) -> Answer:
    trial.add()
    trial.online.ask("push", "me/nano", "me/secret", token="hf_owner", private=True)
    assert trial.load("me/secret")["error"] == "FileNotFoundError"
    return trial.load("me/secret", token="hf_owner")


@row("push without a token")
def push_without_token(trial: Trial) -> Answer:
    trial.add()
    return trial.online.ask("push", "me/nano", "me/new")


@row("push, and the hub hangs up")
def push_hung_up(trial: Trial) -> Answer:
    trial.add()
    trial.online.ask("download", "me/nano")
    trial.server.hangs_up = True
    return trial.online.ask("push", "me/nano", "me/new", token="hf_owner")


@row("push to somebody else's repository")
def push_to_others(trial: Trial) -> Answer:
    trial.add()
    before = dict(trial.server.repos["me/nano"].branches)
    answer = trial.online.ask("push", "me/nano", "me/nano", token="hf_stranger")
    assert trial.server.repos["me/nano"].branches == before
    return answer


# --- the table -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What came of a row; `broken` is the assertion that did not hold."""

    row: Row
    seen: str
    cache: str
    message: str = ""
    broken: BaseException | None = None


def table(folder: Path) -> list[Outcome]:
    """Runs every row, in a cache and against a hub of its own, and says what the user saw."""
    files = make_files(folder / "files")
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(max_workers=8))
        server = stack.enter_context(running())
        online = Client(folder / "home", server.url)
        offline = Client(folder / "home", server.url, HF_HUB_OFFLINE="1")
        stack.callback(online.stop)
        stack.callback(offline.stop)

        def run(row: Row) -> Outcome:
            if row.slow:
                with running() as own:
                    return _prove(row, Trial(own, files, folder / row.prove.__name__, online, offline))
            for state in (server.repos, server.blobs, server.requests, server.cuts):
                state.clear()
            server.broken_status, server.is_no_hub, server.hangs_up = None, False, False
            return _prove(row, Trial(server, files, folder / row.prove.__name__, online, offline))

        slow = {row.name: pool.submit(run, row) for row in ROWS if row.slow}
        quick = {row.name: run(row) for row in ROWS if not row.slow}
        return [slow[row.name].result() if row.slow else quick[row.name] for row in ROWS]


def _prove(row: Row, trial: Trial) -> Outcome:
    trial.folder.mkdir()
    try:
        answer = row.prove(trial)
        words = _seen(answer), trial.cached(), answer.get("message", "")
        return Outcome(row, *(_plain(text, trial) for text in words))
    except Exception as error:
        return Outcome(row, "", "", broken=error)
    finally:
        for client in trial.clients:
            client.stop()


def _seen(answer: Answer) -> str:
    if "error" in answer:
        return f"`{answer['error']}`: {answer['message'].splitlines()[0]}"
    warned = "".join(f", and a warning: {text}" for text in answer["warnings"])
    return ("it loads" if "class" in answer else "the files' paths") + warned


def _plain(text: str, trial: Trial) -> str:
    """Without what differs from run to run."""
    for url in {trial.server.url, "http://127.0.0.1:9"}:
        text = text.replace(url, "HUB")
    for pattern, word in (
        (re.escape(str(trial.cache)), "CACHE"),
        (re.escape(str(trial.folder)), "FOLDER"),
        (r"\b[0-9a-f]{64}\b", "SHA256"),
        (r"\b[0-9a-f]{40}\b", "COMMIT"),
        (r"received \d+ bytes, expected \d+", "received N bytes, expected M"),
        (r"\d+ (missing|unexpected): [^;]*", r"N \1: KEYS"),
        (r"\|", r"\\|"),
    ):
        text = re.sub(pattern, word, text)
    return text


def page(outcomes: list[Outcome]) -> str:
    """The table as markdown."""
    lines = [
        "# What can go wrong with the hub, and what you see",
        "",
        "Made by `python -m tests.hub_faults`; tests/test_hub.py runs it and compares. Each row was made to happen to",
        "the real huggingface_hub client, with a small hub on loopback. Of an error you see its type and first line;",
        "further lines say how to go on. Nothing half written is ever loaded, and a good file in the cache is kept.",
        "",
        "| what happens | what you see | the cache afterwards |",
        "| --- | --- | --- |",
        *(f"| {outcome.row.name} | {outcome.seen} | {outcome.cache} |" for outcome in outcomes),
        "",
        "In full, one of them (HF_HUB_OFFLINE=1, not in the cache):",
        "",
        "```",
        next(outcome.message for outcome in outcomes if outcome.row.prove is offline_miss),
        "```",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        outcomes = table(Path(name))
    for outcome in outcomes:
        if outcome.broken is not None:
            print(f"{outcome.row.name}: {outcome.broken!r}")
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(outcomes))
