-- Each recipe on one line: what it keeps, which of the four texts, how often the student vetoed its teacher, and how answers grew.
-- materialized: table
-- grain: one row a recipe
with pair_decisions as (
    select recipes.recipe, recipes.teacher, recipes.student, decisions.pair_id, decisions.kept, decisions.candidate, decisions.drop_reason
    from profile.recipes as recipes
    inner join selection.pair_decisions as decisions on decisions.recipe = recipes.recipe
),

decisions as (
    select
        recipe,
        count(*) as pairs,
        count(*) filter (where kept) as kept,
        count(*) filter (where not kept) as dropped,
        count(*) filter (where drop_reason = 'contaminated') as dropped_contaminated,
        count(*) filter (where drop_reason = 'near_duplicate') as dropped_near_duplicate,
        count(*) filter (where kept and candidate = 'original') as kept_original,
        count(*) filter (where kept and candidate = 'instruction') as kept_instruction,
        count(*) filter (where kept and candidate = 'response') as kept_response,
        count(*) filter (where kept and candidate = 'both') as kept_both
    from pair_decisions
    group by recipe
),

instruction_vetoes as (
    select teacher, student, count(*) filter (where reason in ('rewrite_vetoed', 'rewrite_too_hard', 'rewrite_off_topic')) as vetoed
    from selection.instruction_choices
    group by teacher, student
),

response_vetoes as (
    select teacher, student, count(*) filter (where reason = 'rewrite_vetoed') as vetoed
    from selection.response_choices
    group by teacher, student
),

texts as (
    select
        teacher,
        student,
        pair_id,
        candidate,
        length(output) as answer_chars,
        length(instruction) + length(input) as instruction_chars
    from selection.candidates
),

lengths as (
    select
        kept.recipe,
        avg(before.answer_chars) as answer_chars_before,
        avg(after.answer_chars) as answer_chars_after,
        avg(before.instruction_chars) as instruction_chars_before,
        avg(after.instruction_chars) as instruction_chars_after
    from pair_decisions as kept
    inner join texts as before
        on before.teacher = kept.teacher
        and before.student = kept.student
        and before.pair_id = kept.pair_id
        and before.candidate = 'original'
    inner join texts as after
        on after.teacher = kept.teacher
        and after.student = kept.student
        and after.pair_id = kept.pair_id
        and after.candidate = kept.candidate
    where kept.kept
    group by kept.recipe
)

select
    recipes.recipe, -- recipe
    recipes.policy, -- file in sql/policies
    recipes.teacher, -- teacher
    recipes.student, -- student
    decisions.pairs, -- raw pairs
    decisions.kept, -- training rows
    decisions.dropped, -- pairs left out, each with a reason in pair_decisions
    decisions.dropped_contaminated, -- of which hold a copy of an evaluation text
    decisions.dropped_near_duplicate, -- of which repeat a row that is kept, or one that is only below the cut
    decisions.kept_original, -- rows that keep the original text
    decisions.kept_instruction, -- rows with the rewritten instruction and its answer
    decisions.kept_response, -- rows with the original instruction and a rewritten answer
    decisions.kept_both, -- rows with both rewritten
    round(decisions.kept / nullif(decisions.pairs, 0), 4) as kept_share, -- kept / pairs, 0 to 1
    instruction_vetoes.vetoed as instruction_vetoed, -- teacher's instructions the student refused
    response_vetoes.vetoed as response_vetoed, -- teacher's answers the student refused
    round(lengths.instruction_chars_before, 1) as instruction_chars_before, -- mean characters of the kept pairs' instruction and input, before
    round(lengths.instruction_chars_after, 1) as instruction_chars_after, -- and after
    round(lengths.answer_chars_before, 1) as answer_chars_before, -- mean characters of the kept pairs' answers, before
    round(lengths.answer_chars_after, 1) as answer_chars_after -- and after
from profile.recipes as recipes
left join decisions on decisions.recipe = recipes.recipe
left join instruction_vetoes
    on instruction_vetoes.teacher = recipes.teacher
    and instruction_vetoes.student = recipes.student
left join response_vetoes
    on response_vetoes.teacher = recipes.teacher
    and response_vetoes.student = recipes.student
left join lengths on lengths.recipe = recipes.recipe
