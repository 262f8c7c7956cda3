-- 4 birthday
SELECT marketing.define_journey('birthday', $${"entry": {"anniversary": "birth_date", "at": "09:00"}, "filter": "contact.birth_date is not null",
 "steps": [{"send": "birthday"}, {"wait": "7 days"}, {"branch": [{"if": "no order_placed in 7 days", "then": [{"send": "birthday_reminder"}]}]}]}$$);
SELECT marketing.activate_journey('birthday');
