-- What became of each source's rows and of the turns of its conversations: every row is a pair, a further copy of one or quarantined, every turn stands somewhere or is counted.
-- grain: one row a source
with counts as (
    select * from raw.source_counts
),

-- What names a place or quotes a text differs from row to row.
reasons as (
    select
        source,
        regexp_replace(regexp_replace(reason, '''[^'']*''|"[^"]*"', '…', 'g'), '[0-9][0-9,.]*', '…', 'g') as kind,
        count(*) as row_count
    from raw.quarantined_rows
    group by source, kind
),

quarantined as (
    select
        source,
        list({'reason': kind, 'rows': row_count} order by row_count desc, kind) as by_reason
    from reasons
    group by source
)

select
    counts.source, -- name in the profile
    counts.row_count, -- rows taken; with `turns: each` a conversation gives further_pair_count pairs beyond one a row
    counts.further_pair_count, -- exchanges beyond one a conversation
    counts.pair_count, -- distinct pairs
    counts.duplicate_count, -- further copies of a pair
    counts.quarantined_count, -- rows that are no pairs
    coalesce(quarantined.by_reason, []) as quarantined_by_reason, -- kinds of reasons, the most frequent first, each with its rows; … stands for numbers and quoted texts
    counts.conversation_count, -- rows that are conversations and became pairs or duplicates
    counts.turn_count, -- turns of all conversations, also of quarantined ones: the sum of what follows
    counts.turns_in_pairs, -- instruction or answer of a pair
    counts.turns_before_pairs, -- in no pair, but before one: its system text or in its history
    counts.turns_joined, -- joined to the turn of the same role before them
    counts.turns_left_out + counts.system_texts_left_out as turns_left_out, -- nowhere
    counts.turns_quarantined, -- in rows that are no pairs
    counts.turn_count = counts.turns_in_pairs + counts.turns_before_pairs + counts.turns_joined + counts.turns_left_out
    + counts.system_texts_left_out + counts.turns_quarantined
    and counts.row_count + counts.further_pair_count
    = counts.pair_count + counts.duplicate_count + counts.quarantined_count as adds_up -- whether every row and every turn is accounted for
from counts
left join quarantined on quarantined.source = counts.source
