-- 2 abandoned cart, SMS fallback (the template cart_mail loops over cart_lines)
SELECT marketing.define_query('cart_lines', 'SELECT title, qty, price FROM cart_items WHERE cart_id = $1', params => '{entry.id}');
SELECT marketing.define_template('cart_sms', topic => 'offers', channel => 'sms', text => '{{ contact.first_name }}, sepetin bekliyor: {{ entry.url | track }}');
SELECT marketing.define_journey('abandoned_cart', $$
{"entry": {"event": "cart_updated", "key": "id", "on_repeat": "restart"}, "reentry": "per_key", "max_live": 1,
 "exit_on": [{"event": "order_placed", "where": "cart_id = entry.id"}, {"if": "no cart_updated where (id = entry.id)"}],
 "goal": {"event": "order_placed", "within": "7 days"}, "quiet_hours": {"from": "21:00", "to": "09:00"},
 "steps": [
   {"wait": "1 hour"},
   {"send": "cart_mail", "otherwise": [{"send": "cart_sms", "id": "sms_no_mail"}, {"exit": "sms only"}]},
   {"wait_until": {"event": "email_opened", "step": "cart_mail"}, "timeout": "23 hours", "else": [{"send": "cart_sms"}]},
   {"wait": "24 hours"},
   {"branch": [{"if": "in segment discount_sensitive", "then": [{"send": "cart_coupon"}]}]}]}$$);
SELECT * FROM marketing.simulate_journey('abandoned_cart', now() - interval '30 days', now());
SELECT marketing.activate_journey('abandoned_cart');
