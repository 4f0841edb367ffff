-- Two answers to one instruction of which the student's statistics prefer one: a base and its twin with the reflected answer; the lower reversed IFD is chosen.
-- A tie prefers nothing, nor does a comparison with a NULL or one that awaits a score: these have no row, and response_choices says why.
-- grain: one row a (teacher, student, pair_id, base)
with scores as (
    select
        teacher,
        student,
        pair_id,
        candidate,
        content_id,
        ifd,
        r_ifd
    from selection.candidate_scores
    where status = 'ok' and r_ifd is not null
),

contests as (
    select
        bases.teacher,
        bases.student,
        bases.pair_id,
        bases.candidate as base,
        twins.r_ifd < bases.r_ifd as rewrite_wins,
        if(rewrite_wins, twins, bases) as chosen,
        if(rewrite_wins, bases, twins) as rejected
    from scores as bases
    inner join scores as twins
        on twins.teacher = bases.teacher
        and twins.student = bases.student
        and twins.pair_id = bases.pair_id
        and twins.candidate = selection.twin_of_base(bases.candidate)
    -- A rewrite that wins is a training row, and those have an IFD: as in response_choices, it has not won before that is known.
    where bases.r_ifd < twins.r_ifd or (twins.r_ifd < bases.r_ifd and twins.ifd is not null)
)

select
    contests.teacher, -- teacher whose rewrite is one of the two
    contests.student, -- student that decided
    contests.pair_id, -- raw pair
    contests.base, -- original | instruction: whose instruction both answer
    chosen.system, -- system text before both, empty = none
    chosen.history, -- earlier turns before both, JSON, [] = none
    chosen.instruction, -- instruction of both
    chosen.input, -- optional input of both
    chosen.output as chosen, -- answer with the lower reversed IFD
    rejected.output as rejected, -- the other answer
    contests.chosen.candidate as chosen_candidate, -- which of the four texts is chosen
    contests.rejected.candidate as rejected_candidate, -- which is not
    contests.chosen.content_id as chosen_content_id, -- id of the chosen text
    contests.rejected.content_id as rejected_content_id, -- id of the other
    contests.chosen.r_ifd as r_ifd_chosen, -- reversed IFD, by which it was decided
    contests.rejected.r_ifd as r_ifd_rejected, -- and of the other
    contests.chosen.ifd as ifd_chosen, -- IFD, NULL when not asked
    contests.rejected.ifd as ifd_rejected, -- and of the other
    contests.rejected.r_ifd - contests.chosen.r_ifd as margin, -- by how much the one is lower than the other
    if(contests.rewrite_wins, 'rewrite_wins', 'rewrite_vetoed') as reason -- rewrite_wins: the teacher's answer is chosen; rewrite_vetoed: it is rejected
from contests
inner join selection.candidates as chosen
    on chosen.teacher = contests.teacher
    and chosen.student = contests.student
    and chosen.pair_id = contests.pair_id
    and chosen.candidate = contests.chosen.candidate
inner join selection.candidates as rejected
    on rejected.teacher = contests.teacher
    and rejected.student = contests.student
    and rejected.pair_id = contests.pair_id
    and rejected.candidate = contests.rejected.candidate
