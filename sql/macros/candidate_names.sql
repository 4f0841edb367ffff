-- A pair's four texts, the less rewritten first.
create or replace macro selection.candidate_names() as ['original', 'instruction', 'response', 'both']
