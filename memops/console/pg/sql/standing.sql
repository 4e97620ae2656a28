-- name: make_seen
-- Makes the list of the standing rows that were looked at: which version of each, and whether it was taken.
create table {schema}.seen (id uuid primary key, version_xmin pg_catalog.xid not null, version_ctid pg_catalog.tid not null,
    taken boolean not null, conflict boolean not null)

-- name: make_outdone
-- Makes a place for the backup's versions of rows whose standing version is taken.
create table {schema}.outdone (like {schema}.memory_chunks)

-- name: columns
-- The columns that can be written, in the order of the restored table.
select pg_catalog.array_agg(pg_catalog.quote_ident(a.attname) order by a.attnum)
from pg_catalog.pg_attribute a
join pg_catalog.pg_class c on c.oid = a.attrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = %(schema)s and c.relname = 'memory_chunks' and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''

-- name: make_stirred
-- Makes the list of ids whose standing version is not the one that was looked at: written, changed or deleted since.
create temporary table stirred on commit drop as
select coalesce(t.id, s.id) as id
from public.memory_chunks t full join {schema}.seen s on s.id = t.id
where t.id is null or s.id is null or s.version_xmin <> t.xmin or s.version_ctid <> t.ctid

-- name: analyze_stirred
-- Lets the planner know how many there are.
analyze pg_temp.stirred

-- name: count_stirred
-- How many are there?
select pg_catalog.count(*) from pg_temp.stirred

-- name: give_back
-- Takes standing versions of those ids out again ...
delete from {schema}.memory_chunks m using {schema}.seen s, pg_temp.stirred d
where s.id = d.id and m.id = d.id and s.taken

-- name: bring_back
-- ... and puts the backup's own in their place.
insert into {schema}.memory_chunks ({columns}) select {columns} from {schema}.outdone o where o.id in (select id from pg_temp.stirred)

-- name: forget_outdone
-- What was put back is outdone no more.
delete from {schema}.outdone o using pg_temp.stirred d where o.id = d.id

-- name: forget_seen
-- They are looked at again.
delete from {schema}.seen s using pg_temp.stirred d where s.id = d.id

-- name: look
-- Which standing versions are taken? All that the backup does not have; of the others the newer one, or always, as was chosen.
-- One that is equal is not taken, and no conflict.
insert into {schema}.seen (id, version_xmin, version_ctid, taken, conflict)
select t.id, t.xmin, t.ctid,
    m.id is null or (({always} or t.updated_at >= m.updated_at) and row({of_standing})::record *<> row({of_backup})::record),
    m.id is not null and row({of_standing})::record *<> row({of_backup})::record
from pg_temp.stirred d
join public.memory_chunks t on t.id = d.id
left join {schema}.memory_chunks m on m.id = d.id

-- name: set_aside
-- Keeps the backup's versions of what is taken.
insert into {schema}.outdone ({columns}) select {columns} from {schema}.memory_chunks m
where exists (select from {schema}.seen s join pg_temp.stirred d on d.id = s.id where s.id = m.id and s.taken)

-- name: remove_outdone
-- Makes room for the standing versions.
delete from {schema}.memory_chunks m using {schema}.seen s, pg_temp.stirred d where s.id = d.id and m.id = d.id and s.taken

-- name: take
-- Takes the standing versions.
insert into {schema}.memory_chunks ({columns}) select {columns} from public.memory_chunks t
where exists (select from {schema}.seen s join pg_temp.stirred d on d.id = s.id where s.id = t.id and s.taken)

-- name: drop_stirred
-- The list is of this look alone.
drop table pg_temp.stirred

-- name: counts
-- What came of it: standing rows looked at, taken that the backup does not have, conflicts, and how many of those the standing row won.
select pg_catalog.count(*), pg_catalog.count(*) filter (where taken and not conflict),
    pg_catalog.count(*) filter (where conflict), pg_catalog.count(*) filter (where conflict and taken)
from {schema}.seen

-- name: conflicts
-- Which ids have another version in the backup than in the table, and which one was taken?
select id::text, taken from {schema}.seen where conflict order by id limit %(most)s
