\set a random(1, 30)
\set k random(0, 50)
SELECT marketing.identify(:a, '{"plan": :k}');
