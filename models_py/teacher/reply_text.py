r"""What surrounds a reply: the reasoning before it, the end tokens behind it, and why it ended.

    <think>I could ask for a sonnet ...</think>\nVague.\n[Better Answer] Rain falls. [End]<|eot_id|>     MAX_TOKENS
                                              Vague.\n[Better Answer] Rain falls. [End]                   length

Reasoning is whatever a model wrote for itself: a wrapping at the start, or one whose opening tag the chat template
wrote, so that only `</think>` arrives; harmony's analysis channel, with its tokens or with what is left when a server
drops them. A closing tag inside a block, as in an answer about such tags, ends no reasoning. Servers that deliver
reasoning in a field of its own are read by their engine and need nothing of this.

A reply that is nothing but reasoning is empty.
"""

import re
from bisect import bisect_left
from collections.abc import Callable
from typing import Literal

# Where tags open blocks, and where tags that close them end, each in order.
FindTags = Callable[[str], tuple[list[int], list[int]]]
Ending = Literal["stop", "length", "content_filter", "repetition"]

# Spellings of servers, letters and digits only, in small letters. None and "" are servers that do not tell.
_ENDINGS: dict[str, Ending] = {
    **dict.fromkeys(
        (
            *("", "null", "none", "stop", "stopped", "stopsequence", "stoptoken", "stopstring", "endturn", "endofturn"),
            *("eos", "eostoken", "eostokenid", "endoftext", "complete", "completed", "completion", "done", "finish"),
            *("finished", "end", "ended", "success", "normal", "natural"),
        ),
        "stop",
    ),
    **dict.fromkeys(
        (
            *("length", "maxlength", "lengthlimit", "modellength", "maxtokens", "maxtoken", "maxtokenlimit", "limit"),
            *("maxoutputtokens", "maxnewtokens", "maxcompletiontokens", "maxtokensreached", "tokenlimit", "truncated"),
            *("contextlength", "contextlengthexceeded", "contextwindowexceeded", "modelcontextwindowexceeded"),
            *("incomplete", "maxcontextlength", "maxgenlen", "tokensreached", "outputlimit"),
        ),
        "length",
    ),
    **dict.fromkeys(
        (
            *("contentfilter", "contentfiltered", "filtered", "filter", "safety", "refusal", "refused", "recitation"),
            *("blocklist", "blocked", "prohibitedcontent", "spii", "language", "sensitive", "moderation", "errortoxic"),
            *(
                "guardrail",
                "guardrails",
                "guardrailintervened",
                "imagesafety",
                "contentpolicy",
                "contentpolicyviolation",
            ),
        ),
        "content_filter",
    ),
    **dict.fromkeys(("repetition", "repetitiondetected", "repetitive", "repeated", "loop"), "repetition"),
}
_ENUM_PREFIX = re.compile(r"^(?:finishreason|stopreason)(?=.)")


def how_it_ended(finish_reason: str | None) -> Ending | None:
    """OpenAI's word for a server's `finish_reason`, or `repetition`, vLLM's; None for others (abort, tool_calls, ...).

    `None`, which servers send that do not tell, is a stop: those that cut a reply say so.
    """
    letters = "".join(filter(str.isalnum, (finish_reason or "").casefold()))
    return _ENDINGS.get(letters) or _ENDINGS.get(_ENUM_PREFIX.sub("", letters))


def reply_text(text: str, find_tags: FindTags, *, is_all: bool = False) -> str:
    r"""The reply, whose lines end in \n, without reasoning and end tokens.

    `find_tags` tells reasoning and a next turn from an answer that speaks of such things. is_all: no tags say which
    part is wanted, so what stands at the start alone, as of an answer in HTML, is kept.
    """
    text = text[_final_channel(text) :]
    if not (is_all and _STRIKES_OUT.match(text)):
        text = _within_turn(text, find_tags)
    text = _without_reasoning(text, find_tags)
    return _without_wrapping(text, both_ends=is_all)


# ── tokens of chat templates ───────────────────────────────────────────────────────────────────────────────────────

_END_TOKEN = (
    r"(?:<[|｜](?:eot_id|eom_id|im_end|endoftext|end_of_text|end|return|eos|eot|end[▁_]of[▁_]sentence|end_of_turn"
    r"|END_OF_TURN_TOKEN|end_of_role|eos_token)[|｜]>|<(?:end_of_turn|turn\||end_of_utterance)>|</s>)"
)
_TURN_TOKEN = (
    r"(?:<[|｜](?:im_start|start_header_id|begin_of_text|start|start_of_role|user|assistant|system|User|Assistant"
    r"|START_OF_TURN_TOKEN|begin[▁_]of[▁_]sentence)[|｜]>|<(?:start_of_turn|\|turn|s|bos)>|\[INST\])"
)
_ROLE = r"(?:(?:assistant|model)(?:<\|end_header_id\|>|<\|end_of_role\|>|<\|message\|>)?)?"
_OWN_TURN = re.compile(rf"(?:\s*{_TURN_TOKEN}{_ROLE})*")
_TURNS = re.compile(rf"(?P<end>{_END_TOKEN})\s*(?={_TURN_TOKEN})|{_TURN_TOKEN}")
_LAST_TOKENS = re.compile(rf"(?:\s*(?:{_END_TOKEN}|<[|｜][\w▁/]{{2,40}}[|｜]>|\[\|\w{{2,40}}\|\]|<eos>|\[EOS\]))+\s*\Z")
_LAST_TOKENS_MAX = 200  # characters
# `<s>Old</s> new` is HTML: of a turn nothing but tokens follows the end.
_STRIKES_OUT = re.compile(rf"\s*<s>.*?</s>(?!\s*(?:\Z|</?s>|{_TURN_TOKEN}|<[|｜]|<eos>))", re.DOTALL)


