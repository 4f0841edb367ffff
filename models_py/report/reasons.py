"""Why a choice fell as it did, in a sentence: the codes of the selection views in words.

    FIRST["rewrite_vetoed"]     "The student finds the original harder to answer than the rewrite ({before} against ..."

`{before}` and `{after}` stand for the two statistics that were compared; whoever shows the sentence fills them in.
"""

_WAITING = {
    "awaiting_reflection": "The teacher has not been asked yet, so nothing could be compared.",
    "awaiting_scores": "The student has not scored the texts yet, so nothing could be compared.",
    "not_scored": "Neither text could be scored, so nothing could be chosen.",
}
# First choice: the higher IFD wins. before: IFD of the original, after: of the rewritten instruction with its answer.
FIRST = {
    "rewrite_wins": "The rewritten instruction wins: its IFD {after} is higher than the original's {before}.",
    "rewrite_vetoed": "The student vetoes the rewrite: its IFD {after} is not higher than the original's {before}.",
    "rewrite_too_hard": "The guard vetoes the rewrite: its IFD {after} is 1 or more, so the instruction does not help.",
    "rewrite_off_topic": "The guard vetoes the rewrite: its answer tells less of its instruction than the original's.",
    "guard_not_scored": "The guard could not score a text, so the original stays.",
    "tie": "Both have the same IFD, {before}: a tie keeps the original.",
    "no_rewrite": "The teacher's reply could not be used, so the original stays.",
    "rewrite_not_scored": "The rewrite could not be scored, so the original stays.",
    "base_not_scored": "The original could not be scored, so the rewrite is taken.",
    **_WAITING,
}
# Second choice: the lower reversed IFD wins. before: of what won the first choice, after: with the better answer.
SECOND = {
    "rewrite_wins": "The better answer wins: its r-IFD {after} is lower than {before}.",
    "rewrite_vetoed": "The student vetoes the better answer: its r-IFD {after} is not lower than {before}.",
    "tie": "Both answers have the same r-IFD, {before}: a tie keeps the first choice.",
    "no_rewrite": "The teacher's better answer could not be used, so the first choice stays.",
    "rewrite_not_scored": "The better answer could not be scored, so the first choice stays.",
    "base_not_scored": "The first choice could not be scored, so the better answer is taken.",
    **_WAITING,
}
# Why a recipe leaves a pair out: the end of a sentence.
DROPPED = {
    "not_scored": "its policy keeps none of the texts, and the original could not be scored",
    "policy": "its policy keeps none of the texts",
    "ifd_below": "the IFD is not below its `ifd_below`",
    "r_ifd_below": "the reversed IFD is not below its `r_ifd_below`",
    "contaminated": "it holds a copy of an evaluation text",
    "near_duplicate": "it nearly repeats a pair that is kept",
    "below_cut": "it ranks below the cut",
}
