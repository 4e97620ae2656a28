-- Django's migration history follows the table: the migrations of memops count as applied again. Nothing happens where there is
-- no history in this database. Safe to repeat.
do $memops$
begin
    if pg_catalog.to_regclass('django_migrations') is not null then
        insert into django_migrations (app, name, applied)
        select 'memops', migration, pg_catalog.now()
        from pg_catalog.unnest(array['0001_memory_chunks']) as migration
        where not exists (select from django_migrations where app = 'memops' and name = migration);
    else
        raise notice 'There is no table django_migrations on the search_path: no migration history to correct.';
    end if;
end
$memops$;
