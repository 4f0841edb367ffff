-- What every policy keeps, under one roof: the files in policies/ one after the other. A policy that depends on a seed emits it as a column,
-- one that orders its rows by something else than their IFD emits that as `rank_by`.
-- grain: one row a (policy, teacher, student, seed, pair_id)
with kept as (
    {%- for policy in policies %}
    {%- if not loop.first %}
    union all by name
    {%- endif %}
    select '{{ policy }}' as policy, {% if policy not in seeded_policies %}null::bigint as seed, {% endif %}{% if policy not in ranking_policies %}null::double as rank_by, {% endif %}{{ policy in ranking_policies }} as ranks, * from selection.{{ policy }}
    {%- endfor %}
)

select
    kept.policy, -- file in sql/policies
    kept.seed, -- recipe seed it belongs to, NULL where the policy needs none
    kept.teacher, -- teacher
    kept.student, -- student
    kept.pair_id, -- raw pair
    kept.candidate, -- which of its four texts is kept
    kept.ranks, -- whether the policy orders its rows itself
    kept.rank_by -- by what, highest first; NULL comes last
from kept
