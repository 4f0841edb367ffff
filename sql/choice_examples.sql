-- The two pairs of a pairing that show best what the student does: one whose text a rewrite bettered most, and one whose rewrite it refused.
-- grain: one row a (teacher, student, kind)
with choices as (
    select
        second.teacher,
        second.student,
        second.pair_id,
        second.choice,
        first.ifd_original,
        first.ifd_instruction,
        second.r_ifd_base,
        second.r_ifd_reflected,
        first.reason as first_reason,
        second.reason as second_reason,
        coalesce(if(first.reason = 'rewrite_wins', first.ifd_instruction - first.ifd_original, 0), 0)
        + coalesce(if(second.reason = 'rewrite_wins', second.r_ifd_base - second.r_ifd_reflected, 0), 0) as gain
    from selection.response_choices as second
    inner join selection.instruction_choices as first
        on first.teacher = second.teacher
        and first.student = second.student
        and first.pair_id = second.pair_id
),

-- Those show most in which the student says the same twice: it takes both rewrites, or leaves the pair as it came.
told as (
    select *, 'rescued' as kind, 'original' as other, choice = 'both' as is_clear, gain as difference
    from choices
    where choice <> 'original' and gain > 0
    union all
    select *, 'vetoed', 'instruction', choice = 'original', ifd_original - ifd_instruction
    from choices
    where first_reason in ('rewrite_vetoed', 'rewrite_too_hard', 'rewrite_off_topic') and choice is not null
    union all
    select *, 'vetoed', selection.twin_of_base(choice), choice = 'original', r_ifd_reflected - r_ifd_base
    from choices
    where first_reason in ('rewrite_wins', 'tie', 'no_rewrite') and second_reason = 'rewrite_vetoed'
),

examples as (
    select *
    from told
    qualify row_number() over (
        partition by teacher, student, kind
        order by is_clear desc, difference desc, pair_id
    ) = 1
),

-- Of the two texts of each, by one look at the candidates, of which there are many.
texts as (
    select
        examples.teacher,
        examples.student,
        examples.kind,
        candidates.candidate,
        candidates.instruction,
        candidates.output
    from examples
    inner join selection.candidates as candidates
        on candidates.teacher = examples.teacher
        and candidates.student = examples.student
        and candidates.pair_id = examples.pair_id
        and candidates.candidate in (examples.choice, examples.other)
)


select
    examples.teacher, -- teacher whose rewrites competed
    examples.student, -- student that decided
    examples.kind, -- rescued: a rewrite won; vetoed: a rewrite lost
    examples.pair_id, -- raw pair
    raw_pairs.file, -- file of the raw pair
    raw_pairs.source_row, -- row in that file, from 1
    raw_pairs.system, -- system text before all its texts, empty = none
    raw_pairs.history, -- earlier turns before them, JSON, [] = none
    examples.ifd_original, -- first choice: IFD of the original
    examples.ifd_instruction, -- first choice: IFD of the rewrite, higher wins; NULL where there was none
    examples.r_ifd_base, -- second choice: reversed IFD of what won the first
    examples.r_ifd_reflected, -- second choice: reversed IFD with the reflected answer, lower wins; NULL where there was none
    examples.first_reason, -- how the first choice fell
    examples.second_reason, -- how the second choice fell
    examples.choice as kept, -- which of the four texts the student keeps
    examples.other, -- which it is shown beside: the original that was bettered, or the rewrite that was refused
    kept.instruction as kept_instruction, -- instruction that the student keeps
    kept.output as kept_output, -- answer that the student keeps
    other.instruction as other_instruction, -- instruction beside it
    other.output as other_output -- answer beside it
from examples
inner join raw.raw_pairs as raw_pairs on raw_pairs.pair_id = examples.pair_id
inner join texts as kept
    on kept.teacher = examples.teacher
    and kept.student = examples.student
    and kept.kind = examples.kind
    and kept.candidate = examples.choice
inner join texts as other
    on other.teacher = examples.teacher
    and other.student = examples.student
    and other.kind = examples.kind
    and other.candidate = examples.other
