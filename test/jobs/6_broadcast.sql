-- 6 broadcast A/B
SELECT marketing.define_broadcast('black_friday', $${"audience": "in segment engaged", "exclude": "any order_placed in 7 days", "campaign": "bf26",
 "at": "2026-11-27 10:00", "clock": "contact", "test": {"variants": {"a": "bf_a", "b": "bf_b"}, "share": 0.2,
 "measure": {"event": "order_placed"}, "after": "4 hours", "no_winner": "a"}}$$);
SELECT * FROM marketing.preview_broadcast('black_friday');   -- 48,112 get it; 3,207 no consent; 411 over cap
SELECT marketing.launch_broadcast('black_friday');
