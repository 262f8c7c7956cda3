#!/bin/bash
# scoring_contention.sh: ten score rules under contention, four clients (CLIENTS) that write rows of the same two
# contacts: single rows, and transactions of one row of each contact in an order by chance, with which locks meet
# crosswise. Beside it the PL/pgSQL row trigger that one would write by hand with the same ten rules, and the bare
# table; in turn, ROUNDS (5) of SECONDS_EACH (2) with synchronous_commit off, medians. Contacts begin with 20 rows; as
# ours is a sum over the rows, and these runs would give two contacts more rows than anybody has, all go back to 20
# after each round. Transactions that a deadlock ended are counted, and what the kept scores differ by from plain SQL
# over the rows: ours must not, and must lose no transaction.
set -euo pipefail
clients=${CLIENTS:-4}
seconds=${SECONDS_EACH:-2}
rounds=${ROUNDS:-5}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

sql()
{
	psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"
}

hand=$(dirname "${BASH_SOURCE[0]}")/../hand_score.sql
sql -v hand="$hand" > "$folder/setup.log" 2>&1 << 'END' || { cat "$folder/setup.log"; exit 1; }
CREATE TABLE customers (id bigint PRIMARY KEY, email text);
INSERT INTO customers SELECT g, 'c' || g || '@example.com' FROM generate_series(1, 2) AS g;
CREATE TABLE plain (id bigserial PRIMARY KEY, customer_id bigint, created_at timestamptz, status text, total numeric);
CREATE INDEX ON plain (customer_id, created_at) INCLUDE (status, total);
INSERT INTO plain (customer_id, created_at, status, total)
	SELECT g % 2 + 1, now() - g * interval '30 seconds', 'new', g * 7 % 300 FROM generate_series(1, 40) AS g;
CREATE TABLE scored (LIKE plain INCLUDING ALL);
CREATE TABLE by_hand (LIKE plain INCLUDING ALL);
CREATE TABLE first_rows AS SELECT * FROM plain;

\i :hand

SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
SELECT marketing.attach_events('scored', event => 'scored_event', contact => 'customer_id', contact_source => 'customers',
	occurred_at => 'created_at', condition => $$ status <> 'void' $$);
-- Points that do not fade, so that one plain sum is right for both.
SELECT marketing.define_score_model('lead', thresholds => '{"hot": 1000}');
SELECT marketing.define_score_rule('lead', 'r' || g, 'scored_event', g, condition => format('total >= %s AND total < %s', g * 25, g * 25 + 100))
	FROM generate_series(0, 9) AS g;
CALL marketing.work();

-- What the rules give for the rows of a table, and what is kept of that.
CREATE FUNCTION true_score(rows_of regclass) RETURNS TABLE (customer_id bigint, score numeric) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format('SELECT t.customer_id, sum(r.points)::numeric FROM %s AS t
		JOIN hand_rule AS r ON t.status <> ''void'' AND t.total >= r.least AND t.total < r.most GROUP BY 1', rows_of);
END $$;
CREATE VIEW kept AS
	SELECT 'scored'::regclass AS rows_of, k.external_id::bigint AS customer_id, s.value::numeric AS score
	FROM marketing_internal.score AS s JOIN marketing_internal.contact_key AS k USING (contact_id)
	UNION ALL SELECT 'by_hand'::regclass, h.customer_id, h.score FROM hand_score AS h;
CREATE TABLE result (what text, rows_of text, round int, tps float8, failed bigint, wrong numeric);
VACUUM ANALYZE;
END

for table in plain scored by_hand; do
	{
		echo "\\set c random(1, 2)"
		echo "\\set total random(0, 299)"
		echo "INSERT INTO $table (customer_id, created_at, status, total) VALUES (:c, now(), 'new', :total);"
	} > "$folder/single_$table.sql"
	{
		echo "\\set c random(1, 2)"
		echo "\\set total random(0, 299)"
		echo "BEGIN;"
		echo "INSERT INTO $table (customer_id, created_at, status, total) VALUES (:c, now(), 'new', :total);"
		echo "INSERT INTO $table (customer_id, created_at, status, total) VALUES (3 - :c, now(), 'new', :total);"
		echo "COMMIT;"
	} > "$folder/crosswise_$table.sql"
done

# The contacts have their first rows again, and the kept scores fit them.
begin_again()
{
	sql -c "TRUNCATE $1" -c "INSERT INTO $1 SELECT * FROM first_rows" -c "VACUUM ANALYZE $1" > /dev/null 2>&1
	case $1 in
		scored) sql -c "CALL marketing.work()" > /dev/null ;;
		by_hand) sql -c "TRUNCATE hand_score" -c "INSERT INTO hand_score SELECT * FROM true_score('by_hand')" ;;
	esac
}

# One round: transactions a second, those that failed, and points by which the kept scores are wrong.
measure()
{
	local kind=$1 table=$2 round=$3 tps failed
	begin_again "$table"
	PGOPTIONS='-c synchronous_commit=off' pgbench -n -c "$clients" -j 2 -T "$seconds" -M prepared \
		-f "$folder/${kind}_$table.sql" > "$folder/run.log" 2> "$folder/run.err" || {
		tail -n 5 "$folder/run.err"
		exit 1
	}
	tps=$(sed -n 's/^tps = \([0-9.]*\).*/\1/p' "$folder/run.log")
	failed=$(sed -n 's/^number of failed transactions: \([0-9]*\).*/\1/p' "$folder/run.log")
	sql -c "INSERT INTO result SELECT '$kind', '$table', $round, $tps, $failed, CASE WHEN '$table' <> 'plain' THEN
		(SELECT sum(abs(COALESCE(k.score, 0) - COALESCE(t.score, 0))) FROM true_score('$table') AS t
			FULL JOIN (SELECT * FROM kept WHERE rows_of = '$table'::regclass) AS k USING (customer_id)) END"
}

# A first round warms caches; it is not counted.
for round in $(seq 0 "$rounds"); do
	for kind in single crosswise; do
		for table in plain scored by_hand; do
			measure "$kind" "$table" "$round"
		done
	done
done

sql -c "CREATE VIEW figure AS
	SELECT what, rows_of, percentile_cont(0.5) WITHIN GROUP (ORDER BY tps) AS tps, sum(failed) AS failed, sum(wrong) AS wrong
	FROM result WHERE round > 0 GROUP BY what, rows_of"
psql -X -q -P footer=off -c "SELECT f.what, f.rows_of, round(f.tps) AS transactions_a_second,
	round((f.tps / p.tps)::numeric, 2) AS of_plain, round((f.tps / h.tps)::numeric, 2) AS of_by_hand,
	f.failed AS ended_by_deadlock, f.wrong AS points_wrong
	FROM figure AS f JOIN figure AS p ON p.what = f.what AND p.rows_of = 'plain'
	JOIN figure AS h ON h.what = f.what AND h.rows_of = 'by_hand' ORDER BY f.what DESC, f.rows_of DESC"
missed=$(sql -c "SELECT string_agg(what, ', ') FROM figure WHERE rows_of = 'scored' AND (failed > 0 OR wrong IS DISTINCT FROM 0)")
[ -z "$missed" ] || { echo "missed: a transaction or points were lost ($missed)"; exit 1; }
