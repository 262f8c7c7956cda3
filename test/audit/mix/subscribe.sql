\set n random(1, 40)
\set m random(1, 60)
DELETE FROM subscribers WHERE id IN (SELECT id FROM subscribers WHERE id > 10 ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED);
INSERT INTO subscribers VALUES (:n, 'C:m@Example.com') ON CONFLICT DO NOTHING;
