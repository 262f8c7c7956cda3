-- Lead scores by hand, beside which ours are measured, for the table by_hand: ten rules in a table, one loop, one upsert; no decay,
-- and wrong after UPDATE or DELETE.
CREATE TABLE hand_rule (id int PRIMARY KEY, least numeric, most numeric, points int);
INSERT INTO hand_rule SELECT g, g * 25, g * 25 + 100, g FROM generate_series(0, 9) AS g;
CREATE TABLE hand_score (customer_id bigint PRIMARY KEY, score numeric NOT NULL) WITH (fillfactor = 70);
CREATE FUNCTION hand_score() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	r hand_rule;
	points int := 0;
BEGIN
	FOR r IN SELECT * FROM hand_rule LOOP
		IF NEW.status <> 'void' AND NEW.total >= r.least AND NEW.total < r.most THEN
			points := points + r.points;
		END IF;
	END LOOP;
	IF points <> 0 THEN
		INSERT INTO hand_score AS s VALUES (NEW.customer_id, points)
			ON CONFLICT (customer_id) DO UPDATE SET score = s.score + points;
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER hand_score AFTER INSERT ON by_hand FOR EACH ROW EXECUTE FUNCTION hand_score();
