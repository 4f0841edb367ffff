-- Every raw pair stands once.
-- asset: raw/raw_pairs
-- blocking: true
select pair_id, count(*) as copies
from raw.raw_pairs
group by pair_id
having count(*) > 1
