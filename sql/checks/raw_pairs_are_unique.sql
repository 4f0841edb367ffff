-- Every raw pair stands once, under the id of its own text.
-- asset: raw/raw_pairs
-- blocking: true
select pair_id, count(*) as copies
from raw.raw_pairs
group by pair_id
having count(*) > 1
