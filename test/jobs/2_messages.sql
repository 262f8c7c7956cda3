-- 2 abandoned cart, SMS fallback (the template cart_mail loops over cart_lines)
SELECT marketing.define_query('cart_lines', 'SELECT title, qty, price FROM cart_items WHERE cart_id = $1', params => '{entry.id}');
SELECT marketing.define_template('cart_sms', topic => 'offers', channel => 'sms', text => '{{ contact.first_name }}, sepetin bekliyor: {{ entry.url | track }}');
