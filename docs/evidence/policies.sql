-- What each policy makes of each kind of rewrite, as shares of the pairs that have one.
-- grain: one row a (policy, kind)
with rewritten as (
    select teacher, student, pair_id from selection.candidate_scores where candidate = 'response' and status = 'ok'
),

totals as (
    select teacher, count(*) as pairs from rewritten group by teacher
),

-- The instruction rewrites change nothing: of the four texts two are the original and two the rewrite.
kept as (
    select kept.policy, kept.teacher, kept.candidate in ('response', 'both') as is_rewrite
    from selection.kept_pairs as kept
    inner join rewritten using (teacher, student, pair_id)
)

select
    kept.policy,
    kept.teacher as kind,
    any_value(totals.pairs) as pairs,
    count(*) filter (where kept.is_rewrite) / any_value(totals.pairs) as rewrite_kept,
    count(*) filter (where not kept.is_rewrite) / any_value(totals.pairs) as original_kept,
    1 - count(*) / any_value(totals.pairs) as dropped
from kept
inner join totals using (teacher)
group by kept.policy, kept.teacher
order by kept.policy, kind