def _within_turn(text: str, find_tags: FindTags) -> str:
    """Without the tokens around a turn. A turn that follows, which nobody asked for, goes with them.

    None follows where the text shows a conversation: that begins with the token that opens a turn, or stands in a block
    that is closed behind it.
    """
    text = text[_end(_OWN_TURN.match(text)) :].rstrip()
    if (first := _TURNS.search(text)) and first["end"]:
        _, closings = find_tags(text)
        if not closings or closings[-1] <= first.start() or len(text[: first.start()].rstrip()) in closings:
            text = text[: first.start()]
    last = _LAST_TOKENS.search(text, max(0, len(text) - _LAST_TOKENS_MAX))
    shows_html = "</s>" in text[-_LAST_TOKENS_MAX:] and "<s>" in text
    return text[: last.start()] if last and not shows_html else text


_BLANK = re.compile(r"\s*")

# ── reasoning ──────────────────────────────────────────────────────────────────────────────────────────────────────

_NAMES = r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|seed:think|(?:ant|antml:)thinking|scratch_?pad|inner_?monologue)"
_OPEN = re.compile(
    rf"(?:<{_NAMES}(?:\s[^<>\n]{{0,80}})?>|\[THINK\]|◁think▷|<\|begin_of_thought\|>|<\|channel>thought|<unused94>)",
    re.IGNORECASE,
)
_CLOSE = re.compile(rf"</{_NAMES}>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>|<channel\|>|<unused95>", re.IGNORECASE)
_CHANNEL = re.compile(r"\s*(?:<\|start\|>assistant)?<\|channel\|>")
_FINAL_CHANNEL = re.compile(
    r"(?=<)(?P<turn><\|start\|>assistant)?<\|channel\|>\s*final\b[^<\n]{0,80}(?:<\|constrain\|>[^<\n]{0,80})?<\|message\|>"
)
# What is left of the channels where their tokens were dropped: `analysisThe user wants ...assistantfinalVague.`
_BARE_CHANNEL = re.compile(r"\s*analysis")
_BARE_FINAL = "assistantfinal"


def _without_reasoning(text: str, find_tags: FindTags) -> str:
    start = _visible_start(text, 0)
    while opened := _OPEN.match(text, start):
        closed = _CLOSE.search(text, opened.end())
        if closed is None:
            return ""
        start = _visible_start(text, closed.end())
    return text[_reasoning_end(text, start, find_tags) :]


def _final_channel(text: str) -> int:
    """Where harmony's final channel begins: 0 where there are no channels, the end where none is final."""
    in_channels = _CHANNEL.match(text) is not None
    for final in _FINAL_CHANNEL.finditer(text):
        if in_channels or final["turn"]:
            return final.end()
    if in_channels:
        return len(text)
    if _BARE_CHANNEL.match(text) and _BARE_FINAL in text:
        return text.rindex(_BARE_FINAL) + len(_BARE_FINAL)
    return 0


def _reasoning_end(text: str, start: int, find_tags: FindTags) -> int:
    """Where reasoning ends that began without a tag, or behind other words; `start` where there is none.

    A closing tag ends reasoning, unless it stands in a block: one is opened before it, and closed behind it before
    another opens, or holds the tag's own opening.
    """
    closed = [match.end() for match in _CLOSE.finditer(text, start)]
    if not closed:
        return start
    shown = [match.start() for match in _OPEN.finditer(text, start)]
    openings, closings = find_tags(text)
    for place in closed:
        following, closing = bisect_left(openings, place), bisect_left(closings, place)
        is_open = following > 0 and openings[following - 1] >= start
        next_opening = openings[following] if following < len(openings) else len(text)
        if is_open and bisect_left(shown, place) > bisect_left(shown, openings[following - 1]):
            continue
        if is_open and closing < len(closings) and closings[closing] <= next_opening:
            break
        start = place
    return start


def _visible_start(text: str, start: int) -> int:
    blank = _BLANK.match(text, start)
    return blank.end() if blank else start


# ── what stands around the whole ───────────────────────────────────────────────────────────────────────────────────

_WRAPPING = re.compile(
    r"\s*<(?P<tag>answer|final_answer|final|response|output|solution|\|begin_of_(?:solution|box)\|)>", re.IGNORECASE
)


def _without_wrapping(text: str, *, both_ends: bool) -> str:
    """Without `<answer>` and the like around all that a model says.

    both_ends: only where it is closed at the end, and not before, unless it is a token, which nobody writes.
    """
    opened = _WRAPPING.match(text)
    if opened is None:
        return text
    tag = opened["tag"].lower()
    is_token = tag.startswith("|")
    closing = f"<{tag.replace('begin', 'end')}>" if is_token else f"</{tag}>"
    within = text[opened.end() :].rstrip()
    _, closed, behind = within.lower().partition(closing)
    if both_ends and not is_token and (behind or not closed):
        return text
    return within[: -len(closing)] if within.lower().endswith(closing) else within


def _end(match: re.Match[str] | None) -> int:
    return match.end() if match else 0
