\set k random(1, 4)
\if :k = 1
TRUNCATE page_views_3;
\else
SELECT 1;
\endif
