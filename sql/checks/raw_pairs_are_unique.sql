-- Every raw pair stands once, however often the sources repeat it.
-- asset: raw/raw_pairs
-- blocking: true
select pair_id, count(*) as copies
from raw.raw_pairs
group by pair_id
having count(*) > 1
