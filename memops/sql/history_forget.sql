-- Django's migration history follows the table: no migration of memops counts as applied any more. Nothing happens where there
-- is no history in this database. Safe to repeat.
do $memops$
begin
    if pg_catalog.to_regclass('django_migrations') is not null then
        delete from django_migrations where app = 'memops';
    else
        raise notice 'There is no table django_migrations on the search_path: no migration history to correct.';
    end if;
end
$memops$;
