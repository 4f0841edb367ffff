-- At least 80 % of a teacher's response reflections can be used.
-- asset: reflection/response_reflections
-- severity: warn
select teacher, count(*) as replies, count(*) filter (where status = 'ok') as usable
from selection.current_response_reflections
group by teacher
having count(*) filter (where status = 'ok') < 0.8 * count(*)
