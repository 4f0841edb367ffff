-- Of every source at most `max_bad_fraction` of the rows is in quarantine.
-- asset: raw/quarantined_rows
with quarantined as (
    select source, count(*) as quarantined_rows from raw.quarantined_rows group by source
),

read as (
    select source, sum(1 + duplicate_count) as pairs from raw.raw_pairs group by source
)

select
    sources.source,
    quarantined.quarantined_rows,
    quarantined.quarantined_rows / (quarantined.quarantined_rows + coalesce(read.pairs, 0)) as share,
    sources.max_bad_fraction
from profile.sources as sources
inner join quarantined on quarantined.source = sources.source
left join read on read.source = sources.source
where quarantined.quarantined_rows / (quarantined.quarantined_rows + coalesce(read.pairs, 0)) > sources.max_bad_fraction
