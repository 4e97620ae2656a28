-- Where a rollback keeps the table, and the journal of what happened to it. Both outlive every rollback.
do $memops$
declare
    outdated name;
begin
    if pg_catalog.to_regnamespace('memops_quarantine') is null then
        create schema memops_quarantine;
        comment on schema memops_quarantine is
            'Tables that memops moved out of public instead of dropping them, and the journal of those moves.';
        revoke all on schema memops_quarantine from public;
    end if;
    if pg_catalog.to_regclass('memops_quarantine.journal') is null then
        create table memops_quarantine.journal (
            id bigint generated always as identity primary key,
            happened_at timestamptz not null default pg_catalog.clock_timestamp(),
            action text not null check (action in ('deploy', 'quarantine', 'drop', 'undo', 'purge', 'restore')),
            table_name text not null,
            table_oid oid,
            names jsonb,
            acl jsonb,
            run_id text default nullif(pg_catalog.current_setting('memops.run_id', true), ''),
            xid xid8 not null default pg_catalog.pg_current_xact_id(),
            by_role text not null default session_user,
            application_name text not null default pg_catalog.current_setting('application_name')
        );
        revoke all on table memops_quarantine.journal from public;
    end if;
    -- One that an earlier release has made knows no restore.
    select c.conname into outdated from pg_catalog.pg_constraint c
    where c.conrelid = 'memops_quarantine.journal'::pg_catalog.regclass and c.contype = 'c'
        and pg_catalog.pg_get_constraintdef(c.oid) like '%(action%' and pg_catalog.pg_get_constraintdef(c.oid) not like '%restore%';
    if outdated is not null then
        execute pg_catalog.format('alter table memops_quarantine.journal drop constraint %I', outdated);
        alter table memops_quarantine.journal add constraint journal_action_check
            check (action in ('deploy', 'quarantine', 'drop', 'undo', 'purge', 'restore'));
    end if;
end
$memops$;
