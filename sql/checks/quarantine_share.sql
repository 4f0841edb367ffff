-- Of every source at most `max_bad_fraction` of the rows is in quarantine.
-- asset: raw/quarantined_rows
select
    sources.source,
    counts.quarantined_count as quarantined_rows,
    counts.quarantined_count / counts.row_count as share,
    sources.max_bad_fraction
from profile.sources as sources
inner join raw.source_counts as counts on counts.source = sources.source
where counts.quarantined_count / counts.row_count > sources.max_bad_fraction
