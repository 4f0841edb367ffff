-- What every policy keeps, under one roof: the files in policies/ one after the other. A policy that depends on a seed emits it as a column.
-- grain: one row a (policy, teacher, student, seed, pair_id)
with kept as (
    {%- for policy in policies %}
    {%- if not loop.first %}
    union all by name
    {%- endif %}
    select '{{ policy }}' as policy, {% if policy not in seeded_policies %}null::bigint as seed, {% endif %}* from selection.{{ policy }}
    {%- endfor %}
)

select
    kept.policy, -- file in sql/policies
    kept.seed, -- recipe seed it belongs to, NULL where the policy needs none
    kept.teacher, -- teacher
    kept.student, -- student
    kept.pair_id, -- raw pair
    kept.candidate -- which of its four texts is kept
from kept
