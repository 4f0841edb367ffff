-- Every change of the lake: which asset made it, in which run, when, how many rows it brought, where it is known the data version, and
-- the checkpoints that name it as the snapshot of their rows.
-- history: true
-- grain: one row a snapshot_id
with commits as (
    select
        snapshot_id,
        snapshot_time,
        author,
        commit_message,
        commit_extra_info::json as extra
    from ducklake_snapshots('lake')
),

named as (
    select
        snapshot_id,
        list(checkpoint_id order by created_at, checkpoint_id) as checkpoints
    from training.student_checkpoints
    group by snapshot_id
)

select
    commits.snapshot_id, -- snapshot of the lake, for AS_OF
    commits.snapshot_time, -- when it was committed
    replace(commits.extra ->> '$.asset', '.', '/') as asset, -- asset that committed it, NULL = the lake's own (tables and views)
    commits.extra ->> '$.data_version' as data_version, -- version of what it made, NULL where that is only known when all is committed
    (commits.extra ->> '$.rows')::bigint as row_count, -- rows it brought, NULL = not kept
    commits.extra ->> '$.run_id' as run_id, -- Dagster's run
    commits.commit_message, -- what it did
    commits.author, -- who committed it
    coalesce(named.checkpoints, []) as checkpoints -- whose manifest names it: make compact keeps it
from commits
left join named on named.snapshot_id = commits.snapshot_id
