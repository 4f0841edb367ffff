"""Frozen training sets: on which snapshot of the lake a recipe selects just their rows."""


def snapshot_of(recipe: str, data_version: str) -> str:
    """SQL, a scalar: the snapshot on which a set was frozen, else one that a checkpoint of it names; NULL where none is
    left. The arguments are SQL too, of a recipe and of the version of its rows.

    `make compact` keeps these snapshots.
    """
    return f"""(
    select min(versions.snapshot_id)
    from lineage.data_versions as versions
    left join training.student_checkpoints as checkpoints on checkpoints.snapshot_id = versions.snapshot_id
    where (
            versions.asset = concat('training/', {recipe}, '/training_pairs')
            and versions.data_version = {data_version}
        )
        or (checkpoints.recipe = {recipe} and checkpoints.data_version = {data_version})
)"""
