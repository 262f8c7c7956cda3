TRUNCATE page_views_3;
