"""How fast a hosted teacher is asked, against what is possible and against what people run today, in one run.

    python benchmarks/teacher.py --requests 20000 --concurrency 64

A server on loopback, in a process of its own, answers each request after a delay with a median of 200 ms and a heavy
tail (log-normal, sigma 1: one in a hundred takes two seconds). The delay is drawn from the request itself, so all
clients meet the same delays.

    ours        reflect_pairs() as the asset runs it: prompts rendered, 64 calls under way, each reply committed to the
                ledger as it arrives, parsed and handed over
    batches     what published scripts do: ten calls at once, wait for all ten, parse, the next ten; no ledger
    ideal       the sum of all delays / concurrency: no client can be faster

CPU is of the client's process, the server's not counted. Memory is looked at along the way and must not grow with the
number of requests. Writes benchmarks/results/teacher.json and .png. Not measured: networks, tokens, a real model.
"""

import argparse
import asyncio
import hashlib
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from models_py.teacher.ledger import Ledger
from models_py.teacher.open_teacher import OpenTeacher, open_teacher
from models_py.teacher.parser import parse_reply
from models_py.teacher.reflect_pairs import reflect_pairs
from models_py.teacher.request import RESPONSE_REFLECTION, PendingPair, TeacherReply
from models_py.teacher.spec import OpenAISettings, TeacherSpec

RESULTS = Path(__file__).resolve().parent / "results"
MEDIAN_S, SIGMA = 0.2, 1.0
BATCH = 10
LEDGER_ROWS = 5_000
TEXT = "name the colour of sky and say why it is blue light scattered by air water stone river month number"
WORDS = TEXT.split()
REPLY = "It says little.\n\n[Better Answer]\n" + "A better answer takes more words than that. " * 30 + "\n[End]"


# ---- the server


def delay(body: bytes) -> float:
    """Seconds a request takes: log-normal, drawn from the request."""
    return MEDIAN_S * math.exp(random.Random(hashlib.sha256(body).digest()).gauss(0, SIGMA))


