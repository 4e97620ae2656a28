-- name: of_relations
-- Which sessions and prepared transactions hold a lock on one of the tables, and since when?
select distinct
    case
        when l.pid is null then 'prepared transaction'
        -- Who may not see the kind of process (pg_monitor) sees that it belongs to nobody.
        when a.backend_type = 'autovacuum worker' or (a.backend_type is null and a.usesysid is null) then 'autovacuum'
        else 'session'
    end as kind,
    l.pid,
    p.gid,
    coalesce(a.usename::text, p.owner::text) as role,
    nullif(a.application_name, '') as application,
    a.state,
    coalesce(a.xact_start, p.prepared) as since,
    greatest(pg_catalog.statement_timestamp() - coalesce(a.xact_start, p.prepared), interval '0') as age
from pg_catalog.pg_locks l
left join pg_catalog.pg_stat_activity a on a.pid = l.pid
left join pg_catalog.pg_locks own
    on l.pid is null and own.pid is null and own.locktype = 'transactionid' and own.virtualtransaction = l.virtualtransaction
left join pg_catalog.pg_prepared_xacts p on p.transaction = own.transactionid
where l.locktype = 'relation' and l.relation = any(%(oids)s::oid[]) and l.granted
    and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
    and l.pid is distinct from pg_catalog.pg_backend_pid()
order by since nulls last, pid, gid
