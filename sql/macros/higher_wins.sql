-- Whether a challenger takes the place of its base: the higher ratio wins, a tie keeps the base, NULL wins nothing and never stands in the way.
create or replace macro selection.higher_wins(challenger, base) as challenger is not null and (base is null or challenger > base)
