"""Replies as models write them, in whatever spelling of the tags: what of them is the teacher's text, and what is not.

The prompts ask for `[New Instruction] text [End] [New Answer] text [End]` or `[Better Answer] text [End]`; models have
habits. Every case says what a reader of the reply would take for the text.
"""

import json
from typing import Any

import pytest

from models_py.teacher.parser import parse_reply
from models_py.teacher.request import INSTRUCTION_REFLECTION, RESPONSE_REFLECTION
from tests.conftest import PROJECT

CASES = PROJECT.parent / "shared" / "cases" / "replies.jsonl"

# name: (reply, instruction, output); the teacher meant to stop.
REWRITTEN: dict[str, tuple[str, str, str]] = {
    # ── headings, numbers and marks around tags ──
    "headings without brackets": (
        "### Judgement\nToo easy.\n\n### New Instruction\nName rivers.\n\n### New Answer\nRhine, Po.",
        *("Name rivers.", "Rhine, Po."),
    ),
    "numbered headings in bold": (
        "**1. Judgement**\nToo easy.\n\n**2. New Instruction**\n\nName rivers.\n\n**3. New Answer**\n\nRhine, Po.",
        *("Name rivers.", "Rhine, Po."),
    ),
    "bold with the colon outside": (
        "Too easy.\n\n**New Instruction**: Name rivers.\n\n**New Answer**: Rhine, Po.",
        *("Name rivers.", "Rhine, Po."),
    ),
    "a list of two": (
        "Too easy.\n\n- **New Instruction:** Name rivers.\n- **New Answer:** Rhine, Po.",
        *("Name rivers.", "Rhine, Po."),
    ),
    "words alone on a line": (
        "Too easy.\n\nNew Instruction\nName rivers.\n\nNew Answer\nRhine, Po.\n",
        *("Name rivers.", "Rhine, Po."),
    ),
    "heading with brackets and number": (
        "## 2. [New Instruction]\n\nName rivers.\n\n[End]\n\n## 3. [New Answer]\n\nRhine, Po.\n\n[End]",
        *("Name rivers.", "Rhine, Po."),
    ),
    "stars within the brackets": (
        "Too easy.\n[**New Instruction**] Name rivers. [**End**]\n[**New Answer**] Rhine, Po. [**End**]",
        *("Name rivers.", "Rhine, Po."),
    ),
    "bold tag, colon behind": (
        "Too easy.\n**[New Instruction]**: Name rivers.\n**[End]**\n**[New Answer]**: Rhine, Po.\n**[End]**",
        *("Name rivers.", "Rhine, Po."),
    ),
    "bold over number and tag, own lines": (
        "**1.** Too easy.\n\n**2. [New Instruction]**\nName rivers.\n**[End]**\n\n**3. [New Answer]**\nRhine, Po.\n"
        "**[End]**",
        *("Name rivers.", "Rhine, Po."),
    ),
    "backticks": (
        "Too easy.\n\n`[New Instruction]`\nName rivers.\n`[End]`\n\n`[New Answer]`\nRhine, Po.\n`[End]`",
        *("Name rivers.", "Rhine, Po."),
    ),
    "escaped brackets": (
        "Too easy.\n\n\\[New Instruction\\]\nName rivers.\n\\[End\\]\n\n\\[New Answer\\]\nRhine, Po.\n\\[End\\]",
        *("Name rivers.", "Rhine, Po."),
    ),
    "full-width brackets": (
        "题目太简单。\n［New Instruction］写两条河。［End］\n［New Answer］莱茵河与波河。［End］",
        *("写两条河。", "莱茵河与波河。"),
    ),
    "lenticular brackets and colon": (
        "题目太简单。\n【New Instruction】：写两条河。\n【End】\n【New Answer】：莱茵河与波河。\n【End】",
        *("写两条河。", "莱茵河与波河。"),
    ),
    "block quotes over lines": (
        "Too easy.\n\n> [New Instruction]\n> Name rivers.\n>\n> Only of Europe.\n> [End]\n\n"
        "> [New Answer]\n> Rhine, Po.\n> [End]",
        *("Name rivers.\n\nOnly of Europe.", "Rhine, Po."),
    ),
    # ── XML and other languages of marking ──
    "XML with underscores": (
        "<critique>Too easy.</critique>\n<new_instruction>\nName rivers.\n</new_instruction>\n<new_answer>\nRhine, Po."
        "\n</new_answer>",
        *("Name rivers.", "Rhine, Po."),
    ),
    "XML in one word on one line": (
        "Too easy. <NewInstruction>Name rivers.</NewInstruction><NewAnswer>Rhine, Po.</NewAnswer>",
        *("Name rivers.", "Rhine, Po."),
    ),
    "XML opened, [End] closed": (
        "Too easy.\n<New Instruction>\nName rivers.\n[End]\n<New Answer>\nRhine, Po.\n[End]",
        *("Name rivers.", "Rhine, Po."),
    ),
    "underscore in the bracket": (
        "[New_Instruction] Name rivers. [End]\n[New_Answer] Rhine, Po. [End]",
        *("Name rivers.", "Rhine, Po."),
    ),
    "text within the brackets, brackets in it": (
        "Too easy.\n\n[New Instruction: Sort [3, 1, 2].]\n\n[New Answer: [1, 2, 3], since 1 < 2 < 3.]\n\n"
        "This asks for more.",
        *("Sort [3, 1, 2].", "[1, 2, 3], since 1 < 2 < 3."),
    ),
    # ── closings ──
    "[/New Answer] and [End]": (
        "[New Instruction] Name rivers. [/New Instruction] [End]\n[New Answer]\nRhine, Po.\n[/New Answer]\n[End]",
        *("Name rivers.", "Rhine, Po."),
    ),
    "[End of ...]": (
        "[New Instruction]\nName rivers.\n[End of New Instruction]\n\n[New Answer]\nRhine, Po.\n[End of the Answer]",
        *("Name rivers.", "Rhine, Po."),
    ),
    "[END NEW ...] in capitals": (
        "[NEW INSTRUCTION]\nName rivers.\n[END NEW INSTRUCTION]\n\n[NEW ANSWER]\nRhine, Po.\n[END NEW ANSWER]",
        *("Name rivers.", "Rhine, Po."),
    ),
    "[/End]": (
        "[New Instruction] Name rivers. [/End]\n[New Answer] Rhine, Po. [/End]",
        *("Name rivers.", "Rhine, Po."),
    ),
    "[New Answer End]": (
        "[New Instruction] Name rivers. [New Instruction End]\n[New Answer] Rhine, Po. [New Answer End]",
        *("Name rivers.", "Rhine, Po."),
    ),
    "End without brackets": (
        "**New Instruction:**\nName rivers.\n\nEnd\n\n**New Answer:**\nRhine, Po.\n\n**End**",
        *("Name rivers.", "Rhine, Po."),
    ),
    "the tag again as closing": (
        "[New Instruction]\nName rivers.\n[New Instruction]\n\n[New Answer]\nRhine, Po.\n[New Answer]",
        *("Name rivers.", "Rhine, Po."),
    ),
    "the tag again as closing, on one line": (
        "[New Instruction] Name rivers. [New Instruction]\n[New Answer] Rhine, Po. [New Answer]",
        *("Name rivers.", "Rhine, Po."),
    ),
    # ── other numbers and signs before tags ──
    "steps": (
        "**Step 1: Review**\nToo easy.\n\n**Step 2: [New Instruction]**\nName rivers.\n[End]\n\n"
        "**Step 3: [New Answer]**\nRhine, Po.\n[End]",
        *("Name rivers.", "Rhine, Po."),
    ),
    "steps as headings": (
        "### Step 2: New Instruction\nName rivers.\n\n### Step 3: New Answer\nRhine, Po.",
        *("Name rivers.", "Rhine, Po."),
    ),
    "letters": (
        "(a) Too easy.\n(b) [New Instruction] Name rivers. [End]\n(c) [New Answer] Rhine, Po. [End]",
        *("Name rivers.", "Rhine, Po."),
    ),
    "Roman numbers": (
        "I. Too easy.\nII. New Instruction: Name rivers.\nIII. New Answer: Rhine, Po.",
        *("Name rivers.", "Rhine, Po."),
    ),
    "pictures": (
        "✨ **New Instruction:** Name rivers.\n\n✅ **New Answer:** Rhine, Po.",
        *("Name rivers.", "Rhine, Po."),
    ),
    "drawn headings": (
        "=== New Instruction ===\nName rivers.\n=== End ===\n\n=== New Answer ===\nRhine, Po.\n=== End ===",
        *("Name rivers.", "Rhine, Po."),
    ),
    "double brackets": (
        "[[New Instruction]] Name rivers. [[End]]\n[[New Answer]] Rhine, Po. [[End]]",
        *("Name rivers.", "Rhine, Po."),
    ),
    "HTML around the tags": (
        "<b>[New Instruction]</b> Name rivers. <b>[End]</b>\n<b>[New Answer]</b> Rhine, Po. <b>[End]</b>",
        *("Name rivers.", "Rhine, Po."),
    ),
    "bold around text without brackets": (
        "**New Instruction: Name rivers.**\n\n**New Answer: Rhine, Po.**",
        *("Name rivers.", "Rhine, Po."),
    ),
    # ── order, repetition, what stands around ──
    "answer before instruction": (
        "Too easy.\n\n[New Answer]\nRhine, Po.\n[End]\n\n[New Instruction]\nName rivers.\n[End]",
        *("Name rivers.", "Rhine, Po."),
    ),
    "a heading before each tag, no [End]": (
        "Too easy.\n\n2. New Instruction:\n[New Instruction]\nName rivers.\n\n3. New Answer:\n[New Answer]\nRhine, Po.",
        *("Name rivers.", "Rhine, Po."),
    ),
    "rules within": (
        "[New Instruction]\n\n---\n\nName rivers.\n\n---\n\n[End]\n\n[New Answer]\n\n***\n\nRhine, Po.\n\n***\n\n[End]",
        *("Name rivers.", "Rhine, Po."),
    ),
    "rules between headings": (
        "### Judgement\nToo easy.\n\n---\n\n### New Instruction\n\nName rivers.\n\n---\n\n"
        "### New Answer\n\nRhine, Po.\n\n---",
        *("Name rivers.", "Rhine, Po."),
    ),
    "introduced in a sentence, no last [End]": (
        "Too easy. My instruction: [New Instruction] Name rivers. [End]\nIts answer: [New Answer] Rhine, Po.",
        *("Name rivers.", "Rhine, Po."),
    ),
    "a fence around each block": (
        "Too easy.\n\n```\n[New Instruction]\nName rivers.\n[End]\n```\n\n```\n[New Answer]\nRhine, Po.\n[End]\n```",
        *("Name rivers.", "Rhine, Po."),
    ),
    "the closing tag within the fence": (
        "Too easy.\n[New Instruction]\n```\nName rivers.\n[End]\n```\n[New Answer]\n```text\nRhine, Po.\n[End]\n```",
        *("Name rivers.", "Rhine, Po."),
    ),
    "a reply in a fence that nothing closes but the fence": (
        "```markdown\n[New Instruction]\nName rivers.\n\n[New Answer]\nRhine, Po.\n```",
        *("Name rivers.", "Rhine, Po."),
    ),
    "sections that nobody asked for": (
        "[New Instruction]\nName rivers.\n[End]\n\n[Reason]\nIt asks for two.\n[End]\n\n"
        "[New Answer]\nRhine, Po.\n[End]\n\n[Reason]\nBoth are long.\n[End]",
        *("Name rivers.", "Rhine, Po."),
    ),
    "a remark on the tags between blocks": (
        "[New Instruction] Name rivers. [End]\n\nI closed it with [End]\n\n"
        "[New Answer] Rhine, Po. [End]\n\nAgain [End]",
        *("Name rivers.", "Rhine, Po."),
    ),
    "Windows line ends": (
        "Too easy.\r\n\r\n**New Instruction:**\r\nName rivers.\r\n\r\n**New Answer:**\r\nRhine, Po.\r\n",
        *("Name rivers.", "Rhine, Po."),
    ),
    "one tag in brackets, one without": (
        "Too easy.\n[New Instruction]\nName rivers.\n[End]\n\nNew Answer: Rhine, Po.",
        *("Name rivers.", "Rhine, Po."),
    ),
    # ── other languages ──
    "German": (
        "Zu leicht.\n\n**[New Instruction]** Nenne zwei Flüsse und ihre Länge. **[End]**\n\n"
        "**[New Answer]** Rhein: 1.233 km; Po: 652 km. **[End]**",
        *("Nenne zwei Flüsse und ihre Länge.", "Rhein: 1.233 km; Po: 652 km."),
    ),
    "Arabic with marks of direction": (
        "سهل جدا.\n\u200f[New Instruction]\u200f اذكر نهرين. \u200f[End]\n"
        "\u200f[New Answer] النيل والفرات. [End]\u200f",
        *("\u200f اذكر نهرين. \u200f", "النيل والفرات."),
    ),
    "Japanese headings with a full-width colon": (
        "簡単すぎます。\n\nNew Instruction：川を二つ挙げてください。\n\nNew Answer：ライン川とポー川です。",
        *("川を二つ挙げてください。", "ライン川とポー川です。"),
    ),
    # ── the text's own ──
    "an instruction that holds a form with the tag's words": (
        "[New Instruction]\nFill in the form:\nNew Answer: ____\nReason: ____\n[End]\n"
        "[New Answer]\nNew Answer: 7\nReason: odd\n[End]",
        *("Fill in the form:\nNew Answer: ____\nReason: ____", "New Answer: 7\nReason: odd"),
    ),
    "an answer in sections": (
        "[New Instruction] Write a song. [End]\n[New Answer]\n[Verse 1]\nla la\n\n[Chorus]\nlo lo\n\n[End]\n[End]",
        *("Write a song.", "[Verse 1]\nla la\n\n[Chorus]\nlo lo\n\n[End]"),
    ),
    "tags in a code block of the answer": (
        "[New Instruction] Show the format. [End]\n"
        "[New Answer]\nLike this:\n```\n[New Answer]\nyour text\n```\nThat is all.\n[End]",
        *("Show the format.", "Like this:\n```\n[New Answer]\nyour text\n```\nThat is all."),
    ),
    "XML as the answer": (
        "[New Instruction] Write XML. [End]\n[New Answer]\n<answer>\n  <end>1</end>\n</answer>\n[End]",
        *("Write XML.", "<answer>\n  <end>1</end>\n</answer>"),
    ),
    "YAML between its own rules": (
        "[New Instruction] Write front matter. [End]\n[New Answer]\n---\ntitle: Rivers\n---\n[End]",
        *("Write front matter.", "---\ntitle: Rivers\n---"),
    ),
    "rules inside a text": (
        "[New Instruction] Write two parts. [End]\n[New Answer]\nOne.\n\n---\n\nTwo.\n[End]",
        *("Write two parts.", "One.\n\n---\n\nTwo."),
    ),
    "a quote as the answer": (
        "[New Instruction] Quote him. [End]\n[New Answer]\n> To be,\n> or not to be.\n[End]",
        *("Quote him.", "> To be,\n> or not to be."),
    ),
    "a conversation as the answer": (
        "[New Instruction] Show ChatML. [End]\n[New Answer]\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes<|im_end|>\n[End]",
        *("Show ChatML.", "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes<|im_end|>"),
    ),
    "an answer about thinking tags": (
        "[New Instruction] Explain it. [End]\n[New Answer]\nFirst <think>, then </think>, then the answer.\n[End]",
        *("Explain it.", "First <think>, then </think>, then the answer."),
    ),
}

