-- The base whose answer was reflected: the inverse of twin_of_base; NULL for what is no twin.
create or replace macro selection.base_of_twin(twin) as case twin when selection.twin_of_base('original') then 'original' when selection.twin_of_base('instruction') then 'instruction' end
