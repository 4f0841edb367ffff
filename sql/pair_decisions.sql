-- What became of every pair in every recipe: kept with a rank and a text, or dropped with a reason.
-- Order of the cuts: policy, ifd_below, r_ifd_below, then top_k or floor(top_fraction * rows) by IFD, then `mix`.
-- grain: one row a (recipe, pair_id)
with recipes as (
    select * from profile.recipes
),

pairs as (
    select pair_id from raw.raw_pairs
),

scores as (
    select teacher, student, pair_id, candidate, status, ifd, r_ifd from selection.candidate_scores
),

proposed as (
    select
        recipes.recipe,
        recipes.teacher,
        recipes.student,
        recipes.ifd_below,
        recipes.r_ifd_below,
        recipes.top_k,
        recipes.top_fraction,
        recipes.mix,
        recipes.seed,
        pairs.pair_id,
        kept.candidate
    from recipes
    cross join pairs
    left join selection.kept_pairs as kept
        on kept.policy = recipes.policy
        and kept.teacher = recipes.teacher
        and kept.student = recipes.student
        and kept.pair_id = pairs.pair_id
        and (kept.seed is null or kept.seed = recipes.seed)
),

gated as (
    select
        proposed.*,
        scores.ifd,
        scores.r_ifd,
        case
            when proposed.candidate is null then 'policy'
            when proposed.ifd_below is not null and not coalesce(scores.ifd < proposed.ifd_below, false) then 'ifd_below'
            when proposed.r_ifd_below is not null and not coalesce(scores.r_ifd < proposed.r_ifd_below, false) then 'r_ifd_below'
        end as gate
    from proposed
    left join scores
        on scores.teacher = proposed.teacher
        and scores.student = proposed.student
        and scores.pair_id = proposed.pair_id
        and scores.candidate = proposed.candidate
),

ranked as (
    select
        *,
        row_number() over (partition by recipe, gate is null order by ifd desc, pair_id) as ifd_rank,
        count(*) over (partition by recipe, gate is null) as rows_through_gates
    from gated
),

cut as (
    select
        *,
        case
            when gate is not null then gate
            when ifd_rank > coalesce(top_k, floor(top_fraction::decimal(18, 9) * rows_through_gates), rows_through_gates) then 'below_cut'
        end as drop_reason
    from ranked
),

mixable as (
    select
        cut.*,
        original.status = 'ok' as original_scored,
        original.ifd as ifd_original,
        original.r_ifd as r_ifd_original,
        count(*) over (partition by cut.recipe, cut.drop_reason is null) as rows_kept,
        row_number() over (
            partition by cut.recipe, cut.drop_reason is null and original.status = 'ok'
            order by md5(concat_ws(' ', 'mix', cut.seed, cut.pair_id)), cut.pair_id
        ) as mix_order
    from cut
    left join scores as original
        on original.teacher = cut.teacher
        and original.student = cut.student
        and original.pair_id = cut.pair_id
        and original.candidate = 'original'
),

mixed as (
    select
        *,
        drop_reason is null
        and coalesce(original_scored, false)
        and mix_order <= floor(mix::decimal(18, 9) * rows_kept) as is_mixed_in
    from mixable
)

select
    mixed.recipe, -- recipe
    mixed.pair_id, -- raw pair
    mixed.drop_reason is null as kept, -- true when the pair is a training row of the recipe
    mixed.drop_reason, -- policy | ifd_below | r_ifd_below | below_cut, NULL when kept
    choices.reason as choice_reason, -- why the student's second choice fell as it did
    case when mixed.drop_reason is null then mixed.ifd_rank end as rank, -- 1 = highest IFD of the recipe, NULL when dropped
    case when mixed.is_mixed_in then 'original' else mixed.candidate end as candidate, -- which of the four texts, NULL when the policy kept none
    mixed.is_mixed_in, -- true when `mix` put the untouched original back
    case when mixed.is_mixed_in then mixed.ifd_original else mixed.ifd end as ifd, -- IFD of that text
    case when mixed.is_mixed_in then mixed.r_ifd_original else mixed.r_ifd end as r_ifd -- reversed IFD of that text, NULL when not asked
from mixed
left join selection.response_choices as choices
    on choices.teacher = mixed.teacher
    and choices.student = mixed.student
    and choices.pair_id = mixed.pair_id
