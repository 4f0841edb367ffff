-- No rewrite that a recipe keeps looks off topic (its answer says less of its instruction than the original's did, and the instruction helps
-- little with it) or cut (less than a third as long as the original, without an end): docs/evidence.md has what statistics let through.
-- asset: selection/recycled_pairs
-- severity: warn
with originals as (
    select teacher, student, pair_id, r_ifd from selection.candidate_scores where candidate = 'original' and status = 'ok'
),

kept as (
    select
        rows.recipe,
        rows.pair_id,
        rows.candidate,
        rows.ifd,
        rows.r_ifd,
        originals.r_ifd as r_ifd_original,
        rows.output,
        raw_pairs.output as original
    from selection.recycled_pairs as rows
    inner join profile.recipes as recipes on recipes.recipe = rows.recipe
    inner join raw.raw_pairs as raw_pairs on raw_pairs.pair_id = rows.pair_id
    left join originals
        on originals.teacher = recipes.teacher
        and originals.student = recipes.student
        and originals.pair_id = rows.pair_id
    where rows.candidate <> 'original'
),

looked_at as (
    select
        *,
        coalesce(r_ifd >= 1 or (ifd >= 1 and r_ifd > r_ifd_original), false) as looks_off_topic,
        length(output) * 3 < length(original) and not regexp_matches(trim(output), '[.!?:;)\]}"''`*>。！？]$') as looks_cut
    from kept
)

select
    recipe,
    pair_id,
    candidate,
    case when looks_off_topic then 'off topic' else 'cut' end as looks,
    ifd,
    r_ifd,
    r_ifd_original
from looked_at
where looks_off_topic or looks_cut
order by recipe, pair_id
