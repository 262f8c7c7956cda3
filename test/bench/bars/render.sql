-- render.sql: messages a second that one backend renders: a mail of an order (about 3.5 KB, 24 values
-- escaped for HTML, a loop of ten, two conditions) from jsonb by marketing.render_liquid(), beside what
-- PL/pgSQL can do by hand with format() for the same values. The bar of the design is 200,000 a second
-- (handlebars 102,000 and liquidjs 11,000 with objects that are built already).
\set QUIET on
SET client_min_messages = warning;
SET jit = off;
\ir ../render_shop.psql
-- By hand, without a loop and with less escaping, so that the comparison is in its favour.
CREATE FUNCTION by_hand(d jsonb, words text) RETURNS text LANGUAGE plpgsql AS $f$
DECLARE
	lines text := '';
	item jsonb;
BEGIN
	FOR item IN SELECT * FROM jsonb_array_elements(d->'order'->'items') LOOP
		lines := lines || format('<tr><td>%s</td><td>%s</td><td>%s</td></tr>', replace(item->>'title', '&', '&amp;'), item->>'qty', item->>'price');
	END LOOP;
	RETURN format('<html><body><h1>Thank you, %s %s</h1><p>Your order %s of %s is on its way to %s, %s %s, %s.</p>%s<table>%s</table><p>%s %s %s %s</p></body></html>',
		replace(d->'contact'->>'first_name', '&', '&amp;'), replace(d->'contact'->>'last_name', '&', '&amp;'), d->'order'->>'number', d->'order'->>'placed_on',
		d->'order'->>'street', d->'order'->>'zip', d->'order'->>'city', d->'order'->>'country', words, lines, d->'order'->>'total', d->'order'->>'currency', d->'shop'->>'name', d->'contact'->>'email');
END $f$;
SELECT template() AS t, data()::text AS d, repeat('A paragraph of plain words, as every mail of a shop has some of. ', 40) AS w \gset
CREATE TABLE result (what text, round int, us float8);
CREATE PROCEDURE measure(what text, n int, round int, query text) LANGUAGE plpgsql AS $$
DECLARE
	began timestamptz := clock_timestamp();
BEGIN
	EXECUTE query;
	INSERT INTO result VALUES (what, round, extract(epoch FROM clock_timestamp() - began) * 1e6 / n);
END $$;
SELECT format('CALL measure(%L, %s, %s, %L)', what, n, round, query)
	FROM generate_series(0, 5) AS round, (VALUES
		('render_liquid', 100000, format('SELECT count(octet_length(marketing.render_liquid(%L, %L::jsonb, ''html''))) FROM generate_series(1, 100000)', :'t', :'d')),
		('by hand', 10000, format('SELECT count(octet_length(by_hand(%L::jsonb, %L))) FROM generate_series(1, 10000)', :'d', :'w'))) AS m (what, n, query)
	ORDER BY round, what \gexec
-- The best round counts: what else the machine does only makes rounds slower.
SELECT what, round(1e6 / min(us)) AS "a second", round(min(us)::numeric, 2) AS "us each", octet_length(marketing.render_liquid(:'t', :'d'::jsonb, 'html')) AS octets
	FROM result WHERE round > 0 GROUP BY what ORDER BY what;
SELECT 1e6 / min(us) >= 200000 AS held FROM result WHERE round > 0 AND what = 'render_liquid' \gset
\if :held
\else
DO $$ BEGIN RAISE EXCEPTION 'render_liquid() is below 200,000 a second'; END $$;
\endif
