-- name: make_schema
-- Makes the schema that a backup is loaded into, which nobody but its owner may use.
create schema {}

-- name: describe_schema
-- Says in psql what the schema is for.
comment on schema {} is 'A backup of memory_chunks that memops loads before it takes its place. Of use to nobody else.'

-- name: left_behind
-- Which schemas of that kind are there?
select n.nspname::text from pg_catalog.pg_namespace n
where n.nspname ~ %(pattern)s and pg_catalog.pg_has_role(current_user, n.nspowner, 'usage')
order by 1

-- name: tables
-- Which tables are in a schema?
select c.relname::text from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = %(schema)s and c.relkind in ('r', 'p')
order by 1

-- name: drop_table
-- Drops a table of such a schema, and nothing that depends on it.
drop table if exists {}.{}

-- name: drop_schema
-- Drops such a schema; fails if something is left in it.
drop schema if exists {}

-- name: limit
-- Bounds the wait for a lock (milliseconds).
select pg_catalog.set_config('lock_timeout', %(lock_timeout)s::text, true)

-- name: encoding
-- Which encoding the statements and rows that follow are in.
select pg_catalog.set_config('client_encoding', %(encoding)s::text, true)

-- name: no_path
-- What makes the table names every schema itself, as pg_restore has it.
select pg_catalog.set_config('search_path', '', true), pg_catalog.set_config('check_function_bodies', 'off', true)

-- name: copied_columns
-- Which columns does a dump hold, spelled as it spells them?
select pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' order by a.attnum)
from pg_catalog.pg_attribute a
join pg_catalog.pg_class c on c.oid = a.attrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = %(schema)s and c.relname = %(name)s and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''

-- name: copy
-- Takes the rows. The table is of this transaction, so they can be written as if they had been there for long.
copy {}.{} ({}) from stdin with (format text, freeze)

-- name: build_settings
-- What lets every index be built, and fast, whatever the server is set to.
select
    pg_catalog.set_config('maintenance_work_mem', %(memory)s::text, false),
    pg_catalog.set_config('max_parallel_maintenance_workers', %(workers)s::text, false),
    -- The vectors lie beside the table (TOAST), so by its own size the table would seem too small for workers.
    pg_catalog.set_config('min_parallel_table_scan_size', '0', false)

-- name: building
-- How far is the index that a session builds?
select p.phase, p.blocks_done, p.blocks_total, p.tuples_done, p.tuples_total
from pg_catalog.pg_stat_progress_create_index p where p.pid = %(pid)s

-- name: analyze
-- Lets the planner know the table before anybody asks it for a plan.
analyze {}.{}

-- name: has_rows
-- Has the table any row?
select exists (select from only {}.{})

-- name: written_since
-- How many rows were written after a moment?
select pg_catalog.count(*) from {}.{} where updated_at > %(moment)s

-- name: publishing_all
-- Which publications publish every table, also one that is only being loaded?
select pubname::text from pg_catalog.pg_publication where puballtables order by 1

-- name: data_directory
-- Where are the server's files? Nothing for a role that may not know.
select case when pg_catalog.pg_has_role('pg_read_all_settings', 'usage')
    then pg_catalog.current_setting('data_directory') end
