-- 3 win-back
SELECT marketing.define_segment('lapsed', $$ last order_placed more than 90 days ago $$);
SELECT marketing.define_journey('win_back', $${"entry": {"segment_entered": "lapsed"}, "reentry": "after_exit",
 "exit_on": [{"event": "order_placed"}], "steps": [{"send": "miss_you"}, {"wait": "7 days"}, {"send": "offer"},
 {"wait": "14 days"}, {"send": "last_notice"}, {"add_to_list": "sunset"}]}$$);
SELECT marketing.activate_journey('win_back', existing => 'skip');
