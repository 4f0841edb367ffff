-- What became of every pair in every recipe: kept with a rank and a text, or dropped with a reason.
-- Order of the cuts: policy, ifd_below, r_ifd_below, drop_contaminated (the kept text or the original it comes from holds
-- a copy), drop_near_duplicates (of each cluster the first that is still there), then top_k, floor(top_fraction * rows) or
-- as many rows as `rows_as` keeps, by IFD or by what the policy ranks by, then `mix`.
-- materialized: table
-- grain: one row a (recipe, pair_id)
with recipes as (
    select * from profile.recipes
),

pairs as (
    select pair_id from raw.raw_pairs
),

scores as (
    select teacher, student, pair_id, candidate, content_id, status, ifd, r_ifd from selection.candidate_scores
),

contaminated as (
    select distinct content_id from selection.contaminated_texts
),

clusters as (
    select pair_id, representative_id, place from raw.near_duplicates
),

proposed as (
    select
        recipes.recipe,
        kept.pair_id,
        kept.candidate,
        if(kept.ranks, kept.rank_by, scores.ifd) as rank_by,
        scores.ifd,
        scores.r_ifd,
        case
            when recipes.ifd_below is not null and not coalesce(scores.ifd < recipes.ifd_below, false) then 'ifd_below'
            when recipes.r_ifd_below is not null and not coalesce(scores.r_ifd < recipes.r_ifd_below, false) then 'r_ifd_below'
            when recipes.drop_contaminated and (rewrites.content_id is not null or originals.content_id is not null) then 'contaminated'
        end as gate
    from recipes
    inner join selection.kept_pairs as kept
        on kept.policy = recipes.policy
        and kept.teacher = recipes.teacher
        and kept.student = recipes.student
        and coalesce(kept.seed, recipes.seed) = recipes.seed
    left join scores
        on scores.teacher = kept.teacher
        and scores.student = kept.student
        and scores.pair_id = kept.pair_id
        and scores.candidate = kept.candidate
    left join contaminated as rewrites on rewrites.content_id = scores.content_id
    left join contaminated as originals on originals.content_id = kept.pair_id
),

repeated as (
    select
        proposed.recipe,
        proposed.pair_id
    from proposed
    inner join recipes on recipes.recipe = proposed.recipe
    left join clusters on clusters.pair_id = proposed.pair_id
    where recipes.drop_near_duplicates and proposed.gate is null
    qualify row_number() over (
        partition by proposed.recipe, coalesce(clusters.representative_id, proposed.pair_id)
        order by coalesce(clusters.place, 1)
    ) > 1
),

gated as (
    select
        proposed.* exclude (gate),
        if(repeated.pair_id is null, proposed.gate, 'near_duplicate') as gate
    from proposed
    left join repeated
        on repeated.recipe = proposed.recipe
        and repeated.pair_id = proposed.pair_id
),

ranked as (
    select
        *,
        row_number() over (partition by recipe, gate is null order by rank_by desc nulls last, pair_id) as rank,
        count(*) over (partition by recipe, gate is null) as rows_through_gates
    from gated
),

-- A recipe that is named by `rows_as` names none itself.
sizes as (
    select
        recipes.recipe,
        coalesce(any_value(ranked.rows_through_gates), 0) as rows_through_gates,
        least(
            coalesce(any_value(recipes.top_k), floor(any_value(recipes.top_fraction)::decimal(18, 9) * any_value(ranked.rows_through_gates))),
            coalesce(any_value(ranked.rows_through_gates), 0)
        ) as own_rows
    from recipes
    left join ranked on ranked.recipe = recipes.recipe and ranked.gate is null
    group by recipes.recipe
),

sized as (
    select
        ranked.*,
        least(others.own_rows, sizes.own_rows) as rows_kept
    from ranked
    inner join recipes on recipes.recipe = ranked.recipe
    inner join sizes on sizes.recipe = ranked.recipe
    left join sizes as others on others.recipe = recipes.rows_as
),

decided as (
    select
        recipe,
        pair_id,
        candidate,
        ifd,
        r_ifd,
        rank,
        rows_kept,
        case when gate is not null then gate when rank > rows_kept then 'below_cut' end as drop_reason
    from sized
),

mixed_in as (
    select
        decided.recipe,
        decided.pair_id,
        originals.candidate,
        originals.ifd,
        originals.r_ifd
    from decided
    inner join recipes on recipes.recipe = decided.recipe
    inner join scores as originals
        on originals.teacher = recipes.teacher
        and originals.student = recipes.student
        and originals.pair_id = decided.pair_id
    where recipes.mix > 0 and decided.drop_reason is null and originals.candidate = 'original' and originals.status = 'ok'
    qualify row_number() over (
        partition by decided.recipe
        order by md5(concat_ws(' ', 'mix', recipes.seed, decided.pair_id)), decided.pair_id
    ) <= floor(recipes.mix::decimal(18, 9) * decided.rows_kept)
),

unscored as (
    select teacher, student, pair_id from scores where candidate = 'original' and status <> 'ok'
)

select
    recipes.recipe, -- recipe
    pairs.pair_id, -- raw pair
    decided.pair_id is not null and decided.drop_reason is null as kept, -- true when the pair is a training row of the recipe
    case
        when decided.pair_id is not null then decided.drop_reason
        when unscored.pair_id is not null then 'not_scored'
        else 'policy'
    end as drop_reason, -- not_scored (the policy keeps none, and the original has no sound score) | policy | ifd_below | r_ifd_below | contaminated | near_duplicate | below_cut, NULL when kept
    choices.reason as choice_reason, -- why the student's second choice fell as it did
    case when decided.drop_reason is null then decided.rank end as rank, -- 1 = first of the recipe: highest IFD, or what the policy ranks by; NULL when dropped
    coalesce(mixed_in.candidate, decided.candidate) as candidate, -- which of the four texts, NULL when the policy kept none
    mixed_in.candidate is not null as is_mixed_in, -- true when `mix` put the untouched original back
    case when mixed_in.candidate is not null then mixed_in.ifd else decided.ifd end as ifd, -- IFD of that text
    case when mixed_in.candidate is not null then mixed_in.r_ifd else decided.r_ifd end as r_ifd -- reversed IFD of that text, NULL when not asked
from recipes
cross join pairs
left join decided
    on decided.recipe = recipes.recipe
    and decided.pair_id = pairs.pair_id
left join mixed_in
    on mixed_in.recipe = recipes.recipe
    and mixed_in.pair_id = pairs.pair_id
left join unscored
    on unscored.teacher = recipes.teacher
    and unscored.student = recipes.student
    and unscored.pair_id = pairs.pair_id
left join selection.response_choices as choices
    on choices.teacher = recipes.teacher
    and choices.student = recipes.student
    and choices.pair_id = pairs.pair_id
