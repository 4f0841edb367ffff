-- `paper` with the guarded first choice, whatever the profile's: a rewritten instruction must also have IFD < 1 and a reversed IFD no worse than the original's.
-- response_reflection: all
-- grain: one row a (teacher, student, pair_id)
with scores as (
    select teacher, student, pair_id, candidate, ifd, r_ifd
    from selection.candidate_scores
    where status = 'ok'
),

firsts as (
    select
        teacher,
        student,
        pair_id,
        any_value(ifd) filter (where candidate = 'original') as ifd_original,
        any_value(ifd) filter (where candidate = 'instruction') as ifd_instruction,
        any_value(r_ifd) filter (where candidate = 'original') as r_ifd_original,
        any_value(r_ifd) filter (where candidate = 'instruction') as r_ifd_instruction
    from scores
    group by teacher, student, pair_id
),

bases as (
    select
        *,
        case
            when ifd_original is null and ifd_instruction is null then null
            when ifd_original is null then 'instruction'
            when
                selection.higher_wins(ifd_instruction, ifd_original)
                and selection.guard_objection(ifd_instruction, r_ifd_instruction, r_ifd_original) is null
                then 'instruction'
            else 'original'
        end as base
    from firsts
)

select
    bases.teacher, -- teacher
    bases.student, -- student
    bases.pair_id, -- raw pair
    twins.candidate -- response | both
from bases
inner join scores as twins
    on twins.teacher = bases.teacher
    and twins.student = bases.student
    and twins.pair_id = bases.pair_id
    and twins.candidate = selection.twin_of_base(bases.base)
where
    twins.ifd is not null
    and selection.lower_wins(twins.r_ifd, if(bases.base = 'original', bases.r_ifd_original, bases.r_ifd_instruction))
