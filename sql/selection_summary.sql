-- Each recipe on one line: what it keeps, which of the four texts, how often the student vetoed its teacher, and how answers grew.
-- grain: one row a recipe
with pair_decisions as materialized (
    select recipe, pair_id, kept, candidate from selection.pair_decisions
),

decisions as (
    select
        recipe,
        count(*) as pairs,
        count(*) filter (where kept) as kept,
        count(*) filter (where not kept) as dropped,
        count(*) filter (where kept and candidate = 'original') as kept_original,
        count(*) filter (where kept and candidate = 'instruction') as kept_instruction,
        count(*) filter (where kept and candidate = 'response') as kept_response,
        count(*) filter (where kept and candidate = 'both') as kept_both
    from pair_decisions
    group by recipe
),

instruction_vetoes as (
    select teacher, student, count(*) filter (where reason = 'rewrite_vetoed') as vetoed
    from selection.instruction_choices
    group by teacher, student
),

response_vetoes as (
    select teacher, student, count(*) filter (where reason = 'rewrite_vetoed') as vetoed
    from selection.response_choices
    group by teacher, student
),

lengths as (
    select
        kept.recipe,
        avg(length(raw_pairs.output)) as answer_chars_before,
        avg(length(candidates.output)) as answer_chars_after,
        avg(length(raw_pairs.instruction) + length(raw_pairs.input)) as instruction_chars_before,
        avg(length(candidates.instruction) + length(candidates.input)) as instruction_chars_after
    from pair_decisions as kept
    inner join profile.recipes as recipes on recipes.recipe = kept.recipe
    inner join raw.raw_pairs as raw_pairs on raw_pairs.pair_id = kept.pair_id
    inner join selection.candidates as candidates
        on candidates.teacher = recipes.teacher
        and candidates.student = recipes.student
        and candidates.pair_id = kept.pair_id
        and candidates.candidate = kept.candidate
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
