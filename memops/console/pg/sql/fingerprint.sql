-- name: configure
-- Has every server write a value in the same way, and lets it use its parallel workers for a small table too.
select
    pg_catalog.set_config('client_encoding', 'UTF8', false),
    pg_catalog.set_config('datestyle', 'ISO, YMD', false),
    pg_catalog.set_config('intervalstyle', 'postgres', false),
    pg_catalog.set_config('extra_float_digits', '1', false),
    pg_catalog.set_config('bytea_output', 'hex', false),
    pg_catalog.set_config('lc_monetary', 'C', false),
    pg_catalog.set_config('timezone', 'UTC', false),
    pg_catalog.set_config('quote_all_identifiers', 'off', false),
    pg_catalog.set_config('search_path', 'pg_catalog', false),
    pg_catalog.set_config('jit', 'off', false),
    pg_catalog.set_config('min_parallel_table_scan_size', '0', false),
    pg_catalog.set_config('parallel_setup_cost', '0', false),
    pg_catalog.set_config('parallel_tuple_cost', '0', false)

-- name: one_process
-- Keeps a fingerprint to one process, for a server that has other things to do.
select pg_catalog.set_config('max_parallel_workers_per_gather', '0', false)

-- name: columns
-- Which function sends the binary value of each column? None where there is none, or the value would hold an oid, which is
-- another in every database.
select
    a.attname::text,
    pg_catalog.format_type(a.atttypid, a.atttypmod),
    case when t.typtype in ('b', 'e')
            and (t.typelem = 0 or t.typcategory <> 'A' or t.typelem < 16384)
            and not (t.typnamespace = 'pg_catalog'::pg_catalog.regnamespace and t.typname ~ '^_?reg')
            or t.typtype in ('r', 'm') and t.oid < 16384
        then pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(p.proname)
    end
from pg_catalog.pg_attribute a
join pg_catalog.pg_class c on c.oid = a.attrelid
join pg_catalog.pg_namespace s on s.oid = c.relnamespace
join pg_catalog.pg_type t on t.oid = a.atttypid
left join pg_catalog.pg_proc p on p.oid = t.typsend
left join pg_catalog.pg_namespace n on n.oid = p.pronamespace
where s.nspname = %(schema)s and c.relname = %(name)s and a.attnum > 0 and not a.attisdropped
order by a.attnum

-- name: has_md5
-- Does the server compute md5, or does its FIPS mode refuse it?
select pg_catalog.md5('')

-- name: sum
-- How many rows are there, and what do two times 64 bits of each row's hash add up to?
select
    pg_catalog.count(*),
    coalesce(pg_catalog.sum(('x' || pg_catalog.substr(h.hash, 1, 16))::bit(64)::bigint), 0),
    coalesce(pg_catalog.sum(('x' || pg_catalog.substr(h.hash, 17, 16))::bit(64)::bigint), 0)
from (
    select {hash} as hash
    from {schema}.{table}
    -- Without it the planner would compute the hash twice.
    offset 0
) as h