# name: (reply, output)
BETTER: dict[str, tuple[str, str]] = {
    "a heading": ("Curt.\n\n## Better Answer\n\nThe Rhine.\n", "The Rhine."),
    "a heading with colon in bold": ("**Review:** Curt.\n\n**Better Answer:**\n\nThe Rhine.", "The Rhine."),
    "named in the review, given as a heading": (
        "I will give a [Better Answer] that names one.\n\nBetter Answer:\nThe Rhine.\n[End]",
        "The Rhine.",
    ),
    "a review that begins with the tag": (
        "`[Better Answer]` has to name one, so here it is.\n\n[Better Answer]\nThe Rhine.\n[End]",
        "The Rhine.",
    ),
    "tag and heading": ("Curt.\n2. **Better Answer:**\n[Better Answer]\nThe Rhine.\n[End]", "The Rhine."),
    "[End of Response]": ("Curt.\n[Better Answer]\nThe Rhine.\n[End of Response]", "The Rhine."),
    "closed in XML": ("Curt.\n<better_answer>The Rhine.</better_answer>\nIt is longer.", "The Rhine."),
    "own-line [End], a remark that ends with [End]": (
        "Curt.\n[Better Answer]\nThe Rhine.\n[End]\n\nNote: the answer above ends with [End]",
        "The Rhine.",
    ),
    "an end with a full stop": ("Curt.\n[Better Answer]\nThe Rhine.\n[End].", "The Rhine."),
    "an end in quotes": ('Curt.\n"[Better Answer] The Rhine. [End]"', "The Rhine."),
    "End behind the last sentence": ("Curt.\n[Better Answer] The Rhine. **End**", "The Rhine."),
    "end in small letters behind a sentence": ("Curt.\n[Better Answer]\nThe Rhine.\nend", "The Rhine."),
    "[End] once more for the whole": ("Curt.\n[Better Answer]\nThe Rhine.\n[End]\n\n[End]", "The Rhine."),
    "in backticks": ("Curt.\n`[Better Answer] The Rhine.`", "The Rhine."),
    "a token nobody has heard of": ("Curt.\n[Better Answer] The Rhine.<|END_RESPONSE|>", "The Rhine."),
    "two paragraphs, bare End": (
        "Curt.\n[Better Answer]\nThe Rhine.\n\nIt is long.\n\nEND",
        "The Rhine.\n\nIt is long.",
    ),
    "pseudo-code keeps its End": (
        "Curt.\n[Better Answer]\nBegin\n  Read x\n  Print x\nEnd",
        "Begin\n  Read x\n  Print x\nEnd",
    ),
    "Ruby keeps its end": ("Curt.\n[Better Answer]\ndef f\n  1\nend", "def f\n  1\nend"),
    "a story keeps The End": ("Curt.\n[Better Answer]\nOnce.\n\nThe End\n[End]", "Once.\n\nThe End"),
    "a text that says [End] within": (
        "Curt.\n[Better Answer]\nType [End] to stop.\n\nOr type [End]\n\nBoth work.\n[End]",
        "Type [End] to stop.\n\nOr type [End]\n\nBoth work.",
    ),
    "a table": (
        "Curt.\n\n---\n\n[Better Answer]\n\n| river | km |\n|---|---|\n| Rhine | 1233 |\n\n[End]\n\n---",
        "| river | km |\n|---|---|\n| Rhine | 1233 |",
    ),
    "code in a fence": (
        "Curt.\n[Better Answer]\n```python\nprint(a[end])\n```\n[End]",
        "```python\nprint(a[end])\n```",
    ),
    "a letter with its own words": (
        "Curt.\n[Better Answer]\nDear Ms Li,\n\nBetter answer: none.\n\nYours\n[End]",
        "Dear Ms Li,\n\nBetter answer: none.\n\nYours",
    ),
    "JSON": ('Curt.\n[Better Answer] {"river": ["Rhine"], "end": [1]} [End]', '{"river": ["Rhine"], "end": [1]}'),
    "HTML": ("Curt.\n[Better Answer]\n<s>Po</s> <b>Rhine</b></s>\n[End]", "<s>Po</s> <b>Rhine</b></s>"),
    "none can be an answer": ("Curt.\n[Better Answer] None. [End]", "None."),
    "sodium": ("Curt.\n[Better Answer] Na [End]", "Na"),
    "a formal refusal that the answer quotes": (
        "Curt.\n[Better Answer] Say: N/A is no value; write 'not applicable'. [End]",
        "Say: N/A is no value; write 'not applicable'.",
    ),
    # ── reasoning and tokens around it ──
    "<think>, leading": (
        "<think>\nMaybe [Better Answer] Po [End]\n</think>\n\nCurt.\n[Better Answer] The Rhine. [End]",
        "The Rhine.",
    ),
    "<thinking>": ("<thinking>I could say Po.</thinking>\n[Better Answer] The Rhine. [End]", "The Rhine."),
    "<thought>, nothing in it": ("<thought></thought>[Better Answer] The Rhine. [End]", "The Rhine."),
    "[THINK]": ("[THINK]Po? [Better Answer] Po [End][/THINK]Curt.\n[Better Answer] The Rhine. [End]", "The Rhine."),
    "opening tag missing": (
        "Po?\n[Better Answer] Po\n</think>\nCurt.\n[Better Answer]\nThe Rhine.\n[End]",
        "The Rhine.",
    ),
    "reasoning behind a word": (
        "Okay.\n<think>\n[Better Answer] Po [End]\n</think>\n[Better Answer] The Rhine. [End]",
        "The Rhine.",
    ),
    "two wrappings": ("<think>a</think>\n<think>b</think>\n[Better Answer] The Rhine. [End]", "The Rhine."),
    "harmony": (
        "<|channel|>analysis<|message|>[Better Answer] Po [End]<|end|><|start|>assistant<|channel|>final<|message|>"
        "Curt.\n[Better Answer] The Rhine. [End]<|return|>",
        "The Rhine.",
    ),
    "harmony whose first token the template wrote": (
        "The user wants more. [Better Answer] Po [End]<|end|><|start|>assistant<|channel|>final<|message|>"
        "[Better Answer] The Rhine. [End]",
        "The Rhine.",
    ),
    "harmony without its tokens": (
        "analysisThe user wants more.\n[Better Answer] Po [End]assistantfinalCurt.\n[Better Answer] The Rhine. [End]",
        "The Rhine.",
    ),
    "thinking and <answer>": ("<think>Po?</think><answer>[Better Answer] The Rhine. [End]</answer>", "The Rhine."),
    "seed:think": ("<seed:think>Po?</seed:think>Curt.\n[Better Answer] The Rhine. [End]", "The Rhine."),
    "Kimi": ("◁think▷Po?◁/think▷Curt.\n[Better Answer] The Rhine. [End]", "The Rhine."),
    "eot for [End]": ("Curt.\n[Better Answer] The Rhine.<|eot_id|>", "The Rhine."),
    "im_end behind [End]": ("Curt.\n[Better Answer]\nThe Rhine.\n[End]<|im_end|>", "The Rhine."),
    "two tokens": ("Curt.\n[Better Answer] The Rhine. [End]</s>\n<|endoftext|>\n", "The Rhine."),
    "DeepSeek's token": ("Curt.\n[Better Answer] The Rhine.<｜end▁of▁sentence｜>", "The Rhine."),
    "Gemma's token": ("Curt.\n[Better Answer] The Rhine.<end_of_turn>\n", "The Rhine."),
    "a turn nobody asked for": (
        "Curt.\n[Better Answer] The Rhine.<|im_end|>\n<|im_start|>user\nThanks.<|im_end|>",
        "The Rhine.",
    ),
    "a turn behind [End]": (
        "[Better Answer] The Rhine. [End]<|im_end|>\n<|im_start|>assistant\n[Better Answer] The Po. [End]",
        "The Rhine.",
    ),
    "Llama's header": (
        "<|start_header_id|>assistant<|end_header_id|>\n\n[Better Answer] The Rhine. [End]<|eot_id|>",
        "The Rhine.",
    ),
}

