"""A small lake told in a few words: pairs, what a teacher made of them, what a student thinks of each text.

The scores are rows in the real score tables, made so that IFD and reversed IFD come out as told: with one token,
ppl ratio = exp(nll_given - nll), so nll = 5 and nll_given = 5 + ln(ratio).
"""

import math
from dataclasses import dataclass, field
from typing import Any

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.sql_files import load_models
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.profile.schema import Recipe
from models_py.training.rows_version import ROW_COLUMNS

OK = "ok"


@dataclass(frozen=True)
class Text:
    """One of a pair's four texts: its two ratios, or the status that made them NULL."""

    ifd: float | None = 0.8
    r_ifd: float | None = 0.8
    status: str = OK
    ppl: float = math.e**5  # ppl(y | x) when it matters
    tokens: int = 1  # of the answer


@dataclass
class Story:
    lake: Lake
    response_reflection: str = "selected"
    first_choice: str = "ifd"
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {name: [] for name in TABLES_BY_NAME})

    def __post_init__(self) -> None:
        versions = {"instruction_prompt_version": "v1", "response_prompt_version": "v1"}
        self.add("profile.teachers", teacher="gpt", engine="recorded", identity="gpt", **versions)
        self.student("toy")

    def add(self, table: str, **row: object) -> None:
        self.rows[table].append(row)

    def student(self, name: str, fingerprint: str | None = None) -> None:
        fingerprint = fingerprint or f"fp-{name}"
        self.add(
            "profile.students",
            student=name,
            model=name,
            max_length=512,
            student_fingerprint=fingerprint,
            scored_by=name,
            scorer_fingerprint=fingerprint,
        )

    def recipe(self, name: str, policy: str, **cuts: object) -> None:
        row = Recipe.model_validate({"policy": policy, "teacher": "gpt", "student": "toy", "seed": 1, **cuts}).columns
        row |= {"response_reflection": self.response_reflection, "first_choice": self.first_choice}
        self.add("profile.recipes", recipe=name, **row)

    def pair(
        self,
        pair_id: str,
        original: Text,
        instruction: Text | str | None = None,
        response: Text | str | None = None,
        both: Text | str | None = None,
    ) -> None:
        """A rewrite is a Text, or the status of a reply that cannot be used, or None where none was asked."""
        self.add(
            "raw.raw_pairs",
            pair_id=pair_id,
            source="s",
            source_row=1,
            system="",
            history="[]",
            instruction=f"x {pair_id}",
            input="",
            output=f"y {pair_id}",
            duplicate_count=0,
        )
        self._score_first(pair_id, original)
        if instruction is not None:
            self._reflect_on_instruction(pair_id, instruction)
        for base, candidate, text in (("original", "response", response), ("instruction", "both", both)):
            if text is not None:
                self._reflect_on_response(pair_id, base, candidate, text)

    def _reflect_on_instruction(self, pair_id: str, rewrite: Text | str) -> None:
        usable = isinstance(rewrite, Text)
        self.add(
            "reflection.instruction_reflections",
            teacher="gpt",
            prompt_version="v1",
            pair_id=pair_id,
            request_id=f"{pair_id}-i",
            status=OK if usable else rewrite,
            content_id=f"{pair_id}-instruction" if usable else None,
            instruction=f"x' {pair_id}" if usable else None,
            output=f"y' {pair_id}" if usable else None,
        )
        if isinstance(rewrite, Text):
            self._score_first(f"{pair_id}-instruction", rewrite)

    def _reflect_on_response(self, pair_id: str, base: str, candidate: str, rewrite: Text | str) -> None:
        usable = isinstance(rewrite, Text)
        self.add(
            "reflection.response_reflections",
            teacher="gpt",
            prompt_version="v1",
            pair_id=pair_id,
            base=base,
            base_content_id=pair_id if base == "original" else f"{pair_id}-instruction",
            request_id=f"{pair_id}-{candidate}",
            status=OK if usable else rewrite,
            content_id=f"{pair_id}-{candidate}" if usable else None,
            output=f"y'' {pair_id} {candidate}" if usable else None,
        )
        if isinstance(rewrite, Text):
            self._score("response_scores", f"{pair_id}-{candidate}", rewrite, answer=False)
            self._score("chosen_scores", f"{pair_id}-{candidate}", rewrite, answer=True)

    def _score_first(self, content_id: str, text: Text) -> None:
        """What is scored of the texts of the first choice."""
        self._score("instruction_scores", content_id, text, answer=True)
        self._score("response_scores", content_id, text, answer=False)
        if self.first_choice == "guarded":
            self._score("guard_scores", content_id, text, answer=False)

    def _score(self, table: str, content_id: str, text: Text, *, answer: bool) -> None:
        row: dict[str, object] = {"student": "toy", "student_fingerprint": "fp-toy", "content_id": content_id}
        given = text.tokens * math.log(text.ppl)
        if answer and text.ifd is not None:
            alone = given - text.tokens * math.log(text.ifd)
            row |= {"answer_tokens": text.tokens, "answer_nll": alone, "answer_nll_given_instruction": given}
        if not answer and text.r_ifd is not None:
            row |= {
                "instruction_tokens": 1,
                "instruction_nll": 5.0,
                "instruction_nll_given_answer": 5.0 + math.log(text.r_ifd),
            }
        failed = text.status != OK
        self.add(f"scoring.{table}", **row, truncated=False, status=text.status, reason="told" if failed else None)

    def tell(self) -> Lake:
        """Write everything and bring the stored views up to date."""
        self.lake.append(self.rows, Commit("a story"))
        refresh(self.lake)
        return self.lake


def refresh(lake: Lake) -> None:
    for model in load_models().values():
        lake.refresh(model, Commit("refresh"))


def freeze(lake: Lake, data_version: str, which: str = "") -> Lake:
    """Put what the recipes select now into training.training_pairs, as of that version."""
    columns = ("recipe", "content_id", *ROW_COLUMNS)
    rows = (
        f"select '{data_version}' as data_version, columns(c -> c in {columns}) from selection.recycled_pairs {which}"
    )
    frozen = f"insert into training.training_pairs by name {rows}"
    lake.write(lambda connection: connection.execute(frozen), Commit("frozen"))
    return lake
