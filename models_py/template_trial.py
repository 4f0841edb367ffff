"""A user's template, tried in a process of its own, where it may loop and swell without harm.

Jinja templates are programs: loops in loops, macros that call themselves, a text times a billion. No sandbox ends them,
and already compiling works out what is constant. So a template that is not ours is tried first: one that takes seconds
or a great deal of memory for a pair of three words is refused before anything waits for it. Whatever else is wrong with
it is said by who loads it.

    problem_of("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}")
    # "takes more than 2 seconds for a small pair"

The process runs this file alone, so it imports nothing of the project.
"""

import re
import subprocess
import sys
from functools import lru_cache

_CPU_S = 2
_WALL_S = 60  # a busy machine
_MEMORY_BYTES = 1 << 30
MOST_CHARACTERS = 5_000_000
_TOO_MUCH = 3  # this process's exit status


@lru_cache(maxsize=32)
def problem_of(template: str) -> str | None:
    """Why a template cannot be used, or None where it ends in time; a sentence that goes on from its name."""
    too_long = f"takes more than {_CPU_S} seconds for a small pair"
    try:
        tried = subprocess.run(
            [sys.executable, "-I", __file__],
            input=template.encode("utf-8", errors="surrogatepass"),
            capture_output=True,
            timeout=_WALL_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return too_long
    if tried.returncode == _TOO_MUCH:
        return tried.stdout.decode("utf-8", errors="replace")
    return too_long if tried.returncode < 0 else None  # the system ended it


def _limit() -> None:
    import resource

    for kind, most in ((resource.RLIMIT_CPU, _CPU_S), (resource.RLIMIT_AS, _MEMORY_BYTES)):
        try:
            resource.setrlimit(kind, (most, most))
        except (OSError, ValueError):  # not every system has every limit
            continue


# Of transformers' own tags only what stands between them matters here.
_GENERATION = re.compile(r"{%-?\s*(end)?generation\s*-?%}")


def _try(text: str) -> str | None:
    from jinja2.exceptions import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise TemplateError(message)

    # As chat templates of models are rendered.
    environment = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"])
    environment.globals |= {"raise_exception": refuse, "strftime_now": str}
    answer = {"role": "assistant", "content": "output"}
    try:
        template = environment.from_string(_GENERATION.sub("", text))
        for given, answers in (("", []), ("input", []), ("input", [answer])):
            length = 0
            texts = {"instruction": "instruction", "input": given, "output": "output", "answer": "output"}
            messages = [{"role": "user", "content": given}, *answers]
            try:
                for piece in template.generate(texts, messages=messages, add_generation_prompt=not answers):
                    length += len(piece)
                    if length > MOST_CHARACTERS:
                        return f"makes more than {MOST_CHARACTERS:,} characters of a small pair"
            except TemplateError:  # of these messages; perhaps not of the next
                continue
    except (MemoryError, OverflowError):
        return f"takes more than {_MEMORY_BYTES >> 20:,} MB for a small pair"
    except RecursionError:
        return "calls itself without end"
    except Exception:  # said by who loads it, with its place
        return None
    return None


if __name__ == "__main__":
    _limit()
    if problem := _try(sys.stdin.buffer.read().decode("utf-8", errors="surrogatepass")):
        sys.stdout.write(problem)
        sys.exit(_TOO_MUCH)
