"""The families that are programs of their own: curl, Node."""

import base64
import json
import subprocess
import tempfile
from pathlib import Path

from tests.clients.cases import Case, Reply, Step, reply
from tests.system.harness import needed

SCRIPT = Path(__file__).with_name("client.mjs")


def by_curl(url: str, case: Case, name: str) -> list[Reply]:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        arguments = [needed("curl"), "--silent", "--show-error"]
        for at, step in enumerate(case.steps):
            arguments += ["--next"] if at else []
            arguments += _curl_step(directory, at, url, case, step)
            arguments += ["--header", f"X-Case: {name}"]
        subprocess.run(arguments, check=True, timeout=20, capture_output=True)
        return [_curl_reply(directory, at, step) for at, step in enumerate(case.steps)]


def _curl_step(directory: Path, at: int, url: str, case: Case, step: Step) -> list[str]:
    jar = str(directory / "jar")
    found = [url + step.path, "--max-time", "10", "--cookie", jar, "--cookie-jar", jar]
    found += [
        "--dump-header",
        str(directory / f"{at}.head"),
        "--output",
        str(directory / f"{at}.body"),
    ]
    found += ["--http1.0"] if case.old else []
    found += ["--location"] if case.follow else []
    found += ["--compressed"] if "Accept-Encoding" in step.headers else []
    for key, value in step.headers.items():
        found += ["--header", f"{key}: {value}"]
    if step.method == "HEAD":
        found += ["--head"]
    elif not (case.follow and step.method == "POST"):
        found += ["--request", step.method]
    return found + _curl_body(directory, at, step)


def _curl_body(directory: Path, at: int, step: Step) -> list[str]:
    file = directory / f"{at}.sent"
    if step.form is not None and step.file is not None:
        file.write_bytes(step.file[1])
        named = [f"{key}={value}" for key, value in step.form.items()]
        named.append(f"file=@{file};filename={step.file[0]}")
        return [word for each in named for word in ("--form", each)]
    body = step.body if step.json is None else json.dumps(step.json).encode()
    if body is None:
        return []
    file.write_bytes(body)
    found = ["--data-binary", f"@{file}"]
    if step.json is not None:
        found += ["--header", "Content-Type: application/json"]
    found += ["--header", "Transfer-Encoding: chunked"] if step.chunked else []
    found += [] if step.expect else ["--header", "Expect:"]  # curl asks by itself for what is long
    return found


def _curl_reply(directory: Path, at: int, step: Step) -> Reply:
    """The last head, and the trailers, which curl writes after it."""
    blocks = (directory / f"{at}.head").read_bytes().decode("latin-1").split("\r\n\r\n")
    heads = [block for block in blocks if block.startswith("HTTP/") and block[9] != "1"]
    first, *lines = heads[-1].split("\r\n")
    lines += [line for line in blocks[-1].split("\r\n") if line and len(blocks) > 1]
    headers = [(line.partition(":")[0], line.partition(":")[2].strip()) for line in lines]
    file = directory / f"{at}.body"  # for HEAD it holds the head once more
    body = file.read_bytes() if file.exists() and step.method != "HEAD" else b""
    return reply(int(first[9:12]), headers, body, len(heads) - 1)


class Node:
    """One Node process that makes the requests of any case."""

    def __init__(self) -> None:
        command = [needed("node"), str(SCRIPT)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, url: str, case: Case, name: str) -> list[Reply]:
        steps = [_node_step(url, step, name) for step in case.steps]
        plain = case.name in ("expect", "trailers")  # fetch has neither
        asked = json.dumps({"steps": steps, "follow": case.follow, "plain": plain})
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(asked.encode() + b"\n")
        self._process.stdin.flush()
        return [
            reply(
                each["status"],
                [(key, value) for key, value in each["headers"]],
                base64.b64decode(each["body"]),
                each["redirects"],
            )
            for each in json.loads(self._process.stdout.readline())
        ]

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=10)


def _node_step(url: str, step: Step, name: str) -> dict[str, object]:
    return {
        "url": url + step.path, "method": step.method, "headers": {**step.headers, "X-Case": name},
        "body": None if step.body is None else base64.b64encode(step.body).decode(),
        "json": step.json, "form": step.form, "chunked": step.chunked, "expect": step.expect,
        "file": None if step.file is None else [step.file[0], base64.b64encode(step.file[1]).decode()],
    }  # fmt: skip