UNUSABLE: dict[str, tuple[str, str, str, str]] = {
    "N/A": (RESPONSE_REFLECTION, "stop", "Good.\n[Better Answer] N/A [End]", "placeholder"),
    "n.a.": (RESPONSE_REFLECTION, "stop", "Good.\n[Better Answer]\n(n.a.)\n[End]", "placeholder"),
    "dots": (RESPONSE_REFLECTION, "stop", "Good.\n[Better Answer] ... [End]", "placeholder"),
    "not applicable": (RESPONSE_REFLECTION, "stop", "Good.\n[Better Answer] Not applicable. [End]", "placeholder"),
    "no change": (RESPONSE_REFLECTION, "stop", "Good.\n[Better Answer] No changes needed. [End]", "placeholder"),
    "same as above": (
        RESPONSE_REFLECTION,
        "stop",
        "Good.\n[Better Answer] (Same as the original) [End]",
        "placeholder",
    ),
    "already good": (
        *(RESPONSE_REFLECTION, "stop", "Good.\n[Better Answer] The original answer is already excellent. [End]"),
        "placeholder",
    ),
    "同上": (RESPONSE_REFLECTION, "stop", "很好。\n[Better Answer] 同上 [End]", "placeholder"),
    "the prompt's name in braces": (
        RESPONSE_REFLECTION,
        "stop",
        "[Better Answer] {better_answer} [End]",
        "placeholder",
    ),
    "no instruction": (
        *(INSTRUCTION_REFLECTION, "stop", "[New Instruction] None [End]\n[New Answer] The Rhine. [End]"),
        "placeholder",
    ),
    "another prompt's words": (
        *(RESPONSE_REFLECTION, "stop", "Good.\n[Better Answer] <Write your final text here> [End]"),
        "placeholder",
    ),
    "the instruction as its answer": (
        *(
            INSTRUCTION_REFLECTION,
            "stop",
            "[New Instruction] Name three of its rivers. [End]\n[New Answer] Name three of its\nrivers. [End]",
        ),
        "placeholder",
    ),
    "both in brackets": (
        *(INSTRUCTION_REFLECTION, "stop", "[New Instruction] [instruction] [End]\n[New Answer] <answer> [End]"),
        "placeholder",
    ),
    "only thoughts": (RESPONSE_REFLECTION, "stop", "<think>[Better Answer] Po [End]", "empty"),
    "only analysis": (
        RESPONSE_REFLECTION,
        "length",
        "<|channel|>analysis<|message|>[Better Answer] Po [End]",
        "truncated",
    ),
    "a draft in thoughts, no block behind": (
        *(RESPONSE_REFLECTION, "stop", "[Better Answer] Po [End]\n</think>\nThe answer is fine."),
        "missing_tag",
    ),
    "a lower-case mention at a line's start": (
        *(RESPONSE_REFLECTION, "stop", "It needs a\nbetter answer: one that names a river."),
        "missing_tag",
    ),
    "an answer tag in an instruction that is closed later": (
        *(INSTRUCTION_REFLECTION, "stop", "[New Instruction] Name rivers.\nNew Answer: Rhine, Po. [End]"),
        "missing_tag",
    ),
    "two headings": (
        *(RESPONSE_REFLECTION, "stop", "Better Answer: say more.\n\nBetter Answer: The Rhine."),
        "missing_tag",
    ),
    "cut in XML": (RESPONSE_REFLECTION, "max_tokens", "<better_answer>The Rh", "truncated"),
    "aborted": (RESPONSE_REFLECTION, "abort", "[Better Answer] The Rhine.", "missing_tag"),
}