async def serve() -> None:
    """Answer POSTs on a free port of loopback until killed; `GET /delays` tells the sum of all delays so far."""
    total = 0.0
    body = json.dumps(
        {
            "choices": [{"index": 0, "message": {"role": "assistant", "content": REPLY}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 420, "completion_tokens": 330, "total_tokens": 750},
        }
    ).encode()

    def response(content: bytes) -> bytes:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        return head.encode() + content

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal total
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                if head.startswith(b"get"):
                    writer.write(response(json.dumps(total).encode()))
                    total = 0.0
                    continue
                length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length"))
                seconds = delay(await reader.readexactly(int(length.split(b":")[1])))
                total += seconds
                await asyncio.sleep(seconds)
                writer.write(response(body))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


class Server:
    """The server as a child process."""

    def __enter__(self) -> "Server":
        command = [sys.executable, __file__, "--serve"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def delays(self) -> float:
        """The sum of the delays since the last call, in seconds."""
        from urllib.request import urlopen

        with urlopen(self.url) as response:
            return float(json.load(response))


# ---- the clients


def pairs(count: int, seed: int) -> Sequence[PendingPair]:
    """Pairs of Alpaca's usual size, no two alike."""

    class Made(Sequence[PendingPair]):
        def __len__(self) -> int:
            return count

        def __getitem__(self, place: Any) -> Any:
            if place >= count:
                raise IndexError(place)
            draw = random.Random(f"{seed} {place}")
            instruction, output = (" ".join(draw.choices(WORDS, k=k)) for k in (12, 90))
            return PendingPair(str(place), f"{instruction} {place}", "", output)

    return Made()


def make_teacher(url: str, concurrency: int) -> OpenTeacher:
    settings = OpenAISettings(model="loopback", base_url=url, api_key_env=None, concurrency=concurrency)
    return open_teacher(TeacherSpec("loopback", settings))


def ours(url: str, count: int, concurrency: int, folder: Path) -> Iterator[int]:
    """Counts replies as they are handed over."""
    teacher = make_teacher(url, concurrency)
    with Ledger(folder / "teacher.sqlite") as ledger:
        outcomes = reflect_pairs(RESPONSE_REFLECTION, pairs(count, seed=1), teacher, ledger)
        for number, outcome in enumerate(outcomes, start=1):
            assert outcome.status == "ok", outcome
            yield number


async def batches(url: str, count: int) -> None:
    """Ten at a time, as published scripts ask a hosted teacher."""
    import aiohttp

    teacher, asked = make_teacher(url, BATCH), pairs(count, seed=2)

    async with aiohttp.ClientSession() as session:

        async def ask(pair: PendingPair) -> None:
            request = teacher.request(RESPONSE_REFLECTION, pair)
            messages = [{"role": message.role, "content": message.content} for message in request.messages]
            async with session.post(f"{url}/chat/completions", json={"model": "m", "messages": messages}) as response:
                choice = (await response.json())["choices"][0]
            parsed = parse_reply(RESPONSE_REFLECTION, choice["message"]["content"], choice["finish_reason"])
            assert parsed.status == "ok"

        for start in range(0, count, BATCH):
            await asyncio.gather(*(ask(asked[place]) for place in range(start, min(start + BATCH, count))))


def ledger_rate(folder: Path) -> float:
    """Replies a second that one thread commits to a ledger."""
    teacher = make_teacher("http://127.0.0.1/v1", 1)
    asked = [teacher.request(RESPONSE_REFLECTION, pair) for pair in pairs(LEDGER_ROWS, seed=3)]
    with Ledger(folder / "rate.sqlite") as ledger:
        started = time.perf_counter()
        for request in asked:
            ledger.record(request, TeacherReply(request.request_id, reply=REPLY, finish_reason="stop"))
        return LEDGER_ROWS / (time.perf_counter() - started)


# ---- the run


def resident_mib() -> float:
    """Memory of this process now, in MiB (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--reference-requests", type=int, default=600, help="of the client that awaits batches of ten")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve())
        return 0
    with Server() as server, tempfile.TemporaryDirectory() as name:
        result = measure(server, arguments, Path(name))
    report(result)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "teacher.json").write_text(json.dumps(result, indent=1), "utf-8")
    plot(result["memory"], RESULTS / "teacher.png")
    return 0


def measure(server: Server, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    list(ours(server.url, 64, arguments.concurrency, folder / "warm"))  # first calls load code
    server.delays()

    started = time.perf_counter()
    asyncio.run(batches(server.url, arguments.reference_requests))
    batches_s, batches_delays = time.perf_counter() - started, server.delays()

    memory = []
    step = max(1, arguments.requests // 20)
    started, cpu = time.perf_counter(), time.process_time()
    for number in ours(server.url, arguments.requests, arguments.concurrency, folder):
        if number % step == 0:
            memory.append({"requests": number, "resident_mib": resident_mib()})
            if number % (4 * step) == 0:
                seconds = time.perf_counter() - started
                eta = seconds / number * (arguments.requests - number)
                print(
                    f"{number:,}/{arguments.requests:,} replies, {number / seconds:.0f}/s, ETA {eta:.0f} s", flush=True
                )
    ours_s, ours_cpu, delays = time.perf_counter() - started, time.process_time() - cpu, server.delays()

    ideal_s = delays / arguments.concurrency
    rate = arguments.requests / ours_s
    return {
        "requests": arguments.requests,
        "concurrency": arguments.concurrency,
        "ideal_s": ideal_s,
        "ours_s": ours_s,
        "share_of_ideal": ideal_s / ours_s,
        "cpu_ms_a_reply": ours_cpu / arguments.requests * 1e3,
        "replies_a_second": rate,
        "batches_replies_a_second": arguments.reference_requests / batches_s,
        "batches_mean_delay_s": batches_delays / arguments.reference_requests,
        "times_batches": rate / (arguments.reference_requests / batches_s),
        "ledger_commits_a_second": ledger_rate(folder),
        "memory": memory,
    }


def report(result: Mapping[str, Any]) -> None:
    print("\n| client | replies/s | of the ideal | times batches of ten | CPU ms a reply |\n|---|---|---|---|---|")
    print(f"| ideal | {result['requests'] / result['ideal_s']:.0f} | 100% | | |")
    print(
        f"| ours | {result['replies_a_second']:.0f} | {result['share_of_ideal']:.1%} | {result['times_batches']:.1f} | "
        f"{result['cpu_ms_a_reply']:.2f} |"
    )
    print(f"| batches of ten | {result['batches_replies_a_second']:.1f} | | 1.0 | |")
    resident = [point["resident_mib"] for point in result["memory"]]
    half = len(resident) // 2
    print(
        f"\nledger: {result['ledger_commits_a_second']:,.0f} commits/s; memory: "
        f"{statistics.median(resident[:half]):.0f} MiB in the first half, "
        f"{statistics.median(resident[half:]):.0f} in the second, {max(resident):.0f} at most"
    )


def plot(memory: Sequence[Mapping[str, float]], path: Path) -> None:
    """Memory over requests. Without matplotlib there is no plot."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        print("matplotlib is not installed: no plot")
        return
    figure, axes = pyplot.subplots(figsize=(6, 3), layout="constrained")
    axes.plot([point["requests"] for point in memory], [point["resident_mib"] for point in memory], marker="o")
    axes.set(xlabel="replies", ylabel="resident MiB", ylim=(0, None))
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
