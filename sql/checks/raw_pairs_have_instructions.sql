-- No raw pair reaches a teacher without an instruction.
-- asset: raw/raw_pairs
-- blocking: true
select pair_id, source, source_row
from raw.raw_pairs
where trim(coalesce(instruction, '')) = '' or output is null
