-- Every change of the lake: which asset made it, in which run, when, how many rows it brought, and where it is known the data version.
-- grain: one row a snapshot_id
with commits as (
    select
        snapshot_id,
        snapshot_time,
        author,
        commit_message,
        commit_extra_info::json as extra
    from ducklake_snapshots('lake')
)

select
    snapshot_id, -- snapshot of the lake, for AS_OF
    snapshot_time, -- when it was committed
    replace(extra ->> '$.asset', '.', '/') as asset, -- asset that committed it, NULL = the lake's own (tables and views)
    extra ->> '$.data_version' as data_version, -- version of what it made, NULL where that is only known when all is committed
    (extra ->> '$.rows')::bigint as row_count, -- rows it brought, NULL = not kept
    extra ->> '$.run_id' as run_id, -- Dagster's run
    commit_message, -- what it did
    author -- who committed it
from commits
