--
-- Every kind of object: what was made is what is expected of it
--
CREATE EXTENSION deploydb;
SELECT deploydb.forget_migration('insights');
CREATE TABLE source AS SELECT $ddl$
create table base(id int generated always as identity primary key, g int generated always as (1+1) stored, h text collate "C", r int4range, tz timestamptz default now(), arr numeric(10,2)[] default '{}', constraint ex exclude using gist (r with &&));
create statistics st on id, h from base;
create table child() inherits (base);
create table p(id int, k text) partition by list (k); create table p1 partition of p for values in ('a'); create table pd partition of p default; create index p_idx on p(id); alter table p add primary key (id,k);
create domain d1 as int check (value>0); create domain d2 as d1 not null default 5 check (value<100); create type comp as (a d2, b text[]);
create materialized view mv as select id, h from base with no data; create unique index mv_i on mv(id);
create view v1 as select * from base; create view v2 with (security_barrier) as select id from v1 where exists (select 1 from mv);
create function fn(a int, b text default 'x', variadic c int[] default '{}') returns table(x int, y text) language plpgsql strict stable security definer set search_path=public as $$begin return; end$$;
create aggregate agg(int) (sfunc=int4pl, stype=int);
create procedure pr(inout a int) language sql as 'select 1';
create trigger t1 before insert or update of h on base for each row when (new.h is not null) execute function suppress_redundant_updates_trigger();
create rule rr as on update to v1 do instead nothing;
alter table base enable row level security; create policy pol on base as restrictive for update to public using (id>0) with check (h<>'');
create unlogged table ul(a int);
create sequence sq as smallint increment -3 cycle owned by base.id;
comment on constraint ex on base is 'c'; comment on function fn(int,text,int[]) is 'f'; comment on type comp is 't';
ALTER TABLE base ADD COLUMN gone int; ALTER TABLE base DROP COLUMN gone; ALTER TABLE base ADD COLUMN "weird ""col"".x" text;
CREATE FUNCTION atomic(int) RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM base WHERE id > $1; END;
CREATE RULE also AS ON DELETE TO ul WHERE old.a > 1 DO ALSO (DELETE FROM child; UPDATE base SET h = 'x' WHERE id = old.a);
CREATE INDEX expressions ON base (lower(h) DESC NULLS LAST, ("weird ""col"".x" COLLATE "C") text_pattern_ops) INCLUDE (id) WHERE h IS NOT NULL;
$ddl$ AS ddl;
SET client_min_messages = warning;
\o /dev/null
SELECT ddl FROM source \gexec
\o
SELECT deploydb.register_migration('objects', ddl) > 200 AS registered FROM source;
SELECT deploydb_verify_migration();
SELECT status, object_type FROM deploydb.migration_report();
SELECT object_type, count(DISTINCT object) FROM deploydb.expected_fact GROUP BY 1 ORDER BY 1;

-- the same in another schema
CREATE SCHEMA "Other Place";
SET search_path = "Other Place";
\o /dev/null
SELECT ddl FROM public.source \gexec
\o
SELECT deploydb_verify_migration();
RESET search_path;
SELECT deploydb.migration_fingerprint('objects') = deploydb.migration_fingerprint('objects', 'Other Place') AS same;

-- nothing of it
SELECT object_type, object, status FROM deploydb.migration_report('objects', 'deploydb');
SET client_min_messages = error;
DROP SCHEMA "Other Place" CASCADE;
DROP EXTENSION deploydb CASCADE;
DROP TABLE source, p, ul;
DROP TABLE base CASCADE;
DROP AGGREGATE agg(int);
DROP FUNCTION fn(int, text, int[]);
DROP PROCEDURE pr(int);
DROP TYPE comp;
DROP DOMAIN d2, d1;
