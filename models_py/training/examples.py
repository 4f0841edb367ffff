"""Rows become what the trainer sees: token ids, and a label only where the loss counts.

Example, a prompt of three tokens and an answer of two that ends its turn with token 2:

    input_ids  11  12  13  41  42   2
    labels   -100 -100 -100 41  42   2

The student's one chat (`StudentChat.training_example`) tokenizes, so the labels are the very tokens that the scorer
scores, plus the end-of-turn token; with `all_answers` those of the answers before it too. TRL's own preparation is
skipped: it would tokenize prompt and answer as one text. A row that cannot be trained on is dropped with the reason;
nothing else is dropped.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from models_py.errors import UserError
from models_py.student.chat import Failure, StudentChat
from models_py.training.settings import TrainingRow

IGNORED = -100  # the label that cross entropy skips, in torch and everywhere downstream of it


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """Token ids and labels of equal length; a label is the token itself or `IGNORED`.

    truncated: the answer lost its tail to `max_length`. thinks, history_truncated: see `TrainingExample`.
    """

    input_ids: list[int]
    labels: list[int]
    truncated: bool = False
    thinks: bool = False
    history_truncated: bool = False

    @property
    def target_tokens(self) -> int:
        """Tokens that the loss counts."""
        return len(self.labels) - self.labels.count(IGNORED)

    def without_targets(self) -> "LabelledRow":
        """The same to read, with nothing that the loss counts."""
        return LabelledRow(self.input_ids, [IGNORED] * len(self.labels))


def labelled_rows(
    rows: Sequence[TrainingRow], chat: StudentChat, *, all_answers: bool = False
) -> tuple[list[LabelledRow], list[tuple[str, str]]]:
    """The rows that can be trained on, in order, and (pair_id, reason) of the others."""
    kept: list[LabelledRow] = []
    dropped: list[tuple[str, str]] = []
    for row in rows:
        example = chat.training_example(row.instruction, row.input, row.output, row.context, all_answers=all_answers)
        if isinstance(example, Failure):
            dropped.append((row.pair_id, f"{example.status}: {example.reason}"))
            continue
        labels = [
            token if counts else IGNORED
            for token, counts in zip(example.input_ids, example.completion_mask, strict=True)
        ]
        if labels[-1] != chat.end_of_turn_id:
            raise AssertionError(f"pair {row.pair_id}: the last label is {labels[-1]}, not the end-of-turn token")
        kept.append(
            LabelledRow(example.input_ids, labels, example.truncated, example.thinks, example.history_truncated)
        )
    return kept, dropped


def require_rows(kept: Sequence[LabelledRow], dropped: Sequence[tuple[str, str]], recipe: str) -> None:
    """Raise UserError when there is nothing to train on, naming the recipe, the reasons and the remedy."""
    if kept:
        return
    if not dropped:
        raise UserError(
            f"Recipe {recipe}: its selection keeps no row, so there is nothing to train on. Loosen top_fraction, "
            "top_k, ifd_below or r_ifd_below in the profile's recipe, or name another policy there."
        )
    reasons = Counter(reason.split(":")[0] for _, reason in dropped)
    counts = ", ".join(f"{count} x {status}" for status, count in reasons.most_common())
    raise UserError(
        f"Recipe {recipe}: none of the {len(dropped)} rows of its selection can be trained on ({counts}; first: pair "
        f"{dropped[0][0]}, {dropped[0][1]}). Raise the student's max_length or training.max_length in the profile, or "
        "loosen the recipe's selection so that shorter rows stay."
    )
