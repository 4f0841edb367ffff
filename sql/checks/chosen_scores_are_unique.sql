-- A student scores a chosen answer once.
-- asset: scoring/chosen_scores
-- blocking: true
select student_fingerprint, content_id, count(*) as copies
from scoring.chosen_scores
group by student_fingerprint, content_id
having count(*) > 1
