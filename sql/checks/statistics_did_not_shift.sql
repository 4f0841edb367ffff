-- The medians of IFD and reversed IFD of a recipe's rows lie within a quarter of those of the set that was frozen before: else another student,
-- teacher or source is at work. Of sets of 20 rows or more.
-- asset: selection/recycled_pairs
-- severity: warn
with frozen as (
    select
        recipe,
        data_version,
        min(created_at) as frozen_at,
        median(ifd) as ifd,
        median(r_ifd) as r_ifd
    from training.training_pairs
    group by recipe, data_version
    having count(ifd) >= 20
),

now as (
    select
        rows.recipe,
        any_value(sets.data_version) as data_version,
        median(rows.ifd) as ifd,
        median(rows.r_ifd) as r_ifd
    from selection.recycled_pairs as rows
    left join training.current_training_sets as sets on sets.recipe = rows.recipe
    group by rows.recipe
    having count(rows.ifd) >= 20
),

newest as (
    select *, row_number() over (partition by recipe order by frozen_at desc, data_version) as place from frozen
),

-- The set that was frozen last; where that is the set of now, also the one before it.
before as (
    select newest.*
    from newest
    inner join now on now.recipe = newest.recipe
    left join newest as last_one
        on last_one.recipe = newest.recipe
        and last_one.place = 1
    where newest.place = 1 or (newest.place = 2 and last_one.data_version = now.data_version)
)

select
    now.recipe,
    before.data_version as version_before,
    before.ifd as ifd_before,
    now.ifd as ifd_now,
    before.r_ifd as r_ifd_before,
    now.r_ifd as r_ifd_now
from now
inner join before on before.recipe = now.recipe
where abs(ln(now.ifd / before.ifd)) > ln(1.25) or coalesce(abs(ln(now.r_ifd / before.r_ifd)) > ln(1.25), false)
