-- Counters: the times that they may count within.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
\set VERBOSITY default
SET client_min_messages = warning;
CREATE TABLE customers (id int PRIMARY KEY);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int, at timestamptz);
INSERT INTO customers VALUES (1), (2);
SELECT marketing.attach_contacts('customers', id => 'id');
SELECT marketing.attach_events('orders', event => 'ordered', contact => 'customer_id', occurred_at => 'at');

CREATE FUNCTION try(within interval) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN marketing_internal.define_counter(within::text, 'ordered', within);
EXCEPTION WHEN OTHERS THEN
	RETURN sqlstate || ' ' || sqlerrm;
END $$;
SELECT w, try(w::interval) FROM unnest('{0,-1 day,1 month -1 day,-1 day 25:00,200000000 days,400000 years,100 years 1 day,1201 months,36526 days,876601:00,178000000 years}'::text[]) AS w;
SELECT w, try(w::interval) FROM unnest('{1 us,100 years,36525 days,876600:00,99 years 11 mons 30 days}'::text[]) AS w;
SELECT marketing_internal.define_counter('too long', 'ordered', '400000 years');
CALL marketing.work();

INSERT INTO orders VALUES (1, 1, '1990-01-01'), (2, 1, '1001-01-01'), (3, 2, '4713-01-01 BC'), (4, 2, '-infinity'), (5, 2, 'infinity'), (6, 2, '294000-01-01');
SELECT count(*) FROM marketing_internal.dirty;
SELECT c.name, v.contact_id, v.value FROM marketing_internal.counter AS c, marketing_internal.counter_values(c.name) AS v ORDER BY 1, 2;
SELECT sum(value) FROM marketing_internal.contact_counter;
