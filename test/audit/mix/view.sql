\set c random(1, 40)
\set s random(1, 3)
\set k random(0, 4)
INSERT INTO page_views (customer_id, site, viewed_at) VALUES (:c, :s, timezone('Europe/Istanbul', clock_timestamp() + (:k - 3) * interval '200 ms'));
INSERT INTO clicks (subscriber_id, clicked_at) VALUES (:c / 2, clock_timestamp());
