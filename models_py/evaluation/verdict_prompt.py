"""What a judge is asked: one Jinja file, rendered from an instruction and two answers, versioned by its text.

It is as the teacher's templates are (teacher/prompt.py): blocks `system` and `user`, or none. Its variables are
`instruction`, `input`, `answer_1`, `answer_2`, and `system` and `history` where a conversation stands before the
instruction. `evaluation.judges.<name>.prompts.verdict` replaces the bundled one.
"""

from dataclasses import dataclass
from pathlib import Path

from models_py.content import fingerprint
from models_py.conversation import Context, Message
from models_py.errors import UserError
from models_py.teacher.prompt import check_blocks, in_order, read_template, rendered, variables_of

BUNDLED = Path(__file__).parent / "prompts" / "verdict.jinja"

_NEEDED = {"instruction", "answer_1", "answer_2"}
_KNOWN = _NEEDED | {"input", "system", "history"}


@dataclass(frozen=True, slots=True)
class VerdictPrompt:
    """A checked template. `field` is the profile's field it came from, for messages to people."""

    text: str
    field: str

    @property
    def version(self) -> str:
        """The sha256 hex digest of the template's text."""
        return fingerprint(self.text)

    def messages(
        self, instruction: str, input: str, context: Context, answer_1: str, answer_2: str
    ) -> tuple[Message, ...]:
        """Renders one comparison; raises UserError when the template cannot take it."""
        values = {
            "instruction": instruction,
            "input": input,
            "system": context.system,
            "history": context.history,
            "answer_1": answer_1,
            "answer_2": answer_2,
        }
        return in_order(rendered(self.text, values, self.field))


def load_verdict_prompt(judge: str, file: Path | None = None) -> VerdictPrompt:
    """The profile's own file, else the bundled one. judge: its key in the profile.

    Raises UserError, naming the profile's field, for an unreadable file or a broken template.
    """
    path, field = file or BUNDLED, f"{judge}.prompts.verdict"
    text = read_template(path, field)
    used = variables_of(text, path, field)
    if unknown := sorted(used - _KNOWN):
        known = ", ".join(sorted(_KNOWN))
        raise UserError(f"{field}: {path} uses the unknown variable {unknown[0]!r}. Use {known} or a literal.")
    if unshown := sorted(_NEEDED - used):
        raise UserError(f"{field}: {path} never shows {unshown[0]}. Add {{{{ {unshown[0]} }}}}.")
    check_blocks(text, path, field)
    prompt = VerdictPrompt(text, field)
    prompt.messages("instruction", "input", Context(), "first", "second")
    return prompt