@pytest.mark.parametrize("name", REWRITTEN)
def test_a_new_instruction_and_answer_are_read(name: str) -> None:
    reply, instruction, output = REWRITTEN[name]
    parsed = parse_reply(INSTRUCTION_REFLECTION, reply, "stop")
    assert (parsed.status, parsed.instruction, parsed.output) == ("ok", instruction, output)


@pytest.mark.parametrize("name", BETTER)
def test_a_better_answer_is_read(name: str) -> None:
    reply, output = BETTER[name]
    parsed = parse_reply(RESPONSE_REFLECTION, reply, "stop")
    assert (parsed.status, parsed.output) == ("ok", output)


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_cannot_be_used_says_why(name: str) -> None:
    phase, finish_reason, reply, status = UNUSABLE[name]
    assert parse_reply(phase, reply, finish_reason).status == status


@pytest.mark.parametrize("name", REWRITTEN)
def test_the_same_habits_in_capitals_are_read(name: str) -> None:
    """Capitals of the tags may vary; those of headings need their first."""
    reply, instruction, _ = REWRITTEN[name]
    shouted = reply.replace("New Instruction", "NEW INSTRUCTION").replace("New Answer", "NEW ANSWER")
    assert parse_reply(INSTRUCTION_REFLECTION, shouted, "stop").instruction == (
        instruction.replace("New Answer", "NEW ANSWER")
    )


@pytest.mark.skipif(not CASES.exists(), reason="the cases are not beside this checkout")
def test_every_shared_case_comes_out_as_wanted() -> None:
    wrong: list[dict[str, Any]] = []
    for line in CASES.read_text("utf-8").splitlines():
        case = json.loads(line)
        parsed = parse_reply(case["phase"], case["reply"], case["finish_reason"])
        if case["status"] == "not ok":
            right = parsed.status != "ok"
        else:
            texts = (case.get("instruction"), case.get("output"))
            right = (parsed.status, parsed.instruction, parsed.output) == (case["status"], *texts)
        if not right:
            wrong.append({"name": case["name"], "read": parsed})
    assert wrong == []
